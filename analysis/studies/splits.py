"""Splits of rows for probes that are fitted once: the released code's, people apart, and the dataset's own."""

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import units_of
from noisezoo.schema import PAPER_SPLIT, release_split
from .data import TRAIN, Data

ROWS, PEOPLE, OWN = "rows 80/20", "people apart", "the dataset's own"
Mask = NDArray[np.bool_]


def splits_of(data: Data) -> dict[str, Mask]:
    """Name -> training rows (n,); the last one is the one to trust."""
    labels = data.labels.data
    told = PAPER_SPLIT in labels.column_names  # of all rows, those too that were refused since
    found = {ROWS: np.asarray(labels.column(PAPER_SPLIT).to_pylist()) == TRAIN if told else release_split(len(data))}
    if data.train.sum() > 1 and not data.train.all():
        found[OWN] = data.train
    if data.groups is not None:
        units = units_of(len(data), data.groups)
        found[PEOPLE] = release_split(int(units.max()) + 1)[units]
    return found
