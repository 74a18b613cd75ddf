"""`noisezoo analyze`: the analyses on a dataset, with the builder's models to regenerate through."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from noisezoo import zoo
from noisezoo.analysis.report import write_report
from noisezoo.analysis.run import Analysis, Judge, Model
from noisezoo.analysis.run import analyze as run_analyses
from noisezoo.commands.build import split_names
from noisezoo.errors import UsageError
from noisezoo.loading import LABELS, PAIRED, config_names, read_file


def run_analyze(
    dataset: str, out: Path, *, views: str | None, revision: str | None, edit: str | None, model: str | None,
    judge: str | None,
) -> None:  # fmt: skip
    """Analyse one dataset and print the verdicts and the report's path."""
    console = Console()
    edits = split_names(edit)
    if edits and not (model and judge):
        raise UsageError("--edit needs --model, the noise to edit, and --judge, the encoder that looks at the result")
    chosen = split_names(views) or [n for n in config_names(dataset, revision) if n not in (PAIRED, LABELS)]
    settings = recipe_settings(dataset, revision)
    analysis = analyze_with_progress(
        dataset, chosen, console, revision=revision, edits=edits,
        models=[make_model(name, settings) for name in split_names(model)], judge=make_judge(judge) if judge else None,
    )  # fmt: skip
    path = write_report({Path(dataset).name: analysis}, out, title=f"NoiseZoo: {Path(dataset).name}")
    show_verdicts(analysis, console)
    console.print(f"Report: {path}", soft_wrap=True)


def analyze_with_progress(
    dataset: str | Path, views: Sequence[str], console: Console, *, models: Sequence[Model], **options: Any
) -> Analysis:
    """`noisezoo.analysis.run.analyze`, with a bar that counts its steps."""
    with _steps(console, f"analyse {Path(dataset).name}", len(views) + len(models)) as step:
        return run_analyses(dataset, views=views, models=models, step=step, **options)


def show_verdicts(analysis: Analysis, console: Console, kinds: Sequence[str] = ("headline", "control")) -> None:
    """The sentences of the given kinds."""
    for verdict in analysis.results["verdicts"]:
        if verdict["kind"] in kinds:
            console.print(f"  - {verdict['text']}", highlight=False)


def recipe_settings(dataset: str | Path, revision: str | None = None) -> dict[str, Any]:
    """How the dataset's noise was made, so that it is regenerated the same way."""
    import json

    recipe = read_file(dataset, "recipe.json", revision)
    return dict(json.loads(recipe)["settings"]) if recipe else {}


def make_model(view: str, settings: dict[str, Any]) -> Model:
    """The generative model of a noise view, with the settings its noise was made by.

    Raises:
        UsageError: The view is no diffusion model.
    """
    row = zoo.get(view)
    if row.family != "diffusers":
        raise UsageError(f"view {view} is {row.about}: pictures can only be made through a noise view")
    from noisezoo.builder.inverter import Inverter

    names = ("num_inference_steps", "guidance_scale", "prompt", "scheme", "dtype")
    inverter = Inverter.from_pretrained(
        row.folder or row.repo, revision=row.revision, untrained_seed=row.start_seed,
        **{name: settings[name] for name in names if name in settings},
    )  # fmt: skip

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
    from noisezoo.builder.encoder import Encoder

    encoder = Encoder.from_pretrained(row.folder or row.repo, family=row.family, revision=row.revision)

    def embed(images: np.ndarray) -> np.ndarray:
        from PIL import Image

        pixels = np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
        return encoder.embed([Image.fromarray(picture) for picture in pixels])

    return Judge(view, embed)


@contextmanager
def _steps(console: Console, title: str, total: int) -> Iterator[Callable[[str], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        begun = 0

        def step(text: str) -> None:
            nonlocal begun
            progress.update(task, completed=begun, description=f"{title}: {text}")
            begun += 1

        yield step
        progress.update(task, completed=total, description=title)
