"""How alike can two views be? What a view says of another, as a share of what that view says of itself elsewhere."""

from dataclasses import dataclass
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
    same_rows,
    to_numpy,
)
from noisezoo.analysis.relations import (
    RIDGES,
    LinearKernel,
    cut,
    explained,
    galleries,
    held_out_scores,
    regress,
    unbiased_cka,
)

MEASURES = ("r2", "cka", "retrieval@1")
GALLERY = 100
"""Targets among which a row's own is sought, at most."""


@dataclass(frozen=True, eq=False)
class Ceiling(Result):
    """Each of MEASURES of X with Y, of the copy with Y, and the first as a share of the second."""

    found: tuple[Measured, ...]
    ceiling: tuple[Measured, ...]
    share: tuple[Measured, ...]  # NaN where the ceiling is not above chance
    n: int
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary for each of `found`, `ceiling` and `share`, and measure."""
        return [{"what": what, **one.row(measure)} for what in ("found", "ceiling", "share")
                for measure, one in zip(MEASURES, getattr(self, what), strict=True)]  # fmt: skip


def share_of_ceiling(
    X: ArrayLike,
    Y: ArrayLike,
    copy: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    n_splits: int = 8,
    n_permutations: int = 10,
    confidence: float = 0.95,
    seed: int = 42,
) -> Ceiling:
    """What X (n, d) says of Y (n, e), as a share of what `copy` does: Y's own view of another picture of the same.

    By the R2 of ridge and the share of rows whose own target is the nearest to the prediction, on rows that no map was
    fitted on, and by unbiased CKA. As in representational similarity analysis (Nili et al. 2014) the ceiling says how
    much of Y depends on more than what the two pictures share, so that no other view need say it. It is no bound: an X
    of the very picture may say more, and its share be above 1, which is why no share is clipped.

    Intervals are by half-samples, of the share as a whole. The null pairs the rows of Y with those of X and the copy at
    random. A share is NaN where the interval of the ceiling holds what the null does.

    `copy` are rows of Y's view of the mirrored or cropped pictures. `groups` (n,) are identities, whose pairs CKA
    leaves out; they and the draws are as in `Draws`.

    Raises:
        ValueError: what `same_rows` and `Resampling` refuse.
    """
    draws = Draws(n_folds, n_splits, n_permutations, confidence=confidence, seed=seed)
    *sources, target = map(to_numpy, same_rows([("X", X), ("the copy", copy), ("Y", Y)]))
    rows = Resampling.of(len(target), groups, draws)

    def score(first: Units, others: Units) -> Scored:
        """Of rows (m,) of Y with rows (m,) of X and the copy."""
        folds, units = rows.folds[others], np.unique(rows.units[others], return_inverse=True)[1]
        values, influences = zip(*(_score(A[others], target[first], folds, units, seed) for A in sources), strict=True)
        share, told = _ratio(values, influences)
        return np.concatenate([*values, share]), np.hstack([*influences, told])

    null = (score(order, rows.parts[0])[0] for order in rows.orders(16))
    every = rows.measured((score(some, some) for some in rows.parts), null, most=np.inf)
    k = len(MEASURES)
    found, ceiling, share = every[:k], every[k : 2 * k], every[2 * k :]
    return Ceiling(tuple(found), tuple(ceiling), tuple(map(_told, share, found, ceiling)), len(target), draws)


def _score(X: AnyArray, Y: AnyArray, folds: Units, units: Units, seed: int) -> Scored:
    """MEASURES of X with Y (3,), and each row's influence (m, 3)."""
    source = cut(X, folds)
    found = held_out_scores(
        regress(source, Y), RIDGES, galleries(source.rows, GALLERY, np.random.default_rng([seed, 17]))
    )
    hits = found.hits[:, 0]
    cka, of_unit = unbiased_cka(LinearKernel.of(X, units), LinearKernel.of(Y, units))
    of_row = np.zeros(len(X))
    of_row[np.unique(units, return_index=True)[1]] = of_unit
    r2, of_r2 = explained(found.errors, found.spreads)
    return np.array([r2, cka, hits.mean()]), np.stack([of_r2, of_row, (hits - hits.mean()) / len(hits)], axis=1)


def _ratio(values: tuple[Floats, ...], influences: tuple[Floats, ...]) -> Scored:
    (a, b), (of_a, of_b) = values, influences
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(b != 0, a / b, np.nan)
        return share, np.where(b != 0, (of_a - share * of_b) / b, 0.0)


def _told(share: Measured, found: Measured, ceiling: Measured) -> Measured:
    """The share, with the null of what was found as a share of this ceiling; NaN where the ceiling is not above chance.

    The ceiling of rows that are paired at random is about 0, and a share of it tells nothing.
    """
    if not ceiling.low > np.fmax(ceiling.null.high, 0):
        nothing = Null(np.nan, np.nan, np.nan, np.nan)
        return Measured(np.nan, np.nan, np.nan, nothing)
    of, top = found.null, ceiling.estimate
    null = Null(of.mean / top, of.low / top, of.high / top, of.p_value, of.tau / top)
    return Measured(share.estimate, share.low, share.high, null)
