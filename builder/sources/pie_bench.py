"""The `pie-bench` source: 700 pictures to edit, with prompts and masks (Ju et al., PnP Inversion, ICLR 2024)."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Features, Value

from noisezoo.errors import UsageError, describe
from .source import Source

MAPPING, PICTURES = "mapping_file.json", "annotation_images"
SIDE = 512  # side of the pictures, and so of the masks
EDIT_TYPES = ("random", "change_object", "add_object", "delete_object", "change_content", "change_pose", "change_color",
              "change_material", "change_background", "change_style")  # fmt: skip
"""By the number `editing_type_id` of the mapping file."""
TEXTS = {"original_prompt": "original_prompt", "editing_prompt": "editing_prompt", "instruction": "editing_instruction",
         "blended_word": "blended_word"}  # fmt: skip
"""Label column -> entry of the mapping file; prompts without the brackets around what differs."""


class PieBench(Source):
    """A `folder` as the benchmark's authors distribute it: `mapping_file.json` beside `annotation_images/`."""

    name = "pie-bench"
    sensitive = True
    counts = MappingProxyType({"": 700})

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).expanduser()

    def scan(self) -> pa.Table:
        """A row an entry of the mapping file, in its order; `mask` is the run lengths as JSON, for `decode_mask`."""
        rows = [{
            "image_id": image_id, "key": str(entry["image_path"]),
            **{column: str(entry[key]).replace("[", "").replace("]", "") for column, key in TEXTS.items()},
            "edit_type": int(entry["editing_type_id"]), "mask": json.dumps(entry["mask"]),
        } for image_id, entry in self._entries.items()]  # fmt: skip
        features = Features({"image_id": Value("string"), "key": Value("string"), **self.label_features()})
        return pa.Table.from_pylist(rows, features.arrow_schema.remove_metadata())

    def label_features(self) -> Features:
        """Texts, the type of edit as a class, and the mask."""
        texts = {column: Value("string") for column in TEXTS}
        return Features({**texts, "edit_type": ClassLabel(names=list(EDIT_TYPES)), "mask": Value("string")})

    def content(self, key: str) -> bytes:
        """The file's bytes."""
        return (self.folder / PICTURES / key).read_bytes()

    @cached_property
    def _entries(self) -> dict[str, dict[str, Any]]:
        path = self.folder / MAPPING
        try:
            entries: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"pie-bench: {path} cannot be read: {describe(error)}; give the folder that holds {MAPPING} and "
                f"{PICTURES}/, which the benchmark's authors give out on request"
            ) from error
        for image_id, entry in entries.items():
            _refuse_entry(image_id, entry)
        return entries


def _refuse_entry(image_id: str, entry: dict[str, Any]) -> None:
    """Raise UsageError for an entry that lacks a field, or whose type of edit or mask is none."""
    missing = [key for key in (*TEXTS.values(), "image_path", "editing_type_id", "mask") if key not in entry]
    if missing:
        raise UsageError(f"pie-bench: entry {image_id} of {MAPPING} has no {missing[0]}")
    if str(entry["editing_type_id"]) not in map(str, range(len(EDIT_TYPES))):
        raise UsageError(f"pie-bench: entry {image_id} has editing_type_id {entry['editing_type_id']!r}, not 0 to 9")
    try:
        decode_mask(entry["mask"])
    except ValueError as error:
        raise UsageError(f"pie-bench: the mask of entry {image_id} is none: {error}") from error


def decode_mask(runs: Sequence[int], side: int = SIDE) -> np.ndarray:
    """The part of a picture of `side` pixels that is to be edited: (side, side) bool.

    `runs` are start and length of each run of ones, over the rows one after the other; a run may reach past the end.
    The frame of one pixel is always part of it: the authors set it so against errors of annotation. Raises ValueError
    for an odd number of them, or a start that is not in the picture.
    """
    pairs = np.asarray(runs, np.int64)
    if pairs.size % 2:
        raise ValueError(f"{pairs.size} numbers are no pairs of start and length")
    starts, lengths = pairs.reshape(-1, 2).T
    if pairs.size and (starts.min() < 0 or starts.max() >= side**2 or lengths.min() < 0):
        raise ValueError(f"a run starts outside of a picture of {side} pixels a side, or its length is negative")
    steps = np.zeros(side**2 + 1, np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, np.minimum(starts + lengths, side**2), -1)
    mask = (np.cumsum(steps)[:-1] > 0).reshape(side, side)
    mask[[0, -1]] = mask[:, [0, -1]] = True
    return mask
