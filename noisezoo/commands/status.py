"""`noisezoo status`: where a build stands, once or again and again, for people or for scripts."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from noisezoo.builder.engine import open_build
from noisezoo.builder.launch import HostStatus, Progress, ViewStatus, Watcher, ranges
from noisezoo.commands import register_command
from noisezoo.commands.output import duration, numbers_table, rounded, wide_console
from noisezoo.errors import IncompleteError, UsageError

HOSTS_SHOWN, MESSAGES_SHOWN = 10, 5


@register_command("status", "Build")
def status(
    folder: Annotated[Path, typer.Argument(help="A folder that is being built, or was.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until it is finished.")] = False,
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
    if every <= 0:
        raise UsageError(f"--every {every:g}: give a number of seconds above zero")
    watcher = Watcher(open_build(folder))
    looks = _looks(watcher, every) if watch else iter((Progress.of(watcher),))
    progress = _print_json(looks) if as_json else _draw(looks) if watch else _print(next(looks))
    if not progress.finished:
        left = sum(view.total - view.done - view.refused for view in progress.views)
        running = sum(view.running for view in progress.views)
        raise IncompleteError(
            f"{left} rows are missing, {running} of them in work, or the dataset is not published yet"
        )


def _looks(watcher: Watcher, every: float) -> Iterator[Progress]:
    """Look after look, up to that of the finished build."""
    while True:
        progress = Progress.of(watcher)
        yield progress
        if progress.finished:
            return
        time.sleep(every)


def _print_json(looks: Iterator[Progress]) -> Progress:
    """One line of JSON a look; the last one."""
    for progress in looks:
        print(json.dumps(progress.to_json()), flush=True)
    return progress


def _print(progress: Progress) -> Progress:
    wide_console().print(_page(progress))
    return progress


def _draw(looks: Iterator[Progress]) -> Progress:
    """Each look in the place of the one before; the last one."""
    with Live(console=wide_console(), auto_refresh=False) as live:
        for progress in looks:
            live.update(_page(progress), refresh=True)
    return progress


def _page(progress: Progress) -> RenderableType:
    parts: list[RenderableType] = [views_table(progress.views)]
    if any(host.images or host.at_work for host in progress.hosts):
        parts.append(_hosts_table(progress.hosts, progress.time))
    if len(progress.hosts) > HOSTS_SHOWN:
        parts.append(Text(f"The slowest {HOSTS_SHOWN} of {len(progress.hosts)} hosts; --json lists all."))
    return Group(*parts, *(Text(line) for line in _lines(progress)))


def views_table(views: Sequence[ViewStatus]) -> Table:
    """One row a view: images done, in work, refused, failed and missing, rate and time left."""
    table = numbers_table("view", "done", "running", "refused", "failed", "missing", "img/s", "left")
    for view in views:
        rate = view.recent_images_per_second
        counts = (view.done, view.running, view.refused, view.failed, view.missing)
        table.add_row(view.view, *map(str, counts), "-" if rate is None else rounded(rate), duration(view.seconds_left))
    return table


def _hosts_table(hosts: Sequence[HostStatus], now: float) -> Table:
    """One row a host, the slowest first."""
    table = numbers_table("host", "at work", "processes", "images", "img/s each", "speed", "last seen")
    for host in hosts[:HOSTS_SHOWN]:
        rate = "-" if host.images_per_second is None else rounded(host.images_per_second)
        speed = "-" if host.speed is None else f"{host.speed:.0%}"
        seen = f"{duration(max(now - host.last_seen, 0.0))} ago"
        table.add_row(host.host, str(host.at_work), str(host.processes), str(host.images), rate, speed, seen)
    return table


def _lines(progress: Progress) -> Iterator[str]:
    """What is slow, what failed, what is missing and how long it will take."""
    if progress.slowest_host is not None:
        slow = progress.hosts[0]
        yield f"Slowest host: {slow.host}, at {slow.speed or 0:.0%} of the mean pace."
    messages = list(dict.fromkeys(_told(progress)))
    yield from (f"Failed: {message}" for message in messages[-MESSAGES_SHOWN:])
    left: dict[str, list[int]] = {}
    for place in progress.look.left:
        left.setdefault(place.unit.view.name, []).append(place.unit.number)
    yield from (f"Missing of {view}: slices {ranges(numbers)}" for view, numbers in left.items())
    if progress.finished:
        yield f"Finished: {progress.root}"
    elif progress.seconds_left is not None:
        workers = f"{len(progress.at_work)} at work" if progress.at_work else "nobody at work now"
        yield f"About {duration(progress.seconds_left)} of work left, {workers}."


def _told(progress: Progress) -> Iterator[str]:
    for failure in progress.failures:
        where = "" if failure.view is None else f"{failure.view} slice {failure.slice}: "
        yield where + failure.message
