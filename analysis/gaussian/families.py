"""Families of tests: how each measures a sample, and what it measures on Gaussian rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Matrix, gaussian_root, wilson
from noisezoo.analysis.gaussian.false_discovery import benjamini_yekutieli
from noisezoo.analysis.gaussian.joint import (
    bhep,
    frequencies,
    mardia_kurtosis,
    mardia_kurtosis_moments,
    mardia_skewness,
)
from noisezoo.analysis.gaussian.result import GaussianityRow
from noisezoo.analysis.gaussian.sample import Sample
from noisezoo.analysis.gaussian.univariate import p_values_of_rows

Floats = NDArray[np.float64]
_NAN = float("nan")
_JOINT_AXES = 10  # of skewness and BHEP, whose sensitivity thins out as dimensions grow
_JOINT_REPLICATES = 5  # for each null replicate of the other families: they are cheap


@dataclass(frozen=True, slots=True)
class _Test:
    name: str
    p: Callable[[Floats], Floats]  # of the p-values (2, m) of Anderson-Darling and D'Agostino-Pearson
    tail_holds: bool  # are p-values right at alpha / 1000, as a Bonferroni correction needs?


_TESTS = (
    _Test("anderson-darling", lambda p: p[0], True),
    _Test("dagostino-pearson", lambda p: p[1], False),
    _Test("both", lambda p: p.min(axis=0), False),
)


UNIVARIATE = tuple(test.name for test in _TESTS[:2])


class Family(ABC):
    """Tests that look at one side of a sample. `null` is separate so that samples of one covariance can share it."""

    name: ClassVar[str]

    @abstractmethod
    def null(self, sample: Sample, n_null: int, alpha: float) -> Floats:
        """What the family measures on Gaussian rows of the sample's size and covariance: (replicates, statistics)."""

    @abstractmethod
    def rows(self, sample: Sample, null: Floats, alpha: float) -> Iterator[GaussianityRow]:
        """A row each test."""


class _Acceptance(Family):
    """Share of many univariate samples that two tests of normality accept."""

    stream: ClassVar[int]

    @abstractmethod
    def p_values(self, sample: Sample) -> Floats:
        """(2, m), NaN where a sample is constant."""

    @abstractmethod
    def root(self, sample: Sample) -> Matrix:
        """R (r, m') with R^T R the covariance of (some of) the univariate samples.

        The covariance matters: with few strong directions a thousand projections are a handful of tests, and their
        acceptance swings far beyond the binomial.
        """

    def null(self, sample: Sample, n_null: int, alpha: float) -> Floats:
        rng, R = np.random.default_rng([sample.seed, self.stream]), self.root(sample)
        n = sample.rows.shape[0]
        drawn = (R.T @ rng.standard_normal((len(R), n), dtype=R.dtype.type) for _ in range(n_null))  # (m', n) each
        return np.array([_acceptance(p_values_of_rows(G), alpha) for G in drawn])

    def rows(self, sample: Sample, null: Floats, alpha: float) -> Iterator[GaussianityRow]:
        p = sample.p_values[self.name] = self.p_values(sample)
        for test, replicates in zip(_TESTS, null.T, strict=True):
            yield self._row(test, test.p(p[:, np.isfinite(p[0])]), replicates, alpha)

    def _row(self, test: _Test, p: Floats, null: Floats, alpha: float) -> GaussianityRow:
        accepted, m = int((p >= alpha).sum()), p.size
        low, high = wilson(accepted, m) if self.name == Projections.name else (_NAN, _NAN)
        p_value = float((1 + (null <= accepted / m).sum()) / (1 + len(null)))
        bonferroni = min(1.0, m * float(p.min())) if test.tail_holds else _NAN
        return GaussianityRow(
            self.name,
            test.name,
            tests=m,
            acceptance=accepted / m,
            low=float(low),
            high=float(high),
            null=float(null.mean()),
            null_low=float(null.min()),
            null_high=float(null.max()),
            value=_NAN,
            p_value=p_value,
            bonferroni=bonferroni,
            rejected=int((p < alpha / m).sum()) if test.tail_holds else None,
            discoveries=int(benjamini_yekutieli(p, alpha).sum()) if test.tail_holds else None,
            departs=p_value <= alpha or bonferroni < alpha,
        )


def _acceptance(p: Floats, alpha: float) -> list[float]:
    return [float((test.p(p) >= alpha).mean()) for test in _TESTS]


class Projections(_Acceptance):
    """Random unit projections: the paper's Table 1, blind in high dimension by the central limit theorem."""

    name, stream = "projections", 1

    def p_values(self, sample: Sample) -> Floats:
        """P values of every direction."""
        return p_values_of_rows(sample.projections.samples[: sample.n_projections])

    def root(self, sample: Sample) -> Matrix:
        """A Gaussian sample with the same covariance is this root times white rows."""
        return gaussian_root(sample.projections.samples[: sample.n_projections].T)


class Coordinates(_Acceptance):
    """Every coordinate that varies; its null has 512 of them at most."""

    name, stream = "coordinates", 2

    def p_values(self, sample: Sample) -> Floats:
        """P values of every direction."""
        return sample.columns.p_values

    def root(self, sample: Sample) -> Matrix:
        """A Gaussian sample with the same covariance is this root times white rows."""
        return gaussian_root(sample.columns.some.T)


class PrincipalAxes(_Acceptance):
    """Scores on leading axes: those of Gaussian rows are uniform on a sphere, so univariate tests hold as they are."""

    name, stream = "principal axes", 3

    def p_values(self, sample: Sample) -> Floats:
        """P values of every direction."""
        return p_values_of_rows(np.ascontiguousarray(sample.leading.scores.T))

    def root(self, sample: Sample) -> Matrix:
        """A Gaussian sample with the same covariance is this root times white rows."""
        return gaussian_root(sample.leading.scores)


class Norm(Family):
    """Ratio var(|x|^2) / (2 tr S^2), 1 for a Gaussian whatever its covariance.

    tr S^2 is Bai and Saranadasa's unbiased estimate (1996), for the plain one is several times too large when n < d.
    The spread is the delta method's on log R with the Gaussian cumulants of |x|^2 and x^T S x,
    var = (2 + 4 tr S^4 / (tr S^2)^2) / n + 4 / n^2, and the error of tr S^2 where that was sampled.
    """

    name = "norm"

    def null(self, sample: Sample, n_null: int, alpha: float) -> Floats:
        """No simulated law: it is known."""
        return np.empty((0, 1))

    def rows(self, sample: Sample, null: Floats, alpha: float) -> Iterator[GaussianityRow]:
        """One row."""
        n, squares, leading = sample.rows.shape[0], sample.projections.squares, sample.leading
        unbias = (n - 1) ** 2 / ((n - 2) * (n + 1))
        unbiased = unbias * (leading.trace_of_square - (squares.sum() / (n - 1)) ** 2 / (n - 1))
        ratio = squares.var(ddof=1) / (2 * unbiased) if unbiased > 0 else _NAN
        concentration = leading.fourth / leading.trace_of_square**2
        sampled = unbias * leading.trace_spread / unbiased
        spread = np.sqrt((2 + 4 * concentration) / n + 4 / n**2 + sampled**2)
        yield _two_sided(self.name, "variance ratio", float(np.log(ratio)), float(spread), alpha, np.exp)


class Kurtosis(Family):
    """Mardia's kurtosis on the leading scores, over its exact expectation.

    The leading scores of Gaussian rows are a uniform random frame, exactly as k plain Gaussian columns are, so that
    Mardia's moments (1974) hold for n < d and for any covariance.
    """

    name = "mardia kurtosis"

    def null(self, sample: Sample, n_null: int, alpha: float) -> Floats:
        """No simulated law: it is known."""
        return np.empty((0, 1))

    def rows(self, sample: Sample, null: Floats, alpha: float) -> Iterator[GaussianityRow]:
        """One row."""
        n, k = sample.leading.scores.shape
        mean, variance = mardia_kurtosis_moments(n, k)
        excess, spread = mardia_kurtosis(sample.leading.scores) / mean - 1, float(np.sqrt(variance)) / mean
        yield _two_sided(self.name, f"{k} axes", excess, spread, alpha, lambda x: 1 + x)


class _Joint(Family):
    """One statistic of the first ten leading scores, large where they are not Gaussian; its law by simulation.

    Whitened leading scores of Gaussian rows are a uniform frame whatever n, d and the covariance, so that plain
    Gaussian columns of the same n and k have the same law.
    """

    @abstractmethod
    def statistic(self, scores: Matrix, seed: int) -> float:
        """Of scores (n, k)."""

    def null(self, sample: Sample, n_null: int, alpha: float) -> Floats:
        n, k = sample.leading.scores.shape
        return _simulated(self, n, min(k, _JOINT_AXES), _JOINT_REPLICATES * (n_null + 1) - 1, sample.seed)

    def rows(self, sample: Sample, null: Floats, alpha: float) -> Iterator[GaussianityRow]:
        scores, falling = sample.leading.scores[:, :_JOINT_AXES], np.sort(null[:, 0])[::-1]
        value, centre = self.statistic(scores, sample.seed), float(falling.mean())
        p_value = float((1 + (falling >= value).sum()) / (1 + len(falling)))
        last = max(int(round(alpha * (1 + len(falling)), 9)), 1)  # values up to this rank have p <= alpha
        high = float(falling[last - 1])
        test = f"{scores.shape[1]} axes"
        yield _value_row(self.name, test, value / centre, (1.0, 0.0, high / centre), p_value, alpha)


@lru_cache(maxsize=32)  # the law depends on nothing else: all views of the same rows share it
def _simulated(family: _Joint, n: int, k: int, replicates: int, seed: int) -> Floats:
    rng = np.random.default_rng([seed, 4])
    drawn = (rng.standard_normal((n, k), dtype=np.float32) for _ in range(replicates))
    return np.array([[family.statistic(scores, seed)] for scores in drawn])


class Skewness(_Joint):
    """Mardia's skewness."""

    name = "mardia skewness"

    def statistic(self, scores: Matrix, seed: int) -> float:
        """The statistic of scores (n, k)."""
        return mardia_skewness(scores)


class CharacteristicFunction(_Joint):
    """The BHEP test, consistent against every departure of these axes."""

    name = "bhep"

    def statistic(self, scores: Matrix, seed: int) -> float:
        """The statistic of scores (n, k)."""
        return bhep(scores, frequencies(scores.shape[1], seed=seed))


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Projections(), Coordinates(), PrincipalAxes(), Norm(), Kurtosis(), Skewness(), CharacteristicFunction()
    )
}  # fmt: skip


def _two_sided(
    family: str, test: str, excess: float, spread: float, alpha: float, shown: Callable[[float], float]
) -> GaussianityRow:
    """A row of one statistic whose `excess` is Gaussian around 0 under the null, reported as `shown`."""
    from scipy.special import ndtr, ndtri

    half = float(ndtri(1 - alpha / 2)) * spread
    p_value = float(2 * ndtr(-abs(excess) / spread))
    null, low, high, value = (float(shown(x)) for x in (0.0, -half, half, excess))
    return _value_row(family, test, value, (null, low, high), p_value, alpha)


def _value_row(
    family: str, test: str, value: float, null: tuple[float, float, float], p_value: float, alpha: float
) -> GaussianityRow:
    centre, low, high = null
    return GaussianityRow(
        family,
        test,
        tests=1,
        acceptance=_NAN,
        low=_NAN,
        high=_NAN,
        null=centre,
        null_low=low,
        null_high=high,
        value=value,
        p_value=p_value,
        bonferroni=_NAN,
        rejected=None,
        discoveries=None,
        departs=p_value <= alpha,
    )
