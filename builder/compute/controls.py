"""Control views: what any analysis of noise must be held against."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.builder.commit import committed
from noisezoo.builder.compute.base import Computer, Rows
from noisezoo.builder.pixels import signed, to_channels
from noisezoo.errors import NoiseZooError

if TYPE_CHECKING:
    from PIL.Image import Image

WHITENING_ROWS = 5000
"""At most this many training images decide the whitening, the first in the manifest's order."""
RIDGE = 0.01
"""Share of the mean variance added to every variance before its root is taken, so that empty directions stay small."""


class PixelComputer(Computer):
    """The picture itself, in [-1, 1]."""

    def prepare(self, image: "Image") -> np.ndarray:
        """(c, h, w) float32."""
        return to_channels(signed(image, self.view.resolution), self.view.shape[0])

    def compute(self, inputs: np.ndarray, ids: Sequence[str]) -> Rows:
        """As it is."""
        return {self.view.name: inputs}


class WhitenedComputer(PixelComputer):
    """The picture under ZCA whitening, W = V (L + r mean(L))^(-1/2) V^T: as Gaussian as a linear map makes it."""

    def fit(self, images: "Callable[[], Iterable[Image]]", path: Path) -> None:
        """Mean and principal axes of the training pictures; every process that fits writes the same bytes."""
        from safetensors.numpy import load_file, save_file

        if not path.exists():
            X = np.stack([self.prepare(image).reshape(-1) for image in islice(images(), WHITENING_ROWS)])
            with committed(path) as temporary:
                save_file(whitening(X.astype(np.float64)), temporary)
        self.fitted = load_file(path)

    def compute(self, inputs: np.ndarray, ids: Sequence[str]) -> Rows:
        """Whiten along the axes; what lies outside them has the floor's variance alone."""
        X = inputs.reshape(len(inputs), -1) - self.fitted["mean"]
        axes, gains, floor = self.fitted["axes"], self.fitted["gains"], self.fitted["floor"]
        white = floor * X + (X @ axes.T) * (gains - floor) @ axes
        return {self.view.name: white.reshape(inputs.shape).astype(np.float32)}


class RandomComputer(Computer):
    """A standard Gaussian seeded by the recipe's seed and the image id."""

    def prepare(self, image: "Image") -> np.ndarray:
        """Nothing of the image is used."""
        return np.empty(0, np.float32)

    def compute(self, inputs: np.ndarray, ids: Sequence[str]) -> Rows:
        """One draw an id, the same wherever and whenever it is made."""
        draws = [self._generator(image_id).standard_normal(self.view.shape, dtype=np.float32) for image_id in ids]
        return {self.view.name: np.stack(draws)}

    def _generator(self, image_id: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.view.name}/{self.settings.seed}/{image_id}".encode()).digest()
        return np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "big")))


def whitening(X: np.ndarray) -> dict[str, np.ndarray]:
    """ZCA with a scale-free ridge, from the smaller side's Gram matrix.

    Args:
        X: (n, d) float64, n >= 2.

    Returns:
        `mean` (d,), `axes` (k, d) of nonzero variance, `gains` (k,) = (l_i + r)^(-1/2), `floor` (1,) = r^(-1/2),
        with r = RIDGE * mean variance; float32.

    Raises:
        NoiseZooError: The training pictures are all the same.
    """
    n, d = X.shape
    mean = X.mean(axis=0)
    _, singular, axes = np.linalg.svd(X - mean, full_matrices=False)
    variances = singular**2 / max(1, n - 1)
    ridge = RIDGE * variances.sum() / d
    if ridge <= 0:
        raise NoiseZooError("the training pictures are all alike, so there is no covariance to whiten with")
    kept = variances > 1e-9 * variances[0]
    fitted = {"mean": mean, "axes": axes[kept], "gains": (variances[kept] + ridge) ** -0.5, "floor": [ridge**-0.5]}
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in fitted.items()}
