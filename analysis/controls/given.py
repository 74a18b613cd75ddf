"""What two views share given a third: the part of a view that another predicts beyond what the picture predicts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import Draws, Floats, Measured, Resampling, Result, Scored, Units, same_rows, to_numpy
from noisezoo.analysis.relations import RIDGES, Regression, cut, explained, regress

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

    X are rows of the view that may add, such as a noise, Y of the view that is predicted, such as an encoder's, and Z
    of what is given, such as the pixels. `groups` and the draws are as in `Draws`.

    Raises:
        ValueError: what `same_rows` and `Resampling` refuse.
    """
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    adds, target, given = map(to_numpy, same_rows(zip("XYZ", (X, Y, Z), strict=True)))
    adds, target, given = _scaled(adds), np.asarray(target, np.float64), _scaled(given)
    rows = Resampling.of(len(given), groups, draws)
    fitted = regress(cut(given, rows.folds), adds)
    predicted, truth = fitted.out_of_fold(fitted.choose(RIDGES))

    def score(adds: Floats, some: Units) -> Scored:
        return _score(adds[some], target[some], given[some], rows.folds[some])

    redrawn = (predicted + (truth - predicted)[order] for order in rows.orders(14))
    null = (score(copy, rows.parts[0])[0] for copy in redrawn)
    alone, both, partial = rows.measured((score(adds, some) for some in rows.parts), null)
    return Given(alone, both, partial, len(given), draws)


def _scaled(A: NDArray[Any]) -> Floats:
    """Centred rows (n, d) of mean squared norm 1."""
    A = A - A.mean(axis=0, dtype=np.float64)
    return np.asarray(A / np.sqrt(np.square(A).sum() / len(A)), np.float64)


def _score(X: Floats, Y: Floats, Z: Floats, folds: Units) -> Scored:
    """MEASURES on some rows, and each row's influence (n, 3)."""
    beside = [np.hstack([np.sqrt(1 - share) * Z, np.sqrt(share) * X]) if share else Z for share in SHARES]
    fitted = [regress(cut(features, folds), Y) for features in beside]
    without, spread = _errors(fitted[:1], folds)
    errors, _ = _errors(fitted, folds)
    each = [explained(without, spread), explained(errors, spread), explained(errors, without)]
    return np.array([value for value, _ in each]), np.stack([influence for _, influence in each], axis=1)


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
