"""The `hf:REPO_OR_FOLDER` source: any dataset with an image column, from the Hub or from a local folder.

A repository is a folder at one commit: it is downloaded into the Hub's own cache and read there, as a local one is.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import huggingface_hub
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datasets import ClassLabel, Dataset, Features, Value
from datasets.data_files import sanitize_patterns
from datasets.exceptions import DatasetsError
from datasets.info import DatasetInfosDict
from fsspec.utils import glob_translate  # type: ignore[import-untyped]

from noisezoo.errors import UsageError, describe
from noisezoo.hub import READ, explained
from noisezoo.zoo import is_path
from .imagefolder import ARCHIVES, Folder
from .metadata import METADATA
from .rows import SPLIT_NAMES, ImageRows, Pictures
from .source import first_of
from .tables import ParquetRows, Rows, SavedRows, Tables

SHARD = re.compile(r"(.+?)-(\d{5})-of-(\d{5})(-[0-9a-f]+)?\.parquet")
COMMIT = re.compile(r"[0-9a-f]{40}")
ANY = ""  # in the place of a split: a folder whose files say their splits by their names

FACTS = ["README.md", "dataset_infos.json"]
NOT_READ = [f"*{ending}" for ending in sorted(ARCHIVES)]
"""Files that are not downloaded: a repository of archives may be of terabytes, and none of them would be read."""

SAVED = ("dataset_dict.json", "state.json")


@dataclass
class HubImages(ImageRows):
    """Any dataset that has a column of images, in Parquet files or as `save_to_disk` wrote it; or a folder of pictures.

    Args:
        path: A repository on the Hub, or a local folder.
        splits: `official`, or `hash` to split the rows anew by their identities or ids.
        image: The image column; by default its only one.
        labels: The label columns; by default all others.
        id: The column of ids; by default they are `SPLIT-NUMBER`, the row's place in its split.
        identity: A column whose values must not be on both sides of a split.
        use: The dataset's splits to read; by default all.
        config: The dataset's configuration.
        revision: The repository's commit, tag or branch; the commit that it stands for is frozen with the manifest.
        license: As the Hub spells it.
    """

    name = "hf"
    sensitive = True
    local = False
    reads = (
        "hf reads Parquet files, what `save_to_disk` wrote, and files of pictures: turn other formats into one of them "
        "with `datasets.load_dataset(...).save_to_disk(FOLDER)`"
    )

    image: str | None = None
    labels: Sequence[str] | None = None
    id: str | None = None
    identity: str | None = None
    use: Sequence[str] | None = None
    config: str | None = None
    revision: str | None = None
    license: str = "unknown"

    def open(self) -> Pictures:
        """The chosen splits, with the image column found."""
        self.wanted = None if self.labels is None else dict.fromkeys(self.labels)
        files = read_files(self.folder, f"{self.name}: the dataset {self.path}", self.config)
        if not files:
            folder = Folder(self.folder, self.name)
            folder.said += ["archives of the repository, if it has any, are left out"] if self.pinned() else []
            return folder
        splits = dict.fromkeys(file.split for file in files)
        unknown = [split for split in self.use or () if split not in splits]
        if unknown:
            raise UsageError(f"hf: {self.path} has no split {unknown[0]!r}; it has: {', '.join(splits)}")
        used = [file for file in files if self.use is None or file.split in self.use]
        for column in (self.id, self.identity):
            if column is not None and any(column not in file.features for file in used):
                raise UsageError(f"hf: {self.path} has no column {column!r}; it has: {', '.join(used[0].features)}")
            if column is not None and not all(isinstance(file.features[column], Value | ClassLabel) for file in used):
                raise UsageError(f"hf: {self.path}: column {column!r} holds no numbers, text or classes: name another")
        tables = Tables(used, f"hf: {self.path}", self.image, self.id)
        tables.said += left_out(self.folder, [file.path for file in files if isinstance(file, ParquetRows)])
        return tables

    def pinned(self) -> dict[str, Any]:
        """The commit, for a repository."""
        commit = commit_of(self.folder)
        return {} if commit is None else {"revision": commit}

    @cached_property
    def folder(self) -> Path:
        """The local folder or the repository's snapshot."""
        return dataset_folder(self.path, self.name, self.config, self.revision)


def commit_of(folder: Path) -> str | None:
    """The commit of a snapshot in the Hub's cache; None for any other folder."""
    snapshot = COMMIT.fullmatch(folder.name) and folder.parent.name == "snapshots"
    return folder.name if snapshot else None


def dataset_folder(path: str, source: str, config: str | None = None, revision: str | None = None) -> Path:
    """A local folder; or the snapshot of a repository at one commit, with the files of one configuration.

    Raises UsageError where there is no such repository, revision or configuration, or it cannot be had.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        return local.resolve()
    where = f"{source}: the dataset {path}"
    if is_path(path):
        raise UsageError(f"{where} cannot be loaded: there is no such folder")
    facts = _snapshot(path, revision, where, FACTS)
    wanted = commit_of(facts) or revision
    declared = _declared(facts, where, config)
    patterns = [pattern for split in declared if split != ANY for pattern in declared[split]]
    folder = _snapshot(path, wanted, where, patterns or ["*.parquet"])
    return folder if parquet_files(folder) else _snapshot(path, wanted, where, None)


def _snapshot(repo: str, revision: str | None, where: str, patterns: list[str] | None) -> Path:
    try:
        with explained(f"{where} cannot be loaded", READ):
            return Path(huggingface_hub.snapshot_download(
                repo, repo_type="dataset", revision=revision, allow_patterns=patterns, ignore_patterns=NOT_READ
            ))  # fmt: skip
    except OSError as error:
        raise UsageError(f"{where} cannot be loaded: {describe(error)}; or set HF_HOME to another disk") from error


def read_files(root: Path, where: str, config: str | None = None) -> list[Rows]:
    """The rows of a dataset's folder, split by split; none where it holds neither Parquet nor a saved dataset.

    Raises UsageError where files are missing or damaged, or there is no such configuration.
    """
    try:
        if any((root / name).is_file() for name in SAVED):
            files: list[Rows] = list(_saved_rows(root))
        else:
            declared = _features(root, config)
            files = [ParquetRows(root / path, split, declared)
                     for split, paths in split_files(root, where, config).items() for path in paths]  # fmt: skip
    except (OSError, ValueError, KeyError, DatasetsError, pa.ArrowException) as error:
        raise UsageError(f"{where} cannot be loaded: {reason(error)}") from error
    if files and not any(file.count for file in files):
        raise UsageError(f"{where} has no images: all of its splits are empty")
    return [file for file in files if file.count]


def _saved_rows(root: Path) -> Iterator[Rows]:
    """What `save_to_disk` wrote, file by file: `load_from_disk` would take a path with `::` for another one."""
    listed = root / "dataset_dict.json"
    splits = json.loads(listed.read_text())["splits"] if listed.is_file() else [""]
    for split in splits:
        files = json.loads((root / split / "state.json").read_text())["_data_files"]
        for file in files:
            yield SavedRows(Dataset.from_file(str(root / split / file["filename"])), split or "train")


def reason(error: BaseException) -> str:
    """The first line of what went wrong at the bottom of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def files_below(root: Path, pattern: str = "*") -> list[Path]:
    """Paths below a folder of what matches a pattern, sorted, but for what is hidden."""
    paths = sorted(path.relative_to(root) for path in root.rglob(pattern))
    return [path for path in paths if not any(part.startswith(".") for part in path.parts)]


def parquet_files(root: Path) -> list[str]:
    """Paths below a folder of its Parquet files, but for hidden ones and those of an image folder's labels."""
    return [path.as_posix() for path in files_below(root, "*.parquet") if path.name not in METADATA]


def left_out(root: Path, read: Sequence[Path]) -> list[str]:
    """What a user should know of pictures and Parquet files below a folder that are not among the files read."""
    others = [path for path in files_below(root) if root / path not in read and (root / path).is_file()]
    pictures = [path for path in others if path.suffix.lower() in PIL.Image.registered_extensions()]
    tables = [path for path in others if path.suffix.lower() == ".parquet" and pq.read_metadata(root / path).num_rows]
    return [f"{len(paths)} {kind} beside the rows that are read are left out: {first_of([*map(str, paths)])}"
            for kind, paths in (("files of pictures", pictures), ("Parquet files", tables)) if paths]  # fmt: skip


def split_files(root: Path, where: str, config: str | None = None) -> dict[str, list[str]]:
    """A folder's Parquet files by split: as its README says, or by their names where all of them name a split.

    Raises UsageError where files are missing, or there is no such configuration.
    """
    paths = parquet_files(root)
    declared = _declared(root, where, config)
    if declared and ANY not in declared:
        found = {split: _matching(paths, patterns) for split, patterns in declared.items()}
        lacking = [split for split in found if not found[split]] if paths else []
        if lacking:
            raise UsageError(f"{where} lacks the Parquet files of split {lacking[0]!r}: copy all files")
    else:
        (below,) = declared.get(ANY, [config or ""])
        inside = [path for path in paths if not below or path.startswith(f"{below}/")]
        if config is not None and not inside:
            raise UsageError(f"{where} cannot be loaded: it has no configuration {config!r}")
        found = _by_names(inside)
    _refuse_missing_shards([path for files in found.values() for path in files], where)
    return found


def _declared(root: Path, where: str, config: str | None) -> dict[str, list[str]]:
    """Patterns of each split's files, as the README's front matter has them for a configuration; none without it."""
    readme = root / "README.md"
    try:
        facts = (huggingface_hub.metadata_load(readme) or {}) if readme.is_file() else {}
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{where}: its README.md cannot be read: {reason(error)}") from error
    configs = {str(each.get("config_name", "default")): each for each in facts.get("configs") or () if each}
    if not configs:
        return {}
    default = [name for name in configs if len(configs) == 1 or name == "default" or configs[name].get("default")]
    if config is None and not default:
        raise UsageError(f"{where} has several configurations: set the option config to one of {', '.join(configs)}")
    if config is not None and config not in configs:
        raise UsageError(f"{where} cannot be loaded: it has no configuration {config!r}; it has: {', '.join(configs)}")
    chosen = configs[config or default[0]]
    if not chosen.get("data_files"):
        return {ANY: [str(chosen["data_dir"]).strip("./")]} if "data_dir" in chosen else {}
    return {split: list(map(str, paths)) for split, paths in sanitize_patterns(chosen["data_files"]).items()}


def _matching(paths: Iterable[str], patterns: Iterable[str]) -> list[str]:
    wanted = [re.compile(glob_translate(pattern.removeprefix("./"))) for pattern in patterns]
    return [path for path in paths if any(pattern.match(path) for pattern in wanted)]


def _by_names(paths: Sequence[str]) -> dict[str, list[str]]:
    """Files by the split that each names; all are one split where one names none."""
    named = [_split_of(path) for path in paths]
    found: dict[str, list[str]] = defaultdict(list)
    for path, split in zip(paths, named, strict=True):
        found["train" if None in named else str(split)].append(path)
    return found


def _split_of(path: str) -> str | None:
    """The split that a file names: `SPLIT-00000-of-00001`, `SPLIT`, or a folder above it."""
    *folders, file = path.split("/")
    shard = SHARD.fullmatch(file)
    stem = shard[1] if shard else file.removesuffix(".parquet")
    words = [stem, re.split(r"[-_.]", stem)[-1], *reversed(folders)]
    known = next((word for word in words if word.lower() in SPLIT_NAMES), None)
    return known or (stem if shard and re.fullmatch(r"\w+", stem) else None)


def _refuse_missing_shards(paths: Iterable[str], where: str) -> None:
    """A copy that lacks a file would be read without a word, and its rows numbered otherwise."""
    shards: dict[tuple[str, str], set[int]] = defaultdict(set)
    for path in paths:
        if match := SHARD.fullmatch(path):
            shards[match[1], match[3]].add(int(match[2]))
    for (name, total), found in shards.items():
        missing = sorted(set(range(int(total))) - found)
        if missing:
            folder, _, stem = name.rpartition("/")
            file = f"{stem}-{missing[0]:05d}-of-{total}.parquet"
            raise UsageError(f"{where}{f', in {folder},' if folder else ''} lacks {file}; copy all files")


def _features(root: Path, config: str | None) -> Features | None:
    """The features that a dataset's README or `dataset_infos.json` declares, for files that do not say theirs."""
    infos: DatasetInfosDict = DatasetInfosDict.from_directory(str(root))
    chosen = [info for name, info in infos.items() if len(infos) == 1 or name == (config or "default")]
    return chosen[0].features if chosen else None
