"""Mutual nearest neighbours: do two views agree on which images are near each other?

Huh et al. (2024, The Platonic Representation Hypothesis): the mean over rows of |N_k(x) and N_k(y)| / k, neighbours by
cosine.
"""

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Floats, largest, like, namespace, to_numpy

Neighbours = NDArray[np.intp]
_BLOCK = 6144  # rows whose similarities are held at a time; a view of no more takes half the work (syrk)


def nearest(X: AnyArray, k: int, units: NDArray[np.intp] | None = None) -> Neighbours:
    """The k nearest other rows of each row of X (n, d) by cosine, nearest first: (n, k).

    Rows of one of `units` (n,) are never neighbours; -1 stands in where a row has fewer than k others. Rows of zeros
    are equally near to all. Between equal similarities the choice is arbitrary, but the same every time.
    """
    U = unit_rows(X)
    units = np.arange(len(X)) if units is None else units
    found = [_nearest_of(U, slice(start, start + _BLOCK), k, units) for start in range(0, len(X), _BLOCK)]
    return np.concatenate(found)


def unit_rows(X: AnyArray) -> AnyArray:
    """Rows of X (n, d) of norm 1; rows of zeros stay."""
    xp = namespace(X)
    norms = xp.sqrt((X * X).sum(1))[:, None]
    return X / xp.where(norms > 0, norms, xp.ones_like(norms))


def _nearest_of(U: AnyArray, rows: slice, k: int, units: NDArray[np.intp]) -> Neighbours:
    S = U[rows] @ U.T
    S[like(units[rows, None] == units, S)] = -np.inf
    columns = largest(S, k)
    values = to_numpy(S[[[i] for i in range(len(S))], columns])
    order = np.argsort(-values, axis=1, kind="stable")
    found = np.where(np.isfinite(values), to_numpy(columns), -1)
    return np.take_along_axis(found, order, axis=1)


def tied_rows(X: AnyArray, found: Neighbours, k: int) -> int:
    """How many rows of X (n, d) have a k-th and a next neighbour, of `found` (n, more), that rounding cannot part."""
    U = to_numpy(unit_rows(X))
    last, after = ((U * U[found[:, place]]).sum(axis=1) for place in (k - 1, k))
    return int((np.abs(last - after) <= 4 * np.finfo(U.dtype).eps)[found[:, k] >= 0].sum())


def among(found: Neighbours, rows: NDArray[np.intp], k: int) -> Neighbours:
    """The k nearest of each of some rows (m,) among them, from more neighbours of every row (n, K): (m, k), renumbered.

    Where fewer than k of the K are among them, -1 stands in, which `overlap` never counts.
    """
    number = np.full(len(found) + 1, -1)  # the last is that of -1
    number[rows] = np.arange(len(rows))
    lists = number[found[rows]]
    first = np.argsort(lists < 0, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(lists, first, axis=1)


def reordered(found: Neighbours, order: NDArray[np.intp]) -> Neighbours:
    """Neighbours (n, k) of rows that are put in another order (n,): row i is then what row order[i] was."""
    return np.argsort(order)[found[order]]


def overlap(a: Neighbours, b: Neighbours) -> Floats:
    """Share of each row's neighbours a (n, k) that are also in b (n, k): (n,)."""
    both = np.sort(np.concatenate([a, b], axis=1), axis=1)
    return np.asarray(((both[:, 1:] == both[:, :-1]) & (both[:, 1:] >= 0)).sum(axis=1) / a.shape[1])
