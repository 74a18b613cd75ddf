"""Retries against the Hub: which of its errors pass by waiting, and how long to wait."""

import time
from collections.abc import Callable
from typing import TypeVar

from noisezoo.hub import BUSY, cause_of, is_transport, status_of

Result = TypeVar("Result")
ATTEMPTS = 5
LONGEST = 300.0
"""Seconds to wait at most before a retry: the Hub counts its rate limits in windows of five minutes."""


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

    error = cause_of(error)
    passing = is_transport(error) or status_of(error) in BUSY
    if not passing or isinstance(error, OfflineModeIsEnabled):
        return None
    return min(LONGEST, max(_asked(error), 2.0 ** (attempt - 1)))


def _asked(error: Exception) -> float:
    """Seconds that the Hub asks to wait: `Retry-After`, or the time until its rate limit is reset."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    headers = getattr(getattr(error, "response", None), "headers", {})
    limit = parse_ratelimit_headers(headers)
    after = headers.get("retry-after", "")
    return float(max(int(after) if after.isdigit() else 0, limit.reset_in_seconds if limit else 0))
