"""`noisezoo plan`: what a build will take, before it is begun."""

import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from noisezoo.builder.launch import CPU, SHARE, UNIT_LEAST, UNIT_MOST, Plan, machine, names, plan as make_plan
from noisezoo.builder.recipe import Recipe, SourceSpec
from noisezoo.builder.sources import open_source
from noisezoo.commands import options, register_command
from noisezoo.commands.output import duration, facts_table, numbers_table, plain_console, print_json, rounded, size_text
from noisezoo.errors import UsageError


@register_command("plan", "Build")
@options.with_recipe
def plan(
    recipe: Recipe,
    images: Annotated[
        int | None, typer.Option(help="How many images; the recipe's limit, or all of its source, by default.")
    ] = None,
    gpu: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(names()[:-2])}; here: this machine's GPU; or cpu: this machine's, measured in a second "
            "or two."
        ),
    ] = "h100",
    deadline: Annotated[float | None, typer.Option(metavar="HOURS", help="Suggest processes that meet it.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes, each with a device.")] = None,
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
    """Say what a build will take: hours, disk, memory, processes for a deadline. Nothing is downloaded.

    Example: noisezoo plan faces --views sd15,clip-vit-l14 --images 30000 --gpu h100 --set dtype=bfloat16 --deadline 2
    """
    for option, value in {"--images": images, "--deadline": deadline, "--processes": processes}.items():
        if value is not None and value <= 0:
            raise UsageError(f"{option} {value:g}: give a number above zero")
    count = images or recipe.source.limit or known_count(recipe.source)
    if not count:
        raise UsageError(f"recipe {recipe.name} takes all of its source: say how many images that is with --images")
    s = recipe.settings
    beside = processes or (max(1, (os.cpu_count() or 1) // s.threads) if gpu == CPU else 1)
    made = make_plan(recipe, count, machine(gpu, dtype=s.dtype, threads=s.threads, processes=beside))
    needed = processes or (beside if deadline is None else made.processes_for(deadline))
    if as_json:
        print_json(_as_json(made, needed, deadline))
    else:
        plain_console().print(_views_table(made), facts_table(_facts(made, needed, deadline)), sep="\n")


def known_count(spec: SourceSpec) -> int:
    """Images of a source, or of the split that is asked for, where they are known without reading it; else 0."""
    counts = open_source(spec.name, spec.options).counts
    return sum(counts.values()) if spec.split is None else counts.get(spec.split, 0)


def _as_json(plan: Plan, processes: int, deadline: float | None) -> dict[str, Any]:
    """The plan with keys that stay; seconds, hours of a device, bytes."""
    same = ("images", "units", "part_bytes", "published_bytes", "device_memory", "host_memory", "publishing_memory")
    of_view = ("guided", "unit_seconds", "part_bytes", "published_bytes", "weights", "activations")
    return {name: getattr(plan, name) for name in same} | {
        "device": plan.machine.name, "processes": processes, "seconds": plan.seconds(processes),
        "device_hours": plan.device_seconds / 3600, "deadline_hours": deadline,
        "suggested_processes": None if deadline is None else plan.processes_for(deadline),
        "slice_rows": plan.recipe.slice_rows, "suggested_slice_rows": plan.slice_rows(processes),
        "temporary_bytes": plan.temporary_bytes(processes), "download_bytes": plan.downloads,
        "views": [
            {name: getattr(view, name) for name in of_view} |
            {"view": view.row.name, "units": plan.slices, "passes_per_image": view.cost.forwards / plan.images,
             "gflops": view.cost.gflops, "device_hours": view.seconds / 3600}
            for view in plan.views
        ],
        "notes": list(_notes(plan, processes)),
    }  # fmt: skip


def _views_table(plan: Plan) -> Table:
    rows = f"{min(plan.recipe.slice_rows, plan.images)} images"
    table = numbers_table("view", "passes", rows, "time", "parts", "Hub", "weights", "batch")
    for view in plan.views:
        weights = "?" if view.weights is None else size_text(view.weights)
        table.add_row(
            view.row.name, rounded(view.cost.forwards / plan.images), duration(view.unit_seconds),
            duration(view.seconds), size_text(view.part_bytes), size_text(view.published_bytes), weights,
            f"~{size_text(view.activations)}",
        )  # fmt: skip
    return table


def _facts(plan: Plan, processes: int, deadline: float | None) -> Iterator[tuple[str, str]]:
    """What all of it takes."""
    views, hours = _counted(len(plan.views), "view"), rounded(plan.device_seconds / 3600)
    yield "work", f"{plan.images:,} images in {views}, {hours} hours of one process on {plan.machine.about}"
    yield "time", f"{duration(plan.seconds(processes))} with {_counted(processes, 'process')}"
    if deadline is not None:
        needed = _counted(plan.processes_for(deadline), "process")
        yield "deadline", f"{deadline:g} hours need {needed}, each with a device"
    parts, published, temporary = plan.part_bytes, plan.published_bytes, plan.temporary_bytes(processes)
    total = size_text(parts + published + temporary)
    each = f"parts {size_text(parts)}, published {size_text(published)}, temporary up to {size_text(temporary)}"
    yield "disk", f"{total}: {each}"
    yield "Hub", size_text(published)
    unknown = [repo for repo, size in plan.downloads.items() if size is None]
    known = sum(size for size in plan.downloads.values() if size is not None)
    also = f", and {', '.join(unknown)}, of unknown size" if unknown else ""
    yield "models", f"{size_text(known) if known else 'nothing'} to download{also}"
    has = "" if plan.machine.memory is None else f"; it has {size_text(plan.machine.memory)}"
    yield "memory", f"about {size_text(plan.device_memory)} a process, within a factor of two{has}"
    host, last = size_text(plan.host_memory), size_text(plan.publishing_memory)
    yield "host memory", f"about {host} a process, and {last} for the one that publishes"
    yield from (("note", note) for note in _notes(plan, processes))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def _notes(plan: Plan, processes: int) -> Iterator[str]:
    """What is not known, or should be thought of."""
    if (rows := plan.slice_rows(processes)) != plan.recipe.slice_rows:
        slowest = max(view.unit_seconds for view in plan.views)
        yield (
            f"slice_rows: {rows} instead of {plan.recipe.slice_rows} would bring what the slowest view commits at once "
            f"from {duration(slowest)} of work to between {UNIT_LEAST / 60:g} and {UNIT_MOST / 60:g} minutes"
        )
    if plan.machine.memory is not None and plan.device_memory > plan.machine.memory:
        yield "more memory than the device has: a batch that does not fit is halved until it does; weights are not"
    if not plan.machine.is_cpu:
        yield f"hours are at {SHARE:.0%} of the maker's peak; small networks and small batches reach less"
        if plan.recipe.settings.dtype == "float32":
            yield "dtype is float32, without tensor cores: --set dtype=bfloat16 or float16 is several times as fast"
    for view in plan.views:
        if view.row.repo and not view.row.gflops:
            yield f"{view.row.name}: its row gives no work (gflops), so its time is not in the plan"
        if view.weights is None:
            yield f"{view.row.name}: its parameters are not known before it is downloaded, so its memory is not in it"
