"""Start the processes by accelerate, watch the folder, show progress; the folder says how it went."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from noisezoo.builder.build import Build, prepare
from noisezoo.builder.dataset import is_finished
from noisezoo.builder.log import failures
from noisezoo.builder.recipe import Recipe
from noisezoo.builder.status import ViewStatus, status
from noisezoo.errors import IncompleteError, NoiseZooError
from noisezoo.files import committed

if TYPE_CHECKING:
    from rich.console import Console

POLL_SECONDS = 0.5
OVERHEAD = 0.05
"""GFLOP-equivalent of reading and writing one row, so that views without a network count for something."""


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
    """One bar a view, and one over all of them by work, whose time left is that of the build."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]:>10}"),
        TextColumn("{task.fields[left]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=console is None) as progress:
        tasks = {view.name: progress.add_task(view.name, total=None, rate="", left="") for view in build.views}
        whole = progress.add_task("all", total=1.0, rate="", left="")
        begun, at_first = time.monotonic(), work_done(build, status(build))

        def redraw() -> None:
            views = status(build)
            for view in views:
                rate = f"{view.images_per_second:.0f} img/s" if view.images_per_second else ""
                left = f"{view.seconds_left:.0f} s left" if view.seconds_left else ""
                progress.update(
                    tasks[view.view], total=view.total, completed=view.done + view.refused, rate=rate, left=left
                )
            done, passed = work_done(build, views), time.monotonic() - begun
            left = f"{passed * (1 - done) / (done - at_first):.0f} s left" if done > at_first else ""
            progress.update(whole, completed=done, left=f"{left}, {passed:.0f} s passed".lstrip(", "))

        yield redraw


def work_done(build: Build, views: Sequence[ViewStatus]) -> float:
    """Share of the build's arithmetic that is done, by the zoo's work per image and the recipe's number of steps."""
    steps = build.recipe.settings.num_inference_steps
    cost = {view.name: OVERHEAD + view.gflops * (steps if view.family == "diffusers" else 1) for view in build.views}
    total = sum(cost[view.view] * view.total for view in views)
    return sum(cost[view.view] * (view.done + view.refused) for view in views) / total
