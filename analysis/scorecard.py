"""What each claim of the paper comes to."""


def scorecard(results):  # noqa
    return []
