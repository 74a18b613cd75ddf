"""Taking images out of a published dataset: a new version without them, in every config.

The new version is made whole in a hidden folder beside the old files, then takes their place by renames
(`layout.exchange`). Rewriting in place would need half the disk, but an interrupted rewrite would leave rows in both an
old and a new shard, and a second run could not tell which.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from noisezoo.builder.engine import STATE, Lease, find_store, is_url, open_build, publishing_lease
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.files import clean_up, read_state, write_json
from noisezoo.record import LABELS, RECIPE, REFUSALS, Record, Section, record_of
from noisezoo.schema import ID, NOISE_ROWS_PER_GROUP
from .finish import REMOVED, Rows, count_refused, read_refusals, removed_ids, sign, write_hashes, write_refusals
from .layout import STAGED, Config, exchange, place, read_config, read_tables, staging, write_config, write_paired

CLAIM = ".claim"
"""Hidden file in a folder without a build while a process writes into it."""


def remove(folder: str | Path, ids: Iterable[str], *, source: str | None = None) -> Record:
    """Make the folder's dataset one without these images, in every config and file, and give its new record.

    Killed at any point, the same call goes on to the same bytes. Where the folder has a build, the build knows what was
    removed, so that no later one brings it back.

    Args:
        folder: A published folder.
        ids: Of images that have a row or a refusal; those removed before are left out in silence.
        source: Take them out of this source alone; by default out of every source that has them.

    Raises:
        UsageError: The folder holds no dataset, it has no such source or images (all of them are named), or no image of
            a source would be left. Nothing was changed then.
        NoiseZooError: The dataset is being written by another process.
    """
    root = local_folder(folder)
    with alone(root):
        before = {*removed_ids(root), *(read_state(root / STAGED / REMOVED) or {"image_ids": ()})["image_ids"]}
        exchange(root)
        record = record_of(root)
        parts = [_Part.read(root, section) for section in record.sections]
        gone = _gone(parts, list(dict.fromkeys(ids)), before, source)
        if any(gone):
            record = _new_version(parts, gone)
        _note(root, record)
    return record


def local_folder(place: str | Path) -> Path:
    """A place as a folder on this machine, whose files are replaced by renames: UsageError where it is a URL."""
    if is_url(place):
        name = find_store(place).name
        raise UsageError(
            f"{name} is in object storage, where no dataset is changed: name a folder; `noisezoo join {name} --out "
            "FOLDER` brings a dataset from there to a new one"
        )
    return Path(place)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Let no build, removal or join write into the folder meanwhile."""
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}")
    lease = publishing_lease(find_store(root)) if (root / STATE).is_dir() else Lease(root / CLAIM)
    with lease.acquire() as acquired:
        if not acquired:
            raise NoiseZooError(f"another process is writing {root}: wait for it, then run this again")
        yield


def others(root: Path) -> list[str]:
    """Names of what lies in a folder that a dataset is to be written into; empty where there is no folder."""
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file: choose another --out")
    return sorted(path.name for path in root.iterdir() if path.name not in (STAGED, CLAIM)) if root.is_dir() else []


@dataclass(frozen=True)
class _Part:
    """One source's part of a published dataset."""

    root: Path
    section: Section
    splits: dict[str, list[str]]  # split -> ids of its rows
    refusals: list[dict[str, Any]]

    @classmethod
    def read(cls, root: Path, section: Section) -> "_Part":
        files = read_config(root, section, LABELS).files
        splits = {
            split: [each for table in read_tables(paths, 2**16, [ID]) for each in table.column(ID).to_pylist()]
            for split, paths in files.items()
        }
        return cls(root, section, splits, read_refusals(root / (section.prefix + REFUSALS)))

    @property
    def known(self) -> set[str]:
        """Ids that have a row or a refusal."""
        return {i for ids in self.splits.values() for i in ids} | {refusal["image_id"] for refusal in self.refusals}

    def without(self, gone: frozenset[str]) -> Section:
        """What the record will say of the source; a split of which nothing is left disappears."""
        if not gone:
            return self.section
        left = {split: sum(each not in gone for each in ids) for split, ids in self.splits.items()}
        splits = {split: count for split, count in left.items() if count}
        if not splits:
            raise UsageError(
                f"these are all images of source {self.section.source}, and a dataset needs one: delete it, or join "
                "the other sources again; nothing was removed"
            )
        refused = count_refused(self._left(gone))
        removed = self.section.scanned - refused - sum(splits.values())
        return replace(self.section, splits=splits, refused=refused, removed=removed)

    def stage(self, staged: Path, new: Section, gone: frozenset[str]) -> None:
        """Write the part without those images into the staged version, or link it where none of them is its own."""
        old = self.section
        if not gone:
            for path in old.paths:
                place(self.root / path, staged / path)
            return
        for name in (LABELS, *old.view_names):
            config = read_config(self.root, old, name)
            write_config(staged, new, name, config.features, partial(_tables, config), gone)
        write_refusals(staged / (new.prefix + REFUSALS), self._left(gone))
        place(self.root / (old.prefix + RECIPE), staged / (new.prefix + RECIPE))
        write_paired(staged, new)

    def _left(self, gone: frozenset[str]) -> list[dict[str, Any]]:
        return [refusal for refusal in self.refusals if refusal["image_id"] not in gone]


def _tables(config: Config, split: str) -> Iterator[pa.Table]:
    return read_tables(config.files[split], NOISE_ROWS_PER_GROUP)


def _gone(parts: Sequence[_Part], wanted: Sequence[str], before: set[str], source: str | None) -> list[frozenset[str]]:
    """The ids to take out of each part, after every check; `before` were removed by an earlier call."""
    root, names = parts[0].root, [part.section.source for part in parts]
    if source not in (None, *names):
        raise UsageError(f"{root} has no source {source!r}; it has: {', '.join(names)}")
    known = [part.known if source in (None, part.section.source) else set() for part in parts]
    unknown = [each for each in wanted if not any(each in ids for ids in (before, *known))]
    if unknown or not wanted:
        said = ", ".join(map(repr, unknown)) or "of no id"
        raise UsageError(f"{root} has no image {said}; nothing was removed")
    return [frozenset({*wanted, *removed_ids(root)} & ids) for ids in known]


def _new_version(parts: Sequence[_Part], gone: Sequence[frozenset[str]]) -> Record:
    """Stage it and exchange it; the ids are noted first, for the build and for the call that goes on after a kill."""
    root, ids = parts[0].root, sorted(frozenset().union(*gone))
    sections = [part.without(own) for part, own in zip(parts, gone, strict=True)]
    if (root / STATE).is_dir():
        clean_up(root / STATE, REMOVED)
        write_json(root / STATE / REMOVED, {"image_ids": sorted({*ids, *removed_ids(root)})})
    write_json(root / STAGED / REMOVED, {"image_ids": ids})
    staged = staging(root)
    for part, new, own in zip(parts, sections, gone, strict=True):
        part.stage(staged, new, own)
    made = sign(staged, sections)
    exchange(root)
    return made


def _note(root: Path, record: Record) -> None:
    """Note the files in the folder's build, unless the build has more in work than was published."""
    if not (root / STATE).is_dir():
        return
    build = open_build(root)
    published = [section.view_names for section in record.sections] == [[view.name for view in build.views]]
    if published and not build.pending() and Rows(build).splits == record.sections[0].splits:
        write_hashes(build, record)
