"""Verify a published dataset: every fault in it, by name, from its files and its record.

Each file is hashed, and each Parquet file then read once, block by block. What follows from the files (card, Croissant)
is regenerated and compared. Rows are recomputed from their images where that is asked for (`recompute`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from noisezoo.builder.dataset import bring, count_refused, read_refusals, refused_by_views
from noisezoo.builder.sources import Source
from noisezoo.errors import NoiseZooError, UsageError, describe
from noisezoo.hub import fetch
from noisezoo.record import CARD, RECORD, REFUSALS, Record, Section
from noisezoo.zoo import is_path
from .checked_files import DOWNLOAD, CheckedFiles, Finding, Progress
from .derived import DERIVED, field_that_differs, line_that_differs, regenerate
from .recompute import Recomputed, recompute_rows
from .shards import Shards


@dataclass(frozen=True)
class Report:
    """What was found."""

    findings: tuple[Finding, ...]  # all faults; empty where the dataset is as it should be
    files: int = 0  # number of files that are what the record says
    rows: int = 0  # rows of all sources
    bytes: int = 0  # bytes of those files
    skipped: tuple[str, ...] = ()  # what could not be checked, and why
    recomputed: tuple[Recomputed, ...] = ()
    """For each view, how near recomputed rows came, or why there are none; empty unless asked for."""

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
    source: Source | None = None,
    folders: Mapping[str, str] = {},  # noqa: B006 - a Mapping, and nothing writes to it
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Check a dataset: bytes, rows, pairing, values, accounts and card; and recompute a sample of rows.

    Args:
        path_or_repo: A folder, or a dataset id on the Hub or a URL in object storage, which is downloaded first.
        revision: Branch, tag or commit on the Hub.
        recompute: Rows to recompute from their images, in each source of the dataset; 0 for none.
        source: The images, where the recipe's source cannot be opened by its name and options alone.
        folders: View -> folder of its model, for models that are on this machine alone.
        seed: Chooses the rows.
        progress: Called with the bytes checked and the bytes in all, file by file.

    Returns:
        All faults. Label columns may hold nulls and NaN, as their source does; no other column but
        `reconstruction_*` may. Memory: one block of rows, and 8 bytes a row to find ids that come twice.

    Raises:
        UsageError: There is no such folder or repository, or the token may not read it.
        NoiseZooError: The Hub is busy or cannot be reached.
    """
    root = _folder(path_or_repo, revision)
    record = _record(root)
    if isinstance(record, Finding):
        return Report((record,))
    files, skipped = CheckedFiles(root, record, progress or (lambda done, total: None)), list[str]()
    if files.check_listing():
        files.check_unlisted()
        for section in record.sections:
            Shards(files, section, _refused(files, section)).check()
        skipped += _check_derived(files)
        skipped += [f"view {s.prefix}{name}, which was left out when it was published"
                    for s in record.sections for name in s.left_out]  # fmt: skip
    if recompute and files.damaged:
        skipped.append("no row was recomputed: files are missing or damaged")
    sections = record.sections if recompute and not files.damaged else ()
    recomputed = [each for s in sections for each in recompute_rows(root, s, recompute, source, folders, seed)]
    return Report(
        (*files.findings, *(fault for each in recomputed for fault in each.faults)),
        sum(files.sound.values()), sum(section.rows for section in record.sections), files.bytes,
        tuple(skipped), tuple(recomputed),
    )  # fmt: skip


def _folder(path_or_repo: str | Path, revision: str | None) -> Path:
    """The dataset's folder: itself, or a snapshot of the repository or bucket."""
    text = str(bring(path_or_repo))
    if Path(text).expanduser().is_dir():
        return Path(text).expanduser().resolve()
    if isinstance(path_or_repo, Path) or is_path(text):
        raise UsageError(f"there is no folder {text}")
    return fetch(text, None, revision)


def _record(root: Path) -> Record | Finding:
    """The dataset's record, or what is wrong with it."""
    try:
        return Record.from_json(json.loads((root / RECORD).read_bytes()))
    except FileNotFoundError:
        message = f"{root.name} has no {RECORD}, so that nothing says what belongs to it"
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"the record cannot be read ({type(error).__name__}: {error})"
    return Finding("record", RECORD, f"{message}: {DOWNLOAD}")


def _refused(files: CheckedFiles, s: Section) -> frozenset[str]:
    """The ids that views refused, after the accounts: rows in = rows out + refused + removed."""
    name = s.prefix + REFUSALS
    if s.scanned != s.rows + s.refused + s.removed:
        message = f"{s.scanned} images in are not {s.rows} rows + {s.refused} refused + {s.removed} removed"
        files.found("accounting", RECORD, f"source {s.source}: {message}")
    if not files.is_sound(name):
        return frozenset()
    try:
        refusals = read_refusals(files.root / name)
        count, by_views = count_refused(refusals), refused_by_views(refusals)
    except (ValueError, TypeError, KeyError) as error:
        files.found("accounting", name, f"it cannot be read ({type(error).__name__})", mend=DOWNLOAD)
        return frozenset()
    if count != s.refused:
        files.found("accounting", name, f"it names {count} refused images where the record says {s.refused}")
    return by_views


def _check_derived(files: CheckedFiles) -> list[str]:
    """Compare card and Croissant with those that the record and the files give; returns what could not be compared."""
    if files.damaged:
        return ["card and Croissant were not regenerated: files are missing or damaged"]
    texts = {name: (files.root / name).read_text(errors="replace") for name in DERIVED}
    try:
        wanted = regenerate(files.root, files.record, texts[CARD])
    except Exception as error:  # whatever stands in the files: that they give no card is the finding
        files.found("card", CARD, f"the record and the files give no card ({describe(error)})")
        return []
    skipped, by = [], {section.software.get("noisezoo") for section in files.record.sections}
    for name in (name for name in DERIVED if texts[name] != wanted[name]):
        fault = field_that_differs(DERIVED[name], texts[name], wanted[name])
        if fault is None and by != {version("noisezoo")}:
            skipped.append(f"the text of {name}: it was written by NoiseZoo {', '.join(map(str, by))}")
            continue
        message = fault or line_that_differs(texts[name], wanted[name])
        files.found("card", name, f"it was edited, or is another dataset's: {message}", mend=DOWNLOAD)
    return skipped
