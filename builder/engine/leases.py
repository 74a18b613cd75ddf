"""Who is working on what: an exclusive claim is a file that only one process can create.

Claims let any number of processes, of one launch or of several, draw units from one folder without a word between
them. They decide who works, never what the bytes are: if two processes did hold one claim, both would write the same
part under names of their own, and the rename would keep one.

No file's time is ever compared with this host's clock, which a shared file system need not share.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from noisezoo.builder.engine.scheduler import BEAT

STALE_AFTER = 300.0
"""Seconds without a sign of life, by the file system's clock, after which a claim of another host may be taken over."""

SUFFIXES = (".json", ".look", ".takeover")
"""Of claims: on work, on looking for all, on taking over."""

ATTEMPTS = 10
"""A claim is tried so often where its folder, or the file it is linked from, was swept away meanwhile."""


@dataclass(frozen=True)
class Claim:
    """A held claim; a thread of its own shows other hosts every few seconds that its holder lives."""

    path: Path

    def touch(self) -> None:
        """Show a sign of life. A claim that was taken over meanwhile stays gone."""
        with suppress(FileNotFoundError):
            os.utime(self.path)


@contextmanager
def claimed(path: Path) -> Iterator[Claim | None]:
    """Hold the claim at `path` for the block, or yield None where a living process holds it."""
    told = _create(path) or (_take_over(path) if is_stale(path) else None)
    if told is None:
        yield None
        return
    claim = Claim(path)
    try:
        with _beating(claim):
            yield claim
    finally:
        if _text(path) == told:  # and not that of one who took us for dead
            path.unlink(missing_ok=True)


def holder(path: Path) -> dict[str, Any] | None:
    """What the claim at `path` says of its holder; None where there is no claim, or one cut short."""
    try:
        claim = json.loads(_text(path) or "")
    except json.JSONDecodeError:
        return None
    return claim if isinstance(claim, dict) and {"host", "pid", "process_start"} <= claim.keys() else None


def is_stale(path: Path, now: float | None = None) -> bool:
    """Whether the claim's holder is dead: its process is gone from this host, or its host has been silent too long.

    `now` is the file system's time, for who has just asked it (`file_system_time`).
    """
    claim, before = holder(path), sign_of_life(path)
    if before is None:
        return False
    if claim is not None and claim["host"] == socket.gethostname():
        return bool(process_start(claim["pid"]) != claim["process_start"])
    return (file_system_time(path.parent) if now is None else now) - before[0] > STALE_AFTER


def file_system_time(folder: Path) -> float:
    """Seconds of the epoch by the clock of the file system that holds `folder`; by this host's where none answers."""
    try:
        with TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


def claims_in(folder: Path) -> list[Path]:
    """All claims in a folder and below it, whoever holds them."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return [path for path in found if path.suffix in SUFFIXES]


def sign_of_life(path: Path) -> tuple[float, int] | None:
    """What changes with every sign of life of the claim's holder (its time, its inode); None where there is no claim.

    The file is opened, as a client of NFS asks the server then, and for a mere stat answers from its cache.
    """
    try:
        with path.open() as stream:
            found = os.fstat(stream.fileno())
    except FileNotFoundError:
        return None
    return found.st_mtime, found.st_ino


def bury(path: Path, sign: tuple[float, int]) -> None:
    """Remove a dead process's claim, unless it is no longer the one that showed this last sign of life.

    Whoever does so holds a claim on doing so and looks again under it: otherwise a second one, late from its first
    look, would remove the claim that someone living has made since.
    """
    with claimed(path.with_name(f"{path.name}.takeover")) as right:
        if right is not None and sign_of_life(path) == sign:
            path.unlink(missing_ok=True)


def _take_over(path: Path) -> str | None:
    """Put our claim in a dead holder's place."""
    sign = sign_of_life(path)
    if sign is not None and is_stale(path):
        bury(path, sign)
    return _create(path)


def _create(path: Path) -> str | None:
    """Create the claim whole: written aside, then linked, as a link to an existing name fails (also over NFS).

    Returns what it says; None where another's is there.
    """
    told = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "process_start": process_start(os.getpid()),
                       "claimed_at": time.time(), "nonce": time.monotonic_ns()})  # fmt: skip
    for attempt in range(ATTEMPTS):
        aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}.tmp")
        try:
            aside.write_text(told)
            os.link(aside, path)
            return told
        except FileExistsError:
            return told if _text(path) == told else None  # a server that lost its answer says so of our own link
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise
            path.parent.mkdir(parents=True, exist_ok=True)
        finally:
            aside.unlink(missing_ok=True)
    return None


@contextmanager
def _beating(claim: Claim) -> Iterator[None]:
    """Show signs of life from a thread: a batch may take longer than others would wait for one."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            with suppress(OSError):  # the work itself will meet what is wrong with the folder, and say so
                claim.touch()

    threading.Thread(target=beat, name="beat", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def process_start(pid: int) -> float | None:
    """When the process began, which tells a living holder from a later process with its number; None if it is gone.

    Linux counts it in ticks since the host's start, which no change of the clock moves.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        ticks = Path(f"/proc/{pid}/stat")
        return float(ticks.read_text().rpartition(")")[2].split()[19]) if ticks.exists() else process.create_time()
    except (psutil.Error, OSError):
        return None
