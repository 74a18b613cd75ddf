"""An estimate with its interval and its null, as one tidy row."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core.intervals import Floats, Interval, wilson

_NAN = float("nan")
_EQUAL = 1e-9  # relative spread that is rounding


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

    of_unit = np.bincount(units, influence)
    reach = float(stdtrit(max(len(of_unit) - 1, 1), (1 + confidence) / 2) * np.sqrt(of_unit @ of_unit))
    return Interval(value, *(float(np.clip(value + side * reach, least, 1.0)) for side in (-1, 1)))


def interval_of_rate(scores: Floats, units: NDArray[np.intp], confidence: float) -> Interval:
    """Wilson's interval of the mean of scores (n,) in [0, 1], for as many rows as would have the variance that is seen.

    Rows of one of `units` (n,) count together. Where nothing varies, the units themselves are counted.
    """
    rate = float(scores.mean())
    of_unit = np.bincount(units, scores - rate) / len(scores)
    variance = float(of_unit @ of_unit)
    trials = rate * (1 - rate) / variance if variance > 0 else float(len(of_unit))
    low, high = wilson(rate * trials, trials, confidence)
    return Interval(rate, float(low), float(high))
