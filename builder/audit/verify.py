"""Verify a published dataset: every fault in it, by name, from what lies there and what its record says.

Each file is hashed, and each Parquet file then read once, block by block. What follows from the files (card, Croissant)
is made again and compared. Rows are recomputed from their images where that is asked for (`recompute`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.builder.audit.derived import DERIVED, field_that_differs, line_that_differs, made_again
from noisezoo.builder.audit.recompute import Recomputed, recompute_rows
from noisezoo.builder.audit.shards import Shards
from noisezoo.builder.dataset import CODE, IMAGES, listed
from noisezoo.builder.engine import STATE
from noisezoo.errors import NoiseZooError, UsageError, describe
from noisezoo.files import sha256_of
from noisezoo.record import CARD, RECORD, REFUSALS, Record, Section
from noisezoo.zoo import is_path

if TYPE_CHECKING:
    from noisezoo.builder.sources import Source

DATA = (".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".safetensors", ".npy", ".npz", ".tar", ".zip")
"""Files that a loader may take for rows of the dataset; with code and images, none may lie beside the listed ones."""
MEND = "build the folder again, or download it again"
Progress = Callable[[int, int], None]
"""Told bytes checked and bytes in all."""


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        check: Which check found it: `record`, `files`, `sha256`, `unlisted`, `parquet`, `rows`, `dtypes`, `shapes`,
            `nulls`, `finite`, `ids`, `pairing`, `splits`, `paired`, `basis`, `accounting`, `card` or `recompute`.
        where: The file or config.
        message: The fault and its mend.
        row: Row of that file, from 0, where the fault is one row's; of several, the first.
        image_id: That row's id.
    """

    check: str
    where: str
    message: str
    row: int | None = None
    image_id: str | None = None

    def __str__(self) -> str:
        place = "" if self.row is None else f" row {self.row}"
        return f"{self.where}{place}{'' if self.image_id is None else f' ({self.image_id})'}: {self.message}"


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        findings: All faults, none where the dataset is as it should be.
        files: Files whose bytes were checked.
        rows: Rows of all sources.
        bytes: Bytes checked.
        skipped: What could not be checked, and why.
        recomputed: For each view, how near recomputed rows came, or why there are none; empty unless asked for.
    """

    findings: tuple[Finding, ...]
    files: int = 0
    rows: int = 0
    bytes: int = 0
    skipped: tuple[str, ...] = ()
    recomputed: tuple[Recomputed, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no fault."""
        return not self.findings

    def raise_if_bad(self) -> None:
        """Raise the first fault.

        Raises:
            NoiseZooError: Names it, and how many others there are.
        """
        if self.findings:
            others = len(self.findings) - 1
            more = f" (and {others} more fault{'s' if others > 1 else ''})" if others else ""
            raise NoiseZooError(f"{self.findings[0]}{more}")


def verify(
    path_or_repo: str | Path,
    *,
    revision: str | None = None,
    recompute: int = 0,
    source: "Source | None" = None,
    folders: Mapping[str, str] = {},  # noqa: B006 - a Mapping, and nothing writes to it
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Check a dataset: bytes, rows, pairing, values, accounts and card; and recompute a sample of rows.

    Args:
        path_or_repo: A folder, or a dataset id on the Hub, which is downloaded first.
        revision: Branch, tag or commit on the Hub.
        recompute: Rows to compute again from their images, in each source of the dataset; 0 for none.
        source: The images, where they are not had by the name of the source alone.
        folders: View -> folder of its model, for models that are on this machine alone.
        seed: Chooses the rows.
        progress: Told bytes checked and bytes in all, file by file.

    Returns:
        All faults. Label columns may hold nulls and NaN, as their source does; no other column but
        `reconstruction_*` may. Beside the bytes of a block of rows, 8 bytes a row are held, for ids that come twice.

    Raises:
        UsageError: There is no such folder or repository.
    """
    root = _folder(path_or_repo, revision)
    record = _record(root)
    if isinstance(record, Finding):
        return Report((record,))
    verification = _Verification(root, record, progress or (lambda done, total: None))
    verification.run()
    recomputed: list[Recomputed] = []
    for section in record.sections if recompute and not verification.damaged else ():
        recomputed += recompute_rows(root, section, recompute, source, folders, seed)
    if recompute and verification.damaged:
        verification.skipped.append("no row was recomputed: files are missing or damaged")
    findings = [
        *verification.findings,
        *(Finding("recompute", each.config, f.message, f.row, f.image_id) for each in recomputed for f in each.faults),
    ]
    return Report(
        tuple(findings), verification.files, sum(section.rows for section in record.sections), verification.bytes,
        tuple(verification.skipped), tuple(recomputed),
    )  # fmt: skip


def _folder(path_or_repo: str | Path, revision: str | None) -> Path:
    """The dataset's folder: itself, or a snapshot of the repository."""
    from huggingface_hub import errors, snapshot_download

    text = str(path_or_repo)
    if Path(text).expanduser().is_dir():
        return Path(text).expanduser().resolve()
    if isinstance(path_or_repo, Path) or is_path(text):
        raise UsageError(f"there is no folder {text}")
    transport: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        return Path(snapshot_download(text, repo_type="dataset", revision=revision))
    except (transport, OSError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UsageError(
            f"{text} is neither a folder nor a dataset that can be reached ({said}): check its name, go online, or "
            "run `hf auth login`"
        ) from error


def _record(root: Path) -> Record | Finding:
    """The dataset's record, or what is wrong with it."""
    try:
        return Record.from_json(json.loads((root / RECORD).read_bytes()))
    except FileNotFoundError:
        message = f"{root.name} has no {RECORD}, so that nothing says what belongs to it: {MEND}"
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"the record cannot be read ({type(error).__name__}: {error}): {MEND}"
    return Finding("record", RECORD, message)


@dataclass
class _Verification:
    """The checks of one dataset, and what they have found."""

    root: Path
    record: Record
    progress: Progress
    findings: list[Finding] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    sound: set[str] = field(default_factory=set)
    files: int = 0
    bytes: int = 0

    def run(self) -> None:
        """All of them. The contents of files that are not what the record says are not looked at."""
        wanted = self._listing()
        if wanted is None:
            return
        self._unlisted()
        parquet = {path for path in wanted if path.endswith(".parquet")}
        for path in sorted(set(wanted) - parquet):
            self.is_sound(path)
        for section in self.record.sections:
            Shards(self.root, section, self._refused(section), self.is_sound, self.found).check()
        self._made_again()

    def found(self, check: str, where: str, message: str, row: int | None = None, image_id: str | None = None) -> None:
        """Note a fault."""
        self.findings.append(Finding(check, where, message, row, image_id))

    def is_sound(self, path: str) -> bool:
        """Whether a file is there with the record's size and hash."""
        if path in self.damaged or path in self.sound:
            return path in self.sound
        wanted, file = self.record.files[path], self.root / path
        fault = None
        if not file.is_file():
            fault = "files", f"the record lists it and it is not there: {MEND}"
        elif (size := file.stat().st_size) != wanted["bytes"]:
            fault = "files", f"it has {size} bytes where the record says {wanted['bytes']}: {MEND}"
        elif sha256_of(file) != wanted["sha256"]:
            fault = "sha256", f"its bytes are not those that the record vouches for: {MEND}"
        if fault is not None:
            self.found(fault[0], path, fault[1])
            self.damaged.add(path)
            return False
        self.sound.add(path)
        self.files, self.bytes = self.files + 1, self.bytes + wanted["bytes"]
        self.progress(self.bytes, sum(entry["bytes"] for entry in self.record.files.values()))
        return True

    def _listing(self) -> list[str] | None:
        """The files that the record's sections imply, which must be those it lists; None where it makes no sense."""
        try:
            wanted = listed(self.root, self.record)
            sizes = [(entry["sha256"], int(entry["bytes"])) for entry in self.record.files.values()]
        except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
            self.found("record", RECORD, f"its fields do not fit ({type(error).__name__}: {error}): {MEND}")
            return None
        if not sizes or not self.record.sections:
            self.found("record", RECORD, f"it lists no files or no source: {MEND}")
            return None
        for path in sorted(set(wanted) - set(self.record.files)):
            self.found("record", path, f"the record's splits and views imply it and it lists no such file: {MEND}")
            self.damaged.add(path)
        for path in sorted(set(self.record.files) - set(wanted)):
            self.found("record", path, f"the record lists it and none of its sources has such a file: {MEND}")
        return wanted

    def _unlisted(self) -> None:
        for path in sorted(self.root.rglob("*")):
            parts = path.relative_to(self.root).parts
            name = "/".join(parts)
            hidden = parts[0] == STATE or any(part.startswith(".") for part in parts)
            if hidden or name in self.record.files or path.suffix.lower() not in (*DATA, *CODE, *IMAGES):
                continue
            script = "; `datasets` refuses a repository that holds code" if path.suffix in CODE else ""
            self.found("unlisted", name, f"it is no file of the dataset{script}: take it away")

    def _refused(self, section: Section) -> frozenset[str]:
        """The ids that views refused, after the accounts: rows in = rows out + refused + removed.

        An image that several views refused counts once. What the source refused counts by the line: it may be a second
        row of an id whose first is kept.
        """
        s, name = section, section.prefix + REFUSALS
        if s.scanned != s.rows + s.refused + s.removed:
            told = f"{s.scanned} images in are not {s.rows} rows + {s.refused} refused + {s.removed} removed"
            self.found("accounting", RECORD, f"source {s.source}: {told}: build again")
        if not self.is_sound(name):
            return frozenset()
        try:
            refusals = [json.loads(line) for line in (self.root / name).read_text().splitlines()]
            own = sum(refusal["stage"] == "source" for refusal in refusals)
            by_views = frozenset(refusal["image_id"] for refusal in refusals if refusal["stage"] != "source")
        except (ValueError, TypeError, KeyError) as error:
            self.found("accounting", name, f"it cannot be read ({type(error).__name__}): {MEND}")
            return frozenset()
        if own + len(by_views) != s.refused:
            told = f"it names {own + len(by_views)} refused images where the record says {s.refused}"
            self.found("accounting", name, f"{told}: build again")
        return by_views

    def _made_again(self) -> None:
        """Card and Croissant must be what the record and the files make of them."""
        if self.damaged:
            self.skipped.append("card and Croissant were not made again: files are missing or damaged")
            return
        texts = {name: (self.root / name).read_text(errors="replace") for name in DERIVED}
        try:
            wanted = made_again(self.root, self.record, texts[CARD])
        except Exception as error:  # whatever stands in the files: that they make no card is the finding
            self.found("card", CARD, f"the record and the files make no card ({describe(error)}): build again")
            return
        by = {section.software.get("noisezoo") for section in self.record.sections}
        for name in (name for name in DERIVED if texts[name] != wanted[name]):
            fault = field_that_differs(DERIVED[name], texts[name], wanted[name])
            if fault is None and by != {version("noisezoo")}:
                self.skipped.append(f"the text of {name}: it was written by NoiseZoo {', '.join(map(str, by))}")
                continue
            told = fault or line_that_differs(texts[name], wanted[name])
            self.found("card", name, f"it was edited, or is another dataset's: {told}: {MEND}")
