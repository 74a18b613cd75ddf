"""Principal components: exact, stable, and carried both ways. Published as the basis beside the `paired` config."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisezoo.errors import NoiseZooError
from noisezoo.files import write_tensors

PCA_ROWS = 4096
"""At most this many rows of the first split decide a published basis, so that memory does not grow with the dataset."""


@dataclass(frozen=True)
class Basis:
    """A PCA basis: `mean` (d,), orthonormal `components` (k, d), `explained_variance` (k,), all float32."""

    mean: np.ndarray
    components: np.ndarray
    explained_variance: np.ndarray

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Scores of rows: (n, d) -> (n, k)."""
        return np.asarray((X - self.mean) @ self.components.T)

    def inverse(self, scores: np.ndarray) -> np.ndarray:
        """Rows from scores, what lies outside the basis set to the mean: (n, k) -> (n, d)."""
        return np.asarray(scores @ self.components + self.mean)

    def carry_back(self, direction: np.ndarray) -> np.ndarray:
        """A direction of score space in the view's own coordinates: (k,) or (m, k) -> (d,) or (m, d)."""
        return np.asarray(direction @ self.components)

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        write_tensors(path, vars(self))

    @classmethod
    def read(cls, path: Path) -> "Basis":
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        return cls(**load_file(path))


def fit_pca(X: np.ndarray, k: int) -> Basis:
    """The leading components of X, exact: from the eigenvectors of the smaller side's Gram matrix.

    Signs are fixed so that each component's largest entry is positive: the basis is the same wherever it is made.

    Args:
        X: (n, d), n >= 2.
        k: Components wanted; no more than min(n - 1, d) have variance, and no more are given.

    Raises:
        NoiseZooError: All rows are alike.
    """
    n, d = X.shape
    mean = X.mean(axis=0, dtype=np.float64)
    centred = X.astype(np.float64) - mean
    wide = n <= d
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    order = np.argsort(values)[::-1][: min(k, n - 1, d)]
    order = order[values[order] > 1e-10 * max(values.max(), 0.0)]
    if not len(order):
        raise NoiseZooError("all rows are alike, so there are no principal components")
    leading = vectors[:, order]
    components = (centred.T @ leading).T if wide else leading.T  # (k, d)
    components /= np.linalg.norm(components, axis=1, keepdims=True)
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    variance = values[order] / (n - 1)
    return Basis(*(np.asarray(part, dtype=np.float32) for part in (mean, components * np.sign(largest), variance)))


def constant_basis(row: np.ndarray) -> Basis:
    """The basis of rows that are all alike: their value (d,), and one axis along which nothing varies."""
    axis = np.zeros((1, len(row)), np.float32)
    axis[0, 0] = 1.0
    return Basis(row.astype(np.float32), axis, np.zeros(1, np.float32))
