"""The `hf:REPO_OR_FOLDER` source: any dataset with an image column, from the Hub or from a local folder."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.builder.sources.rows import OFFICIAL, ImageRows, Layout, Reading, reason
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from datasets import Dataset, Features

SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.parquet")


class HubImages(ImageRows):
    """Any dataset that `datasets` can load and that has a column of images.

    Args:
        path: A repository on the Hub, a local folder of Parquet files, or one that `save_to_disk` wrote.
        image: The image column; its only one, where none is given.
        labels: The label columns; all others, where none are given.
        id: The column of ids; `SPLIT-NUMBER`, the row's place in its split, where none is given.
        identity: A column whose values must not be on both sides of a split.
        use: The dataset's splits to read; all, where none are given.
        splits: `official`, or `hash` to split the rows anew by their identities or ids.
        config: The dataset's configuration.
        revision: The repository's commit, tag or branch.
        license: As the Hub spells it.
    """

    name = "hf"
    sensitive = True

    def __init__(
        self,
        path: str,
        image: str | None = None,
        labels: Sequence[str] | None = None,
        id: str | None = None,
        identity: str | None = None,
        use: Sequence[str] | None = None,
        splits: str = OFFICIAL,
        config: str | None = None,
        revision: str | None = None,
        license: str = "unknown",
    ) -> None:
        super().__init__(splits)
        self.license = license
        self._image, self._use, self._config = image, use, config
        wanted = None if labels is None else dict.fromkeys(labels)
        self.layout = Layout(repo=path, revision=revision, labels=wanted, id=id, identity=identity)
        self._options = {"splits": splits, "image": image, "labels": labels, "id": id, "identity": identity, "use": use,
                         "config": config, "revision": revision}  # fmt: skip

    def read(self) -> Reading:
        """The chosen splits, with the image column found."""
        splits = load(self.layout.repo, self.name, self._config, self.layout.revision)
        unknown = [split for split in self._use or () if split not in splits]
        if unknown:
            raise UsageError(f"hf: {self.layout.repo} has no split {unknown[0]!r}; it has: {', '.join(splits)}")
        used = {split: rows for split, rows in splits.items() if self._use is None or split in self._use}
        features = next(iter(used.values())).features
        self.layout = replace(self.layout, image=_image_column(features, self._image, self.layout.repo))
        for column in (self.layout.id, self.layout.identity):
            if column is not None and column not in features:
                raise UsageError(f"hf: {self.layout.repo} has no column {column!r}; it has: {', '.join(features)}")
        used = undecoded(used, self.layout.image)
        return Reading(used, row_ids(used, self.layout.id))

    def options(self) -> dict[str, Any]:
        """The arguments."""
        return self._options


def load(path: str, source: str, config: str | None = None, revision: str | None = None) -> "dict[str, Dataset]":
    """All splits of a dataset that have rows, from the Hub, from a local folder, or as `save_to_disk` wrote it.

    Raises:
        UsageError: There is no such dataset or configuration, it cannot be had, or files of it are missing.
    """
    from datasets.exceptions import DatasetsError

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


def _saved(root: Path) -> "dict[str, Dataset]":
    from datasets import Dataset, load_from_disk

    found = load_from_disk(str(root))
    splits = {"train": found} if isinstance(found, Dataset) else found
    return {split: rows for split, rows in splits.items() if len(rows)}


def _built(config: str | None, **where: Any) -> "dict[str, Dataset]":
    """What `load_dataset` gives, less empty splits: one of those makes it refuse all."""
    from datasets import load_dataset_builder

    builder = load_dataset_builder(name=config, **where)
    builder.download_and_prepare()
    return {split: builder.as_dataset(split) for split, facts in builder.info.splits.items() if facts.num_examples}


def undecoded(splits: "Mapping[str, Dataset]", image: str) -> "dict[str, Dataset]":
    """The same rows with the images as `{bytes, path}`, to be decoded one by one."""
    from datasets import Image

    return {split: rows.cast_column(image, Image(decode=False)) for split, rows in splits.items()}


def row_ids(splits: "Mapping[str, Dataset]", column: str | None = None) -> dict[str, list[str]]:
    """Each row's id: the column's value, or else the split and the row's place in it, which appending does not move."""
    return {split: [f"{split}-{row:09d}" if value is None else str(value) for row, value in enumerate(values)]
            for split, values in _values(splits, column).items()}  # fmt: skip


def _values(splits: "Mapping[str, Dataset]", column: str | None) -> dict[str, list[Any]]:
    return {split: [None] * len(rows) if column is None else rows[column][:] for split, rows in splits.items()}


def _image_column(features: "Features", wanted: str | None, path: str) -> str:
    """The column of images; raises UsageError where it is not one, or not the only one."""
    from datasets import Image

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
    from datasets import config

    files = sorted(path for path in root.rglob("*") if path.is_file())
    _refuse_missing_shards(files, source)
    state = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    digest = hashlib.sha256("\n".join(state).encode(errors="surrogateescape")).hexdigest()
    return {"path": str(root.resolve()), "cache_dir": str(Path(config.HF_DATASETS_CACHE) / f"noisezoo-{digest[:16]}")}


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
