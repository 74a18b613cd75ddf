"""Leases: exclusive rights to units, to publishing, to monitoring, each a file that only one process can create.

Leases let any number of processes, of one launch or of several, share one folder without a message between them. They
decide who works, never what the bytes are: if two processes did own one lease, both would write the same part under
names of their own, and the rename would keep one of them.

No file's time is ever compared with this host's clock, which the store need not share.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from .store import LOCAL, Entry, Store

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

LEASES = "claims"
"""Folder of a build's leases, inside its state; the name is older than the word."""

HEARTBEAT_SECONDS = 10.0
"""Seconds between two heartbeats of an owner, and between two scans of the monitor."""

MISSED_SCANS = 6
"""The monitor expires a lease that shows no heartbeat in so many scans after the first."""

EXPIRES_AFTER = 300.0
"""Seconds without a heartbeat, by the store's clock, after which any process may take another host's lease."""

SUFFIXES = (".json", ".scan", ".takeover")
"""Endings of leases: on work, on scanning for all processes, on removing another lease."""

EXIT_SECONDS = 5.0
"""On exit the monitor waits at most this long for a scan in progress, which may own a lease on removing another."""

PAUSE, PAUSE_MOST = 0.05, 2.0
"""Seconds between two looks at whether another process has done something: at first, and after many looks."""


@dataclass(frozen=True)
class Lease:
    """An exclusive right, by the file at `path`; a thread sends heartbeats to it as long as this process owns it."""

    path: Path
    store: Store = LOCAL

    @contextmanager
    def acquire(self) -> Iterator[bool]:
        """Own the lease during the block; yields False where a living process owns it."""
        written = self._create() or (self._take_over() if self.is_expired() else None)
        if written is None:
            yield False
            return
        over = threading.Event()
        threading.Thread(target=self._beat, args=(over,), name="heartbeat", daemon=True).start()
        try:
            yield True
        finally:
            over.set()
            self._release(written)

    @property
    def owner(self) -> dict[str, Any] | None:
        """What the lease says of its owner (`host`, `pid`, ...); None where there is no lease, or a torn one."""
        return owner_in(self.last_heartbeat())

    def is_expired(self, now: float | None = None) -> bool:
        """Whether the owner is dead: its process is gone from this host, or its host has been silent for too long.

        Args:
            now: The store's time, from a caller that has just asked for it.
        """
        if (beat := self.last_heartbeat()) is None:
            return False
        if (owner := owner_in(beat)) is not None and is_here(owner):
            return bool(process_start(owner["pid"]) != owner["process_start"])
        return (self.store.time(self.path.parent) if now is None else now) - beat.time > EXPIRES_AFTER

    def heartbeat(self) -> None:
        """Show that the owner lives. A lease that another process took over meanwhile stays gone."""
        if (beat := self.last_heartbeat()) is not None:
            self.store.touch(self.path, beat)

    def last_heartbeat(self) -> Entry | None:
        """The file, which each heartbeat and each new owner change; None where there is no lease."""
        return self.store.read(self.path)

    def expire(self, beat: Entry) -> None:
        """Remove a dead process's lease, unless there has been a heartbeat since `beat`.

        This needs a lease of its own and a second look under it: otherwise a second process, late from its first
        look, would remove the lease that a living process has made since.
        """
        with Lease(self.path.with_name(f"{self.path.name}.takeover"), self.store).acquire() as acquired:
            if acquired:
                self.store.delete(self.path, beat)

    def _take_over(self) -> str | None:
        beat = self.last_heartbeat()
        if beat is not None and self.is_expired():
            self.expire(beat)
        return self._create()

    def _create(self) -> str | None:
        """Create the file, if there is none; returns what it says, or None where it is another process's."""
        pid, host = os.getpid(), socket.gethostname()
        where = {"host": host, "machine": machine(), "pid": pid}
        owner = {**where, "process_start": process_start(pid), "claimed_at": time.time()}
        written = json.dumps({**owner, "nonce": time.monotonic_ns()})
        return written if self.store.create(self.path, written) else None

    def _release(self, written: str) -> None:
        """Delete the file, unless it is the lease of a process that took us for dead."""
        while (beat := self.last_heartbeat()) is not None and _line(beat) == written.encode():
            if self.store.delete(self.path, beat):
                return

    def _beat(self, over: threading.Event) -> None:
        """Send heartbeats from a thread: one batch may take longer than other processes would wait."""
        while not over.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # the work itself will meet what is wrong with the folder, and say so
                self.heartbeat()


def _line(beat: Entry) -> bytes:
    """What a lease says, on its first line: a store may write more, so that each heartbeat gives another content."""
    return beat.content.partition(b"\n")[0]


def owner_in(beat: Entry | None) -> dict[str, Any] | None:
    """What a lease says of its owner (`host`, `pid`, ...); None where there is no lease, or a torn one."""
    try:
        found = None if beat is None else json.loads(_line(beat))
    except ValueError:  # not JSON, or not even text
        return None
    return found if isinstance(found, dict) and {"host", "pid", "process_start"} <= found.keys() else None


def leases_in(folder: Path, store: Store = LOCAL) -> list[Lease]:
    """All leases in a folder and below it, whoever owns them."""
    return [Lease(path, store) for path in store.walk(folder) if path.suffix in SUFFIXES]


def owners(folder: Path, store: Store) -> list[dict[str, Any]]:
    """The living processes that own leases in a folder: `host`, `pid`, and `leases`, the paths relative to it."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    now = store.time(folder)
    for lease in sorted(leases_in(folder, store), key=lambda lease: lease.path):
        owner = lease.owner
        if owner is not None and not lease.is_expired(now):
            process = found.setdefault((owner["host"], owner["pid"]), {**owner, "leases": []})
            process["leases"].append(lease.path.relative_to(folder).as_posix())
    return list(found.values())


def once(lease: Lease, done: Callable[[], T | None], do: Callable[[], object]) -> T:
    """What `done` finds after one of many processes has done `do` under the lease; the others wait for that."""
    pause = PAUSE
    while (found := done()) is None:
        with lease.acquire() as acquired:
            if acquired and done() is None:
                do()
        if not acquired:
            time.sleep(pause)
            pause = min(2 * pause, PAUSE_MOST)
    return found


@cache
def machine() -> str:
    """Text that tells machines and containers of one host name apart: the kernel's start, the space of process ids."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    return ""


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether a lease's owner is, or was, a process of this machine, whose processes can be asked for."""
    return bool(owner["host"] == socket.gethostname() and owner.get("machine", machine()) == machine())


def process_start(pid: int) -> float | None:
    """When the process began, which tells a living owner from a later process with its number; None if it is gone.

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


class MissedScans(Generic[K]):
    """Tells dead owners by the scans in which they send no heartbeat.

    Scans are counted, not seconds: no clock is compared with another host's or with a file server's, a clock that
    jumps changes nothing, and while the file system stands still no scan ends.
    """

    def __init__(self) -> None:
        self._missed: dict[K, tuple[Hashable, int]] = {}

    def expired(self, beats: Mapping[K, Hashable]) -> list[K]:
        """Count one scan of lease -> last heartbeat; the leases without a new one in `MISSED_SCANS` scans."""
        before = self._missed
        self._missed = {
            key: (beat, before[key][1] + 1 if key in before and before[key][0] == beat else 0)
            for key, beat in beats.items()
        }
        return [key for key, (_, missed) in self._missed.items() if missed >= MISSED_SCANS]


class Monitor:
    """A thread that scans all leases of a build and expires dead processes' leases, while its process works.

    One process of all monitors. The right to do so is a lease like any other: the monitor's own death is found by the
    same scans, in whichever process is next.
    """

    def __init__(self, folder: Path, store: Store = LOCAL) -> None:
        self.folder, self.store, self.lease = folder, store, Lease(folder / "monitor.json", store)
        self._held, self._over, self._guard = ExitStack(), threading.Event(), threading.Lock()
        self._scans: MissedScans[Lease] = MissedScans()
        self._monitors, self._lives = False, False
        self._beat: Entry | None = None
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def __enter__(self) -> "Monitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it up: another process's next scan finds no monitor."""
        self._over.set()
        with self._guard:
            self._held.close()
            self._monitors = False
        self._thread.join(EXIT_SECONDS)

    def acquire(self) -> bool:
        """Whether this process is the monitor, after it has tried to become it."""
        with self._guard, ExitStack() as stack:
            if not self._monitors and not self._over.is_set() and stack.enter_context(self.lease.acquire()):
                self._held, self._monitors, self._scans = stack.pop_all(), True, MissedScans()
            return self._monitors

    def has_other(self) -> bool:
        """Whether another living process is known to be the monitor.

        If it is on this host, `acquire` would have taken a dead one's place. If it is on another host, its heartbeat
        must have changed between the last two scans, as a dead process's lease may lie there for minutes.
        """
        owner = self.lease.owner
        return owner is not None and (is_here(owner) or self._lives)

    def scan(self) -> None:
        """Scan once: the monitor all leases, any other process the monitor's."""
        monitors = self._monitors or (self.lease.last_heartbeat() is None and self.acquire())
        leases = leases_in(self.folder, self.store) if monitors else [self.lease]
        beats = {lease: beat for lease in leases if (beat := lease.last_heartbeat()) is not None}
        beat, before = beats.get(self.lease), self._beat
        self._beat, self._lives = beat, None not in (beat, before) and beat != before
        for lease in self._scans.expired(beats):
            lease.expire(beats[lease])

    def _run(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # the work itself will meet what is wrong with the folder, and say so
                self.scan()
