"""Folds and halves of rows, and what halves tell: the sampling error of a whole procedure, training included.

Folds and halves are a function of rows, groups and seed only, so that every view gets the same ones.

The variance over the rows that are scored, v, takes the fitted probes as given: other rows would have fitted others,
and rows of different folds err together. So the rows are split in two halves at random, s times, and the whole
cross-validation runs on each half. The halves of a split, A and B, are independent, so that their contrast
c = (m_A - m_B) / 2 has the metric's whole variance at this scale, of which v_c is the part given the probes:

    variance = v * mean c^2 / mean v_c.

mean c^2 is the half-sample variance of McCarthy (1969), the delete-d jackknife of Shao and Wu (1989, Annals of
Statistics 17) with d = n / 2; as an accuracy is a step function of the weights, small d gave standard errors 1.7 to 2
times too wide. mean c^2 is too wide itself, because a half learns less, so that its ratio is carried over, as Bates,
Hastie and Tibshirani (2024, JASA 119) do for the naive standard error of cross-validation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import Floats
from .intervals import Interval, Measured, Null, null_of_draws
from .result import Draws, refuse_settings
from .units import Units, shuffled, units_of

Scored = tuple[Floats, Floats]
"""Values (k,), and the influence of each row on them (n, k)."""
Law = Callable[[float, Floats, float], Null]
"""An estimate, what permutations gave (b,) and a confidence -> the null."""


def assign_folds(n: int, n_folds: int, *, seed: int = 42, groups: ArrayLike | None = None) -> NDArray[np.intp]:
    """The fold of each of n rows, (n,) in [0, n_folds); rows of one of `groups` (n,) always share a fold.

    Units (rows, or whole groups) are shuffled and cut into folds of nearly equal numbers of rows.

    Raises:
        ValueError: fewer than 2 folds, or fewer units than folds, groups so large that a fold stays empty, or what
            `units_of` refuses.
    """
    unit = units_of(n, groups)
    size = np.bincount(unit)
    if not 2 <= n_folds <= len(size):
        raise ValueError(f"n_folds must lie between 2 and the {len(size)} independent rows or groups, not {n_folds}")
    order = np.random.default_rng(seed).permutation(len(size))
    middle = np.cumsum(size[order]) - size[order] / 2
    fold_of_unit = np.empty(len(size), dtype=np.intp)
    fold_of_unit[order] = np.floor(middle * n_folds / n).astype(np.intp)
    if len(np.unique(fold_of_unit)) < n_folds:
        raise ValueError(f"groups are too large for {n_folds} folds: one fold would be empty; ask for fewer")
    return fold_of_unit[unit]


def half_samples(
    folds: NDArray[np.intp], n_splits: int, *, seed: int, groups: NDArray[np.generic] | None = None
) -> NDArray[np.bool_]:
    """Rows of the first half in each split, (n_splits, n): half the rows, or groups, of every fold (n,).

    Depends on its arguments only, so that views of the same rows are halved alike and differences are paired.

    Raises:
        ValueError: no split, or so few groups that a half could hold one fold only, and nothing to fit its probes on.
    """
    refuse_settings(n_splits=n_splits)
    units = units_of(len(folds), groups)
    fold_of_unit = folds[np.unique(units, return_index=True)[1]]
    if np.sum(np.bincount(fold_of_unit) >= 2) < 2:
        raise ValueError(
            f"{len(fold_of_unit)} independent rows or groups in {folds.max() + 1} folds are too few for an interval: "
            "two folds must hold two or more each; use fewer folds or smaller groups"
        )
    rng = np.random.default_rng([seed, 2])
    halves = np.empty((n_splits, len(fold_of_unit)), dtype=np.bool_)
    for half in halves:
        half[np.lexsort((rng.random(half.size), fold_of_unit))] = np.arange(half.size) % 2 == 0
    return halves[:, units]


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A metric of k attributes on all rows, then its contrast (m_A - m_B) / 2 in each split, with influences.

    All of it is linear, so that a mean over attributes and a paired difference of views are estimates again.
    """

    value: Floats  # (1 + splits, k)
    influence: NDArray[np.float32]  # (1 + splits, units, k), summed over the rows of a unit

    @classmethod
    def of(cls, scored: Iterable[Scored], parts: Sequence[Units], units: Units) -> "Estimate":
        """From what each of `Resampling.parts` scores; rows of one of `units` (n,) count as one."""
        (value, influence), *sides = scored
        values, influences = [value], [influence]
        for (a, of_a), (b, of_b), first, second in zip(sides[::2], sides[1::2], parts[1::2], parts[2::2], strict=True):
            of_row = np.empty_like(influence)
            of_row[first], of_row[second] = of_a / 2, -of_b / 2
            values.append((a - b) / 2)
            influences.append(of_row)
        summed = np.zeros((len(values), int(units.max()) + 1, influence.shape[1]))
        for total, of_rows in zip(summed, influences, strict=True):
            np.add.at(total, units, of_rows)
        return cls(np.array(values), summed.astype(np.float32))

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.value + other.value, self.influence + other.influence)

    def __sub__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.value - other.value, self.influence - other.influence)

    def combine(self, weights: ArrayLike) -> "Estimate":
        """Weighted sums over attributes: weights (k,) give one."""
        w = np.asarray(weights, np.float64)[:, None]
        return Estimate(self.value @ w, self.influence @ w.astype(np.float32))

    def mean(self) -> "Estimate":
        """Of the attributes."""
        k = self.value.shape[-1]
        return self.combine(np.full(k, 1 / k))

    def variance(self) -> Floats:
        """Variances (k,): v * mean c^2 / mean v_c, or mean c^2 where a v is zero; NaN without any finite contrast."""
        told = np.isfinite(self.value[1:])  # a half may miss a class
        given = np.einsum("suk,suk->sk", self.influence, self.influence, dtype=np.float64)  # (1 + splits, k)
        v, v_c, c2 = given[0], _mean(given[1:], told), _mean(self.value[1:] ** 2, told)
        return np.where(v * v_c > 0, v * c2 / np.where(v_c > 0, v_c, 1), c2)

    def intervals(self, confidence: float, *, least: float = 0.0, most: float = 1.0) -> list[Interval]:
        """Student's, with a degree of freedom for each split, in [least, most]."""
        from scipy.special import stdtrit

        reach = stdtrit(np.isfinite(self.value[1:]).sum(axis=0), (1 + confidence) / 2) * np.sqrt(self.variance())
        low, high = np.clip([self.value[0] - reach, self.value[0] + reach], least, most)
        return [Interval(*map(float, ends)) for ends in zip(self.value[0], low, high, strict=True)]

    def mean_interval(self, confidence: float, *, least: float = 0.0, most: float = 1.0) -> Interval:
        """Of the mean over attributes; NaN where there is none."""
        if not self.value.shape[-1]:
            return Interval(float("nan"), float("nan"), float("nan"))
        return self.mean().intervals(confidence, least=least, most=most)[0]

    def every_interval(self, confidence: float, *, least: float = 0.0, most: float = 1.0) -> tuple[Interval, ...]:
        """Of the attributes, then of their mean: (k + 1,)."""
        of_mean = self.mean_interval(confidence, least=least, most=most)
        return (*self.intervals(confidence, least=least, most=most), of_mean)


def _mean(values: Floats, told: NDArray[np.bool_]) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(told, values, 0.0).sum(axis=0) / told.sum(axis=0))


@dataclass(frozen=True, eq=False)
class Resampling:
    """Folds, halves and permutations of n rows, whole groups together: where intervals and nulls come from.

    What is fitted must not cross folds. A score of all rows gets its interval from the halves of every split, each
    scored by the whole procedure, and its null from rows in the orders of a permutation.
    """

    folds: Units  # (n,)
    units: Units  # (n,) of chance: rows, or groups
    draws: Draws

    @classmethod
    def of(cls, n: int, groups: ArrayLike | None, draws: Draws) -> "Resampling":
        """Of n rows, or `groups` (n,) of them; ValueError where `units_of` or `assign_folds` refuses them."""
        units = units_of(n, groups)
        return cls(assign_folds(n, draws.n_folds, seed=draws.seed, groups=units), units, draws)

    @cached_property
    def parts(self) -> list[Units]:
        """Numbers of all rows, then of the rows of both halves of each split; ValueError as `half_samples`."""
        halves = half_samples(self.folds, self.draws.n_splits, seed=self.draws.seed, groups=self.units)
        sides = (side for half in halves for side in (half, ~half))
        return [np.arange(len(self.folds)), *map(np.flatnonzero, sides)]

    def orders(self, stream: int) -> Iterator[Units]:
        """Orders (n,) of `shuffled`, `n_permutations` of them, from a stream of random numbers of the study's own."""
        return shuffled(self.units, self.draws.n_permutations, np.random.default_rng([self.draws.seed, stream]))

    def intervals(self, scored: Iterable[Scored], *, least: float = -np.inf, most: float = 1.0) -> list[Interval]:
        """Of the k values that each of `parts` scores."""
        every = Estimate.of(scored, self.parts, self.units)
        return every.intervals(self.draws.confidence, least=least, most=most)

    def measured(
        self,
        scored: Iterable[Scored],
        null: Iterable[Floats],
        laws: Sequence[Law] = (),
        *,
        least: float = -np.inf,
        most: float = 1.0,
    ) -> list[Measured]:
        """`intervals`, each with its null: values (k,) of every permutation, by k laws (`null_of_draws` unasked)."""
        intervals = self.intervals(scored, least=least, most=most)
        columns = np.array(list(null)).reshape(-1, len(intervals)).T
        judged = zip(intervals, columns, laws or repeat(null_of_draws), strict=False)
        return [Measured.of(i, law(i.estimate, column, self.draws.confidence)) for i, column, law in judged]
