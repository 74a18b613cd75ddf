"""Views in coordinates of unit covariance, from one Gram matrix of all of them side by side.

Rows stay where they are (numpy, torch); what is as small as the views are wide is solved in numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, Frame, double, eigh, like, namespace, principal_frame, to_numpy

Array = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
_BLOCK = 2048  # rows that are held in float64 at a time
_WELL_CONDITIONED = 1e-8  # least reciprocal condition number, in the 1-norm


def project(X: AnyArray, mean: Floats, W: Floats) -> AnyArray:
    """(X - mean) W of rows X (n, d), in float64 by blocks, where X is: (n, k)."""
    xp, m, A = namespace(X), like(mean, X), like(W, X)
    return xp.concatenate([(double(X[i : i + _BLOCK]) - m) @ A for i in range(0, len(X), _BLOCK)])


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """A view in at most n coordinates: itself where d < n, else its principal scores, and the way back."""

    scores: AnyArray  # (n, r)
    frame: Frame | None

    @classmethod
    def of(cls, X: AnyArray, name: str) -> "Coordinates":
        """Of a view X (n, d)."""
        if X.shape[1] < len(X):
            return cls(X, None)
        frame = principal_frame(X, name)
        return cls(frame.scores, frame)

    def lift(self, W: Floats) -> Floats:
        """Coefficients on scores (r, k) as coefficients on the view's own columns (d, k)."""
        return W if self.frame is None else self.frame.lift(W)


@dataclass(frozen=True, eq=False)
class Whitener:
    """A view's covariance S, its root by Cholesky, and, for those who ask, its principal axes."""

    mean: Floats  # (d,)
    covariance: Floats  # (d, d)
    d: int  # of the view as given, which the ridge divides by

    @cached_property
    def rank(self) -> int:
        """Of S, without the principal axes where it is far from singular."""
        return len(self.covariance) if _is_well_conditioned(self.covariance) else self.spectrum.size

    @property
    def spectrum(self) -> Floats:
        """Variances of the principal axes, (r,)."""
        return self._principal[0]

    @cached_property
    def P(self) -> Floats:  # noqa: N802 - as in formulas
        """The axes scaled to unit variance, (d, r): u = (x - mean) P has covariance 1."""
        values, vectors = self._principal
        return np.asarray(vectors / np.sqrt(values))

    @cached_property
    def _principal(self) -> tuple[Floats, Floats]:
        """Without the null space of S."""
        values, vectors = eigh(self.covariance)
        kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
        return values[kept], vectors[:, kept]

    def rows(self, X: AnyArray) -> AnyArray:
        """Rows X (n, d) as u (n, r), float32, where X is."""
        U = project(X, self.mean, self.P)
        return U.astype(np.float32) if namespace(U) is np else U.float()

    def penalty(self, ridge: float, variances: Array) -> Floats:
        """The ridge c tr(S) / d on the view's own coordinates as one on u (r,), whose variances are given."""
        return np.asarray(ridge * (self.spectrum @ variances) / self.d / self.spectrum)

    def root(self, ridge: float) -> Floats:
        """R (d, r) with R^T (S + c tr(S) / d) R = 1 on the span of S."""
        S = self.covariance
        if self.rank == len(S):
            return np.asarray(inverse_root(S + ridge * np.trace(S) / self.d * np.eye(len(S))), np.float64)
        return np.asarray(self.P / np.sqrt(1 + self.penalty(ridge, np.ones_like(self.spectrum))))


def inverse_root(A: Array) -> Array:
    """R with R R^T = A^-1 of a positive definite A (m, m), by Cholesky."""
    from scipy.linalg import cholesky, solve_triangular

    L = cholesky(A, lower=True, check_finite=False)
    return np.asarray(solve_triangular(L, np.eye(len(A), dtype=A.dtype), lower=True, check_finite=False).T)


def _is_well_conditioned(S: Floats) -> bool:
    """Whether Cholesky's root of a symmetric S (d, d) is as good as one by eigenvectors, at a tenth of the cost."""
    from scipy.linalg.lapack import dpocon, dpotrf

    L, failed = dpotrf(S, lower=1)
    return not failed and dpocon(L, np.abs(S).sum(axis=0).max(), uplo="L")[0] > _WELL_CONDITIONED


def stacked_covariance(views: Sequence[AnyArray], means: Sequence[Floats]) -> Floats:
    """Covariance (m, m) of views [(n, m_i)] side by side, in float64 by blocks of rows."""
    xp, total = namespace(views[0]), 0.0
    centres = [like(mean, X) for mean, X in zip(means, views, strict=True)]
    for i in range(0, len(views[0]), _BLOCK):
        B = xp.concatenate([double(X[i : i + _BLOCK]) - m for X, m in zip(views, centres, strict=True)], axis=1)
        total = total + B.T @ B
    return np.asarray(to_numpy(total) / len(views[0]))


def column_means(X: AnyArray) -> Floats:
    """Means (d,) of rows X (n, d), summed in float64."""
    return np.asarray(to_numpy(X.sum(0, dtype=namespace(X).float64)) / len(X))
