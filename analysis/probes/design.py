"""What a cross-validated study fixes before it sees a view: folds, half-samples, attributes and shuffled copies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import Floats, as_labels, assign_folds
from noisezoo.analysis.probes.halves import half_samples


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """A function of labels, groups and seed only, so that views of the same rows can be compared in pairs."""

    names: tuple[str, ...]  # (k,) attributes that can be probed
    refused: Mapping[str, str]  # attribute -> why it cannot
    Y: Floats  # (n, k)
    folds: NDArray[np.intp]  # (n,)
    halves: NDArray[np.bool_]  # (splits, n)
    groups: NDArray[Any] | None  # (n,)
    seed: int

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
    ) -> "Design":
        """The design for n rows and labels Y (n, k), zeros and ones, which errors call `what`.

        Raises:
            ValueError: what `as_labels`, `assign_folds` and `half_samples` refuse.
        """
        labels = as_labels(Y, what, rows=n, names=names)
        units = None if groups is None else np.asarray(groups)
        folds = assign_folds(n, n_folds, seed=seed, groups=units)
        halves = half_samples(folds, n_splits, seed=seed, groups=units)
        refused = refusals(labels, names, folds)
        probed = np.array([name not in refused for name in names], dtype=np.bool_)
        kept = tuple(name for name in names if name not in refused)
        return cls(kept, refused, labels[:, probed], folds, halves, units, seed)

    def on(self, kept: NDArray[np.bool_]) -> "Design":
        """The same design with the attributes that can be cross-validated on `kept` rows (n,)."""
        refused = refusals(self.Y[kept], self.names, self.folds[kept])
        columns = np.array([name not in refused for name in self.names], dtype=np.bool_)
        names = tuple(name for name in self.names if name not in refused)
        return replace(self, names=names, refused={**self.refused, **refused}, Y=self.Y[:, columns])

    def shuffled(self, times: int) -> list[Floats]:
        """Copies of Y with its rows permuted, attributes together: what is left of them is their rates."""
        rng = np.random.default_rng([self.seed, 1])
        return [self.Y[rng.permutation(len(self.Y))] for _ in range(times)]


def refusals(Y: Floats, names: Sequence[str], folds: NDArray[np.intp]) -> dict[str, str]:
    """Attribute of Y (n, k) -> why it cannot be cross-validated over `folds` (n,); those that can are left out."""
    reasons = {name: _refusal(Y[:, j], folds) for j, name in enumerate(names)}
    return {name: reason for name, reason in reasons.items() if reason}


def _refusal(y: Floats, folds: NDArray[np.intp]) -> str | None:
    n_folds = int(folds.max()) + 1
    positives, negatives = int(y.sum()), int((1 - y).sum())
    if not positives or not negatives:
        return f"one class only: all {len(y)} rows are {int(y[0])}"
    if min(positives, negatives) < 2 * n_folds:
        return f"{positives} positives and {negatives} negatives: {n_folds} folds need {2 * n_folds} of each"
    for kind, rows in (("positives", y > 0), ("negatives", y == 0)):
        if len(np.unique(folds[rows])) == 1:
            return f"all {kind} lie in one fold: its groups cannot be kept apart; use fewer or smaller groups"
    return None
