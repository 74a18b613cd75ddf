"""Probes along a path of regularisation strengths, and their out-of-fold logits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis._linalg import Frame, principal_frame
from noisezoo.analysis._logistic import Array, log_losses, minimise
from noisezoo.analysis.validation import Matrix

Floats = NDArray[np.float64]

# Prior variance of a logit: C times the total variance of X, so that a path means the same for any X and any scale.
PATH = 10.0 ** np.arange(-2.0, 5.25, 0.5)
_TOLERANCE = 1e-6  # nats a row
_PAST_BEST = 1.01  # a label leaves the path when its held-out loss is this far above its least


@dataclass(frozen=True, slots=True)
class Scaled:
    """Principal scores T (n, r) of total variance 1, the square of what they were divided by, and the way back."""

    T: Floats
    scale2: float
    frame: Frame


def scaled_frame(X: Matrix) -> Scaled:
    """The principal frame of X (n, d) with one common scale taken out: never one a coordinate.

    Raises:
        ValueError: all rows of X are equal.
    """
    frame = principal_frame(X)
    scale2 = float(frame.eigenvalues.sum() / len(X))
    return Scaled(frame.scores / np.sqrt(scale2), scale2, frame)


def held_out_path(
    T: Array, Y: Array, folds: NDArray[np.intp], path: NDArray[np.float64] = PATH
) -> tuple[Array, Floats]:
    """Fit every label of Y (n, k) at every strength without each fold, and score the fold left out.

    Returns:
        Logits (s, n, k), NaN where a label had left the path, and summed log-losses (s, folds, k), infinite there.
    """
    n, k = Y.shape
    numbers = range(int(folds.max()) + 1)
    logits = np.full((len(path), n, k), np.nan, dtype=T.dtype)
    losses = np.full((len(path), len(numbers), k), np.inf)
    starts: list[tuple[Array, Array] | None] = [None for _ in numbers]
    active = np.arange(k)
    for s, strength in enumerate(path):
        C = np.full(active.size, strength)
        for f in numbers:
            test = folds == f
            w, b = starts[f] = minimise(T[~test], Y[~test][:, active], C, starts[f], tolerance=_TOLERANCE)
            z = T[test] @ w + b
            logits[s][np.ix_(test, active)] = z
            losses[s, f, active] = log_losses(z, Y[test][:, active]).sum(axis=0)
        total = losses[: s + 1].sum(axis=1)[:, active]
        keep = total[-1] <= _PAST_BEST * total.min(axis=0)
        active, starts = active[keep], [start and (start[0][:, keep], start[1][keep]) for start in starts]
        if not active.size:
            break
    return logits, losses


def fit_without_each_fold(
    T: Array, Y: Array, folds: NDArray[np.intp], C: Floats, starts: list[tuple[Array, Array]] | None = None
) -> list[tuple[Array, Array]]:
    """Weights (r, k) and intercepts (k,) of every label of Y (n, k), fitted at C (folds, k) without each fold.

    `starts` are weights and intercepts to begin from, such as those of the same folds on more rows.
    """
    kept = [folds != f for f in range(len(C))]
    return [minimise(T[k], Y[k], C[f], starts[f] if starts else None, tolerance=_TOLERANCE) for f, k in enumerate(kept)]


def held_out_logits(T: Array, folds: NDArray[np.intp], fits: list[tuple[Array, Array]]) -> Array:
    """Logits (n, k) of every row of T (n, r) from the fit that left its fold out."""
    logits = np.empty((len(T), len(fits[0][1])), dtype=T.dtype)
    for f, (w, b) in enumerate(fits):
        logits[folds == f] = T[folds == f] @ w + b
    return logits


def best_strength(losses: Floats, path: NDArray[np.float64] = PATH) -> Floats:
    """The strength of least held-out loss for each label: losses (s, folds, k) give (k,)."""
    return np.asarray(path[losses.sum(axis=1).argmin(axis=0)])


def best_without_each_fold(losses: Floats) -> NDArray[np.intp]:
    """Index on the path that is best on all other folds, for each fold and label: (folds, k).

    A fold's own labels never choose the strength that it is scored with.
    """
    others = [np.delete(losses, f, axis=1).sum(axis=1).argmin(axis=0) for f in range(losses.shape[1])]
    return np.stack(others)
