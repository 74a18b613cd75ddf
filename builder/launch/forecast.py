"""What a build was predicted to take, and what it took: the honest ratio, in the report of the run."""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from noisezoo.builder.engine import Build
from noisezoo.builder.launch.machines import this_machine
from noisezoo.builder.launch.plan import Plan, plan as make_plan
from noisezoo.builder.launch.status import Place, Watcher
from noisezoo.files import write_json
from noisezoo.record import read_record

REPORT = "report.json"
"""In a build's own folder."""


@dataclass(frozen=True)
class Compared:
    """One thing predicted and measured.

    Attributes:
        what: A view, or `published`.
        images: That this run computed.
        seconds: (predicted, actual), of all processes together; None where none was counted.
        bytes: (predicted, actual).
    """

    what: str
    images: int
    seconds: tuple[float, float] | None
    bytes: tuple[float, float]


@dataclass(frozen=True)
class Forecast:
    """A plan made before a run, to be compared with the run.

    Attributes:
        build: The build.
        plan: What all of it would take on this machine.
        before: Units that were done already.
        made: When, in seconds of the epoch.
    """

    build: Build
    plan: Plan
    before: frozenset[Path]
    made: float

    @classmethod
    def of(cls, build: Build, processes: int) -> "Forecast":
        """Measure this machine, plan, and write the prediction down; a second or two."""
        s = build.recipe.settings
        found = this_machine(dtype=s.dtype, threads=s.threads, processes=processes)
        slices = len(build.manifest.slices(build.recipe.slice_rows))
        plan = make_plan(build.recipe, len(build.manifest), found, slices=slices)
        before = frozenset(place.marker for place in Watcher(build).look().done)
        forecast = cls(build, plan, before, time.time())
        write_json(build.state / REPORT, forecast._fields(()))
        return forecast

    def compare(self) -> list[Compared]:
        """A line a view that this run computed units of, and one of the published dataset; also written down."""
        look = Watcher(self.build).look()
        new = {place: done for place, done in look.done.items() if place.marker not in self.before}
        found = []
        for view in self.plan.views:
            own = {place: done for place, done in new.items() if place.unit.view.name == view.row.name}
            images = sum(len(place.unit.rows) for place in own)
            if images:
                share = images / self.plan.images
                seconds = view.seconds * share, sum(done.seconds for done in own.values())
                stored = view.part_bytes * share, float(sum(map(_size, own)))
                found.append(Compared(view.row.name, images, seconds, stored))
        record = read_record(self.build.root)
        if found and record is not None:
            actual = sum(float(file["bytes"]) for file in record.files.values())
            found.append(Compared("published", self.plan.images, None, (self.plan.published_bytes, actual)))
        write_json(self.build.state / REPORT, self._fields(found))
        return found

    def _fields(self, compared: Iterable[Compared]) -> dict[str, Any]:
        views = {view.row.name: {"seconds": view.seconds, "bytes": view.part_bytes} for view in self.plan.views}
        return {
            "made": self.made, "machine": asdict(self.plan.machine), "images": self.plan.images,
            "done_before": len(self.before), "predicted": views, "compared": [asdict(each) for each in compared],
        }  # fmt: skip


def total_seconds(compared: Iterable[Compared]) -> tuple[float, float]:
    """(predicted, actual) of all processes together."""
    pairs = [each.seconds for each in compared if each.seconds is not None]
    return sum(predicted for predicted, _ in pairs), sum(actual for _, actual in pairs)


def _size(place: Place) -> int:
    """Of the unit's files on disk."""
    return place.part.stat().st_size + place.marker.stat().st_size
