"""How many pairs stitching needs: ridge from one view to another by the number of images that are seen in both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Draws,
    Floats,
    Measured,
    Resampling,
    Result,
    Scored,
    Units,
    assign_folds,
    null_of_draws,
    null_of_rates,
    same_rows,
    to_numpy,
)
from noisezoo.analysis.probes import METRICS, Fits, OutOfFold, scaled_scores, search_path
from noisezoo.analysis.relations import RIDGES, chance, cut, explained, hits, regress

METRIC, CHANCE = "balanced_accuracy", 0.5
_INNER, _FEWEST, _KS = 3, 16, (1, 10)  # folds that choose the ridge, the least pairs that are tried unasked
_LAWS = {"r2": null_of_draws, "retrieval@1": null_of_rates, "retrieval@10": null_of_rates, "transfer": null_of_rates}


@dataclass(frozen=True, eq=False)
class PairingCurve(Result):
    """What a map that was fitted on so many pairs reaches on rows that it never saw."""

    points: Mapping[tuple[int, str], Measured]  # (pairs, measure)
    levels: Mapping[str, float]  # measure -> what a map that knows nothing reaches
    n: int
    refused: tuple[str, ...]  # attributes of which a fold has one class only
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a number of pairs and measure."""
        return [
            {"pairs": pairs, **point.row(measure), "chance": self.levels[measure]}
            for (pairs, measure), point in self.points.items()
        ]


def pairing_curve(
    X: ArrayLike,
    Y: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    sizes: Sequence[int] | None = None,
    groups: ArrayLike | None = None,
    n_folds: int = 3,
    n_splits: int = 6,
    n_permutations: int = 6,
    confidence: float = 0.95,
    seed: int = 42,
) -> PairingCurve:
    """Held-out R2, retrieval and attribute transfer of ridge from X (n, d) to Y (n, e), by the number of pairs.

    Each fold is predicted by a map fitted on so many of the other rows, nested from size to size; held-out error within
    those chooses its strength. R2 and retrieval (own target first, or among ten, of the fold) are those of `stitch`.
    `transfer` is the mean balanced accuracy of probes of Y, fitted on all rows but the fold as they need no pair, on
    what is carried over. Intervals are by half-samples, with half as many pairs; they take the probes as given.
    The null shuffles Y's rows and labels together against X, or whole groups, and fits the maps again.

    `labels` are attributes (n, k) of zeros and ones, without which there is no `transfer`. `sizes` are numbers of
    pairs; None: 16, 32, ... and all rows of a training set. Groups enter the pairs whole; `groups` and the draws are as
    in `Draws`.

    Raises:
        ValueError: sizes below 8 or above the rows of a training set, or what `same_rows` and `Resampling` refuse.
    """
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    source, target = map(to_numpy, same_rows([("X", X), ("Y", Y)]))
    rows, T = Resampling.of(len(source), groups, draws), to_numpy(scaled_scores(target))
    folds, units, (L, refused) = rows.folds, rows.units, _attributes(labels, rows.folds)
    most = len(T) - int(np.bincount(folds).max())
    doubled = [_FEWEST * 2**i for i in range(20) if _FEWEST * 2**i < most]
    wanted = sorted({*sizes} if sizes is not None else {*doubled, most})
    if not wanted or wanted[0] < 8 or wanted[-1] > most:
        raise ValueError(f"sizes must lie between 8 and the {most} pairs of a training set, not {wanted}")
    arrival = np.random.default_rng([seed, 8]).random(units.max() + 1)[units]
    plan = _Plan(source, T, L, search_path(T, L, folds).fits if L.shape[1] else [], folds, units, arrival)
    laws = {name: law for name, law in _LAWS.items() if name != "transfer" or L.shape[1]}
    points: dict[tuple[int, str], Measured] = {}
    for size in wanted:
        scored = (plan.score(some, some, size / most) for some in rows.parts)
        null = (plan.score(rows.parts[0], order, size / most)[0] for order in rows.orders(9))
        found = rows.measured(scored, null, [*laws.values()])
        points |= {(size, name): one for name, one in zip(laws, found, strict=True)}
    galleries = [np.flatnonzero(folds == f) for f in range(n_folds)]
    levels = dict(zip(_LAWS, (0.0, *chance(galleries, _KS).tolist(), CHANCE), strict=True))
    return PairingCurve(points, levels, len(T), tuple(refused), draws)


def _attributes(labels: ArrayLike | None, folds: Units) -> tuple[Floats, list[str]]:
    """Columns of which every fold and half of it is likely to have both classes; and the numbers of the others."""
    if labels is None:
        return np.empty((len(folds), 0)), []
    L = np.asarray(labels, dtype=np.float64).reshape(len(folds), -1)
    fewest = np.min([[(L[folds == f] == c).sum(axis=0) for c in (0, 1)] for f in np.unique(folds)], axis=(0, 1))
    kept = fewest >= 4
    return L[:, kept], [str(j) for j in np.flatnonzero(~kept)]


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Both views, and what is the same at every size."""

    X: NDArray[Any]  # (n, d)
    T: NDArray[Any]  # (n, r) scores of the target
    L: Floats  # (n, k)
    fits: Fits  # probes of T without each fold
    folds: Units
    units: Units
    arrival: Floats  # (n,) in [0, 1): when each row comes into the pairs

    def score(self, source: Units, target: Units, share: float) -> Scored:
        """What rows `target` (m,) of the target give, each with the row `source` (m,) beside it, by measure."""
        X, T, L, folds = self.X[source], self.T[target], self.L[target], self.folds[source]
        predicted, targets = np.empty_like(T), np.empty_like(T)
        logits = np.empty(L.shape, np.float32)
        for f in np.unique(folds):
            test, rest = folds == f, np.flatnonzero(folds != f)
            rows = rest[np.argsort(self.arrival[source[rest]], kind="stable")[: max(8, round(share * len(rest)))]]
            mean = T[rows].mean(axis=0)
            predicted[test] = _carried(X[rows], T[rows], self.units[source[rows]], X[test]) - mean
            targets[test] = T[test] - mean
            if self.fits:
                w, b = self.fits[f]
                logits[test] = (predicted[test] + mean) @ w + b
        return _scored(predicted, targets, logits, L, folds)


def _carried(X: NDArray[Any], T: NDArray[Any], units: Units, new: NDArray[Any]) -> NDArray[Any]:
    """Rows `new` (m, d) by the ridge from X (p, d) to T (p, r) whose strength has the least held-out error within."""
    inner = assign_folds(len(X), _INNER, seed=0, groups=units)
    fitted = regress(cut(X, inner), T)
    best = float(RIDGES[fitted.errors(RIDGES).sum(axis=1).argmin()])
    coef = fitted.source.lift(to_numpy(fitted.source.whole.coefficients(fitted.P, best)))
    return np.asarray((new - fitted.source.mean) @ coef + to_numpy(fitted.mean))


def _scored(
    predicted: NDArray[Any], targets: NDArray[Any], logits: NDArray[Any], L: Floats, folds: Units
) -> Scored:  # fmt: skip
    errors, spreads = (np.square(A, dtype=np.float64).sum(axis=1) for A in (predicted - targets, targets))
    r2, of_r2 = explained(errors, spreads)
    found = hits(predicted, targets, [np.flatnonzero(folds == f) for f in np.unique(folds)], _KS)
    values, influences = [r2, *found.mean(axis=0)], [of_r2, *(found - found.mean(axis=0)).T / len(found)]
    if L.shape[1]:
        each, influence = METRICS[METRIC](OutOfFold.of(logits, L, folds))
        values.append(each.mean())
        influences.append(influence.mean(axis=1))
    return np.array(values), np.stack(influences, axis=1)
