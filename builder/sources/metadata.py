"""Metadata files of an image folder: labels as they are written there, the same on every machine.

A `metadata.csv`, `metadata.jsonl` or `metadata.parquet` speaks of the pictures in its folder and below by `file_name`.
A CSV column is of numbers only if all of its cells are written as numbers are (`00501` and `NA` are text); an empty
cell is no value.
"""

import csv
import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from noisezoo.errors import UsageError
from .source import Refusal

FILE_NAME = "file_name"
WHOLE, NUMBER = re.compile(r"0|-?[1-9]\d*"), re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
EXACT = 2**53  # whole numbers beyond it are not all exact as floats


class Written(str):
    """A cell of a CSV file: text, unless all of its column turns out to be numbers."""


class Listing(NamedTuple):
    """What the metadata files say."""

    folders: set[str]  # whose pictures they speak of; "." for the root
    rows: dict[str, dict[str, Any]]  # picture -> its labels by name, as they are written
    columns: dict[str, tuple[pa.DataType, Callable[[Any], Any]]]  # of every label, in the files' order, as `_type_of`
    refusals: list[Refusal]  # rows that name no picture, or one that was named before

    def covers(self, picture: str) -> bool:
        """Whether a metadata file should have a row for this picture."""
        return bool(self.folders) and any(str(folder) in self.folders for folder in PurePosixPath(picture).parents)

    def table(self, pictures: Sequence[str]) -> dict[str, pa.Array]:
        """The labels of these pictures by name, null where there is none."""
        rows = [self.rows.get(picture, {}) for picture in pictures]
        return {name: pa.array([None if row.get(name) is None else convert(row[name]) for row in rows], kind)
                for name, (kind, convert) in self.columns.items()}  # fmt: skip


def read_metadata(root: Path, files: Sequence[str], pictures: Sequence[str], source: str) -> Listing:
    """Read all metadata files below `root`.

    Raises UsageError, naming the file, where it cannot be read, has no `file_name`, or names one outside its folder.
    """
    found, known = Listing(set(), {}, {}, []), set(pictures)
    columns: dict[str, list[Any]] = {}
    for file in files:
        folder = file.rpartition("/")[0]
        found.folders.add(folder or ".")
        for number, row in _rows(root, file, source):
            name = row.pop(FILE_NAME, None)
            if not isinstance(name, str) or not name:
                found.refusals.append(Refusal(f"{file} row {number}", "source", "ValueError", f"it has no {FILE_NAME}"))
                continue
            path = posixpath.normpath(posixpath.join(folder, name))
            if folder and not path.startswith(folder + "/") or path.startswith(("../", "/")):
                raise _fault(source, root / file, f"row {number} names {name}, which is outside of its folder")
            for label, value in row.items():
                columns.setdefault(label, []).append(value)
            if path in found.rows:
                why = f"{file} row {number} lists it again; its first row is kept"
                found.refusals.append(Refusal(path, "source", "ValueError", why))
            elif path not in known:
                why = f"{file} row {number} lists it, and there is no such picture"
                found.refusals.append(Refusal(path, "source", "FileNotFoundError", why))
            else:
                found.rows[path] = row
    found.columns.update({label: _type_of(label, values, source) for label, values in columns.items()})
    return found


def _fault(source: str, path: Path, why: str) -> UsageError:
    return UsageError(f"{source}: {path} cannot be read: {why}")


def _rows(root: Path, file: str, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row of a file with its number, from 1."""
    path = root / file
    read = READERS[path.suffix]
    try:
        yield from enumerate(read(path), 1)
    except UnicodeDecodeError as error:
        raise _fault(source, path, f"it is not UTF-8 (byte {error.start + 1}): save it as UTF-8") from error
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise _fault(source, path, str(error).splitlines()[0]) from error


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        names = [name or f"Unnamed: {k}" for k, name in enumerate(next(lines, []))]
        if any("\0" in name for name in names):
            raise ValueError("it is not UTF-8: save it as UTF-8")
        _check_names(names)
        for cells in lines:
            if len(cells) > len(names):
                raise ValueError(f"line {lines.line_num} has {len(cells)} values, and there are {len(names)} columns")
            if cells:
                yield {name: Written(cell) if cell else None for name, cell in zip(names, cells, strict=False)}


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                json.dumps(row, ensure_ascii=False).encode()  # "\\ud800" is JSON and no text
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object")
            _check_names(list(row))
            yield row


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    table = pq.read_table(path)
    _check_names(table.column_names)
    yield from table.to_pylist()


READERS: Mapping[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    ".csv": _read_csv, ".jsonl": _read_lines, ".parquet": _read_parquet
}  # fmt: skip

METADATA = frozenset(f"metadata{ending}" for ending in READERS)  # names of the files that are read


def _check_names(names: Sequence[str]) -> None:
    if FILE_NAME not in names:
        raise ValueError(f"it has no column {FILE_NAME}; it has: {', '.join(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"column {next(name for name in names if names.count(name) > 1)!r} comes twice")


def _type_of(label: str, values: Sequence[Any], source: str) -> tuple[pa.DataType, Callable[[Any], Any]]:
    """A column's type, and how each value becomes one of it: text where values are of several kinds or too large."""
    read = [_number(value) for value in values if value is not None]
    kinds = {type(value) for value in read}
    largest = max((abs(value) for value in read if type(value) is int), default=0)
    if kinds == {int} and largest < 2**63:
        return pa.int64(), _number
    if kinds and kinds <= {int, float} and largest <= EXACT:
        return pa.float64(), lambda value: float(_number(value))
    if kinds == {bool}:
        return pa.bool_(), _number
    if strange := kinds - {int, float, bool, str}:
        raise UsageError(
            f"{source}: column {label!r} ({strange.pop().__name__}) cannot be a label, which is a number, a bool or "
            "text: take it out of the metadata file"
        )
    return pa.string(), lambda value: str(value) if isinstance(value, str) else json.dumps(value)


def _number(value: Any) -> Any:
    """A CSV cell as the number that it spells, or as text; any other value as it is."""
    if not isinstance(value, Written):
        return value
    if WHOLE.fullmatch(value):
        return int(value)
    finite = NUMBER.fullmatch(value) and isfinite(float(value))  # no float holds 1e999
    return float(value) if finite else str(value)
