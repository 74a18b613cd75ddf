"""Canonical correlations of two views given a third, on rows that no map was fitted on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import Draws, Floats, Measured, Resampling, Result, Scored, Units, same_rows, to_numpy
from noisezoo.analysis.relations import canonical_maps, leading_scores, mean_correlation, out_of_fold

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

    X are rows of one view, such as a noise, Y of the other, such as an encoder's, and Z of what is given, such as the
    pixels. At most as many leading `pairs` of directions are given as there are axes. `groups` and the draws are as in
    `Draws`.

    Raises:
        ValueError: fewer than 40 rows, or what `same_rows` and `Resampling` refuse.
    """
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    views = list(map(to_numpy, same_rows(zip("XYZ", (X, Y, Z), strict=True), min_rows=40)))
    rows = Resampling.of(len(views[0]), groups, draws)
    folds, independent = rows.folds, int(rows.units.max()) + 1
    led = [leading_scores(A, share, max(1, min(max_axes, independent // part)))
           for A, (share, part) in zip(views, ((_SHARE, 20), (_SHARE, 20), (1.0, 5)), strict=True)]  # fmt: skip
    (T, _), (U, _), (C, _) = led
    q, left = min(pairs, T.shape[1], U.shape[1]), T - C @ np.linalg.lstsq(C, T, rcond=None)[0]
    scored = (_score(T[some], T[some], U[some], C[some], folds[some], q) for some in rows.parts)
    null = (_score(T[order], left[order], U, C, folds, q)[0] for order in rows.orders(15))
    found = tuple(rows.measured(scored, null, least=-1.0))
    said = tuple(f"partial_cca sees the leading {A.shape[1]} axes of {name}, {held:.0%} of its variance"
                 for name, (A, held) in zip("XYZ", led, strict=True) if held < _SHARE)  # fmt: skip
    axes = (T.shape[1], U.shape[1], C.shape[1])
    return PartialCCA(found[: q + 1], found[q + 1 :], len(T), axes, draws, said)


def _score(X: Floats, of_X: Floats, Y: Floats, Z: Floats, folds: Units, q: int) -> Scored:
    """Correlations of q pairs of X and Y and their mean, then of `of_X` and Y given Z; and each row's influence."""
    both = [_pairs(X, Y, None, folds, q), _pairs(of_X, Y, Z, folds, q)]
    return np.concatenate([v for v, _ in both]), np.hstack([influence for _, influence in both])


def _pairs(X: Floats, Y: Floats, given: Floats | None, folds: Units, q: int) -> Scored:
    a, b = out_of_fold(canonical_maps, X, Y, folds, given)
    each = [mean_correlation(a[:, [j]], b[:, [j]], folds) for j in range(q)]
    values, influences = np.array([v for v, _ in each]), np.stack([influence for _, influence in each], axis=1)
    return np.append(values, values.mean()), np.column_stack([influences, influences.mean(axis=1)])
