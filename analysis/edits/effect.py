"""A mean over edited faces, with all that it hangs on: the faces, the probes that read them, and the direction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Floats, Interval, Matrix, Measured, Null, null_of_draws, wilson

Units = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """Means (k,) over faces, and what other faces, other readers and other directions would have made of them.

    The variance of a mean has three parts: over identities; over probes of the judge encoder that are fitted on halves
    of its rows (McCarthy 1969); and over directions. A unit direction that is made of signal and noise strays by its
    noise alone, and so as one of shuffled labels does, times a share that halves of the rows tell (`stray_share`). An
    attribute that is not there has the share 1.

    In simulation a nominal 95 % held 0 for coin flips in 98 to 100 %, and what the procedure gives on average in 98 to
    100 % for attributes that are there, weak or strong; so did differences of entanglement.
    """

    value: Floats  # (k,)
    faces: Floats  # (u, k) influence of every identity; of an edit's faces they add up to 0
    present: NDArray[np.bool_]  # (u,) identities that have a face here
    readers: Floats  # (splits, k) contrasts (a - b) / 2 of readers that are fitted on halves
    null: Floats  # (permutations, k) the same means of directions of shuffled labels
    directions: Floats  # (permutations, k) how far directions of these labels stray: as those, times a share

    @classmethod
    def of(
        cls, scores: Matrix, units: Units, n_units: int, readers: Sequence[Floats] = (),
        null: Sequence[Floats] = (), share: float = 1.0,
    ) -> "Effect":  # fmt: skip
        """Of scores (m, k) of faces of the identities `units` (m,) among `n_units`; directions stray by a `share`.

        Raises:
            ValueError: faces of fewer than 2 identities, whose mean has no interval.
        """
        scores = np.asarray(scores, np.float64)
        present = np.bincount(units, minlength=n_units) > 0
        if present.sum() < 2:
            raise ValueError(f"a mean over faces needs 2 identities for an interval, not {present.sum()}")
        faces = np.zeros((n_units, scores.shape[1]))
        np.add.at(faces, units, (scores - scores.mean(axis=0)) / len(scores))
        contrasts, draws = (np.array(each, np.float64).reshape(-1, scores.shape[1]) for each in (readers, null))
        strays = share * (draws - (draws.mean(axis=0) if len(draws) else 0))
        return cls(scores.mean(axis=0), faces, present, contrasts, draws, strays)

    def take(self, columns: Sequence[int]) -> "Effect":
        """Some of the means."""
        return combined(lambda part: part[..., list(columns)], self)

    def __sub__(self, other: "Effect") -> "Effect":
        return combined(np.subtract, self, other)

    def over(self, other: "Effect") -> "Effect":
        """The ratio of two means, by the delta method; its `null` holds deviations only."""
        value = self.value / other.value
        return replace(combined(lambda a, b: (a - value * b) / other.value, self, other), value=value)

    def variances(self) -> tuple[Floats, Floats]:
        """Variances (k,) of the means, and their degrees of freedom (Satterthwaite 1946)."""
        m, b, s = int(self.present.sum()), len(self.null), len(self.readers)
        of_faces = (self.faces**2).sum(axis=0) * m / (m - 1)
        of_directions = (self.directions**2).sum(axis=0) / (b - 1) * (1 + 1 / b) if b > 1 else np.zeros_like(of_faces)
        of_readers = (self.readers**2).mean(axis=0) if s else np.zeros_like(of_faces)
        total = of_faces + of_directions + of_readers
        squares = of_faces**2 / (m - 1) + of_directions**2 / max(b - 1, 1) + of_readers**2 / max(s, 1)
        return total, np.where(squares > 0, total**2 / np.where(squares > 0, squares, 1), m - 1)

    def intervals(self, confidence: float, *, least: float = -np.inf, most: float = np.inf) -> list[Interval]:
        """Student's, in [least, most]."""
        from scipy.special import stdtrit

        variance, freedom = self.variances()
        reach = stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(variance)
        low, high = np.clip([self.value - reach, self.value + reach], least, most)
        return [Interval(*map(float, ends)) for ends in zip(self.value, low, high, strict=True)]

    def rate_intervals(self, confidence: float) -> list[Interval]:
        """Wilson's, for means in [0, 1]: of as many trials as would have the variance; identities where nothing varies.

        No more trials than identities are counted.
        """
        variance, most = self.variances()[0], float(self.present.sum())
        spread = self.value * (1 - self.value)
        trials = np.divide(spread, variance, out=np.full_like(spread, most), where=(variance > 0) & (spread > 0))
        trials = np.minimum(trials, most)
        low, high = wilson(self.value * trials, trials, confidence)
        return [Interval(*map(float, ends)) for ends in zip(self.value, low, high, strict=True)]

    def measured(self, confidence: float, intervals: Sequence[Interval] | None = None) -> list[Measured]:
        """Each mean with its interval (Student's, or those given), and what directions of shuffled labels reach.

        P-values are two-sided.
        """
        found = []
        for interval, draws in zip(intervals or self.intervals(confidence), self.null.T, strict=True):
            null = null_of_draws(interval.estimate, draws, confidence)
            p_value = 2 * min(null.p_value, 1 - null.p_value)
            found.append(Measured.of(interval, Null(null.mean, null.low, null.high, p_value)))
        return found


def combined(function: Callable[..., Floats], *effects: Effect) -> Effect:
    """A linear function of the means of several effects, whose faces may be the same."""
    linear = ("value", "faces", "readers", "null", "directions")
    parts = {name: function(*(getattr(e, name) for e in effects)) for name in linear}
    return Effect(present=np.any([e.present for e in effects], axis=0), **parts)


def average(effects: Sequence[Effect]) -> Effect:
    """The mean of effects of different edits."""
    return combined(lambda *parts: np.mean(parts, axis=0), *effects)
