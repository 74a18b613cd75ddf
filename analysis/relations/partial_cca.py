"""Canonical correlations of two views given a third, on rows that no map was fitted on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import (
    Draws,
    Estimate,
    Floats,
    Measured,
    Result,
    Scored,
    Units,
    as_matrix,
    assign_folds,
    half_samples,
    null_of_draws,
    parts_of,
    shuffled,
    units_of,
)
from .svcca import canonical_maps, leading_scores, mean_correlation, out_of_fold

MEASURES = ("canonical correlation", "partial canonical correlation")
MEAN = "mean"
_SHARE = 0.99


@dataclass(frozen=True, eq=False)
class PartialCCA(Result):
    """Held-out canonical correlations of X and Y, and the same given Z: of each leading pair, then of their mean."""

    alone: tuple[Measured, ...]  # (pairs + 1,)
    given: tuple[Measured, ...]  # (pairs + 1,)
    n: int
    axes: tuple[int, int, int]  # of X, Y and Z
    draws: Draws
    caveats: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary for each of MEASURES and each pair, 1 the strongest, and their mean."""
        pairs = [*map(str, range(1, len(self.given))), MEAN]
        return [{"pair": pair, **one.row(name)} for name, found in zip(MEASURES, (self.alone, self.given), strict=True)
                for pair, one in zip(pairs, found, strict=True)]  # fmt: skip


def partial_cca(
    X: ArrayLike,
    Y: ArrayLike,
    Z: ArrayLike,
    *,
    pairs: int = 5,
    groups: ArrayLike | None = None,
    max_axes: int = 100,
    n_folds: int = 5,
    n_splits: int = 8,
    n_permutations: int = 10,
    confidence: float = 0.95,
    seed: int = 42,
) -> PartialCCA:
    """Canonical correlations (Hotelling 1936) of X (n, d) and Y (n, e), and given Z (n, c) (Rao 1969), held out.

    Given Z means: of what least squares on Z leaves of either. Not ridge, whose bias leaves the same part of Z in both
    and correlates them. Regressions and directions are fitted without each fold, so that a correlation is 0 on average
    where nothing is shared, and may be negative; the order of the pairs is that of the training rows.

    X and Y enter by the leading axes that hold 99 % of their variance, at most a twentieth of the rows (of the groups).
    Z enters by all axes, as what is not given is not taken out, at most a fifth. No view has more than `max_axes`.

    Intervals are by half-samples. The null shuffles the rows of X, or whole groups; given Z, those of what Z leaves of
    X (Freedman and Lane 1983).

    Args:
        X: rows of one view, such as a noise.
        Y: rows of the other, such as an encoder's.
        Z: rows of what is given, such as the pixels.
        pairs: leading pairs of directions, at most as many as axes.
        groups: (n,) identities: a group never straddles folds or halves, and is permuted whole.
        max_axes: leading axes of a view.
        n_folds: folds.
        n_splits: splits in halves for the intervals, also their degrees of freedom.
        n_permutations: of the null; below 2 NaN.
        confidence: of the intervals.
        seed: decides folds, halves and permutations.

    Raises:
        ValueError: different numbers of rows, fewer than 40, a view whose rows are all equal, or what `as_matrix` and
            `assign_folds` refuse.
    """
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    views = [as_matrix(A, name, min_rows=40) for name, A in (("X", X), ("Y", Y), ("Z", Z))]
    n = _rows(views)
    units, folds = units_of(n, groups), assign_folds(n, n_folds, seed=seed, groups=groups)
    independent = int(units.max()) + 1
    led = [leading_scores(A, share, max(1, min(max_axes, independent // part)))
           for A, (share, part) in zip(views, ((_SHARE, 20), (_SHARE, 20), (1.0, 5)), strict=True)]  # fmt: skip
    (T, _), (U, _), (C, _) = led
    q = min(pairs, T.shape[1], U.shape[1])
    parts = parts_of(half_samples(folds, n_splits, seed=seed, groups=units))
    scored = [_score(T[rows], U[rows], C[rows], folds[rows], q) for rows in parts]
    intervals = Estimate.of(scored, parts, units).intervals(confidence, least=-1.0)
    left = T - C @ np.linalg.lstsq(C, T, rcond=None)[0]
    orders = list(shuffled(units, n_permutations, np.random.default_rng([seed, 15])))
    null = np.array([[*_pairs(T[o], U, None, folds, q)[0], *_pairs(left[o], U, C, folds, q)[0]] for o in orders])
    columns = null.reshape(-1, 2 * (q + 1)).T
    laws = [null_of_draws(i.estimate, column, confidence) for i, column in zip(intervals, columns, strict=True)]
    found = tuple(map(Measured.of, intervals, laws))
    said = tuple(f"partial_cca sees the leading {A.shape[1]} axes of {name}, {held:.0%} of its variance"
                 for name, (A, held) in zip("XYZ", led, strict=True) if held < _SHARE)  # fmt: skip
    return PartialCCA(found[: q + 1], found[q + 1 :], n, (T.shape[1], U.shape[1], C.shape[1]), draws, said)


def _rows(views: list[Any]) -> int:
    counts = [len(A) for A in views]
    if len(set(counts)) > 1:
        raise ValueError(f"X, Y and Z have {counts} rows: give the same images, in the same order, in all three")
    return counts[0]


def _score(X: Floats, Y: Floats, Z: Floats, folds: Units, q: int) -> Scored:
    """Correlations of q pairs and their mean, then those given Z (2 q + 2,), and each row's influence."""
    both = [_pairs(X, Y, given, folds, q) for given in (None, Z)]
    return np.concatenate([v for v, _ in both]), np.hstack([influence for _, influence in both])


def _pairs(X: Floats, Y: Floats, given: Floats | None, folds: Units, q: int) -> Scored:
    a, b = out_of_fold(canonical_maps, X, Y, folds, given)
    each = [mean_correlation(a[:, [j]], b[:, [j]], folds) for j in range(q)]
    values, influences = np.array([v for v, _ in each]), np.stack([influence for _, influence in each], axis=1)
    return np.append(values, values.mean()), np.column_stack([influences, influences.mean(axis=1)])
