"""`noisezoo build` and `noisezoo status`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from noisezoo.builder.build import open_build
from noisezoo.builder.dataset import is_finished
from noisezoo.builder.launch import Outcome, build_dataset
from noisezoo.builder.recipe import read_recipe
from noisezoo.builder.status import ViewStatus, status
from noisezoo.errors import IncompleteError, UsageError


def run_build(
    recipe: str, out: Path, *, source: str | None, options: Sequence[str], views: str | None, limit: int | None,
    processes: int | None, settings: Sequence[str], folders: Sequence[str],
) -> None:  # fmt: skip
    """Build with progress, and end with what is there."""
    if processes is not None and processes < 1:
        raise UsageError(f"--processes {processes}: at least one process must work")
    console = Console()
    overrides = make_overrides(source, views, limit, settings, folders, options)
    outcome = build_dataset(read_recipe(recipe, overrides), out, processes=processes, console=console)
    show_outcome(outcome, console)


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
    console.print(status_table(outcome.views))
    refused = sum(view.refused for view in outcome.views)
    if refused:
        console.print(f"{refused} refusals, with reasons in {outcome.root / 'refusals.jsonl'}")
    console.print(f'Built in {outcome.seconds:.0f} s. Load it: datasets.load_dataset("{outcome.root}")', soft_wrap=True)


def show_status(folder: Path) -> None:
    """The same table for any build folder; raises IncompleteError where something is missing."""
    build = open_build(folder)
    views = status(build)
    Console().print(status_table(views))
    if not is_finished(build):
        left = sum(view.total - view.done - view.refused for view in views)
        running = sum(view.running for view in views)
        raise IncompleteError(
            f"{left} rows are missing, {running} of them in work, or the dataset is not published yet"
        )


def status_table(views: Sequence[ViewStatus]) -> Table:
    """One row a view: images done, in work, refused and missing, rate and time left."""
    table = Table("view")
    for name in ("done", "running", "refused", "missing", "images/s", "left"):
        table.add_column(name, justify="right")
    for view in views:
        rate = f"{view.images_per_second:.0f}" if view.images_per_second else "-"
        left = f"{view.seconds_left:.0f} s" if view.seconds_left is not None else "-"
        table.add_row(view.view, str(view.done), str(view.running), str(view.refused), str(view.missing), rate, left)
    return table
