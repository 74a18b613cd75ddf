"""Probes along a path of regularisation strengths, each scored on a fold that it never saw."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Floats, beside, chosen, principal_frame, single, to_numpy
from noisezoo.analysis.probes.logistic import Array, log_losses, minimise

Fits = list[tuple[Array, Array]]  # weights (r, k) and intercepts (k,) of the probes without each fold

# Prior variance of a logit: C times the total variance of X, so that a path means the same for any X and any scale.
PATH = 10.0 ** np.arange(-2.0, 5.25, 0.5)
_TOLERANCE = 1e-6  # nats a row
_PAST_BEST = 1.01  # a label leaves the path when its held-out loss is this far above its least


@dataclass(frozen=True, slots=True)
class Scaled:
    """Centred principal scores T (n, r) of total variance 1, and the way back: weights on X are lift(w) / scale."""

    T: AnyArray
    scale: float  # square root of the total variance of X
    mean: Floats  # (d,)
    lift: Callable[[Floats], Floats]  # (r, k) -> (d, k)


def scaled_frame(X: AnyArray) -> Scaled:
    """The principal scores of X (n, d) with one common scale taken out: never one a coordinate.

    Raises:
        ValueError: all rows of X are equal.
    """
    frame = principal_frame(X)
    scale = float((frame.eigenvalues.sum() / len(X)) ** 0.5)
    return Scaled(frame.scores / scale, scale, frame.mean, frame.lift)


def scaled_scores(X: AnyArray) -> AnyArray:
    """The rows of `scaled_frame` alone, (n, r) float32: what a search along the path takes."""
    return single(scaled_frame(X).T)


@dataclass(frozen=True, slots=True)
class Search:
    """What a path of strengths gave, and what the other folds chose for each fold and label.

    A fold's own labels never choose the strength that it is scored with.
    """

    losses: Floats  # (s, folds, k) summed log-losses held out, infinite where a label had left the path
    C: Floats  # (folds, k) of least loss on all other folds
    loss: Floats  # (folds, k) that loss
    fits: Fits  # at C

    def best_strength(self, path: Floats = PATH) -> Floats:
        """The strength of least held-out loss over all folds for each label, (k,)."""
        return np.asarray(path[self.losses.sum(axis=1).argmin(axis=0)])


def search_path(T: AnyArray, Y: Array, folds: NDArray[np.intp], path: Floats = PATH) -> Search:
    """Fit every label of Y (n, k) on T (n, r) at every strength without each fold, and score the fold left out."""
    k, numbers = Y.shape[1], range(int(folds.max()) + 1)
    losses = np.full((len(path), len(numbers), k), np.inf)
    C, loss = (np.full((len(numbers), k), start) for start in (path[0], np.inf))
    best = [(np.zeros((T.shape[1], k), np.float32), np.zeros(k, np.float32)) for _ in numbers]
    starts: Fits | None = None
    active = np.arange(k)
    for s, strength in enumerate(path):
        fits = fit_without_each_fold(T, Y[:, active], folds, np.full((len(numbers), active.size), strength), starts)
        losses[s][:, active] = _held_out_losses(T, Y[:, active], folds, fits)
        for f in numbers:
            others = np.delete(losses[s], f, axis=0).sum(axis=0)[active]
            better = others < loss[f, active]
            columns = active[better]
            C[f, columns], loss[f, columns] = strength, others[better]
            best[f][0][:, columns], best[f][1][columns] = fits[f][0][:, better], fits[f][1][better]
        total = losses[: s + 1].sum(axis=1)[:, active]
        keep = total[-1] <= _PAST_BEST * total.min(axis=0)
        active, starts = active[keep], [(w[:, keep], b[keep]) for w, b in fits]
        if not active.size:
            break
    return Search(losses, C, loss, best)


def _held_out_losses(T: AnyArray, Y: Array, folds: NDArray[np.intp], fits: Fits) -> Floats:
    return losses_of_folds(held_out_logits(T, folds, fits), Y, folds)


def losses_of_folds(logits: Array, Y: Array, folds: NDArray[np.intp]) -> Floats:
    """Log-losses of logits (n, k) for labels Y (n, k), summed over the rows of each fold (n,): (folds, k)."""
    of_row = log_losses(logits, Y)
    return np.stack([of_row[folds == f].sum(axis=0, dtype=np.float64) for f in range(int(folds.max()) + 1)])


def fit_logistic(T: AnyArray, Y: Array, C: Floats, start: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
    """`minimise`, as near to the optimum as held-out scores can tell."""
    return minimise(T, Y, C, start, tolerance=_TOLERANCE)


def fit_without_each_fold(
    T: AnyArray,
    Y: Array,
    folds: NDArray[np.intp],
    C: Floats,
    starts: Fits | None = None,
    fit: Callable[..., tuple[Array, Array]] = fit_logistic,
) -> Fits:
    """Probes of every label of Y (n, k) on T (n, r), fitted at C (folds, k) without each fold.

    `starts` are fits to begin from, such as those of the same folds on more rows.
    """
    kept = [folds != f for f in range(len(C))]
    return [fit(chosen(T, k), Y[k], C[f], starts[f] if starts else None) for f, k in enumerate(kept)]


def held_out_logits(T: AnyArray, folds: NDArray[np.intp], fits: Fits) -> Array:
    """Logits (n, k), float32, of every row of T (n, r) from the fit that left its fold out."""
    logits = np.empty((len(T), len(fits[0][1])), np.float32)
    for f, (w, b) in enumerate(fits):
        rows = chosen(T, folds == f)
        logits[folds == f] = to_numpy(rows @ beside(w, rows) + beside(b, rows))
    return logits
