"""The units of chance: what may be permuted, resampled and drawn where rows come in groups."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .result import refuse_settings

Counts = NDArray[np.float32]
Units = NDArray[np.intp]
"""Number of the unit that each row belongs to, (n,) in [0, units)."""


def units_of(n: int, groups: ArrayLike | None, name: str = "groups") -> Units:
    """The unit of each of n rows, (n,): itself, or its group. The one door for `groups`.

    Rows of one group (pictures of one person) are alike: they are not exchangeable with others' rows, and they err
    together. So a null permutes with `shuffled`, the bootstrap resamples with `resample_counts`, halves and folds keep
    groups whole, intervals add influences up in units, and tests of independent rows take `one_of_each`.

    Raises:
        ValueError: `groups` that are not one label a row, or that miss some (NaN, None, NA, masked).
    """
    if groups is None:
        return np.arange(n)
    labels = np.ma.asarray(groups) if np.ma.isMaskedArray(groups) else np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"{name} must be one label a row, ({n},), not of shape {labels.shape}")
    missing = np.ma.getmaskarray(labels) | np.array([_is_missing(label) for label in labels.tolist()], dtype=np.bool_)
    if missing.any():
        where = f"{missing.sum()} rows, the first row {missing.argmax()}"
        raise ValueError(f"{name} has no label for {where}: give each a group of its own, or drop them")
    try:
        return np.unique(labels, return_inverse=True)[1].reshape(n)
    except TypeError:
        raise ValueError(f"{name} must hold labels of one type, such as strings or integers") from None


def _is_missing(label: object) -> bool:
    """None, NaN and NaT, and pandas' NA, which equals nothing and cannot say so."""
    return label is None or type(label).__name__ == "NAType" or label != label


def shuffled(units: Units, times: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Orders (n,) under the null that what is permuted knows nothing of the rest: row i takes the place of `order[i]`.

    `A[order]` beside the unmoved B (another view, labels) has the null's law. Rows that are units of their own are
    permuted. Groups change places whole, whatever their sizes: the rows of a group are filled with those of the group
    that it gets, in random order, from the first again where they run out. Where sizes are equal this is a permutation
    of groups, and exact; elsewhere a row may come twice or not at all, so that the null is wider than it need be, and
    never narrower. With fewer than two units an order tells nothing: refuse that first.

    Measured on unrelated columns of 40 people with 1 to 6 pictures (3,000 seeds, p <= 0.05): a value of the person
    0.050, a value of the person and one of the picture 0.037, Student's t with 3 degrees 0.050, a rare label 0.053.
    """
    units = np.unique(units, return_inverse=True)[1]  # a part of the rows may miss units
    size = np.bincount(units)
    start = np.cumsum(size) - size
    for _ in range(times):
        if len(size) == len(units):
            yield rng.permutation(len(units))[units]
            continue
        own, drawn = (np.lexsort((rng.random(len(units)), units)) for _ in range(2))  # rows by group, in random order
        given = rng.permutation(len(size))[units[own]]  # the group whose rows fill each place
        place = np.arange(len(units)) - start[units[own]]
        order = np.empty_like(units)
        order[own] = drawn[start[given] + place % size[given]]
        yield order


def one_of_each(units: Units, seed: int) -> NDArray[np.intp]:
    """One row of each unit, drawn by `seed`: rising indices (units,) of rows that are independent."""
    shuffled_rows = np.random.default_rng([seed, 6]).permutation(len(units))
    return np.sort(shuffled_rows[np.unique(units[shuffled_rows], return_index=True)[1]])


def units_with(units: Units, Y: NDArray[np.float64]) -> NDArray[np.intp]:
    """How many units hold a row of each class of Y (n, k), zeros and ones: (2, k), negatives first.

    A unit with rows of both counts for both.
    """
    held = np.zeros((2, int(units.max()) + 1, Y.shape[1]), dtype=np.bool_)
    for c in (0, 1):
        np.logical_or.at(held[c], units, Y == c)
    return np.asarray(held.sum(axis=1))


def resample_counts(n: int, n_boot: int = 1000, *, seed: int = 42, groups: ArrayLike | None = None) -> Counts:
    """How often each row is drawn in each resample: (n_boot, n) float32, multinomial.

    With `groups` (n,), whole groups are drawn, as rows of one identity are not independent. The same n, seed and
    groups give the same resamples, so that statistics of two views on the same rows are paired by construction.

    Raises:
        ValueError: as `units_of`, or no resample.
    """
    refuse_settings(n_boot=n_boot, seed=seed)
    unit = units_of(n, groups)
    units = int(unit.max()) + 1
    drawn = np.random.default_rng(seed).integers(units, size=(n_boot, units))
    flat = np.bincount((drawn + units * np.arange(n_boot)[:, None]).ravel(), minlength=n_boot * units)
    counts = flat.reshape(n_boot, units).astype(np.float32)
    return counts if groups is None else counts[:, unit]
