"""What tests of Gaussianity can find: their power against planted departures of stated strength."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from types import MappingProxyType

import numpy as np

from noisezoo.analysis.core import (
    AnyArray,
    Blocks,
    Floats,
    Matrix,
    Result,
    Rows,
    as_rows,
    leading_eigenpairs,
    refuse_settings,
    to_numpy,
    wilson,
)
from noisezoo.analysis.gaussian import FAMILIES, examine, null_replicates, sample_of
from .simulation import MODE, bimodal, laplace, row_scales, shell

_DEGREES = 10  # of freedom of the shared scale
_ROWS, _COLUMNS = 1000, 500  # at most, of a planted sample: some 10 s for all of them on one core


@dataclass(frozen=True)
class Law:
    """The Gaussian law with a given covariance, by its principal axes."""

    spread: Floats  # (r,) standard deviations along the axes, falling
    axes: Floats  # (r, d)

    @cached_property
    def sd(self) -> Floats:
        """Standard deviation of every coordinate, (d,)."""
        return np.asarray(np.linalg.norm(self.spread[:, None] * self.axes, axis=0))


def _skewed_axis(X: Floats, law: Law, scale: Floats) -> Floats:
    from scipy.special import log_ndtr

    along = X @ law.axes[0] / law.spread[0]
    exponential = -log_ndtr(-along) - 1  # of mean 0 and variance 1, by quantiles
    return np.asarray(X + np.outer((exponential - along) * law.spread[0], law.axes[0]))


@dataclass(frozen=True, slots=True)
class Alternative:
    """A departure that keeps the variance of every coordinate (the shell: their sum)."""

    about: str
    warp: Callable[[Floats, Law, Floats], Floats]
    """Gaussian rows (n, d), their law and a random scale a row (n, 1) -> rows (n, d)."""

    def draw(self, rng: np.random.Generator, n: int, law: Law) -> Floats:
        """Rows (n, d) that depart from a law."""
        X = (rng.standard_normal((n, law.spread.size)) * law.spread) @ law.axes
        return self.warp(X, law, row_scales(rng, n, _DEGREES))


ALTERNATIVES: Mapping[str, Alternative] = MappingProxyType(
    {
        "none": Alternative("Gaussian rows: the rate of false alarms", lambda X, law, scale: X),
        "laplace coordinates": Alternative(
            "every coordinate a Laplace variable", lambda X, law, scale: laplace(X, law.sd)
        ),
        "bimodal coordinate": Alternative(
            f"one coordinate with two peaks at ±{MODE} standard deviations",
            lambda X, law, scale: np.hstack([bimodal(X[:, :1], law.sd[:1]), X[:, 1:]]),
        ),
        "shell": Alternative("every row of the same norm", lambda X, law, scale: shell(X, law.sd)),
        "shared scale": Alternative(
            f"a multivariate t with {_DEGREES} degrees of freedom", lambda X, law, scale: X * scale
        ),
        "skewed leading axis": Alternative("an exponential variable along the first principal axis", _skewed_axis),
    }
)


@dataclass(frozen=True, slots=True)
class PowerRow:
    """How often one test found one alternative, with Wilson's 95 % interval over independent planted samples."""

    alternative: str
    family: str
    test: str
    found: int
    replicates: int
    power: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PowerTable(Result):
    """Power of every test against every alternative, at the n and d of the planted samples."""

    rows: tuple[PowerRow, ...]
    n: int
    d: int
    of_n: int  # of the data
    of_d: int
    alpha: float
    seed: int
    alternatives: Mapping[str, str]  # name -> what it is
    caveats: tuple[str, ...]

    def row(self, alternative: str, family: str, test: str) -> PowerRow:
        """The row of an alternative, a family and a test; KeyError when there is none."""
        return {(row.alternative, row.family, row.test): row for row in self.rows}[alternative, family, test]

    def sentence(self) -> str:
        """What was, and was not, detectable: found, or missed, more often than not with 95 % confidence."""
        scaled = " (fewer than the data has)" if self.caveats else ""
        said = "; ".join(self._clause(name) for name in self.alternatives if name != "none")
        return f"With {self.n:,} rows in {self.d:,} dimensions{scaled}: {said}."

    def _clause(self, alternative: str) -> str:
        families = dict.fromkeys(row.family for row in self.rows)
        of = {f: [r for r in self.rows if (r.alternative, r.family) == (alternative, f)] for f in families}
        found = [f for f, rows in of.items() if any(row.low > 0.5 for row in rows)]
        missed = [f for f, rows in of.items() if all(row.high < 0.5 for row in rows)]
        seen = f"is found by {', '.join(found)}" if found else "is not detectable"
        blind = f" and missed by {', '.join(missed)}" if missed and found else ""
        return f"{alternative} ({self.alternatives[alternative]}) {seen}{blind}"


def planted_power(
    X: AnyArray | Blocks,
    *,
    n_replicates: int = 20,
    max_rows: int = _ROWS,
    max_columns: int = _COLUMNS,
    n_projections: int = 200,
    alternatives: Sequence[str] = tuple(ALTERNATIVES),
    alpha: float = 0.05,
    seed: int = 42,
) -> PowerTable:
    """Power of every test of `gaussianity` against planted departures in rows like those of X (n, d), n >= 20.

    Planted rows have the sample covariance of X's columns, before they are made to depart. Where X is larger,
    `max_columns` of its columns, drawn without replacement, stand for all of them and `max_rows` for all rows; the
    table says so. A test finds a departure when it departs at level alpha (see `GaussianityRow`); null replicates are
    drawn once an alternative.

    Raises:
        ValueError: an unknown alternative, or as `gaussianity`.
    """
    refuse_settings(alpha=alpha, n_projections=n_projections, n_replicates=n_replicates, seed=seed)
    unknown = [name for name in alternatives if name not in ALTERNATIVES]
    if unknown:
        raise ValueError(f"alternatives must be some of {', '.join(ALTERNATIVES)}, not {unknown}")
    rows = as_rows(X, min_rows=20)
    law, n = _law(rows, max_columns, seed), min(rows.shape[0], max_rows)
    table: list[PowerRow] = []
    for name in alternatives:
        rng = np.random.default_rng([seed, 200 + list(ALTERNATIVES).index(name)])
        drawn = (ALTERNATIVES[name].draw(rng, n, law).astype(np.float32) for _ in range(n_replicates))
        found = _found(drawn, n_projections, alpha, seed)
        ends = zip(*wilson([*found.values()], n_replicates), strict=True)
        table += [PowerRow(name, *of, count, n_replicates, count / n_replicates, float(low), float(high))
                  for (of, count), (low, high) in zip(found.items(), ends, strict=True)]  # fmt: skip
    (of_n, of_d), d = rows.shape, law.sd.size
    scaled = (
        f"power is of planted samples of {n} rows and {d} columns, with the covariance of that many columns "
        f"of the {of_n} x {of_d} data: more rows find more, and more columns hide more from projections"
    )
    about = {name: ALTERNATIVES[name].about for name in alternatives}
    return PowerTable(tuple(table), n, d, of_n, of_d, alpha, seed, about, (scaled,) * ((n, d) != (of_n, of_d)))


def _law(rows: Rows, max_columns: int, seed: int) -> Law:
    """Law with the sample covariance of some of the columns that vary."""
    n, d = rows.shape
    chosen = np.sort(np.random.default_rng([seed, 104]).permutation(d)[:max_columns])
    X: Matrix = np.concatenate([to_numpy(block)[:, chosen] for _, block in rows.blocks()])
    varying = X[:, X.max(axis=0) > X.min(axis=0)]
    if not varying.shape[1] or not np.isfinite(varying.sum(dtype=np.float64)):
        raise ValueError("X holds no column that varies, or NaN or infinite values: `gaussianity` says which")
    values, vectors = leading_eigenpairs(np.atleast_2d(np.cov(varying, rowvar=False)), None)
    return Law(np.sqrt(values), vectors.T)


def _found(samples: Iterable[Matrix], n_projections: int, alpha: float, seed: int) -> Counter[tuple[str, str]]:
    """In how many samples each family and test departs."""
    n_null = 2 * ceil(round(1 / alpha, 9)) - 1  # twice the fewest: all samples share them, and so their luck
    found: Counter[tuple[str, str]] = Counter()
    nulls = None
    for X in samples:
        sample = sample_of(X, n_projections=n_projections, seed=seed)
        nulls = null_replicates(sample, tuple(FAMILIES), n_null, alpha) if nulls is None else nulls
        found.update({(row.family, row.test): row.departs for row in examine(sample, nulls, n_null, alpha).rows})
    return found
