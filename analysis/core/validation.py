"""The one door for arrays: what passes is finite, two-dimensional and says what it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.floating[Any]]


def as_matrix(X: ArrayLike, name: str = "X", *, min_rows: int = 2) -> Matrix:
    """Give `X` as a finite (n, d) matrix of float32 or float64.

    float32 and float64 pass without a copy; float16 becomes float32, integers and booleans float64. A torch tensor
    comes from its device.

    Raises:
        ValueError: not numeric, not two-dimensional, fewer than `min_rows` rows, no columns, NaN or infinite values.
    """
    array = np.asarray(on_host(X))
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, not {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"{name} must be a matrix (n, d), not of shape {array.shape}; reshape it to (n, -1)")
    if array.shape[0] < min_rows or array.shape[1] == 0:
        raise ValueError(f"{name} needs at least {min_rows} rows and one column, and has shape {array.shape}")
    matrix = array.astype(_float_for(array.dtype), copy=False)
    refuse_non_finite(matrix, name)
    return matrix


def on_host(X: Any) -> Any:
    """A tensor as numpy can take it; anything else as it is."""
    if not hasattr(X, "detach"):
        return X
    tensor = X.detach().cpu()
    return tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor


def _float_for(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    return np.float32 if dtype in (np.float16, np.float32) else np.float64


def refuse_non_finite(X: Matrix, name: str) -> None:
    """Raise ValueError that counts the NaN or infinite values of `X` (n, d) and names the first."""
    # A sum is finite only if every term is, and costs one pass without a mask of the size of X.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum(dtype=np.float64)):
            return
    row, column = np.nonzero(~np.isfinite(X))
    if row.size:
        first = f"row {row[0]}, column {column[0]}"
        raise ValueError(f"{name} holds {row.size} NaN or infinite values, the first at {first}; drop those rows")


def finite_sum(X: Matrix, row: int, name: str = "X") -> NDArray[np.float64]:
    """Sum over rows of a block (b, d) that begins at `row`, which is finite only if every term is: (d,).

    Raises:
        ValueError: it is not; names the first value.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = X.sum(axis=0, dtype=np.float64)
    if not np.isfinite(total).all():
        rows, columns = np.nonzero(~np.isfinite(X))
        if rows.size:
            first = f"row {row + rows[0]}, column {columns[0]}"
            raise ValueError(f"{name} holds NaN or infinite values, the first at {first}; drop those rows")
    return np.asarray(total)


def constant_columns(X: Matrix) -> NDArray[np.intp]:
    """Indices of the columns of `X` (n, d) that hold one value only."""
    return np.flatnonzero(X.max(axis=0) == X.min(axis=0))


def refuse_constant_columns(X: Matrix, name: str) -> None:
    """Raise ValueError that names the constant columns of `X` (n, d), for statistics that divide by their spread."""
    constant = constant_columns(X)
    if constant.size:
        listed = ", ".join(map(str, constant[:5])) + (", ..." if constant.size > 5 else "")
        raise ValueError(f"{name} has {constant.size} constant columns ({listed}); drop them")


def as_labels(
    Y: ArrayLike, name: str = "Y", *, rows: int | None = None, names: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """Give binary attributes `Y` as a float64 matrix (n, k) of zeros and ones; a vector (n,) becomes (n, 1).

    Raises:
        ValueError: values other than 0 and 1 (CelebA's -1 included), the wrong number of rows (`rows`) or of `names`.
    """
    array = np.asarray(Y)
    array = array[:, None] if array.ndim == 1 else array
    labels = as_matrix(array, name, min_rows=1).astype(np.float64)
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        column = int(np.argmax(wrong.any(axis=0)))
        value = labels[wrong[:, column], column][0]
        raise ValueError(f"{name} must hold 0 and 1 only; {_label(column, names)} holds {value:g}")
    if rows is not None and len(labels) != rows:
        raise ValueError(f"{name} has {len(labels)} rows and the data has {rows}")
    if names is not None and (len(names) != labels.shape[1] or len(set(names)) != len(names)):
        raise ValueError(f"{name} has {labels.shape[1]} columns and needs as many different names, not {list(names)}")
    return labels


def refuse_one_class(Y: NDArray[np.float64], names: Sequence[str] | None = None) -> None:
    """Raise ValueError that names the attributes of `Y` (n, k) of which every row has the same value."""
    constant = constant_columns(Y)
    if constant.size:
        listed = ", ".join(_label(int(column), names) for column in constant)
        raise ValueError(f"every row has the same value of {listed}: nothing to separate; drop it")


def _label(column: int, names: Sequence[str] | None) -> str:
    return f"attribute {names[column]!r}" if names is not None and column < len(names) else f"attribute {column}"
