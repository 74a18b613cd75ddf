"""Several configs as one stream of rows: shard by shard, paired by position, every id checked."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from noisezoo.errors import NoiseZooError
from noisezoo.place import Place
from noisezoo.schema import ID, NOISE_ROWS_PER_GROUP, beside, rechunk

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features, IterableDataset

Shard = tuple[str, ...]
"""The address of one shard's file in each config."""
DAMAGED = "view {!r} has missing or damaged files ({}): rebuild or re-download"


def stream(place: Place, configs: Sequence[str], names: Sequence[str], splits: Sequence[str]) -> "IterableDataset":
    """Rows of some configs as an `IterableDataset`.

    Its shards are the files of the configs, which have the same boundaries. So the workers of a DataLoader, `shuffle`,
    `shard` and `split_dataset_by_node` share out whole files, and every row comes once.

    Args:
        place: The dataset.
        configs: Configs; the first one's ids are what the others must have.
        names: Each config's name without its source's prefix: what its array is called.
        splits: Splits, one after another.

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
    shards = [tuple(map(place.address, paths)) for paths in zip(*files, strict=True)]
    own = [_features(name, address) for name, address in zip(names, shards[0], strict=True)]
    columns = beside(names, own)
    features = Features({new: own[k][old] for new, (k, old) in columns.items()})
    kwargs = {"shards": shards, "names": tuple(names), "own": tuple(own), "columns": columns, "features": features}
    return IterableDataset(ArrowExamplesIterable(_tables, kwargs), info=DatasetInfo(features=features))


def _features(name: str, address: str) -> "Features":
    import fsspec  # type: ignore[import-untyped]
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features

    try:
        with fsspec.open(address, "rb") as file:
            return Features.from_arrow_schema(pq.read_schema(file))
    except (pa.ArrowException, OSError) as error:
        raise NoiseZooError(DAMAGED.format(name, type(error).__name__)) from error


def _tables(
    shards: Sequence[Shard], names: Sequence[str], own: "Sequence[Features]", columns: dict[str, tuple[int, str]],
    features: "Features",
) -> Iterator[tuple[tuple[int, int], "pa.Table"]]:  # fmt: skip
    """(key, rows) of some shards, a table at a time; `own` are each config's features, `features` the stream's."""
    import pyarrow as pa

    for number, shard in enumerate(shards):
        with ExitStack() as stack:
            streams = [_read(stack, *config) for config in zip(names, shard, own, strict=True)]
            for batch, tables in enumerate(zip_longest(*streams)):
                _check_ids(names, tables, batch * NOISE_ROWS_PER_GROUP)
                arrays = [tables[k].column(old) for k, old in columns.values()]
                yield (number, batch), pa.Table.from_arrays(arrays, schema=features.arrow_schema)


def _read(stack: ExitStack, name: str, address: str, features: "Features") -> "Iterator[pa.Table]":
    """One file's rows in tables of one length; its features must be the config's.

    Without `pre_buffer`, which keeps every row group that was read.
    """
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features

    try:
        file = pq.ParquetFile(stack.enter_context(fsspec.open(address, "rb")), pre_buffer=False)
        if Features.from_arrow_schema(file.schema_arrow) != features:
            raise NoiseZooError(f"view {name!r} has other columns or classes in {address}: rebuild or re-download")
        batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(NOISE_ROWS_PER_GROUP))
        yield from rechunk(batches, NOISE_ROWS_PER_GROUP, file.schema_arrow)
    except (pa.ArrowException, OSError) as error:
        raise NoiseZooError(DAMAGED.format(name, type(error).__name__)) from error


def _check_ids(names: Sequence[str], tables: "Sequence[pa.Table | None]", start: int) -> None:
    """Every table must have the first one's ids; `start` is its first row's number in the shard."""
    rows = max(0 if table is None else len(table) for table in tables)
    for name, table in zip(names, tables, strict=True):
        if table is None or len(table) < rows:
            ends = start + (0 if table is None else len(table))
            raise NoiseZooError(f"view {name!r} ends at row {ends} of a shard: rebuild or re-download")
    check_ids(names, [table.column(ID) for table in tables if table is not None], start)


def check_ids(names: Sequence[str], ids: "Sequence[Any]", start: int = 0) -> None:
    """Refuse configs that do not pair. `datasets` pairs a shuffled side in silence.

    Args:
        names: The configs'.
        ids: Each one's column of ids.
        start: Number of the first row.

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
