"""Scripts from templates: what each scheduler is asked for, and how people start, follow and cancel what it runs.

Every node starts `accelerate launch` for itself. One launch over all nodes would begin with a rendezvous and end, on
all of them, when one of them dies; the processes need nothing from each other, and claims in the folder are all that
joins them. So a job of several nodes, an array of jobs and a list of hosts are one thing, started three ways.
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

LOOKING = 25
"""Seconds before SLURM's kill that are kept for looking what is left and asking for the requeue."""

ON_NODE = (
    '[ -r "$0" ] || { echo "error: host $(hostname) does not see $0: put the build on a file system that every node '
    'mounts at this path" >&2; exit 2; }; exec bash "$0" "$@"'
)
"""What a node runs: its script, if the folder is there at all."""


@dataclass(frozen=True)
class Node:
    """What a build asks of each node.

    Attributes:
        gpus: GPUs, one process each; 0 for a build on CPUs.
        processes: Processes; None for one a GPU, or one alone without any.
        env_setup: Shell lines before anything else; empty for this very environment's programs.
        grace: Seconds between a notice and the kill.
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
        if self.grace < 2 * (LOOKING + LEAVING):
            raise UsageError(
                f"a grace of {self.grace} s: {2 * (LOOKING + LEAVING):.0f} or more, to finish in and leave"
            )

    @property
    def count(self) -> int:
        """Processes a node."""
        return self.processes or self.gpus or 1

    @property
    def setup(self) -> str:
        """The shell lines that bring the programs."""
        return self.env_setup or f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'


@dataclass(frozen=True)
class Script:
    """A written script, and what to say of it.

    Attributes:
        path: Where it is.
        submit: The command that starts it.
        follow: The command that shows how far the build is.
        cancel: How to end it.
    """

    path: Path
    submit: str
    follow: str
    cancel: str


@dataclass(frozen=True)
class Slurm:
    """A job of several nodes, or an array of jobs of one node each.

    Attributes:
        nodes: Nodes, or jobs of the array.
        time: Wall clock, as SLURM writes it (HH:MM:SS).
        array: Whether each node is a job of its own, which starts as soon as there is room for it.
        extra: Further options of sbatch, by their long names.
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
            signal_grace=node.grace, look=LOOKING,
        )  # fmt: skip
        return Script(path, f"sbatch {shlex.quote(str(path))}", _follow(build), "scancel JOB")


@dataclass(frozen=True)
class Hosts:
    """A list of hosts that ssh reaches without a password."""

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
    """One machine of Hugging Face Jobs: their storage is no file system that several could share.

    Attributes:
        bucket: NAMESPACE/NAME of the bucket that keeps the folder.
        flavor: The machine, as `hf jobs hardware` lists them.
        timeout: Longest duration, as in 12h; theirs is 30 minutes unless told otherwise.
        image: The container's image.
        install: The shell line that brings noisezoo into it.
        attempts: How often it is started before it is given up; each goes on from the bucket.
    """

    bucket: str
    flavor: str
    timeout: str
    image: str
    install: str
    attempts: int = 3

    def write(self, recipe: Recipe, path: Path) -> Script:
        """Write the script of a recipe, which must not need this machine's files."""
        local = [*(f"folder {name}={where}" for name, where in recipe.folders.items())]
        local += [f"source {recipe.source.name}"] if zoo.is_path(recipe.source.name.partition(":")[2]) else []
        if local:
            raise UsageError(f"{local[0]} is on this machine, and the job is not: put it on the Hub and name it so")
        options = ["--flavor", self.flavor, "--timeout", self.timeout, "--attempts", str(self.attempts)]
        place = f"hf://buckets/{self.bucket}/{recipe.name}"
        text = _render(
            "hf-jobs.sh", recipe=_yaml(recipe).rstrip(), script=str(path), bucket=self.bucket, place=place,
            options=options, image=self.image, install=self.install, keep_seconds=300,
        )  # fmt: skip
        _commit(path, text)
        follow = f"hf buckets sync {place} DIR && noisezoo status DIR"
        return Script(path, f"bash {shlex.quote(str(path))}", follow, "hf jobs cancel JOB")


def _follow(build: Build) -> str:
    return f"noisezoo status {shlex.quote(str(build.root.absolute()))}"


def _write(build: Build, node: Node, template: str, **fields: Any) -> Path:
    """Write the recipe, what a node runs and the script of a template beside each other into the build's folder."""
    out = build.root.absolute()
    folder = out / build.state.name / "cluster"
    recipe, script = folder / "recipe.yaml", folder / template
    grace = {GRACE_VARIABLE: f"{node.grace - LOOKING - 2 * LEAVING:.0f}",
             "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": f"{node.grace - LOOKING - LEAVING:.0f}"}  # fmt: skip
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
