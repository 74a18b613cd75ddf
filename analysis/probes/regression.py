"""Ridge regression of many continuous labels at once, along the path of strengths that logistic probes take."""

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Floats, beside, chosen, double, eigh, to_numpy
from noisezoo.analysis.probes.logistic import Array
from noisezoo.analysis.probes.path import PATH, Fits, Search


def fit_ridge(T: AnyArray, Y: Array, C: Floats, start: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
    """Minimise C sum_i (z_i - y_i)^2 + |w|^2 over w and b, z = T w + b, for each column of Y (n, k) and its C (k,).

    T (n, r) is numpy or torch. A closed form needs no `start`. Returns w (r, k) and b (k,), numpy, float64.
    """
    return _Ridge(T, Y).at(C)


class _Ridge:
    """The regression of labels Y (n, k) on rows T (n, r), decomposed once for every strength."""

    def __init__(self, T: AnyArray, Y: Array) -> None:
        rows = double(T)
        self.mean, self.label = to_numpy(rows.mean(0)), Y.mean(axis=0)
        rows = rows - beside(self.mean, rows)
        values, axes = eigh(rows.T @ rows)
        self.axes = to_numpy(axes)
        self.values = to_numpy(values).clip(0, None)[:, None]  # (r, 1)
        self.products = self.axes.T @ to_numpy(rows.T @ beside(Y - self.label, rows))  # (r, k)

    def at(self, C: Floats) -> tuple[Floats, Floats]:
        w = self.axes @ (self.products / (self.values + 1 / C))
        return w, np.asarray(self.label - self.mean @ w)


def search_ridge(T: AnyArray, Y: Floats, folds: NDArray[np.intp], path: Floats = PATH) -> Search:
    """`search_path` for continuous labels Y (n, k): squared errors held out instead of log-losses.

    They are 1 / alpha of scikit-learn's Ridge, and mean the same for any scale of a label.
    """
    numbers = range(int(folds.max()) + 1)
    fits = [_Ridge(chosen(T, folds != f), Y[folds != f]) for f in numbers]
    k = Y.shape[1]
    losses = np.stack([_errors(T, Y, folds, [fit.at(np.full(k, c)) for fit in fits]) for c in path])  # (s, folds, k)
    others = losses.sum(axis=1, keepdims=True) - losses
    best = others.argmin(axis=0)  # (folds, k)
    C = np.asarray(path[best])
    found: Fits = [fit.at(c) for fit, c in zip(fits, C, strict=True)]
    return Search(losses, C, np.take_along_axis(others, best[None], axis=0)[0], found)


def _errors(T: AnyArray, Y: Floats, folds: NDArray[np.intp], fits: Fits) -> Floats:
    """Squared errors (folds, k) of the rows of each fold, by the fit without it."""
    totals = []
    for f, (w, b) in enumerate(fits):
        rows = chosen(T, folds == f)
        totals.append(((to_numpy(rows @ beside(w, rows)) + b - Y[folds == f]) ** 2).sum(axis=0))
    return np.array(totals, dtype=np.float64)
