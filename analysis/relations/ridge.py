"""Ridge regression out of fold: moments of each fold, one eigendecomposition a fold, then any strength and any target.

With training rows centred, G = X^T X = V diag(g) V^T and C = X^T Y, the coefficients at strength lambda are
V diag(w) P with P = V^T C and w = 1 / (g + lambda). The squared error of held-out rows is a quadratic form in w, so
that a whole path costs what one strength does, and predictions are made at the chosen strength only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Floats,
    cast,
    double,
    double_sum,
    eigh,
    like,
    namespace,
    principal_frame,
    to_numpy,
)

Rows = list[NDArray[np.intp]]
_BLOCK = 4096  # rows that are held in float64 at a time


def double_product(A: AnyArray, B: AnyArray) -> AnyArray:
    """A^T B in float64 for A (n, p) and B (n, q) of any precision, by blocks of rows."""
    blocks = (slice(start, start + _BLOCK) for start in range(0, len(A), _BLOCK))
    return sum(double(A[rows]).T @ double(B[rows]) for rows in blocks)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What the ridge on some training rows shares among strengths and targets."""

    values: AnyArray  # (r,) g, ascending
    axes: AnyArray  # (r, r) V
    unit: float  # lambda of ridge = 1: |X|_F^2 / d
    mean: AnyArray  # (r,) of the rows
    n: int

    def weights(self, ridges: Floats) -> AnyArray:
        """The weights w = 1 / (g + lambda) of each ridge (s,): (s, r); zero where nothing varies."""
        xp = namespace(self.values)
        total = self.values + like(ridges, self.values)[:, None] * self.unit
        varies = total > self.values[-1] * len(self.values) * np.finfo(np.float64).eps
        return varies / xp.where(varies, total, xp.ones_like(total))

    def coefficients(self, P: AnyArray, ridge: float) -> AnyArray:
        """Coefficients V diag(w) P, (r, e)."""
        return self.axes @ (self.weights(np.array([ridge])).T * P)


@dataclass(frozen=True, slots=True)
class Source:
    """A view cut in folds: the spectrum without each fold and of all rows, and each fold's Gram matrix in its axes.

    Ridge is invariant to rotation, so that a view of more columns than rows enters by its principal scores T.
    """

    T: AnyArray  # (n, r) centred rows, or their principal scores
    mean: Floats  # (d,)
    lift: Callable[[Floats], Floats]  # coefficients on T (r, e) -> on X (d, e)
    folds: NDArray[np.intp]  # (n,)
    rows: Rows
    without: list[Spectrum]
    held: list[AnyArray]  # (r, r) H = V^T X_f^T X_f V, rows about the training mean
    whole: Spectrum


def cut(X: AnyArray, folds: NDArray[np.intp]) -> Source:
    """Rotate, add up and decompose X (n, d) for folds (n,).

    Raises:
        ValueError: all rows of X are equal.
    """
    n, d = X.shape
    rows = [np.flatnonzero(folds == f) for f in range(int(folds.max()) + 1)]
    T, mean, lift = _rotated(X)
    own = [(double_product(T[r], T[r]), double_sum(T[r], 0), len(r)) for r in rows]
    gram, total = sum(G for G, _, _ in own), sum(s for _, s, _ in own)
    if not float(gram.trace()) > 0:
        raise ValueError("all rows of X are equal: nothing varies")
    without = [_decompose(gram - G, total - s, n - m, d) for G, s, m in own]
    held = [w.axes.T @ _about(G, s, s, w.mean, w.mean, m) @ w.axes for (G, s, m), w in zip(own, without, strict=True)]
    return Source(T, mean, lift, folds, rows, without, held, _decompose(gram, total, n, d))


def _rotated(X: AnyArray) -> tuple[AnyArray, Floats, Callable[[Floats], Floats]]:
    """Rows, their mean and the way back: X (n, d) as it is where d < n, else by its principal frame."""
    if X.shape[1] >= len(X):
        frame = principal_frame(X)
        return frame.scores, frame.mean, frame.lift
    mean = double_sum(X, 0) / len(X)
    return X - cast(mean, X), to_numpy(mean), np.asarray


def _decompose(gram: AnyArray, total: AnyArray, n: int, d: int) -> Spectrum:
    mean = total / n
    values, axes = eigh(gram - n * mean[:, None] * mean)
    values = values.clip(0, None)
    return Spectrum(values, axes, float(values.sum()) / d, mean, n)


def _about(product: AnyArray, x: AnyArray, y: AnyArray, a: AnyArray, b: AnyArray, n: int) -> AnyArray:
    """Sum of (x - a)^T (y - b) over n rows, from their sums of x^T y, x and y."""
    return product - x[:, None] * b - a[:, None] * y + n * a[:, None] * b


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One fold of a target as the fit to the other folds sees it."""

    mean: AnyArray  # (e,) of the training rows
    P: AnyArray  # (r, e) V^T C
    N: AnyArray  # (r, e) V^T X_f^T Y_f, both about the training means
    total: float  # squared distance of the held-out rows from the mean
    linear: AnyArray  # (r,) of P N
    quadratic: AnyArray  # (r, r) of H and P P^T

    def errors(self, w: AnyArray) -> Floats:
        """Summed squared errors of the held-out rows at each w (s, r): (s,)."""
        return np.asarray(self.total + to_numpy(((w @ self.quadratic) * w).sum(1) - 2 * w @ self.linear))


@dataclass(frozen=True, slots=True)
class Regression:
    """One target Y (n, e) on one source, at every strength."""

    source: Source
    Y: AnyArray
    folds: list[HeldOut]
    mean: AnyArray  # (e,) of all rows
    P: AnyArray  # (r, e) of all rows

    def errors(self, ridges: Floats) -> Floats:
        """Summed squared errors of the held-out rows of each fold at each ridge (s,): (s, folds)."""
        pairs = zip(self.folds, self.source.without, strict=True)
        return np.stack([held.errors(spectrum.weights(ridges)) for held, spectrum in pairs], axis=1)

    def predict(self, fold: int, ridge: float, rows: NDArray[np.intp]) -> tuple[AnyArray, AnyArray]:
        """Predictions and targets of some rows without a fold, both about the training mean: (m, e) each."""
        spectrum, held = self.source.without[fold], self.folds[fold]
        T = self.source.T
        W = cast(spectrum.coefficients(held.P, ridge), T)
        return cast((T[rows] - cast(spectrum.mean, T)) @ W, self.Y), self.Y[rows] - cast(held.mean, self.Y)

    def choose(self, ridges: Floats) -> Floats:
        """The strength (folds,) of least error on all other folds."""
        errors = self.errors(ridges)
        return np.asarray(ridges[(errors.sum(axis=1, keepdims=True) - errors).argmin(axis=0)])

    def out_of_fold(self, ridges: Floats) -> tuple[AnyArray, AnyArray]:
        """Predictions and targets (n, e) of every row without its fold, at ridges (folds,); as `predict` gives them."""
        xp = namespace(self.Y)
        predicted, targets = xp.empty_like(self.Y), xp.empty_like(self.Y)
        for fold, (ridge, rows) in enumerate(zip(ridges, self.source.rows, strict=True)):
            predicted[rows], targets[rows] = self.predict(fold, float(ridge), rows)
        return predicted, targets

    def training_influence(self, ridges: Floats) -> Floats:
        """Derivative of the summed squared error of held-out rows by the weight of each row as a training row, (n,).

        For ridges (folds,). A row x with residual e that weighs more moves the coefficients of each fold that it trains
        by (G + lambda)^-1 x^T e. The fold's error has the gradient -2 X_f^T E_f by them, and so changes by -2 x A e^T,
        with A = (G + lambda)^-1 X_f^T E_f.
        """
        T, total = self.source.T, np.zeros(len(self.Y))
        for fold, ridge in enumerate(ridges):
            spectrum, held, H = self.source.without[fold], self.folds[fold], self.source.held[fold]
            w = spectrum.weights(np.array([float(ridge)])).T
            A = cast(spectrum.axes @ (w * (held.N - H @ (w * held.P))), T)
            trained = np.concatenate([rows for own, rows in enumerate(self.source.rows) if own != fold])
            predicted, targets = self.predict(fold, float(ridge), trained)
            moved = (T[trained] - cast(spectrum.mean, T)) @ A
            total[trained] -= 2 * to_numpy(double_sum(moved * cast(targets - predicted, T), 1))
        return total


def explained(errors: Floats, spreads: Floats) -> tuple[float, Floats]:
    """R2 of squared errors of rows (n,), held against their squared distances from a mean (n,); and influences (n,)."""
    r2 = 1 - errors.sum() / spreads.sum()
    return float(r2), ((1 - r2) * spreads - errors) / spreads.sum()


def regress(source: Source, Y: AnyArray) -> Regression:
    """Meet a target Y (n, e) with a source on the same rows."""
    parts = [(source.T[r], Y[r]) for r in source.rows]
    own = [(double_product(t, y), double_sum(t, 0), double_sum(y, 0)) for t, y in parts]
    product, total, n = sum(M for M, _, _ in own), sum(y for _, _, y in own), len(Y)
    folds = []
    for (M, x, y), (_, rows), spectrum, H in zip(own, parts, source.without, source.held, strict=True):
        mean = (total - y) / spectrum.n
        P = spectrum.axes.T @ (product - M - spectrum.n * spectrum.mean[:, None] * mean)
        N = spectrum.axes.T @ _about(M, x, y, spectrum.mean, mean, len(rows))
        spread = float(((double(rows) - mean) ** 2).sum())
        folds.append(HeldOut(mean, P, N, spread, (P * N).sum(1), H * (P @ P.T)))
    mean = total / n
    return Regression(source, Y, folds, mean, source.whole.axes.T @ (product - n * source.whole.mean[:, None] * mean))
