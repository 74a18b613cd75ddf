"""What chance may do to rows: identities are the unit, and change places whole."""

import numpy as np
from numpy.typing import NDArray


def permuted_rows(units: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """For each of n rows the row (n,) that takes its place when identities are permuted; `units` (n,) count from 0.

    Every identity takes the rows of one identity, in any order. Where that has fewer rows they are taken again, and
    where it has more some are left out, so that identities of any size can change places. Where every row is its own
    unit, this is a permutation.
    """
    if len(units) == int(units.max()) + 1:
        return rng.permutation(len(units))
    order = np.argsort(units, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(units))[:-1])
    taken = np.empty(len(units), dtype=np.intp)
    for own, other in zip(rows, rng.permutation(len(rows)), strict=True):
        taken[own] = np.resize(rng.permutation(rows[other]), len(own))
    return taken
