"""Errors of the Hub: which of them are worth a retry, and one line with its mend for each other."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from noisezoo.errors import IncompleteError, NoiseZooError, UsageError

Result = TypeVar("Result")
PASSING = (408, 412, 429, 500, 502, 503, 504)
"""Statuses worth a retry: too busy, out of order, or (412) another commit came first and ours must be made again."""
ATTEMPTS = 5
LONGEST = 300.0
"""Seconds to wait at most before a retry: the Hub counts its rate limits in windows of five minutes."""


Mend = tuple[tuple[int, ...], type[NoiseZooError], str]
MENDS: tuple[Mend, ...] = (
    ((401,), NoiseZooError, "{repo}: the Hub refused the access token, or there is none ({said}): run `hf auth login`"),
    ((403,), NoiseZooError, "{repo}: this token may not write there ({said}): run `hf auth login` with one that may"),
    ((404,), NoiseZooError, "{repo}: the Hub does not have it, or not for this token ({said}): run `hf auth login`"),
    (PASSING, IncompleteError, "{repo}: the Hub is busy ({said}): publish again later; what was sent is kept"),
)
UNREACHED = "{repo}: the Hub cannot be reached ({said}): publish again when online; what was sent is kept"


def persistently(attempt: Callable[[], Result]) -> Result:
    """Retry until it succeeds, `ATTEMPTS` times at most, each time after the wait that the Hub asks for."""
    for number in range(1, ATTEMPTS):
        try:
            return attempt()
        except Exception as error:
            seconds = wait_for(error, number)
            if seconds is None:
                raise
        time.sleep(seconds)
    return attempt()


def wait_for(error: Exception, attempt: int) -> float | None:
    """Seconds to wait before a retry after the `attempt`-th failure; None where waiting cannot help."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    error = _cause(error)
    passing = _is_transport(error) or _status(error) in PASSING
    if not passing or isinstance(error, OfflineModeIsEnabled):
        return None
    return min(LONGEST, max(_asked(error), 2.0 ** (attempt - 1)))


@contextmanager
def mended(repo_id: str) -> Iterator[None]:
    """Turn what the Hub's client raises into one line with its mend.

    Raises:
        NoiseZooError: In place of any error of the Hub, of its client or of the connection.
    """
    from huggingface_hub import errors

    transport: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise UsageError(f"{repo_id}: offline mode is on: unset HF_HUB_OFFLINE, then publish again") from error
    except errors.HFValidationError as error:
        raise UsageError(f"{repo_id!r} is no name of a repository: give ORG/NAME") from error
    except (transport, ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        raise _translated(repo_id, _cause(error)) from error


def _translated(repo_id: str, error: Exception) -> NoiseZooError:
    named = {"repo": repo_id, "said": _said(error)}
    if _is_transport(error):
        return IncompleteError(UNREACHED.format(**named))
    for statuses, kind, text in MENDS:
        if _status(error) in statuses:
            return kind(text.format(**named))
    return NoiseZooError("{repo}: the Hub refused: {said}".format(**named))


def _cause(error: Exception) -> Exception:
    """The error itself: the client wraps what fails in a thread of an upload."""
    cause = error.__cause__
    return cause if isinstance(error, RuntimeError) and isinstance(cause, Exception) else error


def _status(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _is_transport(error: Exception) -> bool:
    """Whether the connection failed, so that there is no answer."""
    from huggingface_hub import errors

    transport: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return _status(error) is None and isinstance(error, (transport, ConnectionError, TimeoutError))


def _asked(error: Exception) -> float:
    """Seconds that the Hub asks to wait: `Retry-After`, or the time until its rate limit is reset."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    headers = getattr(getattr(error, "response", None), "headers", {})
    limit = parse_ratelimit_headers(headers)
    after = headers.get("retry-after", "")
    return float(max(int(after) if after.isdigit() else 0, limit.reset_in_seconds if limit else 0))


def _said(error: Exception) -> str:
    """The message of the Hub or the system, in one line."""
    said = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return "; ".join(line.strip().rstrip(".") for line in str(said).splitlines() if line.strip())
