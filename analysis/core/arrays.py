"""The one door for arrays, numpy's or torch's on any device: what passes is finite, real and two-dimensional.

Functions written on `namespace(X)` use only what numpy and torch share (matmul, sum(axis), sqrt, einsum);
what they spell differently is here, and small statistics at the end of a computation go back by `to_numpy`.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

AnyArray: TypeAlias = Any
"""A numpy array or a torch tensor."""
Matrix = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]


def namespace(X: AnyArray) -> Any:
    """The module whose functions take `X`: torch for a tensor, numpy for all else; never imports torch."""
    torch = sys.modules.get("torch")
    # While another thread imports torch it has no Tensor yet, and X cannot be one.
    return torch if isinstance(X, getattr(torch, "Tensor", ())) else np


def held(X: AnyArray, name: str) -> AnyArray:
    """`X` as a numpy array or, detached, the tensor that it is; pandas' nullable numbers become float64, NA to NaN.

    Raises:
        ValueError: masked values, which every computation would read as if they were there, or objects.
    """
    if namespace(X) is not np:
        return X.detach()
    if np.ma.isMaskedArray(X) and np.ma.getmaskarray(X).any():
        rows = np.flatnonzero(np.ma.getmaskarray(X).reshape(len(X), -1).any(axis=1))
        raise ValueError(f"{name} is masked in {len(rows)} rows, the first row {rows[0]}; drop those rows")
    A = np.asarray(X)
    if A.dtype == object and hasattr(X, "to_numpy") and not any(isinstance(value, str) for value in A.flat):
        A = X.to_numpy(dtype=np.float64, na_value=np.nan)
    return A


def as_array(X: AnyArray, name: str = "X", *, min_rows: int = 2) -> AnyArray:
    """Give `X` as a finite (n, d) matrix of float32 or float64 where it is: a tensor stays on its device, detached.

    float32 and float64 pass without a copy, half precisions become float32, integers and booleans float64. What is not
    a tensor becomes a numpy array, pandas' nullable columns too.

    Raises:
        ValueError: not numeric, not two-dimensional, fewer than `min_rows` rows, no columns, NaN, infinite or masked
            values.
    """
    xp, A = namespace(X), held(X, name)
    real = A.dtype.kind in "fiub" if xp is np else not A.is_complex()
    if not real:
        raise ValueError(f"{name} must hold real numbers, not {A.dtype}")
    if A.ndim != 2:
        raise ValueError(f"{name} must be a matrix (n, d), not of shape {tuple(A.shape)}; reshape it to (n, -1)")
    if A.shape[0] < min_rows or A.shape[1] == 0:
        raise ValueError(f"{name} needs at least {min_rows} rows and one column, and has shape {tuple(A.shape)}")
    is_float = A.dtype.kind == "f" if xp is np else A.is_floating_point()
    A = single(A) if is_float and A.dtype.itemsize <= 4 else double(A)
    finite_sum(A, name)
    return A


def same_rows(views: Iterable[tuple[str, AnyArray]], *, min_rows: int = 2, varying: bool = True) -> list[AnyArray]:
    """`as_array` of several views, (name, (n, d)), of the same rows in the same order; all where the first one is.

    Raises:
        ValueError: different numbers of rows, a view whose rows are all equal if they must be `varying`, or what
            `as_array` refuses.
    """
    arrays = [(name, as_array(X, name, min_rows=min_rows)) for name, X in views]
    first, X = arrays[0]
    for name, A in arrays:
        if len(A) != len(X):
            raise ValueError(
                f"{first} has {len(X)} rows and {name} has {len(A)}: give the same images, in the same order, in each"
            )
    constant = [name for name, A in arrays if varying and bool((A == A[:1]).all())]
    if constant:
        raise ValueError(f"all rows of {constant[0]} are equal: nothing varies")
    return [along(A, X) for _, A in arrays]


def as_matrix(X: ArrayLike, name: str = "X", *, min_rows: int = 2) -> Matrix:
    """`as_array` in numpy: a tensor comes from its device.

    Raises:
        ValueError: as `as_array`.
    """
    return to_numpy(as_array(X, name, min_rows=min_rows))


def finite_sum(A: AnyArray, name: str = "X", row: int = 0) -> Floats:
    """Sum over the rows of A (n, d), whose first row is number `row` of the whole: (d,) float64.

    A sum is finite only if every term is, and costs one pass without a mask of the size of A.

    Raises:
        ValueError: NaN or infinite values; counts them and names the first.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.asarray(to_numpy(double_sum(A, 0)))
        if np.isfinite(total.sum()):
            return total
    wrong = np.argwhere(~np.isfinite(to_numpy(A)))
    if len(wrong):
        first = f"row {row + wrong[0, 0]}, column {wrong[0, 1]}"
        raise ValueError(f"{name} holds {len(wrong)} NaN or infinite values, the first at {first}; drop those rows")
    return total


def constant_columns(X: Matrix) -> NDArray[np.intp]:
    """Indices of the columns of `X` (n, d) that hold one value only."""
    return np.flatnonzero(X.max(axis=0) == X.min(axis=0))


def caveats(X: Matrix, folds: NDArray[np.intp] | None = None, name: str = "X") -> tuple[str, ...]:
    """What a reader must know before believing numbers on X (n, d), in sentences; `folds` (n,) may part equal rows."""
    n, d = X.shape
    constant = constant_columns(X).size
    copies = 0 if folds is None else _straddling_copies(X, folds)
    found = {
        f"{name} has fewer rows ({n}) than dimensions ({d}): what a linear probe finds there mixes the information in "
        "a view with its conditioning; compare it with controls of the same size": n < d,
        f"{name} has {constant} constant columns, which carry nothing": constant > 0,
        f"{copies} rows of {name} have an exact copy in another fold, so that probes are scored on rows they were "
        "fitted on; drop the copies, or give them one group": copies > 0,
    }
    return tuple(sentence for sentence, holds in found.items() if holds)


def _straddling_copies(X: Matrix, folds: NDArray[np.intp]) -> int:
    """How many rows of X (n, d) are equal, bit for bit, to a row of another fold (n,)."""
    keys = np.fromiter((hash(row.tobytes()) for row in X), dtype=np.int64, count=len(X))
    kind = np.unique(keys, return_inverse=True)[1]
    first, last = np.full(kind.max() + 1, folds.max()), np.zeros(kind.max() + 1, dtype=np.intp)
    np.minimum.at(first, kind, folds)
    np.maximum.at(last, kind, folds)
    return int((first < last)[kind].sum())


def as_labels(
    Y: ArrayLike,
    name: str = "Y",
    *,
    rows: int | None = None,
    names: Sequence[str] | None = None,
    binary: bool = True,
) -> Floats:
    """Give binary attributes `Y` as a float64 matrix (n, k) of zeros and ones; a vector (n,) becomes (n, 1).

    Where they are not `binary`, any finite numbers pass.

    Raises:
        ValueError: values other than 0 and 1 (CelebA's -1 included), the wrong number of rows (`rows`) or of `names`.
    """
    array = held(Y, name)
    labels = as_matrix(array[:, None] if array.ndim == 1 else array, name, min_rows=1).astype(np.float64)
    wrong = (labels != 0) & (labels != 1)
    if binary and wrong.any():
        column = int(np.argmax(wrong.any(axis=0)))
        value = labels[wrong[:, column], column][0]
        raise ValueError(f"{name} must hold 0 and 1 only; {_label(column, names)} holds {value:g}")
    if rows is not None and len(labels) != rows:
        raise ValueError(f"{name} has {len(labels)} rows and the data has {rows}")
    if names is not None and (len(names) != labels.shape[1] or len(set(names)) != len(names)):
        raise ValueError(f"{name} has {labels.shape[1]} columns and needs as many different names, not {list(names)}")
    return labels


def refuse_one_class(Y: Floats, names: Sequence[str] | None = None) -> None:
    """Raise ValueError that names the attributes of `Y` (n, k) of which every row has the same value."""
    constant = constant_columns(Y)
    if constant.size:
        listed = ", ".join(_label(int(column), names) for column in constant)
        raise ValueError(f"every row has the same value of {listed}: nothing to separate; drop it")


def _label(column: int, names: Sequence[str] | None) -> str:
    return f"attribute {names[column]!r}" if names is not None and column < len(names) else f"attribute {column}"


def to_numpy(A: AnyArray) -> NDArray[Any]:
    """`A` as a numpy array, from whatever device; bfloat16, which numpy lacks, becomes float32."""
    if namespace(A) is np:
        return np.asarray(A)
    tensor = A.detach().cpu()
    return np.asarray(tensor.float() if tensor.dtype == namespace(A).bfloat16 else tensor)


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
    if namespace(S) is np:
        return np.argpartition(S, S.shape[1] - k, axis=1)[:, S.shape[1] - k :]
    return S.topk(k, dim=1, sorted=False).indices
