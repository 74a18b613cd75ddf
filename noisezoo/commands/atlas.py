"""Embedding Atlas over a dataset: its own page, at the coordinates that we computed."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

ROW, PICTURE = "__row_index__", "picture"
"""Columns: what it tells rows apart by, and PNG files."""


def write_atlas(found: Mapping[str, Any], folder: Path) -> None:
    """Write the files of Embedding Atlas and the data as Parquet into `folder`; any static server can serve them.

    Every view is a plot of its own at the coordinates given, so that the browser fits nothing; it needs WebGPU.

    Args:
        found: What `explored` gives: ids, columns, two coordinates a view, and pictures where there are any.
        folder: Made where it is missing.

    Raises:
        MissingExtraError: Embedding Atlas is not installed.
    """
    import embedding_atlas
    import pyarrow as pa
    from embedding_atlas.data_source import DataSource
    from embedding_atlas.options import make_embedding_atlas_props

    columns, views = found["columns"], found["views"]
    places = {_axis(view, k): values for view, pair in views.items() for k, values in enumerate(pair)}
    pictures = {PICTURE: _files(**found["thumbnails"])} if found["thumbnails"] else {}
    table = pa.table({ROW: range(len(found["ids"])), "image_id": found["ids"], **columns, **places, **pictures})
    image = PICTURE if pictures else None
    first = next(iter(views))
    props = make_embedding_atlas_props(
        row_id=ROW, x=_axis(first, 0), y=_axis(first, 1), image=image,
        initial_state=_state(columns, list(views), image),
    )  # fmt: skip
    static = Path(embedding_atlas.__file__).parent / "static"
    DataSource("noisezoo", table.to_pandas(), {"props": props}).export_to_folder(str(static), str(folder))


def _axis(view: str, k: int) -> str:
    return f"{view}.{'xy'[k]}"


def _state(columns: Mapping[str, Sequence[Any]], views: Sequence[str], image: str | None) -> dict[str, Any]:
    """A tab a view: its plot, then the table and a chart a label or number, which all tabs have."""
    plots = {view: {"type": "embedding", "title": view,
                    "data": {"x": _axis(view, 0), "y": _axis(view, 1), **({"image": image} if image else {})}}
             for view in views}  # fmt: skip
    varied = [name for name, values in columns.items() if len(set(values)) > 1]
    shared = {"images": {"type": "instances", "title": "Images"}}
    shared |= {f"column {name}": _chart(name, columns[name]) for name in varied}
    tabs = {view: {"type": "list", "name": view, "chartIds": [view, *shared]} for view in views}
    return {"charts": {**plots, **shared}, "layouts": tabs, "layoutOrder": views, "currentLayout": views[0]}


def _chart(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Counts of a label's values, or a histogram of numbers, in Embedding Atlas's words."""
    if any(isinstance(value, str) for value in values):
        return {"type": "count-plot", "title": name, "data": {"field": name}}
    bars = {"mark": "bar", "encoding": {"x": {"field": name}, "y": {"aggregate": "count"}}}
    faded = {**bars, "style": {"fillColor": "$markColorFade"}}
    return {"title": name, "layers": [faded, {**bars, "filter": "$filter"}], "selection": {"brush": {"encoding": "x"}}}


def _files(channels: int, side: int, bytes: Sequence[str]) -> list[bytes]:
    """PNG files of pictures, each `channels` planes of `side` x `side` bytes in base64."""
    from PIL import Image

    files = []
    for text in bytes:
        planes = np.frombuffer(base64.b64decode(text), np.uint8).reshape(channels, side, side)
        file = BytesIO()
        Image.fromarray(planes[0] if channels == 1 else planes.transpose(1, 2, 0)).save(file, "PNG")
        files.append(file.getvalue())
    return files
