"""`noisezoo explore`: every image of a dataset at two coordinates of each view, in a browser."""

import base64
import json
import webbrowser
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer

from noisezoo.commands import options, register_command
from noisezoo.commands.atlas import write_atlas
from noisezoo.commands.output import plain_console
from noisezoo.errors import UsageError
from noisezoo.loading import load, matrix
from noisezoo.record import read_record

TEMPLATE = Path(__file__).parent / "templates" / "explore.html.j2"
PICTURES = "pixels"
"""The view that is shown as thumbnails, where the dataset has it."""
ATLAS = "atlas"
"""Folder, beside the page, of Embedding Atlas."""
SPACE = "---\ntitle: {title}\nsdk: static\napp_file: index.html\n---\n"


@register_command("explore", "Analyse")
def explore(
    dataset: Annotated[str, typer.Argument(help="A built folder, or a dataset id on the Hub.")],
    export: Annotated[
        Path | None, typer.Option(help="Write the page into this folder, a static Space, and end.")
    ] = None,
    limit: Annotated[int, typer.Option(min=2, help="At most this many images, drawn by the seed.")] = 5000,
    seed: Annotated[int, typer.Option(help="Of that draw, and of umap.")] = 42,
    projection: Annotated[str, typer.Option(help="Two coordinates a view: pca, or umap (extra `explore`).")] = "pca",
    atlas: Annotated[
        bool, typer.Option("--atlas", help="Also offer Embedding Atlas, for browsers with WebGPU (extra `explore`).")
    ] = False,
    revision: options.Revision = None,
    host: Annotated[str, typer.Option(help="Address to serve on; this machine alone by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, help="Port; any free one by default.")] = 0,
) -> None:
    """Show every image at two coordinates of each view, coloured by a label, with its picture.

    Example: noisezoo explore my-faces --export my-site
    """
    found = explored(dataset, limit, seed, revision, projection)
    if export is not None:
        _write(found, dataset, export, atlas)
        (export / "README.md").write_text(SPACE.format(title=Path(dataset).name), encoding="utf-8")
        plain_console().print(f"Page: {export / 'index.html'}; the folder is a static Space of the Hub")
        return
    with TemporaryDirectory() as folder:
        _write(found, dataset, Path(folder), atlas)
        handler = partial(SimpleHTTPRequestHandler, directory=folder)
        with ThreadingHTTPServer((host, port), handler) as server:
            address = f"http://{host}:{server.server_address[1]}/"
            plain_console().print(f"Page: {address} (Ctrl-C ends it)")
            webbrowser.open(address)
            server.serve_forever()


def _write(found: dict[str, Any], dataset: str, folder: Path, atlas: bool) -> None:
    from jinja2 import Environment

    if atlas:
        write_atlas(found, folder / ATLAS)
    data = json.dumps(found).replace("<", "\\u003c")  # no row ends the script
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8").replace("{{ data }}", "@"))
    page = template.render(title=Path(dataset).name, about=found["about"], atlas=ATLAS if atlas else "")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(page.replace("@", data, 1), encoding="utf-8")


def explored(
    dataset: str, limit: int = 5000, seed: int = 42, revision: str | None = None, projection: str = "pca"
) -> dict[str, Any]:
    """What the page shows: ids, columns, two coordinates a view, and pictures where there are any.

    Args:
        dataset: A built folder, or a dataset id on the Hub.
        limit: At most this many images.
        seed: Of their draw, and of umap.
        revision: On the Hub.
        projection: Of `PROJECTIONS`.

    Raises:
        UsageError: There is no such dataset or projection, or it has fewer than two images.
        MissingExtraError: The projection's library is not installed.
    """
    if projection not in PROJECTIONS:
        raise UsageError(f"--projection {projection}: choose of {', '.join(PROJECTIONS)}")
    about, project = PROJECTIONS[projection]
    rows = load(dataset, revision=revision)
    record = read_record(dataset, revision)
    views = record.sections[0].view_names if record else []
    if len(rows) < 2 or not views:
        raise UsageError(f"{dataset} has no two images with views: there is nothing to explore")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:limit])
    taken = rows.select(chosen)
    columns = {name: taken[name] for name in rows.column_names if name not in ("image_id", *views)}
    columns = {name: list(values) for name, values in columns.items() if not isinstance(values[0], list)}
    if Path(dataset).is_dir():  # on the Hub, quality lies in the files of the full views
        columns |= _quality(dataset, views, chosen)
    thumbnails = _thumbnails(dataset, chosen) if PICTURES in views and Path(dataset).is_dir() else None
    return {
        "ids": list(taken["image_id"]), "columns": {name: [_plain(v) for v in c] for name, c in columns.items()},
        "views": {view: project(matrix(taken, view).astype(np.float64), seed).round(4).tolist() for view in views},
        "thumbnails": thumbnails, "about": about,
    }  # fmt: skip


def _pca(values: np.ndarray, seed: int) -> np.ndarray:
    """The first two principal components, each with its largest loading positive: (n, d) -> (2, n)."""
    centred = values - values.mean(0)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]  # (d, 2), the largest first
    signs = np.sign(np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0))
    return np.asarray((centred @ (directions * signs)).T)


def _umap(values: np.ndarray, seed: int) -> np.ndarray:
    """UMAP of at most 50 principal components, (n, d) -> (2, n), the same for the same seed (McInnes et al. 2018)."""
    from umap import UMAP

    centred = values - values.mean(0)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, :-51:-1]
    fitted = UMAP(n_neighbors=min(15, len(values) - 1), random_state=seed, n_jobs=1)
    return np.asarray(fitted.fit_transform(centred @ directions)).T


Projection = Callable[[np.ndarray, int], np.ndarray]
PROJECTIONS: dict[str, tuple[str, Projection]] = {
    "pca": ("the first two principal components", _pca), "umap": ("two coordinates by UMAP", _umap),
}  # fmt: skip
"""Name -> what its coordinates are, and the function of rows (n, d) and a seed that gives them, (2, n)."""


def _quality(dataset: str, views: list[str], chosen: np.ndarray) -> dict[str, list[Any]]:
    """The numbers that each view keeps of a row, as `VIEW.COLUMN`."""
    found: dict[str, list[Any]] = {}
    for view in views:
        rows = load(dataset, views=[view])
        names = [n for n in rows.column_names if n.startswith(f"{view}.") and not n.endswith(".previous_latents")]
        found |= {name: list(rows.select_columns([name]).select(chosen)[name]) for name in names}
    return found


def _thumbnails(dataset: str, chosen: np.ndarray) -> dict[str, Any]:
    rows = load(dataset, views=[PICTURES])
    channels, side, _ = rows.features[PICTURES].shape
    pixels = np.clip((matrix(rows.select(chosen), PICTURES) + 1) * 127.5, 0, 255).round().astype(np.uint8)
    return {"channels": channels, "side": side, "bytes": [base64.b64encode(row.tobytes()).decode() for row in pixels]}


def _plain(value: Any) -> Any:
    """A value as JSON has it: yes/no and text as text, no number where it is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None if value is None else str(value)
    return value if np.isfinite(value) else None
