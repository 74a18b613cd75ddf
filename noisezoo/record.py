"""What a published dataset says of itself: `noisezoo.json`, beside the card that is made from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

from noisezoo.errors import UsageError
from noisezoo.files import committed
from noisezoo.hub import fetch

PAIRED, LABELS = "paired", "labels"
RECORD, CARD, CROISSANT = "noisezoo.json", "README.md", "croissant.json"
REFUSALS, RECIPE = "refusals.jsonl", "recipe.json"


@dataclass(frozen=True)
class Section:
    """One source's part of a dataset.

    `prefix` is what every config name and file of the source begins with: empty for a dataset's first source, `SOURCE.`
    for a further one, so that names never change when a source is added.
    """

    source: str
    title: str  # the recipe's name
    prefix: str
    license: str  # as the Hub spells it
    license_name: str  # which one, where that is `other`; else empty
    sensitive: bool  # whether rows bring back people's faces
    scanned: int  # images that the source offered
    refused: int  # images that are in no config, with their reasons in the refusals file
    removed: int  # images that were taken out after publication
    splits: dict[str, int]  # rows of each, in order
    views: tuple[dict[str, Any], ...]  # each view's row of the zoo, as published, in order
    settings: dict[str, Any]  # the recipe's, with source and limit
    software: dict[str, str]  # versions of all that can change a byte
    devices: tuple[str, ...]  # kinds of device that computed
    pca_dims: int  # views larger than this are reduced to it in the paired config
    shard_rows: int  # rows of one file
    facts: dict[str, dict[str, float]] = field(default_factory=dict)  # view -> what its model's files decided
    weights: dict[str, dict[str, str]] = field(default_factory=dict)  # local folders: view -> file -> SHA-256
    identity: str | None = None  # the label that says who an image shows, which no fold may have on both sides
    left_out: tuple[str, ...] = ()  # views that were built and are not published

    @property
    def rows(self) -> int:
        """Published rows."""
        return sum(self.splits.values())

    @property
    def view_names(self) -> list[str]:
        """Names of the views, in order: the columns of the arrays."""
        return [view["name"] for view in self.views]

    @property
    def names(self) -> list[str]:
        """Names of all configs without the prefix: paired, labels, then one a view."""
        return [PAIRED, LABELS, *self.view_names]

    @property
    def configs(self) -> list[str]:
        """Names of all configs, in order."""
        return [self.prefix + name for name in self.names]

    @property
    def sizes(self) -> dict[str, int]:
        """View -> numbers in a row of it."""
        return {view["name"]: prod(view["shape"]) for view in self.views}

    @property
    def reduced(self) -> list[str]:
        """The views that `paired` holds reduced by PCA."""
        return [name for name, size in self.sizes.items() if size > self.pca_dims]

    def shards(self, name: str) -> dict[str, list[str]]:
        """Paths of the files of a view, of `labels` or of `paired`, split by split; their rows are cut alike in all."""
        counts = {split: -(-n // self.shard_rows) for split, n in self.splits.items()}
        folder = self.prefix + name
        return {s: [f"{folder}/{s}-{i:05d}-of-{k:05d}.parquet" for i in range(k)] for s, k in counts.items()}

    def basis(self, view: str) -> str:
        """Path of a view's PCA basis."""
        return f"{self.prefix}{PAIRED}/basis/{view}.safetensors"

    @property
    def paths(self) -> list[str]:
        """Paths of all files of the source."""
        files = map(self.shards, self.names)
        shards = [path for splits in files for paths in splits.values() for path in paths]
        return [*shards, *map(self.basis, self.reduced), self.prefix + REFUSALS, self.prefix + RECIPE]

    def about(self, config: str) -> str:
        """One line on what a config holds."""
        abouts = {view["name"]: str(view["about"]) for view in self.views}
        abouts |= {PAIRED: "labels and all views, large ones reduced by PCA", LABELS: "ids, splits and labels"}
        return abouts[config.removeprefix(self.prefix)]


@dataclass(frozen=True)
class Record:
    """All of it: a section for each source, and every file but the record itself: path -> `{"sha256", "bytes"}`."""

    sections: tuple[Section, ...]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        """Paths of all files but the record itself, by what the sections say, never by what lies there."""
        return [CARD, CROISSANT, *(path for section in self.sections for path in section.paths)]

    def with_files(self, files: Mapping[str, dict[str, Any]]) -> "Record":
        """The same, of these files, sorted by path."""
        return replace(self, files=dict(sorted(files.items())))

    def to_json(self) -> dict[str, Any]:
        """As it is written: views that were left out are named only where there are any."""
        sections = [{key: value for key, value in asdict(section).items() if key != "left_out" or value}
                    for section in self.sections]  # fmt: skip
        return {"format": 1, "sections": sections, "files": self.files}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Record":
        """What `to_json` gave."""
        sections = [
            Section(**{**section, **{name: tuple(section.get(name, ())) for name in ("views", "devices", "left_out")}})
            for section in fields["sections"]
        ]
        return cls(tuple(sections), dict(fields["files"]))


def record_of(folder: Path) -> Record:
    """The record of a published folder.

    Raises:
        UsageError: There is none.
    """
    record = read_record(folder) if folder.is_dir() else None
    if record is None:
        raise UsageError(f"{folder} holds no published dataset: it has no {RECORD}; build or download it first")
    return record


def write_record(root: Path, record: Record) -> None:
    """Commit the record of a folder. Keys stand in their own order, not sorted: that of splits is that of the rows."""
    with committed(root / RECORD) as temporary:
        temporary.write_text(json.dumps(record.to_json(), indent=1) + "\n")


def read_record(path_or_repo: str | Path, revision: str | None = None) -> Record | None:
    """The record of a dataset, folder or Hub; None where it has none."""
    text = read_file(path_or_repo, RECORD, revision)
    return None if text is None else Record.from_json(json.loads(text))


def read_file(path_or_repo: str | Path, name: str, revision: str | None = None) -> str | None:
    """The text of a small file of a folder (as every `Path` is) or of a dataset on the Hub; None where it has none."""
    path = read_path(path_or_repo, name, revision)
    return None if path is None else path.read_text()


def read_path(path_or_repo: str | Path, name: str, revision: str | None = None) -> Path | None:
    """Where a file of a dataset lies on this machine, fetched from the Hub if need be; None where it has none."""
    if isinstance(path_or_repo, Path) or Path(path_or_repo).is_dir():
        path = Path(path_or_repo) / name
        return path if path.is_file() else None
    path = fetch(str(path_or_repo), [name], revision) / name
    return path if path.is_file() else None
