"""`noisezoo analyze`: the analyses on a dataset, with the builder's models to regenerate through."""

import json
import platform
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from noisezoo import zoo
from noisezoo.analysis.edits import MAKERS
from noisezoo.analysis.report import begin_report, write_report
from noisezoo.analysis.studies import QUICK, VERDICTS, Analysis, Effort, Judge, Model, Options, analyze as run_analyses
from noisezoo.commands import options, register_command
from noisezoo.commands.output import make_table, plain_console, print_json
from noisezoo.commands.pictures import find_pictures, split_source
from noisezoo.errors import UsageError
from noisezoo.loading import read_file

SUMMARY = ("verdicts", "scorecard", "missing")
"""Results that `--json` prints: what the terminal shows, and the studies that lack something."""
KEPT = "studies"
"""Folder, in the report's, where the findings of each study are written when it ends."""
COVERED = "images"
"""What intervals cover where the scorecard need not say it."""
PICTURES = 16
"""Pictures that a model makes at a time."""
SOFTWARE = ("noisezoo", "numpy", "scipy", "pyarrow", "matplotlib")


@register_command("analyze", "Analyse")
def analyze(
    dataset: Annotated[str, typer.Argument(help="A built folder, or a dataset id on the Hub.")],
    out: Annotated[Path, typer.Option(help="Where report.html and results.json go.")] = Path("report"),
    views: Annotated[str | None, typer.Option(help="Views, separated by commas; all by default.")] = None,
    revision: options.Revision = None,
    source: options.Pictures = None,
    source_options: options.SourceOptions = None,
    studies: Annotated[
        str | None,
        typer.Option(
            help="These alone, separated by commas: audit, gaussianity, likelihood, probes, regression, trainings, "
            "truth, profile, conditional, learning, paper, stitching, objectives, pairs, ceiling, given, alignment, "
            "shared, structure, conditioning, spurious, inversions, edits."
        ),
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Also do what the paper did, as it did it.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer draws, and comparisons of 2,000 images.")] = False,
    variants: Annotated[
        list[str] | None,
        typer.Option("--variant", help="NAME=DATASET of the same images inverted otherwise; may be repeated."),
    ] = None,
    directions: Annotated[str | None, typer.Option(help="Of edits: probe, class means, lda; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of folds, projections, permutations and resamples.")] = 42,
    edit: Annotated[str | None, typer.Option(help="Attributes to edit, separated by commas.")] = None,
    model: Annotated[str | None, typer.Option(help="Noise views to regenerate through, separated by commas.")] = None,
    judge: Annotated[str | None, typer.Option(help="The encoder view that judges edits.")] = None,
    folders: options.Folders = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; a second run goes on otherwise.")] = False,
    as_json: options.Json = False,
) -> None:
    """Hold the paper's claims against controls, with intervals: report, numbers, tables, figures and a scorecard.

    Example: noisezoo analyze my-faces --out my-report --model faces-ddpm --edit Smiling --judge faces-clip
    """
    console = plain_console(stderr=as_json)
    if fresh:
        shutil.rmtree(out / KEPT, ignore_errors=True)
    recipe = read_recipe_of(dataset, revision)
    know_models(recipe, folders)
    pairs = (options.split_pair(each, "--variant", "NAME=DATASET", "heun=my-faces-heun") for each in variants or ())
    begin_report(out)
    named = options.split_names(views) or None
    wanted = Options(
        seed, QUICK if quick else Effort(), paper, [make_model(name, recipe) for name in options.split_names(model)],
        make_judge(judge) if judge else None, options.split_names(edit),
        options.split_names(directions) or tuple(MAKERS), dict(pairs),
    )  # fmt: skip
    analysis = analyze_with_progress(
        dataset, console, wanted, views=named, revision=revision,
        studies=options.split_names(studies) or None, keep=out / KEPT,
        **with_pictures(dataset, console, source, source_options, named, revision),
    )  # fmt: skip
    path = write_report({Path(dataset).name: analysis}, out, title=f"NoiseZoo: {Path(dataset).name}", run=about(quick))
    if as_json:
        print_json({"report": str(path), **{key: analysis.results[key] for key in SUMMARY}})
        return
    show_verdicts(analysis, console)
    show_scorecard(analysis, console)
    console.print(f"Report: {path}")


def with_pictures(
    dataset: str, console: Console, source: str | None, source_options: list[str] | None, views: list[str] | None,
    revision: str | None,
) -> dict[str, Any]:  # fmt: skip
    """What `--source` gives an analysis: which of the dataset's sources, and its pictures where it holds none."""
    chosen, where = split_source(dataset, source, revision)
    if where is None:
        if source_options:
            raise UsageError("--option is an option of --source, where the pictures are: give that too")
        return {"source": chosen}
    found = find_pictures(
        dataset, where, options.read_source_options(source_options), source=chosen, views=views, revision=revision,
        recipe=read_recipe_of(dataset, revision),
    )  # fmt: skip
    for view, rows in found.items():
        console.print(f"{view}: {len(rows)} pictures of {where}")
    return {"source": chosen, "found": found}


def about(quick: bool) -> dict[str, Any]:
    """What a reader needs to run the same again."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    versions = {name: version(name) for name in SOFTWARE} | {"python": platform.python_version()}
    return {"command": shlex.join(["noisezoo", *sys.argv[1:]]), "date": now, "versions": versions, "quick": quick}


def analyze_with_progress(
    dataset: str | Path, console: Console, wanted: Options | None = None, **asked: Any
) -> Analysis:
    """`noisezoo.analysis.studies.run.analyze`, with a line of what it is at, its share, rate and time left."""
    title = f"analyse {Path(dataset).name}"
    bar = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    times = (TimeElapsedColumn(), TextColumn("elapsed,"), TimeRemainingColumn(), TextColumn("left"))
    whole_run = 30 * 86400.0  # seconds: the rate is that of the whole run, as studies differ
    shown = console.is_terminal
    with Progress(*bar, *times, console=console, disable=not shown, speed_estimate_period=whole_run) as progress:
        task, begun, done = progress.add_task(title, total=1.0), perf_counter(), [0.0]

        def advance(share: float) -> None:
            done[0] = share
            progress.update(task, completed=share)

        def step(text: str) -> None:
            progress.update(task, description=f"{title}: {text}")
            if not console.is_terminal:
                left = (perf_counter() - begun) * (1 / done[0] - 1) if done[0] else None
                eta = "" if left is None else f", about {timedelta(seconds=round(left))} left"
                console.print(f"{title}: {text} ({done[0]:.0%} done{eta})")

        analysis = run_analyses(dataset, replace(wanted or Options(), step=step, progress=advance), **asked)
        progress.update(task, description=title, completed=1.0)
    return analysis


def show_verdicts(analysis: Analysis, console: Console) -> None:
    """The sentences that matter most: the headlines and what the controls say."""
    for verdict in analysis.results["verdicts"]:
        if verdict["kind"] in ("headline", "control", "audit"):
            console.print(f"  - {verdict['text']}")


def show_scorecard(analysis: Analysis, console: Console) -> None:
    """What each claim of the paper comes to on this dataset: a row a claim, with the views that each verdict is of."""
    table, untold = make_table("claim", *VERDICTS.values()), []
    for claim, of_claim in groupby(analysis.results["scorecard"], key=lambda row: row["claim"]):
        rows = [row for row in of_claim if row["view"]]
        views = [Counter(row["view"] for row in rows if row["verdict"] == verdict) for verdict in VERDICTS.values()]
        said = [", ".join(name if n == 1 else f"{name} ×{n}" for name, n in counted.items()) for counted in views]
        over = [f" (over {covers})" for covers in dict.fromkeys(row["covers"] for row in rows) if covers != COVERED]
        table.add_row(claim + "".join(over), *said) if rows else untold.append(claim)
    if table.row_count:
        console.print(table)
        console.print(f"Each verdict is of an interval over {COVERED}, unless its claim says otherwise.")
    if untold:
        console.print(f"No evidence here, for want of the views or the study that could tell: {'; '.join(untold)}.")


def read_recipe_of(dataset: str | Path, revision: str | None = None) -> dict[str, Any]:
    """The recipe that the dataset was built by, as it is published; empty where there is none."""
    return dict(json.loads(read_file(dataset, "recipe.json", revision) or "{}"))


def know_models(recipe: dict[str, Any], folders: Sequence[str] | None) -> None:
    """Register the rows that a dataset's recipe brought along, and put local folders (NAME=PATH) in models' places."""
    for fields in recipe.get("rows", ()):
        if fields["name"] not in zoo.ROWS:
            zoo.register(zoo.View.of(fields))
    for name, path in options.read_folders(folders).items():
        if not Path(path).is_dir():
            raise UsageError(f"--folder {name}={path}: there is no folder {path}")
        zoo.register(replace(zoo.get(name), repo=str(Path(path).resolve()), revision=None), replace_existing=True)


def make_model(view: str, recipe: dict[str, Any]) -> Model:
    """The generative model of a noise view, with the settings its noise was made by, as the dataset's recipe has them.

    Raises:
        UsageError: The view is no diffusion model, or its noise was made with a prompt for each image.
    """
    row = zoo.get(view)
    if row.family != "diffusers":
        raise UsageError(f"view {view} is {row.about}: pictures can only be made through a noise view")
    from noisezoo.builder.recipe import Settings, merged
    from noisezoo.builder.views import make_inverter

    own = recipe.get("view_settings", {}).get(view, {})
    row = zoo.at_resolution(row, own.get("resolution", row.resolution))
    made = merged(Settings(**recipe.get("settings", {})), own)
    if made.prompt_column is not None:
        raise UsageError(
            f"the noise of {view} was made with each image's own prompt (column {made.prompt_column}), which an edit "
            "cannot follow: edit a dataset that was built with one prompt"
        )
    run = in_batches(view, "reconstruct", lambda: make_inverter(row, made))

    def generate(noise: np.ndarray) -> np.ndarray:
        import torch

        rows = torch.from_numpy(noise.reshape(-1, *row.shape))
        return run(len(rows), lambda model, at: model.generate(rows[at]).float().cpu().numpy())

    return Model(view, generate, f"{row.repo}@{row.revision}")


def make_judge(view: str) -> Judge:
    """The encoder of an embedding view, for pictures in [-1, 1].

    Raises:
        UsageError: The view is no encoder.
    """
    row = zoo.get(view)
    if row.kind != "embedding":
        raise UsageError(f"view {view} is {row.about}: a judge must be an encoder")
    from noisezoo.builder.models import Encoder

    run = in_batches(
        view, "network", lambda: Encoder.from_pretrained(row.location, family=row.family, revision=row.revision)
    )

    def embed(images: np.ndarray) -> np.ndarray:
        from PIL import Image

        pixels = np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
        pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3))  # one channel stands for three
        return run(len(pixels), lambda encoder, at: encoder.embed([Image.fromarray(pixels[i]) for i in at]))

    return Judge(view, embed, f"{row.repo}@{row.revision}")


def in_batches(view: str, stage: str, load: Callable[[], Any]) -> Callable[..., np.ndarray]:
    """A function of n and `work(model, at)` that gives the rows which the work makes of 0 to n, in batches `at` (b,).

    The model is loaded when the first row is asked for, as other studies need the memory. A batch that does not fit is
    halved; a model, or one row, that does not is a NoiseZooError.
    """
    from noisezoo.builder.engine import naming_shortage
    from noisezoo.builder.views import Stages

    stages = Stages(view, PICTURES)

    @cache
    def model() -> Any:
        with naming_shortage(view):
            return load()

    def run(n: int, work: Callable[[Any, np.ndarray], np.ndarray]) -> np.ndarray:
        return np.concatenate(stages.run(stage, lambda at: work(model(), at), np.arange(n)))

    return run
