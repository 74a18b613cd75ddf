"""Ridge regression out of fold: moments of each fold, one eigendecomposition a fold, then any strength and any target.

With training rows centred, G = X^T X = V diag(g) V^T and C = X^T Y, the coefficients at strength lambda are
V diag(w) P with P = V^T C and w = 1 / (g + lambda). The squared error of held-out rows is a quadratic form in w, so
that a whole path costs what one strength does, and predictions are made at the chosen strength only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, cast, double, double_sum, eigh, like, namespace, to_numpy

Floats = NDArray[np.float64]
Rows = list[NDArray[np.intp]]
_BLOCK = 4096  # rows that are held in float64 at a time


def double_product(A: AnyArray, B: AnyArray) -> AnyArray:
    """A^T B in float64 for A (n, p) and B (n, q) of any precision, by blocks of rows."""
    blocks = (slice(start, start + _BLOCK) for start in range(0, len(A), _BLOCK))
    return sum(double(A[rows]).T @ double(B[rows]) for rows in blocks)


@dataclass(frozen=True, slots=True)
class Rotated:
    """Centred rows in at most min(n - 1, d) dimensions, and the way back: ridge is invariant to rotation."""

    mean: AnyArray  # (d,)
    T: AnyArray  # (n, r)
    lift: Callable[[AnyArray], AnyArray]  # coefficients on T (r, e) -> on X (d, e)
    d: int


def rotated(X: AnyArray) -> Rotated:
    """Rows of X (n, d) as they are where d < n; else their principal scores, by the kernel (the dual route)."""
    n, d = X.shape
    mean = X.mean(0, dtype=namespace(X).float64)
    centred = X - cast(mean, X)
    if d < n:
        return Rotated(mean, centred, double, d)
    xp = namespace(X)
    values, vectors = eigh(double_product(centred.T, centred.T))
    kept = values > values[-1] * n * np.finfo(np.float64).eps
    roots, vectors = xp.sqrt(values[kept]), vectors[:, kept]
    return Rotated(mean, vectors * roots, lambda W: double(centred).T @ ((vectors / roots) @ W), d)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What the ridge on some training rows shares among strengths and targets."""

    values: AnyArray  # (r,) g, ascending
    axes: AnyArray  # (r, r) V
    unit: float  # lambda of alpha = 1: |X|_F^2 / d
    mean: AnyArray  # (r,) of the rows
    n: int

    def weights(self, alphas: Floats) -> AnyArray:
        """The weights w = 1 / (g + lambda) of each alpha (s,): (s, r); zero where nothing varies."""
        xp = namespace(self.values)
        total = self.values + like(alphas, self.values)[:, None] * self.unit
        varies = total > self.values[-1] * len(self.values) * np.finfo(np.float64).eps
        return varies / xp.where(varies, total, xp.ones_like(total))

    def coefficients(self, P: AnyArray, alpha: float) -> AnyArray:
        """Coefficients V diag(w) P, (r, e)."""
        return self.axes @ (self.weights(np.array([alpha])).T * P)


@dataclass(frozen=True, slots=True)
class Source:
    """A view cut in folds: the spectrum without each fold and of all rows, and each fold's Gram matrix in its axes."""

    view: Rotated
    rows: Rows
    without: list[Spectrum]
    held: list[AnyArray]  # (r, r) H = V^T X_f^T X_f V, rows about the training mean
    whole: Spectrum


def cut(X: AnyArray, folds: NDArray[np.intp]) -> Source:
    """Rotate, add up and decompose X (n, d) for folds (n,).

    Raises:
        ValueError: all rows of X are equal.
    """
    view, n = rotated(X), len(folds)
    rows = [np.flatnonzero(folds == f) for f in range(int(folds.max()) + 1)]
    parts = [view.T[r] for r in rows]
    own = [(double_product(part, part), double_sum(part, 0), len(part)) for part in parts]
    gram, total = sum(G for G, _, _ in own), sum(s for _, s, _ in own)
    if not float(gram.trace()) > 0:
        raise ValueError("all rows of X are equal: nothing varies")
    without = [_decompose(gram - G, total - s, n - m, view.d) for G, s, m in own]
    held = [w.axes.T @ _about(G, s, s, w.mean, w.mean, m) @ w.axes for (G, s, m), w in zip(own, without, strict=True)]
    return Source(view, rows, without, held, _decompose(gram, total, n, view.d))


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

    def errors(self, alphas: Floats) -> Floats:
        """Summed squared errors of the held-out rows of each fold at each alpha (s,): (s, folds)."""
        pairs = zip(self.folds, self.source.without, strict=True)
        return np.stack([held.errors(spectrum.weights(alphas)) for held, spectrum in pairs], axis=1)

    def predict(self, fold: int, alpha: float, rows: NDArray[np.intp]) -> tuple[AnyArray, AnyArray]:
        """Predictions and targets of some rows without a fold, both about the training mean: (m, e) each."""
        spectrum, held = self.source.without[fold], self.folds[fold]
        T = self.source.view.T
        W = cast(spectrum.coefficients(held.P, alpha), T)
        return cast((T[rows] - cast(spectrum.mean, T)) @ W, self.Y), self.Y[rows] - cast(held.mean, self.Y)

    def training_influence(self, alphas: Floats) -> Floats:
        """Derivative of the summed squared error of held-out rows by the weight of each row as a training row, (n,).

        For alphas (folds,). A row x with residual e that weighs more moves the coefficients of each fold that it trains
        by (G + lambda)^-1 x^T e. The fold's error has the gradient -2 X_f^T E_f by them, and so changes by -2 x A e^T,
        A = (G + lambda)^-1 X_f^T E_f. As e = y - b - x W, this is a quadratic form in x and y, and the forms of all
        folds are added up before they meet the rows.
        """
        T, Y = self.source.view.T, self.Y
        forms = [tuple(cast(part, T) for part in self._form(f, float(alpha))) for f, alpha in enumerate(alphas)]
        found = np.empty(len(Y))
        for own, rows in enumerate(self.source.rows):
            xy, xx, x1, y1, constant = (sum(parts) for parts in zip(*_without(forms, own), strict=True))
            x, y = T[rows], cast(Y[rows], T)
            change = ((x @ xy + y1) * y).sum(1) + ((x @ xx + x1) * x).sum(1) + constant
            found[rows] = -2 * to_numpy(double(change))
        return found

    def _form(self, fold: int, alpha: float) -> tuple[AnyArray, ...]:
        """(x - m) A (y - b - x W)^T as coefficients of x^T y (r, e), x^T x (r, r), x (r,), y (e,) and 1."""
        spectrum, held, H = self.source.without[fold], self.folds[fold], self.source.held[fold]
        w = spectrum.weights(np.array([alpha])).T
        W, A = spectrum.axes @ (w * held.P), spectrum.axes @ (w * (held.N - H @ (w * held.P)))
        m, b = spectrum.mean, held.mean - spectrum.mean @ W
        return A, -A @ W.T, W @ (m @ A) - A @ b, -m @ A, m @ A @ b


def _without(items: list[tuple[AnyArray, ...]], left_out: int) -> list[tuple[AnyArray, ...]]:
    return items[:left_out] + items[left_out + 1 :]


def regress(source: Source, Y: AnyArray) -> Regression:
    """Meet a target Y (n, e) with a source on the same rows."""
    parts = [(source.view.T[r], Y[r]) for r in source.rows]
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
