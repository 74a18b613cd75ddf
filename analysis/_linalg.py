"""The principal frame of a matrix, through its smaller Gram matrix."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.validation import Matrix

Floats = NDArray[np.float64]
_BLOCK = 2048  # columns that are held in float64 at a time


@dataclass(frozen=True, slots=True)
class Frame:
    """Principal axes of centred rows: `scores` = (X - mean) V, leading axis first.

    The rotation is orthogonal, so whatever is invariant to rotation (an L2 penalty, a norm, a Gaussian law) can be
    computed on `scores`, in at most min(n - 1, d) dimensions, and carried back with `lift`.
    """

    mean: Floats  # (d,)
    scores: Floats  # (n, r)
    eigenvalues: Floats  # (r,) of the centred Gram matrix: squared singular values
    centred: Matrix  # (n, d)
    axes: Floats | None  # (d, r) where d <= n; the dual route needs none

    def lift(self, W: Floats) -> Floats:
        """Carry coefficients on scores (r, k) back to X's own coordinates (d, k): V W."""
        if self.axes is not None:
            return np.asarray(self.axes @ W)
        return _transposed_product(self.centred, (self.scores / self.eigenvalues) @ W)


def principal_frame(X: Matrix, name: str = "X", leading: int | None = None) -> Frame:
    """Principal frame of X (n, d), or its `leading` axes, from the Gram matrix of the smaller side in float64.

    Gram and eigh is exact where a randomised SVD leaves the tail to chance.

    Raises:
        ValueError: all rows of X are equal.
    """
    mean = X.mean(axis=0, dtype=np.float64)
    centred = X - mean.astype(X.dtype)
    n, d = X.shape
    values, vectors = _leading_eigenpairs(_gram(centred.T if d <= n else centred), leading)
    if not values.size:
        raise ValueError(f"all rows of {name} are equal: nothing varies")
    if d <= n:
        return Frame(mean, centred.astype(np.float64) @ vectors, values, centred, vectors)
    return Frame(mean, vectors * np.sqrt(values), values, centred, None)


def _gram(A: Matrix) -> Floats:
    """A A^T in float64; blocks keep the float64 copy small, and equal operands take half the work (syrk)."""
    G = np.zeros((len(A), len(A)))
    for start in range(0, A.shape[1], _BLOCK):
        block = A[:, start : start + _BLOCK].astype(np.float64)
        G += block @ block.T
    return G


def _leading_eigenpairs(G: Floats, leading: int | None) -> tuple[Floats, Floats]:
    from scipy.linalg import eigh

    size = len(G)
    subset = None if leading is None or leading >= size else [size - leading, size - 1]
    values, vectors = eigh(G, subset_by_index=subset, driver="evr" if subset else "evd", check_finite=False)
    floor = max(values[-1], 0.0) * size * np.finfo(np.float64).eps
    kept = values > floor
    return values[kept][::-1].copy(), vectors[:, kept][:, ::-1].copy()


def _transposed_product(A: Matrix, B: Floats) -> Floats:
    blocks = (A[:, start : start + _BLOCK] for start in range(0, A.shape[1], _BLOCK))
    return np.concatenate([block.astype(np.float64).T @ B for block in blocks])


def gaussian_root(X: Matrix) -> Matrix:
    """R (r, m) with R^T R the sample covariance of X (n, m): Gaussian rows g R have exactly that covariance."""
    n, m = X.shape
    centred = X - X.mean(axis=0, dtype=np.float64).astype(X.dtype)
    if n <= m:
        return np.asarray(centred / np.sqrt(n - 1).astype(X.dtype))
    values, vectors = _leading_eigenpairs(_gram(centred.T) / (n - 1), None)
    return np.asarray((vectors * np.sqrt(values)).T.astype(X.dtype))
