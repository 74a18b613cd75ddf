"""`noisezoo build`, and how a recipe is named and changed on the command line."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from noisezoo.builder.dataset import is_finished
from noisezoo.builder.engine import opened
from noisezoo.builder.launch import REPORT, Forecast, Outcome, build_dataset, default_processes, total_seconds
from noisezoo.builder.recipe import Recipe, read_recipe
from noisezoo.commands.formats import numbers_table, rounded, size_text
from noisezoo.commands.status import views_table
from noisezoo.errors import UsageError


def run_build(
    recipe: str, out: Path, *, source: str | None, options: Sequence[str], views: str | None, limit: int | None,
    processes: int | None, settings: Sequence[str], folders: Sequence[str], mixed: bool = False,
) -> None:  # fmt: skip
    """Build with progress, and end with what is there, and what it took beside what was predicted."""
    if processes is not None and processes < 1:
        raise UsageError(f"--processes {processes}: at least one process must work")
    console = Console()
    wanted = read_recipe(recipe, make_overrides(source, views, limit, settings, folders, options))
    forecast = make_forecast(wanted, out, processes)
    outcome = build_dataset(wanted, out, processes=processes, console=console, mixed=mixed)
    show_outcome(outcome, console)
    if forecast is not None:
        show_forecast(forecast, console)


def make_forecast(recipe: Recipe, out: Path, processes: int | None) -> Forecast | None:
    """What is predicted before the work begins; None where none is left. What cannot be built is refused here."""
    build = opened(recipe, out)
    return None if is_finished(build) else Forecast.of(build, processes or default_processes(recipe.settings.threads))


def show_forecast(forecast: Forecast, console: Console) -> None:
    """A table of what was predicted and what it took; nothing where no unit was computed."""
    compared = forecast.compare()
    if not compared:
        return
    table = numbers_table("view", "planned s", "took s", "ratio", "planned", "stored", "ratio")
    for each in compared:
        seconds = ("-", "-", "-") if each.seconds is None else _pair(each.seconds, rounded)
        table.add_row(each.what, *seconds, *_pair(each.bytes, size_text))
    console.print(table)
    predicted, actual = total_seconds(compared)
    console.print(
        f"Took {actual:.0f} s of work where {predicted:.0f} s were predicted ({actual / predicted:.2f} times), on "
        f"{forecast.plan.machine.about}. Kept in {forecast.build.state / REPORT}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def _pair(pair: tuple[float, float], text: Callable[[float], str]) -> tuple[str, str, str]:
    predicted, actual = pair
    return text(predicted), text(actual), f"{actual / predicted:.2f}"


def make_overrides(
    source: str | None, views: str | None, limit: int | None, settings: Sequence[str], folders: Sequence[str],
    options: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """The command line's options as recipe fields; another source begins without the recipe's options for its own.

    Raises:
        UsageError: A `--set` or `--option` that is not KEY=VALUE, or a `--folder` that is not NAME=PATH.
    """
    overrides: dict[str, Any] = {"source": {}, "settings": {}}
    if source is not None:
        overrides["source"] |= {"name": source, "limit": None, "options": {}}
    if options:
        overrides["source"]["options"] = read_options(options)
    if limit is not None:
        overrides["source"]["limit"] = limit
    if views is not None:
        overrides["views"] = split_names(views)
    for setting in settings:
        key, value = split_pair(setting, "--set", "KEY=VALUE", "num_inference_steps=20")
        overrides["settings"][key] = yaml.safe_load(value)
    if folders:
        overrides["folders"] = dict(split_pair(each, "--folder", "NAME=PATH", "sd15=models/sd15") for each in folders)
    return overrides


def read_options(options: Sequence[str]) -> dict[str, Any]:
    """A source's options, each KEY=VALUE with a YAML value."""
    pairs = [split_pair(option, "--option", "KEY=VALUE", "image=photo") for option in options]
    return {key: yaml.safe_load(value) for key, value in pairs}


def split_pair(text: str, option: str, form: str, example: str) -> tuple[str, str]:
    """The two sides of an option's `=`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{option} {text}: write it as {form}, as in {option} {example}")
    return key, value


def split_names(text: str | None) -> list[str]:
    """`a,b` as a list; none for no text."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def show_outcome(outcome: Outcome, console: Console) -> None:
    """A table of views, the rows refused and how to load the folder."""
    console.print(views_table(outcome.views))
    refused = sum(view.refused for view in outcome.views)
    if refused:
        console.print(f"{refused} refusals, with reasons in {outcome.root / 'refusals.jsonl'}")
    console.print(f'Built in {outcome.seconds:.0f} s. Load it: datasets.load_dataset("{outcome.root}")', soft_wrap=True)
