"""The shards of one source's configs: the same rows in the same order in every one, of the dtypes that the record says.

All configs have the same shard boundaries, so that one shard of the labels is held beside one block of a view.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from noisezoo.builder.audit.columns import Contents, Projection, differing, read_contents
from noisezoo.builder.dataset import File, basis_path, config_files, refuse_unpublishable
from noisezoo.errors import NoiseZooError
from noisezoo.pca import Basis
from noisezoo.record import LABELS, PAIRED, Section
from noisezoo.schema import ID, PREVIOUS, SPLIT, array_feature, same_values

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

UNREADABLE = "it cannot be read ({}): build again"


class Found(Protocol):
    """Notes a fault."""

    def __call__(
        self, check: str, where: str, message: str, row: int | None = None, image_id: str | None = None
    ) -> None:
        """`row` is counted in the file `where`."""


@dataclass(frozen=True)
class Shard:
    """Where one shard of a split lies in every config, and how many rows it has."""

    split: str
    rows: int
    paths: dict[str, Path]  # config, without the source's prefix -> file


def shards_of(root: Path, section: Section) -> Iterator[Shard]:
    """A source's shards, in order."""
    names = (LABELS, PAIRED, *section.view_names)
    files = {name: config_files(root, section.prefix + name, section.splits, section.shard_rows) for name in names}
    for split, count in section.splits.items():
        for number, start in enumerate(range(0, count, section.shard_rows)):
            paths = {name: files[name][split][number] for name in names}
            yield Shard(split, min(section.shard_rows, count - start), paths)


class Shards:
    """The checks of one source's Parquet files and bases."""

    def __init__(
        self, root: Path, section: Section, refused: frozenset[str], is_sound: Callable[[str], bool], found: Found
    ) -> None:
        """`refused` ids may not be there; files that are not `is_sound` are not looked into."""
        self.root, self.section, self.refused, self.is_sound, self.found = root, section, refused, is_sound, found
        self.sizes = {view["name"]: int(np.prod(view["shape"])) for view in section.views}
        self.firsts: dict[str, Features] = {}  # config -> features of its first shard that can be read
        self.hashes: list[np.ndarray] = []  # of the ids, 8 bytes a row

    def check(self) -> None:
        """Shard by shard, so that memory does not grow with their number."""
        for shard in shards_of(self.root, self.section):
            self._check_shard(shard)
        self._check_duplicates()

    @cached_property
    def bases(self) -> dict[str, Basis | None]:
        """The basis of each view that is reduced in `paired`; None where it is of no use."""
        return {name: self._basis(name, size) for name, size in self.sizes.items() if size > self.section.pca_dims}

    @cached_property
    def widths(self) -> dict[str, int]:
        """Numbers that `paired` holds of a row of each view."""
        whole = {name: size for name, size in self.sizes.items() if name not in self.bases}
        return whole | {name: len(basis.components) for name, basis in self.bases.items() if basis is not None}

    def _basis(self, name: str, size: int) -> Basis | None:
        path = basis_path(self.root, self.section, name)
        where = path.relative_to(self.root).as_posix()
        if not self.is_sound(where):
            return None
        try:
            basis = Basis.read(path)
        except Exception as error:  # the reader of safetensors has its own
            self.found("basis", where, UNREADABLE.format(type(error).__name__))
            return None
        k = len(basis.components)
        shapes = [array.shape for array in vars(basis).values()]
        if shapes != [(size,), (k, size), (k,)] or not 0 < k <= self.section.pca_dims:
            self.found("basis", where, f"its arrays are {shapes}, which is no basis of {size} numbers: build again")
            return None
        if not all(np.isfinite(array).all() for array in vars(basis).values()):
            self.found("basis", where, "it holds values that are not finite: build again")
            return None
        return basis

    def _check_shard(self, shard: Shard) -> None:
        contents = {name: self._contents(name, shard) for name in shard.paths}
        labels = contents.pop(LABELS)
        if labels is None:
            return
        self._check_labels(labels, shard)
        there = {name: each for name, each in contents.items() if each is not None}
        aligned = {name: each for name, each in there.items() if self._pairs(labels, name, each, shard)}
        paired = aligned.pop(PAIRED, None)
        if paired is None:
            return
        self._check_copies(labels, paired, shard)
        for name, view in aligned.items():
            if name in view.sketches and name in paired.sketches:
                self._check_scores(name, differing(paired.sketches[name], view.sketches[name]), labels, shard)

    def _contents(self, name: str, shard: Shard) -> Contents | None:
        """One file's, after the checks of the file alone; None where it is of no use to others."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = shard.paths[name]
        where = path.relative_to(self.root).as_posix()
        if not self.is_sound(where):
            return None
        try:
            rows, columns = pq.read_metadata(path).num_rows, self._check_features(name, path, where)
            if rows != shard.rows:
                told = f"it has {rows} rows where the record's splits give {shard.rows}: build again"
                self.found("rows", where, told)
                return None
            if columns is None:
                return None
            widths = {column: width for column, width in self._strict(name, columns).items() if column in columns}
            keep = [column for column in columns if column not in widths]
            contents = read_contents(path, widths, self._projections(name, widths), keep)
        except (pa.ArrowException, OSError, ValueError) as error:
            self.found("parquet", where, UNREADABLE.format(str(error).splitlines()[0][:200]))
            return None
        for fault in contents.faults:
            self.found(fault.check, where, fault.message, fault.row, _id(contents.ids, fault.row))
        return contents

    def _check_features(self, name: str, path: Path, where: str) -> "Features | None":
        """The features of the columns that are as they should be; None where there are no ids among them."""
        import pyarrow.parquet as pq
        from datasets import Features

        try:
            refuse_unpublishable(File(path, where, "", 0))
        except NoiseZooError as error:
            self.found("dtypes", where, str(error))
        found = Features.from_arrow_schema(pq.read_schema(path))
        wanted = self._wanted(name, found) | dict(self.firsts.get(name, {}))
        for column in dict.fromkeys((*wanted, *found)):
            if found.get(column) != wanted.get(column):
                told = f"column {column} is {found.get(column)} where {wanted.get(column)} belongs: build again"
                self.found("dtypes", where, told)
        fine = Features({column: kind for column, kind in found.items() if wanted.get(column) == kind})
        self.firsts.setdefault(name, fine)
        return fine if ID in fine else None

    def _wanted(self, name: str, found: "Features") -> dict[str, Any]:
        """What the record wants of a config's columns; of others (labels, quality), what may stand there."""
        from datasets import Value

        if name == LABELS:
            return {**found, ID: Value("string"), SPLIT: Value("string")}
        if name == PAIRED:
            scores = {view: array_feature((width,), "float32") for view, width in self.widths.items()}
            unknown = {view: found.get(view) for view in self.sizes if view not in scores}  # their basis is damaged
            return dict(self.firsts.get(LABELS, found)) | scores | unknown  # where no file of labels is whole, any
        view = next(view for view in self.section.views if view["name"] == name)
        array = array_feature(tuple(view["shape"]), view["dtype"])
        own = {ID: Value("string"), name: array, **({PREVIOUS: array} if PREVIOUS in found else {})}
        return {**dict.fromkeys(found, Value("float32")), **own}

    def _strict(self, name: str, columns: "Features") -> dict[str, int]:
        """Columns that must be whole and finite -> numbers in a row."""
        if name == LABELS:
            return {}
        if name == PAIRED:
            return self.widths
        return {column: self.sizes[name] if column in (name, PREVIOUS) else 1 for column in columns if column != ID}

    def _projections(self, name: str, widths: dict[str, int]) -> dict[str, Projection]:
        """How the arrays of a config are compared: the paired config's with each view's."""
        if name == PAIRED:
            return {view: Projection.of_scores(width) for view, width in widths.items()}
        if name not in self.widths or name not in widths:
            return {}
        basis = self.bases.get(name)
        return {name: Projection.of_scores(self.sizes[name]) if basis is None else Projection.of_view(basis)}

    def _check_labels(self, labels: Contents, shard: Shard) -> None:
        where = shard.paths[LABELS].relative_to(self.root).as_posix()
        ids = labels.ids.to_pylist()
        self.hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
        for row, image_id in enumerate(ids):
            if image_id in self.refused:
                self.found("accounting", where, "a refused image is in the configs: build again", row, image_id)
        if SPLIT not in labels.kept.column_names:
            return
        for row, split in enumerate(labels.kept.column(SPLIT).to_pylist()):
            if split != shard.split:
                told = f"its split is {split!r} in a file of {shard.split!r}: build again"
                self.found("splits", where, told, row, ids[row])
                return

    def _pairs(self, labels: Contents, name: str, other: Contents, shard: Shard) -> bool:
        """Whether a config's ids are those of the labels, in their order."""
        if labels.ids.equals(other.ids):
            return True
        wanted, found = labels.ids.to_pylist(), other.ids.to_pylist()
        row = next(i for i, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b)
        where = shard.paths[name].relative_to(self.root).as_posix()
        told = f"its id is {found[row]!r} where labels has {wanted[row]!r}, so that views do not pair: build again"
        self.found("pairing", where, told, row, found[row])
        return False

    def _check_copies(self, labels: Contents, paired: Contents, shard: Shard) -> None:
        """The labels that `paired` repeats."""
        where = shard.paths[PAIRED].relative_to(self.root).as_posix()
        for column in labels.kept.column_names:
            if column not in paired.kept.column_names:
                continue  # told as a wrong column
            a, b = (table.select([column]) for table in (labels.kept, paired.kept))
            if not same_values(a, b):
                row = _first_difference(a.column(0), b.column(0))
                told = f"{column} is not what labels has: build again"
                self.found("paired", where, told, row, _id(labels.ids, row))

    def _check_scores(self, name: str, rows: np.ndarray, labels: Contents, shard: Shard) -> None:
        if not len(rows):
            return
        where, row = shard.paths[PAIRED].relative_to(self.root).as_posix(), int(rows[0])
        how = f"the view {name} on its basis" if name in self.bases else f"the view {name}"
        told = f"{name} is not {how} (in {len(rows)} of {shard.rows} rows): build again"
        self.found("paired", where, told, row, _id(labels.ids, row))

    def _check_duplicates(self) -> None:
        """Ids that come twice; they are read again only where two hashes are alike."""
        import pyarrow.parquet as pq

        values, counts = np.unique(np.concatenate([*self.hashes, np.empty(0, np.int64)]), return_counts=True)
        suspects = set(values[counts > 1].tolist())
        seen: set[str] = set()
        for shard in shards_of(self.root, self.section) if suspects else ():
            where = shard.paths[LABELS].relative_to(self.root).as_posix()
            ids = (
                pq.read_table(shard.paths[LABELS], columns=[ID]).column(ID).to_pylist() if self.is_sound(where) else []
            )
            for row, image_id in enumerate(ids):
                if hash(image_id) in suspects and image_id in seen:
                    self.found("ids", where, "the id comes twice: build again", row, image_id)
                if hash(image_id) in suspects:
                    seen.add(image_id)


def _id(ids: "pa.Array", row: int | None) -> str | None:
    return None if row is None else ids[row].as_py()


def _first_difference(a: "pa.ChunkedArray", b: "pa.ChunkedArray") -> int | None:
    """The first row in which two columns differ; a NaN is like a NaN."""
    pairs = enumerate(zip(a.to_pylist(), b.to_pylist(), strict=True))
    return next((i for i, (x, y) in pairs if x != y and not (x != x and y != y)), None)
