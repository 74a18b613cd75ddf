"""What a test of Gaussianity reports: a row each family and test, and the result that holds them."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any

from noisezoo.analysis.core import Floats, Result

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class GaussianityRow:
    """One family under one test; NaN or None where a column does not apply.

    `acceptance` is the share of `tests` samples with p >= alpha; for the test `both`, with both p >= alpha, which a
    true Gaussian passes less often (0.913 of the time at n = 250 and alpha = 0.05). Tests on one data set are not
    independent, so no binomial interval covers other rows drawn from the same law; what is given instead:

    - `low`, `high`: for projections, Wilson's interval of the share of *all* directions, on these very rows (the
      directions are the random draw, and they are independent). Coordinates and axes are a census: NaN.
    - `null`, `null_low`, `null_high`: mean, least and greatest acceptance over replicates of true Gaussian rows with
      the same n and d and the covariance of these rows, through the same tests. Its width shows their dependence.

    For the other families `value` is the statistic over its Gaussian expectation, and `null_low` and `null_high` hold
    it with probability 1 - alpha under the Gaussian law.

    `p_value` is one-sided Monte Carlo on the acceptance, on Mardia's skewness and on BHEP, and two-sided for the norm
    and the kurtosis. `bonferroni` is the smallest p times `tests`, `rejected` counts samples with p < alpha / tests,
    and `discoveries` those that Benjamini and Yekutieli reject at a false discovery rate of alpha (the tests are
    dependent, and nothing shows that dependence to be of the kind that Benjamini and Hochberg need); all three only
    where the test's p-values are right that far out. `departs` is p_value <= alpha or bonferroni < alpha: under the
    Gaussian law each has probability alpha, together at most twice.
    """

    family: str
    test: str
    _: KW_ONLY
    tests: int = 1
    acceptance: float = _NAN
    low: float = _NAN
    high: float = _NAN
    null: float
    null_low: float
    null_high: float
    value: float = _NAN
    p_value: float
    bonferroni: float = _NAN
    rejected: int | None = None
    discoveries: int | None = None
    departs: bool


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

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a row."""
        return [asdict(row) for row in self.rows]

    def sentence(self) -> str:
        """What these rows show, and what they cannot, in plain words."""
        size = f"{self.n:,} rows in {self.d:,} dimensions"
        departs = list(dict.fromkeys(row.family for row in self.rows if row.departs))
        passes = [family for family in dict.fromkeys(row.family for row in self.rows) if family not in departs]
        if not departs:
            return (
                f"{size}: no family of tests tells the rows from Gaussian ones of the same covariance "
                f"({', '.join(passes)}), which does not show that they are Gaussian."
            )
        rest = f"; no departure is seen by {', '.join(passes)}" if passes else ""
        return f"{size}: the rows depart from Gaussian ones of the same covariance in {', '.join(departs)}{rest}."
