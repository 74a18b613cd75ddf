"""The shards of one source's configs: the same rows in the same order in every one, of the dtypes that the record says.

All configs have the same shard boundaries, so that one shard of the labels is held beside one block of a view.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisezoo.builder.dataset import refuse_unpublishable
from noisezoo.errors import NoiseZooError
from noisezoo.pca import Basis
from noisezoo.record import LABELS, PAIRED, Section
from noisezoo.schema import ID, PREVIOUS, SPLIT, array_feature, name_faults
from .checked_files import CheckedFiles
from .columns import Contents, Projection, Wanted, differing, read_contents

if TYPE_CHECKING:
    from datasets import Features


@dataclass(frozen=True)
class Shard:
    """One shard of a split in every config, and how many rows it has."""

    split: str
    rows: int
    paths: dict[str, str]  # config, without the source's prefix -> path of its file


class Shards:
    """The checks of one source's Parquet files and bases."""

    def __init__(self, files: CheckedFiles, section: Section, refused: frozenset[str]) -> None:
        """Faults go to `files`, and only files that are sound are read; `refused` ids may not be in them."""
        self.files, self.section, self.refused = files, section, refused
        self.views = {view["name"]: view for view in section.views}
        self.firsts: dict[str, Features] = {}  # config -> features of its first shard that can be read
        self.hashes: dict[str, np.ndarray] = {}  # file of labels -> hashes of its ids, 8 bytes a row

    def check(self) -> None:
        """Shard by shard, so that memory does not grow with their number."""
        size, files = self.section.shard_rows, {name: self.section.shards(name) for name in self.section.names}
        for split, count in self.section.splits.items():
            for number, start in enumerate(range(0, count, size)):
                paths = {name: own[split][number] for name, own in files.items()}
                self._check_shard(Shard(split, min(size, count - start), paths))
        self._check_duplicates()
        labels = [name for name in self.firsts.get(LABELS, ()) if name not in (ID, SPLIT)]
        for fault in name_faults(labels, self.views, self.section.splits):
            where = self.section.prefix + LABELS
            self.files.found("names", where, fault, mend="rename it in the source and build again")

    @cached_property
    def bases(self) -> dict[str, Basis | None]:
        """The basis of each view that is reduced in `paired`; None where the file is missing or damaged."""
        return {name: self._basis(name) for name in self.section.reduced}

    @cached_property
    def widths(self) -> dict[str, int]:
        """Numbers that `paired` holds of a row of each view whose basis is sound."""
        whole = {name: size for name, size in self.section.sizes.items() if name not in self.bases}
        return whole | {name: len(basis.components) for name, basis in self.bases.items() if basis is not None}

    def _basis(self, name: str) -> Basis | None:
        where, size = self.section.basis(name), self.section.sizes[name]
        if not self.files.is_sound(where):
            return None
        try:
            basis = Basis.read(self.files.root / where)
        except Exception as error:  # the reader of safetensors has its own
            self.files.found("basis", where, f"it cannot be read ({type(error).__name__})")
            return None
        k, arrays = len(basis.components), vars(basis).values()
        shapes = [array.shape for array in arrays]
        if shapes != [(size,), (k, size), (k,)] or not 0 < k <= self.section.pca_dims:
            self.files.found("basis", where, f"its arrays are {shapes}, which is no basis of {size} numbers")
            return None
        if not all(np.isfinite(array).all() for array in arrays):
            self.files.found("basis", where, "it holds values that are not finite")
            return None
        return basis

    def _check_shard(self, shard: Shard) -> None:
        contents = {name: self._contents(name, path, shard.rows) for name, path in shard.paths.items()}
        labels = contents.pop(LABELS)
        if labels is None:
            return
        self._check_labels(labels, shard)
        aligned = {n: each for n, each in contents.items() if each and self._pairs(labels, each, shard.paths[n])}
        paired = aligned.pop(PAIRED, None)
        if paired is not None:
            self._check_paired(labels, paired, aligned, shard)

    def _contents(self, name: str, where: str, rows: int) -> Contents | None:
        """What one file holds, after the checks of the file alone; None where it cannot be compared with others."""
        if not self.files.is_sound(where):
            return None
        try:
            there, columns = pq.read_metadata(self.files.root / where).num_rows, self._check_features(name, where)
            if there != rows:
                self.files.found("rows", where, f"it has {there} rows where the record's splits give {rows}")
            return read_contents(self.files, where, columns) if there == rows and ID in columns else None
        except (pa.ArrowException, OSError, ValueError) as error:
            self.files.found("parquet", where, f"it cannot be read ({str(error).splitlines()[0][:200]})")
            return None

    def _check_features(self, name: str, where: str) -> dict[str, Wanted]:
        """The columns that are as they should be, after findings of those that are not."""
        from datasets import Features

        path = self.files.root / where
        try:
            refuse_unpublishable(where, path)
        except NoiseZooError as error:
            message, _, mend = str(error).rpartition(": ")
            self.files.found("dtypes", where, message, mend=mend)
        there = Features.from_arrow_schema(pq.read_schema(path))
        columns = self._wanted(name, there)
        wanted = {column: each.feature for column, each in columns.items()} | dict(self.firsts.get(name, {}))
        for column in dict.fromkeys((*wanted, *there)):
            if there.get(column) != wanted.get(column):
                message = f"column {column} is {there.get(column)} where {wanted.get(column)} belongs"
                self.files.found("dtypes", where, message)
        fine = Features({column: kind for column, kind in there.items() if wanted.get(column) == kind})
        self.firsts.setdefault(name, fine)
        return {column: columns[column] for column in fine}

    def _wanted(self, name: str, there: "Features") -> dict[str, Wanted]:
        """Column -> what the record wants it to be; of labels and quality columns, what is there is right."""
        from datasets import Value

        if name == LABELS:
            own = {ID: Wanted(Value("string")), SPLIT: Wanted(Value("string"))}
            return {column: Wanted(kind) for column, kind in there.items()} | own
        if name == PAIRED:
            labels = self.firsts.get(LABELS, there)  # where no file of labels is whole, any
            scores = {
                view: Wanted(array_feature((width,), "float32"), width, Projection.of_scores(width))
                for view, width in self.widths.items()
            }
            unknown = {view: Wanted(there.get(view)) for view in self.views if view not in scores}
            return {column: Wanted(kind) for column, kind in labels.items()} | scores | unknown
        size, basis = self.section.sizes[name], self.bases.get(name)
        feature = array_feature(tuple(self.views[name]["shape"]), self.views[name]["dtype"])
        sketch = Projection.of_view(basis) if basis else Projection.of_scores(size) if name in self.widths else None
        arrays = {name: Wanted(feature, size, sketch)}
        if PREVIOUS in there:
            arrays[PREVIOUS] = Wanted(feature, size)
        return {**dict.fromkeys(there, Wanted(Value("float32"), 1)), ID: Wanted(Value("string")), **arrays}

    def _check_labels(self, labels: Contents, shard: Shard) -> None:
        where, ids = shard.paths[LABELS], labels.ids.to_pylist()
        self.hashes[where] = np.fromiter(map(hash, ids), np.int64, len(ids))
        for row, image_id in enumerate(ids):
            if image_id in self.refused:
                self.files.found("accounting", where, "a refused image is in the configs", row, image_id)
        splits = labels.kept.column(SPLIT).to_pylist() if SPLIT in labels.kept.column_names else []
        wrong = next((row for row, split in enumerate(splits) if split != shard.split), None)
        if wrong is not None:
            message = f"its split is {splits[wrong]!r} in a file of {shard.split!r}"
            self.files.found("splits", where, message, wrong, ids[wrong])

    def _pairs(self, labels: Contents, other: Contents, where: str) -> bool:
        """Whether a config's ids are those of the labels, in their order."""
        row = _first_difference(labels.ids, other.ids)
        if row is not None:
            wanted, found = labels.ids[row].as_py(), other.ids[row].as_py()
            message = f"its id is {found!r} where labels has {wanted!r}, so that views do not pair"
            self.files.found("pairing", where, message, row, found)
        return row is None

    def _check_paired(self, labels: Contents, paired: Contents, views: dict[str, Contents], shard: Shard) -> None:
        """`paired` must repeat the labels, and hold each view or its scores."""
        faults: list[tuple[str, int | None]] = []
        for column in (column for column in labels.kept.column_names if column in paired.kept.column_names):
            row = _first_difference(labels.kept.column(column), paired.kept.column(column))
            faults.append((f"{column} is not what labels has", row))
        for name in (name for name in views if name in views[name].sketches and name in paired.sketches):
            rows = differing(paired.sketches[name], views[name].sketches[name])
            how = f"the view {name}{' on its basis' * (name in self.bases)} (in {len(rows)} of {shard.rows} rows)"
            faults.append((f"{name} is not {how}", int(rows[0]) if len(rows) else None))
        for message, row in faults:
            if row is not None:
                self.files.found("paired", shard.paths[PAIRED], message, row, labels.ids[row].as_py())

    def _check_duplicates(self) -> None:
        """Find ids that come twice; those of equal hashes are read again, as two ids may share a hash."""
        values, counts = np.unique(np.concatenate([np.empty(0, np.int64), *self.hashes.values()]), return_counts=True)
        suspects, seen = values[counts > 1], set[str]()
        for where, hashes in self.hashes.items():
            rows = np.flatnonzero(np.isin(hashes, suspects))
            column = pq.read_table(self.files.root / where, columns=[ID]).column(ID) if len(rows) else None
            for row in rows.tolist():
                image_id = column[row].as_py()  # type: ignore[index]
                if image_id in seen:
                    self.files.found("ids", where, "the id comes twice", row, image_id)
                seen.add(image_id)


def _first_difference(a: pa.ChunkedArray | pa.Array, b: pa.ChunkedArray | pa.Array) -> int | None:
    """The first row in which two columns of one length differ; a NaN is like a NaN."""
    if a.equals(b):
        return None
    pairs = enumerate(zip(a.to_pylist(), b.to_pylist(), strict=True))
    return next((i for i, (x, y) in pairs if x != y and not (x != x and y != y)), None)
