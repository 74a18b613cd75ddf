"""What a look at a build comes to: time left, which host is slow, exactly what is missing; for people and scripts."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from noisezoo import zoo
from noisezoo.builder.dataset import is_finished
from noisezoo.builder.engine import image_work
from noisezoo.builder.launch.pace import pace
from noisezoo.builder.launch.status import RECENT, Failure, Look, ViewStatus, Watcher


@dataclass(frozen=True)
class ProcessStatus:
    """One attempt of one process.

    Attributes:
        attempt: The name of its log, which its units' markers repeat.
        host: Where it ran.
        pid: Its number there; None where its log says nothing.
        rank: As the launcher gave it; None without a launcher.
        images: Images it is done with, over all views.
        seconds: That it worked on them.
        speed: Its pace over that of all processes on the same views: 0.5 takes twice as long; None before a unit.
        at_work: Whether it holds a claim and lives.
        last_seen: Its last sign of life, in seconds of the epoch.
    """

    attempt: str
    host: str
    pid: int | None
    rank: int | None
    images: int
    seconds: float
    speed: float | None
    at_work: bool
    last_seen: float

    @property
    def images_per_second(self) -> float | None:
        """Over its own seconds of work; None before its first unit."""
        return self.images / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class HostStatus:
    """All processes of one host, dead ones included.

    Attributes:
        host: Its name.
        processes: Attempts that its logs and markers tell of.
        at_work: Processes at work now.
        images: Images done.
        images_per_second: Of one process.
        speed: Its processes' pace over that of all processes on the same views; None before a unit.
        last_seen: The last sign of life of any of them, in seconds of the epoch.
    """

    host: str
    processes: int
    at_work: int
    images: int
    images_per_second: float | None
    speed: float | None
    last_seen: float


@dataclass(frozen=True)
class Progress:
    """A look at a build, counted out.

    Attributes:
        root: The dataset's folder.
        rows: The views' rows of the zoo, in the recipe's order.
        steps: The recipe's inversion steps.
        look: The state of every unit.
        finished: Whether the published dataset stands for exactly these parts.
        time: When it was looked, in seconds of the epoch.
    """

    root: Path
    rows: tuple[zoo.View, ...]
    steps: int
    look: Look
    finished: bool
    time: float

    @classmethod
    def of(cls, watcher: Watcher) -> "Progress":
        """Look now."""
        build, look = watcher.build, watcher.look()
        whole = all(place in look.done for places in look.views.values() for place in places)
        steps = build.recipe.settings.num_inference_steps
        return cls(build.root, tuple(build.views), steps, look, whole and is_finished(build), time.time())

    @cached_property
    def views(self) -> list[ViewStatus]:
        """One entry a view, in the recipe's order."""
        return [self.look.status(row.name) for row in self.rows]

    @cached_property
    def at_work(self) -> set[tuple[Any, Any]]:
        """(host, pid) of every living process that holds a unit."""
        return {(claim.get("host"), claim.get("pid")) for claim in self.look.running.values()}

    @property
    def seconds_left(self) -> float | None:
        """For all that is left, by as many processes as work now, or else worked last; None before the first unit."""
        costs = self._seconds_per_image()
        last = pace(list(self.look.done.values()), RECENT)
        processes = len(self.at_work) or last.processes
        if not costs or not processes:
            return None
        left = {view.view: view.total - view.done - view.refused for view in self.views}
        return sum(costs[name] * count for name, count in left.items()) / processes

    def _seconds_per_image(self) -> dict[str, float]:
        """Seconds of one process for an image of each view: as of late, or by the zoo's work where none is done yet."""
        paces = {row.name: self.look.sums[row.name].recent for row in self.rows}
        work = {row.name: image_work(row, self.steps) for row in self.rows}
        known = {name: each.seconds_per_image for name, each in paces.items() if each.seconds_per_image is not None}
        if not known:
            return {}
        rate = sum(known.values()) / sum(work[name] for name in known)
        return {name: known.get(name, rate * work[name]) for name in work}

    @cached_property
    def processes(self) -> list[ProcessStatus]:
        """Every attempt that logs and markers tell of, in order of their start."""
        tallies = self._tallies()
        attempts = sorted({*tallies, *self.look.starts, *self.look.seen} - {""})
        return [self._process(attempt, tallies.get(attempt, _Tally())) for attempt in attempts]

    def _process(self, attempt: str, tally: "_Tally") -> ProcessStatus:
        start = self.look.starts.get(attempt, {})
        host, pid = start.get("host") or tally.host or "?", start.get("pid")
        touched = self._touched.get((host, pid), []) if self._latest.get((host, pid)) == attempt else []
        seen = max([tally.last, self.look.seen.get(attempt, 0.0), *touched])
        rank = int(start["rank"]) if "rank" in start else None
        return ProcessStatus(attempt, host, pid, rank, tally.images, tally.seconds, tally.speed, bool(touched), seen)

    @cached_property
    def _latest(self) -> dict[tuple[Any, Any], str]:
        """(host, pid) -> the last attempt of that number: an earlier one is dead."""
        return {(start.get("host"), start.get("pid")): name for name, start in sorted(self.look.starts.items())}

    @cached_property
    def _touched(self) -> dict[tuple[Any, Any], list[float]]:
        """(host, pid) -> when its claims were last touched."""
        found: dict[tuple[Any, Any], list[float]] = defaultdict(list)
        for claim in self.look.running.values():
            found[claim.get("host"), claim.get("pid")].append(claim["touched"])
        return found

    @cached_property
    def hosts(self) -> list[HostStatus]:
        """One entry a host, the slowest first."""
        groups: dict[str, list[ProcessStatus]] = defaultdict(list)
        for process in self.processes:
            groups[process.host].append(process)
        found = [_host(host, group) for host, group in groups.items()]
        return sorted(found, key=lambda host: (host.speed is None, host.speed or 0.0, host.host))

    @property
    def slowest_host(self) -> str | None:
        """The host whose processes take longest for the same views; None where there are not two to compare."""
        known = [host for host in self.hosts if host.speed is not None]
        return known[0].host if len(known) > 1 else None

    def _tallies(self) -> "dict[str, _Tally]":
        """What each attempt did, and what the same would have taken at the mean pace of all."""
        found: dict[str, _Tally] = defaultdict(_Tally)
        for row in self.rows:
            mean = self.look.sums[row.name].whole.seconds_per_image or 0.0
            for place in self.look.views[row.name]:
                if (done := self.look.done.get(place)) is not None:
                    tally = found[done.attempt]
                    tally.host = done.host
                    tally.images += done.images
                    tally.seconds += done.seconds
                    tally.at_mean_pace += mean * done.images
                    tally.last = max(tally.last, done.started + done.seconds)
        return found

    @property
    def failures(self) -> list[Failure]:
        """Failures of an unfinished build, oldest first; none of a finished one, whatever happened on the way."""
        return [] if self.finished else self.look.failures

    def to_json(self) -> dict[str, Any]:
        """All of it, with keys that stay."""
        return {
            "folder": str(self.root), "time": self.time, "finished": self.finished, "seconds_left": self.seconds_left,
            "processes_at_work": len(self.at_work), "slowest_host": self.slowest_host,
            "views": [{**asdict(v), "missing": v.missing, "seconds_left": v.seconds_left} for v in self.views],
            "missing": list(self._missing()), "running": list(self._running()),
            "failures": [asdict(failure) for failure in self.failures],
            "hosts": [asdict(host) for host in self.hosts],
            "processes": [{**asdict(p), "images_per_second": p.images_per_second} for p in self.processes],
        }  # fmt: skip

    def _missing(self) -> Iterator[Mapping[str, Any]]:
        """Units that nobody has finished and nobody works on; `failed` says why, where an attempt ended badly."""
        for place in self.look.left:
            unit, failure = place.unit, self.look.failed.get(place)
            yield {"view": unit.view.name, "slice": unit.number, "first_row": unit.rows.start, "rows": len(unit.rows),
                   "failed": None if failure is None else failure.message}  # fmt: skip

    def _running(self) -> Iterator[Mapping[str, Any]]:
        for place in (place for places in self.look.views.values() for place in places if place in self.look.running):
            claim = self.look.running[place]
            yield {"view": place.unit.view.name, "slice": place.unit.number, "host": claim.get("host"),
                   "pid": claim.get("pid"), "last_seen": claim["touched"]}  # fmt: skip


@dataclass
class _Tally:
    """What one attempt has done."""

    host: str = ""
    images: int = 0
    seconds: float = 0.0
    at_mean_pace: float = 0.0
    last: float = 0.0

    @property
    def speed(self) -> float | None:
        return self.at_mean_pace / self.seconds if self.seconds > 0 else None


def _host(host: str, processes: list[ProcessStatus]) -> HostStatus:
    images, seconds = sum(p.images for p in processes), sum(p.seconds for p in processes)
    at_mean_pace = sum(p.seconds * p.speed for p in processes if p.speed is not None)
    return HostStatus(
        host, len(processes), sum(p.at_work for p in processes), images, images / seconds if seconds > 0 else None,
        at_mean_pace / seconds if seconds > 0 else None, max(p.last_seen for p in processes),
    )  # fmt: skip


def ranges(numbers: list[int]) -> str:
    """Ascending numbers in few words: [0, 3, 4, 5] as `0, 3-5`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
