"""A launch that is killed leaves no process at work, and a launch waits for what other launches have in work."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from noisezoo.builder.__main__ import run
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.engine.build import Build, open_build, prepare
from noisezoo.builder.launch import local
from noisezoo.builder.launch.local import build_dataset
from noisezoo.builder.recipe import Recipe
from noisezoo.errors import IncompleteError
from tests.builder.building import digits_recipe, leftovers, published
from tests.builder.committed import commit_units
from tests.builder.schedulers import wait_until
from tests.builder.slow_reading import slow_down

RECIPE = digits_recipe(("random-64", "pixels-8"), limit=16)
LONG = digits_recipe(("random-64", "pixels-8"), limit=80, slice_rows=1, settings={"readers": 1})
"""80 tasks: two processes that read slowly take 40 seconds for it on any machine."""


def command(recipe: Recipe, folder: Path, processes: int) -> list[str]:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    options = ["--out", str(folder / "noisezoo"), "--processes", str(processes)]
    return [sys.executable, "-m", "noisezoo.cli", "build", str(path), *options]


def workers(out: Path) -> list[psutil.Process]:
    """Processes, of whatever launch, that work on a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            arguments = process.cmdline()
        except psutil.Error:
            continue
        if "noisezoo.builder" in arguments and str(out) in arguments and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_launch_killed_with_its_process_group_leaves_no_process_and_the_next_finishes(
    tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(tmp_path, monkeypatch)
    out = tmp_path / "noisezoo"
    with (tmp_path / "output").open("w") as stream:
        launch = subprocess.Popen(command(LONG, tmp_path, processes), stdout=stream, stderr=stream, process_group=0)
    wait_until(lambda: list(out.rglob("parts/*/*.json")) or launch.poll() is not None)
    assert launch.poll() is None, (tmp_path / "output").read_text()
    os.killpg(launch.pid, signal.SIGKILL)
    launch.wait()
    wait_until(lambda: not workers(out))
    build = open_build(out)
    assert build.pending(), "the workers did not go on to the end"
    assert build.owners() == [], "a worker that ends gives its leases back"
    worked_by(monkeypatch)
    assert all(view.missing == 0 for view in build_dataset(LONG, out).views)
    assert is_finished(open_build(out)) and leftovers(out) == []


def worked_by(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the launched process be this one; how many units were pending as each launch began."""
    launches: list[int] = []

    def work(builds: list[Build], processes: int, watch: object) -> int:
        launches.append(len(builds[0].pending()))
        run(builds[0].recipe, builds[0].root)
        return 0

    monkeypatch.setattr(local, "_run", work)
    return launches


def in_other_hands(build: Build, end: Callable[[], Any]) -> multiprocessing.process.BaseProcess:
    """A process that owns the last unit and monitors the build, and comes to its `end` when `missed` is there."""
    unit = list(build.all_units())[-1]

    def hold() -> None:
        with unit.lease.acquire(), type(unit.lease)(build.leases / "monitor.json").acquire():
            wait_until(missed(build).exists)
            end()

    process = multiprocessing.get_context("fork").Process(target=hold)
    process.start()
    wait_until(lambda: (build.leases / "monitor.json").exists())
    return process


def missed(build: Build) -> Path:
    """The file by which a launch says that it waits for another process."""
    return build.root.with_name("missed")


def test_a_launch_says_whose_hands_the_last_unit_is_in_waits_for_it_and_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = prepare(RECIPE, tmp_path / "noisezoo")
    last = list(build.all_units())[-1]
    twins = [unit for unit in build.all_units() if unit.number == last.number]
    other = in_other_hands(build, lambda: commit_units(build, twins))
    launches, words = worked_by(monkeypatch), list[str]()
    outcome = build_dataset(RECIPE, build.root, say=lambda text: [words.append(text), missed(build).touch()])
    other.join()
    assert all(view.missing == 0 for view in outcome.views) and is_finished(build)
    assert f"waiting for process {other.pid} on {socket.gethostname()}" in " ".join(words)
    assert f"{last.number:06d}" in " ".join(words)
    assert launches == [len(list(build.all_units())), 0]
    assert run(RECIPE, tmp_path / "alone" / "noisezoo")
    assert published(build.root) == published(tmp_path / "alone" / "noisezoo")


def test_a_launch_does_the_last_unit_itself_when_the_process_that_had_it_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = prepare(RECIPE, tmp_path / "noisezoo")
    other = in_other_hands(build, lambda: os.kill(os.getpid(), signal.SIGKILL))
    launches = worked_by(monkeypatch)
    outcome = build_dataset(RECIPE, build.root, say=lambda _: missed(build).touch())
    assert all(view.missing == 0 for view in outcome.views)
    other.join()
    assert launches == [len(list(build.all_units())), 2]


def test_a_launch_whose_processes_left_units_that_nobody_has_is_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_run", lambda *_: -9)
    with pytest.raises(IncompleteError, match="lacks .* images"):
        build_dataset(RECIPE, tmp_path / "noisezoo")
