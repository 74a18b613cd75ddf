"""Scripts for SLURM and Hugging Face Jobs: sound as shell, and run here against stand-ins that start processes."""

import json
import os
import shlex
import signal
import subprocess
import sys
from importlib.metadata import version
from math import ceil, inf
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from noisezoo.builder.__main__ import run
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.engine.admission import opened
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.launch import machines
from noisezoo.builder.launch.cluster import ON_NODE, HfJobs, Node, Slurm, slurm_seconds
from noisezoo.builder.launch.machines import Machine, machine
from noisezoo.builder.launch.plan import plan
from noisezoo.builder.recipe import Recipe
from noisezoo.cli import make_app
from noisezoo.errors import UsageError
from tests.builder.building import digits_recipe, leftovers, published
from tests.builder.schedulers import Cluster, finish, wait_until
from tests.builder.slow_reading import slow_down

CPU = Machine("cpu", "a CPU of 50 GFLOP/s", 50.0, 50.0, 2e-3, 1, None)
RECIPE = digits_recipe(("random-64", "pixels-8"), limit=16)
LONGER = digits_recipe(("random-64", "pixels-8"), limit=200, slice_rows=2, settings={"readers": 1})
"""100 tasks: two processes that read slowly take 50 seconds for it on any machine."""


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """This CPU's speed, without measuring it for every script."""
    monkeypatch.setattr(machines, "calibrate", lambda *_: CPU)


def reference(folder: Path, recipe: Recipe = RECIPE) -> dict[str, str]:
    """What an undisturbed build by one process publishes."""
    assert run(recipe, folder / "reference" / "noisezoo")
    return published(folder / "reference" / "noisezoo")


def faults(*paths: Path) -> str:
    """What shellcheck finds."""
    checker = Path(sys.executable).with_name("shellcheck")
    return subprocess.run([checker, *paths], capture_output=True, text=True, check=False).stdout


def claims(folder: Path) -> list[Path]:
    return list((folder / "_build" / "claims").rglob("*.json"))


def attempts_with_units(logs: Path) -> list[Path]:
    """Logs of the processes that committed something."""
    return [path for path in logs.glob("*.jsonl") if '"event": "unit"' in path.read_text()]


@pytest.mark.parametrize("out", ["noisezoo", "a folder/it's noisezoo"])
def test_every_script_is_sound_shell_whatever_its_folder_is_called(tmp_path: Path, out: str) -> None:
    build = opened(RECIPE, tmp_path / out)
    node, lines = Node(4, 3), Node(0, 2, "module load cuda\nexport HF_HOME=/scratch/hub")
    scripts = [
        Slurm(3, "01:00:00", extra={"partition": "gpu", "constraint": "h100&ib"}).write(build, node),
        HfJobs("me/builds", "h200", "12h", "python:3.11", "pip install noisezoo").write(
            RECIPE, tmp_path / out / "j.sh"
        ),
    ]
    assert faults(*(script.path for script in scripts), build.state / "cluster" / "node.sh") == ""
    array = Slurm(3, "01:00:00", array=True).write(build, lines)
    assert faults(array.path, build.state / "cluster" / "node.sh") == ""


def test_a_job_asks_slurm_for_what_was_said(tmp_path: Path) -> None:
    build = opened(RECIPE, tmp_path / "out")
    extra = {"partition": "gpu", "account": "lab", "constraint": "h100&ib"}
    text = Slurm(3, "01:30:00", extra=extra).write(build, Node(8, grace=300)).path.read_text()
    asked = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    made = plan(RECIPE, 16, machine("h100"))
    memory = ceil((8 * made.host_memory + made.publishing_memory) / 2**30)
    assert {
        f"mem={memory}G", "job-name=noisezoo-test", "nodes=3", "ntasks-per-node=1", "gpus-per-node=8",
        "cpus-per-task=64",
        "time=01:30:00", "partition=gpu", "account=lab", 'constraint="h100&ib"', "requeue", "no-kill",
        "open-mode=append", "signal=B:USR1@300", f"output={build.state}/logs/slurm-%j.out",
    } == set(asked)  # fmt: skip
    node = (build.state / "cluster" / "node.sh").read_text()
    assert "--multi_gpu --num_processes 8 --num_machines 1" in node
    assert "ACCELERATE_USE_CPU" not in node
    asked = Slurm(3, "01:30:00", array=True).write(build, Node(0)).path.read_text().splitlines()
    assert {"#SBATCH --nodes=1", "#SBATCH --array=0-2", f"#SBATCH --output={build.state}/logs/slurm-%A_%a.out"} <= set(
        asked
    )
    assert not any("gpus" in line for line in asked)


def directives(script: Path) -> list[str]:
    """The options that a script gives sbatch."""
    return [line.removeprefix("#SBATCH --") for line in script.read_text().splitlines() if line.startswith("#SBATCH")]


def test_more_options_reach_slurm_as_it_spells_them(tmp_path: Path) -> None:
    build = opened(RECIPE, tmp_path / "out")
    job = Slurm(
        3, "1-12", array=True, at_once=2, memory="64G", cpus_per_gpu=6, lines=("--exclusive", "#SBATCH --comment=x"),
        extra={"mail-user": "me@lab.org", "mail-type": "END,FAIL"},
    )  # fmt: skip
    asked = directives(job.write(build, Node(2)).path)
    assert {
        "array=0-2%2", "mem=64G", "cpus-per-gpu=6", "exclusive", "comment=x", "mail-user=me@lab.org",
        "mail-type=END,FAIL", "time=1-12",
    } <= set(asked)  # fmt: skip
    assert not any(line.startswith("cpus-per-task") for line in asked)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("90:30", 5430), ("4:00:00", 14400), ("2-3", 183600), ("2-3:30", 185400), ("2-3:30:10", 185410),
     ("0", inf)],
)  # fmt: skip
def test_time_limits_are_read_as_slurm_reads_them(text: str, seconds: float) -> None:
    assert slurm_seconds(text) == seconds


@pytest.mark.parametrize("text", ["12h", "4:00:00:00", "1d", "", "-3", "1-2-3", "04:00:00 ", "1:2345"])
def test_a_time_limit_in_another_form_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"12:00:00.*1-12"):
        slurm_seconds(text)


def test_a_time_limit_that_cannot_hold_a_unit_is_warned_of_and_a_longer_one_is_not(tmp_path: Path) -> None:
    build = opened(RECIPE, tmp_path / "out")
    (warning,) = Slurm(1, "0:15").write(build, Node(0)).warnings
    assert "--time 0:15 is too short" in warning and "slice_rows" in warning
    assert Slurm(1, "5").write(build, Node(0)).warnings == ()


@pytest.mark.parametrize("name", ["50% done", "a %j folder", "run[1]"])
def test_scripts_written_for_a_relative_folder_work_from_any_other_and_keep_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(tmp_path / "stubs", ("sbatch", "srun", "scontrol", "accelerate"))
    monkeypatch.chdir(tmp_path)
    build = opened(RECIPE, Path(name))
    slurm = Slurm(1, "01:00:00").write(build, Node(0, env_setup=cluster.setup))
    (output,) = (line for line in directives(slurm.path) if line.startswith("output="))
    assert output.removeprefix("output=").strip('"') == f"{tmp_path}/{name.replace('%', '%%')}/_build/logs/slurm-%j.out"
    assert str(tmp_path / name) in shlex.split(slurm.submit)[1]
    assert shlex.split(slurm.follow)[-1] == str(tmp_path / name)
    monkeypatch.chdir("/")
    code, said = finish(cluster.start(slurm.submit))
    assert (code, said) == (0, "")
    assert (tmp_path / name / "_build" / "logs" / "slurm-7.out").exists()
    assert is_finished(open_build(tmp_path / name))


def test_a_container_sees_all_that_the_build_reads_and_status_runs_in_it(tmp_path: Path) -> None:
    build, node = opened(RECIPE, tmp_path / "out"), Node(2, env_setup="module load apptainer")
    script = Slurm(1, "01:00:00", container="apptainer:noisezoo.sif").write(build, node).path
    inside, words = (build.state / "cluster" / "node.sh").read_text(), shlex.split(script.read_text(), comments=True)
    start = words.index("exec") - 1
    assert words[start : start + 4] == ["apptainer", "exec", "--nv", "--bind"]
    assert any(build.root.is_relative_to(place) for place in words[start + 4].split(","))
    assert words[start + 5] == "noisezoo.sif" and "module load apptainer" in script.read_text()
    assert "module load" not in inside and str(Path(sys.executable).parent) not in inside and "HF_HOME" in inside
    assert words[words.index("timeout") + 2 :][:2] == ["apptainer", "exec"]
    pyxis = Slurm(1, "01:00:00", container="pyxis:lab/noisezoo").write(build, node).path
    assert "--container-image=lab/noisezoo" in pyxis.read_text() and faults(script, pyxis) == ""


def test_the_grace_is_spent_before_slurm_kills(tmp_path: Path) -> None:
    build = opened(RECIPE, tmp_path / "out")
    script = Slurm(1, "01:00:00").write(build, Node(2, grace=200)).path.read_text()
    lines = (build.state / "cluster" / "node.sh").read_text().splitlines()
    said = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    drop, kill = int(said["NOISEZOO_GRACE"]), int(said["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
    look = int(script.split("\ntimeout ")[1].split()[0])
    assert 0 < drop < kill < kill + look < 200


@pytest.mark.slow
def test_jobs_of_an_array_told_to_stop_are_requeued_and_a_job_of_two_nodes_ends_it_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = slow_down(tmp_path, monkeypatch)
    cluster = Cluster(tmp_path / "stubs", ("sbatch", "srun", "scontrol", "accelerate"))
    out = tmp_path / "noisezoo"
    build = opened(LONGER, out)
    logs = build.state / "logs"
    array = Slurm(2, "01:00:00", array=True).write(build, Node(0, env_setup=cluster.setup))
    jobs = cluster.start(array.submit)
    wait_until(lambda: len(attempts_with_units(logs)) == 2 or jobs.poll() is not None)
    for job in cluster.told("jobs"):
        os.kill(int(job), signal.SIGUSR1)
    code, output = finish(jobs)
    said = "".join((logs / f"slurm-7_{task}.out").read_text() for task in (0, 1))
    assert code == 0, output + said
    assert sorted(cluster.told("scontrol")) == ["requeue 7_0", "requeue 7_1"], said
    assert not is_finished(open_build(out))
    assert claims(out) == []
    assert leftovers(out) == []
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("parts/*/*.json")}
    nodes = Slurm(2, "01:00:00").write(build, Node(0, env_setup=cluster.setup))
    (logs / "slurm-7.out").write_text("before it was requeued\n")
    job = cluster.start(nodes.submit)
    wait_until(lambda: len(attempts_with_units(logs)) == 4 or job.poll() is not None)
    gate.touch()
    code, output = finish(job)
    said = (logs / "slurm-7.out").read_text()
    assert code == 0, output + said
    assert said.startswith("before it was requeued"), "a requeued job's log goes on"
    assert len(attempts_with_units(logs)) == 4
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(cluster.told("scontrol")) == 2
    assert published(out) == reference(tmp_path, LONGER)


@pytest.mark.parametrize(
    ("step", "left", "noticed", "code", "requeued"),
    [
        (0, 3, False, 0, False),  # its share is done, others are at the rest
        (1, 0, False, 0, False),  # a process died, and the others did its work
        (1, 3, False, 3, False),  # a fault that would come again
        (0, 0, True, 0, False),
        (0, 3, True, 0, True),
        (1, 3, True, 0, True),  # torchrun's own end on a notice
        (0, 124, True, 0, True),  # no time was left to look
    ],
)
def test_a_job_is_requeued_only_if_it_was_told_to_stop_and_work_is_left(
    tmp_path: Path, step: int, left: int, noticed: bool, code: int, requeued: bool
) -> None:
    cluster = Cluster(tmp_path / "stubs", ("sbatch", "scontrol"))
    cluster.add("srun", f"{'kill -USR1 $PPID; sleep 0.3' if noticed else ':'}; exit {step}")
    cluster.add("noisezoo", f"exit {left}")
    script = Slurm(1, "01:00:00").write(opened(RECIPE, tmp_path / "out"), Node(0, env_setup=cluster.setup))
    ended, output = finish(cluster.start(script.submit))
    assert (ended, cluster.told("scontrol")) == (code, ["requeue 7"] if requeued else []), output


@pytest.mark.parametrize(
    "when",
    ["kill -USR1 $$", r"""trap '[ "$BASH_COMMAND" != "step=\$!" ] || kill -USR1 $$' DEBUG"""],
    ids=["setup", "start"],
)
def test_a_notice_before_the_nodes_have_started_reaches_them_and_requeues_the_job(tmp_path: Path, when: str) -> None:
    cluster = Cluster(tmp_path / "stubs", ("sbatch", "scontrol"))
    cluster.add("srun", """trap 'echo told >> "$STUBS/told.srun"; exit' USR1; for _ in {1..600}; do sleep 0.1; done""")
    cluster.add("noisezoo", "exit 3")
    setup = f"{cluster.setup}\n{when}"
    script = Slurm(1, "01:00:00").write(opened(RECIPE, tmp_path / "out"), Node(0, env_setup=setup))
    assert finish(cluster.start(script.submit), 30)[0] == 0
    assert cluster.told("scontrol") == ["requeue 7"]


def test_a_notice_is_said_again_to_processes_that_were_just_starting(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "stubs", ("sbatch", "scontrol"))
    heard = """trap 'echo heard >> "$STUBS/told.srun"; exit' USR1; for _ in {1..600}; do sleep 0.1; done"""
    cluster.add("srun", f"trap '' USR1; kill -USR1 $PPID; sleep 0.5; {heard}")
    cluster.add("noisezoo", "exit 3")
    script = Slurm(1, "01:00:00").write(opened(RECIPE, tmp_path / "out"), Node(0, env_setup=cluster.setup))
    assert finish(cluster.start(script.submit), 30)[0] == 0
    assert cluster.told("srun") == ["heard"]
    assert cluster.told("scontrol") == ["requeue 7"]


def test_a_hugging_face_job_goes_on_from_the_bucket_after_a_machine_was_lost(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "stubs", ("hf",))
    bucket, disk = tmp_path / "stubs" / "me" / "builds", tmp_path / "disk"
    whole = tmp_path / "reference" / "noisezoo"
    expected = reference(tmp_path)
    lost = open_build(whole).units(open_build(whole).views[0])[0]
    install = f"{cluster.setup}; rm -rf {disk}"
    cluster.add(
        "noisezoo",
        '[ "$1" = status ] || { shift; exec python -m noisezoo.builder "$@"; }; exec python -m noisezoo "$@"',
    )
    script = HfJobs("me/builds", "cpu-basic", "1h", "python:3.11", install).write(RECIPE, tmp_path / "job.sh")
    text = script.path.read_text().replace("/tmp/noisezoo", str(disk)).replace("/tmp/recipe", f"{tmp_path}/recipe")
    script.path.write_text(text)
    bucket.mkdir(parents=True)
    subprocess.run(["cp", "-a", f"{whole}/.", str(bucket / "test")], check=True)
    (bucket / "test" / lost.marker_path.relative_to(whole)).unlink()
    code, output = finish(cluster.start(script.submit))
    assert code == 0, output
    place = "hf://buckets/me/builds/test"
    assert cluster.told("syncs") == [f"{place} {disk}", f"{disk} {place}"]
    assert published(bucket / "test") == expected


def test_a_node_without_the_folder_says_so_and_starts_nothing(tmp_path: Path) -> None:
    where = tmp_path / "not mounted" / "node.sh"
    node = subprocess.run(["bash", "-c", ON_NODE, where, "id"], capture_output=True, text=True, check=False)
    assert node.returncode == 2
    assert f"does not see {where}" in node.stderr
    opened(RECIPE, tmp_path / "not mounted")
    where.write_text("echo $# $1")
    node = subprocess.run(["bash", "-c", ON_NODE, where, "id"], capture_output=True, text=True, check=False)
    assert (node.returncode, node.stdout) == (0, "1 id\n")


def test_a_script_that_its_machines_could_not_follow_is_refused(tmp_path: Path) -> None:
    build = opened(RECIPE, tmp_path / "out")
    for fault, words in (
        (lambda: Slurm(0, "1:00").write(build, Node(1)), "--nodes 0"),
        (lambda: Slurm(1, "12h").write(build, Node(1)), "--time 12h"),
        (lambda: Slurm(1, "1:00", at_once=2).write(build, Node(1)), "only with --array"),
        (lambda: Slurm(1, "1:00", cpus_per_gpu=2).write(build, Node(0)), "there are no GPUs"),
        (lambda: Slurm(1, "1:00", container="noisezoo.sif").write(build, Node(1)), "apptainer:IMAGE or pyxis:IMAGE"),
        (lambda: HfJobs("builds", "h200", "1h", "python", "true").write(RECIPE, tmp_path / "j.sh"), "NAMESPACE/NAME"),
        (lambda: Node(-1), "-1 GPUs"),
        (lambda: Node(2, 3), "3 processes for 2 GPUs"),
        (lambda: Node(2, grace=30), "grace of 30 s"),
    ):
        with pytest.raises(UsageError, match=words):
            fault()
    for source in ("imagefolder:/data/mine", "imagefolder:./mine", "imagefolder:mine", "celeba:mine", "hf:./mine"):
        recipe = RECIPE.model_copy(update={"source": RECIPE.source.model_copy(update={"name": source})})
        with pytest.raises(UsageError, match=source):
            HfJobs("me/b", "h200", "1h", "python", "true").write(recipe, tmp_path / "j.sh")


@pytest.mark.parametrize(
    ("origin", "line"),
    [(None, f"pip install 'noisezoo[build]=={version('noisezoo')}'"),
     ({"url": "https://host/me/zoo", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
      "pip install 'noisezoo[build] @ git+https://host/me/zoo@abc'"),
     ({"url": "file:///home/me/zoo", "dir_info": {"editable": True}}, None)],
    ids=["a release", "a git URL", "files of this machine"],
)  # fmt: skip
def test_a_job_elsewhere_installs_what_is_installed_here_or_what_the_user_names(
    origin: dict[str, Any] | None, line: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisezoo.commands import cluster as commands

    class Installed:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return None if origin is None else json.dumps(origin)

    monkeypatch.setattr(commands, "distribution", lambda name: Installed())
    if line is not None:
        assert commands.install_line() == line
        return
    with pytest.raises(UsageError, match="installed from files of this machine: say how the job gets it, as in --inst"):
        commands.install_line()


def test_the_command_prepares_the_folder_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = CliRunner().invoke(
        make_app(),
        ["cluster", "slurm", "digits", "--views", "pixels-8", "--limit", "8", "--out", str(out), "--nodes", "2",
         "--gpus-per-node", "0", "--time", "00:10:00", "--array"],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert f"submit: sbatch {out}/_build/cluster/slurm.sh" in said.output
    assert f"follow: noisezoo status {out}" in said.output
    assert len(open_build(out).manifest) == 8
