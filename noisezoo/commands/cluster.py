"""`noisezoo cluster`: prepare a build, and write the script that runs it on several machines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from noisezoo.builder.engine import Build
    from noisezoo.builder.launch import Script

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

RecipeArgument = Annotated[str, typer.Argument(help="A bundled recipe (see `noisezoo recipes`) or a .yaml file.")]
OutOption = Annotated[Path, typer.Option("--out", help="The dataset's folder, which every machine must see.")]
ViewsOption = Annotated[str | None, typer.Option(help="Views, separated by commas, instead of the recipe's.")]
SourceOption = Annotated[str | None, typer.Option(help="As in `noisezoo build --source`.")]
LimitOption = Annotated[int | None, typer.Option(help="At most this many images, chosen by hash.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="A setting, KEY=VALUE; may be repeated.")]
FolderOption = Annotated[list[str] | None, typer.Option("--folder", help="A local model, NAME=PATH; may be repeated.")]
GpusOption = Annotated[int, typer.Option(help="GPUs a node, with one process each; 0 to compute on CPUs.")]
ProcessesOption = Annotated[int | None, typer.Option(help="Processes a node, instead of one a GPU.")]
SetupOption = Annotated[
    str, typer.Option(help="Shell lines that bring noisezoo to a node, instead of this environment's own path.")
]
GraceOption = Annotated[int, typer.Option(help="Seconds from the notice to the kill, in which units are finished.")]
MixedOption = Annotated[bool, typer.Option("--mixed", help="Let differing software and devices work on one build.")]


@app.callback()
def _about() -> None:
    """Write the script that runs a build on several machines; any of them may die, and the same script goes on."""


@app.command()
def slurm(
    recipe: RecipeArgument,
    out: OutOption,
    nodes: Annotated[int, typer.Option(help="Nodes, or jobs of the array.")],
    gpus_per_node: GpusOption,
    time: Annotated[str, typer.Option(help="Wall clock, HH:MM:SS; requeued when it is over and work is left.")],
    array: Annotated[bool, typer.Option("--array", help="A job a node, each starting when there is room.")] = False,
    partition: Annotated[str | None, typer.Option(help="As in sbatch.")] = None,
    account: Annotated[str | None, typer.Option(help="As in sbatch.")] = None,
    constraint: Annotated[str | None, typer.Option(help="As in sbatch: ask for one kind of GPU.")] = None,
    qos: Annotated[str | None, typer.Option(help="As in sbatch.")] = None,
    processes_per_node: ProcessesOption = None,
    env_setup: SetupOption = "",
    signal_grace: GraceOption = 120,
    source: SourceOption = None,
    views: ViewsOption = None,
    limit: LimitOption = None,
    settings: SetOption = None,
    folders: FolderOption = None,
    mixed: MixedOption = False,
) -> None:
    """Prepare the folder and write its sbatch script.

    Example: noisezoo cluster slurm celeba --out /shared/celeba --nodes 4 --gpus-per-node 8 --time 04:00:00
    """
    from noisezoo.builder.launch import Node, Slurm

    asked = {"partition": partition, "account": account, "constraint": constraint, "qos": qos}
    node = Node(gpus_per_node, processes_per_node, env_setup, signal_grace)
    job = Slurm(nodes, time, array, {name: value for name, value in asked.items() if value is not None})
    _show(job.write(_prepared(_recipe(recipe, source, views, limit, settings, folders), out, mixed), node))


@app.command()
def hosts(
    recipe: RecipeArgument,
    out: OutOption,
    hosts_file: Annotated[Path, typer.Option("--hosts", help="A file of host names, one a line.")],
    gpus_per_node: GpusOption,
    processes_per_node: ProcessesOption = None,
    env_setup: SetupOption = "",
    signal_grace: GraceOption = 120,
    source: SourceOption = None,
    views: ViewsOption = None,
    limit: LimitOption = None,
    settings: SetOption = None,
    folders: FolderOption = None,
    mixed: MixedOption = False,
) -> None:
    """Prepare the folder and write a script that builds it on a list of hosts, by ssh.

    Example: noisezoo cluster hosts celeba --out /shared/celeba --hosts hosts.txt --gpus-per-node 8
    """
    from noisezoo.builder.launch import Hosts, Node

    lines = [line.partition("#")[0].strip() for line in hosts_file.read_text().splitlines()]
    node = Node(gpus_per_node, processes_per_node, env_setup, signal_grace)
    job = Hosts([line for line in lines if line])
    _show(job.write(_prepared(_recipe(recipe, source, views, limit, settings, folders), out, mixed), node))


@app.command("hf-jobs")
def hf_jobs(
    recipe: RecipeArgument,
    bucket: Annotated[str, typer.Option(help="NAMESPACE/NAME of the bucket that keeps the folder; made if needed.")],
    flavor: Annotated[str, typer.Option(help="The machine: see `hf jobs hardware`.")],
    timeout: Annotated[str, typer.Option(help="Longest duration of an attempt, as in 12h.")],
    script: Annotated[Path, typer.Option(help="Where to write the script.")] = Path("noisezoo-hf-jobs.sh"),
    image: Annotated[str | None, typer.Option(help="The container's image; by default this Python's.")] = None,
    install: Annotated[str | None, typer.Option(help="The shell line that brings noisezoo into the container.")] = None,
    attempts: Annotated[int, typer.Option(min=1, help="How often to start it before it is given up.")] = 3,
    source: SourceOption = None,
    views: ViewsOption = None,
    limit: LimitOption = None,
    settings: SetOption = None,
) -> None:
    """Write a script that builds on one machine of Hugging Face Jobs and keeps the folder in a bucket.

    Example: noisezoo cluster hf-jobs celeba --source hf:me/faces --bucket me/builds --flavor h200x8 --timeout 12h
    """
    import platform
    from importlib.metadata import version

    from noisezoo.builder.launch import HfJobs

    python = ".".join(platform.python_version_tuple()[:2])
    job = HfJobs(
        bucket, flavor, timeout, image or f"python:{python}", install or f"pip install noisezoo=={version('noisezoo')}",
        attempts,
    )  # fmt: skip
    _show(job.write(_recipe(recipe, source, views, limit, settings, None), script))


def _recipe(
    recipe: str, source: str | None, views: str | None, limit: int | None, settings: list[str] | None,
    folders: list[str] | None,
) -> Any:  # fmt: skip
    from noisezoo.builder.recipe import read_recipe
    from noisezoo.commands.build import make_overrides

    return read_recipe(recipe, make_overrides(source, views, limit, settings or [], folders or []))


def _prepared(recipe: Any, out: Path, mixed: bool) -> "Build":
    """The build, with its manifest frozen here: a fault of recipe, source or model shows before anything is queued."""
    from noisezoo.builder.engine import admit, opened

    build = opened(recipe, out)
    admit(build, mixed=mixed)
    return build


def _show(script: "Script") -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"Wrote {script.path}")
    for what, command in (("submit", script.submit), ("follow", script.follow), ("cancel", script.cancel)):
        console.print(f"  {what}: {command}")
