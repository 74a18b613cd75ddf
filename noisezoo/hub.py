"""Files of a dataset on the Hub, and the Hub's errors in one line each."""

import glob
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from noisezoo.errors import IncompleteError, NoiseZooError, UsageError

BUSY = (408, 412, 429, 500, 502, 503, 504)
"""Statuses worth a retry: too busy, out of order, or (412) another commit came first and ours must be made again."""

GATES = {
    "awaiting": "your request awaits its authors' review: run this again once {} grants it",
    "rejected": "its authors rejected your request ({}): choose another",
    "log in": "you are not logged in: run `hf auth login`, then accept its licence at {}",
    "": "accept its licence at {} and run `hf auth login`",
}
"""What the Hub's refusal of a gated repository contains -> what to do about it; `{}` is the repository's page."""


@dataclass(frozen=True)
class Task:
    """What is being done with a repository, as the errors say it; `{said}` is the Hub's own message."""

    unnamed: str
    missing: str
    forbidden: str
    offline: str
    again: str
    refused: type[NoiseZooError]  # where the Hub refuses
    failed: type[NoiseZooError]  # where it is busy or cannot be reached


READ = Task(
    unnamed="it is no folder here, and no name of a repository: check the path, or give ORG/NAME",
    missing="it is no folder here, and the Hub does not have it, or not for this token ({said}): check the name, or "
    "run `hf auth login`",
    forbidden="this token may not read it ({said}): ask for access on its page on the Hub, then run `hf auth login`",
    offline="it is no folder here, and offline the cache on this machine lacks it: check the name, or unset "
    "HF_HUB_OFFLINE",
    again="try again{}",
    refused=UsageError,
    failed=NoiseZooError,
)
PUBLISH = Task(
    unnamed="this is no name of a repository: give ORG/NAME",
    missing="the Hub does not have it, or not for this token ({said}): run `hf auth login`",
    forbidden="this token may not write there ({said}): run `hf auth login` with one that may",
    offline="offline mode is on: unset HF_HUB_OFFLINE, then publish again",
    again="publish again{}; what was sent is kept",
    refused=NoiseZooError,
    failed=IncompleteError,
)


def fetch(
    repo: str, paths: Sequence[str] | None = None, revision: str | None = None, patterns: Sequence[str] = ()
) -> Path:
    """Fetch files of a dataset repository, all of one commit, into the Hub's cache on this machine.

    Args:
        repo: `ORG/NAME` on the Hub.
        paths: Paths in the repository, None for all. What the cache has is not fetched again and needs no connection.
        revision: Branch, tag or commit; None for `main`.
        patterns: Fetch the files whose paths match these (`fnmatch`) instead.

    Returns:
        The folder of that commit in the cache; what of `paths` the commit does not have is not in it.

    Raises:
        UsageError: There is no such repository or revision, the token may not read it, or this machine is offline and
            the cache lacks the commit.
        NoiseZooError: The Hub is busy or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    allowed = list(patterns) or (None if paths is None else [glob.escape(path) for path in paths])
    with explained(repo if revision is None else f"{repo} at revision {revision!r}", READ):
        return Path(snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=allowed))


@contextmanager
def explained(repo: str, task: Task) -> Iterator[None]:
    """Turn whatever the Hub's client raises into one line with its mend.

    Raises:
        NoiseZooError: In place of any error of the Hub, of its client or of the connection.
    """
    from huggingface_hub import errors

    transport: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        yield
    except (transport, ConnectionError, TimeoutError, errors.EntryNotFoundError, RuntimeError, ValueError) as error:
        raise _explained(repo, task, cause_of(error)) from error


def _explained(repo: str, task: Task, error: Exception) -> NoiseZooError:
    from huggingface_hub import errors

    said = _said(error)
    if isinstance(error, errors.HFValidationError):
        return UsageError(f"{repo}: {task.unnamed}")
    if isinstance(error, (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)):
        return UsageError(f"{repo}: {task.offline}")
    if is_transport(error):
        return task.failed(f"{repo}: the Hub cannot be reached ({said}): {task.again.format(' when online')}")
    if isinstance(error, errors.GatedRepoError):
        page = re.split("/(?:resolve|revision|tree)/", re.sub("/api/(?:models/)?", "/", str(error.response.url)))[0]
        mend = next(mend for mark, mend in GATES.items() if mark in said)
        return task.refused(f"{repo} is gated: {mend.format(page)}")
    status, missing = status_of(error), isinstance(error, errors.RepositoryNotFoundError)
    if status == 404 or missing:
        return task.refused(f"{repo}: {task.missing.format(said=said)}")
    if status == 401:
        return task.refused(f"{repo}: the Hub refused the access token, or there is none ({said}): run `hf auth login`")
    if status == 403:
        return task.refused(f"{repo}: {task.forbidden.format(said=said)}")
    if status in BUSY:
        return task.failed(f"{repo}: the Hub is busy ({said}): {task.again.format(' later')}")
    return NoiseZooError(f"{repo}: the Hub refused: {said}")


def cause_of(error: Exception) -> Exception:
    """The error itself: the client wraps what failed in a thread, and what failed before it looked into its cache."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    wrapped = isinstance(error, (RuntimeError, LocalEntryNotFoundError)) and isinstance(error.__cause__, Exception)
    return cause_of(error.__cause__) if wrapped else error  # type: ignore[arg-type]


def status_of(error: Exception) -> int | None:
    """The HTTP status that the Hub answered; None where it did not answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def is_transport(error: Exception) -> bool:
    """Whether the connection failed, so that there is no answer."""
    from huggingface_hub import errors

    transport: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return status_of(error) is None and isinstance(error, (transport, ConnectionError, TimeoutError))


def _said(error: Exception) -> str:
    """The message of the Hub or the system, in one line."""
    said = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return "; ".join(line.strip().rstrip(".") for line in str(said).splitlines() if line.strip())
