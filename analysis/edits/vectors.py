"""Directions: taking others out of one, and how alike two are."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import Matrix, as_matrix

Vector = NDArray[np.floating[Any]]


def orthogonalize(direction: ArrayLike, against: ArrayLike) -> Vector:
    """Take the span of `against`, (d,) or (m, d), out of `direction` (d,), and give back its norm.

    The result is orthogonal to every row of `against` and as long as `direction` was, so a unit direction stays one
    and an edit keeps its strength. The paper removes spurious attributes from an edit direction this way.

    Returns:
        (d,) in the direction's dtype, float32 or float64.

    Raises:
        ValueError: shapes that do not match, a zero row of `against`, or a direction that lies in the span.
    """
    v = _as_vector(direction, "direction")
    A = as_matrix(np.atleast_2d(np.asarray(against)), "against", min_rows=1).astype(np.float64)
    if A.shape[1] != v.size:
        raise ValueError(f"direction has {v.size} coordinates and against has {A.shape[1]}")
    lengths = np.linalg.norm(A, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"row {int(np.argmin(lengths))} of against is zero: it is no direction")
    basis = _row_space(A / lengths)  # (m', d)
    unit = v.astype(np.float64) / np.linalg.norm(v)
    rest = unit - (unit @ basis.T) @ basis
    rest -= (rest @ basis.T) @ basis  # a second pass takes what rounding left of the first
    if np.linalg.norm(rest) < np.sqrt(np.finfo(v.dtype).eps):
        raise ValueError("direction lies in the span of against: nothing of it is left")
    return np.asarray((rest / np.linalg.norm(rest) * np.linalg.norm(v)).astype(v.dtype))


def _row_space(A: NDArray[np.float64]) -> NDArray[np.float64]:
    _, singular, rows = np.linalg.svd(A, full_matrices=False)
    return np.asarray(rows[singular > singular[0] * max(A.shape) * np.finfo(np.float64).eps])


def cosine(a: ArrayLike, b: ArrayLike, covariance: ArrayLike | None = None, *, rows: ArrayLike | None = None) -> float:
    """Cosine of directions a and b, (d,) each: a^T S b / sqrt(a^T S a  b^T S b).

    With a covariance S it is the correlation of the logits x^T a and x^T b, which is what the directions share on the
    data; without one it is Euclidean, and misleads where S is far from the identity (0.17 where logits correlate 0.68).

    Args:
        a: first direction.
        b: second direction.
        covariance: S (d, d).
        rows: X (n, d), instead of `covariance`: its sample covariance, never formed.

    Raises:
        ValueError: shapes that do not match, both weights given, or a direction along which nothing varies.
    """
    u, v = _as_vector(a, "a").astype(np.float64), _as_vector(b, "b").astype(np.float64)
    if covariance is not None and rows is not None:
        raise ValueError("give covariance or rows, not both")
    weight = covariance if rows is None else rows
    matrix = None if weight is None else as_matrix(weight, "covariance" if rows is None else "rows", min_rows=1)
    if not u.size == v.size == (u.size if matrix is None else matrix.shape[1]):
        shapes = [u.shape, v.shape] + ([] if matrix is None else [matrix.shape])
        raise ValueError(f"directions and weight do not share their last dimension: {shapes}")
    if rows is not None and matrix is not None:
        u, v = _logits(matrix, u), _logits(matrix, v)
    Su, Sv = (matrix @ u, matrix @ v) if matrix is not None and rows is None else (u, v)
    power = float(u @ Su) * float(v @ Sv)
    if power <= 0:
        raise ValueError("nothing varies along one of the directions")
    return float(u @ Sv) / float(np.sqrt(power))


def _logits(X: Matrix, direction: NDArray[np.float64]) -> NDArray[np.float64]:
    z = (X @ direction.astype(X.dtype)).astype(np.float64)  # float64 logits, but no float64 copy of the rows
    return np.asarray(z - z.mean())


def _as_vector(value: ArrayLike, name: str) -> Vector:
    vector = np.asarray(value)
    if vector.ndim != 1 or not vector.size:
        raise ValueError(f"{name} must be one direction (d,), not of shape {vector.shape}")
    vector = np.asarray(as_matrix(vector[None], name, min_rows=1)[0])
    if not vector.any():
        raise ValueError(f"{name} is zero: it is no direction")
    return vector
