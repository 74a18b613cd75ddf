"""Load a NoiseZoo folder or Hub repository, pair its views by position, and check every id."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.schema import ID, column_to_numpy

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

PAIRED, LABELS = "paired", "labels"


def load(
    path_or_repo: str | Path,
    views: Sequence[str] | None = None,
    source: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
) -> "Dataset | IterableDataset":
    """Labels and the named views as columns, one row an image.

    Args:
        path_or_repo: A built folder, or a dataset id on the Hub.
        views: Views in full size; None loads the default config, where large views are reduced by PCA.
        source: Refuse the dataset if it was built from another source than this one.
        split: `train`, `validation` or `test`; None gives all rows, in that order.
        revision: Branch, tag or commit on the Hub.
        streaming: Give an `IterableDataset` that reads while it is iterated.

    Returns:
        A dataset whose columns are `image_id`, `split`, the labels, each view under its name, and what else a view
        holds (its quality columns; `previous_latents`, where its way back to the image needs them) as `VIEW.COLUMN`.

    Raises:
        UsageError: There is no such dataset, view, split or source.
        NoiseZooError: Two views' rows do not pair (names the first row that differs), or a view's files are damaged.
    """
    configs = [PAIRED] if views is None else [LABELS, *dict.fromkeys(views)]
    available = config_names(path_or_repo, revision)
    for config in configs:
        if config not in available:
            raise UsageError(f"{path_or_repo} has no view {config!r}; it has: {', '.join(available)}")
    if source is not None and source != (found := _source_of(path_or_repo, revision)):
        raise UsageError(f"{path_or_repo} was built from source {found!r}, not {source!r}")
    loaded = [_load_config(path_or_repo, config, split, revision, streaming) for config in configs]
    if len(loaded) == 1:
        return loaded[0]
    return _zip_streams(configs, loaded) if streaming else _pair(configs, loaded)


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

    if Path(path_or_repo).is_dir() and not (Path(path_or_repo) / "README.md").exists():
        raise UsageError(
            f"{path_or_repo} is not a finished NoiseZoo folder: it has no README.md; see `noisezoo status`"
        )
    try:
        names: list[str] = get_dataset_config_names(str(path_or_repo), revision=revision)
    except (FileNotFoundError, ConnectionError, ValueError) as error:
        raise UsageError(f"no dataset at {path_or_repo}: {str(error).splitlines()[0]}") from error
    return sorted(names, key=lambda name: (name != PAIRED, name != LABELS))


def _source_of(path_or_repo: str | Path, revision: str | None) -> str:
    from datasets import load_dataset_builder

    description = load_dataset_builder(str(path_or_repo), LABELS, revision=revision).config.description or ""
    return description.partition(":")[0]


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


def read_file(path_or_repo: str | Path, name: str, revision: str | None = None) -> str | None:
    """The text of one small file of a dataset, folder or Hub; None where the dataset has no such file."""
    if Path(path_or_repo).is_dir():
        path = Path(path_or_repo) / name
        return path.read_text() if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(str(path_or_repo), name, repo_type="dataset", revision=revision)).read_text()
    except EntryNotFoundError:
        return None
