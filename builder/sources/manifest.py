"""The manifest: the frozen, ordered list of a source's images. What row k is, for ever."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.files import committed
from noisezoo.schema import ID, SPLIT, name_faults
from .balance import balanced, indicators
from .source import Refusal, Source, hash_unit

if TYPE_CHECKING:
    import pyarrow as pa

    from noisezoo.builder.recipe import SourceSpec

KEY, SHA, GROUP = "key", "sha256", "group"
RANK = ".rank"  # column of a limited manifest: each row's place in the sample, which a larger limit goes on with

READ_TOGETHER = 64
SPARE_ROWS = 1000
"""At most this many images that a limit leaves out are kept, for views that learn from other images than the rows."""

SPLITS: Mapping[str, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}
"""Names and shares of the splits that we make."""


def split_of(group: str, seed: int) -> str:
    """The split of an image: a seeded hash of its id, or of its identity if the source has identities.

    Nothing else decides, so adding images to a source moves no image that is already there.
    """
    u = hash_unit(f"split/{seed}/{group}")
    for name, share in SPLITS.items():
        if u < share:
            return name
        u -= share
    return list(SPLITS)[-1]


@dataclass(frozen=True)
class Manifest:
    """Rows in order of split, then of the source: `image_id`, `split`, `key`, `sha256` of the content, labels.

    With a limit, rows of a split are in the order of the sample, so that a larger limit only appends to each split.
    """

    table: "pa.Table"

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def ids(self) -> list[str]:
        """All image ids, in order."""
        return list(self.table.column(ID).to_pylist())

    @cached_property
    def keys(self) -> list[str]:
        """What the source reads each image by, in order."""
        return list(self.table.column(KEY).to_pylist())

    @cached_property
    def hashes(self) -> list[str]:
        """SHA-256 of each image's content, in order."""
        return list(self.table.column(SHA).to_pylist())

    @cached_property
    def ranks(self) -> list[int] | None:
        """Each row's place in the sample; None where no limit was given."""
        return self.table.column(RANK).to_pylist() if RANK in self.table.column_names else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, splits and content hashes, in order."""
        return self.digest_of(range(len(self)))

    def digest_of(self, rows: range) -> str:
        """`digest` of some of the rows; a few rows at a time, as there may be millions."""
        digest, separator = hashlib.sha256(), ""
        table = self.table.select([ID, SPLIT, SHA]).slice(rows.start, len(rows))
        for batch in table.to_batches(max_chunksize=4096):
            columns = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            digest.update((separator + "\n".join("\t".join(row) for row in columns)).encode())
            separator = "\n"
        return digest.hexdigest()

    def first(self, limit: int) -> "pa.Table":
        """The rows of the sample's first `limit` images."""
        import pyarrow.compute as pc

        return self.table.filter(pc.less(self.table.column(RANK), limit))

    @cached_property
    def splits(self) -> dict[str, range]:
        """The rows of each split, in order."""
        names = np.asarray(self.table.column(SPLIT).to_pylist())
        starts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
        return {str(names[a]): range(a, b) for a, b in zip(starts, starts[1:], strict=False)}

    def slices(self, rows: int) -> list[range]:
        """Units of at most `rows` rows, none across two splits: fixed by the manifest, whoever works.

        With a limit they are in the order of their first images in the sample: a larger limit only appends units.
        """
        units = [part[i : i + rows] for part in self.splits.values() for i in range(0, len(part), rows)]
        ranks = self.ranks
        return units if ranks is None else sorted(units, key=lambda unit: ranks[unit.start])

    def save(self, path: Path) -> None:
        """Commit the manifest as one Parquet file."""
        import pyarrow.parquet as pq

        with committed(path) as temporary:
            pq.write_table(self.table, temporary, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read what `save` wrote.

        Raises:
            NoiseZooError: The file was damaged since.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return cls(pq.read_table(path))
        except pa.ArrowInvalid as error:
            raise NoiseZooError(f"{path} is damaged: put back a copy of it, or build into a new folder") from error


def freeze(source: Source, spec: "SourceSpec") -> tuple[Manifest, list[Refusal]]:
    """Scan a source, choose its rows, hash every image and fix the order.

    Returns:
        The manifest, and the refusals: what the source left out, rows whose content cannot be read, and rows whose id
        was seen before. Every other scanned and chosen row is in the manifest.

    Raises:
        UsageError: No image is left, a label column has the name of one of the manifest's own, or the source's own
            splits have an unfit name, or an identity on both sides.
    """
    taken = [name for name in source.label_features() if name in (ID, SPLIT, KEY, SHA, GROUP, RANK)]
    if taken:
        raise UsageError(
            f"source {spec.name}: its label column {taken[0]!r} has a name of the manifest's own: rename it"
        )
    table = chosen_rows(source, spec)
    _check_splits(table, spec)
    if spec.limit is not None:
        table = table.take(_first(table, spec, min(spec.limit, len(table)), source.stratify))
        table = table.append_column(RANK, [range(len(table))])
    hashes, unread = _hash(source, table)
    refusals = source.refusals() + unread
    kept = [i for i, digest in enumerate(hashes) if digest is not None]
    if not kept:
        reason = f": {refusals[0].message}" if refusals else ""
        raise UsageError(f"source {spec.name} has no images that can be read{reason}")
    table = table.take(kept).append_column(SHA, [[hashes[i] for i in kept]])
    return Manifest(_order(with_splits(table, spec.split_seed))), refusals


def chosen_rows(source: Source, spec: "SourceSpec") -> "pa.Table":
    """The rows of the split that the recipe asks for, or all."""
    mend = "leave out --split, and a seeded hash divides its rows"
    return source.scan() if spec.split is None else rows_of_split(source, spec.name, spec.split, mend)


def rows_of_split(source: Source, name: str, split: str, mend: str) -> "pa.Table":
    """The rows of one of a source's own splits, in its own order.

    Raises UsageError where it has no splits, which `mend` says what to do about, or none of that name.
    """
    import pyarrow.compute as pc

    table = source.scan()
    if SPLIT not in table.column_names:
        raise UsageError(f"source {name} has no splits of its own: {mend}")
    there = table.column(SPLIT).unique().to_pylist()
    if split not in there:
        raise UsageError(f"source {name} has no split {split!r}; it has: {', '.join(map(str, there))}, or all")
    return table.filter(pc.equal(table.column(SPLIT), split))


def spare_keys(source: Source, spec: "SourceSpec", count: int = SPARE_ROWS) -> list[str]:
    """Keys of at most `count` images that the limit leaves out of the dataset, those that would come next."""
    if spec.limit is None or spec.limit >= len(table := chosen_rows(source, spec)):
        return []
    rows = _first(table, spec, min(spec.limit + count, len(table)), source.stratify)
    keys: list[str] = table.column(KEY).take(rows[spec.limit :]).to_pylist()
    return keys


def _first(table: "pa.Table", spec: "SourceSpec", count: int, stratify: Sequence[str]) -> np.ndarray:
    """The `count` rows of lowest seeded hash, so that a larger limit keeps a smaller one's rows.

    If the source asks for it, each beginning of their order is balanced in the labels `stratify` and in the splits.
    """
    rank = [hash_unit(f"limit/{spec.split_seed}/{image_id}") for image_id in table.column(ID).to_pylist()]
    order = np.argsort(rank, kind="stable")
    if not stratify:
        return order[:count]
    columns = [table.column(name) for name in (*stratify, SPLIT) if name in table.column_names]
    return balanced(order, indicators(columns), count)


def _hash(source: Source, table: "pa.Table") -> tuple[list[str | None], list[Refusal]]:
    """SHA-256 of each row's content, None for a row that is refused; and the refusals."""
    ids, keys = table.column(ID).to_pylist(), table.column(KEY).to_pylist()
    contents = (
        content for i in range(0, len(keys), READ_TOGETHER) for content in source.contents(keys[i : i + READ_TOGETHER])
    )
    hashes: list[str | None] = []
    refusals: list[Refusal] = []
    seen: set[str] = set()
    for image_id, content in zip(ids, contents, strict=True):
        error = ValueError(f"duplicate id {image_id!r}; its first row is kept") if image_id in seen else content
        seen.add(image_id)
        if isinstance(error, Exception):
            refusals.append(Refusal.from_error(image_id, "source", error))
        hashes.append(None if isinstance(error, Exception) else hashlib.sha256(error).hexdigest())
    return hashes, refusals


def with_splits(table: "pa.Table", seed: int) -> "pa.Table":
    """The source's own splits, or a seeded hash of the identity (of the id, if there are no identities)."""
    if SPLIT in table.column_names:
        return table
    by = GROUP if GROUP in table.column_names else ID
    return table.append_column(SPLIT, [[split_of(str(value), seed) for value in table.column(by).to_pylist()]])


def _check_splits(table: "pa.Table", spec: "SourceSpec") -> None:
    """Refuse own splits with an unfit name, or an identity on both sides: a test would meet people of the training."""
    if SPLIT not in table.column_names:
        return
    for fault in name_faults((), (), table.column(SPLIT).unique().to_pylist()):
        raise UsageError(f"the source's {fault}: rename it, or set the source's option splits: hash")
    if GROUP in table.column_names:
        sides = table.group_by(GROUP).aggregate([(SPLIT, "count_distinct")]).to_pylist()
        for group in (each[GROUP] for each in sides if each[f"{SPLIT}_count_distinct"] > 1):
            raise UsageError(
                f"source {spec.name}: identity {group} is in two of its splits; set its option splits: hash"
            )


def _order(table: "pa.Table") -> "pa.Table":
    """Rows by split, train first, in their order within a split; our own columns first."""
    names, known = table.column(SPLIT).to_pylist(), list(SPLITS)
    rank = {name: (known.index(name) if name in known else len(known), name) for name in set(names)}
    order = sorted(range(len(names)), key=lambda i: rank[names[i]])
    own = [ID, SPLIT, KEY, SHA]
    return table.take(order).select(own + [name for name in table.column_names if name not in (*own, GROUP)])
