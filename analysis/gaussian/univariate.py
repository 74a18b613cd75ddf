"""Tests of univariate normality, vectorised: every column is a sample."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from noisezoo.analysis.core import AnyArray, Floats, Matrix, as_matrix, constant_columns

_PANEL = 1 << 18  # values that are turned from columns into rows at a time
_BLOCK = 1 << 16  # values a block: the temporaries of one block stay in the nearest cache
# Royston (1995): polynomials in n^-1/2, less a constant, of the two largest weights; in log n, of log(1 - W)'s law.
_ROYSTON_ENDS = (
    (-2.706056, 4.434685, -2.07119, -0.147981, 0.221157),
    (-3.582633, 5.682633, -1.752461, -0.293762, 0.042981),
)
_ROYSTON_MOMENTS = ((0.0038915, -0.083751, -0.31082, -1.5861), (0.0030302, -0.082676, -0.4803))
_MOST_ROYSTON = 5000
_REACH, _MARGIN = 4.5, 6.0  # of frequencies, beyond which there is a weight of 7e-6; of the range of the scores
_FAR = 1.2  # of Epps and Pulley's statistic: beyond, the law is its leading term within 1 %


def anderson_darling(Z: AnyArray) -> tuple[Floats, Floats]:
    """Anderson-Darling test of normality with estimated mean and variance, of each column of Z (n, m), n >= 8.

    Z is an array, or a torch tensor. Returns A2 (m,), float64, as `scipy.stats.anderson` computes it, and its p-value
    (m,). The p-value is continuous, by the formula of D'Agostino and Stephens, Goodness-of-Fit Techniques (1986),
    table 4.9. On true Gaussians it is uniform within 0.006 below one half and within 0.03 above, where nothing is
    decided; its tail is right down to the 1e-5 that simulations reach, so that Bonferroni over thousands of columns
    holds.

    Raises:
        ValueError: fewer than 8 rows, a constant column, or what `as_matrix` refuses.
    """
    Z = _samples(Z, min_rows=8)
    A2 = _over_columns(_anderson_darling_statistic, Z)
    return A2, _anderson_darling_p(A2, len(Z))


def _samples(Z: AnyArray, min_rows: int) -> Matrix:
    samples = as_matrix(Z, "Z", min_rows=min_rows)
    constant = np.flatnonzero(samples[0] == samples[-1])  # at most these: mostly none
    constant = constant[constant_columns(samples[:, constant])] if constant.size else constant
    if constant.size:
        listed = ", ".join(map(str, constant[:5])) + (", ..." if constant.size > 5 else "")
        raise ValueError(f"Z has {constant.size} constant columns ({listed}); drop them")
    return samples


def _sorted_scores(S: Matrix) -> Floats:
    """Each row of S (m, n) standardised, rising."""
    S = np.sort(S, axis=1)
    z: Floats = S - S.mean(axis=1, keepdims=True, dtype=np.float64)
    z /= np.sqrt(np.einsum("ij,ij->i", z, z) / (z.shape[1] - 1))[:, None]
    return z


def _anderson_darling_statistic(z: Floats) -> Floats:
    """A2 = -n - sum (2i - 1) log(F(z_i) (1 - F(z_{n+1-i}))) / n of sorted scores z (m, n)."""
    from scipy.special import log_ndtr, ndtr

    n = z.shape[1]
    # One call for both tails: the small one keeps its relative precision, the large one needs the absolute only.
    tail = ndtr(-np.abs(z))
    below = z < 0
    F, S = np.where(below, tail, 1 - tail), np.where(below, 1 - tail, tail)
    F *= S[:, ::-1]
    far = np.maximum(-z[:, 0], z[:, -1]) > 25  # where that product leaves the range of float64
    with np.errstate(divide="ignore"):
        logs = np.log(F, out=F)
    logs[far] = log_ndtr(z[far]) + log_ndtr(-z[far, ::-1])
    return np.asarray(-n - logs @ (2 * np.arange(1, n + 1) - 1.0) / n)


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


def dagostino_pearson(Z: AnyArray) -> tuple[Floats, Floats]:
    """D'Agostino and Pearson's omnibus K2 of skewness and kurtosis (1973), of each column of Z (n, m), n >= 20.

    Z is an array, or a torch tensor. Returns K2 (m,), float64, as `scipy.stats.normaltest` computes it, and its
    chi-square p-value (m,). The chi-square tail is too light far out: true Gaussians fall below p = 1e-4 eleven times
    as often as they should at n = 100, eight times at 250, three times at 1000 (simulated); at 5000 nothing was seen.
    So do not put a Bonferroni or a false-discovery correction on these p-values.

    Raises:
        ValueError: fewer than 20 rows, a constant column, or what `as_matrix` refuses.
    """
    Z = _samples(Z, min_rows=20)
    K2 = _over_columns(_omnibus_statistic, Z)
    return K2, np.exp(-K2 / 2)


def _omnibus_statistic(z: Floats) -> Floats:
    n = z.shape[1]
    z2 = z * z
    m2 = (n - 1) / n
    skewness = np.einsum("ij,ij->i", z2, z) / n / m2**1.5
    kurtosis = np.einsum("ij,ij->i", z2, z2) / n / m2**2
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


def shapiro_wilk(Z: AnyArray) -> tuple[Floats, Floats]:
    """Shapiro and Wilk's test of normality (1965), of each column of Z (n, m), 12 <= n <= 5000.

    Z is an array, or a torch tensor. Returns W (m,), float64, and its p-value (m,), as `scipy.stats.shapiro` computes
    them: by Royston's approximations (1995, Applied Statistics 44, algorithm R94). On true Gaussians the p-value is
    near uniform; its far tail is an extrapolation, so that no Bonferroni correction rests on it.

    Raises:
        ValueError: fewer than 12 rows or more than 5000, a constant column, or what `as_matrix` refuses.
    """
    Z = _samples(Z, min_rows=12)
    n = len(Z)
    if n > _MOST_ROYSTON:
        raise ValueError(f"Royston's approximations hold up to {_MOST_ROYSTON} rows, not for {n}: test some of them")
    unexplained = _over_columns(_shapiro_wilk_statistic, Z)
    return 1 - unexplained, _shapiro_wilk_p(unexplained, n)


def _shapiro_wilk_statistic(z: Floats) -> Floats:
    """1 - W of sorted scores z (m, n): what the line of a normal plot leaves unexplained."""
    n = z.shape[1]
    return np.asarray(1 - (z @ _shapiro_wilk_weights(n)) ** 2 / (n - 1))


@lru_cache(maxsize=8)
def _shapiro_wilk_weights(n: int) -> Floats:
    """Unit weights (n,) of the order statistics: normal scores, whose two ends Royston corrects by polynomials."""
    from scipy.special import ndtri

    m = ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    ends = zip(_ROYSTON_ENDS, m[:2] / np.linalg.norm(m), strict=True)
    first, second = (np.polyval([*c, -score], n**-0.5) for c, score in ends)
    middle = m[2:-2] * np.sqrt((1 - 2 * first**2 - 2 * second**2) / (m[2:-2] @ m[2:-2]))
    return np.asarray(np.r_[-first, -second, middle, second, first])


def _shapiro_wilk_p(unexplained: Floats, n: int) -> Floats:
    """log(1 - W) of Gaussian samples is nearly Gaussian, with moments that are polynomials in log n."""
    from scipy.special import ndtr

    mean, log_sd = (np.polyval(c, np.log(n)) for c in _ROYSTON_MOMENTS)
    return np.asarray(ndtr((mean - np.log(unexplained)) / np.exp(log_sd)))


def epps_pulley(Z: AnyArray) -> tuple[Floats, Floats]:
    """Epps and Pulley's test of normality (1983, Biometrika 70), of each column of Z (n, m), n >= 20.

    Z is an array, or a torch tensor. Returns T (m,), float64, and its p-value (m,). With scores z about their mean over
    their standard deviation, T = n int |phi_n(t) - exp(-t^2 / 2)|^2 N(t; 0, 1) dt for phi_n their characteristic
    function, as Baringhaus and Henze give it (1988, Metrika 35; BHEP at one dimension and beta = 1), and the SIGReg
    loss of LeJEPA (Balestriero and LeCun 2025). The p-value is that of its limit law, right within a tenth at 5 % and
    within a quarter down to 0.2 % from 20 rows on, and in 200,000 samples of 250 Gaussian rows down to 1e-4, so that
    Bonferroni holds.

    Raises:
        ValueError: fewer than 20 rows, a constant column, or what `as_matrix` refuses.
    """
    T = _over_columns(_epps_pulley_statistic, _samples(Z, min_rows=20))
    return T, _epps_pulley_p(T)


def _epps_pulley_statistic(z: Floats) -> Floats:
    """T of sorted scores z (m, n), by the trapezoid rule.

    At a step h the rule adds copies of the Gaussian kernel at distances 2 pi / h, which no difference of scores
    comes near: T is right to 1e-3.
    """
    z = z * np.sqrt(z.shape[1] / (z.shape[1] - 1))
    h = 2 * np.pi / (z[:, -1] - z[:, 0] + _MARGIN)  # (m,)
    angle = h[:, None] * z
    turn, power, total = np.cos(angle) + 1j * np.sin(angle), np.ones_like(z, np.complex128), np.zeros(len(z))
    for k in range(1, int(_REACH / h.min()) + 1):
        power *= turn
        normal = np.exp(-((h * k) ** 2) / 2)
        total += normal * np.abs(power.mean(axis=1) - normal) ** 2 * (h * k <= _REACH)
    return np.asarray(z.shape[1] * total * h * np.sqrt(2 / np.pi))


def _epps_pulley_p(T: Floats) -> Floats:
    near = np.exp(np.interp(np.minimum(T, _FAR), *_epps_pulley_law()))
    return np.asarray(near * _leading_tail(np.maximum(T, _FAR)) / _leading_tail(np.array(_FAR)))


@lru_cache(maxsize=1)
def _weights_of_limit() -> Floats:
    """The limit of T is sum w_i chi^2_i: eigenvalues w of Baringhaus and Henze's kernel, falling."""
    t, mass = np.polynomial.hermite_e.hermegauss(60)
    s, root = t[:, None], np.sqrt(mass / mass.sum())
    kernel = np.exp(-((s - t) ** 2) / 2) - (1 + s * t + (s * t) ** 2 / 2) * np.exp(-(s**2 + t**2) / 2)
    w = np.linalg.eigvalsh(root[:, None] * kernel * root)[::-1]
    return np.asarray(w[w > 1e-7])


@lru_cache(maxsize=1)
def _epps_pulley_law() -> tuple[Floats, Floats]:
    """Values of T up to _FAR and the logarithm of the limit law's tail there, by Imhof's inversion (1961)."""
    w, values = _weights_of_limit(), np.linspace(0, _FAR, 241)
    u = np.arange(0.5, 5000)  # in steps of 1: right for values that lie within 2 pi
    angle, size = np.zeros_like(u), u * np.pi
    for one in w:
        angle += np.arctan(one * u) / 2
        size *= (1 + (one * u) ** 2) ** 0.25
    tail = np.array([0.5 + float((np.sin(angle - q * u / 2) / size).sum()) for q in values])
    return values, np.log(np.clip(tail, None, 1))


def _leading_tail(T: Floats) -> Floats:
    """Tail of the limit law far out: that of its largest weight, times what the others add (Zolotarev 1961)."""
    from scipy.special import erfc

    w = _weights_of_limit()
    return np.asarray(erfc(np.sqrt(T / w[0] / 2)) / np.sqrt(np.prod(1 - w[1:] / w[0])))


def _over_columns(statistic: Callable[[Floats], Floats], Z: Matrix) -> Floats:
    """`statistic` of sorted scores (m, n), over the columns of Z (n, m)."""
    n, m = Z.shape
    width = max(1, _PANEL // n)
    panels = (np.ascontiguousarray(Z[:, start : start + width].T) for start in range(0, m, width))
    return np.concatenate([_over_rows(statistic, panel) for panel in panels], axis=-1)


def _over_rows(statistic: Callable[[Floats], Floats], S: Matrix) -> Floats:
    m, n = S.shape
    height = max(1, _BLOCK // n)
    blocks = (_sorted_scores(S[start : start + height]) for start in range(0, m, height))
    return np.concatenate([statistic(z) for z in blocks], axis=-1)


def p_values_of_rows(S: Matrix) -> Floats:
    """p-values of Anderson-Darling, D'Agostino-Pearson and Epps-Pulley, (3, m), of samples as rows S (m, n), n >= 20.

    The three public functions at once, for many samples that are known to be finite and not constant: one sort and one
    standardisation serve all.
    """
    A2, K2, T = _over_rows(lambda z: np.stack([statistic(z) for statistic in _STATISTICS]), S)
    return np.stack([_anderson_darling_p(A2, S.shape[1]), np.exp(-K2 / 2), _epps_pulley_p(T)])


_STATISTICS = (_anderson_darling_statistic, _omnibus_statistic, _epps_pulley_statistic)
