"""The `digits` source: 1,797 real handwritten digits (8x8, UCI optdigits), which scikit-learn ships."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.builder.sources.ids import trained_on_digit
from noisezoo.builder.sources.source import Source

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features
    from PIL.Image import Image

HAS_LOOP = {0, 6, 8, 9}
HEAVY_INK = 4.9  # mean grey of 16, about the median digit's


def digit_id(index: int) -> str:
    """The image id of the digit at `index` of scikit-learn's array."""
    return f"digits-{index:04d}"


@cache
def digit_pixels() -> np.ndarray:
    """All digits: (1797, 8, 8) uint8, 0 background to 255 ink."""
    from sklearn.datasets import load_digits

    return np.asarray(np.round(load_digits().images * (255 / 16)), dtype=np.uint8)


@cache
def _digit_classes() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().target)


class Digits(Source):
    """The digits that `digits-ddpm` was not trained on, with their class and simple attributes derived from it."""

    name = "digits"
    license = "cc-by-4.0"

    def scan(self) -> "pa.Table":
        """About half of the 1,797 digits, in scikit-learn's order; labels as `label_features` lists them."""
        import pyarrow as pa

        pixels, classes = digit_pixels(), _digit_classes()
        kept = np.array([i for i in range(len(pixels)) if not trained_on_digit(digit_id(i))])
        c, ink = classes[kept], pixels[kept] / 255 * 16  # (n,), (n, 8, 8)
        columns = {
            "image_id": [digit_id(i) for i in kept],
            "key": [str(i) for i in kept],
            "digit": c,
            "Even": c % 2 == 0,
            "Above_Four": c > 4,
            "Has_Loop": np.isin(c, list(HAS_LOOP)),
            "Heavy_Ink": ink.mean(axis=(1, 2)) > HEAVY_INK,
            "Top_Heavy": ink[:, :4].sum(axis=(1, 2)) > ink[:, 4:].sum(axis=(1, 2)),
        }
        return pa.table(columns)

    def label_features(self) -> "Features":
        """`digit` as ten classes, and five yes/no attributes."""
        from datasets import ClassLabel, Features, Value

        attributes = ("Even", "Above_Four", "Has_Loop", "Heavy_Ink", "Top_Heavy")
        return Features(
            {"digit": ClassLabel(names=[str(k) for k in range(10)]), **{a: Value("bool") for a in attributes}}
        )

    def image(self, key: str) -> "Image":
        """The digit as a grey picture of 8x8 pixels."""
        from PIL import Image

        return Image.fromarray(digit_pixels()[int(key)])
