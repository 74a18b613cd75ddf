"""Engines start a build's processes anywhere; whatever they lose, the bytes are those of a build by one process."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.engine.admission import identity
from noisezoo.builder.engine.build import open_build, prepare
from noisezoo.builder.launch import engines, machines
from noisezoo.builder.launch.engines import find_engine, read_options
from noisezoo.builder.launch.local import build_dataset, launch_of
from noisezoo.builder.launch.machines import Machine
from noisezoo.builder.launch.status import Scan
from noisezoo.errors import StoppedError, UsageError
from tests.builder.building import digits_recipe, leftovers, published
from tests.builder.schedulers import Cluster, wait_until
from tests.builder.slow_reading import hold, slow_down

RECIPE = digits_recipe(("random-64", "pixels-8"), limit=80, slice_rows=1, settings={"readers": 1})


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an undisturbed build by one process publishes."""
    out = tmp_path_factory.mktemp("expected") / "noisezoo"
    assert run(RECIPE, out)
    return published(out)


SMALL = {"num_cpus": 1, "object_store_memory": 80_000_000}
FAST = {"health_check_period_ms": 500, "health_check_initial_delay_ms": 0, "health_check_failure_threshold": 4}
"""Ray gives up a node after four failed checks: in about two seconds, by default in fifteen."""


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A Ray cluster of two nodes of one CPU; Ray gives a start 30 seconds, which a very slow machine exceeds."""
    os.environ |= {
        "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_register_timeout_seconds": "300",
    }  # fmt: skip
    import ray
    from ray.cluster_utils import Cluster as Nodes

    cluster = Nodes()
    try:
        cluster.add_node(include_dashboard=False, _system_config=FAST, **SMALL)
        cluster.add_node(**SMALL)
        ray.init(address=cluster.address, log_to_driver=False)
    except Exception as error:  # Ray has no other class for it: a sandbox without sockets or shared memory
        ray.shutdown()
        cluster.shutdown()
        pytest.skip(f"no Ray cluster can be started here: {error}")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def actor_of(worker: int) -> psutil.Process:
    """The Ray actor whose launch a process belongs to; its parent is its node's raylet."""
    return next(each for each in psutil.Process(worker).parents() if each.name().startswith("ray::"))


def raylet(node: Any) -> int:
    """Process number of a node's raylet."""
    return int(node.all_processes["raylet"][0].process.pid)


def attempts(out: Path) -> int:
    """How many processes have begun to work."""
    return len(list(out.glob("_build/logs/*.jsonl")))


@pytest.mark.slow
def test_ray_goes_on_after_an_actor_and_a_node_died_and_another_node_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str], nodes: Any
) -> None:
    gate, out = slow_down(tmp_path, monkeypatch), tmp_path / "noisezoo"
    working = list(nodes.list_all_nodes())
    killed: list[psutil.Process] = []
    last = time.monotonic() + 500

    def actors() -> dict[int, psutil.Process]:
        """Raylet of each node that has work -> the actor there."""
        found = {}
        for owner in open_build(out).owners():
            with suppress(psutil.NoSuchProcess, StopIteration):
                actor = actor_of(owner["pid"])
                found[actor.ppid()] = actor
        return found

    def strike(scans: Sequence[Scan]) -> None:
        everywhere = (at_work := actors()).keys() == set(map(raylet, working))
        if everywhere and not killed and scans[0].units["done"].any():
            hold(gate)
            killed.extend(each for actor in at_work.values() for each in (actor, *actor.children(recursive=True)))
            at_work[raylet(working[0])].kill()
            nodes.remove_node(working.pop(), allow_graceful=False)
            working.append(nodes.add_node(**SMALL))
        elif (everywhere and attempts(out) == 4) or time.monotonic() > last:
            gate.touch()

    build_dataset(RECIPE, out, processes=2, watch=strike, engine=find_engine("ray", {}))
    assert len(killed) >= 6, "on both nodes an actor, its launcher and its worker"
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in killed)
    assert attempts(out) == 4 and time.monotonic() < last
    assert published(out) == expected and leftovers(out) == []


@pytest.mark.slow
def test_submitit_runs_the_launch_and_a_preempted_one_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    gate, out = slow_down(tmp_path, monkeypatch), tmp_path / "noisezoo"
    build = prepare(RECIPE, out)
    worker = engines._Worker(launch_of([build], 1, identity(build)))
    process = worker.launch.start().process
    assert process is not None
    wait_until(lambda: list(out.rglob("parts/*/*.json")) or process.poll() is not None)
    again = worker.checkpoint().function
    assert process.poll() == 0 and again.launch.process is None
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("parts/*/*.json")}
    assert 0 < len(kept) < len(list(build.all_units())) and build.owners() == []
    gate.touch()
    build_dataset(RECIPE, out, engine=find_engine("submitit", {"cluster": "local", "timeout_min": "5"}))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert published(out) == expected


def slurm(folder: Path, patch: pytest.MonkeyPatch) -> Cluster:
    """Stand-ins for SLURM's programs, on this process's path."""
    cluster = Cluster(folder / "stubs", ("sbatch", "srun", "scontrol", "accelerate"))
    cluster.add(
        "scancel",
        'echo "$@" >> "$STUBS/told.scancel"; for job in $(cat "$STUBS/told.jobs"); do kill -USR1 "$job"; done',
    )
    patch.setattr(machines, "calibrate", lambda *_: Machine("cpu", "a CPU", 50.0, 50.0, 2e-3, 1, None))
    patch.setenv("STUBS", str(cluster.folder))
    patch.setenv("PATH", str(cluster.folder), prepend=os.pathsep)
    return cluster


def test_slurm_s_job_is_submitted_waited_for_and_asked_for_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    cluster, out = slurm(tmp_path, monkeypatch), tmp_path / "noisezoo"
    said = ["time=00:10:00", "nodes=2", "partition=gpu", "mail-user=me@lab.org", f"env_setup={cluster.setup!r}"]
    build_dataset(RECIPE, out, engine=find_engine("slurm", read_options(said)))
    script = (out / "_build" / "cluster" / "slurm.sh").read_text()
    assert {"#SBATCH --nodes=2", "#SBATCH --partition=gpu", "#SBATCH --time=00:10:00"} <= set(script.splitlines())
    assert "--mail-user=me@lab.org" in script
    assert published(out) == expected and attempts(out) >= 1


def test_ctrl_c_cancels_slurm_s_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, out = slurm(tmp_path, monkeypatch), tmp_path / "noisezoo"
    slow_down(tmp_path, monkeypatch)

    def interrupt(scans: Sequence[Scan]) -> None:
        if scans[0].units["done"].any():
            raise KeyboardInterrupt

    with pytest.raises(StoppedError, match="is kept"):
        options = {"time": "10", "env_setup": cluster.setup}
        build_dataset(RECIPE, out, watch=interrupt, engine=find_engine("slurm", options))
    assert cluster.told("scancel") == ["7"]
    wait_until(lambda: open_build(out).owners() == [])


def test_what_no_engine_could_follow_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = prepare(RECIPE, tmp_path / "noisezoo")
    monkeypatch.setenv("PATH", str(tmp_path))
    for fault, words in (
        (lambda: find_engine("spark", {}), "no engine 'spark'; choose one of: local, ray, submitit, slurm"),
        (lambda: find_engine("local", {"nodes": "2"}), "local takes no options, and nodes was given"),
        (lambda: read_options(["nodes"]), "--engine-option nodes: write KEY=VALUE"),
        (lambda: find_engine("slurm", {}), "option time: Field required"),
        (lambda: find_engine("slurm", {"time": "10", "nodes": "two"}), "option nodes: .* valid integer"),
        (lambda: find_engine("slurm", {"time": "12h"}), "--time 12h"),
        (lambda: find_engine("slurm", {"time": "10"}), "there is no sbatch here"),
        (lambda: find_engine("slurm", {"time": "10", "gpus_per_node": "x"}), "--engine slurm: invalid literal .* 'x'"),
        (lambda: find_engine("submitit", {"cluster": "slurm"}), "--engine submitit: .*slurm"),
        (lambda: find_engine("submitit", {"cluster": "local", "nope": "1"}), "--engine submitit: .*nope"),
        (lambda: find_engine("submitit", {"cluster": "local", "nodes": "two"}), "--engine submitit: .*'two'"),
    ):
        with pytest.raises(UsageError, match=words):
            engine = fault()
            engine(build, None) if callable(engine) else None
    assert read_options(["gpus-per-node=8", "x=a=b"]) == {"gpus_per_node": "8", "x": "a=b"}
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
