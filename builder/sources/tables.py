"""Images that are rows of Parquet files, or of what `save_to_disk` wrote: read where they lie, never copied."""

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image, Value

from noisezoo.errors import UsageError
from .labels import Piece
from .rows import Pictures

HELD = 2
"""Row groups whose pictures are kept: rows are read in order, and by a few threads at a time."""


class Groups:
    """The row groups that were read last; safe to use from several threads."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Path, int], pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, file: "ParquetRows", group: int, image: str) -> pa.ChunkedArray:
        """The pictures of one row group, as they are stored."""
        key = file.path, group
        with self._lock:
            if key not in self._held:
                with pq.ParquetFile(file.path, metadata=file.metadata, pre_buffer=False) as opened:
                    self._held[key] = opened.read_row_group(group, columns=[image]).column(image)
            self._held.move_to_end(key)
            while len(self._held) > HELD:
                self._held.popitem(last=False)
            return self._held[key]


class Rows(ABC):
    """Rows of one split that have the same columns."""

    split: str  # as the dataset calls it
    count: int
    features: Features  # of the columns, by their own file

    @abstractmethod
    def table(self, image: str) -> pa.Table:
        """The columns that may be labels, as they are stored, and at least the paths of the pictures."""

    @abstractmethod
    def cell(self, row: int, image: str) -> Mapping[str, Any]:
        """A picture as it is stored: `{bytes, path}`."""


class ParquetRows(Rows):
    """The rows of one Parquet file."""

    def __init__(self, path: Path, split: str, groups: Groups, declared: Features | None = None) -> None:
        self.path, self.split, self._groups = path, split, groups
        try:
            self.metadata = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            with path.open("rb") as file:
                pointer = file.read(23) == b"version https://git-lfs"
            told = "it is a git-lfs pointer: run `git lfs pull`" if pointer else str(error).splitlines()[0]
            raise ValueError(f"{path}: {told}") from None
        self.count = self.metadata.num_rows
        counts = [self.metadata.row_group(k).num_rows for k in range(self.metadata.num_row_groups)]
        self._starts = [0, *accumulate(counts)]
        self.features = _features(self.metadata.schema.to_arrow_schema(), declared)

    def table(self, image: str) -> pa.Table:
        """The columns that may be labels, and the pictures' paths."""
        plain = [name for name, feature in self.features.items() if isinstance(feature, Value | ClassLabel)]
        return pq.ParquetFile(self.path, metadata=self.metadata).read(columns=[*plain, f"{image}.path"])

    def cell(self, row: int, image: str) -> Mapping[str, Any]:
        """The picture, from its row group."""
        group = bisect_right(self._starts, row) - 1
        cell: Mapping[str, Any] = self._groups.read(self, group, image)[row - self._starts[group]].as_py()
        return cell or {"bytes": None, "path": None}


class SavedRows(Rows):
    """The rows of one split that `save_to_disk` wrote."""

    def __init__(self, rows: Dataset, split: str) -> None:
        self.split, self.count, self.features = split, len(rows), rows.features
        self._rows = rows.with_format("arrow")

    def table(self, image: str) -> pa.Table:
        """The columns, mapped from the file."""
        return self._rows[:]

    def cell(self, row: int, image: str) -> Mapping[str, Any]:
        """The picture, from the file."""
        cell: Mapping[str, Any] = self._rows[row : row + 1].column(image)[0].as_py()
        return cell or {"bytes": None, "path": None}


class Tables(Pictures):
    """Rows of several splits; an image's key is `SPLIT:ROW`.

    Args:
        files: The rows, in order.
        where: The dataset, for messages.
        image: The column of pictures; its only one, unless it is named.
        id: The column of ids; without it, an id is the split and the row's place in it, which appending does not move.
    """

    def __init__(self, files: Sequence[Rows], where: str, image: str | None = None, id: str | None = None) -> None:
        super().__init__()
        self.files, self.id = files, id
        self.image = _image_column(files, image, where)
        counts: Counter[str] = Counter()
        self._starts: list[tuple[str, int]] = []
        for file in files:
            self._starts.append((file.split, counts[file.split]))
            counts[file.split] += file.count

    def keys(self) -> Collection[str]:
        """The keys of all rows."""
        return [f"{split}:{start + row}" for file, (split, start) in zip(self.files, self._starts, strict=True)
                for row in range(file.count)]  # fmt: skip

    def pieces(self) -> Iterator[Piece]:
        """The rows, file by file."""
        for file, (split, start) in zip(self.files, self._starts, strict=True):
            table = file.table(self.image)
            features = Features({n: f for n, f in file.features.items() if n not in (self.image, self.id)})
            rows = range(start, start + file.count)
            known = [None] * file.count if self.id is None else table.column(self.id).to_pylist()
            ids = [
                f"{split}-{row:09d}" if value is None else str(value) for row, value in zip(rows, known, strict=True)
            ]
            yield Piece(split, ids, [f"{split}:{row}" for row in rows], table, features)

    def content(self, key: str) -> bytes:
        """The picture's bytes, or those of the file that it names."""
        split, _, number = key.rpartition(":")
        row = int(number)
        for file, (own, start) in zip(self.files, self._starts, strict=True):
            if own == split and start <= row < start + file.count:
                cell = file.cell(row - start, self.image)
                break
        else:
            raise IndexError(f"there is no row {row} in split {split}")
        if cell["bytes"] is None and cell["path"] is None:
            raise ValueError("the row has no image")
        return bytes(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"]).read_bytes()


def _features(schema: pa.Schema, declared: Features | None) -> Features:
    """A file's features: its own, or those that its dataset declares, or what its types say."""
    if b"huggingface" not in (schema.metadata or {}) and declared is not None and set(declared) == set(schema.names):
        return declared
    found = Features.from_arrow_schema(schema)
    return Features({name: Image() if isinstance(f, dict) and set(f) == {"bytes", "path"} else f
                     for name, f in found.items()})  # fmt: skip


def _image_column(files: Sequence[Rows], wanted: str | None, where: str) -> str:
    """The column of images; raises UsageError where it is not one, or not the only one."""
    names: dict[str, None] = dict.fromkeys(name for file in files for name in file.features)
    found: list[str] = [name for name in names if all(isinstance(file.features.get(name), Image) for file in files)]
    chosen = [name for name in found if wanted in (None, name)]
    if len(chosen) == 1:
        return chosen[0]
    had = f"its image columns are: {', '.join(found)}" if found else f"none of {', '.join(names)} holds images"
    asked = f"column {wanted!r} holds no images" if wanted else "the option image must name one column"
    raise UsageError(f"{where}: {asked}; {had}")
