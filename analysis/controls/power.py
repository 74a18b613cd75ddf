"""What tests of Gaussianity can find: their power against planted departures of stated strength."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Blocks, Matrix, Result, Rows, as_rows, refuse_settings, to_numpy, wilson
from noisezoo.analysis.gaussian import FAMILIES, examine, null_replicates, sample_of

Floats = NDArray[np.float64]
_PEAK = 0.9  # distance of the two peaks from their middle, in standard deviations
_DEGREES = 10  # of freedom of the shared scale
_ROWS, _COLUMNS = 1000, 500  # at most, of a planted sample: some 10 s for all of them on one core


@dataclass(frozen=True)
class Law:
    """Gaussian rows with a given covariance, on its principal axes."""

    spread: Floats  # (r,) standard deviations along the axes, falling
    axes: Floats  # (r, d)

    def rows(self, G: Floats) -> Floats:
        """Rows (n, d) of standardised scores G (n, r)."""
        return (G * self.spread) @ self.axes

    def gaussian(self, rng: np.random.Generator, n: int) -> Floats:
        """Rows (n, d) of this law."""
        return self.rows(rng.standard_normal((n, self.spread.size)))

    @cached_property
    def sd(self) -> Floats:
        """Standard deviation of every coordinate, (d,)."""
        return np.asarray(np.linalg.norm(self.spread[:, None] * self.axes, axis=0))


def _laplace(rng: np.random.Generator, n: int, law: Law) -> Floats:
    return rng.laplace(scale=law.sd / np.sqrt(2), size=(n, law.sd.size))


def _bimodal(rng: np.random.Generator, n: int, law: Law) -> Floats:
    X, width = law.gaussian(rng, n), np.sqrt(1 - _PEAK**2)
    X[:, 0] = law.sd[0] * (_PEAK * rng.choice([-1.0, 1.0], size=n) + width * rng.standard_normal(n))
    return X


def _shell(rng: np.random.Generator, n: int, law: Law) -> Floats:
    X = law.gaussian(rng, n)
    return np.asarray(X * (np.linalg.norm(law.spread) / np.linalg.norm(X, axis=1, keepdims=True)))


def _shared_scale(rng: np.random.Generator, n: int, law: Law) -> Floats:
    scale = np.sqrt((_DEGREES - 2) / rng.chisquare(_DEGREES, size=(n, 1)))
    return np.asarray(law.gaussian(rng, n) * scale)


def _skewed_axis(rng: np.random.Generator, n: int, law: Law) -> Floats:
    G = rng.standard_normal((n, law.spread.size))
    G[:, 0] = rng.exponential(size=n) - 1
    return law.rows(G)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A departure from the Gaussian law that keeps the variance of every coordinate (the shell: their sum)."""

    about: str
    draw: Callable[[np.random.Generator, int, Law], Floats]


ALTERNATIVES: Mapping[str, Alternative] = MappingProxyType(
    {
        "none": Alternative("Gaussian rows: the rate of false alarms", lambda rng, n, law: law.gaussian(rng, n)),
        "laplace coordinates": Alternative("every coordinate an independent Laplace variable", _laplace),
        "bimodal coordinate": Alternative(f"one coordinate with two peaks at ±{_PEAK} standard deviations", _bimodal),
        "shell": Alternative("every row of the same norm", _shell),
        "shared scale": Alternative(f"a multivariate t with {_DEGREES} degrees of freedom", _shared_scale),
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
    of_n: int
    of_d: int
    alpha: float
    seed: int

    def row(self, alternative: str, family: str, test: str) -> PowerRow:
        """The row of an alternative, a family and a test; KeyError when there is none."""
        for row in self.rows:
            if (row.alternative, row.family, row.test) == (alternative, family, test):
                return row
        raise KeyError(f"no row {alternative!r}, {family!r}, {test!r}")

    def settings(self) -> dict[str, Any]:
        """Sizes of the planted samples and of the data, level and seed, and what the alternatives are."""
        about = {name: ALTERNATIVES[name].about for name in dict.fromkeys(row.alternative for row in self.rows)}
        return Result.settings(self) | {"alternatives": about, "caveats": self.caveats()}

    def caveats(self) -> list[str]:
        """What the sizes of the planted samples mean for the data."""
        if (self.n, self.d) == (self.of_n, self.of_d):
            return []
        return [f"power is of planted samples of {self.n} rows and {self.d} columns, with the covariance of that many "
                f"columns of the {self.of_n} x {self.of_d} data: more rows find more, and more columns hide more from "
                "projections"]  # fmt: skip

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a row."""
        return [asdict(row) for row in self.rows]

    def sentence(self) -> str:
        """What was, and was not, detectable: found, or missed, more often than not with 95 % confidence."""
        names = [name for name in dict.fromkeys(row.alternative for row in self.rows) if name != "none"]
        scaled = "" if (self.n, self.d) == (self.of_n, self.of_d) else " (fewer than the data has)"
        said = "; ".join(self._clause(name) for name in names)
        return f"With {self.n:,} rows in {self.d:,} dimensions{scaled}: {said}."

    def _clause(self, alternative: str) -> str:
        families = dict.fromkeys(row.family for row in self.rows)
        of = {f: [r for r in self.rows if (r.alternative, r.family) == (alternative, f)] for f in families}
        found = [f for f, rows in of.items() if any(row.low > 0.5 for row in rows)]
        missed = [f for f, rows in of.items() if all(row.high < 0.5 for row in rows)]
        seen = f"is found by {', '.join(found)}" if found else "is not detectable"
        blind = f" and missed by {', '.join(missed)}" if missed and found else ""
        return f"{alternative} ({ALTERNATIVES[alternative].about}) {seen}{blind}"


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

    Planted rows have the sample covariance of X's columns. Where X is larger, `max_columns` of its columns, drawn
    without replacement, stand for all of them and `max_rows` for all rows; the table says so. A test finds a departure
    when it departs at level alpha (see `GaussianityRow`); null replicates are drawn once an alternative.

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
        table += _tally(name, drawn, n_replicates, n_projections, alpha, seed)
    return PowerTable(tuple(table), n, law.sd.size, *rows.shape, alpha, seed)


def _law(rows: Rows, max_columns: int, seed: int) -> Law:
    """Law with the sample covariance of some of the columns that vary."""
    n, d = rows.shape
    chosen = np.sort(np.random.default_rng([seed, 104]).permutation(d)[:max_columns])
    X: Matrix = np.concatenate([to_numpy(block)[:, chosen] for _, block in rows.blocks()])
    varying = X[:, X.max(axis=0) > X.min(axis=0)]
    if not varying.shape[1] or not np.isfinite(varying.sum(dtype=np.float64)):
        raise ValueError("X holds no column that varies, or NaN or infinite values: `gaussianity` says which")
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(varying, rowvar=False)))
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return Law(np.sqrt(values[kept][::-1]), vectors[:, kept][:, ::-1].T)


def _tally(
    name: str, drawn: Iterator[Matrix], replicates: int, n_projections: int, alpha: float, seed: int
) -> Iterator[PowerRow]:
    n_null = 2 * ceil(round(1 / alpha, 9)) - 1  # twice the fewest: all replicates share them, and so their luck
    found: Counter[tuple[str, str]] = Counter()
    nulls = None
    for X in drawn:
        sample = sample_of(X, n_projections=n_projections, seed=seed)
        nulls = null_replicates(sample, tuple(FAMILIES), n_null, alpha) if nulls is None else nulls
        for row in examine(sample, nulls, n_null, alpha).rows:
            found[row.family, row.test] += row.departs
    for (family, test), count in found.items():
        low, high = (float(end) for end in wilson(count, replicates))
        yield PowerRow(name, family, test, count, replicates, count / replicates, low, high)
