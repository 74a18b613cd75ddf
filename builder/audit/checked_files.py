"""The files of a dataset against its record: listed, there, of the size and SHA-256 that the record says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from noisezoo.builder.dataset import CODE, IMAGES
from noisezoo.builder.engine import STATE
from noisezoo.files import sha256_of
from noisezoo.record import RECORD, Record

DATA = (".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".safetensors", ".npy", ".npz", ".tar", ".zip")
"""A loader may take such a file for rows of the dataset; so none may lie there that the record does not list."""
BUILD = "build again"
DOWNLOAD = "build the folder again, or download it again"
Progress = Callable[[int, int], None]
"""Called with the bytes checked so far and the bytes in all."""


@dataclass(frozen=True)
class Finding:
    """One fault of a dataset."""

    check: str
    """Which check found it: `record`, `files`, `sha256`, `unlisted`, `parquet`, `rows`, `dtypes`, `shapes`, `nulls`,
    `finite`, `ids`, `names`, `pairing`, `splits`, `paired`, `basis`, `accounting`, `card` or `recompute`."""
    where: str  # the file or config
    message: str  # the fault and its mend
    row: int | None = None
    """The first row that has the fault, from 0, counted in `where`; None where it is not of single rows."""
    image_id: str | None = None  # that row's id

    def __str__(self) -> str:
        place = "" if self.row is None else f" row {self.row}"
        return f"{self.where}{place}{'' if self.image_id is None else f' ({self.image_id})'}: {self.message}"


@dataclass
class CheckedFiles:
    """A dataset's files, each hashed once, and the faults found so far."""

    root: Path  # the dataset's folder
    record: Record  # its record
    progress: Progress  # called after each file
    findings: list[Finding] = field(default_factory=list)  # all faults; the other checks add theirs by `found`
    sound: dict[str, bool] = field(default_factory=dict)
    """Path -> whether the file is what the record says, of the files checked so far."""
    bytes: int = 0  # bytes of the sound files

    @property
    def damaged(self) -> bool:
        """Whether a file is missing or not what the record says."""
        return not all(self.sound.values())

    def found(
        self, check: str, where: str, how: str, row: int | None = None, image_id: str | None = None, mend: str = BUILD
    ) -> None:
        """Note a fault with its mend."""
        self.findings.append(Finding(check, where, f"{how}: {mend}", row, image_id))

    def is_sound(self, path: str) -> bool:
        """Whether a file is there with the record's size and hash."""
        if path not in self.sound:
            fault = self._fault(path)
            self.sound[path] = fault is None
            if fault is not None:
                self.found(*fault, mend=DOWNLOAD)
                return False
            self.bytes += self.record.files[path]["bytes"]
            self.progress(self.bytes, sum(entry["bytes"] for entry in self.record.files.values()))
        return self.sound[path]

    def _fault(self, path: str) -> tuple[str, str, str] | None:
        """The check that a file fails, the file, and how."""
        wanted, file = self.record.files[path], self.root / path
        if not file.is_file():
            return "files", path, "the record lists it and it is not there"
        if (size := file.stat().st_size) != wanted["bytes"]:
            return "files", path, f"it has {size} bytes where the record says {wanted['bytes']}"
        if sha256_of(file) != wanted["sha256"]:
            return "sha256", path, "its SHA-256 is not the record's"
        return None

    def check_listing(self) -> bool:
        """Check that the record lists the files that its sections imply, and no others; False where it is unusable."""
        try:
            wanted, files = set(self.record.paths), self.record.files
            [(entry["sha256"], int(entry["bytes"])) for entry in files.values()]
        except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
            self.found("record", RECORD, f"its fields do not fit ({type(error).__name__}: {error})", mend=DOWNLOAD)
            return False
        if not files or not self.record.sections:
            self.found("record", RECORD, "it lists no files or no source", mend=DOWNLOAD)
            return False
        for path in sorted(wanted - set(files)):
            self.found("record", path, "the record's splits and views imply it and it lists none", mend=DOWNLOAD)
            self.sound[path] = False
        for path in sorted(set(files) - wanted):
            self.found("record", path, "the record lists it and none of its sources has it", mend=DOWNLOAD)
        for path in sorted(wanted):
            if not path.endswith(".parquet"):
                self.is_sound(path)
        return True

    def check_unlisted(self) -> None:
        """Find data, code and images beside the listed files."""
        for path in sorted(self.root.rglob("*")):
            parts = path.relative_to(self.root).parts
            name = "/".join(parts)
            hidden = parts[0] == STATE or any(part.startswith(".") for part in parts)
            if hidden or name in self.record.files or path.suffix.lower() not in (*DATA, *CODE, *IMAGES):
                continue
            script = "; `datasets` refuses a repository that holds code" if path.suffix in CODE else ""
            self.found("unlisted", name, f"the record does not list it{script}", mend="take it away")
