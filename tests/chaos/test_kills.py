"""Kill everywhere, in short: every named step by one of the signals, and some random instants of a crew."""

import os
import signal
import threading
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.engine import preemption, worker
from noisezoo.builder.engine.build import Unit, prepare
from noisezoo.builder.engine.leases import Lease
from noisezoo.builder.engine.log import Log
from tests.builder.building import digits_recipe, in_child, published
from tests.builder.committed import commit_units
from tests.chaos.crew import RECIPE, SIGNALS, STEPS, Death, Trial, crew, instants, traces, undisturbed, write_recipe

look = import_module("noisezoo.builder.launch.status")

Undisturbed = tuple[Path, dict[str, str], float]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The recipe's file, the bytes of a build in which nobody dies, and how long that takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = write_recipe(RECIPE, folder)
    return recipe, *undisturbed(recipe, folder)


@pytest.mark.parametrize(("number", "step"), enumerate(STEPS))
def test_a_crew_that_loses_a_member_at_any_step_and_resumes_with_another_number_gives_the_same_bytes(
    built: Undisturbed, tmp_path: Path, number: int, step: str
) -> None:
    recipe, expected, _ = built
    death = Death(SIGNALS[number % len(SIGNALS)], step)
    Trial(2, (death,) * (1 + number % 2), 1 + 2 * (number % 2)).run(recipe, tmp_path / "noisezoo")
    assert published(tmp_path / "noisezoo") == expected


@pytest.mark.parametrize("number", range(6))
def test_a_crew_killed_at_a_random_instant_and_resumed_gives_the_same_bytes(
    built: Undisturbed, tmp_path: Path, number: int
) -> None:
    recipe, expected, seconds = built
    list(instants(seed=0, count=6, span=seconds))[number].run(recipe, tmp_path / "noisezoo")
    assert published(tmp_path / "noisezoo") == expected


def test_a_process_that_finds_all_in_the_hands_of_others_leaves_in_peace(built: Undisturbed, tmp_path: Path) -> None:
    build = prepare(RECIPE, tmp_path / "noisezoo")
    claims = build.state / "claims"
    with ExitStack() as others, ExitStack() as checking:
        checking.enter_context(Lease(claims / "check.json").acquire())
        for path in {unit.lease.path for unit in build.all_units()} | {claims / "monitor.json"}:
            others.enter_context(Lease(path).acquire())
        threading.Timer(1.0, checking.close).start()
        assert crew(built[0], build.root, 1) == [0]
    assert len(build.pending()) == len(list(build.all_units()))


def test_a_process_told_to_stop_leaves_what_a_sibling_has_begun_since_its_last_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, commit = prepare(digits_recipe(("random-64",), limit=16), tmp_path / "noisezoo"), worker.commit
    begun: list[Path] = []

    def stopped(unit: Unit, *arguments: Any) -> None:
        commit(unit, *arguments)
        other = next(each for each in build.all_units() if each.number != unit.number)
        sibling.enter_context(other.lease.acquire())
        begun.append(other.part.with_name(f".{other.part.name}.sibling.tmp"))
        begun[0].write_text("half a part")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(worker, "commit", stopped)
    with preemption.handle_preemption(), ExitStack() as sibling:
        assert worker.work(build, Log(build.state / "logs")) == 1
        assert begun[0].exists()


def test_a_unit_finished_while_somebody_looks_is_done_or_running_and_never_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = prepare(digits_recipe(("random-64",), limit=16), tmp_path / "noisezoo")
    units = list(build.all_units())
    commit_units(build, units[1:])
    holding, original = ExitStack(), look.Watcher._read_markers
    assert holding.enter_context(units[0].lease.acquire())

    def finished_meanwhile(self: look.Watcher) -> None:
        original(self)
        commit_units(build, units[:1])
        holding.close()

    monkeypatch.setattr(look.Watcher, "_read_markers", finished_meanwhile)
    assert look.status(build)[0].missing == 0


def test_a_finished_dataset_run_again_loses_the_leases_of_processes_that_died_beside_its_publisher(
    tmp_path: Path,
) -> None:
    recipe, out = digits_recipe(("random-64",), limit=16), tmp_path / "noisezoo"
    assert run(recipe, out)
    monitor = out / "_build" / "claims" / "monitor.json"

    def die() -> None:
        with Lease(monitor).acquire():
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    before = published(out)
    assert monitor.exists() and traces(out) == [monitor]
    assert run(recipe, out) and traces(out) == [] and published(out) == before
