"""Tests of univariate normality, vectorised: every column is a sample."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.validation import Matrix, as_matrix, refuse_constant_columns

Floats = NDArray[np.float64]
_BLOCK = 1 << 18  # values a block: the temporaries of one block stay in cache


def anderson_darling(Z: ArrayLike) -> tuple[Floats, Floats]:
    """Anderson-Darling test of normality with estimated mean and variance, of each column of Z (n, m), n >= 8.

    Returns A2 (m,), float64, as `scipy.stats.anderson` computes it, and its p-value (m,). The p-value is continuous,
    by the formula of D'Agostino and Stephens, Goodness-of-Fit Techniques (1986), table 4.9. On true Gaussians it is
    uniform within 0.006 below one half and within 0.03 above, where nothing is decided; its tail is right down to the
    1e-5 that simulations reach, so that Bonferroni over thousands of columns holds.

    Raises:
        ValueError: fewer than 8 rows, a constant column, or what `as_matrix` refuses.
    """
    Z = as_matrix(Z, "Z", min_rows=8)
    refuse_constant_columns(Z, "Z")
    A2 = _over_columns(_anderson_darling_statistic, Z)
    return A2, _anderson_darling_p(A2, len(Z))


def _anderson_darling_statistic(Z: Matrix) -> Floats:
    from scipy.special import log_ndtr, ndtr

    n = len(Z)
    w = _standardise(np.sort(Z.T, axis=1).astype(np.float64))  # (m, n), rising
    # One call for both tails: the small one keeps its relative precision, the large one needs the absolute only.
    tail = ndtr(-np.abs(w))
    with np.errstate(divide="ignore"):
        log_small = np.log(tail)
    far = np.abs(w) > 30  # where ndtr leaves the range of float64
    log_small[far] = log_ndtr(-np.abs(w[far]))
    log_large = np.log(1 - tail)
    below = w < 0
    log_F = np.where(below, log_small, log_large)
    log_S = np.where(below, log_large, log_small)
    i = np.arange(1, n + 1)
    return np.asarray(-n - (log_F @ (2 * i - 1.0) + log_S @ (2 * n + 1.0 - 2 * i)) / n)


def _standardise(z: Floats) -> Floats:
    z = z - z.mean(axis=1, keepdims=True)
    spread = np.sqrt((z * z).sum(axis=1, keepdims=True) / (z.shape[1] - 1))
    return np.asarray(z / spread)


def _anderson_darling_p(A2: Floats, n: int) -> Floats:
    a = A2 * (1 + 0.75 / n + 2.25 / n**2)
    a = np.minimum(a, 153.0)  # the quadratic below turns back up at 153.5, where p is 1e-190
    pieces = [
        (a >= 0.6, np.exp(1.2937 - 5.709 * a + 0.0186 * a**2)),
        (a > 0.34, np.exp(0.9177 - 4.279 * a - 1.38 * a**2)),
        (a > 0.2, 1 - np.exp(-8.318 + 42.796 * a - 59.938 * a**2)),
    ]
    otherwise = 1 - np.exp(-13.436 + 101.14 * a - 223.73 * a**2)
    return np.select([where for where, _ in pieces], [p for _, p in pieces], otherwise)


def dagostino_pearson(Z: ArrayLike) -> tuple[Floats, Floats]:
    """D'Agostino and Pearson's omnibus K2 of skewness and kurtosis (1973), of each column of Z (n, m), n >= 20.

    Returns K2 (m,), float64, as `scipy.stats.normaltest` computes it, and its chi-square p-value (m,). The
    chi-square tail is too light far out (true Gaussians with n = 800 fall below p = 1e-5 twelve times as often as
    they should), so do not put a Bonferroni correction on these p-values.

    Raises:
        ValueError: fewer than 20 rows, a constant column, or what `as_matrix` refuses.
    """
    Z = as_matrix(Z, "Z", min_rows=20)
    refuse_constant_columns(Z, "Z")
    K2 = _over_columns(_omnibus_statistic, Z)
    return K2, np.exp(-K2 / 2)


def _omnibus_statistic(Z: Matrix) -> Floats:
    z = _standardise(np.ascontiguousarray(Z.T, dtype=np.float64))  # (m, n)
    n = z.shape[1]
    z2 = z * z
    m2 = (n - 1) / n
    skewness = (z2 * z).mean(axis=1) / m2**1.5
    kurtosis = (z2 * z2).mean(axis=1) / m2**2
    return np.asarray(_skewness_z(skewness, n) ** 2 + _kurtosis_z(kurtosis, n) ** 2)


def _skewness_z(g1: Floats, n: int) -> Floats:
    """D'Agostino (1970), Transformation to normality of the null distribution of g1."""
    y = g1 * np.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta2 = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    W2 = np.sqrt(2 * (beta2 - 1)) - 1
    return np.asarray(np.arcsinh(y * np.sqrt((W2 - 1) / 2)) / np.sqrt(np.log(W2) / 2))


def _kurtosis_z(b2: Floats, n: int) -> Floats:
    """Anscombe and Glynn (1983), Distribution of the kurtosis statistic b2 for normal samples."""
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    x = (b2 - 3 * (n - 1) / (n + 1)) / np.sqrt(variance)
    root_beta1 = 6 * (n**2 - 5 * n + 2) / ((n + 7) * (n + 9)) * np.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    A = 6 + 8 / root_beta1 * (2 / root_beta1 + np.sqrt(1 + 4 / root_beta1**2))
    ratio = (1 - 2 / A) / (1 + x * np.sqrt(2 / (A - 4)))
    return np.asarray((1 - 2 / (9 * A) - np.cbrt(ratio)) / np.sqrt(2 / (9 * A)))


def _over_columns(statistic: Callable[[Matrix], Floats], Z: Matrix) -> Floats:
    n, m = Z.shape
    width = max(1, _BLOCK // n)
    return np.concatenate([statistic(Z[:, start : start + width]) for start in range(0, m, width)])
