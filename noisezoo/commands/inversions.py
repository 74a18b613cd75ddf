"""`noisezoo inversions`: schemes of inversion against each other, in the units of editing benchmarks."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import ValidationError

from noisezoo import zoo
from noisezoo.analysis import mean_intervals
from noisezoo.builder.models import check_access
from noisezoo.builder.recipe import Settings
from noisezoo.builder.sources import Refusal, open_source
from noisezoo.builder.views import EDIT_TITLES, MEASURES, encoders_of
from noisezoo.commands import options, register_command
from noisezoo.commands.output import make_table, plain_console
from noisezoo.errors import UsageError

TASKS = {"reconstruction": "Under the picture's own prompt", "edit": "Under the edit's prompt"}


@register_command("inversions", "Analyse")
def inversions(
    source: Annotated[str, typer.Argument(help="Pictures with prompts and masks: pie-bench:PATH.")],
    view: Annotated[str, typer.Option(help="The noise view; its model must read prompts.")] = "sd15",
    schemes: Annotated[str, typer.Option(help="Schemes of inversion, separated by commas.")] = "ddim,heun,bdia,belm",
    steps: Annotated[int, typer.Option(help="Steps of inversion and of generation.")] = 50,
    guidance: Annotated[float, typer.Option(help="Guidance scale of inversion and reconstruction.")] = 1.0,
    edit_guidance: Annotated[float, typer.Option(help="Guidance scale of the edit.")] = 7.5,
    measures: Annotated[str, typer.Option(help="Measures, separated by commas.")] = ",".join(MEASURES),
    limit: Annotated[int | None, typer.Option(help="The first so many pictures.")] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures at a time.")] = 8,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting, as in --set dtype=float16.")] = None,
    folders: options.Folders = None,
    out: Annotated[Path | None, typer.Option(help="A CSV file of every picture's measures.")] = None,
) -> None:
    """Invert pictures by several schemes, bring them back and edit them: the table that papers on inversion print.

    Measures are those of PIE-Bench, as its authors compute them: distance of structure, PSNR, LPIPS, MSE and SSIM
    outside the mask, and the CLIP score of the whole picture and of what is inside the mask.

    Example: noisezoo inversions pie-bench:PIE-Bench --view sd15 --schemes ddim,heun,bdia --limit 100
    """
    import pandas as pd

    from noisezoo.builder.views import inversion_table

    names, labels = options.split_names(measures), options.split_names(schemes)
    if not names or not labels:
        raise UsageError("name at least one scheme and one measure: see `noisezoo inversions --help`")
    common = {"num_inference_steps": steps, "guidance_scale": guidance, "batch_size": batch_size,
              "prompt_column": "original_prompt", **options.read_settings(settings)}  # fmt: skip
    chosen = {scheme: _settings({**common, "scheme": scheme}) for scheme in labels}
    opened = open_source(source)
    if not {"original_prompt", "editing_prompt", "edit_type", "mask"} <= set(opened.label_features()):
        raise UsageError(f"source {source} has no prompts and masks of edits: give pie-bench:PATH")
    rows = located_rows([view, *encoders_of(names)], folders)
    for row in rows.values():
        check_access(row)
    refused: list[Refusal] = []
    found = list(inversion_table(
        opened, rows, view, chosen, measures=names, edit_guidance=edit_guidance, limit=limit, refused=refused,
    ))  # fmt: skip
    if not found:
        raise UsageError(
            f"source {source} has no picture that can be read: {refused[0].message if refused else 'empty'}"
        )
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(found).to_csv(out, index=False)  # a line a picture, scheme and task; NaN where a mask covers all
    show(found, labels, names)
    console = plain_console()
    count = len({row["image_id"] for row in found})
    console.print(f"{count} pictures, {steps} steps; intervals are 95 %, over pictures, each scheme by itself.")
    for refusal in refused:
        console.print(f"refused: {refusal.image_id}: {refusal.message}")


def _settings(fields: dict[str, Any]) -> Settings:
    try:
        return Settings.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def located_rows(names: Iterable[str], folders: Sequence[str] | None) -> dict[str, zoo.View]:
    """Name -> row of the zoo, a local folder in the place of its repository where one is given.

    Raises:
        UsageError: No such view, or a folder for a view that is not read.
    """
    rows, given = {name: zoo.get(name) for name in names}, options.read_folders(folders)
    unused = [name for name in given if name not in rows]
    if unused:
        raise UsageError(f"--folder {unused[0]}: that view is not read here; these are: {', '.join(rows)}")
    return rows | {name: zoo.at_folder(rows[name], folder) for name, folder in given.items()}


def show(rows: Sequence[dict[str, Any]], schemes: Sequence[str], measures: Sequence[str]) -> None:
    """Means with intervals over pictures, scheme by measure, in the units of the benchmark's own tables."""
    console = plain_console()
    titles = [EDIT_TITLES[measure] for measure in measures]
    heads = [f"{title}{'' if scale == 1 else f' x {scale:g}'}" for title, scale in titles]
    for task, title in TASKS.items():
        table = make_table(title, *heads)
        for scheme in schemes:
            own = [row for row in rows if (row["scheme"], row["task"]) == (scheme, task)]
            table.add_row(scheme, *(_mean([row[m] for row in own], EDIT_TITLES[m][1]) for m in measures))
        console.print(table)


def _mean(values: Sequence[float], scale: float) -> str:
    kept = np.asarray(values, float)
    kept = kept[np.isfinite(kept)] * scale
    if not len(kept):
        return "-"
    (interval,) = mean_intervals(kept[:, None])
    return f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
