"""Kill everywhere, in full: `python -m tests.chaos --instants 100 --seed 0` (`make chaos`)."""

import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.builder.building import published
from tests.chaos import outages
from tests.chaos.crew import LEFT, RECIPE, Trial, instants, steps, struck, undisturbed, write_recipe
from tests.chaos.nodes import no_hosts, no_networks
from tests.chaos.outages import OUTAGES, Site


@dataclass(frozen=True)
class Row:
    """One trial: what is done, and what does it in an empty folder and says what it saw, or raises."""

    name: str
    run: Callable[[Path], str]


def survived(trial: Trial, recipe: Path, expected: dict[str, str], folder: Path) -> str:
    """Run a crew's trial; how many ended by it is said, as one may never come to its step, or be done before."""
    codes = trial.run(recipe, folder / "noisezoo")
    assert published(folder / "noisezoo") == expected, "other bytes than the undisturbed build's"
    whole = len(trial.deaths) == trial.before and all(death.step for death in trial.deaths)
    assert not whole or struck(folder / "noisezoo"), "nobody came to the step"
    return f"{sum(code not in LEFT for code in codes)} ended by it"


def crews(folder: Path, seed: int, count: int) -> Iterator[Row]:
    """Steps by signals, on one member and on all, then random instants."""
    recipe = write_recipe(RECIPE, folder)
    expected, seconds = undisturbed(recipe, folder)
    for trial in (*steps(seed, whole=False), *steps(seed, whole=True), *instants(seed, count, seconds)):
        yield Row(str(trial), partial(survived, trial, recipe, expected))


def lost(folder: Path) -> Iterator[Row]:
    """Hosts that die and links that are cut."""
    recipe = write_recipe(outages.RECIPE, folder)
    expected, _ = undisturbed(recipe, folder)
    for name, outage in OUTAGES.items():
        yield Row(name, lambda place, outage=outage: outage(Site(recipe, place, expected)))  # type: ignore[misc]


def attempt(row: Row, folder: Path) -> tuple[bool, str]:
    """Whether it held, and what was seen; a folder in which it did not hold is kept."""
    folder.mkdir()
    try:
        return True, row.run(folder)
    except Exception as error:
        (folder / "traceback").write_text(traceback.format_exc())
        return False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}; see {folder}"


def main(
    instants: Annotated[int, typer.Option(help="Random instants of a build at which processes are killed.")] = 100,
    seed: Annotated[int, typer.Option(help="Of who dies when; the same seed plans the same trials.")] = 0,
    only: Annotated[str, typer.Option(help="Only trials with these words in their line.")] = "",
    keep: Annotated[Path | None, typer.Option(help="Where the folders go; by default they are temporary.")] = None,
) -> None:
    """Kill processes, hosts and links of small builds, resume, and compare the bytes with an undisturbed build's.

    Exit codes: 0 all held; 1 some did not, and the command that repeats them is printed.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of what takes networks and hosts away
    console = Console()
    root = keep or Path(tempfile.mkdtemp(prefix="noisezoo-chaos-"))
    begun = time.monotonic()
    rows = list(crews(root / "crews", seed, instants))
    rows += _possible(root / "outages", console)
    rows = [row for row in rows if only in row.name]
    failed: list[str] = []
    columns = (
        BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("failed: {task.fields[failed]}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(rows), failed=0)
        for number, row in enumerate(rows):
            started = time.monotonic()
            held, seen = attempt(row, root / f"{number:03d}")
            failed += [] if held else [row.name]
            mark = "held  " if held else "[bold red]FAILED[/]"
            line = f"{mark} {number:3d} {time.monotonic() - started:6.1f} s  {escape(f'{row.name}: {seen}')}"
            progress.console.print(line, soft_wrap=True, highlight=False)
            progress.update(task, advance=1, failed=len(failed))
    console.print(f"{len(rows)} trials, {len(failed)} failed, {time.monotonic() - begun:.0f} s")
    for name in failed:
        console.print(
            f'to repeat: python -m tests.chaos --instants {instants} --seed {seed} --only "{name}"', soft_wrap=True
        )
    raise typer.Exit(code=bool(failed))


def _possible(folder: Path, console: Console) -> Iterator[Row]:
    """The outages that this machine can stage; why it cannot stage the others is said."""
    if reason := no_hosts():
        console.print(f"no hosts of their own can be made here ({reason}): outages are left out")
        return
    reason = no_networks()
    if reason:
        console.print(f"no networks can be joined here ({reason}): cut links are left out")
    yield from (row for row in lost(folder) if not (reason and "link" in row.name))


if __name__ == "__main__":
    typer.run(main)
