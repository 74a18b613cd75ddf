"""Held-out agreement of views in a shared space: by folds, in half-samples, and with the views' rows permuted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Estimate, Floats, half_samples, like, units_of
from noisezoo.analysis.relations.maxvar import FoldMoments, Solution, solve
from noisezoo.analysis.relations.whitening import Array, Whitener, inverse_root

Folds = NDArray[np.intp]
Statistic = Callable[[Sequence[AnyArray], Folds], tuple[Floats, Floats]]
"""Whitened rows [(n, r_i)] and folds (n,) -> values (k,) and the influence of each row on them (n, k)."""


@dataclass(frozen=True, slots=True, eq=False)
class Procedure:
    """Fit without each fold and score the fold, the same for the data, its halves and its permutations."""

    whiteners: Sequence[Whitener]
    ridge: float
    dim: int

    def fit(self, C: Array, means: list[Array]) -> Solution:
        """On training rows of covariance C (m, m) and means [(r_i,)], in whitened coordinates."""
        roots, stop = [], 0
        for whitener, mean in zip(self.whiteners, means, strict=True):
            block = slice(stop, stop := stop + len(mean))
            penalty = np.diag(whitener.penalty(self.ridge, np.diag(C)[block])).astype(C.dtype)
            roots.append(inverse_root(C[block, block] + penalty))
        return solve(C, means, roots, self.dim)

    def halves_suffice(self, n: int, n_folds: int) -> bool:
        """Can half of n rows, less a fold, fit every view."""
        left = n // 2 - -(-n // (2 * n_folds))
        widest = max(w.rank for w in self.whiteners)
        return left > self.dim + (1 if self.ridge else widest)

    def agreement(self, U: Sequence[AnyArray], folds: Folds) -> tuple[Floats, Floats]:
        """Held-out values (dim,) and the influence of each row on them (n, dim); rows U [(n, r_i)] in folds (n,)."""
        value, influence = np.zeros(self.dim), np.empty((len(folds), self.dim))
        for fold, training in enumerate(FoldMoments.of(U, folds).training()):
            solution = self.fit(*training)
            rows = np.flatnonzero(folds == fold)
            rho, of_row = pair_correlation(solution.scores([u[like(rows, u)] for u in U]))
            value += rho * len(rows) / len(folds)
            influence[rows] = of_row / len(folds)
        return value, influence


def pair_correlation(Z: Floats) -> tuple[Floats, Floats]:
    """Correlation of two views' scores Z (views, n, dim), averaged over pairs: (dim,); and its influences (n, dim).

    The influence of a row on r = E z_a z_b, both standardised, is z_a z_b - r (z_a^2 + z_b^2) / 2.
    """
    Z = Z - Z.mean(axis=1, keepdims=True)
    Z /= np.sqrt((Z**2).mean(axis=1, keepdims=True))
    views, others = len(Z), Z.sum(axis=0) - Z
    products = (Z * others).mean(axis=0) / (views - 1)  # (n, dim)
    with_others = (Z * others).mean(axis=1, keepdims=True) / (views - 1)  # (views, 1, dim)
    return products.mean(axis=0), products - (Z**2 * with_others).mean(axis=0)


def half_estimate(
    statistic: Statistic,
    U: Sequence[AnyArray],
    folds: Folds,
    groups: NDArray[Any] | None,
    n_splits: int,
    seed: int,
) -> Estimate:
    """A statistic on all rows and on the halves of each split, in the terms of `core.halves`."""
    unit = units_of(len(folds), groups)
    value, influence = statistic(U, folds)
    values, influences = [value], [_sum_units(influence, unit)]
    for half in half_samples(folds, n_splits, seed=seed, groups=groups):
        contrast, of_row = np.zeros_like(value), np.empty_like(influence)
        for sign, side in ((0.5, half), (-0.5, ~half)):
            rows = np.flatnonzero(side)
            part, of_part = statistic([u[like(rows, u)] for u in U], folds[rows])
            contrast += sign * part
            of_row[rows] = sign * of_part
        values.append(contrast)
        influences.append(_sum_units(of_row, unit))
    return Estimate(np.array(values), np.array(influences, dtype=np.float32))


def permuted(
    statistic: Statistic,
    U: Sequence[AnyArray],
    folds: Folds,
    groups: NDArray[Any] | None,
    n_permutations: int,
    seed: int,
) -> Floats:
    """A statistic (k,) after each permutation of the views' rows against each other, (n_permutations, k)."""
    drawn = (np.random.default_rng([seed, 3, b]) for b in range(n_permutations))
    return np.array([statistic(permute_views(U, groups, rng), folds)[0] for rng in drawn])


def _sum_units(influence: Floats, unit: NDArray[np.intp]) -> Floats:
    total = np.zeros((int(unit.max()) + 1, influence.shape[1]))
    np.add.at(total, unit, influence)
    return total


def permute_views(U: Sequence[AnyArray], groups: NDArray[Any] | None, rng: np.random.Generator) -> list[AnyArray]:
    """Rows of every view but the first in another order each, so that views share nothing.

    Of `groups` (n,), whole ones change places with others of their size, as rows of one identity are not exchangeable.
    """
    unit = units_of(len(U[0]), groups)
    size = np.bincount(unit)
    places = np.lexsort((unit, size[unit]))
    permuted = [U[0]]
    for u in U[1:]:
        rank = rng.permutation(size.size)[unit]
        order = np.empty_like(places)
        order[places] = np.lexsort((rank, size[unit]))
        permuted.append(u[like(order, u)])
    return permuted


def adjusted_p_values(values: Floats, null: Floats) -> Floats:
    """Westfall and Young's (1993) single-step maxT: how often the largest null value reaches each value, (dim,)."""
    largest = null.max(axis=1)
    return np.asarray((1 + (largest[:, None] >= values).sum(axis=0)) / (1 + len(null)))


def aligned_coordinates(procedure: Procedure, U: Sequence[AnyArray], folds: Folds, moments: FoldMoments) -> Floats:
    """Shared coordinates (n, dim) of every row from the fit without its fold.

    A fit knows its axes up to rotation where eigenvalues are close, and up to sign always, so each is rotated onto
    the first by orthogonal Procrustes on the rows it was fitted on (Schoenemann 1966).
    """
    G, first = np.empty((len(folds), procedure.dim)), None
    for fold, (C, means) in enumerate(moments.training()):
        fit = procedure.fit(C, means)
        own = np.concatenate(fit.weights) / fit.total
        first = own if first is None else first
        left, _, right = np.linalg.svd(own.T @ C @ first)
        rows = np.flatnonzero(folds == fold)
        G[rows] = fit.combined(fit.scores([u[like(rows, u)] for u in U])) @ (left @ right)
    return G
