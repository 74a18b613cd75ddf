"""Residual views: x_T - a z0, what is left of a noise view without the image's share of it, from two views in place."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.record import Section
from noisezoo.schema import ID, to_table, view_features
from noisezoo.zoo import View
from .layout import CHUNK, blocks, read_config, read_tables, write_config

if TYPE_CHECKING:
    import pyarrow as pa


def write_residual(root: Path, section: Section, view: View, noise: str, image: str, a: float) -> None:
    """Write the config of a residual view from those of its noise x_T and of the image z0, which lie there.

    The stored float16 rows are subtracted in float32 and rounded once, so that any reader can do it again.
    """
    features = view_features(view.name, view.shape, view.dtype, ())
    x_T, z0 = (read_config(root, section, name) for name in (noise, image))

    def tables(split: str) -> Iterator["pa.Table"]:
        arrays = (blocks(config.files[split], name) for config, name in ((x_T, noise), (z0, image)))
        for ids, x, z in zip(read_tables(x_T.files[split], CHUNK, [ID]), *arrays, strict=True):
            rest = subtracted(x, z, a).reshape(-1, *view.shape).astype(view.dtype)
            yield to_table(features, {ID: ids.column(ID).combine_chunks(), view.name: rest})

    write_config(root, section, view.name, features, tables)


def subtracted(x: np.ndarray, z: np.ndarray, a: float) -> np.ndarray:
    """X - a z of arrays of one shape, in float32."""
    rest: np.ndarray = x.astype(np.float32) - np.float32(a) * z.astype(np.float32)
    return rest
