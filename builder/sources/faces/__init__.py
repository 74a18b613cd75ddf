"""The `faces` source: drawn faces whose factors of variation are all known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo.builder.sources.faces.captions import captions as write_captions
from noisezoo.builder.sources.faces.factors import ATTRIBUTES, NUISANCES, Correlation, Factors, face_factors
from noisezoo.builder.sources.faces.render import render
from noisezoo.builder.sources.ids import FIRST_TRAINING_FACE
from noisezoo.builder.sources.source import Source
from noisezoo.errors import UsageError
from noisezoo.schema import FACTOR_PREFIX

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features
    from PIL.Image import Image

DEFAULT_COUNT = 20_000


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

    def __init__(
        self,
        size: int = 32,
        seed: int = 0,
        first: int = 0,
        count: int = DEFAULT_COUNT,
        correlations: Sequence[dict[str, Any]] = (),
        captions: bool = False,
    ) -> None:
        if size < 8:
            raise UsageError(f"faces of {size} pixels show nothing; draw them at 8 or more")
        if first < 0 or first + count > FIRST_TRAINING_FACE:
            raise UsageError(
                f"faces {first} to {first + count} are not all datasets': stay below {FIRST_TRAINING_FACE}"
            )
        self._options = {"size": size, "seed": seed, "first": first, "count": count, "correlations": list(correlations),
                         "captions": captions}  # fmt: skip
        self.size, self.seed, self.numbers = size, seed, range(first, first + count)
        self.correlations = tuple(Correlation(**c) for c in correlations)
        self.factors([first])

    def factors(self, numbers: Sequence[int]) -> Factors:
        """True factor values of the faces with these numbers."""
        return face_factors(numbers, seed=self.seed, correlations=self.correlations)

    def scan(self) -> "pa.Table":
        """All the faces: attributes under their CelebA names, nuisances as `factor_NAME`."""
        import pyarrow as pa

        factors = self.factors(self.numbers)
        labels = {name if name in ATTRIBUTES else FACTOR_PREFIX + name: column for name, column in factors.items()}
        ids = [f"faces-{number:09d}" for number in self.numbers]
        told = {"caption": write_captions(factors)} if self._options["captions"] else {}
        return pa.table({"image_id": ids, "key": [str(number) for number in self.numbers], **labels, **told})

    def label_features(self) -> "Features":
        """Sixteen attributes as bool; the nuisances' true values as float32; the caption, where it was asked for."""
        from datasets import Features, Value

        attributes = {name: Value("bool") for name in ATTRIBUTES}
        told = {"caption": Value("string")} if self._options["captions"] else {}
        return Features({**attributes, **{FACTOR_PREFIX + name: Value("float32") for name in NUISANCES}, **told})

    def image(self, key: str) -> "Image":
        """Draw one face."""
        from PIL import Image

        return Image.fromarray(render(self.factors([int(key)]), self.size)[0])

    def images(self, keys: Sequence[str]) -> "list[Image | Exception]":
        """Draw several faces at once, which is many times faster than one by one."""
        from PIL import Image

        pictures = render(self.factors([int(key) for key in keys]), self.size)
        return [Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures]

    def options(self) -> dict[str, Any]:
        """The arguments, defaults filled in."""
        return self._options
