"""The columns of every config, and how their Parquet files are written.

The layout is measured: zstd, BYTE_STREAM_SPLIT on float32, no dictionary on arrays, 128-row groups for image-like
arrays, a page index and content-defined chunks, so that files are small, load fast and deduplicate. float16 is plain,
8 % larger: DuckDB, which is also the Hub's SQL console, cannot read it split by bytes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo.errors import NoiseZooError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features

ID = "image_id"
SPLIT = "split"
PAPER_SPLIT = "paper_split"
"""Label `train` or `test`: the row's part in the split of the paper's released code (`release_split`)."""
FACTOR_PREFIX = "factor_"
PREVIOUS = "previous_latents"
"""Column beside a noise view's own: the last state but one, where regenerating the image needs both."""
NOISE_ROWS_PER_GROUP = 128
FLAT_ROWS_PER_GROUP = 4096
SMALLEST_CHUNK, LARGEST_CHUNK = 1 << 18, 3 << 19
"""Bytes of a content-defined chunk at least: pyarrow's own, and where a row group is cut into a few."""


def release_split(n: int) -> np.ndarray:
    """Training rows (n,) bool of the authors' released code: rows shuffled by numpy's legacy generator at 42, 80 %.

    Pictures of one person stand on both sides of it.
    """
    order = np.arange(n)
    np.random.RandomState(42).shuffle(order)
    train = np.zeros(n, dtype=np.bool_)
    train[order[: int(0.8 * n)]] = True
    return train


SPLIT_NAME = re.compile(r"\w+(\.\w+)*")


def name_faults(labels: Iterable[str], views: Iterable[str], splits: Iterable[str]) -> Iterator[str]:
    """What is wrong with names that come from a source.

    A label called like a view, or like a view's column (`VIEW.COLUMN`), would be overwritten by it; readers such as
    DuckDB do not tell capitals apart. `datasets` takes `all` for every split, and names of letters and digits only.
    """
    for label, view in product(labels, views):
        if label.lower() == view.lower() or label.lower().startswith(f"{view.lower()}."):
            yield f"label column {label!r} is called like view {view!r}"
    for split in splits:
        if split == "all" or not SPLIT_NAME.fullmatch(split):
            yield f"split {split!r} has a name by which `datasets` cannot load it"


def array_feature(shape: tuple[int, ...], dtype: str) -> Any:
    """The `datasets` feature of one view's column: `Array3D` for `(c, h, w)`, a fixed-length list for `(d,)`."""
    from datasets import Array3D, List, Value

    return Array3D(shape=shape, dtype=dtype) if len(shape) == 3 else List(Value(dtype), length=shape[0])


def view_features(
    name: str, shape: tuple[int, ...], dtype: str, quality: Iterable[str] = (), arrays: Iterable[str] = ()
) -> "Features":
    """Columns of one view's config: the id, the array `name`, further `arrays` of its shape and dtype, and `quality`.

    The quality columns are float32, a number a row; `shape` is that of one row of the array.
    """
    from datasets import Features, Value

    columns = {ID: Value("string"), **{column: array_feature(shape, dtype) for column in (name, *arrays)}}
    return Features({**columns, **{column: Value("float32") for column in quality}})


def beside(names: Sequence[str], columns: Sequence[Iterable[str]]) -> dict[str, tuple[int, str]]:
    """The columns of several configs, the labels' first, side by side: column -> (number of its config, name there).

    The first config's columns keep their names. Of a view, the array is called as the view, its id is left out, and
    what else it holds is `VIEW.COLUMN`.

    Raises:
        NoiseZooError: Two columns would have one name.
    """
    found: dict[str, tuple[int, str]] = {}
    for k, (name, own) in enumerate(zip(names, columns, strict=True)):
        for column in own:
            new = column if k == 0 or column == name else f"{name}.{column}"
            if new in found:
                raise NoiseZooError(f"view {name!r} has a column {new!r}, and so has {names[found[new][0]]}: rebuild")
            if k == 0 or column != ID:
                found[new] = (k, column)
    return found


def to_arrow(values: np.ndarray, arrow_type: "pa.DataType") -> "pa.Array":
    """A `(n, ...)` array as one Arrow column of `arrow_type`, without a Python loop over rows."""
    import pyarrow as pa

    extended = isinstance(arrow_type, pa.ExtensionType)
    storage = arrow_type.storage_type if extended else arrow_type
    column: pa.Array = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    column = column.cast(storage)
    return pa.ExtensionArray.from_storage(arrow_type, column) if extended else column


def to_table(features: "Features", columns: Mapping[str, Any]) -> "pa.Table":
    """A table with exactly the features' columns, in order, carrying the `datasets` metadata."""
    import pyarrow as pa

    schema = features.arrow_schema
    arrays = [
        to_arrow(columns[field.name], field.type)
        if isinstance(columns[field.name], np.ndarray)
        else pa.array(columns[field.name], type=field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def same_values(a: "pa.Table", b: "pa.Table") -> bool:
    """Whether two tables hold the same columns with the same values; a NaN is like a NaN."""
    import pyarrow as pa

    def same(x: "pa.ChunkedArray", y: "pa.ChunkedArray") -> bool:
        if not pa.types.is_floating(x.type):
            return bool(x.equals(y))
        return np.array_equal(x.to_numpy(), y.to_numpy(), equal_nan=True)

    return a.schema.equals(b.schema) and all(same(x, y) for x, y in zip(a.columns, b.columns, strict=True))


def open_parquet(path: Path) -> "pq.ParquetFile":
    """A Parquet file to be read group by group; close it, or use it in a `with`.

    Without `pre_buffer`, which keeps every row group that was read until the file is closed.
    """
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False)


def column_to_numpy(column: "pa.ChunkedArray | pa.Array") -> np.ndarray:
    """An Arrow column of numbers or (nested) lists of numbers as `(n, d)`; one copy at most, none for one chunk.

    Raises:
        ValueError: Lists are missing or of other lengths, or a number in a list is missing.
    """
    import pyarrow as pa

    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    flats = [_flatten(chunk) for chunk in chunks if len(chunk)]
    flat = flats[0] if len(flats) == 1 else np.concatenate(flats) if flats else np.empty(0, np.float32)
    return flat.reshape(len(column), -1) if len(column) else flat.reshape(0, 0)


def _flatten(chunk: "pa.Array") -> np.ndarray:
    import pyarrow as pa

    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    if pa.types.is_list(chunk.type) and len(np.unique(np.diff(chunk.offsets.to_numpy()))) > 1 and not chunk.null_count:
        raise ValueError("it has rows of other lengths")
    while pa.types.is_nested(chunk.type):
        below = chunk.flatten()
        if chunk.null_count or below.null_count:
            raise ValueError("it has gaps")
        chunk = below
    values: np.ndarray = chunk.to_numpy(zero_copy_only=False)
    return values


def write_parquet(path: Path, features: "Features", tables: Iterable["pa.Table"]) -> None:
    """Write tables, in order, as one Parquet file of our layout; row groups are cut by count alone.

    The bytes depend on the rows only, not on how they were cut into `tables`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Array3D

    arrays = [feature for feature in features.values() if isinstance(feature, Array3D)]
    group = NOISE_ROWS_PER_GROUP if arrays else FLAT_ROWS_PER_GROUP  # a group is what a reader must fetch
    schema = features.arrow_schema
    leaves = _leaves(schema)
    wide = [path for path, kind in leaves if pa.types.is_float32(kind) or pa.types.is_float64(kind)]
    plain = [path for path, kind in leaves if not pa.types.is_floating(kind)]
    options: dict[str, Any] = {
        "compression": "zstd", "compression_level": 3, "use_dictionary": plain, "use_byte_stream_split": wide,
        "write_statistics": plain, "write_page_index": True, "store_schema": True, "data_page_size": 4 * LARGEST_CHUNK,
        "use_content_defined_chunking": _chunks(arrays, group),
    }  # fmt: skip
    with pq.ParquetWriter(path.absolute(), schema, **options) as writer:  # `a:b/c` would be taken for an address
        for table in rechunk(tables, group):
            writer.write_table(table, row_group_size=group)


def _chunks(arrays: Sequence[Any], group: int) -> dict[str, int]:
    """Content-defined chunks of an eighth to a half of a row group's array, so that pages stay few.

    The chunker counts four bytes of levels beside every value; its own default would cut a float16 array into pages a
    third of the size.
    """
    row = max((np.prod(each.shape) * (np.dtype(each.dtype).itemsize + 4) for each in arrays), default=0)
    least = int(min(LARGEST_CHUNK, max(SMALLEST_CHUNK, group * row // 8)))
    return {"min_chunk_size": least, "max_chunk_size": 4 * least, "norm_level": 0}


def cut_tables(tables: Iterable["pa.Table"], rows: int) -> Iterator[Iterator["pa.Table"]]:
    """The same rows in groups of exactly `rows` (the last may be shorter), each group as tables; read them in order."""
    left: list[pa.Table] = []  # at most one: of the table that the last group ended in, or the first of the next
    rest = (table for table in tables if len(table))

    def following() -> "pa.Table | None":
        return left.pop() if left else next(rest, None)

    def group() -> Iterator["pa.Table"]:
        lacking = rows
        while lacking and (table := following()) is not None:
            if len(table) > lacking:
                left.append(table.slice(lacking))
            yield table.slice(0, lacking)
            lacking -= min(lacking, len(table))

    while (first := following()) is not None:
        left.append(first)
        del first  # of no table more than one group needs is anything kept
        yield group()


def rechunk(tables: Iterable["pa.Table"], rows: int) -> Iterator["pa.Table"]:
    """The same rows in tables of exactly `rows` (the last may be shorter)."""
    import pyarrow as pa

    return (pa.concat_tables(group).combine_chunks() for group in cut_tables(tables, rows))


def _leaves(schema: "pa.Schema") -> list[tuple[str, "pa.DataType"]]:
    """Parquet's dotted path and type of every leaf column."""
    import pyarrow as pa

    found = []
    for field in schema:
        path, kind = field.name, field.type
        if isinstance(kind, pa.ExtensionType):
            kind = kind.storage_type
        while pa.types.is_nested(kind):
            path, kind = f"{path}.list.element", kind.value_type
        found.append((path, kind))
    return found
