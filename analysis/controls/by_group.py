"""How well one view predicts others, in groups of them, such as encoders by what they were trained for."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import (
    AnyArray,
    Draws,
    Floats,
    Measured,
    Resampling,
    Result,
    Scored,
    Units,
    same_rows,
    to_numpy,
)
from noisezoo.analysis.relations import RIDGES, Source, cut, explained, regress


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

    `targets` are name -> rows (n, e), and `group_of` name -> its group. `groups` (n,) are identities; they and the
    draws are as in `Draws`.

    Raises:
        ValueError: no target, or what `same_rows` and `Resampling` refuse.
    """
    if not targets:
        raise ValueError("give at least one target")
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    given = [("X", X), ("the baseline", baseline)][: 1 if baseline is None else 2]
    views = list(map(to_numpy, same_rows([*given, *targets.items()])))
    sources, found = views[: len(given)], dict(zip(targets, views[len(given) :], strict=True))
    names = list(dict.fromkeys(group_of[name] for name in found))
    of = [[k for k, name in enumerate(found) if group_of[name] == group] for group in names]
    rows = Resampling.of(len(views[0]), groups, draws)

    def score(first: Units, others: Units) -> Scored:
        """Of targets' rows (m,) with rows (m,) of what predicts them."""
        cuts = [cut(A[others], rows.folds[others]) for A in sources]
        each = [[_r2(one, Y[first]) for Y in found.values()] for one in cuts]
        values = np.array([[value for value, _ in line] for line in each])  # (sources, targets)
        influences = np.array([[influence for _, influence in line] for line in each])  # (sources, targets, m)
        return np.array(_columns(values, of)), np.stack(_columns(influences, of), axis=-1)

    null = (score(order, rows.parts[0])[0] for order in rows.orders(16))
    measured = iter(rows.measured((score(some, some) for some in rows.parts), null, most=np.inf))
    measures = ("r2", "r2 of the baseline", "gain")[: 3 if baseline is not None else 1]
    listed = [(group, "", measure, len(those), next(measured)) for measure in measures
              for group, those in zip(names, of, strict=True)]  # fmt: skip
    pairs = [(a, b, measures[-1], 0, next(measured)) for a, b in combinations(names, 2)]
    return ByGroup((*listed, *pairs), len(views[0]), draws)


def _r2(source: Source, Y: AnyArray) -> tuple[float, Floats]:
    """Held-out R2 of ridge from a source to Y (m, e) at the strengths that other folds choose, and influences (m,)."""
    fitted = regress(source, Y)
    predicted, truth = fitted.out_of_fold(fitted.choose(RIDGES))
    errors, spreads = (np.square(A).sum(axis=1, dtype=np.float64) for A in (predicted - truth, truth))
    return explained(errors, spreads)


def _columns(values: Floats, of: list[list[int]]) -> list[Any]:
    """Means of groups by source, then the gains, then differences of groups; (sources, targets, ...) -> a list."""
    means = [[source[those].mean(axis=0) for those in of] for source in values]
    gains = means[0] if len(means) == 1 else [x - b for x, b in zip(*means, strict=True)]
    listed = [one for line in means for one in line] + (gains if len(means) > 1 else [])
    return [*listed, *(a - b for a, b in combinations(gains, 2))]
