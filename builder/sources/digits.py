"""The `digits` source: 1,797 real handwritten digits (8x8, UCI optdigits), which scikit-learn ships."""

from functools import cache
from importlib.metadata import distribution

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Features, Value
from PIL import Image

from .source import Source, hash_unit

TABLE = "sklearn/datasets/data/digits.csv.gz"
"""Where scikit-learn has them: 64 grey values from 0 to 16 and the class, a row each."""

TRAINING_SHARE = 0.5  # share of the digits, by hash, that trained `digits-ddpm` and so is never in a dataset

HEAVY_INK = 4.9  # mean grey, of 16, above which a digit is heavy: about the median digit's


def digit_id(index: int) -> str:
    """The image id of the digit at `index` of scikit-learn's array."""
    return f"digits-{index:04d}"


def trained_on_digit(image_id: str) -> bool:
    """Whether this digit was among those that trained `digits-ddpm`."""
    return hash_unit(f"digits-ddpm/{image_id}") < TRAINING_SHARE


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels and classes, read from scikit-learn's file: its import takes longer than a small build's whole work."""
    table = np.loadtxt(str(distribution("scikit-learn").locate_file(TABLE)), delimiter=",")  # (1797, 65)
    return np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), table[:, -1].astype(int)


def digit_pixels() -> np.ndarray:
    """All digits: (1797, 8, 8) uint8, 0 background to 255 ink."""
    return _digits()[0]


class Digits(Source):
    """The digits that `digits-ddpm` was not trained on, with their class and simple attributes derived from it."""

    name = "digits"
    license = "cc-by-4.0"

    def scan(self) -> pa.Table:
        """About half of the 1,797 digits, in scikit-learn's order; labels as `label_features` lists them."""
        pixels, classes = _digits()
        kept = np.array([i for i in range(len(pixels)) if not trained_on_digit(digit_id(i))])
        c, ink = classes[kept], pixels[kept] / 255 * 16  # (n,), (n, 8, 8)
        return pa.table({
            "image_id": [digit_id(i) for i in kept],
            "key": [str(i) for i in kept],
            "digit": c,
            "Even": c % 2 == 0,
            "Above_Four": c > 4,
            "Has_Loop": np.isin(c, [0, 6, 8, 9]),
            "Heavy_Ink": ink.mean(axis=(1, 2)) > HEAVY_INK,
            "Top_Heavy": ink[:, :4].sum(axis=(1, 2)) > ink[:, 4:].sum(axis=(1, 2)),
        })  # fmt: skip

    def label_features(self) -> Features:
        """`digit` as ten classes, and five yes/no attributes."""
        attributes = ("Even", "Above_Four", "Has_Loop", "Heavy_Ink", "Top_Heavy")
        return Features(
            {"digit": ClassLabel(names=[str(k) for k in range(10)]), **dict.fromkeys(attributes, Value("bool"))}
        )

    def content(self, key: str) -> bytes:
        """The digit's 64 grey pixels."""
        return bytes(digit_pixels()[int(key)])

    def decode(self, content: bytes) -> Image.Image:
        """The digit as a grey picture of 8x8 pixels."""
        return Image.frombytes("L", (8, 8), content)
