"""Schemes of inversion against each other on pictures to edit: PIE-Bench's table, image by image."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo import zoo
from noisezoo.builder.sources import EDIT_TYPES, Refusal, Source, decode_mask, signed
from noisezoo.errors import UsageError
from .edit_measures import Edits, make_measures
from .networks import make_inverter

if TYPE_CHECKING:
    from torch import Tensor

    from noisezoo.builder.models import Inverter
    from noisezoo.builder.recipe import Settings

RECONSTRUCTION, EDIT = "reconstruction", "edit"


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
    import torch

    pairs = _load(rows[view], settings, edit_guidance)
    device = next(iter(pairs.values()))[0].pipeline.device
    measured = make_measures(measures, rows, device)
    labels = source.scan().slice(0, limit).to_pylist()
    size = next(iter(settings.values())).batch_size
    for start in range(0, len(labels), size):
        part = _read(source, labels[start : start + size], rows[view].resolution, refused)
        for scheme, pair in pairs.items() if part.labels else ():
            for task, made, prompts in _ways(*pair, part):
                edits = Edits(part.given.to(device), made, part.masks.to(device), prompts)
                with torch.inference_mode():
                    columns = {name: measure(edits).tolist() for name, measure in measured.items()}
                for k, row in enumerate(part.labels):
                    yield {"scheme": scheme, "task": task, "image_id": row["image_id"],
                           "edit_type": EDIT_TYPES[row["edit_type"]],
                           **{name: column[k] for name, column in columns.items()}}  # fmt: skip


def _load(
    row: zoo.View, settings: Mapping[str, "Settings"], edit_guidance: float
) -> "dict[str, tuple[Inverter, Inverter]]":
    """Scheme -> what inverts and reconstructs, and what edits; all share one model."""
    from noisezoo.builder.models import Inverter

    def like(first: Inverter, chosen: "Settings", guidance_scale: float | None) -> Inverter:
        return Inverter(
            first.pipeline, num_inference_steps=chosen.num_inference_steps, guidance_scale=guidance_scale, prompt=None,
            negative_prompt=chosen.negative_prompt, scheme=chosen.scheme, scheme_options=chosen.scheme_options,
            span=chosen.span,
        )  # fmt: skip

    first = make_inverter(row, next(iter(settings.values())))
    if not first.network.text_pipeline:
        raise UsageError(f"view {row.name}: its model reads no prompts, so nothing can be edited through it")
    return {scheme: (like(first, chosen, chosen.guidance_scale), like(first, chosen, edit_guidance))
            for scheme, chosen in settings.items()}  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """Pictures that were read: their labels, and (b, 3, h, w) in [-1, 1] and (b, h, w) bool."""

    labels: list[dict[str, Any]]
    given: "Tensor"
    masks: "Tensor"


def _read(source: Source, labels: Sequence[dict[str, Any]], side: int, refused: list[Refusal]) -> _Part:
    import torch

    kept, pixels, masks = [], [], []
    for row, image in zip(labels, source.images([row["key"] for row in labels]), strict=True):
        if isinstance(image, Exception):
            refused.append(Refusal.from_error(row["image_id"], "source", image))
            continue
        kept.append(row)
        pixels.append(signed(image, side))
        masks.append(mask_at(json.loads(row["mask"]), side))
    empty = np.empty((0, 3, side, side), np.float32)
    return _Part(kept, torch.from_numpy(np.stack(pixels) if kept else empty),
                 torch.from_numpy(np.stack(masks) if kept else empty[:, 0] > 0))  # fmt: skip


def mask_at(runs: Sequence[int], side: int) -> np.ndarray:
    """`decode_mask` at another side, by the nearest pixel: (side, side) bool."""
    mask = decode_mask(runs)
    near = (np.arange(side) * 2 + 1) * len(mask) // (2 * side)
    return mask[near][:, near]


def _ways(inverter: "Inverter", editor: "Inverter", part: _Part) -> "Iterator[tuple[str, Tensor, list[str]]]":
    """The task, the pictures that come of it, of 8 bits as they would be saved, and the prompts they should follow."""
    before, after = ([row[name] for row in part.labels] for name in ("original_prompt", "editing_prompt"))
    noise, previous = inverter.invert_states(inverter.encode(part.given), prompts=before)
    for task, maker, prompts in ((RECONSTRUCTION, inverter, before), (EDIT, editor, after)):
        made = maker.generate(noise, previous=previous, prompts=prompts)
        yield task, ((made.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1, prompts
