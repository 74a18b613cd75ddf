"""Load a NoiseZoo folder or Hub repository, pair its views by position, and check every id."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.record import CARD, LABELS, PAIRED, read_file, read_record
from noisezoo.schema import ID, column_to_numpy

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
        streaming: Give an `IterableDataset` that reads while it is iterated.

    Returns:
        A dataset whose columns are `image_id`, `split`, the labels, each view under its name, and what else a view
        holds (its quality columns; `previous_latents`, where its way back to the image needs them) as `VIEW.COLUMN`.
        Columns are called alike whichever source they are of.

    Raises:
        UsageError: There is no such dataset, view, split or source.
        NoiseZooError: Two views' rows do not pair (names the first row that differs), or a view's files are damaged.
    """
    available = config_names(path_or_repo, revision)
    prefix = _prefix(path_or_repo, source, revision)
    names = [PAIRED] if views is None else [LABELS, *dict.fromkeys(views)]
    for name in names:
        if prefix + name not in available:
            there = [config.removeprefix(prefix) for config in available if config.startswith(prefix)]
            of = f" of source {source!r}" if source is not None else ""
            raise UsageError(f"{path_or_repo} has no view {name!r}{of}; it has: {', '.join(there)}")
    loaded = [_load_config(path_or_repo, prefix + name, split, revision, streaming) for name in names]
    if len(loaded) == 1:
        return loaded[0]
    return _zip_streams(names, loaded) if streaming else _pair(names, loaded)


def matrix(dataset: "Dataset", view: str, dtype: str | None = "float32") -> np.ndarray:
    """One view of a loaded dataset as a matrix, without a Python loop over rows.

    Args:
        dataset: What `load` or `datasets.load_dataset` returned (also shuffled, selected or filtered).
        view: Name of the view's column.
        dtype: Wanted dtype; None keeps the stored one, and then the array shares memory with the dataset if it can.

    Returns:
        `(n, d)`, image-like views flattened in `(c, h, w)` order.

    Raises:
        UsageError: The dataset has no such column.
    """
    if view not in dataset.column_names:
        raise UsageError(f"the dataset has no column {view!r}; it has: {', '.join(dataset.column_names)}")
    if dataset._indices is None:
        column = dataset.data.column(view)
    else:
        column = dataset.select_columns([view]).with_format("arrow")[:].column(view)
    values = column_to_numpy(column)
    return values if dtype is None else values.astype(dtype, copy=False)


def config_names(path_or_repo: str | Path, revision: str | None = None) -> list[str]:
    """The configs a dataset has, the default first.

    Raises:
        UsageError: There is no dataset there.
    """
    from datasets import get_dataset_config_names

    if Path(path_or_repo).is_dir() and not (Path(path_or_repo) / CARD).exists():
        raise UsageError(
            f"{path_or_repo} is not a finished NoiseZoo folder: it has no {CARD}; see `noisezoo status`, or go on with "
            "the build, removal or join that was cut short"
        )
    try:
        names: list[str] = get_dataset_config_names(str(path_or_repo), revision=revision)
    except (FileNotFoundError, ConnectionError, ValueError) as error:
        raise UsageError(f"no dataset at {path_or_repo}: {str(error).splitlines()[0]}") from error
    return sorted(names, key=lambda name: (name != PAIRED, name != LABELS))


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


def _load_config(
    path_or_repo: str | Path, config: str, split: str | None, revision: str | None, streaming: bool
) -> Any:
    """One config's rows; all splits, one after another, where none is named."""
    from datasets import concatenate_datasets, load_dataset
    from datasets.exceptions import DatasetsError

    try:
        loaded = load_dataset(str(path_or_repo), config, revision=revision, streaming=streaming)
    except (DatasetsError, FileNotFoundError) as error:
        raise NoiseZooError(
            f"view {config!r} of {path_or_repo} has missing or damaged files ({type(error).__name__}): "
            "rebuild or re-download"
        ) from error
    if split is None:
        return concatenate_datasets(list(loaded.values()))
    if split not in loaded:
        raise UsageError(f"{path_or_repo} has no split {split!r}; it has: {', '.join(loaded)}")
    return loaded[split]


def _renames(config: str, columns: Sequence[str]) -> dict[str, str]:
    """How a view's further columns are called beside other views."""
    return {column: f"{config}.{column}" for column in columns if column not in (ID, config)}


def _pair(configs: Sequence[str], loaded: Sequence["Dataset"]) -> "Dataset":
    from datasets import concatenate_datasets

    labels, *others = loaded
    ids = labels.data.column(ID)
    paired = [labels]
    for config, rows in zip(configs[1:], others, strict=True):
        _check_ids(config, ids, rows.data.column(ID))
        paired.append(rows.remove_columns(ID).rename_columns(_renames(config, rows.column_names)))
    return concatenate_datasets(paired, axis=1)


def _check_ids(config: str, wanted: Any, found: Any) -> None:
    """`datasets` pairs a shuffled side in silence; we do not."""
    if wanted.equals(found):
        return
    if len(wanted) != len(found):
        raise NoiseZooError(
            f"view {config!r} has {len(found)} rows where labels has {len(wanted)}: rebuild or re-download"
        )
    differs = next(i for i, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b)
    raise NoiseZooError(
        f"view {config!r} does not pair: row {differs} is {found[differs].as_py()!r} where labels has "
        f"{wanted[differs].as_py()!r}: rebuild or re-download"
    )


def _zip_streams(configs: Sequence[str], loaded: Sequence["IterableDataset"]) -> "IterableDataset":
    from datasets import IterableDataset

    return IterableDataset.from_generator(
        _stream_rows, gen_kwargs={"configs": tuple(configs), "streams": tuple(loaded)}
    )


def _stream_rows(configs: Sequence[str], streams: Sequence["IterableDataset"]) -> Iterator[dict[str, Any]]:
    for number, rows in enumerate(zip_longest(*streams)):
        if None in rows:
            raise NoiseZooError(f"view {configs[rows.index(None)]!r} ends at row {number}: rebuild or re-download")
        labels, *others = rows
        row = dict(labels)
        for config, other in zip(configs[1:], others, strict=True):
            if other[ID] != row[ID]:
                raise NoiseZooError(f"view {config!r} does not pair: row {number} is {other[ID]!r}, labels {row[ID]!r}")
            names = _renames(config, list(other))
            row |= {names.get(column, column): value for column, value in other.items() if column != ID}
        yield row
