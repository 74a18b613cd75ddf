"""The eigenproblem of MAXVAR GCCA on whitened views side by side, on all rows and without each fold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Floats, Frame, eigh, like, namespace, to_numpy

Array = NDArray[np.floating[Any]]
Folds = NDArray[np.intp]
Moments = tuple[Folds, Array, Array]
"""Row numbers of a fold, and the covariance (m, m) and mean (m,) of all other rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """g = sum_i (u_i - mean_i) w_i / total has unit variance on the rows it was fitted on; w_i regresses g on u_i."""

    total: Array  # (dim,) eigenvalues of sum_i U_i (U_i^T U_i + penalty)^-1 U_i^T: at most the number of views
    weights: list[Array]  # [(r_i, dim)]
    mean: Array  # (m,)
    blocks: Sequence[slice]

    def scores(self, U: AnyArray) -> Floats:
        """Each view's own estimate of g on rows U (n, m), (views, n, dim)."""
        parts = zip(self.blocks, self.weights, strict=True)
        found = (to_numpy((U[:, b] - like(self.mean[b], U)) @ like(W, U)) for b, W in parts)
        return np.stack([scores.astype(np.float64) for scores in found])

    def combined(self, U: AnyArray) -> Floats:
        """The shared coordinates g (n, dim) of rows U (n, m)."""
        return np.asarray(self.scores(U).sum(axis=0) / self.total)


@dataclass(frozen=True, slots=True, eq=False)
class Maxvar:
    """MAXVAR of some views, given as whitened coordinates side by side (n, m)."""

    blocks: Sequence[slice]  # of the m columns, one a view
    spectra: Sequence[Floats]  # [(r_i,)] variances of each view's principal axes
    widths: Sequence[int]  # [d_i] of the views as given, which the ridge divides by
    ridge: float
    dim: int

    def solve(self, C: Array, mean: Array) -> Solution:
        """The leading `dim` eigenvectors of blocks R_i C_ij R_j^T, with R_i^T R_i = (C_ii + ridge)^-1.

        Args:
            C: (m, m) covariance of whitened rows.
            mean: (m,) of the same rows.
        """
        blocks = self.blocks
        R = [inverse_root(C[b, b] + self._penalty(C[b, b], i)) for i, b in enumerate(blocks)]
        K = np.block([[A @ C[a, b] @ B.T for b, B in zip(blocks, R, strict=True)]
                      for a, A in zip(blocks, R, strict=True)])  # fmt: skip
        values, Y = (found[..., ::-1] for found in eigh(K, self.dim))
        Y = Y * np.sqrt(values) * np.sign(Y[np.abs(Y).argmax(axis=0), np.arange(self.dim)])
        parts = np.split(Y, np.cumsum([len(root) for root in R])[:-1])
        return Solution(values, [A.T @ y for A, y in zip(R, parts, strict=True)], mean, blocks)

    def _penalty(self, own: Array, i: int) -> Array:
        """The ridge c tr(S) / d of view i as one on whitened coordinates, whose covariance (r, r) is given."""
        spectrum = self.spectra[i]
        return np.diag(self.ridge * (spectrum @ np.diag(own)) / self.widths[i] / spectrum).astype(own.dtype)

    def halves_suffice(self, n: int, n_folds: int) -> bool:
        """Whether half of n rows, less a fold, can fit every view."""
        left = n // 2 - -(-n // (2 * n_folds))
        return left > self.dim + (1 if self.ridge else max(map(len, self.spectra)))


def whiten(frames: Sequence[Frame]) -> tuple[AnyArray, list[Floats]]:
    """Principal scores of views, scaled to unit variance, side by side (n, m); and their variances [(r_i,)]."""
    n = len(frames[0].scores)
    spectra = [frame.eigenvalues / n for frame in frames]
    scores = [frame.scores / spectrum**0.5 for frame, spectrum in zip(frames, spectra, strict=True)]
    return namespace(scores[0]).concatenate(scores, axis=1), [to_numpy(spectrum) for spectrum in spectra]


def blocks_of(widths: Sequence[int]) -> list[slice]:
    """Where matrices of so many columns stand when they are side by side."""
    return [slice(int(end) - width, int(end)) for width, end in zip(widths, np.cumsum(widths), strict=True)]


def inverse_root(A: Array) -> Array:
    """R with R^T R = A^-1 of a positive semi-definite A (r, r), by Cholesky.

    A multiple of rounding on the diagonal stands in where nothing varies: a column may vary in one fold only.
    """
    from scipy.linalg import cholesky, solve_triangular

    floor = len(A) * np.finfo(A.dtype).eps * np.diag(A).mean()
    L = cholesky(A + np.diag(np.full(len(A), floor, A.dtype)), lower=True)
    return np.asarray(solve_triangular(L, np.eye(len(A), dtype=A.dtype), lower=True))


def training_moments(U: AnyArray, folds: Folds) -> Iterator[Moments]:
    """The moments of rows U (n, m) without each fold (n,), as differences from those of all rows."""
    rows = [np.flatnonzero(folds == fold) for fold in range(folds.max() + 1)]
    parts = [U[like(r, U)] for r in rows]
    sums = np.stack([to_numpy(part.sum(0)) for part in parts])
    products = np.stack([to_numpy(part.T @ part) for part in parts])
    total, product = sums.sum(axis=0), products.sum(axis=0)
    for r, s, p in zip(rows, sums, products, strict=True):
        left = len(folds) - len(r)
        mean = (total - s) / left
        yield r, (product - p) / left - np.outer(mean, mean), mean
