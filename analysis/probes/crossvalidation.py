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
from noisezoo.analysis.probes.logistic import Array
from noisezoo.analysis.probes.metrics import EVERY, METRICS, Metric, OutOfFold, Scores, r2
from noisezoo.analysis.probes.path import (
    Fits,
    Search,
    fit_logistic,
    fit_without_each_fold,
    held_out_logits,
    search_path,
)
from noisezoo.analysis.probes.regression import fit_ridge, search_ridge


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of label: how its probes are searched for and fitted, and what they are measured by."""

    search: Callable[[AnyArray, Floats, NDArray[np.intp]], Search]
    fit: Callable[..., tuple[Array, Array]]
    metrics: Mapping[str, Metric]
    binary: bool


CLASSIFICATION = Task(search_path, fit_logistic, METRICS, True)
REGRESSION = Task(search_ridge, fit_ridge, {"r2": r2}, False)


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
        cls,
        n: int,
        Y: ArrayLike,
        names: Sequence[str],
        groups: ArrayLike | None,
        *,
        n_folds: int,
        n_splits: int,
        seed: int,
        what: str = "Y",
        task: Task = CLASSIFICATION,
    ) -> "Design":
        """The design for n rows and labels Y (n, k), which errors call `what`: zeros and ones, or numbers to regress.

        Raises:
            ValueError: what `as_labels`, `assign_folds` and `half_samples` refuse.
        """
        labels = as_labels(Y, what, rows=n, names=names, binary=task.binary)
        units = units_of(n, groups)
        folds = assign_folds(n, n_folds, seed=seed, groups=units)
        halves = half_samples(folds, n_splits, seed=seed, groups=units)
        refused = refusals(labels, names, folds, units) if task.binary else _constant(labels, names)
        probed = np.array([name not in refused for name in names], dtype=np.bool_)
        kept = tuple(name for name in names if name not in refused)
        if not task.binary:  # in standard deviations, so that single precision holds predictions
            labels = (labels - labels.mean(axis=0)) / np.where(probed, labels.std(axis=0), 1)
        return cls(kept, refused, labels[:, probed], folds, halves, units, seed, task)

    def on(self, kept: NDArray[np.bool_]) -> "Design":
        """The same design with the attributes that can be cross-validated on `kept` rows (n,)."""
        refused = refusals(self.Y[kept], self.names, self.folds[kept], self.units[kept])
        columns = np.array([name not in refused for name in self.names], dtype=np.bool_)
        names = tuple(name for name in self.names if name not in refused)
        return replace(self, names=names, refused={**self.refused, **refused}, Y=self.Y[:, columns])

    def shuffled(self, times: int) -> list[Floats]:
        """Copies of Y with its rows, or groups, permuted, attributes together: what is left of them is their rates."""
        return [self.Y[order] for order in shuffled(self.units, times, np.random.default_rng([self.seed, 1]))]


def _constant(Y: Floats, names: Sequence[str]) -> dict[str, str]:
    return {names[j]: f"all {len(Y)} rows are {Y[0, j]:g}" for j in constant_columns(Y)}


def refusals(Y: Floats, names: Sequence[str], folds: NDArray[np.intp], units: Units) -> dict[str, str]:
    """Attribute of Y (n, k) -> why it cannot be cross-validated over `folds` (n,); those that can are left out.

    Classes are counted in `units` (n,): ten pictures of one person are one example of what that person has.
    """
    held, count = units_with(units, Y), len(np.unique(units))
    reasons = {name: _refusal(Y[:, j], folds, held[:, j], count) for j, name in enumerate(names)}
    return {name: reason for name, reason in reasons.items() if reason}


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
    T: AnyArray,
    Y: Floats,
    folds: NDArray[np.intp],
    C: Floats,
    halves: NDArray[np.bool_],
    whole: Fits,
    kept: NDArray[np.bool_],
    fit: Callable[..., tuple[Array, Array]] = fit_logistic,
) -> Array:
    """Logits (n_splits, n, k) of every row out of fold, from probes fitted on its own half of each split.

    Args:
        T: (n, r) scaled principal scores.
        Y: (n, k) labels.
        folds: (n,) the same on a half as on the whole.
        C: (folds, k) strengths, kept as chosen on all rows: the prior variance of a logit, at any number of rows.
        halves: (n_splits, n) as `half_samples` gives them.
        whole: fits of the same folds on all rows, to begin from.
        kept: (n,) rows that may be fitted on; every row is scored.
        fit: how: rows, labels, strengths and a start to weights (r, k) and intercepts (k,).
    """
    logits = np.empty((len(halves), *Y.shape), np.float32)
    for split, half in enumerate(halves):
        for rows in (half, ~half):
            trained = rows & kept
            fits = fit_without_each_fold(chosen(T, trained), Y[trained], folds[trained], C, whole, fit)
            logits[split, rows] = held_out_logits(chosen(T, rows), folds[rows], fits)
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

    Probes, strengths and priors come from the `kept` rows (n,) alone, all when None; every row is scored.
    """
    kept = np.ones(len(T), dtype=np.bool_) if kept is None else kept
    (real, *permuted), search = _score(T, [design.Y, *design.shuffled(n_permutations)], design, kept)
    k = len(design.names)
    C, whole = search.C[:, :k], [(w[:, :k], b[:k]) for w, b in search.fits]
    logits = half_logits(T, design.Y, design.folds, C, design.halves, whole, kept, design.task.fit)
    metrics = design.task.metrics
    estimates = {metric: estimate(metric, real, design.halves, logits, design.units) for metric in metrics}
    null = {m: np.array([run(o)[0] for o in permuted]).reshape(n_permutations, k) for m, run in metrics.items()}
    return Scored(real, logits, estimates, null, C)


def _score(
    T: AnyArray, copies: Sequence[Floats], design: Design, kept: NDArray[np.bool_]
) -> tuple[list[OutOfFold], Search]:
    """Every copy of Y (n, k) out of fold, at the strengths that the other folds choose; columns in one search."""
    Y = np.hstack(copies)
    search, folds = design.task.search(chosen(T, kept), Y[kept], design.folds[kept]), design.folds
    found = OutOfFold.of(held_out_logits(T, folds, search.fits), Y, folds, kept, design.task.binary)
    columns = np.split(np.arange(Y.shape[1]), len(copies))
    return [found.take(block) for block in columns], search
