"""Alignment of views: do two arrays of the same images have one geometry, whatever their axes and scale?"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Estimate,
    Floats,
    Measured,
    Null,
    Result,
    as_array,
    assign_folds,
    cast,
    half_samples,
    interval_of_influences,
    like,
    namespace,
    null_of_draws,
    null_of_moments,
    null_of_rates,
    to_numpy,
    units_of,
)
from noisezoo.analysis.relations.cka import LinearKernel, cka_null, unbiased_cka
from noisezoo.analysis.relations.neighbours import Neighbours, among, nearest, overlap, permuted_overlaps
from noisezoo.analysis.relations.svcca import PROCRUSTES, SVCCA, Measure, held_out, leading_scores

MEASURES = ("cka", "mutual_knn", "svcca", "procrustes")
_SHARE = 0.99  # of the variance that SVCCA and Procrustes keep, as SVCCA's authors do


@dataclass(frozen=True, slots=True, eq=False)
class Alignment(Result):
    """Four measures of one pair of views, each with its interval and the null of shuffled rows."""

    cka: Measured
    mutual_knn: Measured
    svcca: Measured
    procrustes: Measured
    n: int  # rows that were used
    rows: int  # rows that were given
    k: int
    axes: tuple[int, int]  # kept of each view by SVCCA and Procrustes
    n_folds: int
    n_splits: int
    n_permutations: int
    confidence: float
    seed: int
    caveats: tuple[str, ...]

    def settings(self) -> dict[str, Any]:
        """Rows, neighbours, axes, folds, splits, seed and caveats."""
        keys = ("n", "rows", "k", "axes", "n_folds", "n_splits", "n_permutations", "confidence", "seed")
        return {**{key: getattr(self, key) for key in keys}, "caveats": list(self.caveats)}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a measure: estimate, interval, null and p-value."""
        return [getattr(self, measure).row(measure) for measure in MEASURES]


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentMatrix(Result):
    """The alignment of every pair of views."""

    names: tuple[str, ...]
    pairs: Mapping[tuple[str, str], Alignment]

    def matrix(self, measure: str) -> Floats:
        """Estimates (v, v) of one of MEASURES, symmetric, with ones on the diagonal."""
        found = np.eye(len(self.names))
        for (a, b), alignment in self.pairs.items():
            i, j = self.names.index(a), self.names.index(b)
            found[i, j] = found[j, i] = getattr(alignment, measure).estimate
        return found

    def settings(self) -> dict[str, Any]:
        """What the pairs have in common, and the caveats of all."""
        shared = next(iter(self.pairs.values())).settings()
        caveats = dict.fromkeys(sentence for pair in self.pairs.values() for sentence in pair.caveats)
        return {**{key: value for key, value in shared.items() if key != "axes"}, "caveats": list(caveats)}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a pair and measure."""
        return [{"a": a, "b": b, **row} for (a, b), pair in self.pairs.items() for row in pair.records()]


def alignment(X: AnyArray, Y: AnyArray, **settings: Any) -> Alignment:
    """How alike the rows of X (n, d) and Y (n, e) lie, numpy arrays or torch tensors, by four measures.

    None changes when a view is rotated or multiplied by a number, and all but mutual_knn stay when it is moved.

    - cka: linear CKA by the unbiased HSIC (Song et al. 2012; Kornblith et al. 2019), 0 on average where nothing is
      shared, whatever n and d. Jackknife interval; the null's mean and variance over all permutations in closed form.
    - mutual_knn: share of the k nearest neighbours by cosine that both views have (Huh et al. 2024). It depends on n.
    - svcca: mean canonical correlation (Raghu et al. 2017) of the leading principal axes of both, held out.
    - procrustes: cosine of the two matrices after the best rotation (Williams et al. 2021), on the same axes, held
      out: at most 1, and 0 on average where nothing is shared.

    The leading axes hold 99 % of a view's variance, at most `max_axes` and at most n / 10 of them. Held-out values are
    those of maps fitted without the row's fold; in-sample ones are large where nothing is shared. Their intervals, and
    that of mutual_knn, come from half-samples (`core.halves`): other images would also give other maps and neighbours.

    Args:
        X: rows of one view.
        Y: rows of the other, of the same images.
        settings: as for `alignment_matrix`.

    Raises:
        ValueError: different numbers of rows, fewer than 20, a view whose rows are all equal, k out of range, or what
            `as_array`, `assign_folds` and `half_samples` refuse.
    """
    return alignment_matrix({"X": X, "Y": Y}, **settings).pairs["X", "Y"]


def alignment_matrix(
    views: Mapping[str, AnyArray],
    *,
    k: int = 10,
    groups: ArrayLike | None = None,
    max_rows: int | None = 5000,
    max_axes: int = 100,
    n_folds: int = 5,
    n_splits: int = 16,
    n_permutations: int = 20,
    confidence: float = 0.95,
    seed: int = 42,
) -> AlignmentMatrix:
    """`alignment` of every pair of views, sharing each view's own work: norms, neighbours, principal axes.

    Args:
        views: name -> (n, d) rows of the same images.
        k: neighbours.
        groups: (n,) identities: a group never straddles folds or halves, and counts as one in intervals.
        max_rows: of more rows than this, a random subset (whole groups are not kept together) is used for all measures,
            for neighbours cost n^2. None uses all.
        max_axes: leading axes that svcca and procrustes keep at most.
        n_folds: folds of the held-out measures.
        n_splits: splits in halves for the intervals, also their degrees of freedom.
        n_permutations: shuffled pairings for the nulls of all but CKA; below 2 they are NaN.
        confidence: of the intervals.
        seed: decides the subset, folds, halves and permutations.

    Raises:
        ValueError: as `alignment`, or fewer than two views.
    """
    arrays = _same_rows(views)
    given = len(next(iter(arrays.values())))
    chosen = _subset(given, max_rows, seed)
    n = len(chosen)
    if not 1 <= k < n // 4:
        raise ValueError(f"k must lie between 1 and a quarter of the {n} rows, not {k}")
    units = None if groups is None else np.asarray(groups)[chosen]
    folds = assign_folds(n, n_folds, seed=seed, groups=units)
    study = _Study(
        folds=folds,
        halves=half_samples(folds, n_splits, seed=seed, groups=units),
        units=units_of(n, units),
        k=k,
        n_permutations=n_permutations,
        confidence=confidence,
        seed=seed,
    )
    sample = f"a random {n} of {given} rows were used"
    prepared = {name: _prepare(X[chosen], name, study, min(max_axes, n // 10)) for name, X in arrays.items()}
    shared: dict[str, Any] = {"n": n, "rows": given, "k": k, "n_folds": n_folds, "n_splits": n_splits}
    shared |= {"n_permutations": n_permutations, "confidence": confidence, "seed": seed}
    pairs = {}
    for a, b in combinations(prepared, 2):
        caveats = ((sample,) if n < given else ()) + prepared[a].caveats + prepared[b].caveats
        axes = (prepared[a].scores.shape[1], prepared[b].scores.shape[1])
        cka, mutual_knn, svcca, procrustes = _measure(prepared[a], prepared[b], study)
        pairs[a, b] = Alignment(cka, mutual_knn, svcca, procrustes, axes=axes, caveats=caveats, **shared)
    return AlignmentMatrix(tuple(prepared), pairs)


def _same_rows(views: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    arrays = {name: as_array(X, name, min_rows=20) for name, X in views.items()}
    if len(arrays) < 2:
        raise ValueError("alignment needs two views or more")
    rows = {name: len(X) for name, X in arrays.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"views must have the same images, row by row, but their numbers of rows differ: {rows}")
    first = next(iter(arrays.values()))
    return {n: X if namespace(X) is namespace(first) else like(to_numpy(X), first) for n, X in arrays.items()}


def _subset(n: int, most: int | None, seed: int) -> NDArray[np.intp]:
    if most is None or n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, 4]).choice(n, most, replace=False))


@dataclass(frozen=True, slots=True, eq=False)
class _Study:
    """What all pairs share but the views."""

    folds: NDArray[np.intp]  # (n,)
    halves: NDArray[np.bool_]  # (splits, n)
    units: NDArray[np.intp]  # (n,)
    k: int
    n_permutations: int
    confidence: float
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Everything of one view that its pairs need."""

    kernel: LinearKernel
    neighbours: Neighbours  # (n, k)
    halved: list[tuple[Neighbours, Neighbours]]  # of each split, within each half
    scores: Floats  # (n, r)
    caveats: tuple[str, ...]


def _prepare(X: AnyArray, name: str, study: _Study, most: int) -> _View:
    n, d = X.shape
    centred = X - cast(X.mean(0, dtype=namespace(X).float64), X)
    norm = float((centred * centred).sum(dtype=namespace(X).float64) / n)
    if not norm > 0:
        raise ValueError(f"all rows of {name} are equal: nothing varies")
    kernel = LinearKernel(centred / norm**0.5)
    found = nearest(X, min(4 * study.k + 8, n - 1))
    halved = [(among(found, half, study.k), among(found, ~half, study.k)) for half in study.halves]
    scores, held = leading_scores(kernel.X, _SHARE, most)
    return _View(kernel, found[:, : study.k], halved, scores, _caveats(X, name, kernel, scores.shape[1], held))


def _caveats(X: AnyArray, name: str, kernel: LinearKernel, axes: int, held: float) -> tuple[str, ...]:
    array = to_numpy(X)
    n, d = array.shape
    copies = n - len({hash(row.tobytes()) for row in array})
    constant = int((array == array[:1]).all(axis=0).sum())
    found = {
        f"{name} has {constant} constant columns, which carry nothing": constant > 0,
        f"{copies} rows of {name} are copies of others: which of equally near rows are neighbours is arbitrary, and "
        "mutual_knn counts the copies": copies > 0,
        f"svcca and procrustes see the leading {axes} axes of {name}, {held:.0%} of its variance": held < _SHARE,
        f"{name} has fewer rows ({n}) than dimensions ({d}): svcca and procrustes are of its leading axes only": n < d,
        f"CKA is not defined: {name} has too few rows for its dimensions": not kernel.hsic[0] > 0,
    }
    return tuple(sentence for sentence, holds in found.items() if holds)


def _measure(a: _View, b: _View, study: _Study) -> tuple[Measured, Measured, Measured, Measured]:
    """In the order of MEASURES."""
    svcca, procrustes = (_held_out(measure, a, b, study) for measure in (SVCCA, PROCRUSTES))
    return _cka(a, b, study), _mutual_knn(a, b, study), svcca, procrustes


def _cka(a: _View, b: _View, study: _Study) -> Measured:
    value, influence = unbiased_cka(a.kernel, b.kernel)
    interval = interval_of_influences(value, influence, study.units, study.confidence)
    return Measured.of(interval, null_of_moments(value, *cka_null(a.kernel, b.kernel), study.confidence))


def _mutual_knn(a: _View, b: _View, study: _Study) -> Measured:
    def shares(x: Neighbours, y: Neighbours) -> tuple[float, Floats]:
        each = overlap(x, y)
        return float(each.mean()), (each - each.mean()) / len(each)

    halves = ((shares(x[0], y[0]), shares(x[1], y[1])) for x, y in zip(a.halved, b.halved, strict=True))
    whole = shares(a.neighbours, b.neighbours)
    rng = np.random.default_rng([study.seed, 5])
    draws = permuted_overlaps(a.neighbours, b.neighbours, study.n_permutations, rng)
    null = null_of_rates(whole[0], draws, study.confidence)
    return _measured(whole, list(halves), null, study)


def _held_out(measure: Measure, a: _View, b: _View, study: _Study) -> Measured:
    def on(rows: NDArray[np.bool_]) -> tuple[float, Floats]:
        return held_out(measure, a.scores[rows], b.scores[rows], study.folds[rows])

    halves = [(on(half), on(~half)) for half in study.halves]
    rng = np.random.default_rng([study.seed, 5])
    orders = (rng.permutation(len(study.folds)) for _ in range(study.n_permutations))
    draws = np.array([held_out(measure, a.scores, b.scores[order], study.folds)[0] for order in orders])
    whole = held_out(measure, a.scores, b.scores, study.folds)
    return _measured(whole, halves, null_of_draws(whole[0], draws, study.confidence), study)


Scored = tuple[float, Floats]
"""A value, and each row's influence."""


def _measured(whole: Scored, halves: list[tuple[Scored, Scored]], null: Null, study: _Study) -> Measured:
    """With the half-sample interval: contrasts of halves carry the variance that influences leave out."""
    values = [whole[0]] + [(first[0] - second[0]) / 2 for first, second in halves]
    influence = np.zeros((len(values), study.units.max() + 1, 1))
    np.add.at(influence[0, :, 0], study.units, whole[1])
    for total, half, (first, second) in zip(influence[1:, :, 0], study.halves, halves, strict=True):
        np.add.at(total, study.units[half], first[1] / 2)
        np.add.at(total, study.units[~half], -second[1] / 2)
    interval = Estimate(np.array(values)[:, None], influence).intervals(study.confidence, least=-1.0)[0]
    return Measured.of(interval, null)
