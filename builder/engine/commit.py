"""How a computed unit becomes a part and a marker: written aside, reread, renamed, then described by its marker."""

import platform
import socket
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.builder.models import families
from noisezoo.builder.sources import Refusal
from noisezoo.builder.views import Computer, Rows, Work
from noisezoo.errors import NoiseZooError
from noisezoo.files import sha256_of
from noisezoo.schema import ID, same_values, to_table, view_features, write_parquet
from .build import FITTED, Unit
from .log import Log

if TYPE_CHECKING:
    import pyarrow as pa

CUT_PROMPTS = "cut_prompts"
"""Key of a marker: rows whose prompt is longer than what the model reads of it."""
SOFTWARE = (
    "noisezoo", "torch", "diffusers", "transformers", "numpy", "pyarrow", "pillow", "datasets",
)  # fmt: skip
"""Packages whose versions can change a byte, beside the encoders' own."""


def commit(unit: Unit, work: Work, started: float, log: Log) -> None:
    """Commit a computed unit, begun at `started`: the part first, then the marker with its hash.

    The caller's `log.about` says which unit it is.
    """
    stages = work.computer.stages
    ids, rows, refusals = work.finish()
    if sorted(ids + [refusal.image_id for refusal in refusals]) != sorted(unit.ids):
        raise NoiseZooError(f"{unit.view.name} slice {unit.number}: rows in are not rows out and refused; report this")
    with stages.timed("write"):
        part = _commit_part(unit, work.computer, ids, rows)
    spent = stages.take_seconds()
    worker = {"host": socket.gethostname(), "attempt": log.attempt, "started": started, "seconds": sum(spent.values())}
    short = [vars(shortage) for shortage in stages.take_shortages()]
    with stages.timed("write"):
        told = {**worker, "shortages": short, **_cut(work, ids)}
        told |= {FITTED: unit.build.manifest.digest} if work.computer.learns else {}
        marker = {**_marker(unit, work.computer, ids, refusals), **part, **told}
        unit.build.store.write_json(unit.marker_path, marker)
    spent["write"] += stages.take_seconds()["write"]
    for each in short:
        log.write("shortage", message=f"rows of {unit.view.name} slice {unit.number} were computed at batch "
                  f"{each['then']} instead of {each['tried']} ({each['stage']}: {each['reason']})")  # fmt: skip
    log.write("unit", rows=len(ids), refused=len(refusals), batch_size=stages.sizes,
              seconds=round(sum(spent.values()), 3),
              **{f"{stage}_seconds": round(value, 6) for stage, value in spent.items()})  # fmt: skip


def _commit_part(unit: Unit, computer: Computer, ids: list[str], rows: Rows) -> dict[str, Any]:
    """Commit the part; its length and hash."""
    view = unit.view
    also = [name for name in computer.arrays if name != view.name]
    features = view_features(view.name, view.shape, view.dtype, computer.quality, also)
    table = to_table(features, {ID: ids, **rows})
    with unit.build.store.committed(unit.part, check=partial(_reread, table=table)) as temporary:
        write_parquet(temporary, features, [table])
        return {"bytes": temporary.stat().st_size, "sha256": sha256_of(temporary)}


def _reread(path: Path, table: "pa.Table") -> None:
    """Compare what is on disk with what was meant: a full or bad disk is found before the part has its name."""
    import pyarrow.parquet as pq

    if not same_values(pq.read_table(path), table):
        raise NoiseZooError(f"{path.name} read back differently from what was written: check the disk, then run again")


def _marker(unit: Unit, computer: Computer, ids: list[str], refusals: list[Refusal]) -> dict[str, Any]:
    return {
        **unit.expected(),
        "rows": len(ids),
        "refused": len(refusals),
        "refusals": [vars(refusal) for refusal in refusals],
        "first": ids[0] if ids else None,
        "last": ids[-1] if ids else None,
        "batch_size": computer.stages.sizes,
        "facts": computer.facts,
        "arithmetic": computer.arithmetic,
        "software": software(),
        "device": device_name(),
    }


def _cut(work: Work, ids: list[str]) -> dict[str, int]:
    """How many of the unit's rows have a prompt that the model reads in part alone, where there are any."""
    prompts, kept = work.part.prompts, set(ids)
    own = None if prompts is None else [p for i, p in zip(work.part.ids, prompts, strict=True) if i in kept]
    cut = work.computer.cut_prompts(own)
    count = len(ids) * any(cut) if prompts is None else sum(cut)
    return {CUT_PROMPTS: count} if count else {}


@cache
def software() -> dict[str, str]:
    """Versions of all that can change a byte."""
    names = dict.fromkeys((*SOFTWARE, *(family.package for family in families().values())))
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


@cache
def device_name() -> str:
    """The kind of device this process computes on."""
    import torch
    from accelerate import PartialState

    device = PartialState().device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"
