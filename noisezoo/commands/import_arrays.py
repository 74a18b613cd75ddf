"""`noisezoo import`: NumPy files that others published, as a dataset of our layout."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from noisezoo.builder.audit import recompute_rows
from noisezoo.builder.dataset import PATTERNS, Nearest, add_residuals, import_arrays as make_dataset, note_nearest
from noisezoo.builder.sources import Source, open_source
from noisezoo.commands import options, register_command
from noisezoo.commands.output import load_call, make_table, plain_console, show_record
from noisezoo.errors import UsageError
from noisezoo.hub import fetch
from noisezoo.record import Record
from noisezoo.zoo import RESIDUAL


@register_command("import", "Share")
def import_arrays(
    place: Annotated[str, typer.Argument(help="A folder of noises_MODEL.npy, or a dataset id on the Hub.")],
    images: Annotated[str, typer.Option("--images", help="The source whose rows they are, as celeba or celeba:PATH.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder, or that of an earlier import.")],
    source_options: options.SourceOptions = None,
    split: Annotated[str, typer.Option(help="Row k is image k of this split of the source; or all.")] = "train",
    views: Annotated[str | None, typer.Option(help="Views to import, separated by commas, instead of all.")] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Which view a file is: --name MODEL=VIEW; may be repeated.")
    ] = None,
    revision: options.Revision = None,
    recompute: Annotated[int, typer.Option(min=0, help="Rows to compute from their images and compare.")] = 0,
    steps: Annotated[str, typer.Option(help="Numbers of steps that --recompute tries, with commas.")] = "50,150",
    latents: Annotated[
        bool,
        typer.Option(
            "--latents",
            help="Encode the images as well: the view of z0, and where --recompute finds the end of x_T, x_T - a z0.",
        ),
    ] = False,
    folders: options.Folders = None,
) -> None:  # fmt: skip
    """Make a dataset of NumPy files that others published; load, verify and analyze treat it as any other.

    Its label `paper_split` is each row's part, train or test, in the split of the authors' released code. Killed, the
    same command goes on with the images that --latents has not encoded yet.

    Example: noisezoo import chentasker/NoiseZoo --images celeba --out theirs --latents --recompute 16
    """
    tried, models = _read_steps(steps), options.read_folders(folders)
    given = options.read_source_options(source_options)
    source = open_source(images, given)
    local = Path(place).expanduser()
    folder = local if local.is_dir() else fetch(place, None, revision, PATTERNS)
    record = make_dataset(
        folder, source, out, name=images, options=given, split=split, views=options.split_names(views),
        names=dict(options.split_pair(text, "--name", "MODEL=VIEW", "sd15=sd15") for text in name or ()),
        origin=local.name if local.is_dir() else place, latents=latents, folders=models,
    )  # fmt: skip
    show_record(record)
    if recompute:
        record = _show_recomputed(out, record, recompute, source, tried, models)
    if latents:
        _show_residuals(add_residuals(out, record))
    plain_console().print(f"Load it: {load_call(out)}")


def _read_steps(text: str) -> list[int]:
    parts = options.split_names(text)
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"--steps {text}: give numbers of steps separated by commas, as 50,150")
    return [int(part) for part in parts]


def _show_recomputed(
    out: Path, record: Record, count: int, source: Source, steps: list[int], folders: Mapping[str, str]
) -> Record:
    """How far the imported rows lie from recomputed ones, for each number of steps; the nearest goes into the record.

    x_T's regression on the image's latent does not tell where x_T ends: what the network adds depends on the image too.
    """
    table = make_table("view", "steps", "x_T ends at", "rows", "median difference", "largest")
    (section,), nearest = record.sections, dict[str, Nearest]()
    for number in steps:
        tried = replace(section, settings={**section.settings, "num_inference_steps": number})
        for row in recompute_rows(out, tried, count, source, folders, 0):
            end = "-" if row.end is None else f"t = {row.end:g}"
            if row.reason is not None:
                table.add_row(row.config, str(number), "-", "0", row.reason, "-")
            elif row.end is not None or number == steps[0]:
                table.add_row(row.config, str(number), end, str(row.rows), f"{row.median:.2g}", f"{row.worst:.2g}")
            if row.end is not None and row.rows:
                found = Nearest(number, row.median, row.rows, row.facts)
                nearest[row.config] = min(nearest.get(row.config, found), found, key=lambda each: each.difference)
    plain_console().print(table)
    return note_nearest(out, record, nearest)


def _show_residuals(record: Record) -> None:
    """Which noise views have a residual, and why others have none."""
    (section,) = record.sections
    for view in (row["name"] for row in section.views if row["kind"] == "noise"):
        if view + RESIDUAL in section.view_names:
            plain_console().print(f"{view}{RESIDUAL}: x_T - a z0, a = {section.facts[view]['x_T_a']:.4g}")
        else:
            plain_console().print(f"no {view}{RESIDUAL}: where its x_T ends is not known; try --recompute 16, --steps")
