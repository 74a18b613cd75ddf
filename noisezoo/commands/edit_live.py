"""`noisezoo edit-live`: sliders of attributes that edit a picture's noise, in a browser."""

import shutil
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
import yaml
from numpy.typing import NDArray

from noisezoo.analysis.studies import Data
from noisezoo.commands import options, register_command
from noisezoo.commands.analyze import know_models, make_judge, make_model, read_recipe_of
from noisezoo.commands.live import Live, open_live
from noisezoo.commands.output import plain_console
from noisezoo.commands.pictures import find_pictures, split_source
from noisezoo.errors import UsageError
from noisezoo.record import record_of

if TYPE_CHECKING:
    import gradio

GRADIO = "6.31.0"
"""The version that the page was tried with, which a Space installs."""
STRONGEST = 4.0
"""Ends of the sliders, in projected standard deviations of the noise."""
SIDE = 256
"""Pixels of a picture on the page, at least."""
NEAREST, THUMBNAIL = 6, 80
APP = '''"""A Space of NoiseZoo: attribute sliders on the noise of {title}."""

from noisezoo.commands.edit_live import make_page

make_page({arguments}).launch()
'''


@register_command("edit-live", "Analyse")
def edit_live(
    dataset: Annotated[str, typer.Argument(help="A built folder, or a dataset id on the Hub.")],
    model: Annotated[str, typer.Option(help="The noise view to edit and regenerate through.")],
    edit: Annotated[str | None, typer.Option(help="Attributes, separated by commas; all by default.")] = None,
    encoders: Annotated[
        str | None, typer.Option(help="Embeddings to look for neighbours in, separated by commas; all by default.")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Write a Space of the Hub into this folder, and end.")] = None,
    install: Annotated[
        str, typer.Option(help="What a Space installs: a version, a wheel's address or a git URL.")
    ] = "noisezoo[analysis,build,live]",
    source: options.Pictures = None,
    revision: options.Revision = None,
    folders: options.Folders = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many images to choose among.")] = 200,
    host: Annotated[str, typer.Option(help="Address to serve on; this machine alone by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, help="Port; any free one by default.")] = 0,
) -> None:
    """Move sliders of attributes, and see a face regenerated from its edited noise and its neighbours in each view.

    Example: noisezoo edit-live my-faces --model faces-ddpm --export my-space
    """
    console = plain_console()
    given = {"model": model, "edit": options.split_names(edit), "encoders": options.split_names(encoders) or None,
             "source": source, "limit": limit}  # fmt: skip
    if export is not None:
        if folders:
            raise UsageError("--export with --folder: a Space has no model that lies on this machine alone")
        write_space(dataset, export, {**given, "revision": revision}, install)
        console.print(f"Space: {export}; upload it to the Hub as a Space, or run `python app.py` in it")
        return
    console.print("reading the dataset, fitting directions")
    page = make_page(dataset, revision=revision, folders=folders, **given)  # type: ignore[arg-type]
    console.print("Ctrl-C ends it")
    page.launch(server_name=host, server_port=port or None, share=False, quiet=False)


def make_page(
    dataset: str, *, model: str, edit: Sequence[str] = (), encoders: Sequence[str] | None = None,
    source: str | None = None, revision: str | None = None, folders: Sequence[str] | None = None, limit: int = 200,
) -> "gradio.Blocks":  # fmt: skip
    """The page of a dataset, as the options of `noisezoo edit-live` have them; what it needs is loaded and tried once.

    Raises:
        UsageError: There is no such dataset, noise view, embedding or attribute.
    """
    recipe = read_recipe_of(dataset, revision)
    know_models(recipe, folders)
    chosen, where = split_source(dataset, source, revision)
    pictures = {} if where is None else find_pictures(
        dataset, where, {}, source=chosen, views=None, revision=revision, recipe=recipe
    )  # fmt: skip
    data = Data(dataset, source=chosen, revision=revision, found=pictures)
    facts = [data.facts(view) for view in data.views]
    own = [fact["name"] for fact in facts if fact["kind"] == "embedding" and not fact["untrained"]]
    if model not in data.views:
        noise = ", ".join(fact["name"] for fact in facts if fact["kind"] == "noise")
        raise UsageError(f"--model {model}: the dataset's noise views are: {noise or 'none'}")
    unknown = [name for name in encoders or () if name not in own]
    if unknown:
        raise UsageError(f"--encoders {unknown[0]}: the dataset's embeddings are: {', '.join(own) or 'none'}")
    judges = [make_judge(name) for name in (own if encoders is None else encoders)]
    live = open_live(data, make_model(model, recipe), judges, attributes=edit, limit=limit)
    first = live.noise[live.shown[0] :][:1]
    live.nearest(first, live.generate(first))  # models are read now, and not while somebody waits
    return page_of(live, Path(dataset).name)


def page_of(live: Live, title: str) -> "gradio.Blocks":
    """The page: a picture to choose, a slider an attribute, what is regenerated, and neighbours in each view."""
    import gradio as gr

    names = list(live.edits)
    choices = [(str(live.ids[row]), row) for row in live.shown]

    def show(row: int, orthogonal: bool, *strengths: float) -> list[Any]:
        plain = live.noise[row : row + 1]
        noise = live.edited(row, dict(zip(names, strengths, strict=True)), orthogonal=orthogonal)
        before, after = live.generate(plain), live.generate(noise)
        given = [] if live.pictures is None else [drawn(live.pictures[row])]
        near = live.nearest(noise, after, NEAREST)
        return [*given, drawn(before[0]), drawn(after[0]), neighbours(live, near)]

    with gr.Blocks(title=f"NoiseZoo: {title}", analytics_enabled=False) as page:
        gr.Markdown(f"# {title}: the noise of {live.model.view}, edited")
        with gr.Row():
            with gr.Column():
                row = gr.Dropdown(choices, value=live.shown[0], label="Image")
                orthogonal = gr.Checkbox(label="Each direction without the other attributes' directions", value=False)
                sliders = [gr.Slider(-STRONGEST, STRONGEST, value=0, step=0.25, label=name) for name in names]
                reset = gr.Button("All to zero")
            with gr.Column():
                with gr.Row():
                    titles = [*([] if live.pictures is None else ["Given"]), "Regenerated", "Edited"]
                    images = [gr.Image(label=each, format="png", interactive=False) for each in titles]
                near = gr.HTML()
        inputs, outputs = [row, orthogonal, *sliders], [*images, near]
        gr.on(  # of several moves, the last counts
            [page.load, *(each.change for each in inputs)], show, inputs, outputs, trigger_mode="always_last",
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        reset.click(lambda: [0.0] * len(names), None, sliders, api_visibility="private")
    return page


def neighbours(live: Live, near: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """A table: a row a view, its nearest images in order, each with its picture where there is one, and its cosine."""
    cells = {view: "".join(_cell(live, *found) for found in rows) for view, rows in near.items()}
    rows = "".join(f"<tr><th scope=row>{escape(view)}</th>{found}</tr>" for view, found in cells.items())
    return f"<table><caption>Nearest images in each view, with their cosines</caption>{rows}</table>"


def _cell(live: Live, row: int, cosine: float) -> str:
    name = escape(str(live.ids[row]))
    shown = "" if live.pictures is None else f'<img src="{_png(live.pictures[row])}" alt="{name}" width=80 height=80>'
    return f"<td>{shown}<br><small>{name}<br>{cosine:.2f}</small></td>"


def _png(picture: NDArray[Any]) -> str:
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(drawn(picture, THUMBNAIL)).save(stream, "PNG")
    return f"data:image/png;base64,{b64encode(stream.getvalue()).decode()}"


def drawn(picture: NDArray[Any], side: int = SIDE) -> NDArray[np.uint8]:
    """A picture (c, h, w) in [-1, 1] as (H, W, 3), each pixel a square, large enough to be looked at."""
    pixels = np.round((np.clip(picture, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)
    factor = -(-side // max(pixels.shape[:2]))
    large = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    return np.ascontiguousarray(np.broadcast_to(large, (*large.shape[:2], 3)))


def write_space(dataset: str, folder: Path, given: dict[str, Any], install: str) -> None:
    """Write a gradio Space: its app, what it installs, its front matter, and a local dataset's views that it reads.

    Raises:
        UsageError: The folder is not empty, or the dataset may show people and lies on this machine alone.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: choose another --export")
    name, local = Path(dataset).name, Path(dataset).is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    if local:
        _copy(Path(dataset), folder / name, given)
    arguments = ", ".join([repr(name if local else dataset), *(f"{key}={value!r}" for key, value in given.items())])
    (folder / "app.py").write_text(APP.format(title=name, arguments=arguments))
    (folder / "requirements.txt").write_text(f"{install}\n")
    front = {"title": f"NoiseZoo: {name}", "sdk": "gradio", "sdk_version": GRADIO, "app_file": "app.py"}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n")


def _copy(dataset: Path, target: Path, given: dict[str, Any]) -> None:
    """The dataset with the views that the page reads, and no other."""
    from noisezoo.builder.dataset import leave_out

    record = record_of(dataset)
    if any(section.sensitive for section in record.sections):
        raise UsageError(f"{dataset} may show people: publish it first, where it is gated, and give its id on the Hub")
    views = [view for section in record.sections for view in section.views]
    kept = {given["model"], *(given["encoders"] or ())}
    others = [view["name"] for view in views if view["name"] not in kept and not _is_read(view, given)]
    if not others:
        shutil.copytree(dataset, target, ignore=shutil.ignore_patterns("_build", ".*"))
        return
    with leave_out(dataset, others) as reduced:
        shutil.copytree(reduced, target)


def _is_read(view: dict[str, Any], given: dict[str, Any]) -> bool:
    embedding = view["kind"] == "embedding" and not view["untrained"] and given["encoders"] is None
    return view["family"] == "pixels" or embedding
