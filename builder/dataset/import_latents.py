"""What an import makes of the images at hand: z0 of each noise view, and its residual x_T - a z0."""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from noisezoo import zoo
from noisezoo.builder.engine import device_name, software
from noisezoo.builder.models import naming
from noisezoo.builder.recipe import Settings, parts_of
from noisezoo.builder.sources import Source
from noisezoo.builder.views import Computer, cut, make_computer
from noisezoo.errors import UsageError
from noisezoo.files import read_json, write_json
from noisezoo.record import Record
from noisezoo.schema import ID
from .finish import seal
from .layout import withdraw, write_residual
from .remove import alone


def latents_of(views: Iterable[zoo.View]) -> list[zoo.View]:
    """The view of each noise view's z0, each once: its autoencoder's latent, or the picture at its size.

    Raises:
        UsageError: Two noise views have latents of one name and two sizes.
    """
    found: dict[str, zoo.View] = {}
    for noise in (view for view in views if view.kind == "noise"):
        z0 = zoo.at_resolution(_row_of_z0(noise), noise.resolution)
        if found.setdefault(z0.name, z0).shape != z0.shape:
            raise UsageError(f"view {z0.name} would be of two sizes, {noise.name}'s and another's: import one of them")
    return list(found.values())


def _row_of_z0(noise: zoo.View) -> zoo.View:
    if noise.autoencoder:
        return zoo.get(noise.autoencoder)
    return next(row for row in zoo.ROWS.values() if row.family == "pixels" and row.shape[0] == noise.shape[0])


def load_computer(view: zoo.View, settings: Settings, folder: str | None) -> Computer:
    """A view's computer with its model loaded; a local `folder` takes the place of the model's repository."""
    row = zoo.at_folder(view, folder)
    computer = make_computer(row, settings)
    with naming(row):
        computer.load()
    return computer


def encode_images(
    view: zoo.View, settings: Settings, source: Source, table: pa.Table, file: Path, folder: str | None
) -> list[dict[str, Any]]:
    """Write a view's rows of all images of a table into a NumPy file, NaN where an image is refused; the refusals.

    A journal beside the file says how many rows are written: after a kill the same call goes on with the next ones.
    """
    computer, ids, keys = load_computer(view, settings, folder), *(table.column(n).to_pylist() for n in (ID, "key"))
    made_of = json.dumps(
        [described(computer.view), settings.model_dump(mode="json"), software(), device_name(), ids, keys]
    )
    digest, journal = sha256(made_of.encode()).hexdigest(), file.with_suffix(".json")
    done = read_json(journal) or {}
    if done.get("digest") != digest or not file.exists():
        done = {"digest": digest, "rows": 0, "refusals": []}
    file.parent.mkdir(exist_ok=True)
    stored = np.lib.format.open_memmap(file, "r+" if done["rows"] else "w+", view.dtype, (len(ids), *view.shape))
    for part in cut(range(done["rows"], len(ids)), settings.batch_size):
        own = ids[part.start : part.stop]
        kept, arrays, refused = computer.rows(own, source.images(keys[part.start : part.stop]))
        stored[part.start : part.stop] = np.nan
        stored[[part.start + own.index(image_id) for image_id in kept]] = arrays[view.name]
        stored.flush()
        done = {**done, "rows": part.stop, "refusals": [*done["refusals"], *map(vars, refused)]}
        write_json(journal, done)
    return list(done["refusals"])


def add_residuals(out: Path, record: Record) -> Record:
    """Add x_T - a z0 to an import that has its images' z0, for each noise view whose x_T's end is known."""
    (section,) = record.sections
    rows = {view["name"]: zoo.View.of(view) for view in section.views}
    known = [row for row in rows.values() if row.kind == "noise" and "x_T_a" in section.facts.get(row.name, {})]
    own = {view["name"]: {"settings": view["settings"]} for view in section.views if "settings" in view}
    with alone(out):
        withdraw(out)
        views, facts = list(section.views), dict(section.facts)
        for row in map(zoo.residual, known):
            noise, image = parts_of(row, rows.values())
            write_residual(out, section, row, noise.name, image.name, section.facts[noise.name]["x_T_a"])
            views.append(described(row) | own.get(noise.name, {}))
            facts[row.name] = section.facts[noise.name]
        return seal(out, (replace(section, views=tuple(views), facts=facts),))


def described(view: zoo.View) -> dict[str, Any]:
    """A view's row of the record."""
    return {**asdict(view), "shape": list(view.shape), "dtype": view.dtype}
