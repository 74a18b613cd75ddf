"""One process's work: draw units, view by view, compute, commit. It needs nothing from its siblings."""

import platform
import time
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.builder.build import Build, Unit
from noisezoo.builder.claims import Claim, claimed
from noisezoo.builder.compute import make_computer
from noisezoo.builder.log import Log
from noisezoo.builder.manifest import spare_keys
from noisezoo.builder.sources import Refusal, Source, open_source
from noisezoo.errors import NoiseZooError
from noisezoo.files import committed, sha256_of, sweep, write_json
from noisezoo.schema import ID, to_table, view_features, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

    from noisezoo.builder.compute.base import Computer, Rows

SOFTWARE = (
    "noisezoo",
    "torch",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "numpy",
    "pyarrow",
    "pillow",
    "datasets",
)

FIT_ROWS = 1000
"""At most this many images decide a fit, so that its cost does not grow with the dataset."""


def work(build: Build, log: Log) -> int:
    """Compute every unit that is pending and that no living process holds; returns how many were committed here.

    Views come one after another, so that a model is loaded once; a process that finds nothing left of one view goes on
    to the next, so that none idles while units remain.
    """
    source = open_source(build.recipe.source.name, build.recipe.source.options)
    return sum(_work_view(build, source, units, log) for units in _pending_by_view(build))


def _pending_by_view(build: Build) -> Iterator[list[Unit]]:
    for view in build.views:
        pending = [unit for unit in build.units(view) if unit.marker() is None]
        if pending:
            yield pending


def _work_view(build: Build, source: Source, units: Sequence[Unit], log: Log) -> int:
    computer: Computer | None = None
    committed_here = 0
    for unit in units:
        with claimed(unit.claim_path) as claim:
            if claim is None or unit.marker() is not None:
                continue
            if computer is None:
                computer = load_computer(build, source, unit, log)
            run_unit(unit, computer, source, claim, log)
            committed_here += 1
    return committed_here


def load_computer(build: Build, source: Source, unit: Unit, log: Log) -> "Computer":
    """The view's computer with its model loaded and, where it needs one, its fit."""
    started = time.perf_counter()
    computer = make_computer(unit.view, build.recipe.settings)
    computer.load()
    computer.fit(lambda: fitting_images(build, source), build.state / "fits" / f"{unit.view.name}.safetensors")
    log.write("loaded", view=unit.view.name, seconds=round(time.perf_counter() - started, 3))
    return computer


def fitting_images(build: Build, source: Source) -> "Iterator[Image]":
    """The readable images that a view may learn its fit from, `FIT_ROWS` at most.

    Images that the recipe's limit leaves out of the dataset, so that all of the dataset's rows are alike to the fit;
    or the first split (`train`, where there is one), where that is more.
    """
    spare = spare_keys(source.scan(), build.recipe.source, FIT_ROWS)
    first = next(iter(build.manifest.splits.values()))
    own = build.manifest.keys[first.start : min(first.stop, first.start + FIT_ROWS)]
    keys = max(spare, own, key=len)
    for start in range(0, len(keys), 64):
        yield from (image for image in source.images(keys[start : start + 64]) if not isinstance(image, Exception))


def run_unit(unit: Unit, computer: "Computer", source: Source, claim: Claim, log: Log) -> None:
    """Compute one unit and commit it: the part first, then the marker that vouches for it."""
    started = time.time()
    sweep(unit.part.parent, unit.part.name)
    sweep(unit.part.parent, unit.marker_path.name)
    keys = unit.build.manifest.keys[unit.rows.start : unit.rows.stop]
    ids, rows, refusals = computer.rows(unit.ids, source.images(keys), progress=claim.touch)
    if sorted(ids + [refusal.image_id for refusal in refusals]) != sorted(unit.ids):
        raise NoiseZooError(f"{unit.view.name} slice {unit.number}: rows in are not rows out and refused; report this")
    _commit_part(unit, ids, rows, computer.quality)
    write_json(unit.marker_path, _marker(unit, ids, refusals, started))
    log.write("unit", view=unit.view.name, slice=unit.number, rows=len(ids), refused=len(refusals),
              seconds=round(time.time() - started, 3))  # fmt: skip


def _commit_part(unit: Unit, ids: list[str], rows: "Rows", quality: Sequence[str]) -> None:
    features = view_features(unit.view.name, unit.view.shape, unit.view.dtype, quality)
    table = to_table(features, {ID: ids, **rows})
    with committed(unit.part, check=lambda path: _reread(path, table)) as temporary:
        write_parquet(temporary, features, [table])


def _reread(path: Path, table: "pa.Table") -> None:
    """What is on disk must be what was meant: a full disk or a bad one is found here, before the part has its name."""
    import pyarrow.parquet as pq

    if not pq.read_table(path).equals(table):
        raise NoiseZooError(f"{path.name} read back differently from what was written: check the disk, then run again")


def _marker(unit: Unit, ids: list[str], refusals: list[Refusal], started: float) -> dict[str, Any]:
    return {
        **unit.expected(),
        "rows": len(ids),
        "refused": len(refusals),
        "refusals": [vars(refusal) for refusal in refusals],
        "first": ids[0] if ids else None,
        "last": ids[-1] if ids else None,
        "bytes": unit.part.stat().st_size,
        "sha256": sha256_of(unit.part),
        "software": software(),
        "device": device_name(),
        "started": started,
        "seconds": time.time() - started,
    }


@cache
def software() -> dict[str, str]:
    """Versions of all that can change a byte."""
    return {"python": platform.python_version(), **{name: version(name) for name in SOFTWARE}}


@cache
def device_name() -> str:
    """The kind of device this process computes on."""
    import torch
    from accelerate import PartialState

    device = PartialState().device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"
