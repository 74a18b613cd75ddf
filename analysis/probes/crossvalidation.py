"""Cross-validation as one procedure: choose strengths, score out of fold, repeat on halves and on shuffled labels.

What is fixed before a view is seen (folds, half-samples, attributes, shuffled copies) is a `Design`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Estimate,
    Floats,
    Units,
    as_labels,
    assign_folds,
    chosen,
    constant_columns,
    half_samples,
    shuffled,
    units_of,
    units_with,
)
from noisezoo.analysis.probes import path
from .logistic import Array, minimise
from .metrics import EVERY, METRICS, Metric, OutOfFold, Scores, r2


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of label: how its probes are searched for and fitted, and what they are measured by."""

    search: Callable[[AnyArray, Floats, NDArray[np.intp]], path.Search]
    fit: Callable[..., tuple[Array, Array]]
    metrics: Mapping[str, Metric]
    binary: bool


CLASSIFICATION = Task(path.search_path, minimise, METRICS, True)
REGRESSION = Task(path.search_ridge, path.fit_ridge, {"r2": r2}, False)


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """A function of labels, groups and seed only, so that views of the same rows can be compared in pairs."""

    names: tuple[str, ...]  # (k,) attributes that can be probed
    refused: Mapping[str, str]  # attribute -> why it cannot
    Y: Floats  # (n, k)
    folds: NDArray[np.intp]  # (n,)
    halves: NDArray[np.bool_]  # (splits, n)
    units: Units  # (n,) of chance: rows, or groups
    seed: int
    task: Task = CLASSIFICATION

    @classmethod
    def of(
        cls, n: int, Y: ArrayLike, names: Sequence[str], groups: ArrayLike | None, *,
        n_folds: int, n_splits: int, seed: int, what: str = "Y", task: Task = CLASSIFICATION,
    ) -> "Design":  # fmt: skip
        """The design for n rows and labels Y (n, k), which errors call `what`: zeros and ones, or numbers to regress.

        Raises:
            ValueError: what `as_labels`, `assign_folds` and `half_samples` refuse.
        """
        labels = as_labels(Y, what, rows=n, names=names, binary=task.binary)
        units = units_of(n, groups)
        folds = assign_folds(n, n_folds, seed=seed, groups=units)
        halves = half_samples(folds, n_splits, seed=seed, groups=units)
        if task.binary:
            return cls(tuple(names), {}, labels, folds, halves, units, seed, task).on(np.ones(n, dtype=np.bool_))
        constant = {names[j]: f"all {n} rows are {labels[0, j]:g}" for j in constant_columns(labels)}
        # In standard deviations, so that single precision holds predictions.
        labels = (labels - labels.mean(axis=0)) / np.where([name in constant for name in names], 1, labels.std(axis=0))
        return cls(tuple(names), {}, labels, folds, halves, units, seed, task)._without(constant)

    def on(self, kept: NDArray[np.bool_]) -> "Design":
        """The same design with the attributes that can be cross-validated on `kept` rows (n,).

        Classes are counted in units: ten pictures of one person are one example of what that person has.
        """
        Y, folds, units = self.Y[kept], self.folds[kept], self.units[kept]
        held, count = units_with(units, Y), len(np.unique(units))
        reasons = {name: _refusal(Y[:, j], folds, held[:, j], count) for j, name in enumerate(self.names)}
        return self._without({name: reason for name, reason in reasons.items() if reason})

    def _without(self, refused: Mapping[str, str]) -> "Design":
        kept = [name for name in self.names if name not in refused]
        columns = np.array([name not in refused for name in self.names], dtype=np.bool_)
        return replace(self, names=tuple(kept), refused={**self.refused, **refused}, Y=self.Y[:, columns])


def _refusal(y: Floats, folds: NDArray[np.intp], held: NDArray[np.intp], units: int) -> str | None:
    n_folds, (negatives, positives) = int(folds.max()) + 1, held.tolist()
    if not positives or not negatives:
        return f"one class only: all {len(y)} rows are {int(y[0])}"
    if min(positives, negatives) < 2 * n_folds:
        said = f"{positives} positives and {negatives} negatives"
        said = said if units == len(y) else f"positives in {positives} and negatives in {negatives} of {units} groups"
        return f"{said}: {n_folds} folds need {2 * n_folds} of each"
    for kind, rows in (("positives", y > 0), ("negatives", y == 0)):
        if len(np.unique(folds[rows])) == 1:
            return f"all {kind} lie in one fold: its groups cannot be kept apart; use fewer or smaller groups"
    return None


def half_logits(
    T: AnyArray, design: Design, C: Floats, whole: path.Fits, kept: NDArray[np.bool_] | None = None
) -> Array:
    """Logits (n_splits, n, k) of every row of T (n, r) out of fold, from probes fitted on its own half of each split.

    Args:
        T: scaled principal scores.
        design: Labels, folds, which a half shares with the whole, and halves.
        C: (folds, k) strengths, kept as chosen on all rows: the prior variance of a logit, at any number of rows.
        whole: fits of the same folds on all rows, to begin from.
        kept: (n,) rows that may be fitted on, all when None; every row is scored.
    """
    Y, folds = design.Y, design.folds
    logits = np.empty((len(design.halves), *Y.shape), np.float32)
    for split, half in enumerate(design.halves):
        for rows in (half, ~half):
            own = rows if kept is None else rows & kept
            fits = path.fit_without_each_fold(chosen(T, own), Y[own], folds[own], C, whole, design.task.fit)
            logits[split, rows] = path.held_out_logits(chosen(T, rows), folds[rows], fits)
    return logits


def estimate(metric: str, o: OutOfFold, halves: NDArray[np.bool_], logits: Array, units: Units) -> Estimate:
    """A metric on all rows `o`, and in halves (splits, n) by their logits (splits, n, k)."""
    scores = [EVERY[metric](o), *(_contrast(metric, o, *split) for split in zip(halves, logits, strict=True))]
    influence = np.zeros((len(scores), int(units.max()) + 1, o.labels.shape[1]), np.float32)
    for total, (_, of_row) in zip(influence, scores, strict=True):
        np.add.at(total, units, of_row)
    return Estimate(np.array([value for value, _ in scores]), influence)


def _contrast(metric: str, o: OutOfFold, half: NDArray[np.bool_], logits: Array) -> Scores:
    a, b = (EVERY[metric](o.part(rows, logits[rows])) for rows in (half, ~half))
    influence = np.empty_like(o.labels)
    influence[half], influence[~half] = a[1] / 2, -b[1] / 2
    return (a[0] - b[0]) / 2, influence


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What the procedure gave for the k attributes of a design."""

    out_of_fold: OutOfFold
    half_logits: Array  # (splits, n, k)
    estimates: Mapping[str, Estimate]  # metric -> k attributes
    null: Mapping[str, Floats]  # metric -> (permutations, k)
    C: Floats  # (folds, k) for T


def cross_validate(T: AnyArray, design: Design, n_permutations: int, kept: NDArray[np.bool_] | None = None) -> Scored:
    """Run a design on scaled principal scores T (n, r), float32, numpy or torch.

    Probes, strengths and priors come from the `kept` rows (n,) alone, all when None; every row is scored. Shuffled
    copies of the labels go through the same search, beside the labels themselves.
    """
    kept = np.ones(len(T), dtype=np.bool_) if kept is None else kept
    folds, k, task = design.folds, len(design.names), design.task
    orders = shuffled(design.units, n_permutations, np.random.default_rng([design.seed, 1]))
    copies = np.hstack([design.Y, *(design.Y[order] for order in orders)])
    search = task.search(chosen(T, kept), copies[kept], folds[kept])
    found = OutOfFold.of(path.held_out_logits(T, folds, search.fits), copies, folds, kept, task.binary)
    real, *permuted = (found.take(block) for block in np.split(np.arange(copies.shape[1]), 1 + n_permutations))
    C, whole = search.C[:, :k], [(w[:, :k], b[:k]) for w, b in search.fits]
    logits = half_logits(T, design, C, whole, kept)
    estimates = {metric: estimate(metric, real, design.halves, logits, design.units) for metric in task.metrics}
    null = {m: np.array([run(o)[0] for o in permuted]).reshape(n_permutations, k) for m, run in task.metrics.items()}
    return Scored(real, logits, estimates, null, C)
