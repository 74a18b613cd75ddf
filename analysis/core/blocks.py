"""Rows that need not fit in memory: read in blocks, as often as an analysis needs them."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .arrays import AnyArray, Matrix, as_matrix, held, like, namespace, to_numpy

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


def _is_stream(X: AnyArray | Blocks) -> bool:
    return isinstance(X, Blocks) and not hasattr(X, "__array__")


class Rows:
    """A matrix (n, d) as analyses read it: blocks of rows, panels of columns, chosen rows; float32 or float64.

    The blocks of an array or tensor stay where it is; those of a stream are numpy's.
    """

    def __init__(self, source: Any, name: str) -> None:
        """Take an array, tensor or `Blocks` of rows that errors call `name`."""
        self.source, self.name = source, name
        n, d = self.source.shape
        self.shape = (int(n), int(d))
        self.streamed = _is_stream(source)
        self.dtype = np.dtype(np.float32) if self.streamed else as_matrix(self.source[:1], name, min_rows=1).dtype

    def blocks(self, columns: slice = slice(None)) -> Iterator[tuple[int, AnyArray]]:
        """Number of its first row, and each (b, w) block of rows, in order, from the first at every call.

        Raises:
            ValueError: blocks of a stream that do not have its shape.
        """
        row = 0
        for block in self.source if self.streamed else self._cut():
            if block.ndim != 2 or block.shape[1] != self.shape[1]:
                raise ValueError(f"a block of {self.name} has shape {tuple(block.shape)}, not (b, {self.shape[1]})")
            yield row, self._typed(to_numpy(block) if self.streamed else block)[:, columns]
            row += len(block)
        if row != self.shape[0]:
            raise ValueError(f"{self.name} says it has {self.shape[0]} rows and its blocks gave {row}")

    def _cut(self) -> Iterator[AnyArray]:
        height = max(1, _BLOCK // self.shape[1])
        return (self.source[start : start + height] for start in range(0, self.shape[0], height))

    def _typed(self, A: AnyArray) -> AnyArray:
        xp = namespace(A)
        return A.astype(self.dtype, copy=False) if xp is np else A.to(getattr(xp, self.dtype.name))

    def place(self, A: NDArray[Any]) -> AnyArray:
        """`A` in the dtype of the blocks, and on their device."""
        return like(np.asarray(A, dtype=self.dtype), self.source)

    def panels(self, width: int) -> Iterator[tuple[int, Matrix]]:
        """First column and (w, n) transposed columns, `width` at a time: samples as rows."""
        n, d = self.shape
        for start in range(0, d, width):
            columns = slice(start, min(start + width, d))
            panel = np.empty((columns.stop - start, n), self.dtype)
            for row, block in self.blocks(columns):
                panel[:, row : row + len(block)] = to_numpy(block).T
            yield start, panel

    def take(self, index: NDArray[np.intp]) -> Matrix:
        """The rows of a rising `index` (k,): (k, d)."""
        if not self.streamed:
            return as_matrix(self.source[index], self.name, min_rows=1)
        within = ((index[(index >= row) & (index < row + len(block))] - row, block) for row, block in self.blocks())
        return np.concatenate([block[rows] for rows, block in within])


def as_rows(X: AnyArray | Blocks, name: str = "X", *, min_rows: int = 2) -> Rows:
    """Give an array (n, d), a torch tensor or `Blocks` as `Rows`; nothing is copied, and values are not looked at yet.

    Raises:
        ValueError: not numeric, not two-dimensional, fewer than `min_rows` rows, or no columns.
    """
    if isinstance(X, Rows):
        return X
    source: Any = X if _is_stream(X) else held(X, name)
    if len(source.shape) != 2 or source.shape[0] < min_rows or source.shape[1] == 0:
        if not _is_stream(X):
            as_matrix(source, name, min_rows=min_rows)  # which words the refusals
        raise ValueError(f"{name} needs at least {min_rows} rows and one column, and has shape {tuple(source.shape)}")
    return Rows(source, name)
