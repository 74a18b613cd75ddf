"""Attribute transfer: do probes of one view work on what is stitched from another?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis._caveats import caveats
from noisezoo.analysis._design import refusals
from noisezoo.analysis._evidence import Measured, null_of_draws
from noisezoo.analysis._halves import Estimate, estimate, half_samples
from noisezoo.analysis._metrics import METRICS, OutOfFold
from noisezoo.analysis._path import Fits, fit_without_each_fold, held_out_logits, scaled_frame, search_path
from noisezoo.analysis._results import Result
from noisezoo.analysis._ridge import cut, regress
from noisezoo.analysis.folds import assign_folds
from noisezoo.analysis.intervals import Floats, Interval
from noisezoo.analysis.ridge import choose, out_of_fold, shuffles, strengths
from noisezoo.analysis.validation import Matrix, as_labels, as_matrix

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Transfer(Result):
    """Probes of Y, on Y's own rows and on rows stitched from X, every row out of fold."""

    names: tuple[str, ...]  # (k,) attributes that were probed
    refused: Mapping[str, str]  # attribute -> why it was not
    stitched: Mapping[str, tuple[Measured, ...]]  # metric -> (k,) on rows stitched from X
    own: Mapping[str, tuple[Interval, ...]]  # metric -> (k,) on Y's rows
    mean_stitched: Mapping[str, Measured]  # metric -> mean over attributes
    mean_own: Mapping[str, Interval]
    caveats: tuple[str, ...]
    n: int
    n_folds: int
    n_splits: int
    n_permutations: int
    confidence: float
    seed: int

    def settings(self) -> dict[str, Any]:
        """Rows, folds, seed, refusals and caveats."""
        keys = ("n", "n_folds", "n_splits", "n_permutations", "confidence", "seed")
        settled = {key: getattr(self, key) for key in keys}
        return {**settled, "refused": dict(self.refused), "caveats": list(self.caveats)}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary an attribute and metric, then one a metric for the mean over attributes."""
        rows = [
            (name, metric, self.stitched[metric][j], self.own[metric][j])
            for j, name in enumerate(self.names)
            for metric in self.stitched
        ]
        rows += [("mean", metric, self.mean_stitched[metric], self.mean_own[metric]) for metric in self.mean_stitched]
        return [{"attribute": name, **stitched.row(metric), **_own(own)} for name, metric, stitched, own in rows]


def _own(interval: Interval) -> dict[str, float]:
    return {"own": interval.estimate, "own_low": interval.low, "own_high": interval.high}


def transfer(
    X: ArrayLike,
    Y: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str],
    *,
    alpha: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    n_splits: int = 8,
    n_permutations: int = 5,
    confidence: float = 0.95,
    seed: int = 42,
) -> Transfer:
    """Apply probes of view Y (n, e) to the rows that ridge carries there from view X (n, d).

    For every fold, the map from X to Y and the probes of Y, both as `stitch` and `probe_table` choose them, are fitted
    on the other folds; the fold is then scored twice, by its own rows of Y and by its rows of X carried over. Intervals
    are for the whole procedure, by half-samples (`_halves`). The null fits probes to labels whose rows are shuffled,
    one by one even where there are groups, and applies them to the same stitched rows.

    Args:
        X: rows of the source.
        Y: rows of the view that is probed, of the same images.
        labels: (n, k) attributes, zeros and ones.
        names: (k,) their names.
        alpha: as for `stitch`.
        groups: (n,) identities: a group never straddles folds.
        n_folds: folds.
        n_splits: splits in halves for the intervals, also their degrees of freedom; each fits everything twice.
        n_permutations: shuffled copies of the labels; below 2 the null is NaN.
        confidence: of the intervals.
        seed: decides folds and permutations.

    Returns:
        The table; an attribute that cannot be cross-validated is in `.refused` with its reason and nowhere else.

    Raises:
        ValueError: what `stitch`, `as_labels`, `assign_folds` and `half_samples` refuse.
    """
    X, Y, alphas = as_matrix(X), as_matrix(Y, "Y"), strengths(alpha)
    if len(X) != len(Y):
        raise ValueError(f"Y has {len(Y)} rows and X has {len(X)}: stitching needs the same images in both")
    attributes = as_labels(labels, "labels", rows=len(X), names=names)
    folds, units = (
        assign_folds(len(X), n_folds, seed=seed, groups=groups),
        None if groups is None else np.asarray(groups),
    )
    refused = refusals(attributes, names, folds)
    kept = [j for j, name in enumerate(names) if name not in refused]
    L, T = attributes[:, kept], scaled_frame(Y).T.astype(np.float32)
    copies = np.hstack([L, *(L[order] for order in shuffles(len(L), n_permutations, seed))])
    search, carried = search_path(T, copies, folds), _carried(X, T, folds, alphas)
    columns = np.arange(copies.shape[1]).reshape(1 + n_permutations, len(kept))
    whole = [OutOfFold.of(held_out_logits(rows, folds, search.fits), copies, folds) for rows in (T, carried)]
    (own, _), (stitched, null) = ((o.take(columns[0]), [o.take(block) for block in columns[1:]]) for o in whole)
    halves = half_samples(folds, n_splits, seed=seed, groups=units)
    starts = [(w[:, columns[0]], b[columns[0]]) for w, b in search.fits]
    of_halves = _half_logits(X, T, L, folds, search.C[:, columns[0]], halves, starts, alphas)
    beside, found = (
        {m: estimate(m, o, halves, logits, units) for m in METRICS}
        for o, logits in zip((own, stitched), of_halves, strict=True)
    )
    measured = {m: _measured(m, e, null, confidence) for m, e in found.items()}
    return Transfer(
        names=tuple(names[j] for j in kept),
        refused=refused,
        stitched={m: each[:-1] for m, each in measured.items()},
        own={m: tuple(e.intervals(confidence)) for m, e in beside.items()},
        mean_stitched={m: each[-1] for m, each in measured.items()},
        mean_own={m: e.mean_interval(confidence) for m, e in beside.items()},
        caveats=(*caveats(X, folds), *caveats(Y, folds, "Y")),
        n=len(X),
        n_folds=n_folds,
        n_splits=n_splits,
        n_permutations=n_permutations,
        confidence=confidence,
        seed=seed,
    )


def _carried(X: Matrix, T: Singles, folds: NDArray[np.intp], alphas: Floats) -> Singles:
    """Rows of X (n, d) in the space of T (n, r), each by the map that was fitted without its fold: (n, r)."""
    fitted = regress(cut(X, folds), T)
    predicted, targets = out_of_fold(fitted, choose(fitted, alphas))
    training_mean = T - targets
    return np.asarray(predicted + training_mean)


def _half_logits(
    X: Matrix,
    T: Singles,
    L: Floats,
    folds: NDArray[np.intp],
    C: Floats,
    halves: NDArray[np.bool_],
    starts: Fits,
    alphas: Floats,
) -> NDArray[np.float32]:
    """Logits (2, splits, n, k) of own and of carried rows, by maps and probes of the row's half of each split."""
    logits = np.empty((2, *halves.shape, L.shape[1]), dtype=np.float32)
    for split, half in enumerate(halves):
        for rows in (half, ~half):
            own, f = T[rows], folds[rows]
            fits = fit_without_each_fold(own, L[rows], f, C, starts)
            for place, features in enumerate((own, _carried(X[rows], own, f, alphas))):
                logits[place, split, rows] = held_out_logits(features, f, fits)
    return logits


def _measured(metric: str, found: Estimate, null: list[OutOfFold], confidence: float) -> tuple[Measured, ...]:
    """Of each attribute, then of their mean."""
    intervals = [*found.intervals(confidence), found.mean_interval(confidence)]
    values = np.array([METRICS[metric](shuffled)[0] for shuffled in null]).reshape(len(null), len(intervals) - 1)
    draws = np.column_stack([values, values.mean(axis=1)])
    nulls = (null_of_draws(i.estimate, d, confidence) for i, d in zip(intervals, draws.T, strict=True))
    return tuple(map(Measured.of, intervals, nulls))
