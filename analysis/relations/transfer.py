"""Attribute transfer: do probes of one view work on what is stitched from another?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Draws,
    Estimate,
    Floats,
    Interval,
    Measured,
    Result,
    caveats,
    chosen,
    null_of_draws,
    same_rows,
    shuffled,
    to_numpy,
    with_mean,
)
from noisezoo.analysis.probes import (
    METRICS,
    Design,
    Fits,
    OutOfFold,
    estimate,
    fit_without_each_fold,
    held_out_logits,
    scaled_scores,
    search_path,
)
from .ridge import cut, regress
from .stitch import strengths


@dataclass(frozen=True, eq=False)
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
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary an attribute and metric, then one a metric for the mean over attributes."""
        rows = [
            (name, metric, self.stitched[metric][j], self.own[metric][j])
            for j, name in enumerate(self.names)
            for metric in self.stitched
        ]
        rows += [("mean", metric, self.mean_stitched[metric], self.mean_own[metric]) for metric in self.mean_stitched]
        return [
            {"attribute": name, **found.row(metric), "own": own.estimate, "own_low": own.low, "own_high": own.high}
            for name, metric, found, own in rows
        ]


def transfer(
    X: AnyArray,
    Y: AnyArray,
    labels: ArrayLike,
    names: Sequence[str],
    *,
    ridge: ArrayLike | None = None,
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
    are for the whole procedure, by half-samples. The null fits probes to labels whose rows, or
    whole groups, are shuffled, and applies them to the same stitched rows.

    X and Y are rows of the same images, numpy or torch, and `labels` are attributes (n, k) of zeros and ones with k
    `names`. `ridge` is as for `stitch`; `groups` and the draws are as in `Draws`.

    Returns:
        The table; an attribute that cannot be cross-validated is in `.refused` with its reason and nowhere else.

    Raises:
        ValueError: what `stitch`, `as_labels` and `Resampling` refuse.
    """
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    (X, Y), ridges = same_rows([("X", X), ("Y", Y)]), strengths(ridge)
    design = Design.of(len(X), labels, names, groups, n_folds=n_folds, n_splits=n_splits, seed=seed, what="labels")
    own, found, null = _scored(design, X, scaled_scores(Y), ridges, n_permutations)
    measured = {m: _measured(m, e, null, confidence) for m, e in found.items()}
    return Transfer(
        names=design.names,
        refused=design.refused,
        stitched={m: each[:-1] for m, each in measured.items()},
        own={m: tuple(e.intervals(confidence)) for m, e in own.items()},
        mean_stitched={m: each[-1] for m, each in measured.items()},
        mean_own={m: e.mean_interval(confidence) for m, e in own.items()},
        caveats=(*caveats(to_numpy(X), design.folds), *caveats(to_numpy(Y), design.folds, "Y")),
        n=len(X),
        draws=draws,
    )


def _scored(
    design: Design, X: AnyArray, T: AnyArray, ridges: Floats, n_permutations: int
) -> tuple[dict[str, Estimate], dict[str, Estimate], list[OutOfFold]]:
    """Scores by metric of probes of T (n, r): on its own rows, on what X (n, d) becomes there, and the null on that."""
    L, folds, rng = design.Y, design.folds, np.random.default_rng([design.seed, 1])
    copies = np.hstack([L, *(L[order] for order in shuffled(design.units, n_permutations, rng))])
    search = search_path(T, copies, folds)
    columns = np.arange(copies.shape[1]).reshape(1 + n_permutations, L.shape[1])
    logits = (held_out_logits(rows, folds, search.fits) for rows in (T, _carried(X, T, folds, ridges)))
    own, carried = (OutOfFold.of(each, copies, folds) for each in logits)
    starts = [(w[:, columns[0]], b[columns[0]]) for w, b in search.fits]
    halves = _half_logits(design, X, T, search.C[:, columns[0]], starts, ridges)
    beside, found = (
        {m: estimate(m, o.take(columns[0]), design.halves, each, design.units) for m in METRICS}
        for o, each in zip((own, carried), halves, strict=True)
    )
    return beside, found, [carried.take(block) for block in columns[1:]]


def _carried(X: AnyArray, T: AnyArray, folds: NDArray[np.intp], ridges: Floats) -> AnyArray:
    """Rows of X (n, d) in the space of T (n, r), each by the map that was fitted without its fold: (n, r)."""
    fitted = regress(cut(X, folds), T)
    predicted, targets = fitted.out_of_fold(fitted.choose(ridges))
    return predicted + T - targets  # with the mean of the rows that were fitted


def _half_logits(
    design: Design, X: AnyArray, T: AnyArray, C: Floats, starts: Fits, ridges: Floats
) -> NDArray[np.float32]:
    """Logits (2, splits, n, k) of own and of carried rows, by maps and probes of the row's half of each split."""
    logits = np.empty((2, *design.halves.shape, design.Y.shape[1]), dtype=np.float32)
    for split, half in enumerate(design.halves):
        for rows in (half, ~half):
            own, f = chosen(T, rows), design.folds[rows]
            fits = fit_without_each_fold(own, design.Y[rows], f, C, starts)
            for place, features in enumerate((own, _carried(chosen(X, rows), own, f, ridges))):
                logits[place, split, rows] = held_out_logits(features, f, fits)
    return logits


def _measured(metric: str, found: Estimate, null: list[OutOfFold], confidence: float) -> tuple[Measured, ...]:
    """Of each attribute, then of their mean."""
    intervals = found.every_interval(confidence)
    values = np.array([METRICS[metric](shuffled)[0] for shuffled in null]).reshape(len(null), len(intervals) - 1)
    draws = with_mean(values)
    nulls = (null_of_draws(i.estimate, d, confidence) for i, d in zip(intervals, draws.T, strict=True))
    return tuple(map(Measured.of, intervals, nulls))
