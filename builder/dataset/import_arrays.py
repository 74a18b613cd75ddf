"""NumPy files that others made as a dataset of our layout: row k of each file pairs with row k of a source's split.

The dataset that the paper's authors published (`noisezoo.citation`) is such a folder: `noises_MODEL.npy`, a file a
model. Arrays are memory-mapped and copied block by block, so that memory does not grow with their size.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from noisezoo import zoo
from noisezoo.builder.recipe import merged, read_recipe
from noisezoo.builder.sources import Refusal, Source, rows_of_split
from noisezoo.builder.views import cut, latent_statistics
from noisezoo.errors import NoiseZooError, UsageError, describe
from noisezoo.files import read_json, sha256_of, write_json
from noisezoo.record import LABELS, RECIPE, REFUSALS, Record, Section
from noisezoo.schema import ID, PAPER_SPLIT, SPLIT, name_faults, release_split, to_table, view_features
from .finish import seal, sign, write_refusals
from .import_latents import described, encode_images, latents_of
from .layout import CHUNK, STAGED, withdraw, write_config
from .remove import alone, others

if TYPE_CHECKING:
    from datasets import Features

PATTERNS = ("noises_*.npy", "data/noises_*.npy")
NAMES: Mapping[str, str] = {
    "sd15": "sd15", "sd21": "sd21-base", "lcmv7": "lcm", "vitB16": "clip-vit-b16", "vitL14": "clip-vit-l14",
    "vitB16_oc": "openclip-vit-b16", "ocB16": "openclip-vit-b16", "vitL14_oc": "openclip-vit-l14",
    "ocL14": "openclip-vit-l14", "dinov3": "dinov3-vit-l16", "dino": "dinov3-vit-l16",
}  # fmt: skip
"""MODEL in the release's file names, in both of its spellings -> our view of that model."""
RELEASE = "celeba-release"
"""The recipe that holds how the release's code makes its arrays, by its default settings."""
CLOSE = 0.1
"""Median difference of recomputed rows, as a share of their norms, below which they were made in the same steps."""


@dataclass(frozen=True)
class Array:
    """One file: its rows, and the view of ours that they are; `theirs` unless it was computed from the images."""

    file: Path
    view: zoo.View
    rows: int
    theirs: bool = True

    def block(self, rows: range) -> np.ndarray:
        """Some rows in the stored dtype; what does not fit in it is infinite there.

        The file is mapped anew for each block, as pages stay in memory for as long as their map lives.
        """
        mapped = np.load(self.file, mmap_mode="r", allow_pickle=False)
        with np.errstate(over="ignore"):
            return np.asarray(mapped[rows.start : rows.stop]).astype(self.view.dtype).reshape(-1, *self.view.shape)

    def refusals(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Of the rows that hold a value that is not finite in the stored dtype; `ids` are those of all rows."""
        parts, message = cut(range(self.rows), CHUNK), f"not finite in {self.file.name}"
        finite = [np.isfinite(self.block(part)).reshape(len(part), -1).all(axis=1) for part in parts]
        bad = np.flatnonzero(~np.concatenate(finite)).tolist()
        return [vars(Refusal(ids[row], self.view.name, "ValueError", message)) for row in bad]


def import_arrays(
    folder: Path, source: Source, out: Path, *, name: str, options: Mapping[str, Any] | None = None,
    split: str = "train", views: Sequence[str] = (), names: Mapping[str, str] | None = None, origin: str = "",
    settings: Mapping[str, Any] | None = None, shard_rows: int = 8192, pca_dims: int = 500, latents: bool = False,
    folders: Mapping[str, str] | None = None,
) -> Record:  # fmt: skip
    """Make a dataset of the files `noises_MODEL.npy` in a folder, or in its `data/`.

    A row that is not finite in any file is refused in all, with its reason, so that views pair by position.

    Args:
        folder: The folder.
        source: The images whose rows the files hold, for ids and labels; the pictures are read for `latents` alone.
        out: The dataset's folder: new, or that of an earlier import.
        name: What opens the source (`open_source`); kept in the record.
        options: Options of that source.
        split: The source's split whose row k is row k of every file; `all` for all its rows in its own order.
        views: Views to import; all files where it is empty.
        names: MODEL -> view of the zoo, beside `NAMES` and the zoo's own names.
        origin: Where the files are from, for the record and the card.
        settings: What is known of how they were made, beside the settings of the recipe `RELEASE`.
        shard_rows: Rows of one published file.
        pca_dims: Views larger than this are reduced to it in `paired`.
        latents: Compute z0 of each noise view from the images as well: the autoencoder's latents, or the pictures.
        folders: View -> local folder of its model, for `latents`.

    Returns:
        The record of the dataset.

    Raises:
        UsageError: There is no such file or split, a file's name, rows, shape or dtype is not as it should be, or
            `out` holds something else.
        NoiseZooError: Every row was refused, or another process writes into `out`.
    """
    mend = "give --split all to pair with all of its rows"
    table = source.scan() if split == "all" else rows_of_split(source, name, split, mend)
    arrays = _arrays(folder, len(table), f"split {split} of {name}", views, {**NAMES, **(names or {})})
    there = {array.view.name for array in arrays}
    images = [z0 for z0 in latents_of(array.view for array in arrays) if z0.name not in there] if latents else []
    for fault in name_faults(source.label_features(), [*there, *(z0.name for z0 in images)], ()):
        raise UsageError(f"{name}: {fault}: import without that view")
    had = others(out)
    if had and "origin" not in (read_json(out / RECIPE) or {}):
        raise UsageError(f"{out} holds something else than an import ({had[0]}, ...): choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    made = merged(read_recipe(RELEASE).settings, settings or {})
    ids: list[str] = table.column(ID).to_pylist()
    with alone(out):
        refusals = [refusal for array in arrays for refusal in array.refusals(ids)]
        for z0 in images:
            users = [array.view.name for array in arrays if array.view.autoencoder == z0.name]
            model = next((path for view in (z0.name, *users) if (path := (folders or {}).get(view))), None)
            file = out / STAGED / f"{z0.name}.npy"
            refusals += encode_images(z0, made, source, table, file, model)
            arrays.append(Array(file, z0, len(table), theirs=False))
        dropped = {refusal["image_id"] for refusal in refusals}
        if len(dropped) == len(ids):
            raise NoiseZooError(f"every row was refused; the first: {refusals[0]['message']}")
        kind, short = "train" if split == "all" else split, name.partition(":")[0]
        section = Section(
            source=short, title=f"{origin or folder.name}, imported", prefix="", license=source.license,
            license_name=source.license_name, sensitive=source.sensitive, scanned=len(ids), refused=len(dropped),
            removed=0, splits={kind: len(ids) - len(dropped)},
            views=tuple(_described(array, origin or folder.name) for array in arrays),
            settings=made.model_dump(mode="json") | {"source": short, "limit": None},
            software={"noisezoo": version("noisezoo")}, devices=("not known",), pca_dims=pca_dims,
            shard_rows=shard_rows, identity=source.identity,
        )  # fmt: skip
        withdraw(out)
        imported = {"source": {"name": name, "options": dict(options or {})}, "split": split, "origin": origin}
        write_json(out / RECIPE, {**imported, "settings": section.settings, "views": list(section.views)})
        _write_labels(out, section, table, source.label_features(), kind, dropped)
        for array in arrays:
            _write_view(out, section, array, ids, dropped)
        write_refusals(out / REFUSALS, refusals)
        record = seal(out, (section,))
        shutil.rmtree(out / STAGED, ignore_errors=True)
        return record


@dataclass(frozen=True)
class Nearest:
    """The number of steps at which recomputed rows of a view came nearest to the imported ones."""

    steps: int
    difference: float  # median, as a share of a row's norm
    rows: int
    facts: Mapping[str, float]


def note_nearest(out: Path, record: Record, found: Mapping[str, Nearest]) -> Record:
    """Write into the record and the card of an import what recomputation says of how its arrays were made.

    Where rows come nearer than `CLOSE` the view gets those steps and the end of x_T; elsewhere the nearest number of
    steps is noted, and the end is not known.
    """
    (section,) = record.sections
    views, facts = [], dict(section.facts)
    for view in section.views:
        if (nearest := found.get(view["name"])) is not None:
            told = {"nearest_steps": nearest.steps, "median_difference": nearest.difference, "rows": nearest.rows}
            view = {**view, "imported": {**view["imported"], **told}}
            if nearest.difference < CLOSE:
                view["settings"] = {"num_inference_steps": nearest.steps}
                facts[view["name"]] = dict(nearest.facts)
        views.append(view)
    with alone(out):
        return sign(out, (replace(section, views=tuple(views), facts=facts),))


def _arrays(folder: Path, rows: int, of: str, views: Sequence[str], names: Mapping[str, str]) -> list[Array]:
    """The files, each checked against the number of rows and the shape of its view."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    files = sorted(path for pattern in PATTERNS for path in folder.glob(pattern))
    if not files:
        raise UsageError(f"{folder} has no files {' or '.join(PATTERNS)}: name the folder that holds them")
    found: dict[str, Array] = {}
    for file in files:
        model = file.stem.removeprefix("noises_")
        if model not in names and model not in zoo.ROWS:
            near = f"--name {model}=VIEW"
            raise UsageError(f"{file.name}: no view is known by {model!r}: say which it is by {near}")
        row = zoo.get(names.get(model, model))
        if views and row.name not in views:
            continue
        if row.name in found:
            raise UsageError(f"{file.name} and {found[row.name].file.name} are both view {row.name}: take one away")
        found[row.name] = _array(file, row, rows, of)
    missing = [view for view in views if view not in found]
    if missing:
        raise UsageError(f"{folder} has no file of view {missing[0]!r}; it has: {', '.join(f.name for f in files)}")
    return list(found.values())


def _array(file: Path, row: zoo.View, rows: int, of: str) -> Array:
    try:
        values = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        said = describe(error).splitlines()[0]
        raise UsageError(f"{file.name} cannot be read ({said}): download it again") from error
    if values.dtype.kind != "f" or values.ndim < 2:
        raise UsageError(f"{file.name} holds {values.dtype} of shape {values.shape}, and no rows of real numbers")
    if len(values) != rows:
        raise UsageError(f"{file.name} has {len(values)} rows where {of} has {rows}: row k must be image k of it")
    shape = tuple(values.shape[1:])
    if len(row.shape) == 3 and len(shape) == 1:
        side = isqrt(shape[0] // row.shape[0])
        shape = (row.shape[0], side, side)
    same = len(shape) == len(row.shape) and shape[0] == row.shape[0] and np.prod(shape) == np.prod(values.shape[1:])
    if not same:
        raise UsageError(f"{file.name} has rows of shape {values.shape[1:]} where view {row.name} has {row.shape}")
    if len(shape) == 3:  # the same autoencoder or pixels at another size
        row = replace(row, resolution=row.resolution * shape[1] // row.shape[1])
    return Array(file, replace(row, shape=shape), rows)


def _described(array: Array, origin: str) -> dict[str, Any]:
    """The view's row of the record: of theirs, that it was not built here, and which file of whose it is."""
    if not array.theirs:
        return described(array.view)
    row = {**described(array.view), "about": f"{array.view.about}: theirs, imported from {origin}, not built"}
    return {**row, "imported": {"from": origin, "file": array.file.name, "sha256": sha256_of(array.file)}}


def _write_labels(out: Path, section: Section, table: pa.Table, own: "Features", split: str, dropped: set[str]) -> None:
    """Ids, the split, the part of each row in the split of the released code, and the source's own labels."""
    from datasets import Features, Value

    text, n = Value("string"), len(table)
    features = Features({ID: text, SPLIT: text, PAPER_SPLIT: text, **own})
    parts = {SPLIT: [split] * n, PAPER_SPLIT: np.where(release_split(n), "train", "test")}
    columns = {name: pa.array(parts[name], pa.string()) if name in parts else table.column(name) for name in features}
    write_config(out, section, LABELS, features, lambda _: iter([pa.table(columns)]), dropped)


def _write_view(out: Path, section: Section, array: Array, ids: list[str], dropped: set[str]) -> None:
    quality = ("latent_mean", "latent_std") if array.view.kind == "noise" else ()
    features = view_features(array.view.name, array.view.shape, array.view.dtype, quality)

    def tables(_: str) -> Iterator[pa.Table]:
        for part in cut(range(len(ids)), CHUNK):
            values = array.block(part)
            with np.errstate(invalid="ignore"):  # of rows that are dropped
                statistics = latent_statistics(values) if quality else {}
            yield to_table(features, {ID: ids[part.start : part.stop], array.view.name: values, **statistics})

    write_config(out, section, array.view.name, features, tables, dropped)
