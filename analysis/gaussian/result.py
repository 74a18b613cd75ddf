"""What a test of Gaussianity reports: a row each family and test, and the result that holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from math import isnan

import numpy as np

from noisezoo.analysis.core import Floats, Result

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class GaussianityRow:
    """One family under one test; NaN or None where a column does not apply.

    `acceptance` is the share of `tests` samples with p >= alpha; for the test `both`, with p >= alpha in both of the
    paper's tests, which a true Gaussian passes less often (0.913 of the time at n = 250 and alpha = 0.05). Tests on one
    data set are not independent, so no binomial interval covers other rows drawn from the same law; what is given
    instead:

    - `low`, `high`: for projections, Wilson's interval of the share of *all* directions, on these very rows (the
      directions are the random draw, and they are independent). Coordinates and axes are a census: NaN.
    - `null`, `null_low`, `null_high`: mean, least and greatest acceptance over replicates of true Gaussian rows with
      the same n and d and the covariance of these rows, through the same tests. Its width shows their dependence.

    - `spread`: of the paper's test, the standard deviation of the acceptance over other rows of the same law, by the
      jackknife of ten groups of rows. Rows that are not Gaussian swing more than the null does.

    For the other families `value` is the statistic over its Gaussian expectation, and `null_low` and `null_high` hold
    it with probability 1 - alpha under the Gaussian law.

    `p_value` is one-sided Monte Carlo on the acceptance, on Mardia's skewness and on BHEP, and two-sided for the norm
    and the kurtosis. `bonferroni` is the smallest p times `tests`, `rejected` counts samples with p < alpha / tests,
    and `discoveries` those that Benjamini and Yekutieli reject at a false discovery rate of alpha (the tests are
    dependent, and nothing shows that dependence to be of the kind that Benjamini and Hochberg need); all three only
    where the test's p-values are right that far out.

    `p_corrected` is Holm's (1979) over the rows of a result whose p-value can be small: of those with a `bonferroni`,
    twice the smaller of it and `p_value`; of the value families, `p_value`. `departs` is p_corrected <= alpha. The
    other rows have no p_corrected (NaN) and depart where p_value <= alpha and a row of their family that has one
    departs. So Gaussian rows depart anywhere with probability alpha at most, which holds for every word about them.
    """

    family: str
    test: str
    _: KW_ONLY
    tests: int = 1
    acceptance: float = _NAN
    low: float = _NAN
    high: float = _NAN
    spread: float = _NAN
    null: float
    null_low: float
    null_high: float
    value: float = _NAN
    p_value: float
    bonferroni: float = _NAN
    rejected: int | None = None
    discoveries: int | None = None
    p_corrected: float = _NAN
    departs: bool = False

    @property
    def own_p(self) -> float:
        """The p-value that goes into Holm's correction, NaN where this row's cannot be small."""
        if not isnan(self.acceptance) and isnan(self.bonferroni):
            return _NAN
        return self.p_value if isnan(self.bonferroni) else min(1.0, 2 * min(self.p_value, self.bonferroni))


def corrected(rows: Sequence[GaussianityRow], alpha: float) -> tuple[GaussianityRow, ...]:
    """Rows with Holm's p-values and what departs at level alpha by them."""
    own = np.array([row.own_p for row in rows])
    known = np.flatnonzero(np.isfinite(own))
    rising = known[np.argsort(own[known], kind="stable")]
    p = np.full(len(rows), _NAN)
    p[rising] = np.minimum(1.0, np.maximum.accumulate(own[rising] * np.arange(len(rising), 0, -1)))
    departing = {row.family for row, q in zip(rows, p, strict=True) if q <= alpha}
    return tuple(
        replace(row, p_corrected=float(q), departs=bool(q <= alpha or (isnan(q) and row.family in departing
                                                                       and row.p_value <= alpha)))
        for row, q in zip(rows, p, strict=True)
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class GaussianityResult(Result):
    """Rows of `gaussianity`, with what they were computed from."""

    rows: tuple[GaussianityRow, ...]
    p_values: Mapping[tuple[str, str], Floats]
    """(family, test) -> p-value of every projection, coordinate (NaN where constant), or axis."""
    n: int
    d: int
    n_projections: int
    n_axes: int
    n_null: int
    constant_coordinates: int
    repeated_rows: int
    caveats: tuple[str, ...]
    alpha: float
    seed: int

    def row(self, family: str, test: str) -> GaussianityRow:
        """The row of a family and a test; KeyError when there is none."""
        for row in self.rows:
            if (row.family, row.test) == (family, test):
                return row
        raise KeyError(f"no row {family!r}, {test!r}; there are {[(row.family, row.test) for row in self.rows]}")

    def sentence(self) -> str:
        """What these rows show, and what they cannot, in plain words."""
        size = f"{self.n:,} rows in {self.d:,} dimensions"
        level = f"(level {self.alpha:g} over all tests)"
        departs = list(dict.fromkeys(row.family for row in self.rows if row.departs))
        passes = [family for family in dict.fromkeys(row.family for row in self.rows) if family not in departs]
        if not departs:
            return (f"{size}: no departure of the kinds tried from Gaussian rows of the same covariance {level} in "
                    f"{', '.join(passes)}, which does not show that they are Gaussian.")  # fmt: skip
        rest = f"; no departure is seen by {', '.join(passes)}" if passes else ""
        return (f"{size}: the rows depart from Gaussian ones of the same covariance {level} in "
                f"{', '.join(departs)}{rest}.")  # fmt: skip
