"""An order of rows in which every beginning keeps the rates of the whole: a limit takes the first rows of it."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

AMONG = 8  # rows of which the best is next: more would keep the rates closer, and what goes together less well
SCALE = 2**14  # one standard deviation, in whole numbers: sums are exact, so no processor decides otherwise


def indicators(columns: "list[pa.ChunkedArray]") -> np.ndarray:
    """(n, m) float64 of 0 and 1: a column for each value but one of two, and for each of more than two."""
    found = []
    for column in columns:
        data = column.to_numpy()
        values = np.unique(data)
        found += [data == value for value in (values[1:] if len(values) <= 2 else values)]
    return np.stack(found, axis=1).astype(np.float64) if found else np.empty((len(columns[0]), 0))


def balanced(order: np.ndarray, B: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of the rows in `order`, reordered so that every beginning keeps B's column means.

    Of the `AMONG` rows next in line, that one is taken which leads the running sum of standardised columns back towards
    zero the most, and the others go to the back (greedy vector balancing). The errors of a beginning's counts stay
    bounded, where those of a random order grow with the root of its length. `count` does not decide what comes first.

    Args:
        order: (n,) the rows, in a random order.
        B: (n, m) of 0 and 1, in the rows' own order, no column constant.
        count: How many rows are wanted.
    """
    V = _standardised(B)
    left = order.copy()
    total, start, size = np.zeros(V.shape[1]), 0, len(order)
    chosen = np.empty(count, dtype=np.intp)
    for k in range(count):
        start = start if start < size else 0
        line = left[start : min(start + AMONG, size)]
        best = start + int(np.argmin(V[line] @ total))
        chosen[k] = left[best]
        total += V[left[best]]
        size -= 1
        left[best] = left[size]
        start += AMONG
    return chosen


def _standardised(B: np.ndarray) -> np.ndarray:
    """(n, m + 1) whole numbers: B's columns, and their sum of squares, so that rows of many rare values keep theirs."""
    rates = B.mean(axis=0)
    V = np.round((B - rates) / np.sqrt(rates * (1 - rates)) * SCALE)  # (n, m)
    rarity = np.round((V * V).sum(axis=1) / SCALE**2 * 16)  # (n,)
    spread = rarity.std() or 1.0
    return np.column_stack([V, np.round((rarity - rarity.mean()) / spread * SCALE)])
