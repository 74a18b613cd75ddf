"""The principal frame of a matrix, through its smaller Gram matrix."""

from dataclasses import dataclass

import numpy as np

from .arrays import AnyArray, Floats, Matrix, beside, cast, double, eigh, namespace, to_numpy

_BLOCK = 2048  # columns that are held in float64 at a time


@dataclass(frozen=True, slots=True)
class Frame:
    """Principal axes of centred rows: `scores` = (X - mean) V, leading axis first.

    The rotation is orthogonal, so whatever is invariant to rotation (an L2 penalty, a norm, a Gaussian law) can be
    computed on `scores`, in at most min(n - 1, d) dimensions, and carried back with `lift`.
    """

    mean: Floats  # (d,)
    scores: AnyArray  # (n, r) float64, where X is
    eigenvalues: AnyArray  # (r,) of the centred Gram matrix: squared singular values
    centred: AnyArray  # (n, d)
    axes: AnyArray | None  # (d, r) where d <= n; the dual route needs none

    def lift(self, W: Floats) -> Floats:
        """Carry coefficients on scores (r, k) back to X's own coordinates (d, k): V W."""
        if self.axes is not None:
            return to_numpy(self.axes @ beside(W, self.axes))
        return _transposed_product(self.centred, (self.scores / self.eigenvalues) @ beside(W, self.scores))


def principal_frame(X: AnyArray, name: str = "X", leading: int | None = None) -> Frame:
    """Principal frame of X (n, d), or its `leading` axes, from the Gram matrix of the smaller side in float64.

    Gram and eigh is exact where a randomised SVD leaves the tail to chance.

    Raises:
        ValueError: all rows of X are equal.
    """
    mean = X.mean(0, dtype=namespace(X).float64)
    centred = X - cast(mean, X)
    n, d = X.shape
    values, vectors = leading_eigenpairs(_gram(centred.T if d <= n else centred), leading)
    if not len(values):
        raise ValueError(f"all rows of {name} are equal: nothing varies")
    if d <= n:
        return Frame(to_numpy(mean), double(centred) @ vectors, values, centred, vectors)
    return Frame(to_numpy(mean), vectors * values**0.5, values, centred, None)


def _gram(A: AnyArray) -> AnyArray:
    """A A^T in float64; blocks keep the float64 copy small, and equal operands take half the work (syrk)."""
    blocks = (double(A[:, start : start + _BLOCK]) for start in range(0, A.shape[1], _BLOCK))
    G = next(blocks)
    G = G @ G.T
    for block in blocks:
        G += block @ block.T
    return G


def leading_eigenpairs(G: AnyArray, leading: int | None) -> tuple[AnyArray, AnyArray]:
    """Eigenvalues above rounding, the largest first, and their vectors as columns."""
    values, vectors = eigh(G, leading)
    null = int((values <= values[-1].clip(0, None) * len(G) * np.finfo(np.float64).eps).sum())
    xp = namespace(G)
    return xp.flip(values[null:], (0,)) * 1, xp.flip(vectors[:, null:], (1,)) * 1


def _transposed_product(A: AnyArray, B: AnyArray) -> Floats:
    blocks = (A[:, start : start + _BLOCK] for start in range(0, A.shape[1], _BLOCK))
    return np.concatenate([to_numpy(double(block).T @ B) for block in blocks])


def gaussian_root(X: Matrix) -> Matrix:
    """R (r, m) with R^T R the sample covariance of X (n, m): Gaussian rows g R have exactly that covariance."""
    n, m = X.shape
    centred = X - X.mean(axis=0, dtype=np.float64).astype(X.dtype)
    if n <= m:
        return np.asarray(centred / np.sqrt(n - 1).astype(X.dtype))
    values, vectors = leading_eigenpairs(_gram(centred.T) / (n - 1), None)
    return np.asarray((vectors * np.sqrt(values)).T.astype(X.dtype))
