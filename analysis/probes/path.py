"""Probes, logistic and ridge, along a path of strengths, each scored on a fold that it never saw."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Floats,
    Frame,
    beside,
    chosen,
    double,
    eigh,
    principal_frame,
    single,
    to_numpy,
)
from .logistic import Array, log_losses, minimise

Fits = list[tuple[Array, Array]]  # weights (r, k) and intercepts (k,) of the probes without each fold

# Prior variance of a logit: C times the total variance of X, so that a path means the same for any X and any scale.
PATH = 10.0 ** np.arange(-2.0, 5.25, 0.5)
_PAST_BEST = 1.01  # a label leaves the path when its held-out loss is this far above its least


def scaled_frame(X: AnyArray) -> tuple[AnyArray, float, Frame]:
    """Principal scores T (n, r) of X (n, d) of total variance 1, the scale taken out, and the frame back to X.

    One common scale, never one a coordinate: weights w on T are frame.lift(w) / scale on X.

    Raises:
        ValueError: all rows of X are equal.
    """
    frame = principal_frame(X)
    scale = float((frame.eigenvalues.sum() / len(X)) ** 0.5)
    return frame.scores / scale, scale, frame


def scaled_scores(X: AnyArray) -> AnyArray:
    """The scores of `scaled_frame` alone, in float32: what a search along the path takes."""
    return single(scaled_frame(X)[0])


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
        losses[s][:, active] = losses_of_folds(held_out_logits(T, folds, fits), Y[:, active], folds)
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


def search_ridge(T: AnyArray, Y: Floats, folds: NDArray[np.intp], path: Floats = PATH) -> Search:
    """`search_path` for continuous labels Y (n, k): squared errors held out instead of log-losses.

    Strengths are 1 / alpha of scikit-learn's Ridge, and mean the same for any scale of a label.
    """
    fits = [_ridge(chosen(T, folds != f), Y[folds != f]) for f in range(int(folds.max()) + 1)]
    tried = ([fit(np.full(Y.shape[1], c)) for fit in fits] for c in path)
    losses = np.stack([losses_of_folds(held_out_logits(T, folds, each), Y, folds, _squares) for each in tried])
    others = losses.sum(axis=1, keepdims=True) - losses  # (s, folds, k)
    C = np.asarray(path[others.argmin(axis=0)])
    return Search(losses, C, others.min(axis=0), [fit(c) for fit, c in zip(fits, C, strict=True)])


def _squares(z: Array, Y: Array) -> Array:
    return (z.astype(np.float64) - Y) ** 2


def losses_of_folds(
    logits: Array, Y: Array, folds: NDArray[np.intp], loss: Callable[[Array, Array], Array] = log_losses
) -> Floats:
    """Losses of logits (n, k) for labels Y (n, k), summed over the rows of each fold (n,): (folds, k)."""
    of_row = loss(logits, Y)
    return np.stack([of_row[folds == f].sum(axis=0, dtype=np.float64) for f in range(int(folds.max()) + 1)])


def fit_ridge(T: AnyArray, Y: Array, C: Floats, start: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
    """Minimise C sum_i (z_i - y_i)^2 + |w|^2 over w and b, z = T w + b, for each column of Y (n, k) and its C (k,).

    A closed form, in float64, that needs no `start`.
    """
    return _ridge(T, Y)(C)


def _ridge(T: AnyArray, Y: Array) -> Callable[[Floats], tuple[Array, Array]]:
    """`fit_ridge` as a function of C: rows T (n, r) are decomposed once for every strength."""
    rows = double(T)
    mean, label = to_numpy(rows.mean(0)), Y.mean(axis=0)
    rows = rows - beside(mean, rows)
    found, vectors = eigh(rows.T @ rows)
    axes, values = to_numpy(vectors), to_numpy(found).clip(0, None)[:, None]  # (r, r), (r, 1)
    products = axes.T @ to_numpy(rows.T @ beside(Y - label, rows))  # (r, k)

    def at(C: Floats) -> tuple[Array, Array]:
        w = axes @ (products / (values + 1 / C))
        return w, np.asarray(label - mean @ w)

    return at


def fit_without_each_fold(
    T: AnyArray,
    Y: Array,
    folds: NDArray[np.intp],
    C: Floats,
    starts: Fits | None = None,
    fit: Callable[..., tuple[Array, Array]] | None = None,
) -> Fits:
    """Probes of every label of Y (n, k) on T (n, r), fitted at C (folds, k) without each fold.

    `starts` are fits to begin from, such as those of the same folds on more rows; `fit` is `minimise` when None.
    """
    kept = [folds != f for f in range(len(C))]
    solve = fit or minimise
    return [solve(chosen(T, k), Y[k], C[f], starts[f] if starts else None) for f, k in enumerate(kept)]


def held_out_logits(T: AnyArray, folds: NDArray[np.intp], fits: Fits) -> Array:
    """Logits (n, k), float32, of every row of T (n, r) from the fit that left its fold out."""
    logits = np.empty((len(T), len(fits[0][1])), np.float32)
    for f, (w, b) in enumerate(fits):
        rows = chosen(T, folds == f)
        logits[folds == f] = to_numpy(rows @ beside(w, rows) + beside(b, rows))
    return logits
