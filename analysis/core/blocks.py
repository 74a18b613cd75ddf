"""Rows that need not fit in memory: read in blocks, as often as an analysis needs them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core.arrays import AnyArray, as_array, like, namespace, to_numpy
from noisezoo.analysis.core.validation import Matrix, as_matrix

_BLOCK = 1 << 23  # values of a block: 32 MB in float32


@runtime_checkable
class Blocks(Protocol):
    """A matrix that is read by rows: its `shape` (n, d), and every iteration gives (b, d) float32 blocks from row 0."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    def __iter__(self) -> Iterator[AnyArray]:
        """Blocks of rows, in order, from the first at every call."""
        ...


class Rows(ABC):
    """A matrix (n, d) as analyses read it: blocks of rows, panels of columns, chosen rows; float32 or float64."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @abstractmethod
    def blocks(self, columns: slice = slice(None)) -> Iterator[AnyArray]:
        """(b, w) blocks of rows in order, from the first at every call."""

    def place(self, A: NDArray[Any]) -> AnyArray:
        """`A` in the dtype of the blocks, and on their device."""
        return np.asarray(A, dtype=self.dtype)

    def panels(self, width: int) -> Iterator[tuple[int, Matrix]]:
        """First column and (w, n) transposed columns, `width` at a time: samples as rows."""
        n, d = self.shape
        for start in range(0, d, width):
            columns = slice(start, min(start + width, d))
            panel = np.empty((columns.stop - start, n), self.dtype)
            for row, block in self.located(columns):
                panel[:, row : row + len(block)] = to_numpy(block).T
            yield start, panel

    def located(self, columns: slice = slice(None)) -> Iterator[tuple[int, AnyArray]]:
        """Number of its first row, and each block."""
        row = 0
        for block in self.blocks(columns):
            yield row, block
            row += len(block)

    def take(self, index: NDArray[np.intp]) -> Matrix:
        """The rows of a rising `index` (k,): (k, d)."""
        taken = []
        for row, block in self.located():
            first, last = np.searchsorted(index, [row, row + len(block)])
            taken.append(to_numpy(block)[index[first:last] - row])
        return np.concatenate(taken)


class _Array(Rows):
    def __init__(self, X: AnyArray) -> None:
        self.X = X
        self.shape = tuple(X.shape)
        self.dtype = to_numpy(as_array(X[:1], min_rows=1)).dtype
        self.height = max(1, _BLOCK // self.shape[1])

    def blocks(self, columns: slice = slice(None)) -> Iterator[AnyArray]:
        for start in range(0, self.shape[0], self.height):
            block = self.X[start : start + self.height, columns]
            yield block.astype(self.dtype, copy=False) if namespace(block) is np else block.to(self._torch_dtype())

    def place(self, A: NDArray[Any]) -> AnyArray:
        return like(super().place(A), self.X)

    def take(self, index: NDArray[np.intp]) -> Matrix:
        return to_numpy(as_array(self.X[index], min_rows=1))

    def _torch_dtype(self) -> Any:
        torch = namespace(self.X)
        return torch.float32 if self.dtype == np.float32 else torch.float64


class _Stream(Rows):
    def __init__(self, source: Blocks, name: str) -> None:
        self.source, self.name = source, name
        n, d = source.shape
        self.shape, self.dtype = (int(n), int(d)), np.dtype(np.float32)

    def blocks(self, columns: slice = slice(None)) -> Iterator[AnyArray]:
        seen = 0
        for block in self.source:
            if block.ndim != 2 or block.shape[1] != self.shape[1]:
                raise ValueError(f"a block of {self.name} has shape {tuple(block.shape)}, not (b, {self.shape[1]})")
            seen += len(block)
            yield to_numpy(block)[:, columns].astype(np.float32, copy=False)
        if seen != self.shape[0]:
            raise ValueError(f"{self.name} says it has {self.shape[0]} rows and its blocks gave {seen}")


def as_rows(X: AnyArray | Blocks, name: str = "X", *, min_rows: int = 2) -> Rows:
    """Give an array (n, d), a torch tensor or `Blocks` as `Rows`; nothing is copied, and values are not looked at yet.

    Raises:
        ValueError: not numeric, not two-dimensional, fewer than `min_rows` rows, or no columns.
    """
    if isinstance(X, Rows):
        return X
    if isinstance(X, Blocks) and not hasattr(X, "__array__") and not isinstance(X, list | tuple):
        if len(X.shape) != 2 or X.shape[0] < min_rows or X.shape[1] == 0:
            raise ValueError(f"{name} needs at least {min_rows} rows and one column, and has shape {tuple(X.shape)}")
        return _Stream(X, name)
    array = X if namespace(X) is not np else np.asarray(X)
    if array.ndim != 2 or len(array) < min_rows or array.shape[1] == 0:
        as_matrix(to_numpy(array), name, min_rows=min_rows)  # which words the refusals
    return _Array(array)
