"""Rows recomputed from their images by the computers that a build uses, and compared with the stored ones."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from noisezoo import zoo
from noisezoo.builder.dataset import load_computer
from noisezoo.builder.engine import STATE, device_name, open_build
from noisezoo.builder.recipe import Settings, merged
from noisezoo.builder.sources import Source, keys_of, open_source
from noisezoo.builder.views import Computer
from noisezoo.errors import NoiseZooError, UsageError, describe
from noisezoo.record import LABELS, RECIPE, Section
from noisezoo.schema import ID, column_to_numpy, open_parquet
from .checked_files import Finding
from .rounding import TF32, rounding_noise

EXACT = ("random", "true")
"""Families whose rows depend on nothing but the id and the seed."""
TOLERANCES: Mapping[str, float] = {"float16": 1e-2, "float32": 1e-3}
"""Stored dtype -> |recomputed - stored| / |stored| that is always allowed."""
ROUNDINGS = 3.0
"""Allowed are this many times the distance by which rounding alone moves the rows, where that is more."""


@dataclass(frozen=True)
class Recomputed:
    """One view's recomputed rows."""

    config: str  # the view's config
    rows: int = 0  # number of rows recomputed
    tolerance: float = 0.0  # largest difference allowed, as a share of the row's norm
    worst: float = 0.0  # largest difference found, as a share of the row's norm
    median: float = 0.0  # median difference, as a share of the row's norm
    end: float | None = None  # the time at which the inversion ended (x_T's); None where there is none
    reason: str | None = None  # why no row was recomputed; None where some were
    faults: tuple[Finding, ...] = ()
    """The rows that differ by more, or that are refused now; rows are counted over the whole source."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What the model's files decided: where x_T sits; empty where it does not invert."""


@dataclass(frozen=True)
class Sample:
    """Some rows of a source."""

    positions: np.ndarray  # (n,) ascending, counted over all splits
    ids: list[str]
    images: list[Any]
    prompts: list[str] | None


def recompute_rows(
    root: Path, section: Section, count: int, source: Source | None, folders: Mapping[str, str], seed: int
) -> list[Recomputed]:
    """Recompute `count` rows (all, where there are no more), chosen by `seed`, of every view of a verified dataset.

    `folders` are those of models, by view; one serves all views of the same repository. Without a `source` of images,
    the one that the recipe names is opened.

    Returns:
        One entry a view: how near its rows came, or why it could not be computed.
    """
    try:
        known = {name: value for name, value in section.settings.items() if name in Settings.model_fields}
        settings, sample = Settings.model_validate(known), _sample(root, section, count, source, seed)
    except (NoiseZooError, OSError, ValueError, KeyError) as error:
        reason = f"its images cannot be had ({describe(error)}): give their source"
        return [Recomputed(section.prefix + name, reason=reason) for name in section.view_names]
    return [_recompute(root, section, view, settings, sample, folders) for view in section.views]


def _recompute(
    root: Path, section: Section, row: dict[str, Any], settings: Settings, sample: Sample, folders: Mapping[str, str]
) -> Recomputed:
    config = section.prefix + row["name"]
    try:
        computer = _computer(root, section, row, merged(settings, row.get("settings", {})), folders)
    except Exception as error:  # whatever keeps a model from being loaded is why its rows are not recomputed
        return Recomputed(config, reason=describe(error))
    kept, rows, refusals = computer.rows(sample.ids, sample.images, sample.prompts)
    stored = stored_rows(root, section, row["name"], sample.positions, list(computer.arrays))
    place = [sample.ids.index(image_id) for image_id in kept]
    shares = _shares(rows, {name: column_to_numpy(stored.column(name))[place] for name in computer.arrays})
    tolerance = _tolerance(computer, section, sample, kept, rows)
    messages = {refusal.image_id: f"it is refused now: {refusal.message}" for refusal in refusals}
    messages |= {
        image_id: f"recomputed, it differs by {share:.2g} of its norm where {tolerance:g} is allowed: build again"
        for image_id, share in zip(kept, shares, strict=True) if not share <= tolerance
    }  # fmt: skip
    numbers = dict(zip(sample.ids, sample.positions.tolist(), strict=True))
    faults = [
        Finding("recompute", config, message, numbers[image_id], image_id) for image_id, message in messages.items()
    ]
    return Recomputed(
        config, len(kept), tolerance, float(shares.max(initial=0)), float(np.median(shares)) if kept else 0.0,
        computer.facts.get("x_T_time"), None, tuple(faults), computer.facts,
    )  # fmt: skip


def _tolerance(
    computer: Computer, section: Section, sample: Sample, kept: list[str], rows: dict[str, np.ndarray]
) -> float:
    """How far a sound row may lie from its stored one, as a share of its norm."""
    if computer.view.family in EXACT:
        return 0.0
    with rounding_noise(coarsest_unit((*section.devices, device_name()), computer.view.half)):
        also, moved, _ = computer.rows(sample.ids, sample.images, sample.prompts)
    both = [image_id for image_id in kept if image_id in also]
    a, b = ([ids.index(image_id) for image_id in both] for ids in (also, kept))
    names = computer.arrays
    spread = _shares({name: moved[name][a] for name in names}, {name: rows[name][b] for name in names})
    return max(TOLERANCES[computer.view.dtype], ROUNDINGS * float(spread.max(initial=0)))


def coarsest_unit(devices: Iterable[str], half: str | None) -> float:
    """The coarsest rounding unit of any of the devices, beside the network's own here.

    `half` is the half precision that a GPU chose, as the dataset's record has it.
    """
    import torch

    if all(device.startswith("cpu") for device in devices):
        return 0.0
    return max(TF32, torch.finfo(getattr(torch, half)).eps if half else 0.0)


def stored_rows(root: Path, section: Section, name: str, positions: np.ndarray, columns: list[str]) -> pa.Table:
    """Rows of a config at these ascending positions, counted over all splits; reads only their row groups."""
    tables, start = [], 0
    for path in (path for paths in section.shards(name).values() for path in paths):
        with open_parquet(root / path) as file:
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                inside = positions[(positions >= start) & (positions < stop)] - start
                if len(inside):
                    tables.append(file.read_row_group(group, columns=columns).take(inside))
                start = stop
    return pa.concat_tables(tables)


def _sample(root: Path, section: Section, count: int, source: Source | None, seed: int) -> Sample:
    """Rows with their images; the source is opened by the recipe's name and options where none is given."""
    chosen = np.random.default_rng(seed).choice(section.rows, min(count, section.rows), replace=False)
    positions, column = np.sort(chosen), section.settings.get("prompt_column")
    table = stored_rows(root, section, LABELS, positions, [ID, *([column] if column else [])])
    ids = table.column(ID).to_pylist()
    if source is None:
        fields = json.loads((root / (section.prefix + RECIPE)).read_text())["source"]
        source = open_source(fields["name"], fields["options"])
    images = source.images(keys_of(source, ids))
    prompts = None
    if column is not None:
        prompts = ["" if text is None else str(text) for text in table.column(column).to_pylist()]
    return Sample(positions, ids, images, prompts)


def _computer(
    root: Path, section: Section, row: dict[str, Any], settings: Settings, folders: Mapping[str, str]
) -> Computer:
    """The view's computer with its model loaded.

    Raises:
        UsageError: Its model, or what it was fitted on, is not here.
    """
    view = zoo.View.of(row)
    local = section.weights.get(view.name) is not None
    shared = {other["repo"]: folders[other["name"]] for other in section.views if other["name"] in folders}
    folder = folders.get(view.name) or (shared.get(view.repo) if view.repo else None)
    if local and folder is None:
        raise UsageError(f"its model was read from a local folder: give it as folders={{{view.name!r}: PATH}}")
    computer = load_computer(view, settings, folder)
    if computer.learns:  # from images that need not be in the dataset
        built = (root / STATE).is_dir()
        fit = open_build(root).sample / "fits" / f"{view.name}.safetensors" if built else None
        if fit is None or not fit.exists():
            raise UsageError("what it was fitted on is not published: recompute it in the folder that it was built in")
        from safetensors.numpy import load_file

        computer.fitted = load_file(fit)
    return computer


def _shares(rows: Mapping[str, np.ndarray], stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """How far rows lie from stored ones, as shares of the stored norms, the largest of several arrays: (n,)."""
    shares = []
    for name, wanted in stored.items():
        b = wanted.reshape(len(wanted), -1).astype(np.float64)
        a = rows[name].reshape(b.shape).astype(np.float64)
        norms = np.linalg.norm(b, axis=1)
        shares.append(np.linalg.norm(a - b, axis=1) / np.where(norms > 0, norms, 1.0))
    return np.asarray(np.max(shares, axis=0))
