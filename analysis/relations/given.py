"""What two views share given a third: the part of a view that another predicts beyond what the picture predicts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Draws,
    Estimate,
    Floats,
    Measured,
    Result,
    Scored,
    Units,
    as_matrix,
    assign_folds,
    half_samples,
    null_of_draws,
    parts_of,
    shuffled,
    units_of,
)
from .ridge import Regression, cut, regress
from .stitch import RIDGES, as_target

SHARES = (0.0, 0.1, 0.3, 0.6, 0.9)
"""Of the variance of both views together that the predicting view may have; 0 is the given view alone."""
MEASURES = ("r2 given", "r2 both", "partial r2")


@dataclass(frozen=True, eq=False)
class Given(Result):
    """How well Z predicts Y, how well Z and X do, and the share of what Z leaves of Y that X adds, all held out."""

    alone: Measured  # R2 of Y from Z
    both: Measured  # R2 of Y from Z and X
    partial: Measured  # 1 - error with X / error without
    n: int
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary for each of MEASURES."""
        found = (self.alone, self.both, self.partial)
        return [measured.row(name) for name, measured in zip(MEASURES, found, strict=True)]


def shared_given(
    X: ArrayLike,
    Y: ArrayLike,
    Z: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    n_splits: int = 8,
    n_permutations: int = 10,
    confidence: float = 0.95,
    seed: int = 42,
) -> Given:
    """Partial R2 of a view Y (n, e) by X (n, d) given Z (n, c), by ridge, on rows that no map was fitted on.

    X enters beside Z with some share of their variance (SHARES), which the other folds choose with the strength, and 0
    is a choice: so an X that adds nothing costs next to nothing. Residuals are never regressed on residuals, which on
    the same folds are tied to each other.

    Intervals are by half-samples. The null keeps what Z tells of X, and shuffles the rest (Freedman and Lane 1983): X
    is replaced by its out-of-fold prediction from Z plus the residuals of other rows, or whole groups.

    Args:
        X: rows of the view that may add, such as a noise.
        Y: rows of the view that is predicted, such as an encoder's.
        Z: rows of what is given, such as the pixels.
        groups: (n,) identities: a group never straddles folds or halves, and is permuted whole.
        n_folds: folds.
        n_splits: splits in halves for the intervals, also their degrees of freedom.
        n_permutations: of the null; below 2 NaN.
        confidence: of the intervals.
        seed: decides folds, halves and permutations.

    Raises:
        ValueError: different numbers of rows, a view whose rows are all equal, or what `as_matrix` and `assign_folds`
            refuse.
    """
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    given = _scaled(as_matrix(Z, "Z"))
    target, adds = (np.asarray(as_target(A, given, name), np.float64) for A, name in ((Y, "Y"), (X, "X")))
    adds, n = _scaled(adds), len(given)
    units, folds = units_of(n, groups), assign_folds(n, n_folds, seed=seed, groups=groups)
    parts = parts_of(half_samples(folds, n_splits, seed=seed, groups=units))
    scored = [_score(adds[rows], target[rows], given[rows], folds[rows]) for rows in parts]
    intervals = Estimate.of(scored, parts, units).intervals(confidence, least=-np.inf)
    fitted = regress(cut(given, folds), adds)
    predicted, truth = fitted.out_of_fold(fitted.choose(RIDGES))
    orders = shuffled(units, n_permutations, np.random.default_rng([seed, 14]))
    redrawn = (predicted + (truth - predicted)[order] for order in orders)
    null = np.array([_score(copy, target, given, folds)[0] for copy in redrawn]).reshape(-1, len(MEASURES))
    laws = [null_of_draws(i.estimate, column, confidence) for i, column in zip(intervals, null.T, strict=True)]
    alone, both, partial = map(Measured.of, intervals, laws)
    return Given(alone, both, partial, n, draws)


def _scaled(A: NDArray[Any]) -> Floats:
    """Centred rows (n, d) of mean squared norm 1."""
    A = A - A.mean(axis=0, dtype=np.float64)
    norm = np.sqrt(np.square(A).sum() / len(A))
    if not norm > 0:
        raise ValueError("all rows of a view are equal: nothing varies")
    return np.asarray(A / norm, np.float64)


def _score(X: Floats, Y: Floats, Z: Floats, folds: Units) -> Scored:
    """MEASURES on some rows, and each row's influence (n, 3)."""
    beside = [np.hstack([np.sqrt(1 - share) * Z, np.sqrt(share) * X]) if share else Z for share in SHARES]
    fitted = [regress(cut(features, folds), Y) for features in beside]
    without, spread = _errors(fitted[:1], folds)
    errors, _ = _errors(fitted, folds)
    pairs = ((without, spread), (errors, spread), (errors, without))
    values = [1 - top.sum() / bottom.sum() for top, bottom in pairs]
    influences = [((1 - v) * bottom - top) / bottom.sum() for v, (top, bottom) in zip(values, pairs, strict=True)]
    return np.array(values), np.stack(influences, axis=1)


def _errors(fitted: Iterable[Regression], folds: Units) -> tuple[Floats, Floats]:
    """Squared errors and distances from the training mean (n,), each fold's at what the other folds choose."""
    every = list(fitted)
    paths = np.stack([one.errors(RIDGES) for one in every])  # (shares, s, folds)
    others = paths.sum(axis=2, keepdims=True) - paths
    errors, spread = np.empty(len(folds)), np.empty(len(folds))
    for fold in range(paths.shape[2]):
        share, strength = np.unravel_index(others[:, :, fold].argmin(), paths.shape[:2])
        rows = np.flatnonzero(folds == fold)
        predicted, targets = every[share].predict(fold, float(RIDGES[strength]), rows)
        errors[rows], spread[rows] = (np.square(A).sum(axis=1) for A in (predicted - targets, targets))
    return errors, spread
