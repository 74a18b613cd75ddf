"""What one pass over a published Parquet file finds: faults of its columns, its ids, and projections that show whether
two files hold the same arrays. Memory is that of one block of rows.

Rows of the paired config are compared with those of the full view by a few random projections (Freivalds 1977): scores
P = (X - mean) C^T hold exactly if P g = (X - mean) (C^T g) for random g, which costs d multiplications a row where
recomputing the scores costs k d.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.builder.views import PREFIX
from noisezoo.pca import Basis
from noisezoo.schema import ID, open_parquet

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

PROBES = 4
"""Random directions along which two arrays are compared."""
TOLERANCE = 1e-5
"""Of the row's norm times the direction's: ten times what float32 sums differ by between machines."""
BLOCK_BYTES = 2**22


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a file; `row` is counted in the file."""

    check: str
    message: str
    row: int | None = None


@dataclass(frozen=True)
class Projection:
    """A column's rows along the probes: (x - mean) W, with the error that float32 sums may have in it."""

    weights: np.ndarray  # (d, PROBES) float32
    mean: np.ndarray  # (d,) float32

    @classmethod
    def of_scores(cls, width: int) -> "Projection":
        """Of what the paired config holds, `width` numbers a row, and of a view that it holds in full."""
        weights = np.random.default_rng(width).standard_normal((width, PROBES)).astype(np.float32)
        return cls(weights, np.zeros(width, np.float32))

    @classmethod
    def of_view(cls, basis: Basis) -> "Projection":
        """Of the full view that the paired config holds the scores of."""
        return cls(basis.components.T @ cls.of_scores(len(basis.components)).weights, basis.mean)

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """(n, d) float32 -> (n, 2 PROBES): the projections, then their tolerances."""
        norms = np.sqrt(np.einsum("ij,ij->i", X, X)) + np.linalg.norm(self.mean)  # (n,)
        allowed = TOLERANCE * np.outer(norms, np.linalg.norm(self.weights, axis=0))
        return np.hstack([X @ self.weights - self.mean @ self.weights, allowed])


@dataclass
class Contents:
    """What was read of a file."""

    ids: "pa.Array"
    kept: "pa.Table"  # the columns that were asked for, whole
    sketches: dict[str, np.ndarray]  # array's column -> (n, 2 PROBES)
    faults: list[Fault] = field(default_factory=list)


def read_contents(
    path: Path, widths: Mapping[str, int], projections: Mapping[str, Projection], keep: Sequence[str] = ()
) -> Contents:
    """Read a file once, block by block.

    Args:
        path: The Parquet file.
        widths: Column -> numbers in a row of it (1 for a scalar), of every column that must be whole and finite; NaN
            may stand in a `reconstruction_*` column, for a row that is not in the sample.
        projections: Column -> how it is compared with another file's.
        keep: Columns to give back whole: short ones.

    Raises:
        pyarrow.ArrowException, OSError: The file cannot be read.
    """
    import pyarrow as pa

    faults: dict[str, Fault] = {}
    kept, sketches = [], {name: [np.empty((0, 2 * PROBES), np.float32)] for name in projections}
    columns = list(dict.fromkeys((ID, *keep, *widths)))
    with open_parquet(path) as file:
        schema = file.schema_arrow
        for start, block in _blocks(file, columns):
            kept.append(block.select(list(dict.fromkeys((ID, *keep)))))
            for name, width in widths.items():
                values, fault = _values(block.column(name), name, width, start)
                if fault is not None:
                    faults.setdefault(name, fault)
                if name in projections:
                    broken = np.full((len(block), 2 * PROBES), np.nan, np.float32)
                    sketches[name].append(broken if values is None else projections[name](_floats(values)))
    short = pa.Table.from_batches(kept, schema=pa.schema([schema.field(n) for n in dict.fromkeys((ID, *keep))]))
    ids = short.column(ID).combine_chunks()
    if ids.null_count:
        row = int(np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False))[0])
        faults[ID] = Fault("nulls", f"{ID} is null: build again", row)
    joined = {name: np.concatenate(parts) for name, parts in sketches.items()}
    return Contents(ids, short, joined, list(faults.values()))


def differing(stored: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Rows in which two sketches of equal length differ by more than rounding; where a value is not finite, none."""
    a, b = (sketch[:, :PROBES] for sketch in (stored, expected))
    allowed = expected[:, PROBES:]
    return np.flatnonzero((np.abs(a - b) > allowed).any(axis=1))


def _blocks(file: "pq.ParquetFile", columns: list[str]) -> Iterator[tuple[int, "pa.RecordBatch"]]:
    """(first row, rows) of a few megabytes each."""
    n = file.metadata.num_rows
    total = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    rows = int(np.clip(BLOCK_BYTES * n // max(total, 1), 128, 4096))
    start = 0
    for batch in file.iter_batches(rows, columns=columns):
        yield start, batch
        start += len(batch)


def _values(column: "pa.Array", name: str, width: int, start: int) -> tuple[np.ndarray | None, Fault | None]:
    """A block of a column as (n, width), None where it is not whole and finite; and the first fault in it."""
    import pyarrow as pa

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    n, spans = len(column), np.arange(len(column) + 1)  # the values under each row, level by level
    while True:
        if column.null_count:
            hole = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            return None, Fault("nulls", f"{name} has a null: build again", start + _row(spans, hole))
        if not pa.types.is_nested(column.type):
            break
        if pa.types.is_fixed_size_list(column.type):
            spans = spans * column.type.list_size
        else:
            offsets = column.offsets.to_numpy()
            spans = (offsets - offsets[0])[spans]
        column = column.flatten()
    lengths = np.diff(spans)
    if (lengths != width).any():
        row = int(np.flatnonzero(lengths != width)[0])
        fault = Fault("shapes", f"{name} has {lengths[row]} numbers where {width} belong: build again", start + row)
        return None, fault
    values = column.to_numpy(zero_copy_only=False).reshape(n, width)
    unfinite = _unfinite(values, name, start)
    return (values, None) if unfinite is None else (None, unfinite)


def _row(spans: np.ndarray, position: int) -> int:
    """The row under which a value lies."""
    return int(np.searchsorted(spans, position, side="right") - 1)


def _unfinite(values: np.ndarray, name: str, start: int) -> Fault | None:
    """The first row that is not finite. Looks at the exponents' bits: numpy's isfinite takes 40 times as long."""
    if values.dtype.kind != "f" or not values.size:
        return None
    bits = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    infinite = np.array(np.inf, values.dtype).view(bits.dtype)
    if (bits & ~np.array(1 << (8 * values.dtype.itemsize - 1), bits.dtype)).max() < infinite:
        return None
    bad = ~np.isfinite(values) & ~(np.isnan(values) & name.startswith(PREFIX))
    rows = np.flatnonzero(bad.any(axis=1))
    if not len(rows):
        return None
    worst = values[rows[0]][bad[rows[0]]][0]
    return Fault("finite", f"{name} holds {worst}: build again", start + int(rows[0]))


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
