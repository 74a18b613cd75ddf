"""Several sources in one dataset: the files of built folders side by side, each source under its own prefix."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from noisezoo.builder.engine import STATE
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.files import sha256_of
from noisezoo.record import Record, Section, read_record, record_of
from .bring import bring
from .finish import sign
from .layout import STAGED, exchange, place, staging
from .remove import alone, local_folder, others


def join(folders: Sequence[str | Path], out: str | Path) -> Record:
    """Make one dataset of several, in `out`, and give its record.

    The first one's configs keep their names, those of others begin with `SOURCE.`. Files are linked where the disk
    allows it, else copied; none is written again, so that joining another source changes no name and no byte of what
    was there. The same folders give the same bytes.

    Args:
        folders: Published folders or URLs in object storage, each of one source or several.
        out: A new folder, or what an earlier join made of some of these sources.

    Raises:
        UsageError: A folder holds no dataset, two sources or two configs have one name, or `out` holds something else.
        NoiseZooError: A file is not what its folder's record says, or another process writes into `out`.
    """
    root, inputs = local_folder(out), [(folder, record_of(folder)) for folder in map(Path, map(bring, folders))]
    if root.resolve() in [folder.resolve() for folder, _ in inputs]:
        raise UsageError(f"{root} is among the folders to join: name those that it was made of, or change --out")
    parts = _parts(inputs)
    _refuse_other(root, [section for _, _, section in parts])
    _check(inputs)
    root.mkdir(parents=True, exist_ok=True)
    with alone(root):
        exchange(root)
        staged = staging(root)
        for folder, old, new in parts:
            for path in old.paths:
                place(folder / path, staged / (new.prefix + path.removeprefix(old.prefix)))
        record = sign(staged, [new for _, _, new in parts])
        exchange(root)
    return record


def _parts(inputs: Sequence[tuple[Path, Record]]) -> list[tuple[Path, Section, Section]]:
    """(folder, section as it is there, section as it will be) of every source."""
    found = [(folder, section) for folder, record in inputs for section in record.sections]
    parts = [
        (folder, old, replace(old, prefix=f"{old.source}." if number else ""))
        for number, (folder, old) in enumerate(found)
    ]
    _refuse_twice("source", [new.source for _, _, new in parts])
    _refuse_twice("config", [config for _, _, new in parts for config in new.configs])
    if not parts:
        raise UsageError("no folders to join: name at least one")
    return parts


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"{what} {twice[0]!r} comes twice, and names in a dataset stand for one thing: leave one out")


def _refuse_other(root: Path, sections: Sequence[Section]) -> None:
    """Let nothing be overwritten but an earlier join of these sources, whose configs all stay."""
    there = others(root)
    if STATE in there:
        raise UsageError(f"{root} is a build's folder, which would not know the other sources: choose another --out")
    record = read_record(root) if there else None
    if there and record is None and not (root / STAGED).is_dir():
        raise UsageError(f"{root} is not empty and holds no dataset ({there[0]}, ...): choose another --out")
    configs = {config for section in sections for config in section.configs}
    had = [config for section in (record.sections if record else ()) for config in section.configs]
    lost = [config for config in had if config not in configs]
    if lost:
        raise UsageError(f"{root} has a config {lost[0]!r} that would be gone: join its source too, or change --out")


def _check(inputs: Sequence[tuple[Path, Record]]) -> None:
    """Every file must be what the record of its folder says, before another record lists it."""
    for folder, record in inputs:
        for path in (path for section in record.sections for path in section.paths):
            if not (folder / path).is_file() or sha256_of(folder / path) != record.files[path]["sha256"]:
                raise NoiseZooError(f"{folder / path} is not what the folder's record says: build or download it again")
