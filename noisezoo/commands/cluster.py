"""`noisezoo cluster`: prepare a build, and write the script that runs it on several machines."""

import json
import platform
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Annotated

import typer

from noisezoo.builder.engine import admit, opened
from noisezoo.builder.launch import HfJobs, Node, Script, Slurm, refuse_url
from noisezoo.builder.recipe import Recipe
from noisezoo.commands import options, register_command
from noisezoo.commands.output import plain_console
from noisezoo.errors import UsageError

app = register_command("cluster", "Build")(typer.Typer(no_args_is_help=True, rich_markup_mode="rich"))


@app.callback()
def _about() -> None:
    """Write the script that runs a build on several machines; any of them may die, and the same script goes on."""


@app.command()
@options.with_recipe
def slurm(
    recipe: Recipe,
    out: options.Out,
    nodes: Annotated[int, typer.Option(help="Nodes, or jobs of the array.")],
    gpus_per_node: Annotated[int, typer.Option(help="GPUs a node, one process each; 0 to compute on CPUs.")],
    time: Annotated[str, typer.Option(help="Time limit, as in 12:00:00 or 1-12; requeued if work is left.")],
    array: Annotated[bool, typer.Option("--array", help="A job a node, each starting when there is room.")] = False,
    at_once: Annotated[int | None, typer.Option(help="At most this many jobs of the array at a time.")] = None,
    partition: Annotated[str | None, typer.Option(help="As in sbatch.")] = None,
    account: Annotated[str | None, typer.Option(help="As in sbatch.")] = None,
    constraint: Annotated[str | None, typer.Option(help="As in sbatch: ask for one kind of GPU.")] = None,
    qos: Annotated[str | None, typer.Option(help="As in sbatch.")] = None,
    mem: Annotated[str | None, typer.Option(help="Memory of a node, as in sbatch; as planned by default.")] = None,
    cpus_per_gpu: Annotated[int | None, typer.Option(help="As in sbatch, instead of CPUs by node.")] = None,
    mail_user: Annotated[str | None, typer.Option(help="Send mail to this address when a job ends or fails.")] = None,
    sbatch: Annotated[
        list[str] | None, typer.Option(help="Any other option, as in --sbatch '--exclusive'; may be repeated.")
    ] = None,
    container: Annotated[
        str | None, typer.Option(help="apptainer:IMAGE or pyxis:IMAGE: work in this image, which holds noisezoo.")
    ] = None,
    gpu: Annotated[str, typer.Option(help="The nodes' GPUs, as in `noisezoo plan`: is --time enough?")] = "h100",
    processes_per_node: Annotated[int | None, typer.Option(help="Processes a node, instead of one a GPU.")] = None,
    env_setup: Annotated[
        str, typer.Option(help="Shell lines that bring noisezoo to a node, instead of this environment's path.")
    ] = "",
    signal_grace: Annotated[
        int, typer.Option(help="Seconds from the signal to the kill, in which units are finished.")
    ] = 120,
    mixed: options.Mixed = False,
) -> None:
    """Prepare the folder and write its sbatch script.

    Example: noisezoo cluster slurm celeba.yaml --out /shared/celeba --nodes 4 --gpus-per-node 8 --time 04:00:00
    """
    refuse_url(out, "a job of SLURM")
    mail = {"mail-user": mail_user, "mail-type": "END,FAIL"} if mail_user else {}
    asked = {"partition": partition, "account": account, "constraint": constraint, "qos": qos, **mail}
    node = Node(gpus_per_node, processes_per_node, env_setup, signal_grace)
    job = Slurm(
        nodes, time, array, at_once, mem, cpus_per_gpu, container, gpu,
        {name: value for name, value in asked.items() if value is not None}, sbatch or (),
    )  # fmt: skip
    build = opened(recipe, out)  # prepared here: a fault of recipe, source or model shows before anything is queued
    admit(build, mixed=mixed)
    _show(job.write(build, node))


@app.command("hf-jobs")
@options.with_recipe
def hf_jobs(
    recipe: Recipe,
    bucket: Annotated[str, typer.Option(help="NAMESPACE/NAME of the bucket that keeps the folder; made if needed.")],
    flavor: Annotated[str, typer.Option(help="The machine: see `hf jobs hardware`.")],
    timeout: Annotated[str, typer.Option(help="Longest duration of an attempt, as in 12h.")],
    script: Annotated[Path, typer.Option(help="Where to write the script.")] = Path("noisezoo-hf-jobs.sh"),
    image: Annotated[str | None, typer.Option(help="The container's image; by default this Python's.")] = None,
    install: Annotated[
        str | None,
        typer.Option(help="The shell line that brings noisezoo into the container; needed until it is a release's."),
    ] = None,
    attempts: Annotated[int, typer.Option(min=1, help="How often to start it before it is given up.")] = 3,
) -> None:
    """Write a script that builds on one machine of Hugging Face Jobs and keeps the folder in a bucket.

    Example: noisezoo cluster hf-jobs celeba.yaml --bucket me/b --flavor h200 --timeout 9h --install "pip install X"
    """
    python = ".".join(platform.python_version_tuple()[:2])
    job = HfJobs(bucket, flavor, timeout, image or f"python:{python}", install or install_line(), attempts)
    _show(job.write(recipe, script))


def install_line() -> str:
    """The shell line that installs what runs here elsewhere: a release, or the commit of a git URL.

    Raises:
        UsageError: It was installed from files of this machine.
    """
    origin = json.loads(distribution("noisezoo").read_text("direct_url.json") or "{}")  # PEP 610: none for a release
    if not origin:
        return f"pip install 'noisezoo[build]=={version('noisezoo')}'"
    if "vcs_info" not in origin:
        example = "--install \"pip install 'noisezoo[build] @ git+https://example.org/noisezoo'\""
        raise UsageError(f"noisezoo was installed from files of this machine: say how the job gets it, as in {example}")
    commit, vcs = origin["vcs_info"]["commit_id"], origin["vcs_info"]["vcs"]
    return f"pip install 'noisezoo[build] @ {vcs}+{origin['url']}@{commit}'"


def _show(script: Script) -> None:
    console = plain_console()
    console.print(f"Wrote {script.path}")
    for what, command in (("submit", script.submit), ("follow", script.follow), ("cancel", script.cancel)):
        console.print(f"  {what}: {command}")
    for warning in script.warnings:
        console.print(f"warning: {warning}")
