"""From parts to the published folder: one config a view, `labels`, and the default `paired` with its PCA bases.

Everything is read from markers and parts, never from directory listings; a build that is not complete is refused.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo import zoo
from noisezoo.builder.dataset.card import write_card
from noisezoo.builder.dataset.croissant import write_croissant
from noisezoo.builder.dataset.layout import (
    CHUNK,
    STAGED,
    basis_path,
    config_files,
    withdraw,
    write_config,
    write_paired,
)
from noisezoo.builder.engine import STATE, Build, Unit, public_name, public_recipe, source_refusals
from noisezoo.builder.sources import Refusal
from noisezoo.builder.views import cut
from noisezoo.errors import IncompleteError, NoiseZooError
from noisezoo.files import committed, read_json, read_state, sha256_of, sweep, write_json
from noisezoo.record import (
    CARD,
    CROISSANT,
    LABELS,
    PAIRED,
    RECIPE,
    RECORD,
    REFUSALS,
    Record,
    Section,
    read_record,
    write_record,
)
from noisezoo.schema import ID, SPLIT

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

REMOVED = "removed.json"
"""In a build's own folder: the images that were taken out of its dataset, which no later build may bring back."""


@dataclass(frozen=True)
class Rows:
    """Which manifest rows are published: all but those that any view refused, so that views pair by position.

    What was removed from the dataset is in no row, and in no refusal either.
    """

    build: Build

    @cached_property
    def removed(self) -> frozenset[str]:
        """Ids that were taken out after publication."""
        return removed_ids(self.build.root)

    @cached_property
    def refusals(self) -> list[Refusal]:
        """Every refusal of every view and of the source."""
        found = [Refusal(**refusal) for unit in self.build.all_units() for refusal in _marker(unit)["refusals"]]
        every = source_refusals(self.build) + found
        return [refusal for refusal in every if refusal.image_id not in self.removed]

    @cached_property
    def kept(self) -> np.ndarray:
        """Mask over the manifest: (n,) bool."""
        refused = {refusal.image_id for refusal in self.refusals if refusal.stage != "source"} | self.removed
        return np.array([image_id not in refused for image_id in self.build.manifest.ids], dtype=bool)

    @cached_property
    def splits(self) -> dict[str, int]:
        """Published rows of each split that has any."""
        counts = {
            name: int(self.kept[part.start : part.stop].sum()) for name, part in self.build.manifest.splits.items()
        }
        return {name: count for name, count in counts.items() if count}


def finish(build: Build) -> None:
    """Publish the dataset into `build.root`; the same build gives the same bytes.

    Raises:
        IncompleteError: Units are missing.
    """
    _sweep(build)
    missing = build.pending()
    if missing:
        raise IncompleteError(
            f"{len(missing)} of {len(list(build.all_units()))} units are missing: run the build again"
        )
    rows = Rows(build)
    if not rows.kept.any():
        raise NoiseZooError(f"every image was refused; the first: {rows.refusals[0].message}")
    section = describe(build, rows)
    _withdraw_other_rows(build, section)
    _publish_labels(build, rows, section)
    for view in build.views:
        _publish_view(build, view, rows, section)
    _write_refusals(build, rows)
    write_json(build.root / RECIPE, {**public_recipe(build), "software": section.software})
    vouch(build, seal(build.root, (section,)))


def vouch(build: Build, record: Record) -> None:
    """Note that the published files are this build's, whole."""
    hashes = {name: file["sha256"] for name, file in record.files.items()}
    hashes[RECORD] = sha256_of(build.root / RECORD)
    sweep(build.state, "dataset.json")
    write_json(build.state / "dataset.json", {"build": build_digest(build), "sha256": hashes})


def seal(root: Path, sections: Sequence[Section]) -> Record:
    """Make what follows from the views and labels that lie there: paired configs, card, and last the record."""
    for section in sections:
        write_paired(root, section)
    return sign(root, sections)


def sign(root: Path, sections: Sequence[Section]) -> Record:
    """Card, Croissant and last the record, of configs that lie there whole."""
    record = Record(tuple(sections))
    write_card(root, record)
    data = {path: _entry(root / path) for path in listed(root, record) if path != CROISSANT}
    write_croissant(root, record.with_files(data))
    record = record.with_files({**data, CROISSANT: _entry(root / CROISSANT)})
    write_record(root, record)
    return record


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "bytes": path.stat().st_size}


def listed(root: Path, record: Record) -> list[str]:
    """Paths of all files of the dataset but the record, by what the record says, never by what lies there."""
    return [CARD, CROISSANT, *(path for section in record.sections for path in section_files(root, section))]


def section_files(root: Path, section: Section) -> list[str]:
    """Paths of one source's files, each of which begins with the source's prefix."""
    configs = [config_files(root, name, section.splits, section.shard_rows) for name in section.configs]
    names = [str(path.relative_to(root)) for files in configs for paths in files.values() for path in paths]
    large = [view["name"] for view in section.views if np.prod(view["shape"]) > section.pca_dims]
    names += [str(basis_path(root, section, name).relative_to(root)) for name in large]
    return [*names, section.prefix + REFUSALS, section.prefix + RECIPE]


def removed_ids(root: Path) -> frozenset[str]:
    """Ids that were taken out of a build's dataset; none where the folder has no build."""
    return frozenset((read_state(root / STATE / REMOVED) or {"image_ids": ()})["image_ids"])


def _withdraw_other_rows(build: Build, section: Section) -> None:
    """Before the first file of other rows is written: while old and new lie side by side, this is no dataset."""
    record = read_record(build.root)
    rows = [(s.splits, s.refused, s.removed) for s in (record.sections if record else ())]
    if rows and rows != [(section.splits, section.refused, section.removed)]:
        withdraw(build.root)


def describe(build: Build, rows: Rows) -> Section:
    """What the record says of a build."""
    public = public_recipe(build)
    units = {unit.view.name: _marker(unit) for unit in reversed(list(build.all_units()))}  # each view's first
    scanned = len(build.manifest) + len(source_refusals(build))
    refused = count_refused(vars(refusal) for refusal in rows.refusals)
    return Section(
        source=build.recipe.source.name.partition(":")[0], title=build.recipe.name, prefix="",
        license=build.source_facts["license"], license_name=build.source_facts["license_name"],
        sensitive=build.source_facts["sensitive"],
        scanned=scanned, refused=refused, removed=scanned - refused - int(rows.kept.sum()),
        splits=rows.splits, views=tuple(_public_view(view) for view in build.views),
        settings=public["settings"] | {"source": public["source"]["name"], "limit": build.recipe.source.limit},
        software=next(iter(units.values()))["software"],
        devices=tuple(sorted({_marker(unit)["device"] for unit in build.all_units()})),
        pca_dims=build.recipe.pca_dims, shard_rows=build.recipe.shard_rows,
        facts={name: marker["facts"] for name, marker in units.items() if marker.get("facts")},
        weights=public.get("weights", {}), identity=build.source_facts.get("identity"),
    )  # fmt: skip


def count_refused(refusals: Iterable[Mapping[str, Any]]) -> int:
    """Images that refusals are of: each row of the source is one, what several views refused is one."""
    found = list(refusals)
    own = [refusal for refusal in found if refusal["stage"] == "source"]
    return len(own) + len({refusal["image_id"] for refusal in found if refusal["stage"] != "source"})


def _public_view(view: zoo.View) -> dict[str, Any]:
    """A row of the zoo without this machine's paths."""
    fields = {**asdict(view), "repo": public_name(view.repo), "shape": list(view.shape), "dtype": view.dtype}
    return fields


def _sweep(build: Build) -> None:
    """Remove what publishers and fits that were killed left behind; shards' folders are swept as they are written."""
    for folder in (build.root, build.root / PAIRED / "basis", build.state / "fits"):
        sweep(folder)
    shutil.rmtree(build.root / STAGED, ignore_errors=True)


def discard_damaged(build: Build) -> None:
    """Withdraw the markers of parts whose bytes have changed, so that the next run computes them again."""
    for unit in build.all_units():
        if unit.marker() is not None and not unit.is_intact():
            unit.marker_path.unlink(missing_ok=True)


def is_finished(build: Build) -> bool:
    """Whether the published folder stands for exactly these parts."""
    record = read_json(build.state / "dataset.json")
    if record is None or build.pending() or record["build"] != build_digest(build):
        return False
    return all((build.root / name).is_file() for name in record["sha256"])


def build_digest(build: Build) -> str:
    """SHA-256 over what the published files are made from: the parts, the order and the publishing settings."""
    parts = [(unit.view.name, unit.number, _marker(unit)["sha256"]) for unit in build.all_units()]
    settings = [build.manifest.digest, build.recipe.shard_rows, build.recipe.pca_dims, sorted(removed_ids(build.root))]
    return hashlib.sha256(json.dumps([parts, settings]).encode()).hexdigest()


def _marker(unit: Unit) -> dict[str, Any]:
    marker = unit.marker()
    if marker is None:
        raise IncompleteError(f"{unit.view.name} slice {unit.number} is missing: run the build again")
    return marker


def _publish_view(build: Build, view: zoo.View, rows: Rows, section: Section) -> None:
    import pyarrow.parquet as pq
    from datasets import Features

    features = Features.from_arrow_schema(pq.read_schema(build.units(view)[0].part))

    def tables(split: str) -> Iterator["pa.Table"]:
        part = build.manifest.splits[split]
        for unit in build.units(view):
            if unit.rows.start in part:
                table = pq.read_table(unit.part)
                yield table.filter(_published(table, unit, rows)).cast(features.arrow_schema)

    write_config(build.root, section, view.name, features, tables)


def _published(table: "pa.Table", unit: Unit, rows: Rows) -> "pa.Array":
    import pyarrow as pa

    kept = {i for i, keep in zip(unit.ids, rows.kept[unit.rows.start : unit.rows.stop], strict=True) if keep}
    return pa.array([image_id in kept for image_id in table.column(ID).to_pylist()], type=pa.bool_())


def _label_features(build: Build) -> "Features":
    from datasets import Features, Value

    own = Features.from_dict(dict(build.source_facts["features"]))
    return Features({ID: Value("string"), SPLIT: Value("string"), **own})


def _label_tables(build: Build, rows: Rows, split: str, features: "Features") -> Iterator["pa.Table"]:
    import pyarrow as pa

    table = build.manifest.table.select(list(features))
    for part in cut(build.manifest.splits[split], CHUNK):
        kept = table.slice(part.start, len(part)).filter(pa.array(rows.kept[part.start : part.stop]))
        yield kept.cast(features.arrow_schema)


def _publish_labels(build: Build, rows: Rows, section: Section) -> None:
    features = _label_features(build)
    write_config(build.root, section, LABELS, features, lambda split: _label_tables(build, rows, split, features))


def _write_refusals(build: Build, rows: Rows) -> None:
    """One JSON line a refusal, in order of the stage and the manifest."""
    with committed(build.root / REFUSALS) as temporary:
        temporary.write_text("".join(json.dumps(vars(refusal), sort_keys=True) + "\n" for refusal in rows.refusals))
