"""Load a NoiseZoo folder or Hub repository, pair its views by position, and check every id."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo.errors import NoiseZooError, UsageError, describe
from noisezoo.place import Place, open_place
from noisezoo.record import LABELS, PAIRED, read_file, read_record
from noisezoo.schema import ID, beside, column_to_numpy

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

__all__ = ["LABELS", "PAIRED", "config_names", "load", "matrix", "read_file"]


def load(
    path_or_repo: str | Path,
    views: Sequence[str] | None = None,
    source: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
) -> "Dataset | IterableDataset":
    """Labels and the named views as columns, one row an image; only the files of what is named are fetched.

    Args:
        path_or_repo: A built folder, or a dataset id on the Hub.
        views: Views in full size, by their own names; None loads the source's `paired` config, where large views are
            reduced by PCA.
        source: Which of the dataset's sources; its first one by default.
        split: `train`, `validation` or `test`; None gives all rows, in that order.
        revision: Branch, tag or commit on the Hub.
        streaming: Give an `IterableDataset` that reads while it is iterated. Workers of a DataLoader, `shuffle`,
            `shard` and `split_dataset_by_node` share out its files, and every row comes once.

    Returns:
        A dataset whose columns are `image_id`, `split`, the labels, each view under its name, and what else a view
        holds (its quality columns; `previous_latents`, where its way back to the image needs them) as `VIEW.COLUMN`.
        Columns are called alike whichever source they are of.

    Raises:
        UsageError: An argument is of the wrong kind, or there is no such dataset, view, split or source.
        NoiseZooError: Two views' rows do not pair (names the first row that differs), or a view's files are missing or
            damaged.
    """
    _check_arguments(views, source=source, split=split, revision=revision)
    place = open_place(path_or_repo, revision)
    prefix = _prefix(path_or_repo, source, revision)
    names = [PAIRED] if views is None else [LABELS, *dict.fromkeys(views)]
    for name in names:
        if prefix + name not in place.configs:
            there = [config.removeprefix(prefix) for config in place.configs if config.startswith(prefix)]
            of = f" of source {source!r}" if source is not None else ""
            raise UsageError(f"{path_or_repo} has no view {name!r}{of}; it has: {', '.join(there)}")
    configs = [prefix + name for name in names]
    splits = list(place.configs[configs[0]])
    if split is not None and split not in splits:
        raise UsageError(f"{path_or_repo} has no split {split!r}; it has: {', '.join(splits)}")
    wanted = splits if split is None else [split]
    if streaming:
        from noisezoo.stream import stream

        return stream(place, configs, names, wanted)
    return _pair(names, [load_config(place, config, wanted) for config in configs])


def matrix(dataset: "Dataset", view: str, dtype: str | None = "float32") -> np.ndarray:
    """One view of a loaded dataset as a matrix, without a Python loop over rows.

    Args:
        dataset: What `load` or `datasets.load_dataset` returned (also shuffled, selected or filtered).
        view: Name of the view's column.
        dtype: Wanted dtype; None keeps the stored one, and then the array shares memory with the dataset if it can.

    Returns:
        `(n, d)`, image-like views flattened in `(c, h, w)` order.

    Raises:
        UsageError: `dataset` is no `datasets.Dataset`, it has no such column, the column holds no numbers or has gaps,
            or there is no such dtype.
    """
    from datasets import Dataset

    if not isinstance(dataset, Dataset):
        kinds = {"DatasetDict": ": choose a split of it", "IterableDataset": ": load it without streaming"}
        kind = type(dataset).__name__
        raise UsageError(f"a matrix is made of a datasets.Dataset, not of {kind}{kinds.get(kind, '')}")
    if view not in dataset.column_names:
        raise UsageError(f"the dataset has no column {view!r}; it has: {', '.join(dataset.column_names)}")
    if dataset._indices is None:
        column = dataset.data.column(view)
    else:
        column = dataset.select_columns([view]).with_format("arrow")[:].column(view)
    try:
        wanted = None if dtype is None else np.dtype(dtype)
        values = column_to_numpy(column)
    except (TypeError, ValueError) as error:
        raise UsageError(f"column {view!r} cannot be a matrix of {dtype}: {describe(error)}") from error
    if values.dtype.kind not in "fiub":
        raise UsageError(f"column {view!r} holds {values.dtype} values, which are no numbers: choose a view")
    return values if wanted is None else values.astype(wanted, copy=False)


def config_names(path_or_repo: str | Path, revision: str | None = None) -> list[str]:
    """The configs a dataset has, the default first.

    Raises:
        UsageError: There is no dataset there.
    """
    return list(open_place(path_or_repo, revision).configs)


def load_config(place: Place, config: str, splits: Sequence[str] | None = None) -> "Dataset":
    """One config's rows as a memory-mapped `datasets.Dataset`: the named splits, one after another; all by default.

    Raises:
        NoiseZooError: Its files are missing or damaged.
    """
    from datasets import concatenate_datasets
    from datasets.exceptions import DatasetsError

    files = place.configs[config]
    try:
        return concatenate_datasets([_prepared(place, config, split, files[split]) for split in splits or files])
    except (DatasetsError, NoiseZooError, OSError, ValueError, KeyError) as error:
        cause = error.__cause__ if isinstance(error, DatasetsError) and error.__cause__ else error
        raise NoiseZooError(
            f"view {config!r} of {place.name} has missing or damaged files ({describe(cause).splitlines()[0]}): "
            "rebuild or re-download"
        ) from error


def _prepared(place: Place, config: str, split: str, paths: Sequence[str]) -> "Dataset":
    """One split of a config in the cache of `datasets`, keyed by its files, so that other files give other rows."""
    from datasets import DatasetBuilder
    from datasets.data_files import DataFilesDict, DataFilesList
    from datasets.packaged_modules.parquet.parquet import Parquet

    files = place.fetched(paths)
    marks = [(str(file.resolve()), str(file.stat().st_size), str(file.stat().st_mtime_ns)) for file in files]
    named = DataFilesDict({split: DataFilesList([str(file) for file in files], marks)})
    builder: DatasetBuilder = Parquet(dataset_name="noisezoo", config_name=config, data_files=named)
    builder.download_and_prepare()
    return builder.as_dataset(split)


def _check_arguments(views: Any, **names: Any) -> None:
    """Refuse what is of the wrong kind: a word in the place of a list, a list in the place of a word."""
    if isinstance(views, str):
        raise UsageError(f"views={views!r} is one name: give a list, views=[{views!r}]")
    if views is not None and not (isinstance(views, Iterable) and all(isinstance(view, str) for view in views)):
        raise UsageError(f"views={views!r}: give a list of names, or None for the paired config")
    for name, value in names.items():
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{name}={value!r}: give one name, or None")


def _prefix(path_or_repo: str | Path, source: str | None, revision: str | None) -> str:
    """What the names of a source's configs begin with."""
    if source is None:
        return ""
    record = read_record(path_or_repo, revision)
    prefixes = {section.source: section.prefix for section in record.sections} if record else {}
    if source not in prefixes:
        raise UsageError(
            f"{path_or_repo} has no source {source!r}; it has: {', '.join(prefixes) or 'no record of any'}"
        )
    return prefixes[source]


def _pair(names: Sequence[str], loaded: Sequence["Dataset"]) -> "Dataset":
    """Configs side by side; their ids must be the same, in the same order."""
    from datasets import concatenate_datasets

    from noisezoo.stream import check_ids

    check_ids(names, [rows.data.column(ID) for rows in loaded])
    columns = beside(names, [rows.column_names for rows in loaded])
    paired = []
    for k, rows in enumerate(loaded):
        own = {old: new for new, (config, old) in columns.items() if config == k}
        paired.append(rows.select_columns(list(own)).rename_columns(own))
    return concatenate_datasets(paired, axis=1)
