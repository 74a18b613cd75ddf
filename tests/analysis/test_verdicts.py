from typing import Any

import pytest

from noisezoo.analysis.studies.run import verdicts


def results(low: float, high: float, role: str = "untrained", n: int = 1000, departs: bool = False) -> dict[str, Any]:
    view = {"name": "v", "kind": "noise", "n": n, "d": 500}
    difference = {"view": "v", "control": "w", "role": role, "estimate": (low + high) / 2, "low": low, "high": high}
    row = {"family": "norm", "test": "variance ratio", "departs": departs}
    return {"views": [view], "probes": {}, "differences": [difference], "gaussianity": {"v": {"rows": [row]}}}


def text(kind: str, **given: Any) -> str:
    found = [verdict["text"] for verdict in verdicts(results(**given)) if verdict["kind"] == kind]
    return found[0] if found else ""


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.03, "more linearly readable"), (-0.03, -0.01, "less linearly readable"), (-0.01, 0.02, "no difference")],
)
def test_the_headline_says_what_the_interval_allows_whichever_way_it_came_out(
    low: float, high: float, words: str
) -> None:
    assert words in text("headline", low=low, high=high)


@pytest.mark.parametrize(("low", "high", "words"), [(0.1, 0.2, "better"), (-0.2, -0.1, "worse"), (-0.1, 0.1, "cannot")])
def test_a_control_is_named_with_the_side_the_interval_lies_on(low: float, high: float, words: str) -> None:
    said = text("control", low=low, high=high, role="pixels")
    assert words in said and "raw pixels" in said and "w" in said


def test_an_interval_that_touches_zero_decides_nothing() -> None:
    assert "no difference" in text("headline", low=0.0, high=0.02)


def test_fewer_rows_than_dimensions_are_said_and_only_then() -> None:
    assert "v (400 rows, 500 dimensions)" in text("conditioning", low=0.0, high=0.1, n=400)
    assert text("conditioning", low=0.0, high=0.1, n=600) == ""


def test_a_gaussian_view_is_not_called_proved_gaussian() -> None:
    assert "departs from a Gaussian" in text("gaussianity", low=0.0, high=0.1, departs=True)
    assert "does not show that it is one" in text("gaussianity", low=0.0, high=0.1)
