"""Errors a user can act on: each names the thing and the mend, in one line."""

import errno


class NoiseZooError(Exception):
    """Something the user asked for cannot be done; `str(error)` is the one line to show.

    `exit_code` is what the command line ends with: 1 for a failure, 2 for bad usage.
    """

    exit_code = 1


def describe(error: BaseException) -> str:
    """One line for people: our own message, or what the system said and of which file."""
    if isinstance(error, OSError) and error.strerror:
        said = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in error.strerror
        return f"{said} (free some space there)" if full else said
    return str(error) or type(error).__name__


class UsageError(NoiseZooError):
    """The request itself is wrong: an unknown name, an impossible setting, a folder of the wrong kind."""

    exit_code = 2


class IncompleteError(NoiseZooError):
    """The work stopped before all of it was done; running the same command again goes on."""

    exit_code = 3


class StoppedError(NoiseZooError):
    """The user pressed Ctrl-C; says how much is kept."""

    exit_code = 130
