"""Scripts for schedulers, from templates, and the commands that start, follow and cancel them.

Every node runs its own `accelerate launch`. A launch over all nodes would begin with a rendezvous and end everywhere
when one node dies. The processes need nothing from each other but the leases in the build's folder, so a job of several
nodes and an array of jobs differ only in how the node's script is started.
"""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf
from pathlib import Path
from typing import Any

from noisezoo import zoo
from noisezoo.builder.engine import GRACE_VARIABLE, LEAVING, READERS, Build, find_store, identity, is_url
from noisezoo.builder.recipe import Recipe
from noisezoo.errors import UsageError
from noisezoo.files import write_text
from .local import launch_arguments, launch_environment, recipe_text
from .machines import CPU, machine
from .plan import Plan, plan

STATUS_SECONDS = 25
"""Seconds before SLURM's kill that are kept for `noisezoo status` and for the requeue."""

ON_NODE = (
    '[ -r "$0" ] || { echo "error: host $(hostname) does not see $0: put the build on a file system that every node '
    'mounts at this path" >&2; exit 2; }; exec bash "$0" "$@"'
)
"""What a node runs: its script, if it sees the folder."""


@dataclass(frozen=True)
class Node:
    """What a build needs of each node."""

    gpus: int  # GPUs, one process each; 0 for a build on CPUs
    processes: int | None = None  # processes; None for one a GPU, or one on CPUs
    env_setup: str = ""  # shell lines that run first; empty for the environment that writes the script
    grace: int = 120  # seconds between the preemption signal and the kill

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
    """A script, the commands that start it, show how far the build is and cancel it, and what to be warned of."""

    path: Path
    submit: str
    follow: str
    cancel: str
    warnings: tuple[str, ...] = ()


def container_words(text: str | None, gpus: bool, mounts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options of srun, and words before a command, that let it run in an image that holds noisezoo; none without one.

    Args:
        text: `apptainer:IMAGE`, or `pyxis:IMAGE` for SLURM's plug-in.
        gpus: Whether it must see GPUs.
        mounts: Folders that it sees at the paths they have outside.
    """
    if not text:
        return [], []
    runtime, _, image = text.partition(":")
    if runtime not in ("apptainer", "pyxis") or not image:
        raise UsageError(f"--container {text}: write apptainer:IMAGE or pyxis:IMAGE")
    if wrong := [path for path in mounts if set(path) & set(",:")]:
        raise UsageError(f"a container cannot mount {wrong[0]}: its path has a comma or a colon")
    if runtime == "apptainer":
        return [], ["apptainer", "exec", *(["--nv"] if gpus else []), "--bind", ",".join(mounts), image]
    return [f"--container-image={image}", f"--container-mounts={','.join(f'{path}:{path}' for path in mounts)}"], []


@dataclass(frozen=True)
class Slurm:
    """A job of several nodes, or an array of jobs of one node each."""

    nodes: int  # nodes, or jobs of the array
    time: str  # time limit in one of SLURM's forms, as in 12:00:00
    array: bool = False  # whether each node is a job of its own, which starts as soon as there is room for it
    at_once: int | None = None  # at most so many jobs of the array run at a time
    memory: str | None = None  # memory of a node, as SLURM writes it; None for what the plan needs
    cpus_per_gpu: int | None = None  # CPUs for each GPU; None for what the processes need, asked for by node
    container: str | None = None  # `apptainer:IMAGE` or `pyxis:IMAGE`
    gpu: str = "h100"  # the nodes' GPUs, for the warning that the time limit is too short for a unit
    extra: Mapping[str, str] = field(default_factory=dict)  # more options of sbatch, by their long names
    lines: Sequence[str] = ()  # more lines of sbatch options, as they are

    def write(self, build: Build, node: Node) -> Script:
        """Write the script of a prepared build.

        Raises:
            UsageError: SLURM could not follow the script; says what to write instead.
        """
        refuse_url(build.store.name, "a job of SLURM")
        self._check(node)
        seconds, build = slurm_seconds(self.time), replace(build, store=find_store(build.root.absolute()))
        made = self._plan(build, node)
        logs = _for_slurm(build.state / "logs") + ("/slurm-%A_%a.out" if self.array else "/slurm-%j.out")
        srun, words = container_words(self.container, bool(node.gpus), _mounts(build))
        step = ["srun", "--overlap", "--nodes=1", "--ntasks=1", *srun] if srun else words
        path = _write(
            build, node, "slurm.sh", in_container=bool(self.container), options=self._options(build, node, made, logs),
            lines=[line.removeprefix("#SBATCH").strip() for line in self.lines],
            status=shlex.join([*step, "noisezoo", "status", str(build.root)]), srun_options=srun, words=words,
            on_node=ON_NODE, identity=identity(build), signal_grace=node.grace, status_seconds=STATUS_SECONDS,
        )  # fmt: skip
        needed = made.load_seconds + made.longest
        warnings = (
            f"--time {self.time} is too short: to start and to compute one slice takes about {needed / 60:.0f} minutes "
            f"on {made.machine.about}, so that no job finishes anything; give more time or set slice_rows lower",
        )  # fmt: skip
        submit = f"sbatch {shlex.quote(str(path))}"
        follow = f"noisezoo status {shlex.quote(str(build.root))}"
        return Script(path, submit, follow, "scancel JOB", warnings if needed > seconds else ())

    def _check(self, node: Node) -> None:
        if self.nodes < 1:
            raise UsageError(f"--nodes {self.nodes}: at least one node must work")
        if self.at_once is not None and (not self.array or self.at_once < 1):
            raise UsageError(f"--at-once {self.at_once}: a number above zero, and only with --array")
        if self.cpus_per_gpu is not None and not node.gpus:
            raise UsageError("--cpus-per-gpu: there are no GPUs (--gpus-per-node 0)")

    def _plan(self, build: Build, node: Node) -> Plan:
        s, slices = build.recipe.settings, len(build.manifest.slices(build.recipe.slice_rows))
        device = machine(self.gpu if node.gpus else CPU, dtype=s.dtype, threads=s.threads, processes=node.count)
        return plan(build.recipe, len(build.manifest), device, slices=slices)

    def _options(self, build: Build, node: Node, made: Plan, logs: str) -> dict[str, str]:
        throttle = "" if self.at_once is None else f"%{self.at_once}"
        array = {"array": f"0-{self.nodes - 1}{throttle}"} if self.array else {}
        gpus = {"gpus-per-node": str(node.gpus)} if node.gpus else {}
        cpus = str(node.count * max(build.recipe.settings.threads, READERS if node.gpus else 1))
        needed = made.host_memory * node.count + made.publishing_memory
        return {
            "job-name": f"noisezoo-{build.recipe.name}", "nodes": "1" if self.array else str(self.nodes), **array,
            **gpus, **({"cpus-per-gpu": str(self.cpus_per_gpu)} if self.cpus_per_gpu else {"cpus-per-task": cpus}),
            "mem": self.memory or f"{ceil(needed / 2**30)}G", "time": self.time, **self.extra, "output": logs,
        }  # fmt: skip


def slurm_seconds(text: str) -> float:
    """Seconds of a time limit in SLURM's forms: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S; 0 is no limit.

    Raises:
        UsageError: Another form.
    """
    if not re.fullmatch(r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}", text):
        raise UsageError(f"--time {text}: write hours:minutes:seconds, as in 12:00:00, or days-hours, as in 1-12")
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes, seconds = ([*parts, 0, 0] if dash or len(parts) == 3 else [0, *parts, 0])[:3]
    return (((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds) or inf


def _for_slurm(path: Path) -> str:
    """A path in an option of sbatch, in which % begins a symbol and a backslash ends all symbols."""
    if set(str(path)) & set('\\"\n'):
        raise UsageError(f"{path}: SLURM cannot write its logs to a path with a backslash, a quote or a line's end")
    return str(path).replace("%", "%%")


def _mounts(build: Build) -> list[str]:
    """The folders that a build reads and writes, outermost alone."""
    from huggingface_hub import constants

    source = Path(build.recipe.source.name.partition(":")[2] or ".")
    folders = map(Path, (constants.HF_HOME, *build.recipe.folders.values()))
    places = {build.root, Path.cwd(), source.absolute(), *folders}
    there = [place for place in places if place.exists()]
    return sorted(str(place) for place in there if not set(place.parents) & set(there))


@dataclass(frozen=True)
class HfJobs:
    """One machine of Hugging Face Jobs, whose storage several machines cannot share as a file system."""

    bucket: str  # NAMESPACE/NAME of the bucket that keeps the folder
    flavor: str  # the machine, as `hf jobs hardware` lists them
    timeout: str  # longest duration, as in 12h; without one Jobs takes 30 minutes
    image: str  # the container's image
    install: str  # the shell line that installs noisezoo in it
    attempts: int = 3  # how often the job is started before it is given up; each attempt goes on from the bucket

    def write(self, recipe: Recipe, path: Path) -> Script:
        """Write the script of a recipe that needs no file of this machine.

        Raises:
            UsageError: It needs one, or the bucket has no namespace.
        """
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.bucket):
            raise UsageError(f"--bucket {self.bucket}: write NAMESPACE/NAME, as in me/builds")
        local = [f"folder {name}={where}" for name, where in recipe.folders.items()]
        local += [f"view {row.name} ({row.repo})" for row in recipe.rows if zoo.is_path(row.repo)]
        local += [f"source {recipe.source.name}"] if _is_local(recipe.source.name) else []
        if local:
            raise UsageError(f"{local[0]} is on this machine, and the job is not: put it on the Hub and name it so")
        path = path.absolute()
        options = ["--flavor", self.flavor, "--timeout", self.timeout, "--attempts", str(self.attempts)]
        place = f"hf://buckets/{self.bucket}/{recipe.name}"
        text = _render(
            "hf-jobs.sh", recipe=recipe_text(recipe).rstrip(), script=str(path), bucket=self.bucket, place=place,
            options=options, image=self.image, install=self.install, copy_seconds=300,
        )  # fmt: skip
        write_text(path, text)
        follow = f"hf buckets sync {place} DIR && noisezoo status DIR"
        return Script(path, f"bash {shlex.quote(str(path))}", follow, "hf jobs cancel JOB")


def _is_local(source: str) -> bool:
    """Whether a source reads files of this machine: every `KIND:PATH` but a Hub dataset, `hf:NAMESPACE/NAME`."""
    kind, colon, where = source.partition(":")
    on_hub = kind == "hf" and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", where) and not Path(where).exists()
    return bool(colon) and not on_hub


def refuse_url(place: str | Path, what: str) -> None:
    """Refuse a place in object storage for what needs a folder on every machine: its scripts and logs lie there."""
    if is_url(place):
        raise UsageError(
            f"{what} needs a folder that every machine sees, and {find_store(place).name} is none: choose another "
            "--out, or run `noisezoo build` with this --out on each machine"
        )


def _write(build: Build, node: Node, template: str, *, in_container: bool = False, **fields: Any) -> Path:
    """Write the recipe, the node's script and the script of a template into the build's folder, which is absolute.

    A container has programs of its own; the lines that bring programs then run outside of it.
    """
    from huggingface_hub import constants

    folder = build.state / "cluster"
    recipe, script = folder / "recipe.yaml", folder / template
    grace = {GRACE_VARIABLE: f"{node.grace - STATUS_SECONDS - 2 * LEAVING:.0f}",
             "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": f"{node.grace - STATUS_SECONDS - LEAVING:.0f}"}  # fmt: skip
    environment = launch_environment(build.recipe.settings.threads, bool(node.gpus)) | grace
    environment |= {"HF_HOME": constants.HF_HOME} if in_container else {}
    shared = {"out": str(build.root), "here": str(Path.cwd())}
    (build.state / "logs").mkdir(exist_ok=True)  # SLURM makes none, and fails the job
    write_text(recipe, recipe_text(build.recipe))
    write_text(folder / "node.sh", _render(
        "node.sh", **shared, recipe=str(recipe), arguments=launch_arguments(node.count, bool(node.gpus)),
        env_setup="" if in_container else node.setup, environment=environment,
    ))  # fmt: skip
    write_text(script, _render(
        template, **shared, script=str(script), node=str(folder / "node.sh"),
        env_setup=node.env_setup if in_container else node.setup, **fields,
    ))  # fmt: skip
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
