"""The published files: one config after another, all with the same rows and the same shard boundaries."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noisezoo.files import clean_up, committed
from noisezoo.pca import PCA_ROWS, Basis, constant_basis, fit_pca
from noisezoo.record import CARD, LABELS, PAIRED, RECORD, Record, Section, read_record
from noisezoo.schema import (
    ID,
    array_feature,
    column_to_numpy,
    cut_tables,
    open_parquet,
    to_table,
    view_features,
    write_parquet,
)
from noisezoo.zoo import View

if TYPE_CHECKING:
    from datasets import Features

CHUNK = 1024
STAGED = ".staged"
"""Hidden folder of a dataset in which its next version is made; it is no part of the dataset."""
Tables = Callable[[str], Iterator[pa.Table]]
"""Split -> its rows, in order, in tables of any lengths."""


@dataclass(frozen=True)
class Config:
    """One config of the dataset: its features and its files, split by split."""

    name: str
    features: "Features"
    files: dict[str, list[Path]]

    @property
    def paths(self) -> list[Path]:
        """All files, in order."""
        return [path for paths in self.files.values() for path in paths]


def read_config(root: Path, section: Section, name: str) -> Config:
    """The config of a view, of `labels` or of `paired` that lies there, with the features of its first file."""
    from datasets import Features

    files = {split: [root / path for path in paths] for split, paths in section.shards(name).items()}
    first = next(path for paths in files.values() for path in paths)
    return Config(section.prefix + name, Features.from_arrow_schema(pq.read_schema(first)), files)


def version_by(content: str) -> str:
    """The version that cards give to content: other content, another version."""
    return f"1.0.{int(sha256(content.encode()).hexdigest()[:12], 16)}"


def read_configs(root: Path, record: Record) -> list[tuple[Section, Config]]:
    """Every config that lies there, with its section, in order."""
    return [(section, read_config(root, section, name)) for section in record.sections for name in section.names]


def write_config(
    root: Path, section: Section, name: str, features: "Features", tables: Tables, drop: Iterable[str] = ()
) -> None:
    """Write the shards of a view, of `labels` or of `paired`, each under its final name only when it is whole.

    Shards of another count are removed. `tables` are cast to `features`; rows with ids in `drop` are left out.
    """
    dropped = pa.array(sorted(drop), pa.string())

    def kept(split: str) -> Iterator[pa.Table]:
        for table in tables(split):
            stays = pc.invert(pc.is_in(table.column(ID), value_set=dropped))
            yield table.filter(stays).cast(features.arrow_schema)

    files = section.shards(name)
    for split, paths in files.items():
        for path, rows in zip(paths, cut_tables(kept(split), section.shard_rows), strict=True):
            clean_up((root / path).parent)
            with committed(root / path) as temporary:
                write_parquet(temporary, features, rows)
    wanted = {root / path for paths in files.values() for path in paths}
    for stale in set((root / f"{section.prefix}{name}").glob("*.parquet")) - wanted:
        stale.unlink()


def write_paired(root: Path, section: Section) -> None:
    """The paired config and its bases, from the labels and the views that lie there already."""
    from datasets import Features

    labels = read_config(root, section, LABELS)
    views = {name: read_config(root, section, name) for name in section.view_names}
    bases = {name: _fit(root, section, views[name], name) for name in section.reduced}
    widths = section.sizes | {name: len(basis.components) for name, basis in bases.items()}
    arrays = {name: array_feature((width,), "float32") for name, width in widths.items()}
    features = Features({**labels.features, **arrays})

    def tables(split: str) -> Iterator[pa.Table]:
        columns = [blocks(views[name].files[split], name) for name in views]
        for own, *chunks in zip(read_tables(labels.files[split], CHUNK), *columns, strict=True):
            held: dict[str, Any] = {name: own.column(name).combine_chunks() for name in labels.features}
            for name, X in zip(views, chunks, strict=True):
                held[name] = bases[name].transform(X) if name in bases else X
            yield to_table(features, held)

    write_config(root, section, PAIRED, features, tables)


def write_residual(root: Path, section: Section, view: View, noise: str, image: str, a: float) -> None:
    """Write the config of a residual view from those of its noise x_T and of the image z0, which lie there.

    The stored float16 rows are subtracted in float32 and rounded once, so that any reader can do it again.
    """
    features = view_features(view.name, view.shape, view.dtype, ())
    x_T, z0 = (read_config(root, section, name) for name in (noise, image))

    def tables(split: str) -> Iterator[pa.Table]:
        arrays = (blocks(config.files[split], name) for config, name in ((x_T, noise), (z0, image)))
        for ids, x, z in zip(read_tables(x_T.files[split], CHUNK, [ID]), *arrays, strict=True):
            rest = (x - np.float32(a) * z).reshape(-1, *view.shape).astype(view.dtype)
            yield to_table(features, {ID: ids.column(ID).combine_chunks(), view.name: rest})

    write_config(root, section, view.name, features, tables)


def _fit(root: Path, section: Section, config: Config, name: str) -> Basis:
    """The PCA of a view on the first split's first rows.

    One image, or images that are all alike, have no principal components: a try with one photograph still ends well.
    """
    head: list[np.ndarray] = []
    for block in blocks(next(iter(config.files.values())), name):
        head.append(block)
        if sum(map(len, head)) >= PCA_ROWS:
            break
    X = np.concatenate(head)[:PCA_ROWS]
    basis = fit_pca(X, section.pca_dims) if (X != X[0]).any() else constant_basis(X[0])
    path = root / section.basis(name)
    clean_up(path.parent)
    with committed(path) as temporary:
        basis.save(temporary)
    return basis


def blocks(files: Iterable[Path], name: str) -> Iterator[np.ndarray]:
    """A view's rows as float32 (CHUNK, d) blocks, in order, cut alike for every column of a split's files."""
    for table in read_tables(files, CHUNK, [name]):
        yield column_to_numpy(table.column(name)).astype(np.float32)


def read_tables(files: Iterable[Path], rows: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of some files, in order, in tables of at most `rows`."""
    for path in files:
        with open_parquet(path) as file:
            for batch in file.iter_batches(rows, columns=columns):
                yield pa.Table.from_batches([batch])


def staging(root: Path) -> Path:
    """Where a dataset's next version is made: a folder of the dataset's own name, as the card says that name."""
    return root / STAGED / root.resolve().name


def place(file: Path, target: Path) -> None:
    """The same file under another name: a link, or a copy where the two lie on different disks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def withdraw(root: Path) -> None:
    """Delete card and record: a folder without them is no dataset, and is not loaded, verified or published."""
    for name in (CARD, RECORD):
        (root / name).unlink(missing_ok=True)


def exchange(root: Path) -> bool:
    """Put the staged version in the place of the folder's own; False where none was staged whole.

    The staged record is the journal: it is written last and moved last. After a kill the next call goes on, and until
    then the folder has no card and no record: it is no dataset.
    """
    staged = staging(root)
    record = read_record(staged)
    if record is not None:
        if (staged / CARD).exists():
            withdraw(root)
        for path in (*(path for path in record.files if path != CARD), CARD):
            if (staged / path).exists():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged / path, root / path)
        for folder in (root / config for section in record.sections for config in section.configs):
            for file in (*folder.glob("*.parquet"), *folder.glob("basis/*.safetensors")):
                if str(file.relative_to(root)) not in record.files:  # of the version before
                    file.unlink()
        os.replace(staged / RECORD, root / RECORD)
    shutil.rmtree(root / STAGED, ignore_errors=True)
    return record is not None
