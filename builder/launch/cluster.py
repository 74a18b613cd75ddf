"""Scripts for schedulers, from templates, and the commands that start, follow and cancel them.

Every node runs its own `accelerate launch`. A launch over all nodes would begin with a rendezvous and end everywhere
when one node dies. The processes need nothing from each other but the leases in the build's folder, so a job of several
nodes, an array of jobs and a list of hosts differ only in how the node's script is started.
"""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from noisezoo import zoo
from noisezoo.builder.engine import GRACE_VARIABLE, LEAVING, READERS, Build, identity
from noisezoo.builder.launch.local import launch_arguments, launch_environment
from noisezoo.builder.recipe import Recipe
from noisezoo.errors import UsageError
from noisezoo.files import committed

STATUS_SECONDS = 25
"""Seconds before SLURM's kill that are kept for `noisezoo status` and for the requeue."""

ON_NODE = (
    '[ -r "$0" ] || { echo "error: host $(hostname) does not see $0: put the build on a file system that every node '
    'mounts at this path" >&2; exit 2; }; exec bash "$0" "$@"'
)
"""What a node runs: its script, if it sees the folder."""


@dataclass(frozen=True)
class Node:
    """What a build needs of each node.

    Attributes:
        gpus: GPUs, one process each; 0 for a build on CPUs.
        processes: Processes; None for one a GPU, or one on CPUs.
        env_setup: Shell lines that run first; empty for the environment that writes the script.
        grace: Seconds between the preemption signal and the kill.
    """

    gpus: int
    processes: int | None = None
    env_setup: str = ""
    grace: int = 120

    def __post_init__(self) -> None:
        if self.gpus < 0 or (self.processes is not None and self.processes < 1):
            raise UsageError(f"{self.gpus} GPUs and {self.processes} processes a node: at least one process must work")
        if self.gpus and (self.processes or 0) > self.gpus:
            raise UsageError(f"{self.processes} processes for {self.gpus} GPUs a node: at most one process a GPU")
        if self.grace < 2 * (STATUS_SECONDS + LEAVING):
            raise UsageError(
                f"a grace of {self.grace} s: {2 * (STATUS_SECONDS + LEAVING):.0f} or more, to finish units and end"
            )

    @property
    def count(self) -> int:
        """Processes a node."""
        return self.processes or self.gpus or 1

    @property
    def setup(self) -> str:
        """The shell lines that put the programs on the path."""
        return self.env_setup or f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'


@dataclass(frozen=True)
class Script:
    """A script and the commands that start it, show how far the build is, and cancel it."""

    path: Path
    submit: str
    follow: str
    cancel: str


@dataclass(frozen=True)
class Slurm:
    """A job of several nodes, or an array of jobs of one node each.

    Attributes:
        nodes: Nodes, or jobs of the array.
        time: Time limit, as SLURM writes it (HH:MM:SS).
        array: Whether each node is a job of its own, which starts as soon as there is room for it.
        extra: More options of sbatch, by their long names.
    """

    nodes: int
    time: str
    array: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)

    def write(self, build: Build, node: Node) -> Script:
        """Write the script of a prepared build."""
        if self.nodes < 1:
            raise UsageError(f"--nodes {self.nodes}: at least one node must work")
        array = {"array": f"0-{self.nodes - 1}"} if self.array else {}
        gpus = {"gpus-per-node": str(node.gpus)} if node.gpus else {}
        cpus = node.count * max(build.recipe.settings.threads, READERS if node.gpus else 1)
        options = {
            "job-name": f"noisezoo-{build.recipe.name}", "nodes": "1" if self.array else str(self.nodes), **array,
            **gpus, "cpus-per-task": str(cpus), "time": self.time, **self.extra,
        }  # fmt: skip
        logs = str(build.state / "logs" / ("slurm-%A_%a.out" if self.array else "slurm-%j.out"))
        path = _write(
            build, node, "slurm.sh", options=options | {"output": logs}, on_node=ON_NODE, identity=identity(build),
            signal_grace=node.grace, status_seconds=STATUS_SECONDS,
        )  # fmt: skip
        return Script(path, f"sbatch {shlex.quote(str(path))}", _follow(build), "scancel JOB")


@dataclass(frozen=True)
class Hosts:
    """Hosts that ssh reaches without a password."""

    hosts: Sequence[str]

    def write(self, build: Build, node: Node) -> Script:
        """Write the script of a prepared build."""
        twice = sorted({host for host in self.hosts if self.hosts.count(host) > 1})
        if not self.hosts or twice:
            raise UsageError(f"host {twice[0]} is listed twice" if twice else "no hosts: write one a line")
        folder = build.state / "cluster"
        command = shlex.join(["bash", "-c", ON_NODE, str(folder / "node.sh"), identity(build)])
        path = _write(
            build, node, "hosts.sh", hosts=list(self.hosts), command=command, pids=str(folder / "pids"),
            logs=str(build.state / "logs"),
        )  # fmt: skip
        return Script(path, f"bash {shlex.quote(str(path))}", _follow(build), "Ctrl-C in the script")


@dataclass(frozen=True)
class HfJobs:
    """One machine of Hugging Face Jobs, whose storage several machines cannot share as a file system.

    Attributes:
        bucket: NAMESPACE/NAME of the bucket that keeps the folder.
        flavor: The machine, as `hf jobs hardware` lists them.
        timeout: Longest duration, as in 12h; without one Jobs takes 30 minutes.
        image: The container's image.
        install: The shell line that installs noisezoo in it.
        attempts: How often the job is started before it is given up; each attempt goes on from the bucket.
    """

    bucket: str
    flavor: str
    timeout: str
    image: str
    install: str
    attempts: int = 3

    def write(self, recipe: Recipe, path: Path) -> Script:
        """Write the script of a recipe that needs no file of this machine."""
        local = [f"folder {name}={where}" for name, where in recipe.folders.items()]
        local += [f"source {recipe.source.name}"] if zoo.is_path(recipe.source.name.partition(":")[2]) else []
        if local:
            raise UsageError(f"{local[0]} is on this machine, and the job is not: put it on the Hub and name it so")
        options = ["--flavor", self.flavor, "--timeout", self.timeout, "--attempts", str(self.attempts)]
        place = f"hf://buckets/{self.bucket}/{recipe.name}"
        text = _render(
            "hf-jobs.sh", recipe=_yaml(recipe).rstrip(), script=str(path), bucket=self.bucket, place=place,
            options=options, image=self.image, install=self.install, copy_seconds=300,
        )  # fmt: skip
        _commit(path, text)
        follow = f"hf buckets sync {place} DIR && noisezoo status DIR"
        return Script(path, f"bash {shlex.quote(str(path))}", follow, "hf jobs cancel JOB")


def _follow(build: Build) -> str:
    return f"noisezoo status {shlex.quote(str(build.root.absolute()))}"


def _write(build: Build, node: Node, template: str, **fields: Any) -> Path:
    """Write the recipe, the node's script and the script of a template into the build's folder."""
    out = build.root.absolute()
    folder = out / build.state.name / "cluster"
    recipe, script = folder / "recipe.yaml", folder / template
    grace = {GRACE_VARIABLE: f"{node.grace - STATUS_SECONDS - 2 * LEAVING:.0f}",
             "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": f"{node.grace - STATUS_SECONDS - LEAVING:.0f}"}  # fmt: skip
    shared = {"out": str(out), "env_setup": node.setup, "here": str(Path.cwd())}
    (out / build.state.name / "logs").mkdir(exist_ok=True)  # SLURM makes none, and fails the job
    _commit(recipe, _yaml(build.recipe))
    _commit(folder / "node.sh", _render(
        "node.sh", **shared, recipe=str(recipe), arguments=launch_arguments(node.count, bool(node.gpus)),
        environment=launch_environment(build.recipe.settings.threads, bool(node.gpus)) | grace,
    ))  # fmt: skip
    _commit(script, _render(template, **shared, script=str(script), node=str(folder / "node.sh"), **fields))
    return script


def _render(template: str, **fields: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("noisezoo.builder.launch"), undefined=StrictUndefined, trim_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    environment.filters["sbatch"] = lambda value: value if re.fullmatch(r"[-\w.,:/@%+=\[\]]+", value) else f'"{value}"'
    return environment.get_template(f"{template}.j2").render(**fields)


def _yaml(recipe: Recipe) -> str:
    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def _commit(path: Path, text: str) -> None:
    with committed(path) as temporary:
        temporary.write_text(text)
