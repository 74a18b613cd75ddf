"""Control views: what any analysis of noise must be held against."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.builder.sources import to_channels
from noisezoo.pca import fit_pca
from .computer import Batch, Computer, Rows, gaussian_of

if TYPE_CHECKING:
    from PIL.Image import Image

RIDGE = 0.01
"""Share of the mean variance added to every variance before its root is taken, so that empty directions stay small."""


class PixelComputer(Computer):
    """The picture itself, in [-1, 1]."""

    def prepare(self, image: "Image") -> np.ndarray:
        """(c, h, w) float32."""
        return to_channels(self.pixels(image), self.view.shape[0])

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        """As it is."""
        return {self.view.name: values}


class WhitenedComputer(PixelComputer):
    """The picture under ZCA whitening, W = V (L + r mean(L))^(-1/2) V^T: as Gaussian as a linear map makes it."""

    learns = True

    def fit(self, images: "Iterable[Image]") -> dict[str, np.ndarray]:
        """Mean and principal axes of the pictures."""
        return whitening(np.stack([self.prepare(image).reshape(-1) for image in images]))

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        """Whiten along the axes; what lies outside them has the floor's variance alone."""
        X = values.reshape(len(values), -1) - self.fitted["mean"]
        axes, gains, floor = self.fitted["axes"], self.fitted["gains"], self.fitted["floor"]
        white = floor * X + (X @ axes.T) * (gains - floor) @ axes
        return {self.view.name: white.reshape(values.shape).astype(np.float32)}


class RandomComputer(Computer):
    """A standard Gaussian seeded by the recipe's seed and the image id."""

    def prepare(self, image: "Image") -> np.ndarray:
        """Nothing of the image is used."""
        return np.empty(0, np.float32)

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        """One draw an id, the same wherever and whenever it is made."""
        start = f"{self.view.name}/{self.settings.seed}"
        return {self.view.name: np.stack([gaussian_of(f"{start}/{each}", self.view.shape) for each in batch.ids])}


def whitening(X: np.ndarray) -> dict[str, np.ndarray]:
    """ZCA of X (n, d), n >= 2, with a scale-free ridge; raises NoiseZooError for pictures that are all the same.

    Returns:
        `mean` (d,), `axes` (k, d) of nonzero variance, `gains` (k,) = (l_i + r)^(-1/2), `floor` (1,) = r^(-1/2),
        with r = RIDGE * mean variance; float32.
    """
    basis = fit_pca(X, min(X.shape))
    ridge = RIDGE * basis.explained_variance.sum() / X.shape[1]
    gains = (basis.explained_variance + ridge) ** -0.5
    fitted = {"mean": basis.mean, "axes": basis.components, "gains": gains, "floor": [ridge**-0.5]}
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in fitted.items()}
