"""Where a build stands, from its folder alone: while it runs, after it died, on any machine that sees the folder.

A scan is one array, a row a view and a column a slice; all else that can be said of a build is counted out of it.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo.builder.dataset import is_finished
from noisezoo.builder.engine import Build, Lease, Tail, Unit, image_work, listed_units, read_markers

RECENT = 900.0
"""The time left is estimated from the most recent seconds of work, this many."""
VIEWS_NAMED = 5
"""An error names at most this many views."""
UNIT = np.dtype([("done", bool), ("rows", int), ("refused", int), ("started", float), ("seconds", float),
                 ("bytes", int), ("attempt", int)])  # fmt: skip
"""What a valid marker says of a unit; `attempt` is an index into `Scan.attempts`, `started` the clock of its host."""
Key = tuple[int, int]
"""A unit: the numbers of its view and of its slice."""


@dataclass(frozen=True)
class Pace:
    """Work over a span of time: images done, seconds of all processes together, seconds in which any was at work."""

    images: float = 0.0
    busy: float = 0.0
    span: float = 0.0

    @property
    def images_per_second(self) -> float | None:
        """Images over the span; None before the first unit."""
        return self.images / self.span if self.span > 0 else None

    @property
    def seconds_per_image(self) -> float | None:
        """Seconds that one process takes for an image; None before the first unit."""
        return self.busy / self.images if self.images > 0 else None


def pace(units: np.ndarray, window: float = inf) -> Pace:
    """The pace of done units, (n,) of `UNIT`, over the last `window` seconds of work.

    A night between two runs counts for nothing, as time is counted only where a unit was in work. Of a unit that began
    before the window, its share counts.
    """
    if not units.size:
        return Pace()
    units = units[np.argsort(units["started"])]
    starts, seconds, images = units["started"], np.maximum(units["seconds"], 1e-9), units["rows"] + units["refused"]
    latest = np.maximum.accumulate(starts + seconds)
    gaps = np.concatenate([[0.0], np.maximum(starts[1:] - latest[:-1], 0.0)])
    starts = starts - starts[0] - gaps.cumsum()  # on a clock that stands still while no process works
    total = float((starts + seconds).max())
    span = min(window, total)
    share = np.clip((starts + seconds - np.maximum(starts, total - span)) / seconds, 0.0, 1.0)
    return Pace(float(images @ share), float(seconds @ share), span)


@dataclass(frozen=True)
class Failure:
    """What ended an attempt: its last words or its death, its log, the time, and the unit it was working on, if any."""

    message: str
    attempt: str
    time: float
    view: str | None = None
    slice: int | None = None


@dataclass(frozen=True)
class ViewStatus:
    """One view's progress, in images."""

    view: str  # the view's name
    total: int  # images in the manifest
    done: int  # images committed
    refused: int  # images refused
    running: int  # images of units that a living process holds
    # images of units whose last attempt failed or died and that no process has taken up since; also missing
    failed: int
    work: float  # GFLOP of one image
    whole: Pace  # its pace
    recent: Pace  # its pace over the last `RECENT` seconds of work

    @property
    def left(self) -> int:
        """Images neither committed nor refused."""
        return self.total - self.done - self.refused

    @property
    def missing(self) -> int:
        """Images that are left and that no process works on."""
        return self.left - self.running

    @property
    def images_per_second(self) -> float | None:
        """Over the time in which processes were at work on the view; None before the first unit."""
        return self.whole.images_per_second

    @property
    def recent_images_per_second(self) -> float | None:
        """The same over the last `RECENT` seconds of that time."""
        return self.recent.images_per_second

    @property
    def seconds_left(self) -> float | None:
        """Seconds of work on this view at its recent pace; None before the first unit."""
        return self.left / self.recent_images_per_second if self.recent_images_per_second else None


@dataclass(frozen=True)
class WorkerStatus:
    """What one attempt of a process has done, or all processes of a host; over all views."""

    host: str  # where
    images: int  # images done
    seconds: float  # seconds of work on them
    mean_seconds: float  # seconds that the same images take at the mean pace of all processes
    last_seen: float  # the last sign of life, in seconds of the epoch
    at_work: int  # how many are alive and hold a unit
    processes: int = 1  # how many attempts this counts, dead ones included
    attempt: str = ""  # the name of a process's log, which the markers of its units repeat
    pid: int | None = None  # its number on its host; None where its log says nothing
    rank: int | None = None  # as the launcher gave it; None without a launcher

    @property
    def images_per_second(self) -> float | None:
        """Images a second of work of one process; None before the first unit."""
        return self.images / self.seconds if self.seconds > 0 else None

    @property
    def speed(self) -> float | None:
        """Pace over the mean pace on the same views: 0.5 takes twice as long; None before the first unit."""
        return self.mean_seconds / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class Scan:
    """A build at one moment."""

    build: Build
    rows: np.ndarray  # (slices,) Images of each slice
    units: np.ndarray  # (views, slices) of `UNIT`
    attempts: tuple[tuple[str, str], ...]  # (attempt, host) of the processes that committed units
    running: Mapping[Key, dict[str, Any]]  # units that a living process holds -> what its lease says
    ended: list[Failure]  # every failure that logs and expired leases report, oldest first
    starts: Mapping[str, dict[str, Any]]  # attempt -> the first line of its log
    seen: Mapping[str, float]  # attempt -> when its log last grew, in seconds of the epoch
    time: float  # when the folder was scanned, in seconds of the epoch

    @cached_property
    def finished(self) -> bool:
        """Whether the published dataset stands for exactly these parts."""
        return bool(self.units["done"].all()) and is_finished(self.build)

    @property
    def failures(self) -> list[Failure]:
        """Failures of an unfinished build, oldest first; none of a finished one, whatever happened on the way."""
        return [] if self.finished else self.ended

    def images(self, first: int, last: int) -> str:
        """The images of some slices as people count them, from 1: `65-128`."""
        stops = self.rows.cumsum()
        return f"{stops[first] - self.rows[first] + 1}-{stops[last]}"

    def _mask(self, keys: Iterable[Key]) -> np.ndarray:
        mask = np.zeros(self.units.shape, bool)
        for key in keys:
            mask[key] = True
        return mask

    @cached_property
    def left(self) -> np.ndarray:
        """(views, slices) bool. Units that are not done and that no process works on."""
        left: np.ndarray = ~self.units["done"] & ~self._mask(self.running)
        return left

    @cached_property
    def failed(self) -> dict[Key, Failure]:
        """Units whose last attempt failed or died, and that no process has taken up since."""
        number = {view.name: i for i, view in enumerate(self.build.views)}
        last = {(number.get(f.view or "", -1), f.slice): f for f in self.ended if f.slice is not None}
        return {(v, s): f for (v, s), f in last.items() if v >= 0 and s is not None and self.left[v, s]}

    @cached_property
    def views(self) -> list[ViewStatus]:
        """One entry a view, in the recipe's order."""
        steps, total = self.build.steps, int(self.rows.sum())
        running, failed = (self._mask(keys) @ self.rows for keys in (self.running, self.failed))
        return [
            ViewStatus(
                view.name, total, int(done["rows"].sum()), int(done["refused"].sum()), int(running[i]), int(failed[i]),
                image_work(view, steps[view.name]), pace(done), pace(done, RECENT),
            )
            for i, view in enumerate(self.build.views) for done in (self.units[i][self.units[i]["done"]],)
        ]  # fmt: skip

    @cached_property
    def at_work(self) -> dict[tuple[Any, Any], float]:
        """(host, pid) of every living process that holds a unit -> its last heartbeat."""
        found: dict[tuple[Any, Any], float] = {}
        for owner in self.running.values():
            process = owner.get("host"), owner.get("pid")
            found[process] = max(found.get(process, 0.0), owner["touched"])
        return found

    @property
    def work(self) -> tuple[float, float]:
        """GFLOP done and GFLOP in all."""
        return sum(v.work * (v.total - v.left) for v in self.views), sum(v.work * v.total for v in self.views)

    @property
    def seconds_left(self) -> float | None:
        """Seconds for all that is left, by the processes at work now or, if none is, as many as worked last.

        A view without a finished unit is estimated by its work. None before the first unit.
        """
        last = pace(self.units[self.units["done"]], RECENT)
        processes = len(self.at_work) or (last.busy / last.span if last.span else 0.0)
        known = {v.view: seconds for v in self.views if (seconds := v.recent.seconds_per_image) is not None}
        if not known or not processes:
            return None
        rate = sum(known.values()) / sum(v.work for v in self.views if v.view in known)
        return sum(known.get(v.view, rate * v.work) * v.left for v in self.views) / processes

    @cached_property
    def processes(self) -> list[WorkerStatus]:
        """Every attempt that logs and markers tell of, in order of their start."""
        view, _ = np.nonzero(self.units["done"])
        done, n = self.units[self.units["done"]], len(self.attempts)
        images = done["rows"] + done["refused"]
        means = np.array([v.whole.seconds_per_image or 0.0 for v in self.views])[view]
        sums = [np.bincount(done["attempt"], weights, n) for weights in (images, done["seconds"], means * images)]
        last = np.zeros(n)
        np.maximum.at(last, done["attempt"], done["started"] + done["seconds"])
        tallies = {name: (host, *each) for (name, host), *each in zip(self.attempts, *sums, last, strict=True)}
        latest = {(start.get("host"), start.get("pid")): name for name, start in sorted(self.starts.items())}
        found = []
        for name in sorted({*tallies, *self.starts, *self.seen} - {""}):
            host, images, seconds, mean, end = tallies.get(name, ("", 0, 0.0, 0.0, 0.0))
            start = self.starts.get(name, {})
            host, pid = start.get("host") or host or "?", start.get("pid")
            lives = latest.get((host, pid)) == name  # an earlier attempt of the process is dead
            heartbeat = self.at_work.get((host, pid), 0.0) if lives else 0.0
            seen = max(end, self.seen.get(name, 0.0), heartbeat)
            rank = int(start["rank"]) if "rank" in start else None
            found.append(WorkerStatus(host, int(images), seconds, mean, seen, int(heartbeat > 0), 1, name, pid, rank))
        return found

    @cached_property
    def hosts(self) -> list[WorkerStatus]:
        """One entry a host, the slowest first."""
        groups: dict[str, list[WorkerStatus]] = defaultdict(list)
        for process in self.processes:
            groups[process.host].append(process)
        found = [
            WorkerStatus(
                host, sum(each.images for each in group), sum(each.seconds for each in group),
                sum(each.mean_seconds for each in group), max(each.last_seen for each in group),
                sum(each.at_work for each in group), len(group),
            )
            for host, group in groups.items()
        ]  # fmt: skip
        return sorted(found, key=lambda host: (host.speed is None, host.speed or 0.0, host.host))

    @property
    def slowest_host(self) -> str | None:
        """The host whose processes take longest for the same views; None where there are not two to compare."""
        known = [host for host in self.hosts if host.speed is not None]
        return known[0].host if len(known) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """All of it, with keys that stay."""
        slices = self.build.manifest.slices(self.build.recipe.slice_rows)
        names = [view.name for view in self.build.views]
        missing = [(int(v), int(s)) for v, s in np.argwhere(self.left)]
        return {
            "folder": self.build.store.name, "time": self.time, "finished": self.finished,
            "seconds_left": self.seconds_left, "processes_at_work": len(self.at_work),
            "slowest_host": self.slowest_host,
            "views": _fields(self.views, "view total done refused running failed images_per_second "
                                         "recent_images_per_second missing seconds_left"),
            "missing": [{"view": names[v], "slice": s, "first_row": slices[s].start, "rows": len(slices[s]),
                         "failed": self.failed[v, s].message if (v, s) in self.failed else None} for v, s in missing],
            "running": [{"view": names[v], "slice": s, "host": owner.get("host"), "pid": owner.get("pid"),
                         "last_seen": owner["touched"]} for (v, s), owner in sorted(self.running.items())],
            "failures": _fields(self.failures, "message attempt time view slice"),
            "hosts": _fields(self.hosts, "host processes at_work images images_per_second speed last_seen"),
            "processes": [{**each, "at_work": bool(each["at_work"])} for each in _fields(
                self.processes, "attempt host pid rank images seconds speed at_work last_seen images_per_second")],
        }  # fmt: skip


def _fields(records: Iterable[Any], names: str) -> list[dict[str, Any]]:
    return [{name: getattr(record, name) for name in names.split()} for record in records]


class Watcher:
    """Scans a build again and again, at the cost of one listing a folder and of what is new; it writes nothing.

    A marker is read until it is valid, and never again while marker and part are listed; of a log, each line once.
    """

    def __init__(self, build: Build) -> None:
        self.build = build
        self._places = [build.units(view) for view in build.views]
        self._rows = np.array([len(unit.rows) for unit in self._places[0]])
        self._units = np.zeros((len(self._places), len(self._rows)), UNIT)
        self._attempts: dict[tuple[str, str], int] = {}
        self._tail = Tail(build.state / "logs", build.store)
        self._starts: dict[str, dict[str, Any]] = {}
        self._failures: list[Failure] = []

    def scan(self) -> Scan:
        """The build now."""
        self._read_logs()
        held, died = self._leases()
        self._read_markers()  # after the leases: a unit finished in between is done
        done = self._units["done"]
        failures = [*self._failures, *(failure for key, failure in died.items() if not done[key])]
        failures.sort(key=lambda f: (f.time, f.view or "", f.slice or 0))
        return Scan(
            self.build, self._rows, self._units.copy(), tuple(self._attempts),
            {key: owner for key, owner in held.items() if not done[key]}, failures,
            dict(self._starts), dict(self._tail.seen), time.time(),
        )  # fmt: skip

    def _read_logs(self) -> None:
        for attempt, event in self._tail.events():
            if event["event"] == "start":
                self._starts[attempt] = event
            elif event["event"] == "failed":
                place = event.get("view"), event.get("slice")
                self._failures.append(Failure(str(event.get("message")), attempt, event["time"], *place))

    def _read_markers(self) -> None:
        there = np.array([self._listed(units, units[0].part, ".json", ".parquet") for units in self._places])
        self._units[~there] = 0
        new = [self._places[v][s] for v, s in np.argwhere(there & ~self._units["done"])]
        if new:
            for unit, marker in zip(new, read_markers(new), strict=True):
                self._note(unit, marker)

    def _note(self, unit: Unit, marker: dict[str, Any] | None) -> None:
        if marker is not None:
            process = marker.get("attempt", ""), marker.get("host", "")
            attempt = self._attempts.setdefault(process, len(self._attempts))
            self._units[self.build.views.index(unit.view), unit.number] = (
                True, marker["rows"], marker["refused"], marker["started"], marker["seconds"], marker["bytes"], attempt
            )  # fmt: skip

    def _leases(self) -> tuple[dict[Key, dict[str, Any]], dict[Key, Failure]]:
        """Units in the hands of living processes, and of dead ones; one lease may hold units of several views.

        Silence is measured by this host's clock: asking the file system for its own would need a write.
        """
        held: dict[Lease, list[Key]] = defaultdict(list)
        for v, units in enumerate(self._places):
            for s in np.flatnonzero(self._listed(units, units[0].lease.path, ".json")).tolist():
                held[units[s].lease].append((v, s))
        running: dict[Key, dict[str, Any]] = {}
        died: dict[Key, Failure] = {}
        for lease, keys in held.items():
            owner = lease.owner or {}
            if (beat := lease.last_heartbeat()) is None:  # given back meanwhile
                continue
            if not lease.is_expired(time.time()):
                running |= dict.fromkeys(keys, {**owner, "touched": beat.time})
                continue
            message = f"process {owner.get('pid', '?')} on {owner.get('host', '?')} died at it"
            died |= {(v, s): Failure(message, "", beat.time, self.build.views[v].name, s) for v, s in keys}
        return running, died

    def _listed(self, units: Sequence[Unit], one: Path, *suffixes: str) -> np.ndarray:
        """(units,) bool. Of which units the folder of `one` has files with these suffixes."""
        return listed_units(self.build.store.names(one.parent), len(units), *suffixes)


def status(build: Build) -> list[ViewStatus]:
    """One entry a view, in the recipe's order; to scan again and again, keep a `Watcher`."""
    return Watcher(build).scan().views


def missing_text(views: Sequence[ViewStatus]) -> str:
    """Which views lack how many images, in words."""
    lacking = [f"{view.view} lacks {view.left} of {view.total} images" for view in views if view.left]
    more = f" and {len(lacking) - VIEWS_NAMED} more views" if len(lacking) > VIEWS_NAMED else ""
    return (
        ", ".join(lacking[:VIEWS_NAMED]) + more if lacking else "all images are there, but the dataset is not published"
    )


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """(first, last) of each run of ascending numbers: 0, 3, 4, 5 as (0, 0), (3, 5)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        follows = found and number == found[-1][1] + 1
        found[-1:] = [(found[-1][0], number)] if follows else [*found[-1:], (number, number)]
    return found
