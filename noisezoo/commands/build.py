"""`noisezoo build`: build a dataset with progress, then say what is there and what it took."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from noisezoo.builder.dataset import count_refused, is_finished, read_refusals
from noisezoo.builder.engine import CUT_PROMPTS, Store, find_store, is_url, opened
from noisezoo.builder.launch import (
    REPORT,
    Forecast,
    Outcome,
    build_dataset,
    default_processes,
    find_engine,
    read_options,
    refuse_url,
    total_seconds,
)
from noisezoo.builder.recipe import Recipe
from noisezoo.commands import options, register_command
from noisezoo.commands.bars import Bars, working
from noisezoo.commands.output import load_call, numbers_table, plain_console, rounded, size_text
from noisezoo.commands.status import views_table
from noisezoo.errors import UsageError
from noisezoo.record import REFUSALS, read_record


@register_command("build", "Build")
@options.with_recipe
def build(
    recipe: Recipe,
    out: options.Out,
    processes: Annotated[int | None, typer.Option(help="Processes; one a GPU, or one a core, by default.")] = None,
    mixed: options.Mixed = False,
    engine: Annotated[
        str, typer.Option(help="What starts the processes: local, slurm, ray, submitit; see docs/cluster.md.")
    ] = "local",
    engine_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the engine; may be repeated.")
    ] = None,
) -> None:
    """Build a dataset, or go on with one: killed at any point, the same command resumes to the same bytes.

    Example: noisezoo build faces --out my-faces --limit 200
    """
    if processes is not None and processes < 1:
        raise UsageError(f"--processes {processes}: at least one process must work")
    place = find_store(out)
    console, start, forecast = plain_console(), find_engine(engine, read_options(engine_option or [])), None
    if start is not None:
        refuse_url(out, f"--engine {engine}")
    else:
        processes = processes or default_processes(recipe.settings.threads)
        with working(console, f"preparing {place.name}: images, models and this machine"):
            forecast = make_forecast(recipe, place, processes, console)
    with Bars(console, processes) as bars:
        outcome = build_dataset(
            recipe, place, processes=processes, watch=bars.update, say=bars.say, mixed=mixed, engine=start
        )
    show_outcome(outcome, console)
    if forecast is not None:
        show_forecast(forecast, console)


def make_forecast(recipe: Recipe, out: Path | Store, processes: int, console: Console) -> Forecast | None:
    """What is predicted before the work begins; None where none is left, or nothing is known of this machine's GPU."""
    build = opened(recipe, out)
    if is_finished(build):
        return None
    try:
        return Forecast.of(build, processes)
    except UsageError as error:
        console.print(f"No time is predicted: {error}")
        return None


def show_outcome(outcome: Outcome, console: Console) -> None:
    """A table of views, the rows refused and how to load the folder."""
    console.print(views_table(outcome.views))
    record = read_record(outcome.root)
    path = outcome.root / REFUSALS
    if refusals := read_refusals(path) if path.is_file() else []:
        counted = f"{count_refused(refusals)} refused, with reasons in {outcome.place or outcome.root}/{REFUSALS}"
        console.print(f"{counted}, as {refusals[0]['image_id']}: {refusals[0]['message']}")
    for section in record.sections if record else ():
        for view, facts in section.facts.items():
            if cut := facts.get(CUT_PROMPTS):
                told = f"{view}: the prompts of {cut:.0f} rows are longer than what its text towers read"
                console.print(f"{told}: their ends are without effect")
    here = f"Load it: {load_call(outcome.root)}"
    if is_url(outcome.place):
        here = f"`noisezoo join {outcome.place} --out FOLDER` brings it to a folder of this machine."
    console.print(f"Built in {outcome.seconds:.0f} s. {here}")


def show_forecast(forecast: Forecast, console: Console) -> None:
    """A table of what was predicted and what it took; nothing where no unit was computed."""
    compared = forecast.compare()
    if not compared:
        return
    table = numbers_table("view", "planned s", "took s", "ratio", "planned", "stored", "ratio")
    for each in compared:
        cells = []
        for pair, text in ((each.seconds, rounded), (each.bytes, size_text)):
            cells += ["-"] * 3 if pair is None else [*map(text, pair), f"{pair[1] / pair[0]:.2f}"]
        table.add_row(each.what, *cells)
    console.print(table)
    predicted, actual = total_seconds(compared)
    console.print(
        f"Took {actual:.0f} s of work where {predicted:.0f} s were predicted ({actual / predicted:.2f} times), on "
        f"{forecast.plan.machine.about}. Kept in {forecast.build.state / REPORT}",
    )
