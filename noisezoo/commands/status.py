"""`noisezoo status`: where a build stands, once or again and again, for people or for scripts."""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from noisezoo.builder.engine import open_build
from noisezoo.builder.launch import Scan, ViewStatus, Watcher, missing_text, ranges
from noisezoo.commands import register_command
from noisezoo.commands.output import duration, numbers_table, plain_console, print_json, rounded
from noisezoo.errors import IncompleteError, UsageError

HOSTS_SHOWN, MESSAGES_SHOWN, RUNS_SHOWN = 10, 5, 10


@register_command("status", "Build")
def status(
    folder: Annotated[Path, typer.Argument(help="A folder or URL that is being built, or was.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until it is finished.")] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", help="Seconds between two scans of --watch.")] = 2.0,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object a scan: finished, seconds_left, processes_at_work, slowest_host, views, missing, "
            "running, failures, hosts, processes.",
        ),
    ] = False,
) -> None:
    """Show where a build stands, from its folder alone; exit code 3 where something is missing.

    Example: noisezoo status my-faces --watch
    """
    if every <= 0:
        raise UsageError(f"--every {every:g}: give a number of seconds above zero")
    watcher, console = Watcher(open_build(folder)), plain_console()
    with Live(console=console, auto_refresh=False) if watch and not as_json else nullcontext() as live:
        while True:
            scan = watcher.scan()
            if as_json:
                print_json(scan.to_json())
            elif live:
                live.update(_page(scan), refresh=True)
            else:
                console.print(_page(scan))
            if scan.finished or not watch:
                break
            time.sleep(every)
    if not scan.finished:
        running = f"; {sum(view.running for view in scan.views)} are in work" if scan.at_work else ""
        raise IncompleteError(f"{missing_text(scan.views)}{running}: the command that built it goes on")


def _page(scan: Scan) -> Group:
    hosts = [_hosts_table(scan)] if any(host.images or host.at_work for host in scan.hosts) else []
    return Group(views_table(scan.views), *hosts, *map(Text, _lines(scan)))


def views_table(views: Sequence[ViewStatus]) -> Table:
    """One row a view: images done, in work, refused, failed and missing, rate and time left."""
    table = numbers_table("view", "done", "running", "refused", "failed", "missing", "img/s", "left")
    for view in views:
        counts = (view.done, view.running, view.refused, view.failed, view.missing)
        table.add_row(view.view, *map(str, counts), rounded(view.recent_images_per_second), duration(view.seconds_left))
    return table


def _hosts_table(scan: Scan) -> Table:
    """One row a host, the slowest first."""
    table = numbers_table("host", "at work", "processes", "images", "img/s each", "speed", "last seen")
    for host in scan.hosts[:HOSTS_SHOWN]:
        speed = "-" if host.speed is None else f"{host.speed:.0%}"
        seen = f"{duration(max(scan.time - host.last_seen, 0.0))} ago"
        counts = (host.at_work, host.processes, host.images)
        table.add_row(host.host, *map(str, counts), rounded(host.images_per_second), speed, seen)
    return table


def _lines(scan: Scan) -> Iterator[str]:
    """What is slow, what failed, what is missing and how long it will take."""
    if len(scan.hosts) > HOSTS_SHOWN:
        yield f"The slowest {HOSTS_SHOWN} of {len(scan.hosts)} hosts; --json lists all."
    if scan.slowest_host is not None:
        yield f"Slowest host: {scan.slowest_host}, at {scan.hosts[0].speed or 0:.0%} of the mean pace."
    places = ("" if f.slice is None else f"{f.view}, images {scan.images(f.slice, f.slice)}: " for f in scan.failures)
    messages = dict.fromkeys(place + f.message for place, f in zip(places, scan.failures, strict=True))
    yield from (f"Failed: {message}" for message in [*messages][-MESSAGES_SHOWN:])
    for view, left in zip(scan.views, scan.left, strict=True):
        runs = [scan.images(*run) for run in ranges(left.nonzero()[0].tolist())]
        more = ", ..." if len(runs) > RUNS_SHOWN else ""
        if runs:
            yield f"Missing of {view.view}: images {', '.join(runs[:RUNS_SHOWN])}{more}"
    if scan.finished:
        yield f"Finished: {scan.build.store.name}"
    elif scan.seconds_left is not None:
        workers = f"{len(scan.at_work)} at work" if scan.at_work else "no process at work now"
        yield f"About {duration(scan.seconds_left)} of work left, {workers}."
