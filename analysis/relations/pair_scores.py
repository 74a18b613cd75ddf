"""Scores of pairs of views on all rows and on halves of them: what groups, shares and differences of them vary by."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from noisezoo.analysis.core import (
    AnyArray,
    Draws,
    Estimate,
    Floats,
    Measured,
    Scored,
    Units,
    assign_folds,
    half_samples,
    null_of_draws,
    parts_of,
    shuffled,
    units_of,
)
from .ridge import Source, regress
from .stitch import RIDGES


@dataclass(frozen=True, eq=False)
class Halved:
    """Folds, halves and permutations of rows, whole `units` together, for any scores of views on them."""

    folds: Units  # (n,)
    units: Units  # (n,)
    draws: Draws

    @classmethod
    def of(cls, n: int, groups: object, draws: Draws) -> "Halved":
        """Of n rows, or groups (n,) of them."""
        units = units_of(n, groups)  # type: ignore[arg-type]
        return cls(assign_folds(n, draws.n_folds, seed=draws.seed, groups=units), units, draws)

    def measured(self, scored: Callable[[Units, Units], Scored], n: int) -> list[Measured]:
        """Intervals and nulls of k scores.

        Args:
            scored: Rows of a view that are of one image each, and rows (m,) of the others -> k scores, and the
                influence of each row on them (m, k).
            n: Number of rows.
        """
        parts = parts_of(half_samples(self.folds, self.draws.n_splits, seed=self.draws.seed, groups=self.units))
        every = Estimate.of([scored(rows, rows) for rows in parts], parts, self.units)
        intervals = every.intervals(self.draws.confidence, least=-np.inf, most=np.inf)
        rng, here = np.random.default_rng([self.draws.seed, 16]), np.arange(n)
        orders = shuffled(self.units, self.draws.n_permutations, rng)
        null = np.array([scored(order, here)[0] for order in orders]).reshape(-1, len(intervals))
        return [
            Measured.of(interval, null_of_draws(interval.estimate, column, self.draws.confidence))
            for interval, column in zip(intervals, null.T, strict=True)
        ]


def r2_of(source: Source, Y: AnyArray) -> tuple[float, Floats]:
    """Held-out R2 of ridge from a source to Y (m, e) at the strengths that other folds choose, and influences (m,)."""
    fitted = regress(source, Y)
    predicted, truth = fitted.out_of_fold(fitted.choose(RIDGES))
    errors, spreads = (np.square(A).sum(axis=1, dtype=np.float64) for A in (predicted - truth, truth))
    r2 = 1 - errors.sum() / spreads.sum()
    return float(r2), ((1 - r2) * spreads - errors) / spreads.sum()
