"""One version of a dataset: the files that its record lists, the tag that names them, and what may not be published."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types

from noisezoo.builder.engine import STATE, open_build
from noisezoo.errors import IncompleteError, NoiseZooError, UsageError
from noisezoo.files import sha256_of
from noisezoo.record import RECORD, Record, read_record
from .finish import is_finished

CODE = (".py", ".pyc", ".ipynb", ".sh")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
PICTURES = ("pixels", "whitened")
"""Families of views whose arrays are pictures, or an invertible linear map of them."""


@dataclass(frozen=True)
class File:
    """One file of a version: where it lies, its path in the repository, its SHA-256 and its size in bytes."""

    local: Path
    path: str
    sha256: str
    size: int


def finished(folder: Path) -> Record:
    """The record of a finished dataset.

    Raises:
        IncompleteError: The build is not finished.
        UsageError: There is no dataset in the folder.
    """
    record = read_record(folder) if folder.is_dir() else None
    if record is None and not (folder / STATE).is_dir():
        raise UsageError(f"{folder} holds no dataset and no build: it has no {RECORD}")
    unfinished = (folder / STATE).is_dir() and not is_finished(open_build(folder))
    if record is None or unfinished:
        raise IncompleteError(f"{folder} is not a finished dataset: run its build again, then publish")
    return record


def listed(folder: Path, redistribute: bool = False) -> tuple[File, ...]:
    """The files of a finished dataset, as its record lists them, and the record itself.

    `redistribute` lets arrays through that were imported from others.

    Raises:
        IncompleteError: The build is not finished, or a file of its record is not there.
        UsageError: There is no dataset in the folder, it holds pictures that may show people, or arrays of others.
    """
    record = finished(folder)
    _refuse_pictures(record)
    theirs = [view for section in record.sections for view in section.views if view.get("imported")]
    if theirs and not redistribute:
        raise UsageError(
            f"view {theirs[0]['name']} is not ours: it was imported from {theirs[0]['imported']['from']}; if its terms "
            "let you publish it again, say so by --redistribute"
        )
    hashes = {path: file["sha256"] for path, file in record.files.items()}
    hashes[RECORD] = sha256_of(folder / RECORD)
    missing = [path for path in hashes if not (folder / path).is_file()]
    if missing:
        raise IncompleteError(f"{folder} lacks {missing[0]}, which its record lists: run its build again, then publish")
    return tuple(
        File(folder / path, path, digest, (folder / path).stat().st_size) for path, digest in sorted(hashes.items())
    )


def _refuse_pictures(record: Record) -> None:
    """Refuse views that are the pictures themselves where the pictures may show people."""
    for section in record.sections:
        own = [view["name"] for view in section.views if view["family"] in PICTURES]
        if section.sensitive and own:
            raise UsageError(
                f"view {own[0]} holds the pictures of source {section.source}, which may show people: publish "
                f"`--without {','.join(own)}`; readers who have the source can make it themselves"
            )


def version_tag(files: tuple[File, ...]) -> str:
    """`v` and 12 hexadecimal digits: SHA-256 over paths and contents, so that equal tags are equal datasets."""
    lines = "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))
    return f"v{sha256(lines.encode()).hexdigest()[:12]}"


def refuse_unpublishable(name: str, local: Path) -> None:
    """Refuse code, images, and files outside the dataset: a file's path in the repository, and the file here.

    Raises:
        NoiseZooError: Names the file and why it may not be published.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.parts[0] == STATE:
        raise NoiseZooError(f"{name} is not part of the dataset and is not published: build the folder again")
    if path.suffix.lower() in CODE:
        raise NoiseZooError(f"{name} is code, which `datasets` refuses to load: take it out of the folder")
    if path.suffix.lower() in IMAGES:
        raise NoiseZooError(f"{name} is an image; images are not published: take it out of the folder")
    if path.suffix == ".parquet":
        for column in pq.read_schema(local):
            if _holds_bytes(column.type):
                raise NoiseZooError(
                    f"{name} has an image column, {column.name}, which is not published: build without it"
                )


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether it is a column of bytes: `datasets` keeps an image as its encoded bytes, and none of ours is bytes."""
    if any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields)):
        return True
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))
