"""Images that are rows of `datasets.Dataset`s: what all sources of real pictures have in common."""

import io
import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.builder.sources.labels import Kind, as_words
from noisezoo.builder.sources.source import Refusal, Source, attempt
from noisezoo.errors import UsageError
from noisezoo.schema import ID, SPLIT

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features
    from PIL.Image import Image

TEXT = ("string", "large_string", "string_view")
OFFICIAL, HASH = "official", "hash"
SPLIT_NAMES = {"valid": "validation", "val": "validation", "dev": "validation"}
"""What others call the split that we, and `datasets`, call validation."""


@dataclass(frozen=True)
class Layout:
    """A row of the table of sources: what the columns are.

    Attributes:
        repo: On the Hub; none where the source names a folder.
        revision: The repository's commit.
        image: The column of pictures.
        labels: Label columns in order, each with its kind, or None where it is taken as it is stored; None for all
            columns that are left, as they are stored.
        id: The column of ids, where there is one.
        identity: The column whose values must not be on both sides of a split.
    """

    repo: str = ""
    revision: str | None = None
    image: str = "image"
    labels: Mapping[str, Kind | None] | None = None
    id: str | None = None
    identity: str | None = None


@dataclass(frozen=True)
class Reading:
    """What a reader found.

    Attributes:
        splits: Rows by split, the image column as `{bytes, path}`.
        ids: One a row.
        refusals: What there is beside the rows, with its reason.
    """

    splits: "Mapping[str, Dataset]"
    ids: Mapping[str, Sequence[str]]
    refusals: Sequence[Refusal] = field(default=())


class ImageRows(Source):
    """A source whose images are rows; a subclass says how they are read and what their columns are."""

    layout: Layout = Layout()

    def __init__(self, splits: str = OFFICIAL) -> None:
        if splits not in (OFFICIAL, HASH):
            raise UsageError(f"{self.name}: splits are {OFFICIAL} (as they come) or {HASH}, not {splits!r}")
        self.splits = splits
        self._lock = threading.Lock()
        self._kept: Reading | None = None

    @property
    def identity(self) -> str | None:
        """The column of the layout."""
        return self.layout.identity

    @abstractmethod
    def read(self) -> Reading:
        """Read the rows; called once."""

    @property
    def reading(self) -> Reading:
        """The rows, read on first use: by one thread, however many ask."""
        with self._lock:
            if self._kept is None:
                self._kept = self.read()
            return self._kept

    def scan(self) -> "pa.Table":
        """Every row that has an image and its declared labels, sorted by id."""
        return self._scanned[0]

    def refusals(self) -> list[Refusal]:
        """Rows without an image or with a label that cannot be read, and what the reader refused."""
        return [*self.reading.refusals, *self._scanned[1]]

    def label_features(self) -> "Features":
        """The features of the labels' kinds, and of columns as they are stored."""
        from datasets import Features

        return Features({name: kind.feature() if kind else _plain(self._features[name], name, self.name)
                         for name, kind in self._labels.items()})  # fmt: skip

    def images(self, keys: Sequence[str]) -> "list[Image | Exception]":
        """Decode the pictures."""
        return [attempt(self.image, key) for key in keys]

    def image(self, key: str) -> "Image":
        """Decode one picture; the whole of it is read here, so that a truncated file fails here."""
        from PIL import Image, UnidentifiedImageError

        data = self._bytes(key)
        try:
            picture = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:  # Pillow's own message holds an address, which differs from run to run
            raise UnidentifiedImageError(f"cannot identify image file: {len(data)} bytes, {data[:16]!r}") from None
        picture.load()
        return picture

    def contents(self, keys: Sequence[str]) -> list[bytes | Exception]:
        """The files' bytes, wherever they are stored: a picture is the same in a folder and in a Parquet file."""
        return [attempt(self._bytes, key) for key in keys]

    def options(self) -> dict[str, Any]:
        """Whose splits are kept."""
        return {"splits": self.splits}

    def _bytes(self, key: str) -> bytes:
        split, row = self._places[key]
        value = self._pictures[split][row][self.layout.image]
        data: bytes = value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()
        return data

    @cached_property
    def _pictures(self) -> "dict[str, Dataset]":
        return {split: rows.select_columns([self.layout.image]) for split, rows in self.reading.splits.items()}

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        """Id -> (split, row) of the first row with that id."""
        places: dict[str, tuple[str, int]] = {}
        for split, ids in self.reading.ids.items():
            for row, image_id in enumerate(ids):
                places.setdefault(image_id, (split, row))
        return places

    @property
    def _features(self) -> "Features":
        return next(iter(self.reading.splits.values())).features

    @cached_property
    def _labels(self) -> Mapping[str, Kind | None]:
        """Label columns; raises UsageError for one that is declared and not there."""
        if self.layout.labels is None:
            return dict.fromkeys(name for name in self._features if name not in (self.layout.image, self.layout.id))
        missing = [name for name in self.layout.labels if name not in self._features]
        if missing:
            raise UsageError(
                f"{self.name}: there is no label column {missing[0]!r}; there are: {', '.join(self._features)}"
            )
        return self.layout.labels

    @cached_property
    def _scanned(self) -> "tuple[pa.Table, list[Refusal]]":
        import pyarrow as pa

        filled = {split: rows for split, rows in self.reading.splits.items() if len(rows)}
        if not filled:
            first = f": {self.reading.refusals[0].message}" if self.reading.refusals else ""
            raise UsageError(f"{self.name} has no images that can be read{first}")
        parts = [self._part(split, rows) for split, rows in filled.items()]
        table = pa.concat_tables([part for part, _ in parts]).sort_by(ID)
        own = self.splits == OFFICIAL and len(filled) > 1
        return table if own else table.drop_columns([SPLIT]), [refusal for _, refused in parts for refusal in refused]

    def _part(self, split: str, rows: "Dataset") -> "tuple[pa.Table, list[Refusal]]":
        """One split's rows: those that can be kept, and why the others cannot."""
        import pyarrow as pa

        ids = list(self.reading.ids[split])
        columns: dict[str, pa.Array] = {}
        faults: dict[int, str] = dict.fromkeys(_without_image(rows, self.layout.image), "the row has no image")
        for name, kind in self._labels.items():
            columns[name], wrong = self._label(name, kind, rows)
            faults = wrong | faults
        if self.layout.identity is not None:
            groups = columns.get(self.layout.identity, _column(rows, self.layout.identity))
            columns["group"] = [_group(value, i) for value, i in zip(groups.to_pylist(), ids, strict=True)]
        named = [SPLIT_NAMES.get(split, split)] * len(ids)
        table = pa.table({ID: ids, "key": ids, SPLIT: named, **columns})
        refusals = [Refusal(ids[row], "source", "ValueError", faults[row]) for row in sorted(faults)]
        return table.take([row for row in range(len(ids)) if row not in faults]), refusals

    def _label(self, name: str, kind: Kind | None, rows: "Dataset") -> "tuple[pa.Array, dict[int, str]]":
        """A label column's values and, by row, what is wrong with them."""
        import numpy as np
        import pyarrow.compute as pc

        column = _column(rows, name)
        if kind is None:
            return column.cast(self.label_features().arrow_schema.field(name).type), {}
        words = as_words(column, rows.features[name])
        try:
            values = kind.read(words)
        except ValueError as error:
            raise UsageError(f"{self.name}: label {name!r} {error}") from error
        wrong = np.flatnonzero(pc.is_null(values).to_numpy(zero_copy_only=False)).tolist()
        return values, {row: f"label {name} is {words[row].as_py()!r}; write {kind.wanted}" for row in wrong}


def _group(identity: object, image_id: str) -> str:
    """Who an image shows; one whose identity is not known is its own."""
    return image_id if identity is None else str(identity)


def _column(rows: "Dataset", name: str) -> "pa.ChunkedArray":
    return rows.select_columns([name]).with_format("arrow")[:].column(name)


def image_paths(rows: "Dataset", image: str) -> list[str | None]:
    """What each picture's file was called, where that is known; no picture's bytes are read."""
    import pyarrow.compute as pc

    paths: list[str | None] = pc.struct_field(_column(rows, image), "path").to_pylist()
    return paths


def _without_image(rows: "Dataset", image: str) -> list[int]:
    """Rows whose picture has neither bytes nor a path."""
    import numpy as np
    import pyarrow.compute as pc

    column = _column(rows, image)
    empty = pc.and_(*(pc.is_null(pc.struct_field(column, part)) for part in ("bytes", "path")))
    return [int(row) for row in np.flatnonzero(empty.to_numpy())]


def _plain(feature: Any, name: str, source: str) -> Any:
    """The feature of a label column that is taken as it is: of numbers, bools, text or classes."""
    from datasets import ClassLabel, Value

    dtype = feature.dtype if isinstance(feature, Value) else ""
    if dtype in TEXT:
        return Value("string")
    if not isinstance(feature, ClassLabel) and not dtype.startswith(("int", "uint", "float", "bool")):
        raise UsageError(
            f"{source}: column {name!r} ({dtype or type(feature).__name__}) cannot be a label, which is a number, a "
            "bool, text or a class: leave it out, or say in the option labels which columns are wanted"
        )
    return feature


def reason(error: BaseException) -> str:
    """The first line of what went wrong at the bottom of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
