"""Arrays where they are: numpy's, or torch's on any device, through the names that both spell alike.

Functions written on `namespace(X)` use only what numpy and torch share (matmul, sum(axis), sqrt, einsum);
what they spell differently is here, and small statistics at the end of a computation go back by `to_numpy`.
"""

import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core.validation import as_matrix, on_host

AnyArray: TypeAlias = Any
"""A numpy array or a torch tensor."""


def namespace(X: AnyArray) -> Any:
    """The module whose functions take `X`: torch for a tensor, numpy for all else; never imports torch."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(X, torch.Tensor) else np


def as_array(X: AnyArray, name: str = "X", *, min_rows: int = 2) -> AnyArray:
    """`as_matrix` for arrays where they are: a tensor stays on its device, detached; all else becomes numpy.

    float32 and float64 pass without a copy, half precisions become float32, integers and booleans float64.

    Raises:
        ValueError: as `as_matrix`.
    """
    xp = namespace(X)
    if xp is np:
        return as_matrix(X, name, min_rows=min_rows)
    tensor = X.detach()
    tensor = tensor.float() if tensor.dtype in (xp.float16, xp.bfloat16) else tensor
    shaped = tensor.ndim == 2 and len(tensor) >= min_rows and tensor.shape[1] > 0
    if shaped and tensor.is_floating_point() and bool(xp.isfinite(tensor.sum(dtype=xp.float64))):
        return tensor
    return like(as_matrix(to_numpy(tensor), name, min_rows=min_rows), tensor)  # which words the refusals


def to_numpy(A: AnyArray) -> NDArray[Any]:
    """`A` as a numpy array, from whatever device."""
    return np.asarray(on_host(A))


def like(A: NDArray[Any], X: AnyArray) -> AnyArray:
    """Numpy `A` where `X` is, in A's own dtype."""
    xp = namespace(X)
    return A if xp is np else xp.from_numpy(np.ascontiguousarray(A)).to(X.device)


def double(A: AnyArray) -> AnyArray:
    """`A` in float64."""
    return A.astype(np.float64, copy=False) if namespace(A) is np else A.double()


def double_sum(A: AnyArray, axis: int) -> AnyArray:
    """Sum of `A` over an axis in float64, without a float64 copy."""
    return A.sum(axis, dtype=namespace(A).float64)


def single(A: AnyArray) -> AnyArray:
    """`A` in float32."""
    return A.astype(np.float32, copy=False) if namespace(A) is np else A.float()


def cast(A: AnyArray, B: AnyArray) -> AnyArray:
    """`A` in the precision of `B`."""
    return A.astype(B.dtype, copy=False) if namespace(A) is np else A.to(B.dtype)


def along(A: AnyArray, X: AnyArray) -> AnyArray:
    """`A`, of either kind, where `X` is, in A's own dtype."""
    return A if namespace(A) is namespace(X) else like(to_numpy(A), X)


def beside(A: AnyArray, X: AnyArray) -> AnyArray:
    """`A` where `X` is and in its precision."""
    return cast(along(A, X), X)


def chosen(A: AnyArray, rows: NDArray[np.bool_]) -> AnyArray:
    """The rows of A (n, ...) that a mask (n,) of numpy's holds."""
    return A[like(np.flatnonzero(rows), A)]


def eigh(A: AnyArray, leading: int | None = None) -> tuple[AnyArray, AnyArray]:
    """Eigenvalues (r,) of a symmetric A (m, m), ascending, and their vectors (m, r): all, or the last `leading`.

    Numpy's go through scipy, whose LAPACK driver is up to twice as fast, and finds a few without the others.
    """
    few = None if leading is None or leading >= len(A) else leading
    if namespace(A) is not np:
        values, vectors = namespace(A).linalg.eigh(A)
        return values[-(few or 0) :], vectors[:, -(few or 0) :]
    from scipy import linalg

    subset = None if few is None else [len(A) - few, len(A) - 1]
    found: tuple[AnyArray, AnyArray] = linalg.eigh(
        A, subset_by_index=subset, driver="evd" if few is None else "evr", check_finite=False
    )
    return found


def largest(S: AnyArray, k: int) -> AnyArray:
    """Columns of the k largest values in each row of S (m, n), in no order: (m, k) integers."""
    xp = namespace(S)
    if xp is np:
        return np.argpartition(S, S.shape[1] - k, axis=1)[:, S.shape[1] - k :]
    return S.topk(k, dim=1, sorted=False).indices
