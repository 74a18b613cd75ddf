"""Splits of rows for probes that are fitted once: the released code's, people apart, and the dataset's own."""

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import units_of
from .data import Data

SHARE, SEED = 0.8, 42
ROWS, PEOPLE, OWN = "rows 80/20", "people apart", "the dataset's own"
Mask = NDArray[np.bool_]


def release_split(n: int) -> Mask:
    """The split of the authors' released code: n rows shuffled by numpy's legacy generator at 42, the first 80 % train.

    Pictures of one person stand on both sides of it.
    """
    order = np.arange(n)
    np.random.RandomState(SEED).shuffle(order)
    train = np.zeros(n, dtype=np.bool_)
    train[order[: int(SHARE * n)]] = True
    return train


def splits_of(data: Data) -> dict[str, Mask]:
    """Name -> training rows (n,); the last one is the one to trust."""
    found = {ROWS: release_split(len(data))}
    if data.train.sum() > 1 and not data.train.all():
        found[OWN] = data.train
    if data.groups is not None:
        units = units_of(len(data), data.groups)
        found[PEOPLE] = release_split(int(units.max()) + 1)[units]
    return found
