"""Tests of joint normality of a few columns: invariant to any affine map of the rows, linear in their number."""

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import Floats, Matrix, as_matrix

BANDWIDTH = 0.5
"""Spread of the frequencies of `bhep`; the smaller, the more it looks at the tails."""
_BLOCK = 1 << 19  # phases at a time


def whiten(X: ArrayLike) -> Matrix:
    """Centred rows Y of X (n, k) with Y^T Y = n I.

    Raises:
        ValueError: no more rows than columns, linearly dependent columns, or what `as_matrix` refuses.
    """
    X = as_matrix(X, "X")
    n, k = X.shape
    Q, R = np.linalg.qr(X - X.mean(axis=0))
    diagonal = np.abs(np.diag(R))
    if n <= k or diagonal.min() <= diagonal.max() * n * np.finfo(X.dtype).eps:
        raise ValueError(f"{n} rows of {k} columns of X do not span {k} dimensions: take fewer columns")
    return np.asarray(Q * X.dtype.type(np.sqrt(n)))


def mardia_skewness(X: ArrayLike) -> float:
    """Mardia's multivariate skewness (1970) of X (n, k): the mean of (y_i . y_j)^3 over all pairs of whitened rows.

    As the squared norm of the tensor of third moments it costs n k^3 instead of n^2 k. Its chi-square law is too
    narrow by 15 % already at k = 20, n = 200 (simulated), so compare it with replicates.

    Raises:
        ValueError: as `whiten`.
    """
    Y = whiten(X)
    n, k = Y.shape
    pairs = (Y[:, :, None] * Y[:, None, :]).reshape(n, k * k)
    return float(np.square((pairs.T @ Y) / n, dtype=np.float64).sum())


def mardia_kurtosis(X: ArrayLike) -> float:
    """Mardia's multivariate kurtosis (1970) of X (n, k): the mean of |y|^4 over whitened rows.

    Raises:
        ValueError: as `whiten`.
    """
    return float(np.square(np.square(whiten(X)).sum(axis=1), dtype=np.float64).mean())


def mardia_kurtosis_moments(n: int, k: int) -> tuple[float, float]:
    """Exact mean and variance of Mardia's kurtosis of n Gaussian rows in k dimensions (Mardia 1974)."""
    mean = k * (k + 2) * (n - 1) / (n + 1)
    variance = 8 * k * (k + 2) * (n - 3) * (n - k - 1) * (n - k + 1) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    return mean, variance


def frequencies(k: int, n_frequencies: int = 256, *, seed: int = 42) -> Floats:
    """Where `bhep` compares characteristic functions: (k, n_frequencies), Gaussian with spread `BANDWIDTH`."""
    return BANDWIDTH * np.random.default_rng([seed, 103]).standard_normal((k, n_frequencies))


def bhep(X: ArrayLike, T: Floats) -> float:
    """Statistic of Baringhaus, Henze, Epps and Pulley of X (n, k) at frequencies T (k, m).

    It is n times the mean over t of |phi(t) - exp(-|t|^2 / 2)|^2, phi the empirical characteristic function of the
    whitened rows. For T Gaussian with spread beta its expectation over T is Henze and Zirkler's statistic (1990),
    whose closed form costs n^2; this costs n m. It has no closed law: compare it with replicates at the same T.

    Raises:
        ValueError: as `whiten`.
    """
    Y = whiten(X)
    n, step = len(Y), max(1, _BLOCK // T.shape[1])
    t = T.astype(Y.dtype)
    real, imaginary = np.zeros(T.shape[1]), np.zeros(T.shape[1])
    for start in range(0, n, step):
        phase = Y[start : start + step] @ t
        real += np.cos(phase).sum(axis=0)
        imaginary += np.sin(phase).sum(axis=0)
    distance = (real / n - np.exp(-np.square(T).sum(axis=0) / 2)) ** 2 + (imaginary / n) ** 2
    return float(n * distance.mean())
