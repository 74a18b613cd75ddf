"""Where a build stands, from its folder alone: while it runs, after it died, on any machine that sees the folder."""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from noisezoo.builder.engine import Build, Tail, Unit, holder, is_stale
from noisezoo.builder.launch.pace import Done, Pace, pace

RECENT = 900.0
"""Seconds of work whose pace tells the time left."""
READERS = 16
"""Threads that read markers: on a shared file system each waits for an answer."""


@dataclass(frozen=True)
class ViewStatus:
    """One view's progress, in images.

    Attributes:
        view: The view's name.
        total: Images in the manifest.
        done: Images committed.
        refused: Images refused.
        running: Images of units that a living process holds.
        failed: Images of units whose last attempt failed or died, and that nobody has taken up since; also `missing`.
        images_per_second: Over the time in which processes were at work on the view; None before the first unit.
        recent_images_per_second: The same over the last `RECENT` seconds of that time.
    """

    view: str
    total: int
    done: int
    refused: int
    running: int
    failed: int
    images_per_second: float | None
    recent_images_per_second: float | None

    @property
    def missing(self) -> int:
        """Images that nobody has finished and nobody works on."""
        return self.total - self.done - self.refused - self.running

    @property
    def seconds_left(self) -> float | None:
        """Of work on this view at its recent pace; None before the first unit."""
        left = self.total - self.done - self.refused
        return left / self.recent_images_per_second if self.recent_images_per_second else None


@dataclass(frozen=True, eq=False)  # each is itself: to compare units by all they hold would take long
class Place:
    """A unit, and where its files lie: paths are made once, not at every look."""

    unit: Unit
    part: Path
    marker: Path
    claim: Path

    @classmethod
    def of(cls, unit: Unit) -> "Place":
        """A unit's."""
        return cls(unit, unit.part, unit.marker_path, unit.claim_path)


class Index:
    """Places by the names of one of their files (`part`, `marker`, `claim`), folder by folder."""

    def __init__(self, places: Iterable[Place], kind: str) -> None:
        self._folders: dict[str, dict[str, list[Place]]] = defaultdict(lambda: defaultdict(list))
        for place in places:
            folder, name = os.path.split(getattr(place, kind))
            self._folders[folder][name].append(place)

    def listed(self) -> set[Place]:
        """The places of which that file is there, by one listing a folder."""
        found: set[Place] = set()
        for folder, names in self._folders.items():
            with suppress(FileNotFoundError):
                found.update(place for name in names.keys() & os.listdir(folder) for place in names[name])
        return found


@dataclass(frozen=True)
class Sums:
    """What a view's valid markers come to."""

    done: int
    refused: int
    whole: Pace
    recent: Pace

    @classmethod
    def of(cls, units: Sequence[Done]) -> "Sums":
        """Of these units."""
        return cls(sum(u.rows for u in units), sum(u.refused for u in units), pace(units), pace(units, RECENT))


@dataclass(frozen=True)
class Failure:
    """What ended an attempt.

    Attributes:
        message: What the process said of it, or that it is gone.
        attempt: Its log.
        time: When, in seconds of the epoch.
        view: Of the unit it was at; None where it was at none.
        slice: Likewise.
    """

    message: str
    attempt: str
    time: float
    view: str | None = None
    slice: int | None = None


@dataclass(frozen=True)
class Look:
    """The state of every unit at one look.

    Attributes:
        views: View -> its units, in order.
        sums: View -> what its markers come to.
        done: Units that a valid marker vouches for.
        running: Units that a living process holds -> what their claims say of it.
        failures: Every failure that logs and dead claims tell of, oldest first.
        starts: Attempt -> first line of its log.
        seen: Attempt -> its last sign of life, in seconds of the epoch.
    """

    views: dict[str, list[Place]]
    sums: dict[str, Sums]
    done: dict[Place, Done]
    running: dict[Place, dict[str, Any]]
    failures: list[Failure]
    starts: dict[str, dict[str, Any]]
    seen: dict[str, float]

    @cached_property
    def failed(self) -> dict[Place, Failure]:
        """Units whose last attempt failed or died, and that nobody has taken up since."""
        last = {(f.view, f.slice): f for f in self.failures if f.view in self.views and f.slice is not None}
        found = ((self.views[view][number], f) for (view, number), f in last.items() if view and number is not None)
        return {place: failure for place, failure in found if place not in self.done and place not in self.running}

    @property
    def left(self) -> list[Place]:
        """Units that nobody has finished and nobody works on, view by view, in order."""
        every = (place for places in self.views.values() for place in places)
        return [place for place in every if place not in self.done and place not in self.running]

    def status(self, view: str) -> ViewStatus:
        """One view in numbers."""
        sums = self.sums[view]
        return ViewStatus(
            view=view,
            total=sum(len(place.unit.rows) for place in self.views[view]),
            done=sums.done,
            refused=sums.refused,
            running=_images(self.running, view),
            failed=_images(self.failed, view),
            images_per_second=sums.whole.images_per_second,
            recent_images_per_second=sums.recent.images_per_second,
        )


def _images(places: Iterable[Place], view: str) -> int:
    return sum(len(place.unit.rows) for place in places if place.unit.view.name == view)


class Watcher:
    """Looks at a build again and again, at the cost of a few listings and of what is new.

    A marker is read until it is valid, then never again while marker and part are listed; a log is read on from where
    the last look ended. Nothing is ever written.
    """

    def __init__(self, build: Build) -> None:
        self.build = build
        self._views = {view.name: [Place.of(unit) for unit in build.units(view)] for view in build.views}
        places = [place for view in self._views.values() for place in view]
        self._parts, self._markers, self._claims = (Index(places, kind) for kind in ("part", "marker", "claim"))
        self._done: dict[Place, Done] = {}
        self._sums = {name: Sums.of(()) for name in self._views}
        self._tail = Tail(build.state / "logs")
        self._starts: dict[str, dict[str, Any]] = {}
        self._failures: list[Failure] = []

    def views(self) -> list[ViewStatus]:
        """One entry a view, in the recipe's order."""
        look = self.look()
        return [look.status(view) for view in look.views]

    def look(self) -> Look:
        """The state of every unit, now."""
        self._read_logs()
        held, lost = _claims(self._claims.listed())
        self._read_markers()  # after the claims: a unit finished in between is done, not left by everybody
        running = {place: claim for place, claim in held.items() if place not in self._done}
        dead = [failure for place, failure in lost.items() if place not in self._done]
        failures = sorted([*self._failures, *dead], key=lambda f: (f.time, f.view or "", f.slice or 0))
        return Look(
            self._views, dict(self._sums), dict(self._done), running, failures, dict(self._starts),
            dict(self._tail.seen),
        )  # fmt: skip

    def _read_markers(self) -> None:
        there = self._markers.listed() & self._parts.listed()
        gone = self._done.keys() - there
        read = _read(list(there - self._done.keys()))
        for place in gone:
            del self._done[place]
        self._done |= read
        for name in {place.unit.view.name for place in (*gone, *read)}:
            self._sums[name] = Sums.of([self._done[place] for place in self._views[name] if place in self._done])

    def _read_logs(self) -> None:
        for attempt, event in self._tail.events():
            if event["event"] == "start":
                self._starts[attempt] = event
            elif event["event"] == "failed":
                self._failures.append(
                    Failure(str(event.get("message")), attempt, event["time"], event.get("view"), event.get("slice"))
                )


def status(build: Build) -> list[ViewStatus]:
    """One entry a view, in the recipe's order; to look again and again, keep a `Watcher`."""
    return Watcher(build).views()


def _read(places: Sequence[Place]) -> dict[Place, Done]:
    """Those of which the marker is valid, read by several threads."""
    if not places:
        return {}
    with ThreadPoolExecutor(READERS) as pool:
        parts = pool.map(lambda part: [(p, _done(p)) for p in part], [places[i::READERS] for i in range(READERS)])
        return {place: done for part in parts for place, done in part if done is not None}


def _done(place: Place) -> Done | None:
    marker = place.unit.marker()
    if marker is None:
        return None
    return Done(
        marker["rows"], marker["refused"], marker["started"], marker["seconds"], marker.get("attempt", ""),
        marker.get("host", ""), marker["bytes"],
    )  # fmt: skip


def _claims(places: Iterable[Place]) -> tuple[dict[Place, dict[str, Any]], dict[Place, Failure]]:
    """Claims of living processes, and what the dead ones left; several views' units may be under one claim.

    Silence is measured by this host's clock: to ask the file system for its own, one would have to write.
    """
    together: dict[Path, list[Place]] = defaultdict(list)
    for place in places:
        together[place.claim].append(place)
    running: dict[Place, dict[str, Any]] = {}
    dead: dict[Place, Failure] = {}
    now = time.time()
    for path, group in together.items():
        claim = holder(path) or {}
        try:
            touched = path.stat().st_mtime
        except FileNotFoundError:  # given back meanwhile
            continue
        if not is_stale(path, now):
            running |= dict.fromkeys(group, {**claim, "touched": touched})
            continue
        message = f"process {claim.get('pid', '?')} on {claim.get('host', '?')} died at it"
        dead |= {each: Failure(message, "", touched, each.unit.view.name, each.unit.number) for each in group}
    return running, dead
