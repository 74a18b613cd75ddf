"""Who is working on what: an exclusive claim is a file that only one process can create.

Claims let any number of processes, of one launch or of several, draw units from one folder without a word between
them. They decide who works, never what the bytes are: if two processes did hold one claim, both would write the same
part under names of their own, and the rename would keep one.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STALE_AFTER = 600.0
"""Seconds without a sign of life after which a claim of another host may be taken over."""


@dataclass(frozen=True)
class Claim:
    """A held claim; `touch` it now and then, so that other hosts see that its holder lives."""

    path: Path

    def touch(self) -> None:
        """Show a sign of life. A claim that was taken over meanwhile stays gone."""
        try:
            os.utime(self.path)
        except FileNotFoundError:
            return


@contextmanager
def claimed(path: Path) -> Iterator[Claim | None]:
    """Hold the claim at `path` for the block, or yield None where a living process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (_create(path) or (is_stale(path) and _take_over(path))):
        yield None
        return
    try:
        yield Claim(path)
    finally:
        path.unlink(missing_ok=True)


def holder(path: Path) -> dict[str, Any] | None:
    """What the claim at `path` says of its holder; None where there is no claim."""
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def is_stale(path: Path) -> bool:
    """Whether the claim's holder is dead: its process is gone from this host, or its host has been silent too long."""
    claim = holder(path)
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    if claim is None:
        return silent > STALE_AFTER
    if claim["host"] == socket.gethostname():
        return bool(_process_start(claim["pid"]) != claim["process_start"])
    return silent > STALE_AFTER


def _create(path: Path) -> bool:
    """Create the claim whole: written aside, then linked, as a link to an existing name fails (also over NFS)."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    claim = {"host": socket.gethostname(), "pid": os.getpid(), "process_start": _process_start(os.getpid()),
             "claimed_at": time.time()}  # fmt: skip
    try:
        aside.write_text(json.dumps(claim))
        os.link(aside, path)
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def _take_over(path: Path) -> bool:
    """Put our claim in a dead holder's place.

    Whoever takes over holds a claim on doing so and looks again under it: otherwise a second one, late from its first
    look, would remove the claim that the first has just made.
    """
    with claimed(path.with_name(f"{path.name}.takeover")) as right:
        if right is None or not is_stale(path):
            return False
        path.unlink(missing_ok=True)
        return _create(path)


def _process_start(pid: int) -> float | None:
    """When the process began, which tells a living holder from a later process with its number; None if it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None
