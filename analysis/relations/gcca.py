"""MAXVAR generalised canonical correlation: what any number of views share, held out, against a permutation null."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Floats,
    Interval,
    Result,
    as_array,
    assign_folds,
    caveats,
    namespace,
    to_numpy,
)
from noisezoo.analysis.relations.held_out import (
    Procedure,
    adjusted_p_values,
    aligned_coordinates,
    half_estimate,
    permuted,
)
from noisezoo.analysis.relations.maxvar import FoldMoments, slices_of, solve
from noisezoo.analysis.relations.whitening import Coordinates, Whitener, column_means, project, stacked_covariance

_NAN = float("nan")


@dataclass(frozen=True, eq=False)
class SharedSpace(Result):
    """What `gcca` found. `shared` and `eigenvalues` are in-sample and large even for independent views: judge by
    `held_out`, `p_values` and `n_shared`, which are computed when first read and keep the views until then.

    `held_out` is the correlation of two views' own estimates of a shared dimension, on rows that neither was fitted
    on, averaged over pairs of views and folds: 0 is nothing shared. On the scale of the eigenvalues it is
    `held_out_eigenvalues`, 1 / views where nothing is shared. Intervals are for the whole procedure, fits included
    (`core.halves`): in simulation a nominal 95 % held the procedure's expectation in 92 to 97 %, least where a shared
    dimension is barely found.
    """

    shared: Floats  # (n, dim) unit variance
    eigenvalues: Floats  # (dim,) mean over views of the R2 of regressing the dimension on the view; in [0, 1]
    weights: list[Floats]  # [(d_i, dim)] each view's (ridge) regression of the shared dimension
    means: list[Floats]  # [(d_i,)]
    ridge: float
    n_folds: int
    n_splits: int
    n_permutations: int
    confidence: float
    seed: int
    folds: NDArray[np.intp] = field(repr=False)  # (n,)
    groups: NDArray[Any] | None = field(repr=False)
    procedure: Procedure = field(repr=False)
    views: list[AnyArray] = field(repr=False)
    coordinates: list[AnyArray] = field(repr=False)  # [(n, r_i)] that the whiteners take

    def transform(self, views: Sequence[AnyArray]) -> Floats:
        """Shared coordinates (m, dim) of rows given in every view, [(m, d_i)]; on the fitted rows it is `shared`.

        Raises:
            ValueError: another number of views, rows or columns than fitted.
        """
        if len(views) != len(self.weights):
            raise ValueError(f"{len(views)} views were given and {len(self.weights)} fitted")
        rows = _checked(views, min_rows=1)
        for i, (X, W) in enumerate(zip(rows, self.weights, strict=True)):
            if X.shape[1] != len(W):
                raise ValueError(f"view {i} has {X.shape[1]} columns and {len(W)} were fitted")
        return np.asarray(self.view_scores(rows).sum(axis=0) / (self.eigenvalues * len(rows)))

    def view_scores(self, views: Sequence[AnyArray]) -> Floats:
        """Each view's own estimate of the shared dimensions, (views, m, dim)."""
        parts = zip(views, self.means, self.weights, strict=True)
        return np.stack([to_numpy(project(X, m, W)) for X, m, W in parts])

    @cached_property
    def held_out_values(self) -> Floats:
        """Held-out correlation of every shared dimension, (dim,)."""
        return self.procedure.agreement(self.whitened, self.folds)[0]

    @cached_property
    def held_out(self) -> tuple[Interval, ...]:
        """`held_out_values` with their intervals, whose ends are NaN where half of the rows cannot fit the views."""
        if not self.procedure.halves_suffice(len(self.folds), self.n_folds):
            return tuple(Interval(float(value), _NAN, _NAN) for value in self.held_out_values)
        found = half_estimate(
            self.procedure.agreement, self.whitened, self.folds, self.groups, self.n_splits, self.seed
        )
        return tuple(found.intervals(self.confidence, least=-1.0))

    @property
    def held_out_eigenvalues(self) -> Floats:
        """(1 + (views - 1) r) / views of the held-out correlations r, (dim,)."""
        views = len(self.weights)
        return (1 + (views - 1) * self.held_out_values) / views

    @cached_property
    def null(self) -> Floats:
        """Held-out values (permutations, dim) of the whole procedure on views whose rows are permuted independently."""
        runs = permuted(
            self.procedure.agreement, self.whitened, self.folds, self.groups, self.n_permutations, self.seed
        )
        return runs.reshape(self.n_permutations, len(self.eigenvalues))

    @property
    def p_values(self) -> Floats:
        """Of each dimension, (dim,), adjusted for looking at all of them: Westfall and Young's single-step maxT."""
        values = self.held_out_values
        return adjusted_p_values(values, self.null) if self.n_permutations else np.full(len(values), _NAN)

    @property
    def n_shared(self) -> int:
        """How many dimensions have p <= 1 - confidence.

        Where views are independent it is above 0 with that probability, and where s dimensions are shared it is above s
        about as often: a false dimension must beat the largest of `dim` null values.
        """
        return int((self.p_values <= 1 - self.confidence + 1e-12).sum())

    @cached_property
    def out_of_fold(self) -> Floats:
        """Shared coordinates (n, dim) of each row from maps fitted without its fold, for probes and neighbours."""
        return aligned_coordinates(self.procedure, self.whitened, self.folds, FoldMoments.of(self.whitened, self.folds))

    @cached_property
    def whitened(self) -> list[AnyArray]:
        """Each view in float32 coordinates of unit covariance, [(n, r_i)], where the views are."""
        return [w.rows(T) for w, T in zip(self.procedure.whiteners, self.coordinates, strict=True)]

    def settings(self) -> dict[str, Any]:
        """Sizes, ridge, folds, seed, the number of shared dimensions and caveats."""
        keys = ("ridge", "n_folds", "n_splits", "n_permutations", "confidence", "seed", "n_shared")
        said = [one for i, X in enumerate(self.views) for one in caveats(to_numpy(X), self.folds, f"view {i}")]
        if not self.procedure.halves_suffice(len(self.folds), self.n_folds):
            said.append("half of the rows cannot fit the views: held-out values have no interval; raise the ridge or n")
        sizes = {"n": len(self.shared), "dims": [len(W) for W in self.weights]}
        return {**sizes, **{key: getattr(self, key) for key in keys}, "caveats": said}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a shared dimension: eigenvalue, held-out value, its interval, null and adjusted p."""
        tail = (1 - self.confidence) / 2
        ends = np.quantile(self.null, [tail, 1 - tail], axis=0) if self.n_permutations else None
        rows = zip(self.eigenvalues, self.held_out_eigenvalues, self.held_out, self.p_values, strict=True)
        return [
            {
                "dimension": k,
                "eigenvalue": float(eigenvalue),
                "held_out_eigenvalue": float(held_out),
                **interval.to_dict(),
                "null": _NAN if ends is None else float(self.null[:, k].mean()),
                "null_low": _NAN if ends is None else float(ends[0, k]),
                "null_high": _NAN if ends is None else float(ends[1, k]),
                "p_value": float(p),
            }
            for k, (eigenvalue, held_out, interval, p) in enumerate(rows)
        ]


def gcca(
    views: Sequence[AnyArray],
    dim: int,
    *,
    ridge: float = 0.0,
    ids: Sequence[ArrayLike] | None = None,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    n_splits: int = 16,
    n_permutations: int = 99,
    confidence: float = 0.95,
    seed: int = 42,
) -> SharedSpace:
    """MAXVAR GCCA (Carroll 1968; Kettenring 1971, Biometrika 58): the `dim` variables that all views best predict.

    With S_i = X_i^T X_i / n of the centred views, they are the leading eigenvectors g of

        sum_i X_i (X_i^T X_i + c tr(X_i^T X_i) / d_i)^-1 X_i^T,

    found from one Gram matrix of all views side by side, in float64; each ridge has its view's own scale, so that
    scaling a view changes nothing. A view with d_i >= n enters by its principal scores, which is exact.

    Args:
        views: two or more, [(n, d_i)], numpy or torch, float32 or float64, one image a row, the same in all.
        dim: shared dimensions, at most the rank of the second widest view.
        ridge: c, a share of a view's mean variance; 0 is allowed where every training set has more rows than columns.
        ids: one sequence of image ids a view, which must be equal.
        groups: (n,) identities: a group never straddles folds or halves, and is permuted whole.
        n_folds: folds of the held-out values.
        n_splits: splits in halves for the intervals.
        n_permutations: of the null; 0 leaves it NaN.
        confidence: of the intervals; 1 - confidence is the error rate of `n_shared`.
        seed: decides folds, halves and permutations.

    Raises:
        ValueError: fewer than two views, unequal rows or ids, n <= d without ridge (eigenvalues would be exactly 1,
            whatever the data), `dim` out of range, or what `as_matrix` and `assign_folds` refuse.
    """
    rows = _checked(views)
    _refuse_different_ids(ids, len(rows[0]), len(rows))
    _refuse_settings(ridge, n_permutations)
    n, units = len(rows[0]), None if groups is None else np.asarray(groups)
    folds = assign_folds(n, n_folds, seed=seed, groups=units)
    training = n - int(np.bincount(folds).max())
    _refuse_saturated([X.shape[1] for X in rows], n, training, ridge)
    frames = [Coordinates.of(X, f"view {i}") for i, X in enumerate(rows)]
    T = [frame.scores for frame in frames]
    means = [column_means(t) for t in T]
    C = stacked_covariance(T, means)
    blocks = zip(means, slices_of(T), rows, strict=True)
    whiteners = [Whitener(mean, C[block, block], X.shape[1]) for mean, block, X in blocks]
    _refuse_dim(dim, [w.rank for w in whiteners], training)
    found = solve(C, means, [w.root(ridge) for w in whiteners], dim)
    weights = [np.asarray(W, np.float64) for W in found.weights]  # [(r_i, dim)]
    scores = [to_numpy(project(t, mean, W)) for t, mean, W in zip(T, means, weights, strict=True)]
    shared = found.combined(np.stack(scores))
    sign = np.sign(shared[np.abs(shared).argmax(axis=0), np.arange(dim)])  # in whatever axes the views were solved
    return SharedSpace(
        shared=shared * sign,
        eigenvalues=found.total / len(rows),
        weights=[frame.lift(W * sign) for frame, W in zip(frames, weights, strict=True)],
        means=[m if f.frame is None else f.frame.mean for f, m in zip(frames, means, strict=True)],
        ridge=ridge,
        n_folds=n_folds,
        n_splits=n_splits,
        n_permutations=n_permutations,
        confidence=confidence,
        seed=seed,
        folds=folds,
        groups=units,
        procedure=Procedure(whiteners, ridge, dim),
        views=rows,
        coordinates=T,
    )


def _checked(views: Sequence[AnyArray], *, min_rows: int = 2) -> list[AnyArray]:
    if len(views) < 2:
        raise ValueError(f"a shared space needs at least two views, not {len(views)}")
    rows = [as_array(X, f"view {i}", min_rows=min_rows) for i, X in enumerate(views)]
    if len({namespace(X) for X in rows}) > 1:
        raise ValueError("give all views as numpy arrays or all as tensors")
    counts = [len(X) for X in rows]
    if len(set(counts)) > 1:
        raise ValueError(f"views have {counts} rows: give the same images, in the same order, in every view")
    return rows


def _refuse_different_ids(ids: Sequence[ArrayLike] | None, n: int, views: int) -> None:
    if ids is None:
        return
    named = [np.asarray(one) for one in ids]
    if len(named) != views or any(one.shape != (n,) for one in named):
        raise ValueError(f"ids must be {views} sequences of {n}, one a view, not of {[one.shape for one in named]}")
    for i, one in enumerate(named):
        differ = np.flatnonzero(one != named[0])
        if differ.size:
            row = int(differ[0])
            raise ValueError(
                f"views 0 and {i} hold different images in {differ.size} rows, the first row {row} "
                f"({named[0][row]!r}, {one[row]!r}): pair the views by id"
            )


def _refuse_saturated(widths: Sequence[int], n: int, training: int, ridge: float) -> None:
    """Without a ridge, views that can predict anything on their rows have eigenvalues of 1 that mean nothing."""
    if ridge:
        return
    mend = "give a ridge, fewer columns (PCA), or more rows"
    for i, d in enumerate(widths):
        if training <= d + 1:
            raise ValueError(
                f"view {i} has {d} columns and {n} rows, {training} in a training set: without a ridge it predicts "
                f"anything and its eigenvalues mean nothing; {mend}"
            )
    if sum(widths) > (len(widths) - 1) * (n - 1):
        raise ValueError(
            f"views of {list(widths)} columns meet in {n} rows whatever they hold: without a ridge leading eigenvalues "
            f"are exactly 1; {mend}"
        )


def _refuse_settings(ridge: float, n_permutations: int) -> None:
    if not (np.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be 0 or more, a share of a view's mean variance, not {ridge!r}")
    if n_permutations < 0:
        raise ValueError(f"n_permutations must be 0 or more, not {n_permutations}")


def _refuse_dim(dim: int, ranks: Sequence[int], training: int) -> None:
    if 0 in ranks:
        raise ValueError(f"all rows of view {list(ranks).index(0)} are equal: nothing varies")
    most = min(sorted(ranks)[-2], training - 1)
    if not 1 <= dim <= most:
        raise ValueError(f"dim must lie between 1 and {most}, the rank of the second widest view, not {dim}")
