"""Cross-validated probes of every attribute on a view, and of two views in pairs: intervals by halves, and a null."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Draws,
    Estimate,
    Floats,
    Interval,
    Result,
    Units,
    as_array,
    caveats,
    null_columns,
    null_of_draws,
    null_of_rates,
    single,
    to_numpy,
)
from .crossvalidation import CLASSIFICATION, REGRESSION, Design, Task, cross_validate, estimate
from .logistic import Array
from .metrics import METRICS, OutOfFold
from .path import scaled_frame


@dataclass(frozen=True, slots=True, eq=False)
class ProbeTable(Result):
    """What `probe_table` found on one view.

    Intervals are for the whole procedure: what other images of the same kind (or other `groups`) would give, as
    training and as test rows (`core.halves`). In simulated studies of 300 and 800 rows a nominal 95 % held the
    procedure's expected mean over attributes, and its paired difference, in 92 to 99 %, where variances given the
    fitted probes held as little as 81 %. They err towards wide, up to 100 %, where half the rows learn much
    less than all do.
    """

    names: tuple[str, ...]  # (k,) attributes that were probed
    refused: Mapping[str, str]  # attribute -> why it was not
    intervals: Mapping[str, tuple[Interval, ...]]  # metric -> (k,)
    mean: Mapping[str, Interval]  # metric -> mean over attributes
    null: Mapping[str, Floats]  # metric -> (permutations, k)
    out_of_fold: OutOfFold
    halves: NDArray[np.bool_]  # (splits, n) rows of the first half-sample of each split
    half_logits: Array  # (splits, n, k) out of fold, from probes fitted on the row's own half
    C: Floats  # (folds, k) scikit-learn's, for X as given
    units: Units  # (n,) of chance: rows, or groups
    n: int
    d: int
    draws: Draws
    caveats: tuple[str, ...]

    def interval(self, name: str, metric: str = "balanced_accuracy") -> Interval:
        """One attribute's interval; KeyError, with the reason, when it was refused or is unknown."""
        if name not in self.names:
            raise KeyError(f"{name!r} was not probed: {self.refused.get(name, 'no such attribute')}")
        return self.intervals[metric][self.names.index(name)]

    def estimate(self, metric: str, names: Sequence[str]) -> Estimate:
        """A metric of some attributes with what its interval comes from; linear, so that two tables subtract."""
        columns = np.array([self.names.index(name) for name in names], dtype=np.intp)
        logits = self.half_logits[:, :, columns]
        return estimate(metric, self.out_of_fold.take(columns), self.halves, logits, self.units)

    def records(self) -> list[dict[str, Any]]:
        """One dictionary an attribute and metric, then one a metric for the mean over attributes."""
        binary = self.out_of_fold.binary
        rates = self.out_of_fold.labels.mean(axis=0) if binary else np.full(len(self.names), np.nan)
        rows = [
            _record(name, metric, float(rates[j]), self.intervals[metric][j], self.null[metric][:, j])
            for j, name in enumerate(self.names)
            for metric in self.intervals
        ]
        means = {m: null.mean(axis=1) if self.names else np.empty(0) for m, null in self.null.items()}
        return rows + [_record("mean", m, float("nan"), self.mean[m], means[m]) for m in self.mean]


def _record(attribute: str, metric: str, rate: float, interval: Interval, null: Floats) -> dict[str, Any]:
    law = null_of_draws if metric == "r2" else null_of_rates
    found = null_columns(null) | {"p_value": law(interval.estimate, null).p_value}
    rates = {"positive_rate": rate, "majority_rate": max(rate, 1 - rate)}
    return {"attribute": attribute, "metric": metric, **asdict(interval), **found, **rates}


def probe_table(
    X: AnyArray, Y: ArrayLike, names: Sequence[str], *, groups: ArrayLike | None = None, n_folds: int = 5,
    seed: int = 42, n_splits: int = 16, n_permutations: int = 3, confidence: float = 0.95,
) -> ProbeTable:  # fmt: skip
    """Probe every attribute of Y (n, k), zeros and ones, on a view X (n, d), numpy or torch, out of fold.

    Every row is scored by probes that were fitted without its fold. C is chosen for each attribute and fold by
    held-out log-loss on the *other* folds, among the strengths of `fit_probes`. Folds depend on (n, groups, seed)
    alone: views of the same rows share them and can be compared in pairs with `compare` and `probe_difference`.

    The null sends Y with its rows permuted, attributes together, through the same folds, path and metrics.

    Y is given with k `names`. `groups` and the draws are as in `Draws`: shuffled copies of Y, of which 0 leave the null
    NaN.

    Returns:
        The table; an attribute with one class, with fewer than 2 n_folds rows or groups of a class, or with a
        class in one fold only, is in `.refused` with its reason and nowhere else.

    Raises:
        ValueError: what `as_matrix`, `as_labels`, `assign_folds` and `half_samples` refuse, or a constant X.
    """
    return _table(X, Y, names, groups, CLASSIFICATION, Draws(n_folds, n_splits, n_permutations, 0, confidence, seed))


def regression_table(
    X: AnyArray, Y: ArrayLike, names: Sequence[str], *, groups: ArrayLike | None = None, n_folds: int = 5,
    seed: int = 42, n_splits: int = 16, n_permutations: int = 3, confidence: float = 0.95,
) -> ProbeTable:  # fmt: skip
    """`probe_table` for continuous labels Y (n, k), such as the factors a face was drawn from: ridge probes and R2.

    R2 is the share of a label's variance, about the mean of the rows that were fitted on, that is predicted out of
    fold: 0 for a view that tells nothing, or a little below. C is 1 / alpha of scikit-learn's Ridge. Labels with one
    value are refused, and those of `out_of_fold` are standardised. All else, errors too, is as in `probe_table`.
    """
    return _table(X, Y, names, groups, REGRESSION, Draws(n_folds, n_splits, n_permutations, 0, confidence, seed))


def _table(
    X: AnyArray, Y: ArrayLike, names: Sequence[str], groups: ArrayLike | None, task: Task, draws: Draws
) -> ProbeTable:
    X = as_array(X)
    design = Design.of(
        len(X), Y, names, groups, n_folds=draws.n_folds, n_splits=draws.n_splits, seed=draws.seed, task=task
    )
    T, scale, _ = scaled_frame(X)
    found = cross_validate(single(T), design, draws.n_permutations)
    intervals, mean = _intervals(found.estimates, draws.confidence, 0.0 if task.binary else -np.inf)
    return ProbeTable(
        design.names, design.refused, intervals, mean, found.null, found.out_of_fold, design.halves, found.half_logits,
        found.C / scale**2, design.units, len(X), X.shape[1], draws, caveats(to_numpy(X), design.folds),
    )  # fmt: skip


def _intervals(
    estimates: Mapping[str, Estimate], confidence: float, least: float
) -> tuple[dict[str, tuple[Interval, ...]], dict[str, Interval]]:
    """By metric: of each attribute, and of their mean."""
    each = {m: tuple(e.intervals(confidence, least=least)) for m, e in estimates.items()}
    return each, {m: e.mean_interval(confidence, least=least) for m, e in estimates.items()}


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
        rows = [(name, m, found[j]) for j, name in enumerate(self.names) for m, found in self.intervals.items()]
        rows += [("mean", metric, interval) for metric, interval in self.mean.items()]
        return [{"attribute": name, "metric": metric, **interval.to_dict()} for name, metric, interval in rows]


def compare(a: ProbeTable, b: ProbeTable, *, metrics: tuple[str, ...] = tuple(METRICS)) -> Comparison:
    """Differences a - b over the attributes that both tables hold, with paired intervals.

    Both tables were refitted on the same half-samples, so that what makes images easy or hard for both cancels, as
    training and as test rows. The intervals are for the whole procedure, as `ProbeTable` says.

    Raises:
        ValueError: tables of different rows, folds, groups, labels or half-samples, or with no attribute in common.
    """
    return contrast((a,), (b,), metrics)


def contrast(plus: Sequence[ProbeTable], minus: Sequence[ProbeTable], metrics: Sequence[str]) -> Comparison:
    """The sum of some tables less that of others, over the attributes that all hold; all else is as in `compare`."""
    first, *_ = tables = (*plus, *minus)
    names = shared_names(tables)

    def total(metric: str, tables: Sequence[ProbeTable]) -> Estimate:
        return reduce(Estimate.__add__, (table.estimate(metric, names) for table in tables))

    differences = {metric: total(metric, plus) - total(metric, minus) for metric in metrics}
    found = _intervals(differences, first.draws.confidence, -1.0)
    said = dict.fromkeys(caveat for table in tables for caveat in table.caveats)
    return Comparison(names, *found, first.n, first.draws, tuple(said))


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


def shared_names(tables: Sequence[ProbeTable]) -> tuple[str, ...]:
    """The attributes that all tables hold; ValueError where there is none, or where their rows differ."""
    first, *others = tables
    names = tuple(name for name in first.names if all(name in table.names for table in others))
    if not names:
        raise ValueError("the tables have no attribute in common: there is nothing to compare")
    for table in others:
        refuse_different_rows(first, table, names)
    return names


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
