"""From parts to the published folder: one config a view, `labels`, and the default `paired` with its PCA bases.

Everything is read from markers and parts, never from directory listings; a build that is not complete is refused.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo import zoo
from noisezoo.builder.build import Build, Unit, source_refusals
from noisezoo.builder.provenance import public_recipe
from noisezoo.builder.sources import Refusal
from noisezoo.errors import IncompleteError, NoiseZooError
from noisezoo.files import committed, read_json, sha256_of, sweep, write_json
from noisezoo.loading import LABELS, PAIRED
from noisezoo.pca import Basis, constant_basis, fit_pca
from noisezoo.schema import ID, SPLIT, array_feature, column_to_numpy, to_table, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

PCA_ROWS = 8192
"""At most this many rows of the first split decide a PCA basis, so that memory does not grow with the dataset."""
CHUNK = 1024


@dataclass(frozen=True)
class Config:
    """One config of the dataset: its features and its files, split by split."""

    name: str
    features: "Features"
    files: dict[str, list[Path]]


@dataclass(frozen=True)
class Rows:
    """Which manifest rows are published: all but those that any view refused, so that views pair by position."""

    build: Build

    @cached_property
    def refusals(self) -> list[Refusal]:
        """Every refusal of every view and of the source."""
        found = [Refusal(**refusal) for unit in self.build.all_units() for refusal in _marker(unit)["refusals"]]
        return source_refusals(self.build) + found

    @cached_property
    def kept(self) -> np.ndarray:
        """Mask over the manifest: (n,) bool."""
        refused = {refusal.image_id for refusal in self.refusals if refusal.stage != "source"}
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
    configs = [_publish_labels(build, rows), *(_publish_view(build, view, rows) for view in build.views)]
    bases = {view.name: basis for view in build.views if (basis := _fit_basis(build, view, rows)) is not None}
    configs.insert(0, _publish_paired(build, rows, configs, bases))
    _write_refusals(build, rows)
    software = _marker(next(build.all_units()))["software"]
    write_json(build.root / "recipe.json", {**public_recipe(build), "software": software})
    from noisezoo.builder.card import write_card

    write_card(build, rows, configs, bases)
    files = [path for config in configs for paths in config.files.values() for path in paths]
    files += [_basis_path(build, name) for name in bases]
    files += [build.root / name for name in ("README.md", "recipe.json", "refusals.jsonl")]
    write_json(build.state / "dataset.json", {"build": build_digest(build), "sha256": _hashes(build, files)})


def _sweep(build: Build) -> None:
    """Remove what publishers and fits that were killed left behind; shards' folders are swept as they are written."""
    for folder in (build.root, build.root / PAIRED / "basis", build.state / "fits"):
        sweep(folder)
    sweep(build.state, "dataset.json")


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
    settings = [build.manifest.digest, build.recipe.shard_rows, build.recipe.pca_dims]
    return hashlib.sha256(json.dumps([parts, settings]).encode()).hexdigest()


def _marker(unit: Unit) -> dict[str, Any]:
    marker = unit.marker()
    if marker is None:
        raise IncompleteError(f"{unit.view.name} slice {unit.number} is missing: run the build again")
    return marker


def _publish_view(build: Build, view: zoo.View, rows: Rows) -> Config:
    import pyarrow.parquet as pq
    from datasets import Features

    features = Features.from_arrow_schema(pq.read_schema(build.units(view)[0].part))

    def tables(split: str) -> Iterator["pa.Table"]:
        part = build.manifest.splits[split]
        for unit in build.units(view):
            if unit.rows.start in part:
                table = pq.read_table(unit.part)
                yield table.filter(_published(table, unit, rows)).cast(features.arrow_schema)

    return _write_config(build, view.name, features, rows, tables)


def _published(table: "pa.Table", unit: Unit, rows: Rows) -> "pa.Array":
    import pyarrow as pa

    kept = {i for i, keep in zip(unit.ids, rows.kept[unit.rows.start : unit.rows.stop], strict=True) if keep}
    return pa.array([image_id in kept for image_id in table.column(ID).to_pylist()], type=pa.bool_())


def _label_features(build: Build) -> "Features":
    from datasets import Features, Value

    own = Features.from_dict(dict(build.source_facts["features"]))
    return Features({ID: Value("string"), SPLIT: Value("string"), **own})


def _label_tables(build: Build, rows: Rows, split: str, features: "Features") -> Iterator["pa.Table"]:
    part = build.manifest.splits[split]
    mask = rows.kept[part.start : part.stop]
    import pyarrow as pa

    table = build.manifest.table.slice(part.start, len(part)).filter(pa.array(mask))
    yield table.select(list(features)).cast(features.arrow_schema)


def _publish_labels(build: Build, rows: Rows) -> Config:
    features = _label_features(build)
    return _write_config(build, LABELS, features, rows, lambda split: _label_tables(build, rows, split, features))


def _fit_basis(build: Build, view: zoo.View, rows: Rows) -> Basis | None:
    """The PCA of a view that is larger than the recipe's `pca_dims`, on the first split; None for a smaller view.

    One image, or images that are all alike, have no principal components: a try with one photograph still ends well.
    """
    if view.size <= build.recipe.pca_dims:
        return None
    split = next(iter(rows.splits))
    head: list[np.ndarray] = []
    for chunk in _column(_config_files(build, view.name, rows)[split], view.name):
        head.append(chunk)
        if sum(map(len, head)) >= PCA_ROWS:
            break
    X = np.concatenate(head)[:PCA_ROWS]
    basis = fit_pca(X, build.recipe.pca_dims) if (X != X[0]).any() else constant_basis(X[0])
    with committed(_basis_path(build, view.name)) as temporary:
        basis.save(temporary)
    return basis


def _basis_path(build: Build, name: str) -> Path:
    return build.root / PAIRED / "basis" / f"{name}.safetensors"


def _publish_paired(build: Build, rows: Rows, configs: list[Config], bases: dict[str, Basis]) -> Config:
    from datasets import Features

    widths = {view.name: len(bases[view.name].components) if view.name in bases else view.size for view in build.views}
    labels = _label_features(build)
    features = Features({**labels, **{name: array_feature((width,), "float32") for name, width in widths.items()}})
    files = {config.name: config.files for config in configs}

    def tables(split: str) -> Iterator["pa.Table"]:
        label_rows = next(iter(_label_tables(build, rows, split, labels)))
        start = 0
        for chunks in zip(*(_column(files[view.name][split], view.name) for view in build.views), strict=True):
            n = len(chunks[0])
            named = zip(build.views, chunks, strict=True)
            columns = {v.name: bases[v.name].transform(X) if v.name in bases else X for v, X in named}
            own = label_rows.slice(start, n)
            yield to_table(features, {**{name: own.column(name).combine_chunks() for name in labels}, **columns})
            start += n

    return _write_config(build, PAIRED, features, rows, tables)


def _column(files: Iterable[Path], name: str) -> Iterator[np.ndarray]:
    """A view's rows as float32 (CHUNK, d) blocks, in order across files."""
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(CHUNK, columns=[name]):
                yield column_to_numpy(batch.column(0)).astype(np.float32)


def _config_files(build: Build, name: str, rows: Rows) -> dict[str, list[Path]]:
    """Names of a config's shards: the same boundaries for every config of the dataset."""
    per = build.recipe.shard_rows
    counts = {split: -(-n // per) for split, n in rows.splits.items()}
    folder = build.root / name
    return {s: [folder / f"{s}-{i:05d}-of-{k:05d}.parquet" for i in range(k)] for s, k in counts.items()}


def _write_config(build: Build, name: str, features: "Features", rows: Rows, tables: Any) -> Config:
    files = _config_files(build, name, rows)
    for split, paths in files.items():
        stream = _Stream(tables(split))
        for path in paths:
            sweep(path.parent)
            with committed(path) as temporary:
                write_parquet(temporary, features, stream.take(build.recipe.shard_rows))
    wanted = {path for paths in files.values() for path in paths}
    for stale in set((build.root / name).glob("*.parquet")) - wanted:
        stale.unlink()
    return Config(name, features, files)


class _Stream:
    """Tables one after another, taken `rows` rows at a time."""

    def __init__(self, tables: Iterator["pa.Table"]) -> None:
        self._tables, self._held = tables, None

    def take(self, rows: int) -> Iterator["pa.Table"]:
        """The next `rows` rows, fewer at the end."""
        while rows > 0:
            table = self._held if self._held is not None else next(self._tables, None)
            if table is None:
                return
            self._held = table.slice(rows) if len(table) > rows else None
            yield table.slice(0, rows)
            rows -= min(rows, len(table))


def _write_refusals(build: Build, rows: Rows) -> None:
    """One JSON line a refusal, in order of the stage and the manifest."""
    with committed(build.root / "refusals.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(vars(refusal), sort_keys=True) + "\n" for refusal in rows.refusals))


def _hashes(build: Build, files: Iterable[Path]) -> dict[str, str]:
    return {str(path.relative_to(build.root)): sha256_of(path) for path in sorted(files)}
