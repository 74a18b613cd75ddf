"""Families of tests: how each measures a sample, and what it measures on Gaussian rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from noisezoo.analysis.core import Floats, Matrix, gaussian_root, wilson
from .joint import bhep, frequencies, mardia_kurtosis, mardia_kurtosis_moments, mardia_skewness
from .result import GaussianityRow
from .sample import Sample, Univariate
from .univariate import p_values_of_rows

_NAN = float("nan")
_GROUPS = 10  # of rows, of which the jackknife leaves out one at a time
_JOINT_AXES = 10  # of skewness and BHEP, whose sensitivity thins out as dimensions grow
_JOINT_REPLICATES = 10  # for each null replicate of the other families: their p-values must survive correction


@dataclass(frozen=True)
class Family(ABC):
    """Tests that look at one side of a sample. `null` is separate so that samples of one covariance can share it."""

    name: str

    def null(self, sample: Sample, n_null: int, alpha: float) -> Floats:
        """What it measures on Gaussian rows of the sample's size and covariance: (replicates, statistics).

        There are no replicates where the law is known.
        """
        return np.empty((0, 1))

    @abstractmethod
    def rows(self, sample: Sample, null: Floats, alpha: float) -> Iterator[GaussianityRow]:
        """A row each test."""


UNIVARIATE = ("anderson-darling", "dagostino-pearson", "epps-pulley")
PAPER = (*UNIVARIATE[:2], "both")
"""The paper's tests; `both` accepts what each of the two accepts."""
TAIL_HOLDS = ("anderson-darling", "epps-pulley")
"""Tests whose p-values are right at alpha / 1000, as a Bonferroni correction needs."""


def _with_both(p: Floats) -> dict[str, Floats]:
    """The p-values (3, m) by test, those of PAPER first."""
    return dict(zip((*PAPER, *UNIVARIATE[2:]), (*p[:2], p[:2].min(axis=0), *p[2:]), strict=True))


@dataclass(frozen=True)
class Acceptance(Family):
    """Share of many univariate samples that tests of normality accept.

    Its null has the covariance of (some of) the samples, which matters: with few strong directions a thousand
    projections are a handful of tests, and their acceptance swings far beyond the binomial.
    """

    samples: Callable[[Sample], Univariate]
    stream: int  # of random numbers

    def null(self, sample: Sample, n_null: int, alpha: float) -> Floats:
        """Acceptance of each test on Gaussian samples, (n_null, tests)."""
        rng, R = np.random.default_rng([sample.seed, self.stream]), gaussian_root(self.samples(sample).some.T)
        n = sample.rows.shape[0]
        drawn = (R.T @ rng.standard_normal((len(R), n), dtype=R.dtype.type) for _ in range(n_null))  # (m', n) each
        found = (_with_both(p_values_of_rows(rows)).values() for rows in drawn)
        return np.array([[(p >= alpha).mean() for p in tests] for tests in found])

    def rows(self, sample: Sample, null: Floats, alpha: float) -> Iterator[GaussianityRow]:
        """A row for each test, and one for both of the paper's."""
        p = sample.p_values[self.name] = self.samples(sample).p_values
        tests = _with_both(p[:, np.isfinite(p[0])])
        for (test, of_test), replicates in zip(tests.items(), null.T, strict=True):
            yield self._row(test, of_test, replicates, alpha)

    def _row(self, test: str, p: Floats, null: Floats, alpha: float) -> GaussianityRow:
        from scipy.stats import false_discovery_control

        accepted, m = int((p >= alpha).sum()), p.size
        low, high = wilson(accepted, m) if self.name == PROJECTIONS else (_NAN, _NAN)
        corrected: dict[str, Any] = {
            "bonferroni": min(1.0, m * float(p.min())),
            "rejected": int((p < alpha / m).sum()),
            "discoveries": int((false_discovery_control(p, method="by") <= alpha).sum()),
        }
        return GaussianityRow(
            self.name,
            test,
            tests=m,
            acceptance=accepted / m,
            low=float(low),
            high=float(high),
            null=float(null.mean()),
            null_low=float(null.min()),
            null_high=float(null.max()),
            p_value=float((1 + (null <= accepted / m).sum()) / (1 + len(null))),
            **(corrected if test in TAIL_HOLDS else {}),
        )


def spreads_over_rows(samples: Matrix, alpha: float, seed: int) -> dict[str, float]:
    """Standard deviation, over other rows, of the share of samples (m, n) that each test accepts.

    By the jackknife of ten groups of rows. In simulation (250 rows of t5 and Laplace coordinates) it was 0.6 to 1.4
    times what 60 datasets varied by.
    """
    part = np.random.default_rng([seed, 9]).permutation(samples.shape[1]) % _GROUPS
    left = (_with_both(p_values_of_rows(np.ascontiguousarray(samples[:, part != g]))) for g in range(_GROUPS))
    shares = np.array([[float((p >= alpha).mean()) for p in tests.values()] for tests in left])
    names = _with_both(np.empty((len(UNIVARIATE), 0)))
    return dict(zip(names, map(float, shares.std(axis=0) * np.sqrt(_GROUPS - 1)), strict=True))


@dataclass(frozen=True)
class KnownLaw(Family):
    """One statistic whose `excess` is Gaussian around 0 on Gaussian rows, reported as `shown`; two-sided."""

    excess: Callable[[Sample], tuple[str, float, float]]  # what is tested, the excess and its standard deviation
    shown: Callable[[float], float]

    def rows(self, sample: Sample, null: Floats, alpha: float) -> Iterator[GaussianityRow]:
        """One row."""
        from scipy.special import ndtr, ndtri

        test, excess, spread = self.excess(sample)
        half = float(ndtri(1 - alpha / 2)) * spread
        value, mean, low, high = (float(self.shown(x)) for x in (excess, 0.0, -half, half))
        p_value = float(2 * ndtr(-abs(excess) / spread))
        yield GaussianityRow(self.name, test, value=value, null=mean, null_low=low, null_high=high, p_value=p_value)


def _norm(sample: Sample) -> tuple[str, float, float]:
    """Log of var(|x|^2) / (2 tr S^2), whose ratio is 1 for a Gaussian whatever its covariance.

    tr S^2 is Bai and Saranadasa's unbiased estimate (1996), for the plain one is several times too large when n < d.
    The spread is the delta method's on log R with the Gaussian cumulants of |x|^2 and x^T S x,
    var = (2 + 4 tr S^4 / (tr S^2)^2) / n + 4 / n^2, and the error of tr S^2 where that was sampled.
    """
    n, squares, leading = sample.rows.shape[0], sample.projections.squares, sample.leading
    unbias = (n - 1) ** 2 / ((n - 2) * (n + 1))
    unbiased = unbias * (leading.trace_of_square - (squares.sum() / (n - 1)) ** 2 / (n - 1))
    ratio = squares.var(ddof=1) / (2 * unbiased) if unbiased > 0 else _NAN
    concentration = leading.fourth / leading.trace_of_square**2
    sampled = unbias * leading.trace_spread / unbiased
    return "variance ratio", float(np.log(ratio)), float(np.sqrt((2 + 4 * concentration) / n + 4 / n**2 + sampled**2))


def _kurtosis(sample: Sample) -> tuple[str, float, float]:
    """Mardia's kurtosis on the leading scores, over its exact expectation, less 1.

    The leading scores of Gaussian rows are a uniform random frame, exactly as k plain Gaussian columns are, so that
    Mardia's moments (1974) hold for n < d and for any covariance.
    """
    n, k = sample.leading.scores.shape
    mean, variance = mardia_kurtosis_moments(n, k)
    return f"{k} axes", mardia_kurtosis(sample.leading.scores) / mean - 1, float(np.sqrt(variance)) / mean


@dataclass(frozen=True)
class SimulatedLaw(Family):
    """One statistic of the first ten leading scores, large where they are not Gaussian; its law by simulation.

    Whitened leading scores of Gaussian rows are a uniform frame whatever n, d and the covariance, so that plain
    Gaussian columns of the same n and k have the same law.
    """

    statistic: Callable[[Matrix, int], float]  # of scores (n, k) and a seed

    def null(self, sample: Sample, n_null: int, alpha: float) -> Floats:
        """The statistic of plain Gaussian columns, (replicates, 1)."""
        n, k = sample.leading.scores.shape
        return _simulated(self, n, min(k, _JOINT_AXES), _JOINT_REPLICATES * (n_null + 1) - 1, sample.seed)

    def rows(self, sample: Sample, null: Floats, alpha: float) -> Iterator[GaussianityRow]:
        """One row."""
        scores, falling = sample.leading.scores[:, :_JOINT_AXES], np.sort(null[:, 0])[::-1]
        value, centre = self.statistic(scores, sample.seed), float(falling.mean())
        last = max(int(round(alpha * (1 + len(falling)), 9)), 1)  # values up to this rank have p <= alpha
        yield GaussianityRow(
            self.name,
            f"{scores.shape[1]} axes",
            value=value / centre,
            null=1.0,
            null_low=0.0,
            null_high=float(falling[last - 1]) / centre,
            p_value=float((1 + (falling >= value).sum()) / (1 + len(falling))),
        )


@lru_cache(maxsize=32)  # the law depends on nothing else: all views of the same rows share it
def _simulated(family: SimulatedLaw, n: int, k: int, replicates: int, seed: int) -> Floats:
    rng = np.random.default_rng([seed, 4])
    drawn = (rng.standard_normal((n, k), dtype=np.float32) for _ in range(replicates))
    return np.array([[family.statistic(scores, seed)] for scores in drawn])


PROJECTIONS = "projections"
"""Random unit projections: the paper's Table 1, blind in high dimension by the central limit theorem."""
FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Acceptance(PROJECTIONS, lambda sample: sample.projected, 1),
        Acceptance("coordinates", lambda sample: sample.columns, 2),
        # Scores of Gaussian rows are uniform on a sphere: univariate tests hold as they are.
        Acceptance("principal axes", lambda sample: sample.axes, 3),
        KnownLaw("norm", _norm, lambda log_ratio: float(np.exp(log_ratio))),
        KnownLaw("mardia kurtosis", _kurtosis, lambda excess: 1 + excess),
        SimulatedLaw("mardia skewness", lambda scores, seed: mardia_skewness(scores)),
        # The BHEP test, consistent against every departure of these axes.
        SimulatedLaw("bhep", lambda scores, seed: bhep(scores, frequencies(scores.shape[1], seed=seed))),
    )
}
