"""Builds on this machine: start the processes by accelerate, show progress, and read from the folder how it ended."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from noisezoo.builder.dataset import is_finished
from noisezoo.builder.engine import (
    GRACE_VARIABLE,
    LEAVING,
    PREEMPTION_SIGNALS,
    Build,
    Preempted,
    admit,
    failures,
    launcher_environment,
    lease_creation,
    opened,
    raise_preempted,
)
from noisezoo.builder.launch.status import Scan, ViewStatus, Watcher, status
from noisezoo.builder.recipe import Recipe
from noisezoo.errors import IncompleteError, NoiseZooError
from noisezoo.files import committed

if TYPE_CHECKING:
    from rich.console import Console

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a build ended: its folder, its views and the seconds it took."""

    root: Path
    views: list[ViewStatus]
    seconds: float


def build_dataset(
    recipe: Recipe, out: Path, *, processes: int | None = None, console: "Console | None" = None, mixed: bool = False
) -> Outcome:
    """Build, or go on building, the dataset of `recipe` in `out`, by `processes` processes on this machine.

    With `mixed`, the software or the kind of device may differ from those that the build was started with.

    Raises:
        UsageError: The recipe, a model, the software or the folder is unfit; raised before any process starts.
        NoiseZooError: A process failed; the message is its own.
        IncompleteError: Units are missing, for instance because a process was killed; the same call goes on.
    """
    return build_datasets([(recipe, out)], processes=processes, console=console, mixed=mixed)[0]


def build_datasets(
    wanted: Sequence[tuple[Recipe, Path]], *, processes: int | None = None, console: "Console | None" = None,
    mixed: bool = False,
) -> list[Outcome]:  # fmt: skip
    """`build_dataset` for several datasets by one launch, so that the models' libraries are imported once."""
    from rich.console import Console

    started = time.time()
    builds = [opened(recipe, out) for recipe, out in wanted]
    for note in dict.fromkeys(note for build in builds for note in build.notes()):
        (console or Console(stderr=True)).print(f"Note: {note}", soft_wrap=True, highlight=False)
    todo = [build for build in builds if not is_finished(build)]
    for build in todo:
        admit(build, mixed=mixed)
        if console is not None and (creation := lease_creation(build)) != "hard links":
            console.print(f"{build.root}: no hard links here, so that leases are files made by {creation}")
    while todo:
        code = _watch(todo, processes or default_processes(todo[0].recipe.settings.threads), console)
        for build in todo:
            _check(build, started, code)
            _wait_for_others(build, console)
        todo = [build for build in todo if not is_finished(build)]
    return [Outcome(build.root, status(build), time.time() - started) for build in builds]


def _check(build: Build, started: float, code: int) -> None:
    """Raise the error that the processes ended with, or say what is missing."""
    messages = failures(build.state / "logs", since=started)
    if messages:
        raise NoiseZooError(messages[0])
    if not is_finished(build) and not build.owners():
        if undone := failures(build.state / "logs", since=started, event="incomplete"):
            raise IncompleteError(f"{build.root}: {undone[0]}")
        raise IncompleteError(
            f"{build.root}: {len(build.pending())} units are missing as the processes ended (exit {code}); "
            f"the same command goes on. Their output: {log_path(build)}"
        )


def _wait_for_others(build: Build, console: "Console | None") -> None:
    """Wait, and say for whom, while living processes of other launches have the rest of the build in work."""
    from rich.console import Console

    said: set[tuple[str, int]] = set()
    with raise_preempted():
        while not is_finished(build) and (owners := build.owners()):
            for owner in owners:
                if (process := (owner["host"], owner["pid"])) not in said:
                    work = ", ".join(lease.removesuffix(".json") for lease in owner["leases"])
                    message = f"waiting for process {owner['pid']} on {owner['host']}, which has {work} in work"
                    (console or Console(stderr=True)).print(message, soft_wrap=True, highlight=False)
                    said.add(process)
            time.sleep(POLL_SECONDS)


def default_processes(threads: int) -> int:
    """One process a GPU; on a machine without GPUs one for every `threads` cores, at most eight."""
    import torch

    return torch.cuda.device_count() or max(1, min(8, (os.cpu_count() or 1) // threads))


def _watch(builds: Sequence[Build], processes: int, console: "Console | None") -> int:
    """Run the launcher to its end with progress; returns its exit code. An interrupt ends the processes first."""
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
    with log.open("ab") as stream, _ignoring_sigusr1():
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
    try:
        with raise_preempted():
            yield process
    except Preempted as preempted:
        _end(process, preempted.signal)
        raise
    except BaseException:
        _end(process, signal.SIGINT)
        raise


@contextmanager
def _ignoring_sigusr1() -> Iterator[None]:
    """Ignore SIGUSR1, which the launcher inherits: accelerate on one process would die of the signal for its worker."""
    if threading.current_thread() is not threading.main_thread():  # only there may signals be handled
        yield
        return
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _end(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Signal the launcher's process group, and return when all of it has ended."""
    cause = PREEMPTION_SIGNALS.get(number)
    last = time.monotonic() + LEAVING + (cause.seconds if cause else 0)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
        while process.poll() is None or time.monotonic() < last:
            time.sleep(0.05)
            os.killpg(process.pid, signal.SIGKILL if time.monotonic() > last else 0)


def _write_recipe(build: Build) -> Path:
    path = build.state / "recipe.yaml"
    with committed(path) as temporary:
        temporary.write_text(yaml.safe_dump(build.recipe.model_dump(mode="json"), sort_keys=False))
    return path


def log_path(build: Build) -> Path:
    """The output of a launch; one launch of several builds writes to the first."""
    return build.state / "logs" / "launch.log"


def launch_command(work: Sequence[tuple[Path, Path]], processes: int, threads: int) -> tuple[list[str], dict[str, str]]:
    """The `accelerate launch` command for this machine, and its environment.

    accelerate's multi-GPU launcher also starts several processes on a machine without a GPU; the environment then says
    that they compute on the CPU.

    Args:
        work: (recipe file, dataset folder) of each build.
        processes: How many to launch.
        threads: CPU threads of each.
    """
    import torch

    gpu = torch.cuda.is_available()
    command = [
        sys.executable, "-m", "accelerate.commands.launch", *launch_arguments(processes, gpu),
        "-m", "noisezoo.builder", *(str(recipe) for recipe, _ in work),
    ]  # fmt: skip
    for _, out in work:
        command += ["--out", str(out)]
    return command, {**os.environ, **launch_environment(threads, gpu), **launcher_environment()}


def launch_arguments(processes: int, gpu: bool) -> list[str]:
    """Arguments of `accelerate launch` for so many processes on one machine."""
    several = ["--multi_gpu"] if processes > 1 else [] if gpu else ["--cpu"]
    return [
        *several, "--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no",
        "--dynamo_backend", "no", "--main_process_port", "0",
    ]  # fmt: skip


def launch_environment(threads: int, gpu: bool) -> dict[str, str]:
    """Environment of the launcher: threads, device, and which signals it passes on with how long a grace period."""
    grace = PREEMPTION_SIGNALS[signal.SIGUSR1].seconds
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONWARNINGS": "ignore",
        "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": f"{grace + LEAVING:.0f}",
        GRACE_VARIABLE: f"{grace:.0f}",
    }
    return environment if gpu else {**environment, "ACCELERATE_USE_CPU": "true"}


@contextmanager
def _bars(builds: Sequence[Build], console: "Console | None") -> Iterator[Callable[[], None]]:
    """One bar a view, and one over all of them by their work."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]:>10}"),
        TextColumn("{task.fields[left]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=console is None) as progress:
        names = [(build.root, view.name) for build in builds for view in build.views]
        tasks = {key: progress.add_task(key[1], total=None, rate="", left="") for key in names}
        whole = progress.add_task("all", total=1.0, rate="", left="")
        watchers, started = [Watcher(build) for build in builds], time.monotonic()

        def redraw() -> None:
            scans = [watcher.scan() for watcher in watchers]
            for root, view in ((scan.build.root, view) for scan in scans for view in scan.views):
                rate = f"{view.images_per_second:.0f} img/s" if view.images_per_second else ""
                left = f"{view.seconds_left:.0f} s left" if view.seconds_left else ""
                progress.update(
                    tasks[root, view.view], total=view.total, completed=view.total - view.left, rate=rate, left=left
                )
            share, seconds = progress_of(scans)
            passed = f"{time.monotonic() - started:.0f} s passed"
            left = passed if seconds is None else f"{seconds:.0f} s left, {passed}"
            progress.update(whole, completed=share, left=left)

        yield redraw


def progress_of(scans: Sequence[Scan]) -> tuple[float, float | None]:
    """(share of the work that is done, seconds left) of several builds by one launch; None before the first unit.

    A build that is not begun takes as long for its work as those that are.
    """
    done, total = (sum(each) for each in zip(*(scan.work for scan in scans), strict=True))
    known = [(seconds, scan.work[1] - scan.work[0]) for scan in scans if (seconds := scan.seconds_left) is not None]
    counted = sum(work for _, work in known)
    return done / total, sum(seconds for seconds, _ in known) * (total - done) / counted if counted else None
