"""How Gaussian are the rows of a matrix: five families of tests, each with its calibration on true Gaussian rows."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis._linalg import Frame, gaussian_root, principal_frame
from noisezoo.analysis._results import Result
from noisezoo.analysis.intervals import wilson
from noisezoo.analysis.normality import anderson_darling, dagostino_pearson
from noisezoo.analysis.validation import Matrix, as_matrix, constant_columns

Floats = NDArray[np.float64]
_NAN = float("nan")
_MAX_AXES = 50
_NULL_COLUMNS = 512  # coordinates in a null replicate: their spread can only be wider than that of all of them


@dataclass(frozen=True, slots=True)
class _Test:
    name: str
    run: Callable[[ArrayLike], tuple[Floats, Floats]]
    tail_holds: bool  # are p-values right at alpha / 1000, as a Bonferroni correction needs?


_TESTS = (_Test("anderson-darling", anderson_darling, True), _Test("dagostino-pearson", dagostino_pearson, False))


@dataclass(frozen=True, slots=True)
class GaussianityRow:
    """One family under one test; NaN where a column does not apply.

    `acceptance` is the share of `tests` samples with p >= alpha. Tests on one data set are not independent, so no
    binomial interval covers other rows drawn from the same law; what is given instead:

    - `low`, `high`: for projections, Wilson's interval of the share of *all* directions, on these very rows (the
      directions are the random draw, and they are independent). Coordinates and axes are a census: NaN.
    - `null`, `null_low`, `null_high`: mean, least and greatest acceptance over replicates of true Gaussian rows with
      the same n and d and the covariance of these rows, through the same tests. Its width shows their dependence.

    For `norm` and `mardia kurtosis`, `value` is the statistic over its Gaussian expectation, and `null_low` and
    `null_high` hold it with probability 1 - alpha under the Gaussian law.

    `p_value` is one-sided Monte Carlo on the acceptance, or two-sided for a `value`; `bonferroni` is the smallest p
    times `tests`, where the test's tail allows it, and `rejected` counts samples with p < alpha / tests. `departs` is
    p_value <= alpha or bonferroni < alpha: under the Gaussian law each has probability alpha, together at most twice.
    """

    family: str
    test: str
    tests: int
    acceptance: float
    low: float
    high: float
    null: float
    null_low: float
    null_high: float
    value: float
    p_value: float
    bonferroni: float
    rejected: int | None
    departs: bool


@dataclass(frozen=True, slots=True)
class GaussianityResult(Result):
    """Rows of `gaussianity`, with what they were computed from."""

    rows: tuple[GaussianityRow, ...]
    n: int
    d: int
    n_projections: int
    n_axes: int
    n_null: int
    constant_coordinates: int
    alpha: float
    seed: int

    def row(self, family: str, test: str) -> GaussianityRow:
        """The row of a family and a test; KeyError when there is none."""
        for row in self.rows:
            if (row.family, row.test) == (family, test):
                return row
        raise KeyError(f"no row {family!r}, {test!r}; there are {[(row.family, row.test) for row in self.rows]}")

    def settings(self) -> dict[str, Any]:
        """Sizes, level and seed."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rows"}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a row."""
        return [asdict(row) for row in self.rows]


def gaussianity(
    X: ArrayLike,
    *,
    n_projections: int = 1000,
    n_samples: int | None = None,
    alpha: float = 0.05,
    seed: int = 42,
    n_null: int | None = None,
) -> GaussianityResult:
    """Test the rows of X (n, d), float32 or float64, n >= 20, against the multivariate Gaussian law.

    Families: random unit projections (the paper's Table 1, which is blind in high dimension: by the central limit
    theorem nearly every projection of independent non-Gaussian coordinates is Gaussian), coordinates, leading
    principal axes (standardised scores of a Gaussian are uniform on a sphere, so the univariate tests hold as they
    are), the norm ratio var(|x|^2) / (2 tr S^2), and Mardia's kurtosis (1970) on the leading axes.

    Args:
        X: rows are samples.
        n_projections: number of directions, uniform on the sphere.
        n_samples: rows to use, drawn without replacement; the paper used 250. None: all of them.
        alpha: level of every test.
        seed: decides directions, rows and null replicates.
        n_null: null replicates; None: 1 / alpha - 1, the fewest that can reject at alpha.

    Raises:
        ValueError: fewer than 20 rows, `n_samples` outside [20, n], no column that varies, or what `as_matrix` refuses.
    """
    X = _sample_rows(as_matrix(X, "X", min_rows=20), n_samples, seed)
    varying = np.delete(X, constant, axis=1) if (constant := constant_columns(X)).size else X
    if not varying.shape[1]:
        raise ValueError("every column of X is constant: there is nothing to test")
    n_null = ceil(round(1 / alpha, 9)) - 1 if n_null is None else n_null
    n, d = X.shape
    n_axes = max(1, min(_MAX_AXES, d, n // 10))
    frame = principal_frame(varying, leading=n_axes)
    families = {
        "projections": _project(varying, n_projections, seed),
        "coordinates": varying,
        "principal axes": frame.scores,
    }
    rows: list[GaussianityRow] = []
    for stream, (family, Z) in enumerate(families.items()):
        rng = np.random.default_rng([seed, 1 + stream])
        rows += _acceptance_rows(family, Z, alpha, n_null, rng)
    rows += [_norm_row(varying, frame, alpha), _kurtosis_row(frame.scores, alpha)]
    axes = frame.scores.shape[1]
    return GaussianityResult(tuple(rows), n, d, n_projections, axes, n_null, int(constant.size), alpha, seed)


def _sample_rows(X: Matrix, n_samples: int | None, seed: int) -> Matrix:
    if n_samples is None:
        return X
    if not 20 <= n_samples <= len(X):
        raise ValueError(f"n_samples must lie between 20 and the {len(X)} rows of X, not {n_samples}")
    return X[np.sort(np.random.default_rng([seed, 0]).permutation(len(X))[:n_samples])]


def _project(X: Matrix, n_projections: int, seed: int) -> Matrix:
    """Centred X on unit Gaussian directions: (n, m)."""
    rng = np.random.default_rng([seed, 100])
    U = rng.standard_normal((X.shape[1], n_projections), dtype=X.dtype.type)  # (d, m)
    mean = X.mean(axis=0, dtype=np.float64).astype(X.dtype)  # a far mean would cost float32 its digits
    return np.asarray((X - mean) @ (U / np.linalg.norm(U, axis=0)))


def _acceptance_rows(
    family: str, Z: Matrix, alpha: float, n_null: int, rng: np.random.Generator
) -> Iterator[GaussianityRow]:
    nulls = _null_acceptance(family, Z, alpha, n_null, rng)  # (replicates, tests)
    m = Z.shape[1]
    for test, null in zip(_TESTS, nulls.T, strict=True):
        p = test.run(Z)[1]
        accepted = int((p >= alpha).sum())
        acceptance = accepted / m
        low, high = wilson(accepted, m) if family == "projections" else (_NAN, _NAN)
        p_value = float((1 + (null <= acceptance).sum()) / (1 + len(null)))
        bonferroni = min(1.0, m * float(p.min())) if test.tail_holds else _NAN
        yield GaussianityRow(
            family,
            test.name,
            tests=m,
            acceptance=acceptance,
            low=float(low),
            high=float(high),
            null=float(null.mean()),
            null_low=float(null.min()),
            null_high=float(null.max()),
            value=_NAN,
            p_value=p_value,
            bonferroni=bonferroni,
            rejected=int((p < alpha / m).sum()) if test.tail_holds else None,
            departs=p_value <= alpha or bonferroni < alpha,
        )


def _null_acceptance(family: str, Z: Matrix, alpha: float, n_null: int, rng: np.random.Generator) -> Floats:
    """Acceptance of Gaussian rows with the covariance of Z's columns: (n_null, tests).

    The covariance matters: with few strong directions a thousand projections are a handful of tests, and their
    acceptance swings far beyond the binomial.
    """
    n, m = Z.shape
    columns = slice(None) if family == "projections" else np.sort(rng.permutation(m)[:_NULL_COLUMNS])
    R = gaussian_root(Z[:, columns])  # (r, m')
    acceptance = np.empty((n_null, len(_TESTS)))
    for replicate in range(n_null):
        G = rng.standard_normal((n, len(R)), dtype=R.dtype.type) @ R
        acceptance[replicate] = [(test.run(G)[1] >= alpha).mean() for test in _TESTS]
    return acceptance


def _norm_row(X: Matrix, frame: Frame, alpha: float) -> GaussianityRow:
    """Ratio var(|x|^2) / (2 tr S^2), 1 for a Gaussian whatever its covariance.

    tr S^2 is Bai and Saranadasa's unbiased estimate (1996), for the plain one is several times too large when n < d.
    The spread is the delta method's on log R with the Gaussian cumulants of |x|^2 and x^T S x:
    var = (2 + 4 tr S^4 / (tr S^2)^2) / n + 4 / n^2.
    """
    n = len(X)
    squares = np.einsum("ij,ij->i", frame.centred, frame.centred, dtype=np.float64)  # |x|^2, (n,)
    leading = frame.eigenvalues / (n - 1)
    trace, trace2 = squares.sum() / (n - 1), _trace_of_square(frame)
    unbiased = (n - 1) ** 2 / ((n - 2) * (n + 1)) * (trace2 - trace**2 / (n - 1))
    ratio = squares.var(ddof=1) / (2 * unbiased) if unbiased > 0 else _NAN
    concentration = (leading**4).sum() / trace2**2
    spread = np.sqrt((2 + 4 * concentration) / n + 4 / n**2)
    return _value_row("norm", "variance ratio", float(np.log(ratio)), float(spread), alpha, transform=np.exp)


def _trace_of_square(frame: Frame) -> float:
    """Squared Frobenius norm of S, tr S^2, S = Xc^T Xc / (n - 1), from the smaller Gram matrix."""
    Xc = frame.centred
    gram = Xc @ Xc.T if Xc.shape[0] < Xc.shape[1] else Xc.T @ Xc
    return float(np.square(gram, dtype=np.float64).sum()) / (len(Xc) - 1) ** 2


def _kurtosis_row(scores: Floats, alpha: float) -> GaussianityRow:
    """Mardia's multivariate kurtosis on principal scores, over its exact expectation k (k + 2) (n - 1) / (n + 1).

    The leading scores of Gaussian rows are a uniform random frame, exactly as k plain Gaussian columns are, so that
    Mardia's moments (1974) hold for n < d and for any covariance.
    """
    n, k = scores.shape
    frame = scores / np.linalg.norm(scores, axis=0)
    mahalanobis = n * np.square(frame).sum(axis=1)
    expected = k * (k + 2) * (n - 1) / (n + 1)
    variance = 8 * k * (k + 2) * (n - 3) * (n - k - 1) * (n - k + 1) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    ratio = float(np.square(mahalanobis).mean() / expected)
    spread = float(np.sqrt(variance) / expected)
    return _value_row("mardia kurtosis", f"{k} axes", ratio - 1, spread, alpha, transform=lambda x: 1 + x)


def _value_row(
    family: str, test: str, excess: float, spread: float, alpha: float, *, transform: Callable[[float], float]
) -> GaussianityRow:
    """A row of one statistic whose `excess` is Gaussian around 0 under the null, reported after `transform`."""
    from scipy.special import ndtr, ndtri

    half = float(ndtri(1 - alpha / 2)) * spread
    p_value = float(2 * ndtr(-abs(excess) / spread))
    ends = {"null": 0.0, "null_low": -half, "null_high": half, "value": excess}
    shown = {key: float(transform(number)) for key, number in ends.items()}
    return GaussianityRow(
        family,
        test,
        tests=1,
        acceptance=_NAN,
        low=_NAN,
        high=_NAN,
        **shown,
        p_value=p_value,
        bonferroni=_NAN,
        rejected=None,
        departs=p_value <= alpha,
    )
