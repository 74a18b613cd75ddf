"""Start the processes by accelerate, watch the folder, show progress; the folder says how it went."""

import os
import signal
import subprocess
import sys
import threading
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
    return build_datasets([(recipe, out)], processes=processes, console=console)[0]


def build_datasets(
    wanted: Sequence[tuple[Recipe, Path]], *, processes: int | None = None, console: "Console | None" = None
) -> list[Outcome]:
    """Several datasets by one launch, which costs its start only once; otherwise as `build_dataset`."""
    started = time.time()
    builds = [prepare(recipe, out) for recipe, out in wanted]
    todo = [build for build in builds if not is_finished(build)]
    if todo:
        code = _watch(todo, processes or default_processes(todo[0].recipe.settings.threads), console)
        for build in todo:
            _check(build, started, code)
    return [Outcome(build.root, status(build), time.time() - started) for build in builds]


def _check(build: Build, started: float, code: int) -> None:
    """Raise what the processes failed with, or what they left undone."""
    messages = failures(build.state / "logs", since=started)
    if messages:
        raise NoiseZooError(messages[0])
    if not is_finished(build):
        raise IncompleteError(
            f"{build.root}: {len(build.pending())} units are missing as the processes ended (exit {code}); "
            f"the same command goes on. Their output: {log_path(build)}"
        )


def default_processes(threads: int) -> int:
    """One process a GPU; without one, as many as the cores allow at `threads` each, eight at most."""
    import torch

    return torch.cuda.device_count() or max(1, min(8, (os.cpu_count() or 1) // threads))


def _watch(builds: Sequence[Build], processes: int, console: "Console | None") -> int:
    """Run the launcher to its end, drawing progress; its exit code. An interrupt ends the processes first."""
    with _launched(builds, processes) as process, _bars(builds, console) as redraw:
        while process.poll() is None:
            redraw()
            time.sleep(POLL_SECONDS)
        redraw()
        return process.returncode


@contextmanager
def _launched(builds: Sequence[Build], processes: int) -> Iterator["subprocess.Popen[bytes]"]:
    work = [(_write_recipe(build), build.root) for build in builds]
    command, environment = launch_command(work, processes, builds[0].recipe.settings.threads)
    log = log_path(builds[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
    try:
        with _terminable():
            yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does: a launcher that just died would leave its processes at work."""
    if threading.current_thread() is not threading.main_thread():  # only there may signals be handled
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write_recipe(build: Build) -> Path:
    path = build.state / "recipe.yaml"
    with committed(path) as temporary:
        temporary.write_text(yaml.safe_dump(build.recipe.model_dump(mode="json"), sort_keys=False))
    return path


def log_path(build: Build) -> Path:
    """Where a launch's own output goes (that of several builds, to the first)."""
    return build.state / "logs" / "launch.log"


def launch_command(work: Sequence[tuple[Path, Path]], processes: int, threads: int) -> tuple[list[str], dict[str, str]]:
    """The `accelerate launch` command for this machine, and its environment.

    accelerate has one launcher for several local processes, called multi-GPU; on a machine without a GPU it serves as
    well, with the CPU chosen by the environment.

    Args:
        work: (recipe file, dataset folder) of each build.
        processes: How many to launch.
        threads: CPU threads of each.
    """
    import torch

    gpu = torch.cuda.is_available()
    several = ["--multi_gpu"] if processes > 1 else [] if gpu else ["--cpu"]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", *several, "--num_processes", str(processes),
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
        "-m", "noisezoo.builder", *(str(recipe) for recipe, _ in work),
    ]  # fmt: skip
    for _, out in work:
        command += ["--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    return command, environment if gpu else {**environment, "ACCELERATE_USE_CPU": "true"}


@contextmanager
def _bars(builds: Sequence[Build], console: "Console | None") -> Iterator[Callable[[], None]]:
    """One bar a view, and one over all of them by work, whose time left is that of the whole launch."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]:>10}"),
        TextColumn("{task.fields[left]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=console is None) as progress:
        names = [(build.root, view.name) for build in builds for view in build.views]
        tasks = {key: progress.add_task(key[1], total=None, rate="", left="") for key in names}
        whole = progress.add_task("all", total=1.0, rate="", left="")
        begun, at_first = time.monotonic(), work_done(builds, [status(build) for build in builds])

        def redraw() -> None:
            states = [status(build) for build in builds]
            for build, views in zip(builds, states, strict=True):
                for view in views:
                    rate = f"{view.images_per_second:.0f} img/s" if view.images_per_second else ""
                    left = f"{view.seconds_left:.0f} s left" if view.seconds_left else ""
                    done = view.done + view.refused
                    progress.update(
                        tasks[build.root, view.view], total=view.total, completed=done, rate=rate, left=left
                    )
            done_share, passed = work_done(builds, states), time.monotonic() - begun
            seconds = passed * (1 - done_share) / (done_share - at_first) if done_share > at_first else None
            left = f"{passed:.0f} s passed" if seconds is None else f"{seconds:.0f} s left, {passed:.0f} s passed"
            progress.update(whole, completed=done_share, left=left)

        yield redraw


def work_done(builds: Sequence[Build], states: Sequence[Sequence[ViewStatus]]) -> float:
    """Share of the arithmetic that is done, by the zoo's work per image and the recipes' numbers of steps."""
    done = total = 0.0
    for build, views in zip(builds, states, strict=True):
        steps = build.recipe.settings.num_inference_steps
        for row, view in zip(build.views, views, strict=True):
            cost = OVERHEAD + row.gflops * (steps if row.family == "diffusers" else 1)
            done += cost * (view.done + view.refused)
            total += cost * view.total
    return done / total
