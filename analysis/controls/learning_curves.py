"""How well attributes can be read as probes see more rows: nested subsamples to fit on, all rows to score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import (
    AnyArray,
    Draws,
    Estimate,
    Floats,
    Interval,
    Result,
    as_array,
    caveats,
    null_columns,
    to_numpy,
    with_mean,
)
from noisezoo.analysis.probes import METRICS, Design, cross_validate, scaled_scores

_UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))
_HALVINGS, _FEWEST = 4, 50  # sizes that are tried unasked, and rows below which none is


@dataclass(frozen=True, slots=True, eq=False)
class CurvePoint:
    """Scores at one size: an interval for each attribute, then for their mean, (k + 1,) of each metric."""

    size: int  # training rows of a probe
    intervals: Mapping[str, tuple[Interval, ...]]
    rise: Mapping[str, tuple[Interval, ...]]  # this size minus the one before, paired; NaN at the first
    null: Mapping[str, Floats]  # metric -> (permutations, k + 1)


@dataclass(frozen=True, slots=True, eq=False)
class LearningCurve(Result):
    """What `learning_curve` found. Intervals are for the whole procedure at each size, as in a `ProbeTable`.

    A curve that still rises at its last size says that the view holds more than n rows can show, and that its height
    there is a lower bound; `rise` says so with an interval.
    """

    names: tuple[str, ...]  # (k,)
    refused: Mapping[str, str]  # attribute -> why it has no curve
    points: tuple[CurvePoint, ...]  # from the smallest size
    sizes: tuple[int, ...]  # training rows of each point
    n: int
    d: int
    draws: Draws
    caveats: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a size, attribute and metric; "mean" is the mean over attributes."""
        return [
            {"size": point.size, "attribute": name, "metric": metric, **point.intervals[metric][j].to_dict(),
             **null_columns(point.null[metric][:, j]),
             **dict(zip(("rise", "rise_low", "rise_high"), point.rise[metric][j].to_dict().values(), strict=True))}
            for point in self.points
            for j, name in enumerate((*self.names, "mean"))
            for metric in METRICS
        ]  # fmt: skip


def learning_curve(
    X: AnyArray,
    Y: ArrayLike,
    names: Sequence[str],
    *,
    sizes: Sequence[int] | None = None,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    seed: int = 42,
    n_splits: int = 16,
    n_permutations: int = 1,
    confidence: float = 0.95,
) -> LearningCurve:
    """Probe a view X (n, d) with probes that see some of the training rows, nested from size to size.

    Folds, half-samples, the choice of strengths and the null are `probe_table`'s. All n rows are scored at every size;
    all else is learnt from the sample of that size, and half of it in a half-sample. The largest size, all n (1 - 1 /
    n_folds) training rows, gives the table itself.

    X is numpy or torch, float32 or float64; Y are attributes (n, k) of zeros and ones with k `names`. `sizes` are
    numbers of training rows; None: all, a half, a quarter and an eighth of them, while there are 50. `groups`, which
    come into the sample whole, and the draws are as in `probe_table`.

    Returns:
        The curve; an attribute with too few rows of a class in the smallest sample is in `.refused` with the reason,
        so that the mean is over the same attributes at every size.

    Raises:
        ValueError: sizes below 2 or above n (1 - 1 / n_folds), or what `probe_table` refuses.
    """
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    X = as_array(X)
    every = Design.of(len(X), Y, names, groups, n_folds=n_folds, n_splits=n_splits, seed=seed)
    most = round(len(X) * (1 - 1 / n_folds))
    wanted, arrival = tuple(_sizes(most, sizes)), _arrival(every)
    samples = [arrival < size / most for size in wanted]  # (n,) each
    design = every.on(samples[0])
    T = scaled_scores(X)
    points: list[CurvePoint] = []
    before: Mapping[str, Estimate] = {}
    unknown = dict.fromkeys(METRICS, (_UNKNOWN,) * (len(design.names) + 1))
    for size, kept in zip(wanted, samples, strict=True):
        found = cross_validate(T, design, n_permutations, kept)
        intervals = {m: e.every_interval(confidence) for m, e in found.estimates.items()}
        rises = {m: (found.estimates[m] - e).every_interval(confidence, least=-1.0) for m, e in before.items()}
        points.append(CurvePoint(size, intervals, rises or unknown, {m: with_mean(n) for m, n in found.null.items()}))
        before = found.estimates
    warned = caveats(to_numpy(X), design.folds)
    return LearningCurve(design.names, design.refused, tuple(points), wanted, len(X), X.shape[1], draws, warned)


def _sizes(most: int, sizes: Sequence[int] | None) -> list[int]:
    halved = [round(most / 2**i) for i in range(_HALVINGS)]
    wanted = sorted({*sizes} if sizes is not None else {most, *(size for size in halved if size >= _FEWEST)})
    if not wanted or wanted[0] < 2 or wanted[-1] > most:
        raise ValueError(f"sizes must lie between 2 and the {most} training rows of a fold, not {wanted}")
    return wanted


def _arrival(design: Design) -> Floats:
    """When each row comes into the sample, (n,) in [0, 1): the share of its fold that is in before its group."""
    units = design.units
    key = np.random.default_rng([design.seed, 3]).random(units.max() + 1)[units]
    arrival = np.empty(len(units))
    for f in np.unique(design.folds):
        of_fold = design.folds == f
        arrival[of_fold] = np.searchsorted(np.sort(key[of_fold]), key[of_fold]) / of_fold.sum()
    return arrival
