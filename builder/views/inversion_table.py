"""Schemes of inversion against each other on pictures to edit: PIE-Bench's table, image by image."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from noisezoo import zoo
from noisezoo.builder.models import Inverter
from noisezoo.builder.sources import EDIT_TYPES, Refusal, Source, decode_mask, signed
from noisezoo.errors import UsageError
from .edit_measures import Edits, make_measures
from .networks import make_inverter, sampling

if TYPE_CHECKING:
    from noisezoo.builder.recipe import Settings


def inversion_table(
    source: Source, rows: Mapping[str, zoo.View], view: str, settings: Mapping[str, "Settings"], *,
    measures: Sequence[str], edit_guidance: float, limit: int | None, refused: list[Refusal],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Invert every picture under its own prompt, and generate under that prompt again and under the edit's.

    Args:
        source: Pictures with the labels `original_prompt`, `editing_prompt`, `edit_type` and `mask`.
        rows: The rows of the view and of what the measures read.
        view: The noise view; its model must read prompts.
        settings: Label of a scheme -> settings, whose `guidance_scale` is that of inversion and reconstruction.
        measures: Names of measures.
        edit_guidance: Guidance scale of the edit.
        limit: The first so many pictures; None for all.
        refused: Gets the pictures that cannot be read.

    Yields:
        A row a picture, scheme and `task` (reconstruction, edit): `image_id`, `edit_type` and every measure.

    Raises:
        UsageError: The view's model reads no prompts, or what loading a model refuses.
    """
    pairs = _load(rows[view], settings, edit_guidance)
    device = next(iter(pairs.values()))[0].pipeline.device
    measured = make_measures(measures, rows, device)
    labels = source.scan().slice(0, limit).to_pylist()
    size = next(iter(settings.values())).batch_size
    for kept, given, masks in _batches(source, labels, size, rows[view].resolution, refused):
        for scheme, pair in pairs.items():
            for task, made, prompts in _ways(*pair, kept, given):
                edits = Edits(given.to(device), made, masks.to(device), prompts)
                with torch.inference_mode():
                    columns = {name: measure(edits).tolist() for name, measure in measured.items()}
                for k, row in enumerate(kept):
                    yield {"scheme": scheme, "task": task, "image_id": row["image_id"],
                           "edit_type": EDIT_TYPES[row["edit_type"]],
                           **{name: column[k] for name, column in columns.items()}}  # fmt: skip


def _load(
    row: zoo.View, settings: Mapping[str, "Settings"], edit_guidance: float
) -> "dict[str, tuple[Inverter, Inverter]]":
    """Scheme -> what inverts and reconstructs, and what edits; all share one model."""
    first = make_inverter(row, next(iter(settings.values())))
    if not first.network.text_pipeline:
        raise UsageError(f"view {row.name}: its model reads no prompts, so nothing can be edited through it")
    load = partial(Inverter, first.pipeline, prompt=None)
    return {scheme: (load(**how), load(**how | {"guidance_scale": edit_guidance}))
            for scheme, how in ((scheme, sampling(chosen)) for scheme, chosen in settings.items())}  # fmt: skip


def _batches(
    source: Source, labels: Sequence[dict[str, Any]], size: int, side: int, refused: list[Refusal]
) -> "Iterator[tuple[list[dict[str, Any]], Tensor, Tensor]]":
    """Labels of the pictures that can be read, these pictures (b, 3, h, w) in [-1, 1], and masks (b, h, w) bool."""
    for start in range(0, len(labels), size):
        rows, kept, given = labels[start : start + size], [], []
        for row, image in zip(rows, source.images([row["key"] for row in rows]), strict=True):
            if isinstance(image, Exception):
                refused.append(Refusal.from_error(row["image_id"], "source", image))
            else:
                kept.append(row)
                given.append(signed(image, side))
        if kept:
            masks = np.stack([mask_at(json.loads(row["mask"]), side) for row in kept])
            yield kept, torch.from_numpy(np.stack(given)), torch.from_numpy(masks)


def mask_at(runs: Sequence[int], side: int) -> np.ndarray:
    """`decode_mask` at another side, by the nearest pixel: (side, side) bool."""
    mask = decode_mask(runs)
    near = (np.arange(side) * 2 + 1) * len(mask) // (2 * side)
    return mask[near][:, near]


def _ways(
    inverter: "Inverter", editor: "Inverter", labels: Sequence[dict[str, Any]], given: "Tensor"
) -> "Iterator[tuple[str, Tensor, list[str]]]":
    """The task, the pictures that come of it, of 8 bits as they would be saved, and the prompts they should follow."""
    before, after = ([row[name] for row in labels] for name in ("original_prompt", "editing_prompt"))
    noise, previous = inverter.invert_states(inverter.encode(given), prompts=before)
    for task, maker, prompts in (("reconstruction", inverter, before), ("edit", editor, after)):
        made = maker.generate(noise, previous=previous, prompts=prompts)
        yield task, ((made.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1, prompts
