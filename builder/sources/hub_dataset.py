"""The `hf:REPO_OR_FOLDER` source: any dataset with an image column, from the Hub or from a local folder."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, Features, Image
from datasets.exceptions import DatasetsError

from noisezoo.builder.sources.rows import ImageRows, Part, reason
from noisezoo.errors import UsageError

SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.parquet")


@dataclass
class HubImages(ImageRows):
    """Any dataset that `datasets` can load and that has a column of images.

    Args:
        path: A repository on the Hub, a local folder of Parquet files, or one that `save_to_disk` wrote.
        splits: `official`, or `hash` to split the rows anew by their identities or ids.
        image: The image column; by default its only one.
        labels: The label columns; by default all others.
        id: The column of ids; by default they are `SPLIT-NUMBER`, the row's place in its split.
        identity: A column whose values must not be on both sides of a split.
        use: The dataset's splits to read; by default all.
        config: The dataset's configuration.
        revision: The repository's commit, tag or branch.
        license: As the Hub spells it.
    """

    name = "hf"
    sensitive = True
    local = False

    image: str | None = None
    labels: Sequence[str] | None = None
    id: str | None = None
    identity: str | None = None
    use: Sequence[str] | None = None
    config: str | None = None
    revision: str | None = None
    license: str = "unknown"

    def read(self) -> dict[str, Part]:
        """The chosen splits, with the image column found."""
        splits = load(self.path, self.name, self.config, self.revision)
        unknown = [split for split in self.use or () if split not in splits]
        if unknown:
            raise UsageError(f"hf: {self.path} has no split {unknown[0]!r}; it has: {', '.join(splits)}")
        used = {split: rows for split, rows in splits.items() if self.use is None or split in self.use}
        self.wanted = None if self.labels is None else dict.fromkeys(self.labels)
        features = next(iter(used.values())).features
        self.image_column = _image_column(features, self.image, self.path)
        for column in (self.id, self.identity):
            if column is not None and column not in features:
                raise UsageError(f"hf: {self.path} has no column {column!r}; it has: {', '.join(features)}")
        return with_ids(used, self.image_column, self.id)


def load(path: str, source: str, config: str | None = None, revision: str | None = None) -> dict[str, Dataset]:
    """All splits of a dataset that have rows, from the Hub, from a local folder, or as `save_to_disk` wrote it.

    Raises:
        UsageError: There is no such dataset or configuration, it cannot be had, or files of it are missing.
    """
    root = Path(path).expanduser()
    try:
        if any((root / name).is_file() for name in ("dataset_dict.json", "state.json")):
            splits = _saved(root)
        else:
            splits = _built(config, **(_local(root, source) if root.is_dir() else {"path": path, "revision": revision}))
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise UsageError(f"{source}: the dataset {path} cannot be loaded: {reason(error)}") from error
    if not splits:
        raise UsageError(f"{source}: the dataset {path} has no images: all of its splits are empty")
    return splits


def _saved(root: Path) -> dict[str, Dataset]:
    found = datasets.load_from_disk(str(root))
    splits = {"train": found} if isinstance(found, Dataset) else found
    return {split: rows for split, rows in splits.items() if len(rows)}


def _built(config: str | None, **where: Any) -> dict[str, Dataset]:
    """What `load_dataset` gives, less empty splits: one of those makes it refuse all."""
    builder = datasets.load_dataset_builder(name=config, **where)
    builder.download_and_prepare()
    return {split: builder.as_dataset(split) for split, facts in builder.info.splits.items() if facts.num_examples}


def undecoded(splits: Mapping[str, Dataset], image: str) -> dict[str, Dataset]:
    """The same rows with the images as `{bytes, path}`, to be decoded one by one."""
    return {split: rows.cast_column(image, Image(decode=False)) for split, rows in splits.items()}


def with_ids(splits: Mapping[str, Dataset], image: str = "image", column: str | None = None) -> dict[str, Part]:
    """Rows with their ids: the column's value, or else the split and the row's place, which appending does not move."""
    parts = {}
    for split, rows in undecoded(splits, image).items():
        values = [None] * len(rows) if column is None else rows[column][:]
        parts[split] = Part(rows, [f"{split}-{row:09d}" if v is None else str(v) for row, v in enumerate(values)])
    return parts


def _image_column(features: Features, wanted: str | None, path: str) -> str:
    """The column of images; raises UsageError where it is not one, or not the only one."""
    found: list[str] = [name for name, feature in features.items() if isinstance(feature, Image)]
    chosen = [name for name in found if wanted in (None, name)]
    if len(chosen) == 1:
        return chosen[0]
    had = f"its image columns are: {', '.join(found)}" if found else f"none of {', '.join(features)} holds images"
    asked = f"column {wanted!r} holds no images" if wanted else "the option image must name one column"
    raise UsageError(f"hf: {path}: {asked}; {had}")


def _local(root: Path, source: str) -> dict[str, Any]:
    """How to load a local folder: with a cache of its files' own state.

    `datasets` looks at the files' times only where no README lists them, and serves old rows otherwise.
    """
    files = sorted(path for path in root.rglob("*") if path.is_file())
    _refuse_missing_shards(files, source)
    state = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    digest = hashlib.sha256("\n".join(state).encode(errors="surrogateescape")).hexdigest()
    return {
        "path": str(root.resolve()),
        "cache_dir": str(Path(datasets.config.HF_DATASETS_CACHE) / f"noisezoo-{digest[:16]}"),
    }


def _refuse_missing_shards(files: Sequence[Path], source: str) -> None:
    """A copy that lacks a file would load without a word, and number its rows otherwise."""
    shards: dict[tuple[Path, str, str], set[int]] = defaultdict(set)
    for path in files:
        if match := SHARD.fullmatch(path.name):
            shards[path.parent, match[1], match[3]].add(int(match[2]))
    for (folder, name, total), found in shards.items():
        missing = sorted(set(range(int(total))) - found)
        if missing:
            raise UsageError(f"{source}: {folder} lacks {name}-{missing[0]:05d}-of-{total}.parquet; copy all files")
