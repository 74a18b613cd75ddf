"""From parts to the published folder: one config for each view, `labels`, and the default `paired` with its PCA bases.

Everything is read from markers and parts, never from directory listings; a build that is not complete is refused.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from noisezoo import zoo
from noisezoo.builder.engine import CUT_PROMPTS, STATE, Build, public_name, public_recipe, source_refusals
from noisezoo.builder.recipe import parts_of
from noisezoo.builder.views import cut
from noisezoo.errors import IncompleteError, NoiseZooError
from noisezoo.files import clean_up, read_state, sha256_of, write_json, write_text
from noisezoo.record import (
    CARD,
    CROISSANT,
    LABELS,
    RECIPE,
    RECORD,
    REFUSALS,
    Record,
    Section,
    read_record,
    write_record,
)
from noisezoo.schema import ID, SPLIT
from .card import write_card
from .croissant import write_croissant
from .layout import CHUNK, STAGED, withdraw, write_config, write_paired, write_residual

DATASET = "dataset.json"
"""File of a build: the hashes of the published files, and of what they were made from."""

REMOVED = "removed.json"
"""File of a build: the images that were removed from its dataset, which no later build may bring back."""


@dataclass(frozen=True)
class Rows:
    """Which rows of the manifest are published: all but those refused by any view, so that views pair by position.

    An image that was removed from the dataset is in no row, and in no refusal either.
    """

    build: Build

    @cached_property
    def removed(self) -> frozenset[str]:
        """Ids that were taken out after publication."""
        return removed_ids(self.build.root)

    @cached_property
    def markers(self) -> list[dict[str, Any]]:
        """The markers of all units, view by view."""
        return _complete(self.build.markers())

    @cached_property
    def refusals(self) -> list[dict[str, Any]]:
        """Every refusal of every view and of the source."""
        found = [refusal for marker in self.markers for refusal in marker["refusals"]]
        every = [*map(vars, source_refusals(self.build)), *found]
        return [refusal for refusal in every if refusal["image_id"] not in self.removed]

    @cached_property
    def dropped(self) -> frozenset[str]:
        """Ids of the manifest's rows that are not published."""
        return self.removed | refused_by_views(self.refusals)

    @cached_property
    def splits(self) -> dict[str, int]:
        """Published rows of each split that has any."""
        ids, splits = self.build.manifest.ids, self.build.manifest.splits
        counts = {name: sum(ids[row] not in self.dropped for row in part) for name, part in splits.items()}
        return {name: count for name, count in counts.items() if count}


def finish(build: Build) -> None:
    """Publish the dataset into `build.root`; the same build gives the same bytes.

    Raises:
        IncompleteError: Units are missing.
        NoiseZooError: Every image was refused.
    """
    for folder in (build.root, build.sample / "fits"):
        clean_up(folder)  # what killed publishers and fits left; configs' folders are cleaned as they are written
    shutil.rmtree(build.root / STAGED, ignore_errors=True)
    rows = Rows(build)
    if not rows.splits:
        raise NoiseZooError(f"every image was refused; the first: {rows.refusals[0]['message']}")
    section = describe(build, rows)
    _withdraw_other_rows(build, section)
    _write_labels(build, rows, section)
    for view in build.views:
        _write_view(build, view, rows, section)
    for view in build.residuals:
        noise, image = parts_of(view, build.views)
        write_residual(build.root, section, view, noise.name, image.name, section.facts[view.name]["x_T_a"])
    write_refusals(build.root / REFUSALS, rows.refusals)
    write_json(build.root / RECIPE, {**public_recipe(build), "software": section.software})
    record = seal(build.root, (section,))
    names = (*(name for name in record.files if name != CARD), CARD, RECORD)
    build.store.share_dataset([build.root / name for name in names])
    write_hashes(build, record)
    build.store.forget()


def write_hashes(build: Build, record: Record) -> None:
    """Note the hashes of the published files in the build, as those of its finished dataset."""
    hashes = {name: file["sha256"] for name, file in record.files.items()}
    hashes[RECORD] = sha256_of(build.root / RECORD)
    build.store.clean_up(build.state, DATASET)
    build.store.write_json(build.state / DATASET, {"build": build_digest(build, build.markers()), "sha256": hashes})


def seal(root: Path, sections: Sequence[Section]) -> Record:
    """Write what follows from the views and labels that lie there: paired configs, card, and last the record."""
    for section in sections:
        write_paired(root, section)
    return sign(root, sections)


def sign(root: Path, sections: Sequence[Section], known: Mapping[str, Any] = MappingProxyType({})) -> Record:
    """Write card, Croissant and last the record, of configs that lie there whole.

    `known` are entries of files, as another record has them; those of other files are made.
    """
    record = Record(tuple(sections))
    write_card(root, record)
    paths = [path for path in record.paths if path != CROISSANT]
    data = {path: known[path] if path in known and path != CARD else _entry(root / path) for path in paths}
    write_croissant(root, record.with_files(data))
    record = record.with_files({**data, CROISSANT: _entry(root / CROISSANT)})
    write_record(root, record)
    return record


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "bytes": path.stat().st_size}


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
    units = {marker["view"]: marker for marker in reversed(rows.markers)}  # each view's first
    facts = {name: marker["facts"] | _cut_prompts(rows, name) for name, marker in units.items() if marker.get("facts")}
    facts |= {view.name: facts[parts_of(view, build.views)[0].name] for view in build.residuals}
    scanned = len(build.manifest) + len(source_refusals(build))
    refused = count_refused(rows.refusals)
    return Section(
        source=build.recipe.source.name.partition(":")[0], title=build.recipe.name, prefix="",
        license=build.source_facts["license"], license_name=build.source_facts["license_name"],
        sensitive=build.source_facts["sensitive"],
        scanned=scanned, refused=refused, removed=scanned - refused - sum(rows.splits.values()),
        splits=rows.splits,
        views=tuple(_public_view(build, view) | _own_settings(build, view.name) for view in build.published_views),
        settings=public["settings"] | _chosen(public["source"]),
        software=next(iter(units.values()))["software"],
        devices=tuple(sorted({marker["device"] for marker in rows.markers})),
        pca_dims=build.recipe.pca_dims, shard_rows=build.recipe.shard_rows,
        facts=facts, weights=public.get("weights", {}), identity=build.source_facts.get("identity"),
    )  # fmt: skip


def _cut_prompts(rows: Rows, view: str) -> dict[str, float]:
    """How many rows of a view have a prompt that the model read in part alone, where there are any."""
    count = sum(marker.get(CUT_PROMPTS, 0) for marker in rows.markers if marker["view"] == view)
    return {CUT_PROMPTS: float(count)} if count else {}


def _chosen(source: dict[str, Any]) -> dict[str, Any]:
    """Which images, beside the settings: the source, how many, and of which split where one was asked for."""
    split = {"split": source["split"]} if "split" in source else {}
    return {"source": source["name"], "limit": source["limit"], **split}


def _own_settings(build: Build, name: str) -> dict[str, Any]:
    """The settings of one view that differ from the recipe's, as its row of the record has them."""
    own, every = (s.model_dump(mode="json") for s in (build.recipe.settings_of(name), build.recipe.settings))
    differ = {key: value for key, value in own.items() if every[key] != value}
    return {"settings": differ} if differ else {}


def _public_view(build: Build, view: zoo.View) -> dict[str, Any]:
    """A row of the zoo without this machine's paths; with the half precision that a GPU chose."""
    row = {name: value for name, value in asdict(view).items() if name not in zoo.UNRECORDED}
    chosen = build.arithmetic(view)
    row |= {"half": chosen["dtype"]} if chosen.get("dtype") in ("float16", "bfloat16") else {}
    return {**row, "repo": public_name(view.repo), "shape": list(view.shape), "dtype": view.dtype}


def refused_by_views(refusals: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Ids of the images that any view refused."""
    return frozenset(refusal["image_id"] for refusal in refusals if refusal["stage"] != "source")


def count_refused(refusals: Sequence[Mapping[str, Any]]) -> int:
    """Number of images refused; one that several views refused counts once.

    What the source refused counts by the line: it may be a second row of an id whose first is kept.
    """
    return [refusal["stage"] for refusal in refusals].count("source") + len(refused_by_views(refusals))


def write_refusals(path: Path, refusals: Sequence[Mapping[str, Any]]) -> None:
    """Commit one JSON line a refusal."""
    write_text(path, "".join(json.dumps(dict(each), sort_keys=True) + "\n" for each in refusals))


def read_refusals(path: Path) -> list[dict[str, Any]]:
    """What `write_refusals` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def discard_damaged(build: Build) -> None:
    """Withdraw the markers of parts whose bytes have changed, so that the next run computes them again."""
    for unit, marker in zip(build.all_units(), build.markers(), strict=True):
        if marker is not None and sha256_of(build.store.fetch(unit.part)) != marker["sha256"]:
            build.store.remove(unit.marker_path)


def is_finished(build: Build) -> bool:
    """Whether the published folder was made of exactly these parts, and its files are there."""
    record = build.store.read_json(build.state / DATASET)
    if record is None or None in (markers := build.markers()) or record["build"] != build_digest(build, markers):
        return False
    return all(build.store.size(build.root / name) is not None for name in record["sha256"])


def build_digest(build: Build, markers: Sequence[dict[str, Any] | None]) -> str:
    """SHA-256 over what the published files are made from: the parts, the order and the publishing settings."""
    parts = [(each["view"], each["slice"], each["sha256"]) for each in _complete(markers)]
    settings = [build.manifest.digest, build.recipe.shard_rows, build.recipe.pca_dims, sorted(removed_ids(build.root))]
    settings += [view.name for view in build.residuals]
    return hashlib.sha256(json.dumps([parts, settings]).encode()).hexdigest()


def _complete(markers: Sequence[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """The markers of all units, of which none may be missing."""
    if missing := markers.count(None):
        raise IncompleteError(f"{missing} of {len(markers)} units are missing: run the build again")
    return [marker for marker in markers if marker is not None]


def _write_view(build: Build, view: zoo.View, rows: Rows, section: Section) -> None:
    from datasets import Features

    units = build.units(view)

    def tables(split: str) -> Iterator[pa.Table]:
        part = build.manifest.splits[split]
        return (pq.read_table(build.store.fetch(unit.part)) for unit in units if unit.rows.start in part)

    features = Features.from_arrow_schema(pq.read_schema(build.store.fetch(units[0].part)))
    write_config(build.root, section, view.name, features, tables, rows.dropped)


def _write_labels(build: Build, rows: Rows, section: Section) -> None:
    from datasets import Features, Value

    own = Features.from_dict(dict(build.source_facts["features"]))
    features = Features({ID: Value("string"), SPLIT: Value("string"), **own})
    table = build.manifest.table.select(list(features))

    def tables(split: str) -> Iterator[pa.Table]:
        return (table.slice(part.start, len(part)) for part in cut(build.manifest.splits[split], CHUNK))

    write_config(build.root, section, LABELS, features, tables, rows.dropped)
