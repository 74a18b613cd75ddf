"""How far builds are, from the first second: bars on a terminal, lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from noisezoo.builder.launch import Scan, progress_of
from noisezoo.commands.output import duration, rounded


@contextmanager
def working(console: Console, text: str) -> Iterator[None]:
    """Say what is being done during the block."""
    if console.is_terminal:
        with console.status(Text(text)):
            yield
    else:
        console.print(f"{text} ...")
        yield


class Bars:
    """One bar a view, and one over all of them by their work; without a terminal, a line for every tenth of it."""

    def __init__(self, console: Console, processes: int | None) -> None:
        self._console, self._processes, self._started = console, processes, time.monotonic()
        fields = [TextColumn("{task.fields[rate]:>10}"), TextColumn("{task.fields[left]}")]
        columns = [TextColumn("{task.description}", markup=False), BarColumn(12), TaskProgressColumn(), *fields]
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._whole = self._progress.add_task("all", total=1.0, rate="", left=self._said(0.0, None, False))
        self._tasks: dict[tuple[str, str], int] = {}
        self._tenths = -1

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bars as they are."""
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line of text above the bars."""
        self._console.print(text)

    def update(self, scans: Sequence[Scan]) -> None:
        """Show the builds as they are now."""
        for scan in scans:
            for view in scan.views:
                key = str(scan.build.root), view.view
                if key not in self._tasks:
                    self._tasks[key] = self._progress.add_task(view.view, total=view.total, rate="", left="")
                speed = view.recent_images_per_second
                left = f"{duration(view.seconds_left)} left" if view.left and speed else ""
                rate = "" if speed is None else f"{rounded(speed)} img/s"
                done = view.total - view.left
                self._progress.update(self._tasks[key], completed=done, rate=rate, left=left)  # type: ignore[arg-type]
        share, seconds = progress_of(scans)
        said = self._said(share, seconds, any(scan.at_work for scan in scans))
        self._progress.update(self._whole, completed=share, left=said)
        if not self._console.is_terminal and int(10 * share) > self._tenths:
            self._tenths = int(10 * share)
            self.say(f"{share:.0%} done, {said}")

    def _said(self, share: float, seconds: float | None, at_work: bool) -> str:
        """What is being done, or how long it will take, and how long it took."""
        count = "processes" if not self._processes else f"{self._processes} process{'es' * (self._processes > 1)}"
        first = "at the first images" if at_work else f"starting {count}"
        left = "publishing" if share == 1 else first if seconds is None else f"{duration(seconds)} left"
        return f"{left}, {time.monotonic() - self._started:.0f} s passed"
