"""`noisezoo analyze`: the analyses on a dataset, with the builder's models to regenerate through."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from noisezoo import zoo
from noisezoo.analysis.edits import MAKERS
from noisezoo.analysis.report import begin_report, write_report
from noisezoo.analysis.studies import QUICK, Analysis, Effort, Judge, Model, analyze as run_analyses
from noisezoo.commands import options, register_command
from noisezoo.commands.output import make_table, plain_console
from noisezoo.errors import UsageError
from noisezoo.loading import read_file


@register_command("analyze", "Analyse")
def analyze(
    dataset: Annotated[str, typer.Argument(help="A built folder, or a dataset id on the Hub.")],
    out: Annotated[Path, typer.Option(help="Where report.html and results.json go.")] = Path("report"),
    views: Annotated[str | None, typer.Option(help="Views, separated by commas; all by default.")] = None,
    revision: options.Revision = None,
    source: Annotated[str | None, typer.Option(help="Which source, in a dataset of several.")] = None,
    studies: Annotated[
        str | None,
        typer.Option(
            help="These alone, separated by commas: gaussianity, probes, profile, conditional, learning, stitching, "
            "alignment, shared, structure, conditioning, spurious, edits."
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
) -> None:
    """Hold the paper's claims against controls, with intervals: report, numbers, tables, figures and a scorecard.

    Example: noisezoo analyze my-faces --out my-report --model faces-ddpm --edit Smiling --judge faces-clip
    """
    console = plain_console()
    recipe = read_recipe_of(dataset, revision)
    know_models(recipe, folders)
    edits, settings = options.split_names(edit), recipe.get("settings", {})
    if edits and not (model and judge):
        raise UsageError("--edit needs --model, the noise to edit, and --judge, the encoder that looks at the result")
    begin_report(out)
    pairs = (options.split_pair(each, "--variant", "NAME=DATASET", "heun=my-faces-heun") for each in variants or ())
    analysis = analyze_with_progress(
        dataset, console, views=options.split_names(views) or None, source=source, revision=revision,
        studies=options.split_names(studies) or None, paper=paper, seed=seed, edits=edits,
        effort=QUICK if quick else Effort(), directions=options.split_names(directions) or tuple(MAKERS),
        variants=dict(pairs), models=[make_model(name, settings) for name in options.split_names(model)],
        judge=make_judge(judge) if judge else None,
    )  # fmt: skip
    path = write_report({Path(dataset).name: analysis}, out, title=f"NoiseZoo: {Path(dataset).name}")
    show_verdicts(analysis, console)
    show_scorecard(analysis, console)
    console.print(f"Report: {path}")


def analyze_with_progress(dataset: str | Path, console: Console, **options: Any) -> Analysis:
    """`noisezoo.analysis.studies.run.analyze`, with a line that says what it is at."""
    title = f"analyse {Path(dataset).name}"
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), console=console
    ) as progress:
        task = progress.add_task(title, total=None)
        analysis = run_analyses(
            dataset, step=lambda text: progress.update(task, description=f"{title}: {text}"), **options
        )
        progress.update(task, description=title, total=1, completed=1)
    return analysis


def show_verdicts(analysis: Analysis, console: Console, kinds: Sequence[str] = ("headline", "control")) -> None:
    """The sentences of the given kinds."""
    for verdict in analysis.results["verdicts"]:
        if verdict["kind"] in kinds:
            console.print(f"  - {verdict['text']}")


def show_scorecard(analysis: Analysis, console: Console) -> None:
    """What each claim of the paper comes to on this dataset."""
    table = make_table("claim", "view", "verdict", "interval")
    for row in analysis.results["scorecard"]:
        table.add_row(row["claim"], row["view"], row["verdict"], row["shown"])
    console.print(table)


def read_recipe_of(dataset: str | Path, revision: str | None = None) -> dict[str, Any]:
    """The recipe that the dataset was built by, as it is published; empty where there is none."""
    import json

    recipe = read_file(dataset, "recipe.json", revision)
    return dict(json.loads(recipe)) if recipe else {}


def know_models(recipe: dict[str, Any], folders: Sequence[str] | None) -> None:
    """Register the rows that a dataset's recipe brought along, and put local folders (NAME=PATH) in models' places."""
    for fields in recipe.get("rows", ()):
        if fields["name"] not in zoo.ROWS:
            zoo.register(zoo.View(**{**fields, "shape": tuple(fields["shape"])}))
    for name, path in options.read_folders(folders).items():
        if not Path(path).is_dir():
            raise UsageError(f"--folder {name}={path}: there is no folder {path}")
        zoo.register(replace(zoo.get(name), repo=str(Path(path).resolve()), revision=None), replace_existing=True)


def make_model(view: str, settings: dict[str, Any]) -> Model:
    """The generative model of a noise view, with the settings its noise was made by.

    Raises:
        UsageError: The view is no diffusion model, or its noise was made with a prompt for each image.
    """
    row = zoo.get(view)
    if row.family != "diffusers":
        raise UsageError(f"view {view} is {row.about}: pictures can only be made through a noise view")
    from noisezoo.builder.recipe import Settings
    from noisezoo.builder.views import make_inverter

    made = Settings(**settings)
    if made.prompt_column is not None:
        raise UsageError(
            f"the noise of {view} was made with each image's own prompt (column {made.prompt_column}), which an edit "
            "cannot follow: edit a dataset that was built with one prompt"
        )
    inverter = make_inverter(row, made)

    def generate(noise: np.ndarray) -> np.ndarray:
        import torch

        images: np.ndarray = inverter.generate(torch.from_numpy(noise.reshape(-1, *row.shape))).cpu().numpy()
        return images

    return Model(view, generate)


def make_judge(view: str) -> Judge:
    """The encoder of an embedding view, for pictures in [-1, 1].

    Raises:
        UsageError: The view is no encoder.
    """
    row = zoo.get(view)
    if row.kind != "embedding":
        raise UsageError(f"view {view} is {row.about}: a judge must be an encoder")
    from noisezoo.builder.models import Encoder

    encoder = Encoder.from_pretrained(row.folder or row.repo, family=row.family, revision=row.revision)

    def embed(images: np.ndarray) -> np.ndarray:
        from PIL import Image

        pixels = np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
        return encoder.embed([Image.fromarray(picture) for picture in pixels])

    return Judge(view, embed)
