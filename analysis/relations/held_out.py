"""Held-out agreement of views in a shared space: by folds, in half-samples, and with the views' rows permuted."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Draws,
    Estimate,
    Floats,
    Interval,
    half_samples,
    like,
    namespace,
    shuffled,
)
from noisezoo.analysis.relations.maxvar import Folds, Maxvar, Moments, training_moments

_NAN = float("nan")
Rows = NDArray[np.intp]
Scored = tuple[Floats, Floats]
"""Values (k,), and the influence of each row on them (n, k)."""
Statistic = Callable[[AnyArray, Folds, Rows], Scored]
"""Whitened rows (n, m), folds (n,) and identities (n,) -> what they score."""


def agreement(problem: Maxvar, U: AnyArray, folds: Folds) -> Scored:
    """Correlation (dim,) of the views' own estimates, of rows U (n, m) that neither was fitted on."""
    value, influence = np.zeros(problem.dim), np.empty((len(folds), problem.dim))
    for rows, C, mean in training_moments(U, folds):
        rho, of_row = pair_correlation(problem.solve(C, mean).scores(U[like(rows, U)]))
        value += rho * len(rows) / len(folds)
        influence[rows] = of_row / len(folds)
    return value, influence


def pair_correlation(Z: Floats) -> Scored:
    """Correlation of two views' scores Z (views, n, dim), averaged over pairs: (dim,); and its influences (n, dim).

    The influence of a row on r = E z_a z_b, both standardised, is z_a z_b - r (z_a^2 + z_b^2) / 2.
    """
    Z = Z - Z.mean(axis=1, keepdims=True)
    Z /= np.sqrt((Z**2).mean(axis=1, keepdims=True))
    views, others = len(Z), Z.sum(axis=0) - Z
    products = (Z * others).mean(axis=0) / (views - 1)  # (n, dim)
    with_others = (Z * others).mean(axis=1, keepdims=True) / (views - 1)  # (views, 1, dim)
    return products.mean(axis=0), products - (Z**2 * with_others).mean(axis=0)


def parts_of(halves: NDArray[np.bool_]) -> list[Rows]:
    """Numbers of all rows, then of the rows of both halves (splits, n) of each split."""
    sides = (side for half in halves for side in (half, ~half))
    return [np.arange(halves.shape[1]), *map(np.flatnonzero, sides)]


def half_estimate(scored: Iterable[Scored], parts: Sequence[Rows], units: Rows) -> Estimate:
    """What the parts of `parts_of` score, as an estimate with its contrasts; rows of one of `units` (n,) count as one.

    The influences of a part of m rows are (m, k).
    """
    (value, influence), *sides = scored
    values, influences = [value], [_summed(influence, units)]
    for (a, of_a), (b, of_b), first, second in zip(sides[::2], sides[1::2], parts[1::2], parts[2::2], strict=True):
        of_row = np.empty_like(influence)
        of_row[first], of_row[second] = of_a / 2, -of_b / 2
        values.append((a - b) / 2)
        influences.append(_summed(of_row, units))
    return Estimate(np.array(values), np.array(influences, dtype=np.float32))


def _summed(influence: Floats, units: Rows) -> Floats:
    total = np.zeros((int(units.max()) + 1, influence.shape[1]))
    np.add.at(total, units, influence)
    return total


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Whitened views side by side, and how their rows are drawn for intervals and nulls."""

    U: AnyArray  # (n, m) float32
    blocks: Sequence[slice]  # of the m columns, one a view
    folds: Folds  # (n,)
    units: Rows  # (n,) number of each row's group, or of the row
    draws: Draws

    def intervals(self, statistic: Statistic, *, fit: bool) -> tuple[Interval, ...]:
        """A statistic with its intervals by half-samples; ends are NaN unless half of the rows can `fit` the views."""
        draws = self.draws
        if not fit:
            return tuple(Interval(float(value), _NAN, _NAN) for value in statistic(self.U, self.folds, self.units)[0])
        parts = parts_of(half_samples(self.folds, draws.n_splits, seed=draws.seed, groups=self.units))
        scored = (statistic(self.U[like(rows, self.U)], self.folds[rows], self.units[rows]) for rows in parts)
        return tuple(half_estimate(scored, parts, self.units).intervals(draws.confidence, least=-1.0))

    def permuted(self, statistic: Statistic) -> Floats:
        """A statistic (k,) after each permutation of the views' rows against each other, (n_permutations, k)."""
        drawn = (np.random.default_rng([self.draws.seed, 3, b]) for b in range(self.draws.n_permutations))
        views = (permute_views(self.U, self.blocks, self.units, rng) for rng in drawn)
        return np.array([statistic(U, self.folds, self.units)[0] for U in views])


def permute_views(U: AnyArray, blocks: Sequence[slice], units: Rows, rng: np.random.Generator) -> AnyArray:
    """Rows of every view's block of U (n, m) but the first in another order each, so that views share nothing.

    The identities `units` (n,) change places whole, as their rows are not exchangeable.
    """
    orders = shuffled(units, len(blocks) - 1, rng)
    moved = (U[like(order, U)][:, block] for block, order in zip(blocks[1:], orders, strict=True))
    permuted = [U[:, blocks[0]], *moved]
    return namespace(U).concatenate(permuted, axis=1)


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
