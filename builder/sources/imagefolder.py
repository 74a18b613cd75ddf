"""The `imagefolder:PATH` source: anyone's photographs. One walk over the folder decides all; no name is a pattern.

A file is a picture by its ending, or else by its first bytes. Top-level folders are splits if all of them are called
like splits and they are at least two; the class of a picture is the first folder below in which pictures differ.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, cached_property
from mimetypes import MimeTypes
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from datasets import ClassLabel, Features

from noisezoo.errors import UsageError
from .labels import Piece
from .metadata import METADATA, read_metadata
from .rows import SPLIT_NAMES, ImageRows, Pictures
from .source import Refusal, first_of

OTHER_PICTURES = {".mpo", ".heic", ".heif", ".hif", ".jxl", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf",
                  ".raf", ".rw2"}  # fmt: skip
"""Endings of pictures beside those that Pillow lists; what it cannot read is refused file by file, not passed over."""

NO_PHOTOGRAPHS = {"BUFR", "GRIB", "HDF5", "MPEG", "EMF", "WMF", "EPS", "IPTC"}
"""Pillow's formats that are documents, films or fields of numbers."""

SIGNATURES = (
    (0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n"), (0, b"GIF8"), (0, b"II*\0"), (0, b"MM\0*"), (6, bytes(4) + b"6\0\0\0"),
    (8, b"WEBP"), (4, b"ftypavif"), (4, b"ftypheic"), (4, b"ftypmif1"), (4, b"JXL "), (0, b"\xff\x0a"), (4, b"jP  "),
)  # fmt: skip
"""(place, bytes) by which a picture is known whose ending says nothing."""

TYPES = MimeTypes()  # Python's own table of endings, not the machine's

ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"}


@cache
def picture_endings() -> frozenset[str]:
    """Endings of the files that are, or should be, pictures."""
    from PIL import Image

    known = {ending for ending, name in Image.registered_extensions().items()
             if name in Image.OPEN and name not in NO_PHOTOGRAPHS}  # fmt: skip
    return frozenset(known | OTHER_PICTURES)


class Found(NamedTuple):
    """What a walk found: paths below the root, sorted."""

    pictures: list[str]  # files that are pictures, or should be
    metadata: list[str]  # files of labels
    others: list[str]  # all other files, and hidden files and folders


def walk(root: Path, source: str) -> Found:
    """List a folder and all below it, links followed; raises UsageError for a folder that cannot be listed."""
    found = Found([], [], [])
    facts = root.stat()
    for path, entry in _entries(str(root), "", frozenset([(facts.st_dev, facts.st_ino)]), source):
        kind = found.others
        if entry is not None and entry.name in METADATA:
            kind = found.metadata
        elif entry is not None and _is_picture(entry):
            kind = found.pictures
        kind.append(path)
    return Found(*map(sorted, found))


def _entries(
    folder: str, below: str, above: frozenset[tuple[int, int]], source: str
) -> Iterator[tuple[str, "os.DirEntry[str] | None"]]:
    """Each file's path below the root and its entry; None for what is not looked at: hidden, or a link to above."""
    try:
        with os.scandir(folder) as entries:
            listed = list(entries)
    except OSError as error:
        raise UsageError(f"{source}: the folder {folder} cannot be listed: {error.strerror}") from error
    for entry in listed:
        path = below + entry.name
        if entry.name.startswith("."):
            yield path, None
        elif not entry.is_dir():
            yield path, entry
        elif (place := (entry.stat().st_dev, entry.stat().st_ino)) in above:
            yield path, None
        else:
            yield from _entries(entry.path, path + "/", above | {place}, source)


def _is_picture(entry: "os.DirEntry[str]") -> bool:
    """Whether a file is a picture: by its ending, or by its first bytes if the ending says nothing."""
    ending, is_file = os.path.splitext(entry.name)[1].lower(), entry.is_file()
    if ending in picture_endings():  # a link to nothing is refused when it is read; a pipe or a device is no picture
        return is_file or not os.path.exists(entry.path)
    if ending in ARCHIVES or not is_file or (ending and TYPES.guess_type("a" + ending)[0]):
        return False
    try:
        with open(entry.path, "rb") as file:
            head = file.read(32)
    except OSError:
        return False
    return any(head[place : place + len(mark)] == mark for place, mark in SIGNATURES)


class Folder(Pictures):
    """Pictures below a folder; an image's id and key are its path there."""

    def __init__(self, root: Path, source: str, metadata: bool = True) -> None:
        super().__init__()
        self.root, self.source, self.metadata = root, source, metadata

    def content(self, key: str) -> bytes:
        """The file's bytes."""
        try:
            with open(f"{self.root}/{key}", "rb", buffering=0) as file:  # twice as fast as read_bytes, if it is tiny
                return file.readall()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"there is no file {key}") from error

    def keys(self) -> Collection[str]:
        """The paths of all pictures."""
        return self._found.pictures

    @cached_property
    def _found(self) -> Found:
        return walk(self.root, self.source)

    def pieces(self) -> Iterator[Piece]:
        """The pictures, split by split."""
        found = self._found
        self._account_for(found)
        pictures = self._refuse(found.pictures, lambda path: path.isascii() or printable(path) == path,
                                "its name is not UTF-8: rename it")  # fmt: skip
        listing = read_metadata(self.root, found.metadata if self.metadata else [], pictures, self.source)
        pictures = self._refuse(pictures, lambda path: path in listing.rows or not listing.covers(path),
                                "the metadata file has no row with this file_name")  # fmt: skip
        self.refused += listing.refusals
        splits = split_folders(pictures)
        pictures = self._refuse(pictures, lambda path: not splits or _first(path) in splits,
                                f"it lies outside of the split folders {', '.join(splits)}")  # fmt: skip
        classes = {} if "label" in listing.columns else classes_of(pictures, int(bool(splits)))
        names = {name: k for k, name in enumerate(sorted(set(classes.values())))}
        for split in splits or ["train"]:
            own = [path for path in pictures if not splits or _first(path) == split]
            columns = listing.table(own)
            if names:
                columns["label"] = pa.array([names[classes[path]] for path in own], pa.int64())
            labels = pa.table(columns)
            features = Features.from_arrow_schema(labels.schema)
            if names:
                features["label"] = ClassLabel(names=list(names))
            yield Piece(split.lower(), own, own, labels, features)

    def _refuse(self, paths: Sequence[str], keep: Callable[[str], bool], why: str) -> list[str]:
        """The paths to keep; the others are refused."""
        kept = [path for path in paths if keep(path)]
        self.refused += [Refusal(printable(path), "source", "ValueError", why) for path in sorted({*paths} - {*kept})]
        return kept

    def _account_for(self, found: Found) -> None:
        """Say what of the folder is no picture."""
        archives = [path for path in found.others if os.path.splitext(path)[1].lower() in ARCHIVES]
        rest = sorted({*found.others} - {*archives})
        for paths, what in ((archives, "archives are left out, unpack them"), (rest, "files that are no pictures")):
            if paths:
                self.said.append(f"{what} ({len(paths)}): {first_of([*map(printable, paths)])}")


def _first(path: str) -> str:
    return path.partition("/")[0]


def printable(path: str) -> str:
    """A path as text, each byte that is not UTF-8 written as its number."""
    return os.fsencode(path).decode(errors="backslashreplace")


def split_folders(pictures: Iterable[str]) -> list[str]:
    """Top-level folders that are splits: all are called like splits, and they are of two splits at least."""
    top = sorted({_first(path) for path in pictures if "/" in path})
    known = {SPLIT_NAMES.get(name.lower()) for name in top}
    return top if None not in known and len(known) > 1 else []


def classes_of(pictures: Sequence[str], depth: int) -> dict[str, str]:
    """Each picture's class: the first folder, from `depth` on, in which the pictures differ.

    None if a picture lies in no such folder, or all lie in the same one.
    """
    folders = {folder: folder.split("/")[depth:] for folder in {path.rpartition("/")[0] for path in pictures}}
    if "" in folders:
        return {}
    for level in range(min(map(len, folders.values()), default=0)):
        if len({names[level] for names in folders.values()}) > 1:
            return {path: folders[path.rpartition("/")[0]][level] for path in pictures}
    return {}


class ImageFolder(ImageRows):
    """Pictures below a folder; sub-folders are the class `label`, or `train` and `test` and the like are splits.

    `metadata.csv`, `.jsonl` or `.parquet` with a column `file_name` gives further labels; a picture that such a file
    leaves out, and a row without a picture, are refused.
    """

    name = "imagefolder"
    sensitive = True
    reads = "imagefolder reads files of pictures; hf:FOLDER reads Parquet files and what `save_to_disk` wrote"

    def open(self) -> Folder:
        """The folder."""
        return Folder(self.root, self.name)
