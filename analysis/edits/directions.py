"""Directions of attributes in a view: one table of ways to make them, from rows and labels alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Draws,
    Floats,
    Interval,
    Matrix,
    Result,
    as_labels,
    as_matrix,
    assign_folds,
    half_samples,
    principal_frame,
    refuse_one_class,
    refuse_settings,
    shuffled,
    units_of,
)
from noisezoo.analysis.probes import Probes, fit_probes
from noisezoo.pca import Basis
from .vectors import cosine


def probe_directions(
    X: ArrayLike, Y: ArrayLike, *, groups: ArrayLike | None = None, C: ArrayLike | None = None
) -> Floats:
    """Normals (d, k) of logistic probes of Y (n, k) on X (n, d): the paper's edit directions.

    Raises:
        ValueError: as `fit_probes`.
    """
    return probes_on(X, Y, groups, C).coef


def probes_on(X: ArrayLike, Y: ArrayLike, groups: ArrayLike | None, C: ArrayLike | None = None) -> Probes:
    """Probes whose C, where it is not given, is validated on five folds, or as many as there are groups (n,)."""
    units = units_of(len(np.asarray(Y)), groups)
    return fit_probes(X, Y, C=C, groups=units, n_folds=min(5, len(np.unique(units))))


def class_mean_directions(X: ArrayLike, Y: ArrayLike) -> Floats:
    """Mean of the rows that have an attribute minus mean of those that lack it: (d, k), for X (n, d) and Y (n, k).

    Raises:
        ValueError: an attribute of one class, or what `as_matrix` and `as_labels` refuse.
    """
    rows, labels = _rows_and_labels(X, Y)
    centre = rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)  # a far mean would cost float32 its digits
    return np.asarray((rows - centre).T @ _contrasts(labels).astype(rows.dtype), dtype=np.float64)


def lda_directions(X: ArrayLike, Y: ArrayLike, *, shrinkage: float | None = None) -> Floats:
    """Fisher's discriminants (d, k) with a shrunk covariance: ((1 - s) S_w + s mu I)^-1 delta, for X (n, d), Y (n, k).

    delta is the difference of the class means, S_w the covariance within classes, mu = tr S_w / d, and s Ledoit and
    Wolf's intensity (2004, eq. 14), for each attribute its own. S_w is the covariance S of all rows less p (1 - p)
    delta delta^T, and such a term does not turn the solution (Sherman and Morrison), so that S in its principal frame
    serves all attributes, for n < d as well.

    Args:
        X: rows, float32 or float64.
        Y: attributes of zeros and ones.
        shrinkage: s in [0, 1] for all attributes; None: Ledoit and Wolf's. 1 gives the class means.

    Raises:
        ValueError: an attribute of one class, a shrinkage outside [0, 1], or what `as_matrix` and `as_labels` refuse.
    """
    rows, labels = _rows_and_labels(X, Y)
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage must lie between 0 and 1, not {shrinkage}")
    n, d = rows.shape
    frame = principal_frame(rows)
    variances = frame.eigenvalues / n  # (r,) of S
    delta = frame.scores.T @ _contrasts(labels)  # (r, k)
    rate = labels.mean(axis=0)
    between = rate * (1 - rate)  # (k,)
    power = (delta**2).sum(axis=0)
    mu = (variances.sum() - between * power) / d
    if shrinkage is None:
        square = (variances**2).sum() - 2 * between * (variances @ delta**2) + (between * power) ** 2  # |S_w|_F^2, (k,)
        off = labels - rate  # (n, k)
        within = (frame.scores**2).sum(axis=1)[:, None] - 2 * off * (frame.scores @ delta) + off**2 * power  # |x|^2
        distance = square - d * mu**2  # |S_w - mu I|_F^2, over which stands the sampling variance of S_w
        sampling = np.minimum(((within**2).mean(axis=0) - square) / n, distance)
        shrinkage = sampling / np.maximum(distance, np.finfo(np.float64).tiny)
    return frame.lift(delta / ((1 - shrinkage) * variances[:, None] + shrinkage * mu))


def _rows_and_labels(X: ArrayLike, Y: ArrayLike) -> tuple[Matrix, Floats]:
    rows = as_matrix(X)
    labels = as_labels(Y, rows=len(rows))
    refuse_one_class(labels)
    return rows, labels


def _contrasts(Y: Floats) -> Floats:
    """Weights (n, k) that take the mean of the positive rows less that of the negative ones."""
    return np.asarray(Y / Y.sum(axis=0) - (1 - Y) / (1 - Y).sum(axis=0))


_EDGE = 1 - 1e-9  # artanh ends here
PROBE, CLASS_MEANS, LDA = "probe", "class means", "lda"
MAKERS: Mapping[str, Callable[..., Floats]] = MappingProxyType(
    {
        PROBE: lambda X, Y, groups=None, C=None: probe_directions(X, Y, groups=groups, C=C),
        CLASS_MEANS: lambda X, Y, groups=None, C=None: class_mean_directions(X, Y),
        LDA: lambda X, Y, groups=None, C=None: lda_directions(X, Y),
    }
)
"""Kind -> rows (n, d), labels (n, k), groups (n,) and strengths (k,), to directions (d, k).

They point to where the attribute is. A kind that has strengths chooses them, with groups whole, where none are given.
"""
STRENGTHS: Mapping[str, Callable[[ArrayLike, ArrayLike, ArrayLike | None], Floats]] = MappingProxyType(
    {PROBE: lambda X, Y, groups: probes_on(X, Y, groups).C}
)
"""Kind -> rows, labels and groups to the strengths (k,) that its maker chooses, for kinds that have any."""


@dataclass(frozen=True, eq=False)
class Directions(Result):
    """Unit directions of attributes, and how far other rows of the same kind would turn them.

    `agreement` is the cosine, weighted by the rows' covariance, of the directions made on two disjoint halves of the
    rows: mean, least and greatest over random splits. `null` is the same with the labels' rows shuffled in each half.
    The direction of all rows is better determined than that of a half.
    """

    kind: str
    names: tuple[str, ...]  # (k,)
    refused: Mapping[str, str]  # attribute -> why it has no direction
    normals: Floats  # (k, d) unit vectors
    scales: Floats  # (k,) standard deviation of the rows along each: one unit of an edit's strength
    agreement: tuple[Interval, ...]  # (k,) NaN where no half-sample holds both classes in both halves
    null: tuple[Interval, ...]  # (k,)
    n: int
    d: int
    draws: Draws

    def normal(self, name: str) -> Floats:
        """One attribute's direction (d,); ValueError for one that there is not."""
        return np.asarray(self.normals[self.names.index(name)])

    def records(self) -> list[dict[str, Any]]:
        """One dictionary an attribute."""
        rows = zip(self.names, self.scales, self.agreement, self.null, strict=True)
        return [
            {"attribute": name, "kind": self.kind, "scale": float(scale), "measure": "agreement of halves",
             **found.to_dict(), "null": chance.estimate, "null_low": chance.low, "null_high": chance.high}
            for name, scale, found, chance in rows
        ]  # fmt: skip


def make_directions(
    X: ArrayLike,
    Y: ArrayLike,
    names: Sequence[str],
    *,
    kind: str = PROBE,
    basis: Basis | None = None,
    groups: ArrayLike | None = None,
    n_splits: int = 4,
    seed: int = 42,
) -> Directions:
    """Directions of every attribute of Y (n, k) in a view X (n, d), float32 or float64, made on these rows.

    Args:
        X: rows of the view.
        Y: attributes of zeros and ones.
        names: (k,) their names.
        kind: one of `MAKERS`.
        basis: make them on the view's principal components (the published basis) and carry them back: w on scores is
            V w in the view. What lies outside the basis is then left alone by an edit.
        groups: (n,) identities: none is in both halves or in two of the folds that choose C, and the null shuffles
            labels over whole identities.
        n_splits: random splits in halves for the agreement; 0 leaves it NaN.
        seed: decides the halves.

    Returns:
        Directions of the attributes that have both classes; the others are in `.refused` with their reason.

    Raises:
        ValueError: an unknown kind, no attribute with both classes, or what the kind's maker refuses.
    """
    refuse_settings(seed=seed)
    rows, labels = as_matrix(X), as_labels(Y, rows=len(np.asarray(X)), names=names)
    both = _both_classes(labels)
    if not both.any():
        refuse_one_class(labels, names)
    refused = {name: "every row has the same value" for name, told in zip(names, both, strict=True) if not told}
    scores, labels = rows if basis is None else basis.transform(rows), labels[:, both]
    units = units_of(len(rows), groups)
    C = strengths_on(scores, labels, kind, units)
    normals = carry_back(directions_on(scores, labels, kind, units, C), basis).T
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    agreements = _agreements(scores, labels, kind, C, units, n_splits, [seed, 3])
    agreement, null = (_spans(found, labels.shape[1]) for found in agreements)
    scales = (rows @ normals.T.astype(rows.dtype)).std(axis=0, dtype=np.float64)
    kept = tuple(name for name in names if name not in refused)
    (n, d), draws = rows.shape, Draws(n_splits=n_splits, seed=seed)
    return Directions(kind, kept, refused, normals, scales, agreement, null, n, d, draws)


def directions_on(
    X: ArrayLike, Y: ArrayLike, kind: str, groups: ArrayLike | None = None, C: ArrayLike | None = None
) -> Floats:
    """Directions (d, k), of whatever length, of Y (n, k) on X (n, d); ValueError for a kind that is not in `MAKERS`."""
    _refuse_unknown(kind)
    return MAKERS[kind](X, Y, groups, C)


def strengths_on(X: ArrayLike, Y: ArrayLike, kind: str, groups: ArrayLike | None) -> Floats | None:
    """What a kind's maker chooses on these rows, and keeps on parts of them; None where it chooses nothing."""
    _refuse_unknown(kind)
    return STRENGTHS[kind](X, Y, groups) if kind in STRENGTHS else None


def _refuse_unknown(kind: str) -> None:
    if kind not in MAKERS:
        raise ValueError(f"kind must be one of {', '.join(MAKERS)}, not {kind!r}")


def carry_back(W: Floats, basis: Basis | None) -> Floats:
    """Directions (r, k) on principal scores in the view's own coordinates (d, k); as they are without a basis."""
    return W if basis is None else np.asarray(basis.carry_back(W.T).T, dtype=np.float64)


def carry_back_probes(probes: Probes, basis: Basis | None) -> Probes:
    """Probes fitted on principal scores (x - mean) V as probes of the view's rows x: the same logits."""
    coef = carry_back(probes.coef, basis)
    shift = 0.0 if basis is None else basis.mean.astype(np.float64) @ coef
    return replace(probes, coef=coef, intercept=np.asarray(probes.intercept - shift))


def _both_classes(Y: Floats) -> NDArray[np.bool_]:
    return np.asarray((Y.max(axis=0, initial=0) > 0) & (Y.min(axis=0, initial=1) < 1))


def _agreements(
    X: Matrix, Y: Floats, kind: str, C: Floats | None, units: NDArray[np.intp], n_splits: int, seeds: list[int]
) -> Iterator[Floats]:
    """Cosines (splits, k) of the directions of both halves, NaN where one lacks a class; then of shuffled labels."""
    folds = assign_folds(len(X), 2, seed=seeds[0], groups=units)
    halves = list(half_samples(folds, n_splits, seed=seeds[0], groups=units)) if n_splits else []
    for rng in (None, np.random.default_rng(seeds)):
        found = np.full((len(halves), Y.shape[1]), np.nan)
        for cosines, half in zip(found, halves, strict=True):
            sides = [np.flatnonzero(half), np.flatnonzero(~half)]
            labels = [Y[rows if rng is None else rows[next(shuffled(units[rows], 1, rng))]] for rows in sides]
            told = np.logical_and(*map(_both_classes, labels))
            if told.any():
                kept = None if C is None else C[told]
                a, b = (directions_on(X[rows], y[:, told], kind, C=kept) for rows, y in zip(sides, labels, strict=True))
                cosines[told] = [cosine(u, v, rows=X) for u, v in zip(a.T, b.T, strict=True)]
        yield found


def stray_shares(
    X: Matrix, Y: Floats, kind: str, units: NDArray[np.intp], C: Floats | None, *, seed: int, n_splits: int = 4
) -> Floats:
    """How far directions of Y (n, k) on X (n, d) stray, over how far those of shuffled labels do: (k,) in [0, 1].

    A direction is signal s and noise e, and strays by |e| / |s + e|. Halves have twice the variance of noise, so that
    the cosine c of their directions is |s|^2 / (|s|^2 + 2 |e|^2), and the square of the share (1 - c) / (1 + c), which
    is exp(-2 artanh c): what Spearman and Brown's formula (1910) leaves of 1. The cosine is taken two deviations of
    shuffled labels lower, on that scale, so that luck does not make directions of nothing look steady.
    """
    agreements = _agreements(X, Y, kind, C, units, n_splits, [seed, 8])
    z, z_chance = (np.arctanh(np.clip(each, -_EDGE, _EDGE)) for each in agreements)
    known = np.isfinite(z).all(axis=0)  # a half may lack a class
    luck = float(np.sqrt(np.nanmean(z_chance**2))) if np.isfinite(z_chance).any() else np.inf
    return np.where(known, np.exp(-np.clip(np.where(known, z, 0).mean(axis=0) - 2 * luck, 0, None)), 1.0)


def _spans(found: Floats, k: int) -> tuple[Interval, ...]:
    """Mean, least and greatest of what splits gave (splits, k)."""
    columns = [column[np.isfinite(column)] for column in found.reshape(-1, k).T]
    return tuple(Interval(*(float(f(c)) if c.size else np.nan for f in (np.mean, np.min, np.max))) for c in columns)
