"""Intervals: Wilson's for rates, the bootstrap over rows for means of scores."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core.result import plain
from noisezoo.analysis.core.validation import Matrix, as_matrix

Floats = NDArray[np.float64]
Counts = NDArray[np.float32]


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


def units_of(n: int, groups: ArrayLike | None) -> NDArray[np.intp]:
    """Number of the independent unit that each of n rows belongs to, (n,): itself, or its group."""
    return np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].reshape(n)


def resample_counts(n: int, n_boot: int = 1000, *, seed: int = 42, groups: ArrayLike | None = None) -> Counts:
    """How often each row is drawn in each resample: (n_boot, n) float32, multinomial.

    With `groups` (n,), whole groups are drawn, as rows of one identity are not independent. The same n, seed and
    groups give the same resamples, so that statistics of two views on the same rows are paired by construction.
    """
    unit = units_of(n, groups)
    units = int(unit.max()) + 1
    drawn = np.random.default_rng(seed).integers(units, size=(n_boot, units))
    flat = np.bincount((drawn + units * np.arange(n_boot)[:, None]).ravel(), minlength=n_boot * units)
    counts = flat.reshape(n_boot, units).astype(np.float32)
    return counts if groups is None else counts[:, unit]


def bootstrap_means(scores: ArrayLike, counts: Counts) -> Floats:
    """Means of per-row scores (n, m) under counts (b, n): (b, m), by one GEMM."""
    S = as_matrix(scores, "scores")
    return np.asarray(counts @ S.astype(_gemm_dtype(S)) / counts.sum(axis=1, keepdims=True), dtype=np.float64)


def _gemm_dtype(S: Matrix) -> type[np.floating[Any]]:
    # Zeros and ones sum exactly in float32 below 2**24 rows, at twice the speed.
    return np.float32 if ((S == 0) | (S == 1)).all() and len(S) < 2**24 else np.float64


def percentile_ends(replicates: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Percentile interval (low, high) over the first axis of `replicates` (b, ...); NaN replicates are left out."""
    tail = (1 - confidence) / 2
    ends = np.nanquantile(replicates, [tail, 1 - tail], axis=0)
    low, high = ends.reshape(2, *replicates.shape[1:])  # numpy forgets the two where nothing is to be sorted
    return low, high


def to_intervals(estimates: ArrayLike, replicates: Floats, confidence: float = 0.95) -> list[Interval]:
    """Percentile intervals of estimates (m,) from replicates (b, m)."""
    low, high = percentile_ends(replicates, confidence)
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


def paired_differences(a: ArrayLike, b: ArrayLike, **settings: Any) -> list[Interval]:
    """Means of a - b, per-row scores (n, m) of the same rows, with intervals; settings as in `mean_intervals`.

    Raises:
        ValueError: different shapes: scores of different rows cannot be paired.
    """
    A, B = as_matrix(a, "a"), as_matrix(b, "b")
    if A.shape != B.shape:
        raise ValueError(f"paired scores must have one shape, not {A.shape} and {B.shape}")
    return mean_intervals(A.astype(np.float64) - B, **settings)
