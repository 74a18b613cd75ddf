"""Several configs as one stream of rows: shard by shard, paired by position, every id checked."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from noisezoo.errors import NoiseZooError
from noisezoo.place import Place
from noisezoo.schema import ID, NOISE_ROWS_PER_GROUP, beside, rechunk

if TYPE_CHECKING:
    from datasets import Features, IterableDataset

Shard = tuple[tuple[str, ...], int, int | None]
"""The address of a file in each config, and the rows of it: from the first to before the second, None for all others.
"""
FEWEST = 8
"""Where there are fewer files than this, they are cut into as many shards, of at least one row group of noise each."""
DAMAGED = "view {!r} has missing or damaged files ({}): rebuild or re-download"


def stream(place: Place, configs: Sequence[str], names: Sequence[str], splits: Sequence[str]) -> "IterableDataset":
    """Rows of some configs as an `IterableDataset`, one split after another; all must have the first config's ids.

    Its shards are the files of the configs, which have the same boundaries, or parts of them where they are few. So the
    workers of a DataLoader, `shuffle`, `shard` and `split_dataset_by_node` share out rows of all configs at once.
    `names` are the configs' without their source's prefix: what their arrays are called.

    Raises:
        NoiseZooError: A config has another number of files than the first one, its first file cannot be read, or two
            columns have one name.
    """
    from datasets import DatasetInfo, Features, IterableDataset
    from datasets.iterable_dataset import ArrowExamplesIterable

    files = [[path for split in splits for path in place.configs[config].get(split, [])] for config in configs]
    wrong = next((name for name, paths in zip(names, files, strict=True) if len(paths) != len(files[0])), None)
    if wrong is not None:
        raise NoiseZooError(f"view {wrong!r} has another number of files than {names[0]}: rebuild or re-download")
    addresses = [tuple(map(place.address, paths)) for paths in zip(*files, strict=True)]
    own = [_described(name, address)[0] for name, address in zip(names, addresses[0], strict=True)]
    parts = -(-FEWEST // len(addresses))
    shards = [shard for each in addresses for shard in _shards(names[0], each, parts)]
    columns = beside(names, own)
    features = Features({new: own[k][old] for new, (k, old) in columns.items()})
    kwargs = {"shards": shards, "names": tuple(names), "own": tuple(own), "columns": columns, "features": features}
    return IterableDataset(ArrowExamplesIterable(_tables, kwargs), info=DatasetInfo(features=features))


def _shards(name: str, addresses: tuple[str, ...], parts: int) -> list[Shard]:
    """One file of each config in about so many shards, cut between row groups of noise."""
    if parts == 1:
        return [(addresses, 0, None)]
    rows = _described(name, addresses[0])[1]
    step = -(-rows // (parts * NOISE_ROWS_PER_GROUP)) * NOISE_ROWS_PER_GROUP
    starts = list(range(0, max(rows, 1), max(step, 1)))
    return [(addresses, start, stop) for start, stop in zip_longest(starts, starts[1:])]


def _described(name: str, address: str) -> "tuple[Features, int]":
    """The features of a file and its number of rows."""
    from datasets import Features

    try:
        with _open(address) as file:
            metadata = pq.read_metadata(file)
            return Features.from_arrow_schema(metadata.schema.to_arrow_schema()), metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise NoiseZooError(DAMAGED.format(name, type(error).__name__)) from error


def _open(address: str) -> BinaryIO:
    """A file on this machine or on the Hub."""
    if not address.startswith("hf://"):
        return Path(address).open("rb")
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    system, path = url_to_fs(address)
    return cast(BinaryIO, system.open(path, "rb"))


def _tables(
    shards: Sequence[Shard], names: Sequence[str], own: "Sequence[Features]", columns: dict[str, tuple[int, str]],
    features: "Features",
) -> Iterator[tuple[tuple[int, int], pa.Table]]:  # fmt: skip
    """(key, rows) of some shards, a table at a time; `own` are each config's features, `features` the stream's."""
    for number, (addresses, start, stop) in enumerate(shards):
        with ExitStack() as stack:
            configs = zip(names, addresses, own, strict=True)
            streams = [_read(stack, *config, start, stop) for config in configs]
            for batch, tables in enumerate(zip_longest(*streams)):
                _check_ids(names, tables, start + batch * NOISE_ROWS_PER_GROUP)
                arrays = [tables[k].column(old) for k, old in columns.values()]
                yield (number, batch), pa.Table.from_arrays(arrays, schema=features.arrow_schema)


def _read(
    stack: ExitStack, name: str, address: str, features: "Features", start: int, stop: int | None
) -> Iterator[pa.Table]:
    """Some rows of one file in tables of one length; its features must be the config's.

    Without `pre_buffer`, which keeps every row group that was read.
    """
    from datasets import Features

    try:
        file = pq.ParquetFile(stack.enter_context(_open(address)), pre_buffer=False)
        if Features.from_arrow_schema(file.schema_arrow) != features:
            raise NoiseZooError(f"view {name!r} has other columns or classes in {address}: rebuild or re-download")
        stop = file.metadata.num_rows if stop is None else stop
        yield from rechunk(_rows(file, start, stop), NOISE_ROWS_PER_GROUP)
    except (pa.ArrowException, OSError) as error:
        raise NoiseZooError(DAMAGED.format(name, type(error).__name__)) from error


def _rows(file: pq.ParquetFile, start: int, stop: int) -> Iterator[pa.Table]:
    """The rows from `start` to before `stop`; only their row groups are read."""
    lengths = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    ends = list(accumulate(lengths))
    groups = [g for g, end in enumerate(ends) if start < end and end - lengths[g] < stop]
    row = ends[groups[0]] - lengths[groups[0]] if groups else 0
    for batch in file.iter_batches(NOISE_ROWS_PER_GROUP, row_groups=groups):
        first, last = max(start - row, 0), min(stop - row, len(batch))
        if first < last:
            yield pa.Table.from_batches([batch.slice(first, last - first)])
        row += len(batch)


def _check_ids(names: Sequence[str], tables: Sequence[pa.Table | None], start: int) -> None:
    """Every table must have the first one's ids; `start` is its first row's number in the shard."""
    rows = max(0 if table is None else len(table) for table in tables)
    for name, table in zip(names, tables, strict=True):
        if table is None or len(table) < rows:
            ends = start + (0 if table is None else len(table))
            raise NoiseZooError(f"view {name!r} ends at row {ends} of a shard: rebuild or re-download")
    check_ids(names, [table.column(ID) for table in tables if table is not None], start)


def check_ids(names: Sequence[str], ids: "Sequence[Any]", start: int = 0) -> None:
    """Refuse configs, each with its column of ids, that do not pair. `datasets` pairs a shuffled side in silence.

    Raises:
        NoiseZooError: Names the first row that differs, or the config that has another number of rows.
    """
    for name, found in zip(names[1:], ids[1:], strict=True):
        if len(ids[0]) != len(found):
            message = f"view {name!r} has {len(found)} rows where {names[0]} has {len(ids[0])}"
            raise NoiseZooError(f"{message}: rebuild or re-download")
        if not ids[0].equals(found):
            row = next(i for i, (a, b) in enumerate(zip(ids[0], found, strict=True)) if a != b)
            raise NoiseZooError(
                f"view {name!r} does not pair: row {start + row} is {found[row].as_py()!r} where {names[0]} has "
                f"{ids[0][row].as_py()!r}: rebuild or re-download"
            )
