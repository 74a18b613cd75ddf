"""Held-out linear alignments of two views: canonical correlations (SVCCA) and the Procrustes rotation.

In sample, both are large where nothing is shared: r^2 free parameters please n rows. So maps are fitted without each
fold, on leading principal scores, and scored on the fold.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Floats, double_sum, principal_frame, to_numpy

Folds = NDArray[np.intp]
Maps = tuple[Floats, Floats]  # (r, q) of each view
_FLOOR = 1e-9  # of the mean variance: keeps equal rows from a singular covariance, and moves nothing else


def leading_scores(X: AnyArray, share: float, most: int) -> tuple[Floats, float]:
    """Principal scores (n, r) of centred X (n, d) on the axes that hold a share of its variance, at most `most`.

    Also gives the share that they hold.
    """
    frame = principal_frame(X, leading=most)
    held = np.cumsum(to_numpy(frame.eigenvalues)) / float(double_sum(X * X, 1).sum())
    r = min(int(np.searchsorted(held, share - 1e-12)) + 1, len(held))
    return to_numpy(frame.scores[:, :r]), float(held[r - 1])


def canonical_maps(T: Floats, U: Floats) -> Maps:
    """Canonical directions (Hotelling 1936) of centred T (n, r) and U (n, s): singular vectors of the whitened."""
    from scipy.linalg import cholesky, solve_triangular

    L, M = (cholesky(_covariance(A), lower=True) for A in (T, U))
    inner = solve_triangular(M, solve_triangular(L, T.T @ U, lower=True).T, lower=True).T
    left, _, right = np.linalg.svd(inner, full_matrices=False)
    return solve_triangular(L, left, lower=True, trans=1), solve_triangular(M, right.T, lower=True, trans=1)


def _covariance(A: Floats) -> Floats:
    C = A.T @ A
    return np.asarray(C + _FLOOR * np.trace(C) / len(C) * np.eye(len(C)))


def rotation_maps(T: Floats, U: Floats) -> Maps:
    """The orthogonal maps that bring centred T (n, r) and U (n, s) together (Schoenemann 1966)."""
    left, _, right = np.linalg.svd(T.T @ U)
    return left, right.T


def mean_correlation(a: Floats, b: Floats, folds: Folds) -> tuple[float, Floats]:
    """Mean over pairs of columns of the correlation of a and b (n, q) in each fold, and each row's influence (n,)."""
    value, influence = 0.0, np.zeros(len(a))
    for f in np.unique(folds):
        rows = folds == f
        za, zb = (_standardise(x[rows]) for x in (a, b))
        each = (za * zb).mean(axis=0)  # (q,)
        value += rows.mean() * each.mean()
        influence[rows] = (za * zb - each * (za**2 + zb**2) / 2).mean(axis=1) / len(a)
    return float(value), influence


def _standardise(x: Floats) -> Floats:
    x = x - x.mean(axis=0)
    spread = np.sqrt((x**2).mean(axis=0))
    return np.asarray(x / np.where(spread > 0, spread, 1))


def cosine_of_all(a: Floats, b: Floats, folds: Folds) -> tuple[float, Floats]:
    """<a, b> / (|a| |b|) of whole matrices (n, r) and (n, s), the narrower with zeros beside it; influences (n,)."""
    q = min(a.shape[1], b.shape[1])
    ab, aa, bb = (a[:, :q] * b[:, :q]).sum(axis=1), (a * a).sum(axis=1), (b * b).sum(axis=1)
    norm = np.sqrt(aa.sum() * bb.sum())
    value = ab.sum() / norm
    return float(value), ab / norm - value * (aa / aa.sum() + bb / bb.sum()) / 2


Measure = tuple[Callable[[Floats, Floats], Maps], Callable[[Floats, Floats, Folds], tuple[float, Floats]]]
SVCCA: Measure = (canonical_maps, mean_correlation)
PROCRUSTES: Measure = (rotation_maps, cosine_of_all)


def held_out(measure: Measure, T: Floats, U: Floats, folds: Folds) -> tuple[float, Floats]:
    """A measure of T (n, r) and U (n, s) on rows that its maps never saw, and each row's influence given the maps.

    SVCCA averages over min(r, s) pairs. Procrustes is the cosine of the two matrices after the rotation: 1 where one
    view is the other but for rotation and scale, 0 where they share nothing.
    """
    fit, score = measure
    return score(*out_of_fold(fit, T, U, folds), folds)


def out_of_fold(
    fit: Callable[[Floats, Floats], Maps], T: Floats, U: Floats, folds: Folds, given: Floats | None = None
) -> tuple[Floats, Floats]:
    """T (n, r) and U (n, s) on maps that were fitted without each row's fold: (n, q) each.

    Before the maps both are taken about what `given` (n, c) predicts of them by least squares, or about their mean;
    that too is fitted without the fold.
    """
    projected: tuple[list[Floats], list[Floats]] = ([], [])
    for f in np.unique(folds):
        test = folds == f
        left, right = (_about(A, test, given) for A in (T, U))
        for side, A, W in zip(projected, (left, right), fit(left[~test], right[~test]), strict=True):
            side.append(A[test] @ W)
    order = np.argsort(np.argsort(folds, kind="stable"), kind="stable")
    a, b = (np.concatenate(side)[order] for side in projected)
    return a, b


def _about(A: Floats, test: NDArray[np.bool_], given: Floats | None) -> Floats:
    """Rows of A (n, r) less what the training rows say of them: their mean, and what `given` (n, c) predicts."""
    A = A - A[~test].mean(axis=0)
    if given is None:
        return A
    Z = given - given[~test].mean(axis=0)
    return np.asarray(A - Z @ np.linalg.solve(_covariance(Z[~test]), Z[~test].T @ A[~test]))
