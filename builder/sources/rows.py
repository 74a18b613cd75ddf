"""Images that are rows of `datasets.Dataset`s: what all sources of real pictures have in common."""

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features

from noisezoo.builder.sources.labels import plain_feature, read_label
from noisezoo.builder.sources.source import Refusal, Source
from noisezoo.errors import UsageError
from noisezoo.schema import ID, SPLIT

OFFICIAL, HASH = "official", "hash"
SPLIT_NAMES = {"valid": "validation", "val": "validation", "dev": "validation"}
"""Other names of the split that we, and `datasets`, call validation."""


class Part(NamedTuple):
    """The rows of one split, the image column as `{bytes, path}`, and each row's id."""

    rows: Dataset
    ids: Sequence[str]


@dataclass
class ImageRows(Source):
    """A source whose images are rows; a subclass reads them and names their columns.

    Args:
        path: The folder or repository that is read; without it, the source's own repository.
        splits: `official` (as they come), or `hash` to split anew.

    Attributes:
        image_column: The column of pictures.
        repo: The source's own repository on the Hub, if it has one.
        local: Whether `path` is always a folder.
        wanted: Label columns in order, each with the feature that it is read as, or None to take it as it is stored;
            None for all columns that are left, as they are stored.
        id: The column of ids, if there is one.
        refused: What `read` left out, with its reason.
    """

    path: str = ""
    splits: str = OFFICIAL
    repo: ClassVar[str] = ""
    local: ClassVar[bool] = True
    image_column: str = field(default="image", init=False)
    wanted: Mapping[str, Any] | None = field(default=None, init=False)
    id: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.splits not in (OFFICIAL, HASH):
            raise UsageError(f"{self.name}: splits are {OFFICIAL} (as they come) or {HASH}, not {self.splits!r}")
        if not self.path and not self.repo:
            raise UsageError(f"{self.name} needs a path, as in {self.name}:PATH")
        self.root = Path(self.path).expanduser().resolve()
        self.where = str(self.root) if self.path and self.local else self.path or self.repo
        if self.local and self.path and not self.root.is_dir():
            raise UsageError(f"{self.name}: there is no folder {self.path}")
        self.refused: list[Refusal] = []
        self._lock = threading.Lock()

    @abstractmethod
    def read(self) -> dict[str, Part]:
        """Read the rows of each split; called once."""

    @property
    def parts(self) -> dict[str, Part]:
        """The rows, read on first use: by one thread, however many ask."""
        with self._lock:
            return self._parts

    @cached_property
    def _parts(self) -> dict[str, Part]:
        return self.read()

    def scan(self) -> pa.Table:
        """Every row that has an image and its declared labels, sorted by id."""
        return self._scanned[0]

    def refusals(self) -> list[Refusal]:
        """Rows without an image or with a label that cannot be read, and what the reader left out."""
        return self._scanned[1]

    def label_features(self) -> Features:
        """The declared features, and those of columns that are taken as they are stored."""
        return Features({name: wanted or plain_feature(self._stored[name], name, self.name)
                         for name, wanted in self._labels.items()})  # fmt: skip

    def content(self, key: str) -> bytes:
        """The file's bytes, wherever they are stored: a picture is the same in a folder and in a Parquet file."""
        split, row = self._places[key]
        value = self._pictures[split][row][self.image_column]
        data: bytes = value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()
        return data

    def options(self) -> dict[str, Any]:
        """The options that decide the rows: not where they lie."""
        return {name: value for name, value in super().options().items() if name not in ("path", "license")}

    @cached_property
    def _pictures(self) -> dict[str, Dataset]:
        return {split: part.rows.select_columns([self.image_column]) for split, part in self.parts.items()}

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        """Id -> (split, row) of the first row with that id."""
        places: dict[str, tuple[str, int]] = {}
        for split, part in self.parts.items():
            for row, image_id in enumerate(part.ids):
                places.setdefault(image_id, (split, row))
        return places

    @property
    def _stored(self) -> Features:
        return next(iter(self.parts.values())).rows.features

    @property
    def _labels(self) -> Mapping[str, Any]:
        """Label columns; raises UsageError for a declared one that is not there."""
        features = self._stored
        if self.wanted is None:
            return dict.fromkeys(name for name in features if name not in (self.image_column, self.id))
        missing = [name for name in self.wanted if name not in features]
        if missing:
            raise UsageError(f"{self.name}: there is no label column {missing[0]!r}; there are: {', '.join(features)}")
        return self.wanted

    @cached_property
    def _scanned(self) -> tuple[pa.Table, list[Refusal]]:
        filled = {split: part for split, part in self.parts.items() if part.ids}
        refused = list(self.refused)
        if not filled:
            first = f": {refused[0].message}" if refused else ""
            raise UsageError(f"{self.name} has no images that can be read{first}")
        tables = [self._table(split, part, refused) for split, part in filled.items()]
        table = pa.concat_tables(tables).sort_by(ID)
        own = self.splits == OFFICIAL and len(filled) > 1
        return table if own else table.drop_columns([SPLIT]), refused

    def _table(self, split: str, part: Part, refused: list[Refusal]) -> pa.Table:
        """One split's rows that can be kept; why the others cannot is added to `refused`."""
        rows, ids = part
        columns: dict[str, Any] = {}
        faults = dict.fromkeys(_without_image(rows, self.image_column), "the row has no image")
        for name, wanted in self._labels.items():
            columns[name], wrong = self._label(rows, name, wanted)
            faults = {row: f"label {name} is {why}" for row, why in wrong.items()} | faults
        if self.identity is not None:  # a person who is not known is nobody else
            people = columns.get(self.identity, column_of(rows, self.identity)).to_pylist()
            columns["group"] = [i if who is None else str(who) for who, i in zip(people, ids, strict=True)]
        table = pa.table({ID: ids, "key": ids, SPLIT: [SPLIT_NAMES.get(split, split)] * len(ids), **columns})
        refused += [Refusal(ids[row], "source", "ValueError", faults[row]) for row in sorted(faults)]
        return table.take([row for row in range(len(ids)) if row not in faults])

    def _label(self, rows: Dataset, name: str, wanted: Any) -> tuple[Any, dict[int, str]]:
        """A label column's values and, by row, what is wrong with them."""
        column = column_of(rows, name)
        if wanted is None:
            return column.cast(self.label_features().arrow_schema.field(name).type), {}
        try:
            return read_label(column, rows.features[name], wanted)
        except ValueError as error:
            raise UsageError(f"{self.name}: label {name!r} {error}") from error


def column_of(rows: Dataset, name: str) -> pa.ChunkedArray:
    """One column as it is stored; no picture is decoded."""
    return rows.select_columns([name]).with_format("arrow")[:].column(name)


def image_paths(rows: Dataset, image: str) -> list[str | None]:
    """The name of each picture's file, None where it is not known."""
    paths: list[str | None] = pc.struct_field(column_of(rows, image), "path").to_pylist()
    return paths


def _without_image(rows: Dataset, image: str) -> list[int]:
    """Rows whose picture has neither bytes nor a path."""
    cells = column_of(rows, image)
    empty = pc.and_(*(pc.is_null(pc.struct_field(cells, part)) for part in ("bytes", "path")))
    found: list[int] = pc.indices_nonzero(empty).to_pylist()
    return found


def reason(error: BaseException) -> str:
    """The first line of what went wrong at the bottom of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
