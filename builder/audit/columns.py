"""One pass over a Parquet file: its ids and short columns, the faults of its columns, and a sketch of each array.

Sketches show whether two files hold the same arrays: a few random projections of each row (Freivalds 1977). Scores
P = (X - mean) C^T hold exactly if P g = (X - mean) (C^T g) for random g, which costs d multiplications a row where
recomputing the scores costs k d. Memory is one block of rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.builder.views import PREFIX
from noisezoo.pca import Basis
from noisezoo.schema import ID, open_parquet
from .finding import Finding

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

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


@dataclass(frozen=True)
class Contents:
    """What was read of a file."""

    ids: "pa.Array"
    kept: "pa.Table"  # the columns that were asked for, whole
    sketches: dict[str, np.ndarray]  # array's column -> (n, 2 PROBES); NaN where a block is at fault
    findings: list[Finding]  # the first fault of each column


def read_contents(
    path: Path, where: str, widths: Mapping[str, int], projections: Mapping[str, Projection], keep: Sequence[str] = ()
) -> Contents:
    """Read a file once, block by block.

    Args:
        path: The Parquet file.
        where: Its name in findings.
        widths: Column -> numbers in a row of it (1 for a scalar), of every column that must be whole and finite; NaN
            may stand in a `reconstruction_*` column, for a row that is not in the sample.
        projections: Column -> how it is sketched.
        keep: Columns to give back whole: short ones.

    Raises:
        pyarrow.ArrowException, OSError: The file cannot be read.
    """
    import pyarrow as pa

    findings: dict[str, Finding] = {}
    short = list(dict.fromkeys((ID, *keep)))
    kept, sketches = [], {name: [np.empty((0, 2 * PROBES), np.float32)] for name in projections}
    with open_parquet(path) as file:
        schema = pa.schema([file.schema_arrow.field(name) for name in short])
        for start, block in _blocks(file, list(dict.fromkeys((*short, *widths)))):
            kept.append(block.select(short))
            for name, width in widths.items():
                values = _values(block.column(name), name, width)
                if isinstance(values, Finding):
                    findings.setdefault(name, replace(values, where=where, row=start + (values.row or 0)))
                    values = np.full((len(block), width), np.nan, np.float32)
                if name in projections:
                    sketches[name].append(projections[name](_floats(values)))
    table = pa.Table.from_batches(kept, schema=schema)
    ids = table.column(ID).combine_chunks()
    if ids.null_count:
        findings[ID] = Finding("nulls", where, f"{ID} is null: build again", _first(ids.is_null()))
    found = [replace(each, image_id=ids[each.row].as_py()) for each in findings.values()]
    return Contents(ids, table, {name: np.concatenate(parts) for name, parts in sketches.items()}, found)


def differing(stored: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Rows in which two sketches of equal length differ by more than rounding; where a value is not finite, none."""
    a, b = (sketch[:, :PROBES] for sketch in (stored, expected))
    return np.flatnonzero((np.abs(a - b) > expected[:, PROBES:]).any(axis=1))


def _blocks(file: "pq.ParquetFile", columns: list[str]) -> Iterator[tuple[int, "pa.RecordBatch"]]:
    """(first row, rows) of a few megabytes each."""
    n = file.metadata.num_rows
    total = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    start = 0
    for batch in file.iter_batches(int(np.clip(BLOCK_BYTES * n // max(total, 1), 128, 4096)), columns=columns):
        yield start, batch
        start += len(batch)


def _values(column: "pa.Array", name: str, width: int) -> np.ndarray | Finding:
    """A block of a column as finite numbers (n, width), or the first fault in it, its row counted in the block."""
    import pyarrow as pa
    import pyarrow.compute as pc

    starts = np.arange(len(column) + 1)  # (n + 1,) where the values of each row begin, level by level
    while True:
        column = column.storage if isinstance(column, pa.ExtensionArray) else column
        if column.null_count:
            row = int(np.searchsorted(starts, _first(column.is_null()), side="right")) - 1
            return Finding("nulls", "", f"{name} has a null: build again", row)
        if not pa.types.is_nested(column.type):
            break
        ends = np.cumsum(pc.list_value_length(column).to_numpy(), dtype=np.int64)
        starts = np.concatenate([[0], ends])[starts]
        column = column.flatten()
    lengths = np.diff(starts)
    if (lengths != width).any():
        row = int(np.flatnonzero(lengths != width)[0])
        return Finding("shapes", "", f"{name} has {lengths[row]} numbers where {width} belong: build again", row)
    values: np.ndarray = column.to_numpy(zero_copy_only=False).reshape(-1, width)
    return _infinite(values, name) or values


def _infinite(values: np.ndarray, name: str) -> Finding | None:
    """The first row that is not finite. By Arrow: on float16, numpy's isfinite takes seven times as long."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if values.dtype.kind != "f" or pc.all(pc.is_finite(pa.array(values.reshape(-1))), min_count=0).as_py():
        return None
    bad = ~np.isfinite(values) & ~(np.isnan(values) & name.startswith(PREFIX))
    if not bad.any():
        return None
    row, place = np.argwhere(bad)[0]
    return Finding("finite", "", f"{name} holds {values[row, place]}: build again", int(row))


def _first(mask: "pa.Array") -> int:
    """Where a boolean array is first true."""
    return int(np.flatnonzero(mask.to_numpy(zero_copy_only=False))[0])


def _floats(values: np.ndarray) -> np.ndarray:
    """Finite values as float32, exactly. For float16 by its bits: numpy's own cast takes three times as long."""
    if values.dtype != np.float16:
        return values.astype(np.float32, copy=False)
    bits = values.view(np.int16).astype(np.int32)
    bits <<= 13  # the mantissa's 10 bits and the exponent's 5 where float32 has its own, the sign above them
    bits &= np.int32(0x8FFFE000 - 2**32)
    floats = bits.view(np.float32)
    floats *= np.float32(2.0**112)  # the exponents' biases are 15 and 127
    return floats
