"""The `faces` source: drawn faces whose factors of variation are all known."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features, Value
from PIL import Image

from noisezoo.builder.sources.source import Source
from noisezoo.errors import UsageError
from noisezoo.schema import FACTOR_PREFIX
from .factors import ATTRIBUTES, NUISANCES, Correlation, Factors, captions, face_factors
from .render import render

FIRST_TRAINING_FACE = 1_000_000_000
"""Faces below this number are for datasets; from it on, they are for training the testbed's models."""


@dataclass
class Faces(Source):
    """Drawn faces, `count` of them from number `first` on, none of which trained a testbed model.

    Args:
        size: Side of the picture in pixels.
        seed: The world the faces are drawn from.
        first: Number of the first face.
        count: How many faces there are.
        correlations: Spurious correlations to plant, each `{first: ..., second: ..., phi: ...}`.
        captions: Add a column `caption`, a sentence that says what the face has.
    """

    name = "faces"
    license = "Apache-2.0"

    size: int = 32
    seed: int = 0
    first: int = 0
    count: int = 20_000
    correlations: list[dict[str, Any]] = field(default_factory=list)
    captions: bool = False

    def __post_init__(self) -> None:
        if self.size < 8:
            raise UsageError(f"faces of {self.size} pixels show nothing; draw them at 8 or more")
        stop = self.first + self.count
        if self.first < 0 or stop > FIRST_TRAINING_FACE:
            raise UsageError(f"faces {self.first} to {stop} are not all datasets': stay below {FIRST_TRAINING_FACE}")
        self.factors([self.first])

    def factors(self, numbers: Sequence[int]) -> Factors:
        """True factor values of the faces with these numbers."""
        return face_factors(numbers, seed=self.seed, correlations=[Correlation(**c) for c in self.correlations])

    def scan(self) -> pa.Table:
        """All the faces: attributes under their CelebA names, nuisances as `factor_NAME`."""
        numbers = range(self.first, self.first + self.count)
        factors = self.factors(numbers)
        labels = {name if name in ATTRIBUTES else FACTOR_PREFIX + name: column for name, column in factors.items()}
        if self.captions:
            labels["caption"] = np.asarray(captions(factors))
        return pa.table({"image_id": [f"faces-{k:09d}" for k in numbers], "key": [str(k) for k in numbers], **labels})

    def label_features(self) -> Features:
        """Sixteen attributes as bool; the nuisances' true values as float32; the caption, if it was asked for."""
        attributes = dict.fromkeys(ATTRIBUTES, Value("bool"))
        nuisances = {FACTOR_PREFIX + name: Value("float32") for name in NUISANCES}
        return Features(attributes | nuisances | ({"caption": Value("string")} if self.captions else {}))

    def content(self, key: str) -> bytes:
        """The pixels of one face: (size, size, 3) uint8."""
        return render(self.factors([int(key)]), self.size).tobytes()

    def contents(self, keys: Sequence[str]) -> list[bytes | Exception]:
        """The pixels of several faces, drawn at once, which is many times faster than one by one."""
        return [picture.tobytes() for picture in render(self.factors([int(key) for key in keys]), self.size)]

    def decode(self, content: bytes) -> Image.Image:
        """The picture of these pixels."""
        return Image.frombytes("RGB", (self.size, self.size), content)
