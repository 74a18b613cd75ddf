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


def among(found: Neighbours, kept: NDArray[np.bool_], k: int) -> Neighbours:
    """The k nearest of each kept row among kept rows, from more neighbours of each row (n, K): (m, k), renumbered.

    Where fewer than k of the K are kept, the row's own number stands in, which `overlap` never counts.
    """
    lists, number = found[kept], np.cumsum(kept) - 1
    inside = kept[lists]
    first = np.argsort(~inside, axis=1, kind="stable")[:, :k]
    nearest_kept = number[np.take_along_axis(lists, first, axis=1)]
    return np.where(np.take_along_axis(inside, first, axis=1), nearest_kept, np.arange(len(lists))[:, None])


def overlap(a: Neighbours, b: Neighbours) -> Floats:
    """Share of each row's neighbours a (n, k) that are also in b (n, k): (n,)."""
    return np.asarray(_member(a)[np.arange(len(b))[:, None], b].mean(axis=1))


def _member(a: Neighbours) -> NDArray[np.bool_]:
    """Is j another row among the neighbours of i, (n, n)."""
    rows = np.arange(len(a))
    member = np.zeros((len(a), len(a)), dtype=np.bool_)
    member[rows[:, None], a] = True
    member[rows, rows] = False
    return member


def permuted_overlaps(a: Neighbours, b: Neighbours, n_permutations: int, rng: np.random.Generator) -> Floats:
    """Mean overlap after each permutation of the rows of the second view, (n_permutations,); k / (n - 1) on average."""
    member, n = _member(a), len(b)
    orders = (rng.permutation(n) for _ in range(n_permutations))
    return np.array([member[order[:, None], order[b]].mean() for order in orders])
