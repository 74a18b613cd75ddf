"""Start the processes by accelerate, watch the folder, show progress; the folder says how it went."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from noisezoo.builder.build import Build, prepare
from noisezoo.builder.commit import committed
from noisezoo.builder.dataset import is_finished
from noisezoo.builder.log import failures
from noisezoo.builder.recipe import Recipe
from noisezoo.builder.status import ViewStatus, status
from noisezoo.errors import IncompleteError, NoiseZooError

if TYPE_CHECKING:
    from rich.console import Console

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a build ended: rows in the manifest, rows published or not, seconds."""

    root: Path
    views: list[ViewStatus]
    seconds: float


def build_dataset(
    recipe: Recipe, out: Path, *, processes: int | None = None, console: "Console | None" = None
) -> Outcome:
    """Build, or go on building, the dataset of `recipe` in `out`, by `processes` processes on this machine.

    Raises:
        UsageError: The recipe, a model or the folder will not do; found before any process starts.
        NoiseZooError: A process failed; its message.
        IncompleteError: Units are missing, for instance because a process was killed: the same call goes on.
    """
    started = time.time()
    build = prepare(recipe, out)
    if not is_finished(build):
        code = _watch(build, processes or default_processes(recipe.settings.threads), console)
        messages = failures(build.state / "logs", since=started)
        if messages:
            raise NoiseZooError(messages[0])
        if not is_finished(build):
            missing = len(build.pending())
            raise IncompleteError(
                f"{out}: {missing} units are missing as the processes ended (exit {code}); the same command goes on. "
                f"Their output: {build.state / 'logs' / 'launch.log'}"
            )
    return Outcome(out, status(build), time.time() - started)


def default_processes(threads: int) -> int:
    """One process a GPU; without one, as many as the cores allow at `threads` each, eight at most."""
    import torch

    return torch.cuda.device_count() or max(1, min(8, (os.cpu_count() or 1) // threads))


def _watch(build: Build, processes: int, console: "Console | None") -> int:
    """Run the launcher to its end, drawing progress; its exit code. An interrupt ends the processes first."""
    with _launched(build, processes) as process, _bars(build, console) as redraw:
        while process.poll() is None:
            redraw()
            time.sleep(POLL_SECONDS)
        redraw()
        return process.returncode


@contextmanager
def _launched(build: Build, processes: int) -> Iterator["subprocess.Popen[bytes]"]:
    path = build.state / "recipe.yaml"
    with committed(path) as temporary:
        temporary.write_text(yaml.safe_dump(build.recipe.model_dump(mode="json"), sort_keys=False))
    command, environment = launch_command(path, build.root, processes, build.recipe.settings.threads)
    log = build.state / "logs" / "launch.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def launch_command(recipe: Path, out: Path, processes: int, threads: int) -> tuple[list[str], dict[str, str]]:
    """The `accelerate launch` command for this machine, and its environment.

    accelerate has one launcher for several local processes, called multi-GPU; on a machine without a GPU it serves as
    well, with the CPU chosen by the environment.
    """
    import torch

    gpu = torch.cuda.is_available()
    several = ["--multi_gpu"] if processes > 1 else [] if gpu else ["--cpu"]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", *several, "--num_processes", str(processes),
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
        "-m", "noisezoo.builder", str(recipe), "--out", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    return command, environment if gpu else {**environment, "ACCELERATE_USE_CPU": "true"}


@contextmanager
def _bars(build: Build, console: "Console | None") -> Iterator[Callable[[], None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:>9}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=console is None) as progress:
        rows = len(build.manifest)
        tasks = {view.name: progress.add_task(view.name, total=rows, rate="") for view in build.views}

        def redraw() -> None:
            for view in status(build):
                done = view.done + view.refused
                rate = f"{view.images_per_second:.0f} img/s" if view.images_per_second else ""
                progress.update(tasks[view.view], completed=done, rate=rate)

        yield redraw
