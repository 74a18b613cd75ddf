"""Intervals and nulls: Wilson's for rates, the bootstrap over rows for means, and laws of shuffled draws."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core.arrays import Floats, as_matrix
from noisezoo.analysis.core.result import plain
from noisezoo.analysis.core.units import Counts, resample_counts

_NAN = float("nan")
_EQUAL = 1e-9  # relative spread that is rounding


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its interval."""

    estimate: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """The three numbers, None where one is not finite."""
        return dict(plain(asdict(self)))

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval (1927) of a rate from independent trials; vectorised, returns (low, high).

    Raises:
        ValueError: successes outside [0, trials], or no trials.
    """
    from scipy.special import ndtri

    k, n = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    if np.any((k < 0) | (k > n) | (n <= 0)):
        raise ValueError("a rate needs 0 <= successes <= trials and at least one trial")
    z = ndtri((1 + confidence) / 2)
    centre = (k + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    # Rounding must not exclude the ends that the closed form reaches exactly.
    return np.where(k == 0, 0.0, centre - half), np.where(k == n, 1.0, centre + half)


def bootstrap_means(scores: ArrayLike, counts: Counts) -> Floats:
    """Means of per-row scores (n, m) under counts (b, n): (b, m), by one GEMM."""
    S = as_matrix(scores, "scores")
    # Zeros and ones sum exactly in float32 below 2**24 rows, at twice the speed.
    precision = np.float32 if ((S == 0) | (S == 1)).all() and len(S) < 2**24 else np.float64
    return np.asarray(counts @ S.astype(precision) / counts.sum(axis=1, keepdims=True), dtype=np.float64)


def to_intervals(estimates: ArrayLike, replicates: Floats, confidence: float = 0.95) -> list[Interval]:
    """Percentile intervals of estimates (m,) from replicates (b, m); NaN replicates are left out."""
    tail = (1 - confidence) / 2
    ends = np.nanquantile(replicates, [tail, 1 - tail], axis=0)
    low, high = ends.reshape(2, replicates.shape[1])  # numpy forgets the two where nothing is to be sorted
    return [Interval(float(e), float(a), float(b)) for e, a, b in zip(np.asarray(estimates), low, high, strict=True)]


def mean_intervals(
    scores: ArrayLike,
    *,
    n_boot: int = 1000,
    seed: int = 42,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
) -> list[Interval]:
    """Means of per-row scores (n, m), each with its bootstrap percentile interval over rows (or `groups`).

    Raises:
        ValueError: scores that `as_matrix` refuses.
    """
    S = as_matrix(scores, "scores").astype(np.float64)
    counts = resample_counts(len(S), n_boot, seed=seed, groups=groups)
    return to_intervals(S.mean(axis=0), bootstrap_means(S, counts), confidence)


def paired_differences(
    a: ArrayLike,
    b: ArrayLike,
    *,
    n_boot: int = 1000,
    seed: int = 42,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
) -> list[Interval]:
    """`mean_intervals` of a - b, per-row scores (n, m) of the same rows.

    Raises:
        ValueError: different shapes: scores of different rows cannot be paired.
    """
    A, B = as_matrix(a, "a"), as_matrix(b, "b")
    if A.shape != B.shape:
        raise ValueError(f"paired scores must have one shape, not {A.shape} and {B.shape}")
    return mean_intervals(A.astype(np.float64) - B, n_boot=n_boot, seed=seed, groups=groups, confidence=confidence)


def null_columns(draws: Floats, tail: float = 0.0) -> dict[str, float]:
    """Mean and ends of what an estimate is under its null, (b,), as columns of a row; NaN where nothing was drawn.

    The ends leave the share `tail` out on either side: at 0 they are the least and the greatest.
    """
    ends = (draws.mean(), *np.quantile(draws, [tail, 1 - tail])) if draws.size else (_NAN,) * 3
    return dict(zip(("null", "null_low", "null_high"), map(float, ends), strict=True))


@dataclass(frozen=True, slots=True)
class Null:
    """What the estimate would be if rows of the two views were paired at random; `p_value` is of as much or more."""

    mean: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Measured(Interval):
    """An estimate with the ends of its interval, beside its null."""

    null: Null

    @classmethod
    def of(cls, interval: Interval, null: Null) -> "Measured":
        """Both together."""
        return cls(interval.estimate, interval.low, interval.high, null)

    def __float__(self) -> float:
        return self.estimate

    def row(self, measure: str) -> dict[str, Any]:
        """Measure, estimate, low, high, null, null_low, null_high and p_value."""
        ends = {"estimate": self.estimate, "low": self.low, "high": self.high}
        null = self.null
        of_null = {"null": null.mean, "null_low": null.low, "null_high": null.high, "p_value": null.p_value}
        return {"measure": measure, **ends, **of_null}


def null_of_draws(value: float, draws: Floats, confidence: float = 0.95) -> Null:
    """From values of shuffled pairs (b,): Student's prediction interval, as another draw would fall; NaN below two.

    Sums over many rows are near Gaussian, so that a few draws tell small p-values that ranks among them cannot. Draws
    that are all equal (the accuracy of a probe that always says no) tell ranks only: at least 1 / (b + 1).
    """
    from scipy.special import stdtr, stdtrit

    b = len(draws)
    if b < 2:
        return Null(float(draws.mean()) if b else _NAN, _NAN, _NAN, _NAN)
    mean, spread = float(draws.mean()), float(draws.std(ddof=1) * np.sqrt(1 + 1 / b))
    reach = float(stdtrit(b - 1, (1 + confidence) / 2)) * spread
    if spread <= _EQUAL * abs(mean):
        return Null(mean, mean, mean, float(1 + np.sum(draws >= value)) / (b + 1))
    return Null(mean, mean - reach, mean + reach, float(stdtr(b - 1, (mean - value) / spread)))


def no_narrower(interval: Interval, null: Null) -> Interval:
    """The interval, to each side at least as wide as its null is: what shuffled pairs vary by, the estimate does too.

    For one that takes as given what was chosen: where there is next to nothing to find, the choice decides. Without a
    null it is left as it is.
    """
    value, half = interval.estimate, (null.high - null.low) / 2
    return Interval(value, float(np.fmin(interval.low, value - half)), float(np.fmax(interval.high, value + half)))


def null_of_rates(value: float, draws: Floats, confidence: float = 0.95) -> Null:
    """`null_of_draws` for rates in [0, 1], on the angles arcsin sqrt, whose law is near Gaussian for few hits too."""
    angles = null_of_draws(float(np.arcsin(np.sqrt(value))), np.arcsin(np.sqrt(draws)), confidence)
    low, high = np.sin(np.clip([angles.low, angles.high], 0, np.pi / 2)) ** 2
    return Null(float(draws.mean()) if len(draws) else _NAN, float(low), float(high), angles.p_value)


def null_of_moments(value: float, spread: float, skewness: float, confidence: float = 0.95) -> Null:
    """From the moments of all permutations, of mean 0: a gamma law shifted and scaled to them (Pearson's type III)."""
    from scipy.special import gammaincc, gammainccinv

    shape = min(4 / max(skewness, 1e-6) ** 2, 1e8)
    tails = np.array([1 + confidence, 1 - confidence]) / 2
    low, high = (gammainccinv(shape, tails) - shape) / np.sqrt(shape) * spread
    above = gammaincc(shape, max(shape + value / spread * np.sqrt(shape), 0.0)) if np.isfinite(value) else _NAN
    return Null(0.0, float(low), float(high), float(above))


def interval_of_influences(
    value: float, influence: Floats, units: NDArray[np.intp], confidence: float, *, least: float = -1.0
) -> Interval:
    """Value +- z sd in [least, 1]: sd^2 is the sum of squares of influences (n,), added up in `units` (n,)."""
    from scipy.special import stdtrit

    of_unit = np.bincount(units, influence)[np.bincount(units) > 0]
    reach = float(stdtrit(max(len(of_unit) - 1, 1), (1 + confidence) / 2) * np.sqrt(of_unit @ of_unit))
    return Interval(value, *(float(np.clip(value + side * reach, least, 1.0)) for side in (-1, 1)))


def interval_of_share(value: float, influence: Floats, units: NDArray[np.intp], confidence: float) -> Interval:
    """Wilson's interval of a share in [0, 1], for as many independent trials as would have the variance that is seen.

    The variance is the sum of squares of influences (n,), added up in `units` (n,). Where nothing varies, the units
    themselves are counted. NaN has no ends.
    """
    of_unit = np.bincount(units, influence)
    of_unit = of_unit[np.bincount(units) > 0]
    variance = float(of_unit @ of_unit)
    trials = value * (1 - value) / variance if variance > 0 else float(len(of_unit))
    if not trials > 0:
        return Interval(value, _NAN, _NAN)
    low, high = wilson(value * trials, trials, confidence)
    return Interval(value, float(low), float(high))


def interval_of_rate(scores: Floats, units: NDArray[np.intp], confidence: float) -> Interval:
    """`interval_of_share` of the mean of scores (n,) in [0, 1]."""
    rate = float(scores.mean())
    return interval_of_share(rate, (scores - rate) / len(scores), units, confidence)
