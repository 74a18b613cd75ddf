"""Which of many hypotheses to reject, at a bounded share of false rejections."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.bool_]


def benjamini_hochberg(p: ArrayLike, q: float = 0.05) -> Mask:
    """Benjamini and Hochberg (1995): rejections (m,) among p-values (m,), at a false discovery rate of q.

    Holds for independent tests, and for positively dependent ones.

    Raises:
        ValueError: p-values outside [0, 1] or NaN, none at all, or q outside (0, 1).
    """
    return _step_up(p, q, 1.0)


def benjamini_yekutieli(p: ArrayLike, q: float = 0.05) -> Mask:
    """Benjamini and Yekutieli (2001): rejections (m,) among p-values (m,), at a false discovery rate of q.

    Holds whatever the dependence, at the price of a factor 1 + 1/2 + ... + 1/m. Tests of correlated coordinates, or of
    projections of the same rows, are dependent in a way nobody has shown to be positive: so use this for them.

    Raises:
        ValueError: p-values outside [0, 1] or NaN, none at all, or q outside (0, 1).
    """
    return _step_up(p, q, float((1 / np.arange(1, np.size(p) + 1)).sum()))


def _step_up(p: ArrayLike, q: float, factor: float) -> Mask:
    """Reject the k smallest, k the last with p_(k) <= q k / (m factor)."""
    P = np.asarray(p, dtype=np.float64).ravel()
    if not P.size or not ((P >= 0) & (P <= 1)).all():
        raise ValueError("false discovery needs at least one p-value, all within [0, 1]; drop NaN first")
    if not 0 < q < 1:
        raise ValueError(f"the false discovery rate q must lie between 0 and 1, not {q}")
    rising = np.sort(P)
    below = np.flatnonzero(rising <= q * np.arange(1, P.size + 1) / (P.size * factor))
    return np.asarray(P <= rising[below[-1]]) if below.size else np.zeros(P.size, dtype=bool)
