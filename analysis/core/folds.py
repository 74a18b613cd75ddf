"""Folds of cross-validation: a function of rows, groups and seed only, so that every view gets the same ones."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def assign_folds(n: int, n_folds: int, *, seed: int = 42, groups: ArrayLike | None = None) -> NDArray[np.intp]:
    """The fold of each of n rows, (n,) in [0, n_folds); rows of one of `groups` (n,) always share a fold.

    Units (rows, or whole groups) are shuffled and cut into folds of nearly equal numbers of rows.

    Raises:
        ValueError: fewer than 2 folds, or fewer units than folds, or groups so large that a fold stays empty.
    """
    labels = np.arange(n) if groups is None else np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"groups must be one label a row, ({n},), not of shape {labels.shape}")
    unit, size = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    if not 2 <= n_folds <= len(size):
        raise ValueError(f"n_folds must lie between 2 and the {len(size)} independent rows or groups, not {n_folds}")
    order = np.random.default_rng(seed).permutation(len(size))
    middle = np.cumsum(size[order]) - size[order] / 2
    fold_of_unit = np.empty(len(size), dtype=np.intp)
    fold_of_unit[order] = np.floor(middle * n_folds / n).astype(np.intp)
    if len(np.unique(fold_of_unit)) < n_folds:
        raise ValueError(f"groups are too large for {n_folds} folds: one fold would be empty; ask for fewer")
    return fold_of_unit[unit.reshape(n)]
