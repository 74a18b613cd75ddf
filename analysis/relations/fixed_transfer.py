"""Transfer as the paper has it: fixed probes of an encoder, applied to what ridge makes of a noise view (Table 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Draws,
    Floats,
    Interval,
    Matrix,
    Result,
    as_labels,
    mean_intervals,
    null_columns,
    same_rows,
    shuffled,
    to_numpy,
    units_of,
)
from noisezoo.analysis.probes import Probes, as_mask, paper_probes
from .stitch import stitch

MEASURES = ("mse", "cosine", "own", "stitched", "drop")


@dataclass(frozen=True, eq=False)
class FixedTransfer(Result):
    """Means over test rows: squared error and cosine of the stitched rows, and accuracies of one and the same probes.

    `own` is the accuracy on the encoder's rows, `stitched` on the rows carried over, `drop` the former less the latter.
    Intervals are over test rows (or groups), given the map and the probes. The null fits the map to shuffled rows.
    """

    measured: Mapping[str, Interval]
    null: Floats  # (permutations, measures)
    names: tuple[str, ...]  # attributes that were probed
    ridge: float
    n_train: int
    n_test: int
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a measure."""
        rows = zip(self.measured.items(), self.null.T, strict=True)
        return [{"metric": what, **found.to_dict(), **null_columns(null)} for (what, found), null in rows]


def fixed_transfer(
    X: ArrayLike,
    Y: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str],
    *,
    train: ArrayLike,
    groups: ArrayLike | None = None,
    n_permutations: int = 2,
    confidence: float = 0.95,
    seed: int = 42,
) -> FixedTransfer:
    """Carry a noise view to an encoder by ridge, and score the encoder's own probes there; all on test rows.

    The strength, alpha |X|_F^2 / d, is chosen by cross-validation on the training rows; the probes are the paper's
    (`paper_probes`), fitted on the encoder's training rows and never refitted.

    X are the rows (n, d) of the noise and Y (n, e) the encoder's of the same images; `labels` are attributes (n, k) of
    zeros and ones with k `names`, and `train` (n,) is true for training rows. The null fits `n_permutations` maps to
    shuffled rows; `groups` and the draws are as in `Draws`.

    Raises:
        ValueError: what `paper_probes` or `stitch` refuses.
    """
    draws = Draws(n_permutations=n_permutations, confidence=confidence, seed=seed)
    A, B = map(to_numpy, same_rows([("X", X), ("Y", Y)]))
    mask, units = as_mask(train, len(A)), units_of(len(A), groups)
    probed = paper_probes(
        B, labels, names, train=mask, kind="embedding", groups=groups, n_permutations=0, confidence=confidence,
        seed=seed,
    )  # fmt: skip
    every = as_labels(labels, rows=len(A), names=names)
    truth = every[~mask][:, [names.index(name) for name in probed.names]] > 0
    rng = np.random.default_rng([seed, 41])
    orders = [np.arange(mask.sum()), *shuffled(units[mask], n_permutations, rng)]
    maps = [stitch(A[mask], B[mask][order], groups=units[mask], n_permutations=0, seed=seed) for order in orders]
    found = [_of_rows(each.predict(A[~mask]), B[~mask], probed.probes, truth) for each in maps]
    own = mean_intervals(found[0], groups=units[~mask], confidence=confidence, seed=seed)
    return FixedTransfer(
        measured=dict(zip(MEASURES, own, strict=True)),
        null=np.array([each.mean(axis=0) for each in found[1:]]).reshape(-1, len(MEASURES)),
        names=probed.names,
        ridge=maps[0].ridge,
        n_train=int(mask.sum()),
        n_test=int((~mask).sum()),
        draws=draws,
    )


def _of_rows(predicted: Floats, Y: Matrix, probes: Probes, truth: NDArray[np.bool_]) -> Floats:
    """Every measure of each row, (m, measures)."""
    norms = np.linalg.norm(predicted, axis=1) * np.linalg.norm(Y, axis=1)
    cosine = np.einsum("ij,ij->i", predicted, Y) / np.where(norms > 0, norms, 1.0)
    own, stitched = (((probes.decision_function(rows) > 0) == truth).mean(axis=1) for rows in (Y, predicted))
    return np.stack([((predicted - Y) ** 2).mean(axis=1), cosine, own, stitched, own - stitched], axis=1)
