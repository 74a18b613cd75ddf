"""The command line: where the builder's room and the analysis's room meet.

Exit codes: 0 done, 1 failed, 2 bad usage, 3 incomplete (the same command goes on).
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from noisezoo.commands import sharing
from noisezoo.commands.cluster import app as cluster
from noisezoo.errors import NoiseZooError, describe

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
app.add_typer(cluster, name="cluster")

OutOption = Annotated[Path, typer.Option("--out", help="The dataset's folder; run again with the same one to go on.")]


@app.callback()
def _about() -> None:
    """Diffusion noise and encoder embeddings of the same images: build them, load them, analyse them."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the two datasets and the report go.")] = Path("build/demo"),
    processes: Annotated[int | None, typer.Option(help="Processes that build; one a core by default.")] = None,
) -> None:
    """Build two small datasets, analyse them and write a report.

    Example: noisezoo demo --out build/demo
    """
    from noisezoo.commands.demo import run_demo

    run_demo(out, processes)


@app.command()
def build(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe (see `noisezoo recipes`) or a .yaml file.")],
    out: OutOption,
    source: Annotated[
        str | None,
        typer.Option(
            help="faces, digits, celeba, celeba:PATH, afhq, afhqv2, hf:REPO or imagefolder:PATH, "
            "instead of the recipe's."
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--option", help="An option of the source, as in --option image=photo; may be repeated."),
    ] = None,
    views: Annotated[str | None, typer.Option(help="Views, separated by commas, instead of the recipe's.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many images, chosen by hash.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes; one a GPU, or one a core, by default.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, as in --set num_inference_steps=20; may be repeated.")
    ] = None,
    folders: Annotated[
        list[str] | None, typer.Option("--folder", help="A local model, as in --folder sd15=PATH; may be repeated.")
    ] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Let differing software and devices work on it.")] = False,
) -> None:
    """Build a dataset, or go on with one: killed at any point, the same command resumes to the same bytes.

    Example: noisezoo build faces --out my-faces --limit 200
    """
    from noisezoo.commands.build import run_build

    run_build(
        recipe, out, source=source, options=options or [], views=views, limit=limit, processes=processes,
        settings=settings or [], folders=folders or [], mixed=mixed,
    )  # fmt: skip


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe (see `noisezoo recipes`) or a .yaml file.")],
    images: Annotated[int | None, typer.Option(help="How many images; the recipe's limit by default.")] = None,
    gpu: Annotated[
        str,
        typer.Option(
            help="b200, h200, h100, h100-pcie, a100, a100-40gb, l40s, l4, a10g, rtx4090, rtx3090, v100, t4, or cpu: "
            "this machine, measured in a second or two."
        ),
    ] = "h100",
    deadline: Annotated[float | None, typer.Option(metavar="HOURS", help="Suggest processes that meet it.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes, each with a device.")] = None,
    source: Annotated[str | None, typer.Option(help="As in `noisezoo build`.")] = None,
    views: Annotated[str | None, typer.Option(help="Views, separated by commas, instead of the recipe's.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, as in --set dtype=bfloat16; may be repeated.")
    ] = None,
    folders: Annotated[
        list[str] | None, typer.Option("--folder", help="A local model, as in --folder sd15=PATH; may be repeated.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object: device, images, units, processes, seconds, device_hours, deadline_hours, "
            "suggested_processes, slice_rows, suggested_slice_rows, part_bytes, published_bytes, temporary_bytes, "
            "download_bytes, device_memory, host_memory, publishing_memory, views, notes.",
        ),
    ] = False,
) -> None:
    """Say what a build will take: units, hours, disk, memory, processes for a deadline. Nothing is downloaded.

    Example: noisezoo plan faces --views sd15,clip-vit-l14 --images 30000 --gpu h100 --set dtype=bfloat16 --deadline 2
    """
    from noisezoo.commands.plan import run_plan

    run_plan(
        recipe, images=images, gpu=gpu, deadline=deadline, processes=processes, source=source, views=views,
        settings=settings or [], folders=folders or [], as_json=as_json,
    )  # fmt: skip


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="A folder that is being built, or was.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until the dataset is finished.")
    ] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", help="Seconds between two looks of --watch.")] = 2.0,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a look: finished, seconds_left, processes_at_work, slowest_host, views, missing, "
            "running, failures, hosts, processes.",
        ),
    ] = False,
) -> None:
    """Show where a build stands, from its folder alone; exit code 3 where something is missing.

    Example: noisezoo status my-faces --watch
    """
    from noisezoo.commands.status import show_status

    show_status(folder, watch=watch, every=every, as_json=as_json)


for command in sharing.COMMANDS:
    app.command()(command)


@app.command()
def analyze(
    dataset: Annotated[str, typer.Argument(help="A built folder, or a dataset id on the Hub.")],
    out: Annotated[Path, typer.Option(help="Where report.html and results.json go.")] = Path("report"),
    views: Annotated[str | None, typer.Option(help="Views, separated by commas; all by default.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
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
    folders: Annotated[
        list[str] | None, typer.Option("--folder", help="A local model, as in --folder sd15=PATH; may be repeated.")
    ] = None,
) -> None:
    """Hold the paper's claims against controls, with intervals: report, numbers, tables, figures and a scorecard.

    Example: noisezoo analyze my-faces --out my-report --model faces-ddpm --edit Smiling --judge faces-clip
    """
    from noisezoo.commands.analyze import run_analyze

    run_analyze(
        dataset, out, views=views, source=source, revision=revision, studies=studies, paper=paper, quick=quick,
        variants=variants or [], directions=directions, edit=edit, model=model, judge=judge, folders=folders or [],
        seed=seed,
    )  # fmt: skip


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="One view, in detail and with its cost.")] = None,
    kind: Annotated[str | None, typer.Option(help="noise, embedding or control: these views alone.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The untrained twin of every network too.")] = False,
    images: Annotated[int, typer.Option(help="Count the cost of NAME for this many images.")] = 30_000,
    steps: Annotated[int, typer.Option(help="... inverted in this many steps.")] = 50,
    guided: Annotated[
        bool, typer.Option("--guided", help="... with a prompt: two forwards a step, unless guidance is an input.")
    ] = False,
    describe: Annotated[
        str | None, typer.Option(help="FAMILY:FOLDER_OR_HUB_ID: print a row for it, to paste into a recipe.")
    ] = None,
) -> None:
    """List the zoo: every way to turn an image into an array.

    Example: noisezoo models sd15 --images 30000 --steps 50
    """
    from noisezoo.commands.models import show_described, show_model, show_models

    if describe is not None:
        show_described(describe)
    elif name is not None:
        show_model(name, images, steps, guided)
    else:
        show_models(kind, everything)


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="One recipe, as YAML to copy and change.")] = None) -> None:
    """List the bundled recipes, or print one.

    Example: noisezoo recipes faces > mine.yaml
    """
    from noisezoo.commands.models import show_recipes

    show_recipes(name)


def main() -> None:
    """Run a command; a failure is one line that names the thing and the mend."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except NoiseZooError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(describe(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on", 130)


def _fail(message: str, code: int) -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(("error: ", "bold red"), message)
    Console(stderr=True, soft_wrap=True).print(line)
    sys.exit(code)


if __name__ == "__main__":
    main()
