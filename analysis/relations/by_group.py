"""How well one view predicts others, in groups of them, such as encoders by what they were trained for."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import Draws, Floats, Measured, Result, Scored, Units, as_matrix
from .pair_scores import Halved, r2_of
from .ridge import cut
from .stitch import as_target


@dataclass(frozen=True, eq=False)
class ByGroup(Result):
    """Mean held-out R2 of each group of targets, and by how much groups differ in it."""

    rows: tuple[tuple[str, str, str, int, Measured], ...]  # group, against, measure, number of targets, what was found
    n: int
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary for each group and measure, then one for each pair of groups, which are `against` another."""
        return [{"group": group, "against": against, "targets": count, **found.row(measure)}
                for group, against, measure, count, found in self.rows]  # fmt: skip


def r2_by_group(
    X: ArrayLike,
    targets: Mapping[str, ArrayLike],
    group_of: Mapping[str, str],
    *,
    baseline: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    n_splits: int = 8,
    n_permutations: int = 10,
    confidence: float = 0.95,
    seed: int = 42,
) -> ByGroup:
    """Mean R2 of ridge from X (n, d) to the targets of each group, on rows that no map was fitted on.

    With a `baseline` (n, d'), such as the noise of the network before training, also its R2, and what X has beyond it
    (`gain`). Groups are compared by their gain, or without a baseline by their R2: encoders are linear in the picture
    to different degrees, which a gain leaves out.

    Intervals are by half-samples, for these targets: they say nothing of other targets of the same groups. The null
    pairs the rows of the targets with those of X and the baseline at random.

    Args:
        X: rows of the view that predicts.
        targets: name -> (n, e).
        group_of: name -> its group.
        baseline: rows of another view that predicts.
        groups: (n,) identities: a group never straddles folds or halves, and is permuted whole.
        n_folds: folds.
        n_splits: splits in halves for the intervals, also their degrees of freedom.
        n_permutations: of the null; below 2 NaN.
        confidence: of the intervals.
        seed: decides folds, halves and permutations.

    Raises:
        ValueError: no target, different numbers of rows, a view whose rows are all equal, or what `as_matrix` and
            `assign_folds` refuse.
    """
    if not targets:
        raise ValueError("give at least one target")
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    sources = [as_matrix(A, name) for name, A in (("X", X), ("the baseline", baseline)) if A is not None]
    if len({len(A) for A in sources}) > 1:
        raise ValueError(f"X has {len(sources[0])} rows and the baseline {len(sources[1])}: give the same images")
    rows = {name: as_target(Y, sources[0], name) for name, Y in targets.items()}
    names = list(dict.fromkeys(group_of[name] for name in rows))
    of = [[k for k, name in enumerate(rows) if group_of[name] == group] for group in names]
    plan = Halved.of(len(sources[0]), groups, draws)

    def scored(first: Units, others: Units) -> Scored:
        folds = plan.folds[others]
        cuts = [cut(A[others], folds) for A in sources]
        each = [[r2_of(one, Y[first]) for Y in rows.values()] for one in cuts]
        values = np.array([[value for value, _ in line] for line in each])  # (sources, targets)
        influences = np.array([[influence for _, influence in line] for line in each])  # (sources, targets, m)
        return _combined(values, of), np.stack(_columns(influences, of), axis=-1)

    found = iter(plan.measured(scored, len(sources[0])))
    measures = ("r2", "r2 of the baseline", "gain")[: 3 if baseline is not None else 1]
    listed = [(group, "", measure, len(those), next(found)) for measure in measures
              for group, those in zip(names, of, strict=True)]  # fmt: skip
    pairs = [(a, b, measures[-1], 0, next(found)) for a, b in combinations(names, 2)]
    return ByGroup((*listed, *pairs), len(sources[0]), draws)


def _combined(values: Floats, of: list[list[int]]) -> Floats:
    return np.array(_columns(values, of))


def _columns(values: Floats, of: list[list[int]]) -> list[Any]:
    """Means of groups by source, then the gains, then differences of groups; (sources, targets, ...) -> a list."""
    means = [[source[those].mean(axis=0) for those in of] for source in values]
    gains = means[0] if len(means) == 1 else [x - b for x, b in zip(*means, strict=True)]
    listed = [one for line in means for one in line] + (gains if len(means) > 1 else [])
    return [*listed, *(a - b for a, b in combinations(gains, 2))]
