"""Images that lie in files with labels beside them: what all sources of real pictures have in common."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from datasets import Features

from noisezoo.errors import UsageError
from noisezoo.schema import ID, SPLIT
from .labels import Labels, Piece, read_labels
from .source import Refusal, Source

OFFICIAL, HASH = "official", "hash"
SPLIT_NAMES: Mapping[str, str] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""What others call a split -> what we call it."""


class Pictures(ABC):
    """Where the images lie: a folder of pictures, or files of rows."""

    def __init__(self) -> None:
        self.refused: list[Refusal] = []  # images that `pieces` left out, with the reason
        self.said: list[str] = []  # what a user should know of how they were read

    @abstractmethod
    def pieces(self) -> Iterable[Piece]:
        """List all images."""

    @abstractmethod
    def keys(self) -> Collection[str]:
        """The keys of all images, without reading their labels."""

    @abstractmethod
    def content(self, key: str) -> bytes:
        """Read one image's bytes."""


@dataclass
class ImageRows(Source):
    """A source of real pictures; a subclass says where they lie and names their columns.

    Args:
        path: The folder or repository that is read; without it, the source's own repository.
        splits: `official` (as they come), or `hash` to split anew.

    Attributes:
        repo: The source's own repository on the Hub, if it has one.
        local: Whether `path` is always a folder.
        reads: What the source reads, and the mend where there is nothing of it.
        wanted: Label columns in order, each with the feature that it is read as, or None to take it as it is stored;
            None for all columns that are left, as they are stored.
    """

    path: str = ""
    splits: str = OFFICIAL
    repo: ClassVar[str] = ""
    local: ClassVar[bool] = True
    reads: ClassVar[str] = ""
    wanted: Mapping[str, Any] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.splits not in (OFFICIAL, HASH):
            raise UsageError(f"{self.name}: splits are {OFFICIAL} (as they come) or {HASH}, not {self.splits!r}")
        if not self.path and not self.repo:
            raise UsageError(f"{self.name} needs a path, as in {self.name}:PATH")
        self.where, self.root = self.path or self.repo, Path(self.path).expanduser().resolve()
        if self.local and self.path and not self.root.is_dir():
            raise UsageError(f"{self.name}: there is no folder {self.path}")
        self._lock = threading.Lock()

    @abstractmethod
    def open(self) -> Pictures:
        """Find where the pictures lie; called once."""

    @property
    def pictures(self) -> Pictures:
        """Where the pictures lie, found on first use: by one thread, however many ask."""
        with self._lock:
            return self._pictures

    @cached_property
    def _pictures(self) -> Pictures:
        return self.open()

    def scan(self) -> pa.Table:
        """Every row that has its declared labels, sorted by id."""
        pieces, labels = self._read
        ids = [image_id for piece in pieces for image_id in piece.ids]
        columns: dict[str, Any] = {ID: ids, "key": [key for piece in pieces for key in piece.keys], **labels.columns}
        splits = [SPLIT_NAMES.get(piece.split, piece.split) for piece in pieces for _ in piece.ids]
        if self.splits == OFFICIAL and len(set(splits)) > 1:
            columns[SPLIT] = splits
        if self.identity is not None:  # a person who is not known is nobody else
            people = [word for piece in pieces for word in piece.words(self.identity).to_pylist()]
            columns["group"] = [ids[row] if word is None else word for row, word in enumerate(people)]
        kept = pa.array([row not in labels.faults for row in range(len(ids))], pa.bool_())
        return pa.table(columns).filter(kept).sort_by(ID)

    def refusals(self) -> list[Refusal]:
        """Rows with a label that cannot be read, and what else was left out."""
        pieces, labels = self._read
        ids = [image_id for piece in pieces for image_id in piece.ids]
        unread = [Refusal(ids[row], "source", "ValueError", labels.faults[row]) for row in sorted(labels.faults)]
        return [*self.pictures.refused, *unread]

    def notes(self) -> list[str]:
        """How files and columns were understood."""
        _, labels = self._read
        return [*self.pictures.said, *labels.notes]

    def list_keys(self) -> Collection[str] | None:
        """The keys of all pictures or rows that there are now; None at a pinned commit."""
        return None if self.pinned() else self.pictures.keys()

    def label_features(self) -> Features:
        """The declared features, and those of columns that are taken as they are stored."""
        return self._read[1].features

    def content(self, key: str) -> bytes:
        """The file's bytes, wherever they are stored: a picture is the same in a folder and in a Parquet file."""
        return self.pictures.content(key)

    def options(self) -> dict[str, Any]:
        """The options that decide the rows: not where they lie."""
        return {name: value for name, value in super().options().items() if name not in ("path", "license")}

    @cached_property
    def _read(self) -> tuple[list[Piece], Labels]:
        """All rows and their labels: train, validation, test, and then all other splits as they come."""
        order = [*dict.fromkeys(SPLIT_NAMES.values()), None]
        pieces = [piece for piece in self.pictures.pieces() if piece.ids]
        pieces.sort(key=lambda piece: order.index(SPLIT_NAMES.get(piece.split)))
        if not pieces:
            refused = [refusal.message for refusal in self.pictures.refused]
            told = "".join(f": {why}" for why in [*refused, *self.pictures.said][:1])
            mend = "" if refused or not self.reads else f"; {self.reads}"
            raise UsageError(f"{self.name}: {self.where} has no images that can be read{told}{mend}")
        return pieces, read_labels(pieces, self.wanted, self.name, self.identity)
