"""Mutual nearest neighbours: do two views agree on which images are near each other?

Huh et al. (2024, The Platonic Representation Hypothesis): the mean over rows of |N_k(x) and N_k(y)| / k, neighbours by
cosine.
"""

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, largest, namespace, to_numpy

Floats = NDArray[np.float64]
Neighbours = NDArray[np.intp]
_BLOCK = 6144  # rows whose similarities are held at a time; a view of no more takes half the work (syrk)


def nearest(X: AnyArray, k: int) -> Neighbours:
    """The k nearest other rows of each row of X (n, d) by cosine, nearest first: (n, k).

    Rows of zeros are equally near to all. Between equal similarities the choice is arbitrary, but the same every time.
    """
    xp, n = namespace(X), len(X)
    norms = xp.sqrt((X * X).sum(1))[:, None]
    U = X / xp.where(norms > 0, norms, xp.ones_like(norms))
    found = [_nearest_of(U[start : start + _BLOCK], U, start, k) for start in range(0, n, _BLOCK)]
    return np.concatenate(found)


def _nearest_of(rows: AnyArray, U: AnyArray, start: int, k: int) -> Neighbours:
    S = rows @ U.T
    m = range(len(rows))
    S[m, range(start, start + len(rows))] = -np.inf  # no row is its own neighbour
    columns = largest(S, k)
    values = to_numpy(S[[[i] for i in m], columns])
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(to_numpy(columns), order, axis=1)


def among(found: Neighbours, rows: NDArray[np.intp], k: int) -> Neighbours:
    """The k nearest of each of some rows (m,) among them, from more neighbours of every row (n, K): (m, k), renumbered.

    Where fewer than k of the K are among them, -1 stands in, which `overlap` never counts.
    """
    number = np.full(len(found), -1)
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
