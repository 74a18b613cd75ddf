"""Builds on this machine: start the processes by accelerate, show progress, and read from the folder how it ended."""

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml

from noisezoo.builder.dataset import is_finished
from noisezoo.builder.engine import (
    EXCLUSIVE,
    GRACE_VARIABLE,
    LEAVING,
    PREEMPTION_SIGNALS,
    Build,
    Preempted,
    Store,
    admit,
    failures,
    handled,
    launcher_environment,
    lease_creation,
    opened,
    raise_preempted,
)
from noisezoo.builder.recipe import Recipe
from noisezoo.errors import IncompleteError, NoiseZooError, StoppedError
from noisezoo.files import write_text
from noisezoo.record import RECORD
from .machines import gpu_count
from .status import Scan, ViewStatus, Watcher, missing_text, status

POLL_SECONDS = 0.5
ALONE = {
    "ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO", "ACCELERATE_DYNAMO_MODE": "default",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False", "ACCELERATE_DYNAMO_USE_DYNAMIC": "False",
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "False",
}  # fmt: skip
"""Variables by which `accelerate launch` with `launch_arguments(1, ...)` starts its one process."""
ALONE_ON_CPU = {"ACCELERATE_USE_CPU": "True", "KMP_AFFINITY": "granularity=fine,compact,1,0", "KMP_BLOCKTIME": "1"}
Watch = Callable[[Sequence[Scan]], object]
Say = Callable[[str], object]


@dataclass(frozen=True)
class Outcome:
    """How a build ended: its folder on this machine, its views and the seconds it took."""

    root: Path
    views: list[ViewStatus]
    seconds: float
    place: str = ""  # the folder or URL as its user calls it


class Job(ABC):
    """Processes at work on a build, wherever they are."""

    @abstractmethod
    def poll(self) -> int | None:
        """The worst of their exit codes; None while any of them is at work."""

    @abstractmethod
    def end(self, number: signal.Signals) -> None:
        """Pass a signal on to all of them, and return when they have ended."""


Engine = Callable[[Build, int | None], Job]
"""Starts processes for a build; None for as many as it thinks right."""


def build_dataset(
    recipe: Recipe, out: str | Path | Store, *, processes: int | None = None, watch: Watch | None = None,
    say: Say | None = None, mixed: bool = False, engine: Engine | None = None,
) -> Outcome:  # fmt: skip
    """Build, or go on building, the dataset of `recipe` in `out` on this machine.

    Args:
        recipe: The recipe.
        out: The dataset's folder, or its URL in object storage.
        processes: How many; `default_processes` if None.
        watch: Called with a scan of each build, about twice a second.
        say: Called with a line of text where the build waits for another launch; None prints to stderr.
        mixed: Let the software and the kind of device differ from those that the build was started with.
        engine: What starts the processes; by default accelerate on this machine.

    Raises:
        UsageError: The recipe, a model, the software or the folder is unfit; raised before any process starts.
        NoiseZooError: A process failed; the message is its own.
        IncompleteError: Images are missing, for instance because a process was killed; the same call goes on.
        StoppedError: Ctrl-C; says how much is kept.
    """
    pairs = [(recipe, out)]
    return build_datasets(pairs, processes=processes, watch=watch, say=say, mixed=mixed, engine=engine)[0]


def build_datasets(
    wanted: Sequence[tuple[Recipe, str | Path | Store]], *, processes: int | None = None, watch: Watch | None = None,
    say: Say | None = None, mixed: bool = False, engine: Engine | None = None,
) -> list[Outcome]:  # fmt: skip
    """`build_dataset` for several datasets by one launch, so that the models' libraries are imported once.

    An engine starts the processes of one build after the other.
    """
    started, say = time.time(), say or partial(print, file=sys.stderr)
    builds = [opened(recipe, out) for recipe, out in wanted]
    for note in dict.fromkeys(note for build in builds for note in build.notes()):
        say(f"Note: {note}")
    todo = [build for build in builds if not is_finished(build)]
    for build in todo:
        admit(build, mixed=mixed)
        if (creation := lease_creation(build)) == EXCLUSIVE:
            say(f"{build.store.name}: no hard links here, so that leases are files made by {creation}")
    try:
        while todo:
            if engine is None:
                code = _run(todo, processes or default_processes(todo[0].recipe.settings.threads), watch)
            else:
                code = max(_watched(engine(build, processes), [build], watch) for build in todo)
            for build in todo:
                _check(build, started, code)
                for event, before in (("shortage", ""), ("library", "Warning of a library: ")):
                    for message in _said(build, started, event):
                        say(before + message)
                _wait_for_others(build, say)
            todo = [build for build in todo if not is_finished(build)]
    except KeyboardInterrupt as error:
        share, _ = progress_of([Watcher(build).scan() for build in builds])
        raise StoppedError(f"stopped; {100 * share:.0f} % is kept, run the same command to go on") from error
    for build in builds:
        build.store.fetch(build.root / RECORD)
    return [Outcome(build.root, status(build), time.time() - started, build.store.name) for build in builds]


def _check(build: Build, started: float, code: int) -> None:
    """Raise the error that the processes ended with, or say what is missing."""
    messages = _said(build, started, "failed")
    if messages:
        raise NoiseZooError(messages[0])
    if not is_finished(build) and not build.owners():
        if undone := _said(build, started, "incomplete"):
            raise IncompleteError(f"{build.store.name}: {undone[0]}")
        raise IncompleteError(
            f"{build.store.name}: {missing_text(status(build))}, and the processes ended (exit {code}); the same "
            f"command goes on. Their output: {log_path(build)}"
        )


def _said(build: Build, since: float, event: str) -> list[str]:
    """What the processes' logs say since a moment."""
    return failures(build.state / "logs", since, event, build.store)


def _wait_for_others(build: Build, say: Say) -> None:
    """Wait, and say for whom, while living processes of other launches have the rest of the build in work."""
    said: set[tuple[str, int]] = set()
    with raise_preempted():
        while not is_finished(build) and (owners := build.owners()):
            for owner in owners:
                if (process := (owner["host"], owner["pid"])) not in said:
                    work = ", ".join(lease.removesuffix(".json") for lease in owner["leases"])
                    say(f"waiting for process {owner['pid']} on {owner['host']}, which has {work} in work")
                    said.add(process)
            time.sleep(POLL_SECONDS)


def default_processes(threads: int) -> int:
    """One process a GPU; on a machine without GPUs one for every `threads` cores, at most eight."""
    return gpu_count() or max(1, min(8, (os.cpu_count() or 1) // threads))


@dataclass
class Launch(Job):
    """One launch on whatever machine starts it; it ends when the process dies that started it."""

    work: list[tuple[Path, str]]  # (recipe file, address of the dataset) of each build
    processes: int
    threads: int  # CPU threads of each process
    log: Path  # where its output goes
    here: Path = field(default_factory=Path.cwd)  # where the recipe's relative paths start
    expected: str = ""  # the identity of the build that must be in the folder
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def start(self) -> "Launch":
        """Start the processes."""
        command, environment = launch_command(self.work, self.processes, self.threads)
        command += ["--expect", self.expected] if self.expected else []
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as stream, handled({signal.SIGUSR1: signal.SIG_IGN}):
            # the process inherits it: it would die of a signal that comes before it handles signals
            self.process = subprocess.Popen(
                command, env=environment, cwd=self.here, stdout=stream, stderr=stream, start_new_session=True
            )
        return self

    def poll(self) -> int | None:
        """The launcher's exit code."""
        return self.process.poll() if self.process else None

    def end(self, number: signal.Signals) -> None:
        """Signal the launcher's process group, and return when all of it has ended."""
        if self.process is None:
            return
        cause = PREEMPTION_SIGNALS.get(number)
        last = time.monotonic() + LEAVING + (cause.seconds if cause else 0)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
            while self.process.poll() is None or time.monotonic() < last:
                time.sleep(0.05)
                os.killpg(self.process.pid, signal.SIGKILL if time.monotonic() > last else 0)


def launch_of(builds: Sequence[Build], processes: int, expected: str = "") -> Launch:
    """The launch of prepared builds, which any machine may start that sees their folders."""
    for build in builds:
        write_text(build.state / "recipe.yaml", recipe_text(build.recipe))
    work = [(build.state.absolute() / "recipe.yaml", build.store.address) for build in builds]
    return Launch(work, processes, builds[0].recipe.settings.threads, log_path(builds[0]).absolute(), expected=expected)


def _run(builds: Sequence[Build], processes: int, watch: Watch | None) -> int:
    return _watched(launch_of(builds, processes).start(), builds, watch)


def _watched(job: Job, builds: Sequence[Build], watch: Watch | None) -> int:
    """Watch processes to their end; returns their exit code. An interrupt ends them first."""
    watchers, code = [Watcher(build) for build in builds] if watch else [], None
    try:
        with raise_preempted():
            while code is None:
                code, began = job.poll(), time.monotonic()  # asked first: the last scan is one of the end
                if watch:
                    watch([watcher.scan() for watcher in watchers])
                spent = time.monotonic() - began  # 0.1 s for 30,000 units: a tenth of a core at most
                time.sleep(max(POLL_SECONDS, 9 * spent) if code is None else 0)
    except BaseException as error:
        job.end(error.signal if isinstance(error, Preempted) else signal.SIGINT)
        raise
    return code


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML, which `read_recipe` reads back."""
    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def log_path(build: Build) -> Path:
    """The output of a launch; one launch of several builds writes to the first."""
    return build.state / "logs" / "launch.log"


def launch_command(
    work: Sequence[tuple[Path, Path | str]], processes: int, threads: int
) -> tuple[list[str], dict[str, str]]:
    """The command that starts the processes on this machine, and its environment.

    accelerate's multi-GPU launcher also starts several processes on a machine without a GPU; the environment then says
    that they compute on the CPU. One process is started as accelerate would start it: to import the launcher takes as
    long as all else that a small build does.

    Args:
        work: (recipe file, dataset folder or URL) of each build.
        processes: How many to launch.
        threads: CPU threads of each.
    """
    gpu = gpu_count() > 0
    launcher = ["-m", "accelerate.commands.launch", *launch_arguments(processes, gpu)] if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "noisezoo.builder", *(str(recipe) for recipe, _ in work)]
    for _, out in work:
        command += ["--out", str(out)]
    alone = {} if launcher else {**ALONE, **({"ACCELERATE_USE_CPU": "False"} if gpu else ALONE_ON_CPU)}
    return command, {**os.environ, **launch_environment(threads, gpu), **alone, **launcher_environment()}


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


def progress_of(scans: Sequence[Scan]) -> tuple[float, float | None]:
    """(share of the work that is done, seconds left) of several builds by one launch; None before the first unit.

    A build that is not begun takes as long for its work as those that are.
    """
    done, total = (sum(each) for each in zip(*(scan.work for scan in scans), strict=True))
    known = [(seconds, scan.work[1] - scan.work[0]) for scan in scans if (seconds := scan.seconds_left) is not None]
    counted = sum(work for _, work in known)
    return done / total, sum(seconds for seconds, _ in known) * (total - done) / counted if counted else None
