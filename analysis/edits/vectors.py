"""Directions: taking others out of one, and how alike two are."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import as_matrix

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
    from scipy.linalg import orth

    v = _as_vector(direction, "direction")
    A = as_matrix(np.atleast_2d(np.asarray(against)), "against", min_rows=1).astype(np.float64)
    if A.shape[1] != v.size:
        raise ValueError(f"direction has {v.size} coordinates and against has {A.shape[1]}")
    lengths = np.linalg.norm(A, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"row {int(np.argmin(lengths))} of against is zero: it is no direction")
    basis, length = orth((A / lengths).T), np.linalg.norm(v)  # (d, m')
    rest = v.astype(np.float64) / length
    for _ in range(2):  # a second pass takes what rounding left of the first
        rest = rest - basis @ (rest @ basis)
    if np.linalg.norm(rest) < np.sqrt(np.finfo(v.dtype).eps):
        raise ValueError("direction lies in the span of against: nothing of it is left")
    return np.asarray((rest / np.linalg.norm(rest) * length).astype(v.dtype))


def cosine(a: ArrayLike, b: ArrayLike, covariance: ArrayLike | None = None, *, rows: ArrayLike | None = None) -> float:
    """Cosine of directions a and b, (d,) each: a^T S b / sqrt(a^T S a  b^T S b).

    With a covariance S (d, d) it is the correlation of the logits x^T a and x^T b, which is what the directions share
    on the data; without one it is Euclidean, and misleads where S is far from the identity (0.17 where logits correlate
    0.68). With `rows` X (n, d) instead, S is their sample covariance, never formed.

    Raises:
        ValueError: shapes that do not match, both weights given, or a direction along which nothing varies.
    """
    u, v = _as_vector(a, "a"), _as_vector(b, "b")
    if covariance is not None and rows is not None:
        raise ValueError("give covariance or rows, not both")
    given = {"covariance": covariance, "rows": rows}
    weights = [as_matrix(weight, name, min_rows=1) for name, weight in given.items() if weight is not None]
    if not u.size == v.size == (weights[0].shape[1] if weights else u.size):
        shapes = [each.shape for each in (u, v, *weights)]
        raise ValueError(f"directions and weight do not share their last dimension: {shapes}")
    pair = np.stack([u, v]).astype(np.float64)
    if rows is not None:  # float64 logits, but no float64 copy of the rows
        pair = (weights[0] @ pair.T.astype(weights[0].dtype)).T.astype(np.float64)
        pair -= pair.mean(axis=1, keepdims=True)
    products = pair @ (pair if covariance is None else pair @ weights[0].T).T
    if products[0, 0] * products[1, 1] <= 0:
        raise ValueError("nothing varies along one of the directions")
    return float(products[0, 1] / np.sqrt(products[0, 0] * products[1, 1]))


def _as_vector(value: ArrayLike, name: str) -> Vector:
    vector = np.asarray(value)
    if vector.ndim != 1 or not vector.size:
        raise ValueError(f"{name} must be one direction (d,), not of shape {vector.shape}")
    vector = np.asarray(as_matrix(vector[None], name, min_rows=1)[0])
    if not vector.any():
        raise ValueError(f"{name} is zero: it is no direction")
    return vector
