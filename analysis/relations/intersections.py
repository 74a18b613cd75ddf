"""What a shared space is for: probes, neighbours, and "latent intersections" of subsets of views (paper, Figure 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import AnyArray, Draws, Floats, Interval, Result, Scored, Units, namespace, null_columns
from noisezoo.analysis.probes import ProbeTable, probe_table
from .gcca import SharedSpace, gcca
from .maxvar import Maxvar, Sample, aligned_coordinates, blocks_of, training_moments
from .neighbours import nearest, overlap

_MOST_SUBSETS = 64
Subset = tuple[int, ...]
"""Numbers of the views of a shared space."""


def shared_probes(
    space: SharedSpace,
    Y: ArrayLike,
    names: Sequence[str],
    *,
    n_splits: int = 16,
    n_permutations: int = 3,
    confidence: float = 0.95,
) -> ProbeTable:
    """Probe attributes Y (n, k) on the shared coordinates of `gcca`, each row's from maps fitted without its fold.

    The folds, groups and seed are the space's, so that no row helped to fit the map or the probe that scores it. The
    space never sees labels. Intervals are `probe_table`'s, for probes on these coordinates: they take the space as
    given. The other arguments are as in `probe_table`.

    Raises:
        ValueError: as `probe_table`.
    """
    draws: dict[str, Any] = {"n_splits": n_splits, "n_permutations": n_permutations, "confidence": confidence}
    groups, fixed = space.sample.rows.units, space.draws
    return probe_table(space.out_of_fold, Y, names, groups=groups, n_folds=fixed.n_folds, seed=fixed.seed, **draws)


def shared_neighbours(space: SharedSpace, k: int = 10) -> NDArray[np.intp]:
    """The k nearest other rows of each row by cosine of out-of-fold shared coordinates, nearest first: (n, k).

    Out of fold, because maps fit the private noise of the rows that they were fitted on. Rows of one identity are never
    neighbours; -1 stands in where a row has fewer than k others.

    Raises:
        ValueError: k not between 1 and n - 1.
    """
    _refuse_k(k, len(space.shared))
    return nearest(space.out_of_fold, k, space.sample.rows.units)


@dataclass(frozen=True, eq=False)
class Intersections(Result):
    """Shared spaces of subsets of views, and how far each two agree on who is near whom.

    The agreement is the mean share of k nearest neighbours in common, k / (n - 1) by chance. The null permutes the rows
    of every view independently and runs everything again: two subsets with a view in common agree on its private noise
    too, and the null says how much. `p_value` is for each pair alone. Intervals are the whole procedure's: in
    simulation of 300 rows a nominal 95 % held its expectation in 85 to 97 %, least where hardly anything agrees.
    """

    names: tuple[str, ...]  # of the views
    n: int
    dim: int
    spaces: Mapping[Subset, SharedSpace]
    subsets: tuple[str, ...]  # their names
    neighbours: Mapping[Subset, NDArray[np.intp]]  # subset -> (n, k)
    agreement: Mapping[tuple[Subset, Subset], Interval]
    null: Floats  # (permutations, pairs)
    k: int
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a pair of subsets."""
        label = dict(zip(self.spaces, self.subsets, strict=True))
        rows = zip(self.agreement.items(), self.null.T, strict=True)
        return [
            {
                "first": label[a],
                "second": label[b],
                "views_in_common": len(set(a) & set(b)),
                **interval.to_dict(),
                **null_columns(null, (1 - self.draws.confidence) / 2),
                "p_value": float((1 + (null >= interval.estimate).sum()) / (1 + len(null))) if len(null) else np.nan,
            }
            for ((a, b), interval), null in rows
        ]


def intersections(
    views: Sequence[AnyArray],
    dim: int,
    *,
    names: Sequence[str] | None = None,
    subsets: Sequence[Sequence[int]] | None = None,
    k: int = 10,
    ridge: float = 0.0,
    ids: Sequence[ArrayLike] | None = None,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    n_splits: int = 16,
    n_permutations: int = 39,
    confidence: float = 0.95,
    seed: int = 42,
) -> Intersections:
    """The shared space of each subset of views, and the agreement of nearest neighbours between each two of them.

    Time and memory grow with n squared: give a few thousand rows.

    Args:
        views: [(n, d_i)] as for `gcca`.
        dim: shared dimensions of every space.
        names: of the views; their numbers when None.
        subsets: views of each space, two or more; all such subsets when None.
        k: neighbours, by cosine of out-of-fold shared coordinates; half as many in half-samples.
        ridge: as for `gcca`, and so are the following.
        ids: of the images in each view.
        groups: identities.
        n_folds: of the spaces.
        n_splits: for the intervals.
        n_permutations: of the null.
        confidence: of the intervals.
        seed: of all draws.

    Raises:
        ValueError: subsets that are not of two or more different views, fewer than two or more than 64 of them, k out
            of range, or what `gcca` refuses for any subset.
    """
    chosen = _chosen(subsets, len(views))
    labels = tuple(map(str, range(len(views)))) if names is None else tuple(names)
    if len(labels) != len(views):
        raise ValueError(f"{len(labels)} names were given for {len(views)} views")
    settings: dict[str, Any] = {"ridge": ridge, "groups": groups, "n_folds": n_folds, "n_splits": n_splits}
    settings |= {"n_permutations": n_permutations, "confidence": confidence, "seed": seed}
    spaces = {
        s: gcca([views[i] for i in s], dim, ids=None if ids is None else [ids[i] for i in s], **settings)
        for s in chosen
    }
    return _agreement(spaces, labels, k)


def _agreement(spaces: Mapping[Subset, SharedSpace], names: tuple[str, ...], k: int) -> Intersections:
    first = next(iter(spaces.values()))
    _refuse_k(k, first.n)
    sample, problems = _side_by_side(spaces)
    statistic, pairs = _Agreement(problems, k / first.n), tuple(combinations(spaces, 2))
    suffice = all(problem.halves_suffice(first.n, first.draws.n_folds) for problem in problems)
    return Intersections(
        names=names,
        n=first.n,
        dim=first.problem.dim,
        spaces=spaces,
        subsets=tuple(" + ".join(names[i] for i in s) for s in spaces),
        neighbours=dict(zip(spaces, statistic.neighbours(sample.U, sample.rows.folds, sample.rows.units), strict=True)),
        agreement=dict(zip(pairs, sample.intervals(statistic, fit=suffice), strict=True)),
        null=sample.permuted(statistic).reshape(-1, len(pairs)),
        k=k,
        draws=first.draws,
    )


def _side_by_side(spaces: Mapping[Subset, SharedSpace]) -> tuple[Sample, list[Maxvar]]:
    """The whitened views of all spaces, each once, and each space's problem on them."""
    own = {i: space.sample.U[:, b] for s, space in spaces.items() for i, b in zip(s, space.problem.blocks, strict=True)}
    views = {i: own[i] for i in sorted(own)}
    block = dict(zip(views, blocks_of([V.shape[1] for V in views.values()]), strict=True))
    problems = [replace(space.problem, blocks=[block[i] for i in s]) for s, space in spaces.items()]
    first = next(iter(spaces.values())).sample
    U = namespace(first.U).concatenate(list(views.values()), axis=1)
    return replace(first, U=U, blocks=list(block.values())), problems


@dataclass(frozen=True, slots=True, eq=False)
class _Agreement:
    """Neighbours in common between each two spaces, as a statistic of whitened views."""

    problems: Sequence[Maxvar]
    share: float  # k / n: neighbourhoods hold the same share of the rows whatever their number

    def neighbours(self, U: AnyArray, folds: Units, units: Units) -> list[NDArray[np.intp]]:
        moments, k = list(training_moments(U, folds)), max(1, round(self.share * len(folds)))
        return [nearest(aligned_coordinates(p, U, moments).astype(np.float32), k, units) for p in self.problems]

    def __call__(self, U: AnyArray, folds: Units, units: Units) -> Scored:
        common = np.stack([overlap(a, b) for a, b in combinations(self.neighbours(U, folds, units), 2)], axis=1)
        value = common.mean(axis=0)
        return value, (common - value) / len(common)


def _chosen(subsets: Sequence[Sequence[int]] | None, views: int) -> list[Subset]:
    sizes = range(2, views + 1)
    every = [s for size in sizes for s in combinations(range(views), size)] if subsets is None else subsets
    chosen = [tuple(s) for s in every]
    for s in chosen:
        if len(s) < 2 or len(set(s)) < len(s) or not set(s) <= set(range(views)):
            raise ValueError(f"a subset must be two or more different views of 0 to {views - 1}, not {s}")
    if not 2 <= len(set(chosen)) <= _MOST_SUBSETS or len(set(chosen)) < len(chosen):
        raise ValueError(f"give 2 to {_MOST_SUBSETS} different subsets of views, not {len(chosen)}")
    return chosen


def _refuse_k(k: int, n: int) -> None:
    if not 1 <= k < n:
        raise ValueError(f"k must lie between 1 and {n - 1}, not {k}")
