"""What a build was predicted to take, and what it took: both stand in the report of the run."""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from noisezoo.builder.engine import Build
from noisezoo.files import write_json
from noisezoo.record import read_record
from .machines import this_machine
from .plan import Plan, plan as make_plan
from .status import Watcher

REPORT = "report.json"
"""The report's name in a build's own folder."""


@dataclass(frozen=True)
class Compared:
    """One thing predicted and measured."""

    what: str  # a view, or `published`
    images: int  # images that this run computed
    seconds: tuple[float, float] | None  # (predicted, actual), of all processes together; None where none was counted
    bytes: tuple[float, float]  # (predicted, actual)


@dataclass(frozen=True)
class Forecast:
    """A plan made before a run, to be compared with the run."""

    build: Build
    plan: Plan  # what all of it would take on this machine
    before: np.ndarray  # (views, slices) bool. Units that were done already
    made: float  # when, in seconds of the epoch

    @classmethod
    def of(cls, build: Build, processes: int) -> "Forecast":
        """Measure this machine, plan, and write the prediction down; a second or two."""
        s = build.recipe.settings
        found = this_machine(dtype=s.dtype, threads=s.threads, processes=processes)
        slices = len(build.manifest.slices(build.recipe.slice_rows))
        plan = make_plan(build.recipe, len(build.manifest), found, slices=slices)
        forecast = cls(build, plan, Watcher(build).scan().units["done"], time.time())
        forecast._write(())
        return forecast

    def compare(self) -> list[Compared]:
        """An entry a view that this run computed units of, and one of the published dataset; also written down."""
        found = []
        units = Watcher(self.build).scan().units
        for view, row, before in zip(self.plan.views, units, self.before, strict=True):
            new = np.flatnonzero(row["done"] & ~before)
            places = [self.build.units(view.row)[i] for i in new]
            images = sum(len(unit.rows) for unit in places)
            if images:
                share = images / self.plan.images
                files = [path for unit in places for path in (unit.part, unit.marker_path)]
                stored = sum(self.build.store.size(path) or 0 for path in files)
                seconds = view.seconds * share, float(row["seconds"][new].sum())
                found.append(Compared(view.row.name, images, seconds, (view.part_bytes * share, float(stored))))
        record = read_record(self.build.root)
        if found and record is not None:
            actual = sum(float(file["bytes"]) for file in record.files.values())
            found.append(Compared("published", self.plan.images, None, (self.plan.published_bytes, actual)))
        self._write(found)
        return found

    def _write(self, compared: Iterable[Compared]) -> None:
        views = {view.row.name: {"seconds": view.seconds, "bytes": view.part_bytes} for view in self.plan.views}
        fields: dict[str, Any] = {
            "made": self.made, "machine": asdict(self.plan.machine), "images": self.plan.images,
            "done_before": int(self.before.sum()), "predicted": views, "compared": [asdict(each) for each in compared],
        }  # fmt: skip
        write_json(self.build.state / REPORT, fields)


def total_seconds(compared: Iterable[Compared]) -> tuple[float, float]:
    """(predicted, actual) seconds of all processes together."""
    pairs = [each.seconds for each in compared if each.seconds is not None]
    return sum(predicted for predicted, _ in pairs), sum(actual for _, actual in pairs)
