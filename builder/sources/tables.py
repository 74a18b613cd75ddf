"""Images that are rows of Parquet files, or of what `save_to_disk` wrote: read where they lie, never copied."""

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image, Value

from noisezoo.errors import UsageError
from .labels import Piece
from .rows import Pictures

HELD = 2  # row groups whose pictures are kept: rows are read in order, and by a few threads at a time


class Rows(ABC):
    """Rows of one split that have the same columns."""

    split: str  # as the dataset calls it
    features: Features  # of the columns, by their own file
    starts: list[int]  # the first row of each group, and the number of rows

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.starts[-1]

    @abstractmethod
    def table(self, image: str) -> pa.Table:
        """The columns that may be labels, as they are stored, and at least the paths of the pictures."""

    @abstractmethod
    def pictures(self, group: int, image: str) -> pa.ChunkedArray:
        """The pictures of one group as they are stored: `{bytes, path}` each."""


class ParquetRows(Rows):
    """The rows of one Parquet file."""

    def __init__(self, path: Path, split: str, declared: Features | None = None) -> None:
        self.path, self.split = path, split
        try:
            self.metadata = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            with path.open("rb") as file:
                pointer = file.read(23) == b"version https://git-lfs"
            told = "it is a git-lfs pointer: run `git lfs pull`" if pointer else str(error).splitlines()[0]
            raise ValueError(f"{path}: {told}") from None
        counts = (self.metadata.row_group(k).num_rows for k in range(self.metadata.num_row_groups))
        self.starts = [0, *accumulate(counts)]
        self.features = _features(self.metadata.schema.to_arrow_schema(), declared)

    def table(self, image: str) -> pa.Table:
        """The columns that may be labels, and the pictures' paths."""
        plain = [name for name, feature in self.features.items() if isinstance(feature, Value | ClassLabel)]
        return pq.ParquetFile(self.path, metadata=self.metadata).read(columns=[*plain, f"{image}.path"])

    def pictures(self, group: int, image: str) -> pa.ChunkedArray:
        """Those of a row group, read now."""
        with pq.ParquetFile(self.path, metadata=self.metadata, pre_buffer=False) as opened:
            return opened.read_row_group(group, columns=[image]).column(image)


class SavedRows(Rows):
    """The rows of one split that `save_to_disk` wrote."""

    def __init__(self, rows: Dataset, split: str) -> None:
        self.split, self.features, self.starts = split, rows.features, [0, len(rows)]
        self._rows = rows.with_format("arrow")

    def table(self, image: str) -> pa.Table:
        """The columns, mapped from the file."""
        return self._rows[:]

    def pictures(self, group: int, image: str) -> pa.ChunkedArray:
        """All of them, mapped from the file."""
        return self.table(image).column(image)


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
        self._rows: list[tuple[Rows, range]] = []  # each file, and its rows by their places in the split
        for file in files:
            self._rows.append((file, range(counts[file.split], counts[file.split] + file.count)))
            counts[file.split] += file.count
        self._pictures = lru_cache(HELD)(lambda file, group: file.pictures(group, self.image))
        self._lock = threading.Lock()

    def keys(self) -> Collection[str]:
        """The keys of all rows."""
        return [f"{file.split}:{row}" for file, rows in self._rows for row in rows]

    def pieces(self) -> Iterator[Piece]:
        """The rows, file by file."""
        for file, rows in self._rows:
            table = file.table(self.image)
            features = Features({n: f for n, f in file.features.items() if n not in (self.image, self.id)})
            known = [None] * file.count if self.id is None else table.column(self.id).to_pylist()
            named = zip(rows, known, strict=True)
            ids = [f"{file.split}-{row:09d}" if value is None else str(value) for row, value in named]
            yield Piece(file.split, ids, [f"{file.split}:{row}" for row in rows], table, features)

    def content(self, key: str) -> bytes:
        """The picture's bytes, or those of the file that it names."""
        split, _, number = key.rpartition(":")
        found = [(file, int(number) - rows.start) for file, rows in self._rows
                 if file.split == split and int(number) in rows]  # fmt: skip
        if not found:
            raise IndexError(f"there is no row {number} in split {split}")
        ((file, row),) = found
        group = bisect_right(file.starts, row) - 1
        with self._lock:
            pictures = self._pictures(file, group)
        cell = pictures[row - file.starts[group]].as_py() or {}
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        if cell.get("path") is None:
            raise ValueError("the row has no image")
        return Path(cell["path"]).read_bytes()


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
