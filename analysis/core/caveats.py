"""What a reader must know of a matrix before believing numbers on it, as sentences."""

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core.arrays import Matrix, constant_columns


def caveats(X: Matrix, folds: NDArray[np.intp] | None = None, name: str = "X") -> tuple[str, ...]:
    """Sentences about X (n, d): fewer rows than dimensions, constant columns, equal rows in different `folds` (n,)."""
    n, d = X.shape
    constant = constant_columns(X).size
    copies = 0 if folds is None else straddling_copies(X, folds)
    found = {
        f"{name} has fewer rows ({n}) than dimensions ({d}): what a linear probe finds there mixes the information in "
        "a view with its conditioning; compare it with controls of the same size": n < d,
        f"{name} has {constant} constant columns, which carry nothing": constant > 0,
        f"{copies} rows of {name} have an exact copy in another fold, so that probes are scored on rows they were "
        "fitted on; drop the copies, or give them one group": copies > 0,
    }
    return tuple(sentence for sentence, holds in found.items() if holds)


def straddling_copies(X: Matrix, folds: NDArray[np.intp]) -> int:
    """How many rows of X (n, d) are equal, bit for bit, to a row of another fold (n,)."""
    keys = np.fromiter((hash(row.tobytes()) for row in X), dtype=np.int64, count=len(X))
    kind = np.unique(keys, return_inverse=True)[1]
    first, last = np.full(kind.max() + 1, folds.max()), np.zeros(kind.max() + 1, dtype=np.intp)
    np.minimum.at(first, kind, folds)
    np.maximum.at(last, kind, folds)
    return int((first < last)[kind].sum())
