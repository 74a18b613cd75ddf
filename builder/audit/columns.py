"""One pass over a Parquet file: its ids and short columns, the faults of its columns, and a sketch of each array.

Sketches show whether two files hold the same arrays: a few random projections of each row (Freivalds 1977). Scores
P = (X - mean) C^T hold exactly if P g = (X - mean) (C^T g) for random g, which costs d multiplications a row where
recomputing the scores costs k d. Memory is one block of rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noisezoo.builder.views import PREFIX
from noisezoo.pca import Basis
from noisezoo.schema import ID, open_parquet
from .checked_files import CheckedFiles

PROBES = 4
"""Number of random directions of a sketch."""
TOLERANCE = 1e-5
"""Allowed difference of two sketches, as a share of |row| |direction|: ten times the rounding of float32 sums."""
BLOCK_BYTES = 2**22


@dataclass(frozen=True)
class Projection:
    """How a column is sketched: (x - mean) W of each row x, beside the rounding error allowed in it."""

    weights: np.ndarray  # (d, PROBES) float32
    mean: np.ndarray  # (d,) float32

    @classmethod
    def of_scores(cls, width: int) -> "Projection":
        """The sketch of an array that `paired` holds, `width` numbers a row."""
        weights = np.random.default_rng(width).standard_normal((width, PROBES)).astype(np.float32)
        return cls(weights, np.zeros(width, np.float32))

    @classmethod
    def of_view(cls, basis: Basis) -> "Projection":
        """The sketch of a full view whose scores on `basis` `paired` holds."""
        return cls(basis.components.T @ cls.of_scores(len(basis.components)).weights, basis.mean)

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """(n, d) float32 -> (n, 2 PROBES): the projections, then their tolerances."""
        norms = np.sqrt(np.einsum("ij,ij->i", X, X)) + np.linalg.norm(self.mean)  # (n,)
        allowed = TOLERANCE * np.outer(norms, np.linalg.norm(self.weights, axis=0))
        return np.hstack([X @ self.weights - self.mean @ self.weights, allowed])


class Wanted(NamedTuple):
    """What a column must be, and how it is read."""

    feature: Any
    width: int | None = None
    """Numbers in a row (1 for a scalar) of a column that must be whole and finite; NaN may stand in a
    `reconstruction_*` column, for a row that is not in the sample. None for a short column, which is kept."""
    projection: Projection | None = None  # how it is sketched


@dataclass(frozen=True)
class Contents:
    """What was read of a file."""

    ids: pa.Array
    kept: pa.Table  # the short columns
    sketches: dict[str, np.ndarray]  # array's column -> (n, 2 PROBES); NaN where a block is at fault


class _Fault(Exception):  # noqa: N818 - it never leaves this file
    """The check that some rows fail, how, and the first of them, counted in its block."""


def read_contents(files: CheckedFiles, where: str, columns: Mapping[str, Wanted]) -> Contents:
    """Read these columns of a file once, block by block; the first fault of each goes to `files`.

    Raises:
        pyarrow.ArrowException, OSError: The file cannot be read.
    """
    short = [name for name, wanted in columns.items() if wanted.width is None]
    sketches = {name: [np.empty((0, 2 * PROBES), np.float32)] for name in columns if columns[name].projection}
    kept, faulty = [], set[str]()
    with open_parquet(files.root / where) as file:
        schema = pa.schema([file.schema_arrow.field(name) for name in short])
        for start, block in _blocks(file, list(columns)):
            kept.append(block.select(short))
            for name, (_, width, projection) in columns.items():
                if width is None:
                    continue
                try:
                    values = _values(block.column(name), name, width)
                except _Fault as fault:
                    values, (check, message, row) = np.full((len(block), width), np.nan, np.float32), fault.args
                    if name not in faulty:
                        files.found(check, where, message, start + row, block.column(ID)[row].as_py())
                        faulty.add(name)
                if projection is not None:
                    sketches[name].append(projection(_floats(values)))
    table = pa.Table.from_batches(kept, schema=schema)
    ids = table.column(ID).combine_chunks()
    if ids.null_count:
        files.found("nulls", where, f"{ID} is null", _first(ids.is_null()))
    return Contents(ids, table, {name: np.concatenate(parts) for name, parts in sketches.items()})


def differing(stored: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Rows in which two sketches of equal length differ by more than rounding; where a value is not finite, none."""
    a, b = (sketch[:, :PROBES] for sketch in (stored, expected))
    return np.flatnonzero((np.abs(a - b) > expected[:, PROBES:]).any(axis=1))


def _blocks(file: pq.ParquetFile, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(first row, rows) of a few megabytes each."""
    n = file.metadata.num_rows
    total = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    start = 0
    for batch in file.iter_batches(int(np.clip(BLOCK_BYTES * n // max(total, 1), 128, 4096)), columns=columns):
        yield start, batch
        start += len(batch)


def _values(column: pa.Array, name: str, width: int) -> np.ndarray:
    """A block of a column as finite numbers (n, width); raises `_Fault`."""
    starts = np.arange(len(column) + 1)  # (n + 1,) where the values of each row begin, level by level
    while True:
        column = column.storage if isinstance(column, pa.ExtensionArray) else column
        if column.null_count:
            row = int(np.searchsorted(starts, _first(column.is_null()), side="right")) - 1
            raise _Fault("nulls", f"{name} has a null", row)
        if not pa.types.is_nested(column.type):
            break
        ends = np.cumsum(pc.list_value_length(column).to_numpy(), dtype=np.int64)
        starts = np.concatenate([[0], ends])[starts]
        column = column.flatten()
    lengths = np.diff(starts)
    for row in np.flatnonzero(lengths != width)[:1].tolist():
        raise _Fault("shapes", f"{name} has {lengths[row]} numbers where {width} belong", row)
    values: np.ndarray = column.to_numpy(zero_copy_only=False).reshape(-1, width)
    if values.dtype.kind == "f" and not pc.all(pc.is_finite(column), min_count=0).as_py():  # numpy's is slow on float16
        bad = ~np.isfinite(values) & ~(np.isnan(values) & name.startswith(PREFIX))
        for row, place in np.argwhere(bad)[:1].tolist():
            raise _Fault("finite", f"{name} holds {values[row, place]}", row)
    return values


def _first(mask: pa.Array) -> int:
    """Where a boolean array is first true."""
    return int(np.flatnonzero(mask.to_numpy(zero_copy_only=False))[0])


def _floats(values: np.ndarray) -> np.ndarray:
    """Values as float32, exactly. Halves by Arrow: numpy's own cast takes nearly twice as long."""
    if values.dtype != np.float16:
        return values.astype(np.float32, copy=False)
    floats: np.ndarray = pa.array(values.reshape(-1)).cast(pa.float32()).to_numpy()
    return floats.reshape(values.shape)
