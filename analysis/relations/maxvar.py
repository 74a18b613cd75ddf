"""MAXVAR GCCA on whitened views side by side: the eigenproblem, on all rows and without each fold, and what holds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Floats,
    Frame,
    Interval,
    Resampling,
    Scored,
    Units,
    eigh,
    like,
    namespace,
    shuffled,
    to_numpy,
)

Array = NDArray[np.floating[Any]]
Moments = tuple[Units, Array, Array]
"""Row numbers of a fold, and the covariance (m, m) and mean (m,) of all other rows."""
Statistic = Callable[[AnyArray, Units, Units], Scored]
"""Whitened rows (n, m), folds (n,) and identities (n,) -> what they score."""


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


def training_moments(U: AnyArray, folds: Units) -> Iterator[Moments]:
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


def agreement(problem: Maxvar, U: AnyArray, folds: Units) -> Scored:
    """Correlation (dim,) of the views' own estimates, of rows U (n, m) that neither was fitted on."""
    value, influence = np.zeros(problem.dim), np.empty((len(folds), problem.dim))
    for rows, C, mean in training_moments(U, folds):
        rho, of_row = _pair_correlation(problem.solve(C, mean).scores(U[like(rows, U)]))
        value += rho * len(rows) / len(folds)
        influence[rows] = of_row / len(folds)
    return value, influence


def _pair_correlation(Z: Floats) -> Scored:
    """Correlation of two views' scores Z (views, n, dim), averaged over pairs: (dim,); and its influences (n, dim).

    The influence of a row on r = E z_a z_b, both standardised, is z_a z_b - r (z_a^2 + z_b^2) / 2.
    """
    Z = Z - Z.mean(axis=1, keepdims=True)
    Z /= np.sqrt((Z**2).mean(axis=1, keepdims=True))
    views, others = len(Z), Z.sum(axis=0) - Z
    products = (Z * others).mean(axis=0) / (views - 1)  # (n, dim)
    with_others = (Z * others).mean(axis=1, keepdims=True) / (views - 1)  # (views, 1, dim)
    return products.mean(axis=0), products - (Z**2 * with_others).mean(axis=0)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Whitened views side by side, and how their rows are drawn for intervals and nulls."""

    U: AnyArray  # (n, m) float32
    blocks: Sequence[slice]  # of the m columns, one a view
    rows: Resampling

    def intervals(self, statistic: Statistic, *, fit: bool) -> tuple[Interval, ...]:
        """A statistic with its intervals by half-samples; ends are NaN unless half of the rows can `fit` the views."""
        U, folds, units = self.U, self.rows.folds, self.rows.units
        if not fit:
            return tuple(Interval(float(v), np.nan, np.nan) for v in statistic(U, folds, units)[0])
        scored = (statistic(U[like(part, U)], folds[part], units[part]) for part in self.rows.parts)
        return tuple(self.rows.intervals(scored, least=-1.0))

    def permuted(self, statistic: Statistic) -> Floats:
        """A statistic (k,) after each permutation of the views' rows against each other, (n_permutations, k)."""
        folds, units, draws = self.rows.folds, self.rows.units, self.rows.draws
        drawn = (np.random.default_rng([draws.seed, 3, b]) for b in range(draws.n_permutations))
        views = (permute_views(self.U, self.blocks, units, rng) for rng in drawn)
        return np.array([statistic(U, folds, units)[0] for U in views])


def permute_views(U: AnyArray, blocks: Sequence[slice], units: Units, rng: np.random.Generator) -> AnyArray:
    """Rows of every view's block of U (n, m) but the first in another order each, so that views share nothing.

    The identities `units` (n,) change places whole, as their rows are not exchangeable.
    """
    orders = shuffled(units, len(blocks) - 1, rng)
    moved = (U[like(order, U)][:, block] for block, order in zip(blocks[1:], orders, strict=True))
    return namespace(U).concatenate([U[:, blocks[0]], *moved], axis=1)


def adjusted_p_values(values: Floats, null: Floats) -> Floats:
    """Westfall and Young's (1993) single-step maxT: how often the largest null value reaches each value, (dim,)."""
    return np.asarray((1 + (null.max(axis=1)[:, None] >= values).sum(axis=0)) / (1 + len(null)))


def aligned_coordinates(problem: Maxvar, U: AnyArray, moments: Iterable[Moments]) -> Floats:
    """Shared coordinates (n, dim) of every row of U (n, m) from the fit without its fold.

    A fit knows its axes up to rotation where eigenvalues are close, and up to sign always, so each is rotated onto
    the first by orthogonal Procrustes on the rows it was fitted on (Schoenemann 1966).
    """
    columns = np.r_[tuple(problem.blocks)]
    G, first = np.empty((len(U), problem.dim)), None
    for rows, C, mean in moments:
        fit = problem.solve(C, mean)
        own = np.concatenate(fit.weights) / fit.total
        first = own if first is None else first
        left, _, right = np.linalg.svd(own.T @ C[np.ix_(columns, columns)] @ first)
        G[rows] = fit.combined(U[like(rows, U)]) @ (left @ right)
    return G
