"""Paired differences between probes of two views on the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisezoo.analysis.core import Draws, Interval, Result
from noisezoo.analysis.probes.metrics import METRICS
from noisezoo.analysis.probes.table import ProbeTable


@dataclass(frozen=True, slots=True, eq=False)
class Comparison(Result):
    """First view minus second: per attribute and on the mean over attributes, for every metric."""

    names: tuple[str, ...]
    intervals: Mapping[str, tuple[Interval, ...]]  # metric -> (k,)
    mean: Mapping[str, Interval]  # metric -> mean over attributes
    n: int
    draws: Draws
    caveats: tuple[str, ...]  # of either table

    def records(self) -> list[dict[str, Any]]:
        """One dictionary an attribute and metric, then one a metric for the mean over attributes."""
        named = [*enumerate(self.names)]
        rows = [(name, metric, self.intervals[metric][j]) for j, name in named for metric in self.intervals]
        rows += [("mean", metric, interval) for metric, interval in self.mean.items()]
        return [{"attribute": name, "metric": metric, **interval.to_dict()} for name, metric, interval in rows]


def compare(a: ProbeTable, b: ProbeTable, *, metrics: tuple[str, ...] = tuple(METRICS)) -> Comparison:
    """Differences a - b over the attributes that both tables hold, with paired intervals.

    Both tables were refitted on the same half-samples, so that what makes images easy or hard for both cancels, as
    training and as test rows. The intervals are for the whole procedure, as `ProbeTable` says.

    Raises:
        ValueError: tables of different rows, folds, groups, labels or half-samples, or with no attribute in common.
    """
    names = tuple(name for name in a.names if name in b.names)
    if not names:
        raise ValueError("the two tables have no attribute in common: there is nothing to compare")
    refuse_different_rows(a, b, names)
    differences = {metric: a.estimate(metric, names) - b.estimate(metric, names) for metric in metrics}
    intervals = {m: tuple(e.intervals(a.draws.confidence, least=-1.0)) for m, e in differences.items()}
    mean = {m: e.mean_interval(a.draws.confidence, least=-1.0) for m, e in differences.items()}
    return Comparison(names, intervals, mean, a.n, a.draws, tuple(dict.fromkeys(a.caveats + b.caveats)))


def probe_difference(a: ProbeTable, b: ProbeTable, *, metric: str = "balanced_accuracy") -> Interval:
    """The headline: mean over attributes of a's metric minus b's, with its paired interval.

    For `a` the trained network's noise and `b` the untrained network's, it is what training adds to a nearly
    invertible map of the image. Chance is 0; an interval that holds 0 leaves the question open.

    Raises:
        ValueError: as `compare`, or an unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
    return compare(a, b, metrics=(metric,)).mean[metric]


def refuse_different_rows(a: ProbeTable, b: ProbeTable, names: tuple[str, ...]) -> None:
    """Raise ValueError that says what two tables do not share, so that their errors cannot be paired."""
    labels_a, labels_b = (t.out_of_fold.labels[:, [t.names.index(name) for name in names]] for t in (a, b))
    same = {
        "rows": a.n == b.n,
        "folds": np.array_equal(a.out_of_fold.folds, b.out_of_fold.folds),
        "groups": np.array_equal(a.units, b.units),
        "labels": np.array_equal(labels_a, labels_b),
        "half-samples": np.array_equal(a.halves, b.halves),
    }
    different = [what for what, equal in same.items() if not equal]
    if different:
        listed = " and ".join(different)
        raise ValueError(f"the two tables differ in {listed}: probe both views on the same rows with the same seed")
