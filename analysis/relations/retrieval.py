"""Retrieval: is the target that belongs to a prediction the nearest among held-out targets?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Floats, to_numpy
from .neighbours import unit_rows

Rows = list[NDArray[np.intp]]


def galleries(rows: Rows, size: int, rng: np.random.Generator) -> Rows:
    """Cut each fold's row numbers at random in galleries of nearly equal size, at most `size` rows each."""
    shuffled = ((rng.permutation(r), -(-len(r) // size)) for r in rows)
    return [np.sort(part) for r, parts in shuffled for part in np.array_split(r, parts)]


def hits(predicted: AnyArray, targets: AnyArray, among: Rows, ks: Sequence[int]) -> Floats:
    """Chance that each row's own target is in the k nearest to its prediction, by cosine, for each k: (n, len(ks)).

    Args:
        predicted: (n, e) about the mean that the targets are about.
        targets: (n, e) likewise.
        among: galleries of row numbers; a row competes in its own gallery only.
        ks: how many of the nearest count.

    The chance is 0 or 1 but for ties, which are broken at random: without a prediction it is k / gallery exactly.
    """
    found = np.zeros((len(predicted), len(ks)))
    for rows in among:
        above, equal = _ranks(unit_rows(predicted[rows]) @ unit_rows(targets[rows]).T)
        found[rows] = np.clip((np.asarray(ks) - above[:, None]) / equal[:, None], 0, 1)
    return found


def chance(among: Rows, ks: Sequence[int]) -> Floats:
    """What predictions that know nothing score at each k, (len(ks),): the mean of min(k / gallery, 1) over rows."""
    sizes = np.array([len(rows) for rows in among])
    return np.asarray(np.minimum(np.asarray(ks) / sizes[:, None], 1).T @ sizes / sizes.sum())


def _ranks(S: AnyArray) -> tuple[Floats, Floats]:
    """How many entries of each row of S (m, m) are above its diagonal entry, and how many equal it, itself included."""
    own = S.diagonal()[:, None]
    above, equal = ((S > own).sum(1), (S == own).sum(1))
    return to_numpy(above).astype(np.float64), to_numpy(equal).astype(np.float64)
