"""Taking images out of a published dataset: a new version without them, in every config.

The new version is made whole in a hidden folder beside the old files, which stay as they are meanwhile, and then takes
their place by renames (`published.exchange`). Rewriting in place would take half the disk, but a shard that was written
anew beside one that was not hold some rows twice, and a second run could not tell.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.builder.dataset.finish import REMOVED, Rows, count_refused, removed_ids, section_files, sign, vouch
from noisezoo.builder.dataset.layout import STAGED, exchange, place, read_config, staging, write_config, write_paired
from noisezoo.builder.engine import STATE, claimed, open_build
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.files import committed, read_state, sweep, write_json
from noisezoo.record import LABELS, RECIPE, REFUSALS, Record, Section, record_of
from noisezoo.schema import ID, NOISE_ROWS_PER_GROUP, open_parquet

if TYPE_CHECKING:
    import pyarrow as pa

    from noisezoo.builder.dataset.layout import Config

CLAIM = ".claim"
"""Hidden file of a folder without a build, while one process writes into it."""


def remove(folder: str | Path, ids: Iterable[str], *, source: str | None = None) -> Record:
    """Make the folder's dataset one without these images: labels, every view, `paired`, its PCA bases, refusals, card.

    Killed at any point, the same call goes on to the same bytes. Where the folder has a build, the build knows what was
    removed, so that no later one brings it back.

    Args:
        folder: A published folder.
        ids: Of images that have a row or a refusal; those removed before are left out in silence.
        source: Take them out of this source alone; by default out of every source that has them.

    Returns:
        The new version's record.

    Raises:
        UsageError: The folder holds no dataset, it has no such source or images (all of them are named), or no image of
            a source would be left. Nothing was changed then.
        NoiseZooError: The dataset is being written by another process.
    """
    root = Path(folder)
    with alone(root):
        before = {*removed_ids(root), *(read_state(root / STAGED / REMOVED) or {"image_ids": ()})["image_ids"]}
        exchange(root)
        record = record_of(root)
        gone = _gone(root, record, list(dict.fromkeys(ids)), before, source)
        if any(gone.values()):
            record = _new_version(root, record, gone)
        _vouch(root, record)
    return record


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Let no build, removal or join write into the folder meanwhile."""
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}")
    with claimed(root / STATE / "claims" / "publish.json" if (root / STATE).is_dir() else root / CLAIM) as claim:
        if claim is None:
            raise NoiseZooError(f"another process is writing {root}: wait for it, then run this again")
        yield


def _gone(
    root: Path, record: Record, wanted: Sequence[str], before: set[str], source: str | None
) -> dict[str, frozenset[str]]:
    """Prefix -> ids to take out of that source, after every check."""
    sections = [section for section in record.sections if source in (None, section.source)]
    if not sections:
        there = ", ".join(section.source for section in record.sections)
        raise UsageError(f"{root} has no source {source!r}; it has: {there}")
    known = {section.prefix: _known(root, section) for section in sections}
    unknown = [each for each in wanted if each not in before and not any(each in ids for ids in known.values())]
    if unknown or not wanted:
        names = ", ".join(map(repr, unknown)) or "of no id"
        raise UsageError(f"{root} has no image {names}; nothing was removed")
    asked = {*wanted, *removed_ids(root)}
    return {prefix: frozenset(asked & ids) for prefix, ids in known.items()}


def _known(root: Path, section: Section) -> set[str]:
    """Ids that have a row or a refusal."""
    rows = {image_id for ids in _ids(root, section).values() for image_id in ids}
    return rows | {refusal["image_id"] for refusal in _refusals(root, section)}


def _ids(root: Path, section: Section) -> dict[str, list[str]]:
    import pyarrow.parquet as pq

    files = read_config(root, section, section.prefix + LABELS).files
    return {
        split: [each for path in paths for each in pq.read_table(path, columns=[ID]).column(ID).to_pylist()]
        for split, paths in files.items()
    }


def _refusals(root: Path, section: Section) -> list[dict[str, str]]:
    lines = (root / (section.prefix + REFUSALS)).read_text().splitlines()
    return [json.loads(line) for line in lines]


def _new_version(root: Path, record: Record, gone: Mapping[str, frozenset[str]]) -> Record:
    """Stage it and exchange it; what is to go is noted first, for the build and for whoever goes on with this."""
    sections = [_without(root, section, gone.get(section.prefix, frozenset())) for section in record.sections]
    ids = sorted(frozenset().union(*gone.values()))
    if (root / STATE).is_dir():
        sweep(root / STATE, REMOVED)
        write_json(root / STATE / REMOVED, {"image_ids": sorted({*ids, *removed_ids(root)})})
    write_json(root / STAGED / REMOVED, {"image_ids": ids})
    staged = staging(root)
    for old, new in zip(record.sections, sections, strict=True):
        _stage(root, staged, old, new, gone.get(old.prefix, frozenset()))
    made = sign(staged, sections)
    exchange(root)
    return made


def _without(root: Path, section: Section, gone: frozenset[str]) -> Section:
    """What the record will say of a source; a split of which nothing is left disappears."""
    if not gone:
        return section
    left = {split: sum(each not in gone for each in ids) for split, ids in _ids(root, section).items()}
    splits = {split: count for split, count in left.items() if count}
    if not splits:
        raise UsageError(
            f"these are all images of source {section.source}, and a dataset needs one: delete it, or join the other "
            "sources anew; nothing was removed"
        )
    refused = count_refused(refusal for refusal in _refusals(root, section) if refusal["image_id"] not in gone)
    return replace(section, splits=splits, refused=refused, removed=section.scanned - refused - sum(splits.values()))


def _stage(root: Path, staged: Path, old: Section, new: Section, gone: frozenset[str]) -> None:
    if not gone:
        for path in section_files(root, old):
            place(root / path, staged / path)
        return
    for name in (LABELS, *old.view_names):
        config = read_config(root, old, old.prefix + name)
        write_config(staged, new, config.name, config.features, lambda split, c=config: _left(c, split, gone))  # type: ignore[misc]
    kept = [refusal for refusal in _refusals(root, old) if refusal["image_id"] not in gone]
    with committed(staged / (new.prefix + REFUSALS)) as temporary:
        temporary.write_text("".join(json.dumps(refusal, sort_keys=True) + "\n" for refusal in kept))
    place(root / (old.prefix + RECIPE), staged / (new.prefix + RECIPE))
    write_paired(staged, new)


def _left(config: "Config", split: str, gone: frozenset[str]) -> Iterator["pa.Table"]:
    """A config's rows of one split, but those of the images that go."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = pa.array(sorted(gone), pa.string())
    for path in config.files[split]:
        with open_parquet(path) as file:
            for batch in file.iter_batches(NOISE_ROWS_PER_GROUP):
                table = pa.Table.from_batches([batch])
                stays = pc.invert(pc.is_in(table.column(ID), value_set=ids))
                yield table.filter(stays).cast(config.features.arrow_schema)


def _vouch(root: Path, record: Record) -> None:
    """Let the build know these files as its own; where it has more in work than was published, it publishes anew."""
    if not (root / STATE).is_dir():
        return
    build = open_build(root)
    views = [view.name for view in build.views]
    if not build.pending() and [s.view_names for s in record.sections] == [views]:
        if Rows(build).splits == record.sections[0].splits:
            vouch(build, record)
