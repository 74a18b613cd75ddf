"""Alignment of views: do two arrays of the same images have one geometry, whatever their axes and scale?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import (
    AnyArray,
    Draws,
    Floats,
    Measured,
    Null,
    Resampling,
    Result,
    Scored,
    Units,
    double,
    interval_of_influences,
    like,
    null_of_draws,
    null_of_moments,
    null_of_ranks,
    null_of_rates,
    same_rows,
    to_numpy,
    units_of,
)
from .cka import LinearKernel, cka_null, unbiased_cka, unbiased_hsic
from .neighbours import Neighbours, among, nearest, overlap, reordered, tied_rows
from .svcca import PROCRUSTES, SVCCA, held_out, leading_scores

MEASURES = ("cka", "mutual_knn", "svcca", "procrustes")
Function = Callable[[AnyArray, AnyArray], float]
"""A measure of two views' rows (n, d) and (n, e): larger where they are more alike, 1 where they are the same."""
_SHARE = 0.99  # of the variance that SVCCA and Procrustes keep, as SVCCA's authors do


@dataclass(frozen=True, eq=False)
class Alignment(Result):
    """Measures of one pair of views, each with its interval and the null of shuffled rows."""

    cka: Measured
    mutual_knn: Measured
    svcca: Measured
    procrustes: Measured
    others: Mapping[str, Measured]  # the caller's
    index: Units  # (n,) numbers of the rows that were used
    in_common: Floats  # (n,) share of each row's neighbours that both views have
    n: int  # rows that were used
    rows: int  # rows that were given
    k: int
    axes: tuple[int, int]  # kept of each view by SVCCA and Procrustes
    draws: Draws
    caveats: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a measure: estimate, interval, null, p-value, and the same on a scale where chance is 0.

        The calibrated scale is (s - tau) / (1 - tau): above 0 is p <= 1 - confidence, and 1 the same geometry.
        """
        measured = {name: getattr(self, name) for name in MEASURES} | dict(self.others)
        return [m.row(name) | _calibrated(m) for name, m in measured.items()]

    def settings(self) -> dict[str, Any]:
        """What was asked for, without what was measured."""
        return {name: value for name, value in Result.settings(self).items() if name != "others"}

    def images(self, false_discovery_rate: float = 0.05) -> list[dict[str, Any]]:
        """One dictionary an image: its row, the share of its neighbours in common, its p-value and whether it agrees.

        Under a random pairing the neighbours in common of one image, k of n - 1 in either view, are hypergeometric.
        `agrees` holds Benjamini and Yekutieli's false discovery rate, whatever the images' dependence.
        """
        from scipy.stats import false_discovery_control, hypergeom

        shared = np.rint(self.in_common * self.k)
        p = hypergeom.sf(shared - 1, self.n - 1, self.k, self.k)
        agrees = false_discovery_control(p, method="by") <= false_discovery_rate
        columns = zip(self.index.tolist(), self.in_common.tolist(), p.tolist(), agrees.tolist(), strict=True)
        return [dict(zip(("row", "in_common", "p_value", "agrees"), row, strict=True)) for row in columns]


@dataclass(frozen=True, eq=False)
class AlignmentMatrix(Result):
    """The alignment of every pair of views."""

    names: tuple[str, ...]
    pairs: Mapping[tuple[str, str], Alignment]

    def matrix(self, measure: str) -> Floats:
        """Estimates (v, v) of one of MEASURES or the caller's, symmetric, with ones on the diagonal."""
        found = np.eye(len(self.names))
        for (a, b), alignment in self.pairs.items():
            i, j = self.names.index(a), self.names.index(b)
            found[i, j] = found[j, i] = (getattr(alignment, measure, None) or alignment.others[measure]).estimate
        return found

    def settings(self) -> dict[str, Any]:
        """What the pairs have in common, and the caveats of all."""
        shared = next(iter(self.pairs.values())).settings()
        caveats = dict.fromkeys(sentence for pair in self.pairs.values() for sentence in pair.caveats)
        return {**{key: value for key, value in shared.items() if key != "axes"}, "caveats": list(caveats)}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a pair and measure."""
        return [{"a": a, "b": b, **row} for (a, b), pair in self.pairs.items() for row in pair.records()]


def alignment(
    X: AnyArray,
    Y: AnyArray,
    *,
    measures: Mapping[str, Function] | None = None,
    k: int = 10,
    groups: ArrayLike | None = None,
    max_rows: int | None = 5000,
    max_axes: int = 100,
    n_folds: int = 5,
    n_splits: int = 16,
    n_permutations: int = 20,
    confidence: float = 0.95,
    seed: int = 42,
) -> Alignment:
    """How alike the rows of X (n, d) and Y (n, e) lie, numpy arrays or torch tensors, by four measures.

    None changes when a view is rotated, multiplied by a number or moved.

    - cka: linear CKA by the unbiased HSIC (Song et al. 2012; Kornblith et al. 2019), 0 on average where nothing is
      shared, whatever n and d. Jackknife interval; the null's mean and variance over all permutations in closed form.
    - mutual_knn: share of the k nearest neighbours by cosine that both views have (Huh et al. 2024), here about the
      mean, which costs float32 its digits where it is far. It depends on n.
    - svcca: mean canonical correlation (Raghu et al. 2017) of the leading principal axes of both, held out.
    - procrustes: cosine of the two matrices after the best rotation (Williams et al. 2021), on the same axes, held
      out: at most 1, and 0 on average where nothing is shared.

    The leading axes hold 99 % of a view's variance, at most `max_axes` and at most n / 10 of them. Held-out values are
    those of maps fitted without the row's fold; in-sample ones are large where nothing is shared. Their intervals, and
    that of mutual_knn, come from half-samples: other images would also give other maps and neighbours.

    `measures` are any functions of two arrays, such as those of rsatoolbox, netrep or ReSi. Each is called once on all
    rows, on both halves of every split, whose contrasts give the interval (halves tell less than all rows, so that it
    is wide), and on every permuted pairing, for an add-one p-value: 19 of those at least can reject at 5 %.

    Args:
        X: rows of one view.
        Y: rows of the other, of the same images.
        measures: name -> f(X, Y), larger where views are more alike, 1 where they are the same, and defined on half of
            the rows. Of a distance give 1 less it.
        k: neighbours.
        groups: (n,) as in `Draws`. Rows of one identity are no pair in CKA and no neighbours. In CKA each identity
            counts as much as another, in the other measures each row.
        max_rows: of more rows than this, a random subset (whole groups are not kept together) is used for all measures,
            for neighbours cost n^2. None uses all.
        max_axes: leading axes that svcca and procrustes keep at most.
        n_folds: of svcca and procrustes; as in `Draws`, as are the following.
        n_splits: for the intervals.
        n_permutations: for the nulls; CKA needs none where every row is its own group.
        confidence: of the intervals.
        seed: also decides the subset.

    Raises:
        ValueError: fewer than 20 rows, k out of range, a measure that has the name of ours or gives no finite number,
            or what `same_rows` and `Resampling` refuse.
    """
    return alignment_matrix(
        {"X": X, "Y": Y}, measures=measures, k=k, groups=groups, max_rows=max_rows, max_axes=max_axes, n_folds=n_folds,
        n_splits=n_splits, n_permutations=n_permutations, confidence=confidence, seed=seed,
    ).pairs["X", "Y"]  # fmt: skip


def alignment_matrix(
    views: Mapping[str, AnyArray],
    *,
    measures: Mapping[str, Function] | None = None,
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
    """`alignment` of every pair of `views`, name -> (n, d), sharing each view's own work: norms, neighbours, axes.

    The other arguments are those of `alignment`.

    Raises:
        ValueError: as `alignment`, or fewer than two views.
    """
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    if len(views) < 2:
        raise ValueError("alignment needs two views or more")
    arrays = same_rows(views.items(), min_rows=20)
    if any(double(X[:1]).dtype == X.dtype for X in arrays):
        arrays = [double(X) for X in arrays]
    given = len(arrays[0])
    n = min(given, max_rows or given)
    chosen = np.sort(np.random.default_rng([seed, 4]).choice(given, n, replace=False))
    if not 1 <= k < n // 4:
        raise ValueError(f"k must lie between 1 and a quarter of the {n} rows, not {k}")
    rows = Resampling.of(n, units_of(given, groups)[chosen], draws)
    plan = _Plan(rows, list(rows.orders(5)), k, min(max_axes, n // 10), _refuse_taken(measures or {}))
    prepared = {name: _prepare(X[like(chosen, X)], name, plan) for name, X in zip(views, arrays, strict=True)}
    sampled = (f"a random {n} of {given} rows were used",) if n < given else ()
    pairs = {
        (a, b): Alignment(
            **_measure(x, y, plan),
            others={name: _measure_by(f, name, x.given, y.given, plan) for name, f in plan.measures.items()},
            index=chosen,
            in_common=overlap(x.neighbours[0], y.neighbours[0]),
            n=n,
            rows=given,
            k=k,
            axes=(x.scores.shape[1], y.scores.shape[1]),
            draws=draws,
            caveats=(*sampled, *x.caveats, *y.caveats),
        )
        for (a, x), (b, y) in combinations(prepared.items(), 2)
    }
    return AlignmentMatrix(tuple(prepared), pairs)


def _refuse_taken(measures: Mapping[str, Function]) -> Mapping[str, Function]:
    taken = [name for name in measures if name in MEASURES or name in {field.name for field in fields(Alignment)}]
    if taken:
        raise ValueError(f"measures must have other names than ours, not {taken[0]!r}")
    return measures


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What all pairs share but the views."""

    rows: Resampling
    orders: list[Units]  # rows (n,) of the second view after each permutation of identities
    k: int
    max_axes: int
    measures: Mapping[str, Function]


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Everything of one view that its pairs need."""

    given: AnyArray  # (n, d) as they came
    kernel: LinearKernel
    neighbours: list[Neighbours]  # within each part (m, k)
    shuffled: list[Neighbours]  # after each permutation (n, k)
    scores: Floats  # (n, r)
    caveats: tuple[str, ...]


def _prepare(X: AnyArray, name: str, plan: _Plan) -> _View:
    units, k = plan.rows.units, plan.k
    kernel = LinearKernel.of(X, units)
    found = nearest(kernel.X, min(4 * k + 8, len(X) - 1), units)
    neighbours = [found[:, :k], *(among(found, rows, k) for rows in plan.rows.parts[1:])]
    alone = len(kernel.means) == len(X)
    shuffled = [reordered(found[:, :k], order) if alone else nearest(kernel.X[like(order, X)], k, units)
                for order in plan.orders]  # fmt: skip
    scores, held = leading_scores(kernel.X, _SHARE, plan.max_axes)
    tied = tied_rows(kernel.X, found, k)
    return _View(X, kernel, neighbours, shuffled, scores, _caveats(X, name, kernel, scores.shape[1], held, tied))


def _caveats(X: AnyArray, name: str, kernel: LinearKernel, axes: int, held: float, tied: int) -> tuple[str, ...]:
    array = to_numpy(X)
    n, d = array.shape
    copies = n - len({hash(row.tobytes()) for row in array})
    constant = int((array == array[:1]).all(axis=0).sum())
    found = {
        f"{name} has {constant} constant columns, which carry nothing": constant > 0,
        f"{copies} rows of {name} are copies of others: which of equally near rows are neighbours is arbitrary, and "
        "mutual_knn counts the copies": copies > 0,
        f"{tied} rows of {name} have a last neighbour that is as near as the next, to rounding: mutual_knn takes "
        "either": tied > copies,
        f"svcca and procrustes see the leading {axes} axes of {name}, {held:.0%} of its variance": held < _SHARE,
        f"{name} has fewer rows ({n}) than dimensions ({d}): svcca and procrustes are of its leading axes only": n < d,
        f"CKA is not defined: {name} has too few rows for its dimensions": not kernel.hsic[0] > 0,
    }
    return tuple(sentence for sentence, holds in found.items() if holds)


def _measure(a: _View, b: _View, plan: _Plan) -> dict[str, Any]:
    """Each of MEASURES with its interval and null."""
    rows = plan.rows
    value, influence = unbiased_cka(a.kernel, b.kernel)
    cka = interval_of_influences(value, influence, np.arange(len(influence)), rows.draws.confidence)
    pairs = zip(rows.parts, a.neighbours, b.neighbours, strict=True)
    scored = (_score((x, y), a.scores[part], b.scores[part], rows.folds[part]) for part, x, y in pairs)
    shuffled = zip(b.shuffled, plan.orders, strict=True)
    null = (_score((a.neighbours[0], y), a.scores, b.scores[order], rows.folds)[0] for y, order in shuffled)
    others = rows.measured(scored, null, (null_of_rates, null_of_draws, null_of_draws), least=-1.0)
    return dict(zip(MEASURES, (Measured.of(cka, _null_of_cka(value, a, b, plan)), *others), strict=True))


def _measure_by(f: Function, name: str, X: AnyArray, Y: AnyArray, plan: _Plan) -> Measured:
    """A caller's measure of X (n, d) and Y (n, e), whose interval is by the contrasts of halves alone."""

    def score(X: AnyArray, Y: AnyArray) -> Scored:
        value = float(f(X, Y))
        if not np.isfinite(value):
            raise ValueError(f"the measure {name!r} gave {value} on {len(X)} rows: it must give a finite number")
        return np.array([value]), np.zeros((len(X), 1))

    scored = (score(X[like(part, X)], Y[like(part, Y)]) for part in plan.rows.parts)
    null = (score(X, Y[like(order, Y)])[0] for order in plan.orders)
    return plan.rows.measured(scored, null, [null_of_ranks])[0]


def _calibrated(m: Measured) -> dict[str, float]:
    found = m.calibrated()
    return {"calibrated": found.estimate, "calibrated_low": found.low, "calibrated_high": found.high}


def _null_of_cka(value: float, a: _View, b: _View, plan: _Plan) -> Null:
    """In closed form where every row is its own identity; else of permuted identities, whatever their sizes."""
    rows = plan.rows
    if len(a.kernel.means) == len(rows.units):
        return null_of_moments(value, *cka_null(a.kernel, b.kernel), rows.draws.confidence)
    with np.errstate(invalid="ignore"):
        norm = np.sqrt(a.kernel.hsic[0] * b.kernel.hsic[0])
    others = (LinearKernel.of(b.kernel.X[like(order, b.kernel.X)], rows.units) for order in plan.orders)
    draws = np.array([unbiased_hsic(a.kernel, other)[0] / norm for other in others])
    return null_of_draws(value, draws, rows.draws.confidence)


def _score(found: tuple[Neighbours, Neighbours], T: Floats, U: Floats, folds: Units) -> Scored:
    """Mutual neighbours, SVCCA and Procrustes (3,) of two views' rows, and each row's influence (m, 3)."""
    shares = overlap(*found)
    each = [(float(shares.mean()), (shares - shares.mean()) / len(shares))]
    each += [held_out(measure, T, U, folds) for measure in (SVCCA, PROCRUSTES)]
    return np.array([value for value, _ in each]), np.stack([influence for _, influence in each], axis=1)
