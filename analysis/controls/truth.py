"""Noise that is known: how far an inversion lies from it, and what probes of judged labels say of the true ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from noisezoo.analysis.core import Floats, Interval, Result, as_matrix, mean_intervals

MEASURES = ("relative error", "cosine")
QUANTILES = {"p05": 0.05, "median": 0.5, "p95": 0.95}
DRAWS = 4000
"""Draws of a judge's sensitivity and specificity."""


@dataclass(frozen=True, slots=True, eq=False)
class InversionError(Result):
    """How far inverted noise lies from the noise that the pictures were made of."""

    rows: Floats  # (n, 2) |x - t| / |t|, and the cosine of x and t
    means: tuple[Interval, ...]  # of both, over rows
    n: int

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a measure: the mean with its interval, and quantiles over rows."""
        spread = {name: np.quantile(self.rows, q, axis=0) for name, q in QUANTILES.items()}
        return [{"measure": measure, **mean.to_dict(), **{name: float(q[k]) for name, q in spread.items()}}
                for k, (measure, mean) in enumerate(zip(MEASURES, self.means, strict=True))]  # fmt: skip


def inversion_error(X: ArrayLike, T: ArrayLike, *, seed: int = 42, confidence: float = 0.95) -> InversionError:
    """The error of each row of inverted noise X (n, d) against the true noise T (n, d), neither of them zero.

    Raises:
        ValueError: matrices of other shapes, or with a row of zeros.
    """
    A, B = (as_matrix(each, name, min_rows=1).astype(np.float64) for each, name in ((X, "X"), (T, "T")))
    lengths = [np.linalg.norm(each, axis=1) for each in (A, B)]
    if A.shape != B.shape or not min(length.min() for length in lengths) > 0:
        raise ValueError(f"noise of shapes {A.shape} and {B.shape}: they must be alike, and no row may be zero")
    relative = np.linalg.norm(A - B, axis=1) / lengths[1]
    rows = np.column_stack([relative, (A * B).sum(axis=1) / (lengths[0] * lengths[1])])
    return InversionError(rows, tuple(mean_intervals(rows, seed=seed, confidence=confidence)), len(rows))


def corrected(
    estimates: Sequence[float], interval: Interval, judged: Sequence[Mapping[str, int]], rates: Sequence[float], *,
    seed: int = 42, confidence: float = 0.95,
) -> Interval:  # fmt: skip
    """Balanced accuracy on the true labels, from that on labels that a judge gave; the mean over attributes.

    Where a judge errs by chance alone, given the true label, the excess over 1/2 on its labels is that on the true ones
    times F = PPV + NPV - 1 (Menon et al., ICML 2015, Theorem 1). PPV and NPV follow from the judge's sensitivity and
    specificity on real pictures and from the share of pictures that it called positive. The interval adds, in squares,
    what `interval` says over 1/F and the spread that the numbers of those real pictures leave in F (Jeffreys'
    posterior). A judge that may be no better than chance leaves nothing known: NaN.

    Args:
        estimates: (k,) balanced accuracies on the judge's labels.
        interval: of their mean.
        judged: (k,) `positives`, `hits`, `negatives` and `rejections` of real pictures.
        rates: (k,) shares of pictures that the judge called positive.
        seed: of the posterior's draws.
        confidence: of the interval.
    """
    rng, z = np.random.default_rng(seed), float(stats.norm.isf((1 - confidence) / 2))
    counts = [(c["hits"], c["positives"], c["rejections"], c["negatives"]) for c in judged]
    draws = np.array(
        [[rng.beta(hits + 0.5, n - hits + 0.5, DRAWS) for hits, n in ((a, p), (b, q))] for a, p, b, q in counts]
    )  # (k, 2, draws)
    seen = np.array([[a / p, b / q] for a, p, b, q in counts])[:, :, None]  # (k, 2, 1)
    factors, spread = (_attenuation(each, np.asarray(rates)[:, None]) for each in (seen, draws))
    if (np.quantile(spread, (1 - confidence) / 2, axis=1) <= 0).any() or (factors <= 0).any():
        return Interval(np.nan, np.nan, np.nan)
    excess = np.asarray(estimates)[:, None] - 0.5
    found = 0.5 + float((excess / factors).mean())
    own = (interval.high - interval.low) / 2 * float((1 / factors).mean())
    half = float(np.hypot(own, z * (excess / spread).mean(axis=0).std()))
    return Interval(found, found - half, found + half)


def _attenuation(rates: NDArray[np.float64], positive: Floats) -> Floats:
    """PPV + NPV - 1 (k, m) of sensitivities and specificities (k, 2, m) and of rates of positive calls (k, 1)."""
    sensitivity, specificity = rates[:, 0], rates[:, 1]
    youden = sensitivity + specificity - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        prevalence = np.clip((positive + specificity - 1) / youden, 0, 1)
        found = prevalence * sensitivity / positive + (1 - prevalence) * specificity / (1 - positive) - 1
    return np.where(youden > 0, found, 0.0)


def share_of_signal(part: Interval, whole: Interval, difference: Interval, chance: float = 0.5) -> Interval:
    """(part - chance) / (whole - chance) of two paired estimates, with an interval by the delta method.

    Labels that a judge gave attenuate both alike, so their share needs no correction. Where it is not shown that the
    whole is above chance, there is nothing to share: NaN.

    `part` is of the view in question, `whole` of the view that it is held against, and `difference` is part - whole
    with its paired interval; what reads nothing has `chance`.
    """
    if not whole.low > chance:
        return Interval(np.nan, np.nan, np.nan)
    a, b, d = ((each.high - each.low) / 2 for each in (part, whole, difference))
    r = (part.estimate - chance) / (whole.estimate - chance)
    squared = (1 - r) * a**2 + (r**2 - r) * b**2 + r * d**2  # of part - r whole, whose covariance d gives away
    half = float(np.sqrt(max(squared, 0.0))) / (whole.estimate - chance)
    return Interval(r, r - half, r + half)
