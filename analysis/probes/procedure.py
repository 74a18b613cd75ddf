"""Cross-validation as one procedure: choose strengths, score out of fold, repeat on halves and on shuffled labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Floats, chosen
from noisezoo.analysis.probes.design import Design
from noisezoo.analysis.probes.halves import Estimate, estimate, half_logits
from noisezoo.analysis.probes.logistic import Array
from noisezoo.analysis.probes.metrics import METRICS, OutOfFold
from noisezoo.analysis.probes.path import Search, held_out_logits, search_path


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What the procedure gave for the k attributes of a design."""

    out_of_fold: OutOfFold
    half_logits: Array  # (splits, n, k)
    estimates: Mapping[str, Estimate]  # metric -> k attributes
    null: Mapping[str, Floats]  # metric -> (permutations, k)
    C: Floats  # (folds, k) for T


def cross_validate(T: AnyArray, design: Design, n_permutations: int, kept: NDArray[np.bool_] | None = None) -> Scored:
    """Run a design on scaled principal scores T (n, r), float32, numpy or torch.

    Probes, strengths and priors come from the `kept` rows (n,) alone, all when None; every row is scored.
    """
    kept = np.ones(len(T), dtype=np.bool_) if kept is None else kept
    (real, *permuted), search = _score(T, [design.Y, *design.shuffled(n_permutations)], design.folds, kept)
    k = len(design.names)
    C, whole = search.C[:, :k], [(w[:, :k], b[:k]) for w, b in search.fits]
    logits = half_logits(T, design.Y, design.folds, C, design.halves, whole, kept)
    estimates = {metric: estimate(metric, real, design.halves, logits, design.groups) for metric in METRICS}
    null = {m: np.array([run(o)[0] for o in permuted]).reshape(n_permutations, k) for m, run in METRICS.items()}
    return Scored(real, logits, estimates, null, C)


def _score(
    T: AnyArray, copies: Sequence[Floats], folds: NDArray[np.intp], kept: NDArray[np.bool_]
) -> tuple[list[OutOfFold], Search]:
    """Every copy of Y (n, k) out of fold, at the strengths that the other folds choose; columns in one search."""
    Y = np.hstack(copies)
    search = search_path(chosen(T, kept), Y[kept], folds[kept])
    found = OutOfFold.of(held_out_logits(T, folds, search.fits), Y, folds, kept)
    columns = np.split(np.arange(Y.shape[1]), len(copies))
    return [found.take(block) for block in columns], search
