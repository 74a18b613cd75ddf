"""Engines start a build's processes. Their one contract: run this command once a GPU, as often as you like.

The processes need nothing from an engine and nothing from each other: leases in the folder say which of them works on
what. So an engine may start too few or too many, lose some, and start them again on any machine that sees the folder.
"""

import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from noisezoo.builder.engine import LEAVING, PREEMPTION_SIGNALS, Build, identity
from noisezoo.errors import UsageError, describe
from noisezoo.plugins import load_plugins
from .cluster import Node, Slurm, refuse_url
from .local import Engine, Job, Launch, launch_of

Start = Callable[[Build, int | None, dict[str, Any]], Job]
ENGINES: dict[str, Start] = {}
"""Name -> what starts a build by so many processes (None for the engine's own number) and the user's options."""


def register_engine(name: str) -> Callable[[Start], Start]:
    """Add an engine, as `noisezoo build --engine NAME` finds it: a function that starts processes and returns a `Job`.

    It starts `launch_of([build], processes, identity)` wherever it likes, as often as it likes.
    """
    return lambda start: ENGINES.setdefault(name, start)


def find_engine(name: str, options: Mapping[str, Any]) -> Engine | None:
    """The engine of that name with its options; None for the processes of this machine.

    Raises:
        UsageError: There is no such engine, or this machine's was given options.
    """
    load_plugins()
    if name == "local":
        if options:
            raise UsageError(f"--engine local takes no options, and {', '.join(options)} was given: leave it out")
        return None
    if name not in ENGINES:
        raise UsageError(f"no engine {name!r}; choose one of: {', '.join(['local', *ENGINES])}")

    def start(build: Build, processes: int | None) -> Job:
        refuse_url(build.store.name, f"--engine {name}")
        try:
            return ENGINES[name](build, processes, dict(options))
        except (ConnectionError, NameError, RuntimeError, TypeError, ValueError) as error:  # an option, or no cluster
            raise UsageError(f"--engine {name}: {describe(error).splitlines()[0]}; see docs/cluster.md") from error

    return start


def read_options(words: list[str]) -> dict[str, Any]:
    """Options written as `KEY=VALUE`, where VALUE is YAML; dashes in KEY may stand for underscores."""
    for word in words:
        if not word.partition("=")[0] or "=" not in word:
            raise UsageError(f"--engine-option {word}: write KEY=VALUE, as in nodes=4")
    pairs = (word.split("=", 1) for word in words)
    return {key.replace("-", "_"): yaml.load(value, yaml.BaseLoader) for key, value in pairs}


@dataclass
class _Worker:
    """What runs on a machine that an engine has chosen."""

    launch: Launch

    def run(self) -> int:
        """Launch, and return the exit code."""
        process = self.launch.start().process
        assert process is not None
        return abs(process.wait())  # of a process that a signal killed it is negative

    __call__ = run

    def end(self, number: int) -> None:
        """Pass a signal on, and return when all processes have ended."""
        self.launch.end(signal.Signals(number))

    def checkpoint(self) -> Any:
        """What submitit calls before it puts a preempted job back into the queue: units in work are finished first."""
        from submitit.helpers import DelayedSubmission

        self.end(signal.SIGUSR1)
        return DelayedSubmission(_Worker(replace(self.launch)))


@dataclass
class _RayJob(Job):
    ray: Any
    workers: dict[Any, Any]  # the future of its exit code -> the actor
    codes: list[int] = field(default_factory=list)

    def poll(self) -> int | None:
        done, _ = (
            self.ray.wait(list(self.workers), num_returns=len(self.workers), timeout=0) if self.workers else ([], [])
        )
        for future in done:  # an actor that is done makes room for one that has none yet
            try:
                self.codes.append(self.ray.get(future))
            except self.ray.exceptions.RayError:
                self.codes.append(1)
            self.ray.kill(self.workers.pop(future))
        return None if self.workers else max(self.codes)

    def end(self, number: signal.Signals) -> None:
        ending = [worker.end.remote(int(number)) for worker in self.workers.values()]
        self.ray.wait(ending, num_returns=len(ending), timeout=PREEMPTION_SIGNALS[signal.SIGTERM].seconds + LEAVING)
        for worker in self.workers.values():
            self.ray.kill(worker)


@register_engine("ray")
def on_ray(build: Build, processes: int | None, options: dict[str, Any]) -> Job:
    """One actor a GPU, spread over the nodes, started again wherever there is room when its node or process dies.

    `address` is the cluster's (a new one on this machine if neither it nor RAY_ADDRESS is given); all other options are
    the actors' (`num_cpus`, `num_gpus`, `resources`, ...). Actors for which there is no GPU yet wait for one.
    """
    ray, threads = _package("ray"), build.recipe.settings.threads
    ray.init(options.pop("address", None), ignore_reinit_error=True, log_to_driver=False)
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    asked = {"num_gpus": int(gpus > 0), "num_cpus": threads, **{key: _typed(value) for key, value in options.items()}}
    actor = ray.remote(_Worker).options(
        max_restarts=-1, max_task_retries=-1, max_concurrency=2, scheduling_strategy="SPREAD", **asked
    )
    count = processes or gpus or max(1, int(there.get("CPU", 1)) // threads)
    workers = [actor.remote(launch_of([build], 1, identity(build))) for _ in range(count)]
    return _RayJob(ray, {worker.run.remote(): worker for worker in workers})


@dataclass
class _SubmititJob(Job):
    jobs: list[Any]

    def poll(self) -> int | None:
        if not all(job.done() for job in self.jobs):
            return None
        return max(int(job.exception() is not None) or int(job.result()) for job in self.jobs)

    def end(self, number: signal.Signals) -> None:
        for job in self.jobs:
            job.cancel()


@register_engine("submitit")
def on_submitit(build: Build, processes: int | None, options: dict[str, Any]) -> Job:
    """`nodes` jobs of one node each, which submitit puts back into the queue when they are preempted or out of time.

    `cluster` is `slurm`, `local` or `debug` (what submitit finds by default); all other options are submitit's
    parameters (`gpus_per_node`, `timeout_min`, `slurm_partition`, ...).
    """
    submitit = _package("submitit")
    executor = submitit.AutoExecutor(build.state / "logs" / "submitit", cluster=options.pop("cluster", None))
    nodes = int(options.pop("nodes", 1))
    asked = {key: _typed(value) for key, value in options.items()}
    executor.update_parameters(**{"name": f"noisezoo-{build.recipe.name}", "timeout_min": 24 * 60, **asked})
    worker = _Worker(launch_of([build], processes or int(asked.get("gpus_per_node", 1)), identity(build)))
    return _SubmititJob([executor.submit(worker) for _ in range(nodes)])


@dataclass
class _SlurmJob(Job):
    process: "subprocess.Popen[str]"
    job: str

    def poll(self) -> int | None:
        return self.process.poll()

    def end(self, number: signal.Signals) -> None:
        told = [f"--signal={number.name.removeprefix('SIG')}", "--batch"] if number in PREEMPTION_SIGNALS else []
        subprocess.run(["scancel", *told, self.job], check=False)
        self.process.terminate()


@register_engine("slurm")
def on_slurm(build: Build, processes: int | None, options: dict[str, Any]) -> Job:
    """The job that `noisezoo cluster slurm` writes a script for, submitted and waited for.

    Options are `time` and the job's own (`nodes`, `gpus_per_node`, `array`, `container`, `env_setup`). Any other is
    sbatch's by its long name (`partition`).
    """
    gpus, setup = int(options.pop("gpus_per_node", 0)), options.pop("env_setup", "")
    known = {each.name for each in fields(Slurm)} - {"extra", "lines"}
    extra = {key.replace("_", "-"): value for key, value in options.items() if key not in known}
    asked = {"nodes": 1, **{key: value for key, value in options.items() if key in known}, "extra": extra}
    try:
        job = TypeAdapter(Slurm).validate_python(asked)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--engine slurm: option {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    script = job.write(build, Node(gpus, processes, setup))
    command = ["sbatch", "--parsable", "--wait", *shlex.split(script.submit)[1:]]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    except FileNotFoundError as error:
        raise UsageError(
            "there is no sbatch here: run this where jobs are submitted, or choose another --engine"
        ) from error
    assert process.stdout is not None
    return _SlurmJob(process, process.stdout.readline().strip().partition(";")[0])


def _typed(value: Any) -> Any:
    """A value of YAML as what it says: a number, a word, a mapping."""
    return yaml.safe_load(value) if isinstance(value, str) else value


def _package(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(f"--engine {name} needs the package {name}: pip install 'noisezoo[{name}]'") from error
