"""After a preemption signal a process finishes its unit if there is time, drops it if not, and keeps no lease."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets.features.features import Array3DExtensionType

from noisezoo.builder import __main__ as entry
from noisezoo.builder.__main__ import main, run
from noisezoo.builder.engine import preemption, worker
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.engine.log import failures
from noisezoo.builder.launch.local import launch_environment
from noisezoo.schema import view_features
from tests.builder.building import digits_recipe, in_child, leftovers, published
from tests.builder.schedulers import Cluster, finish, wait_until
from tests.builder.slow_reading import slow_down

RECIPE = digits_recipe(("random-64", "pixels-8"), limit=32)


@pytest.fixture(scope="module", autouse=True)
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed build; and forked children need not import again what it imported."""
    out = tmp_path_factory.mktemp("reference") / "noisezoo"
    assert run(RECIPE, out)
    return out


def leases(out: Path) -> list[Path]:
    return list((out / "_build" / "claims").rglob("*.json"))


def finished_units(out: Path) -> int:
    return sum(unit.marker() is not None for unit in open_build(out).all_units())


def worked(tmp_path: Path, at_second_unit: Callable[[], None], grace: float = 30) -> int:
    """A process's exit code, where something happens in the middle of its second unit."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE.model_dump(mode="json")))
    original, calls = worker.commit, 0

    def commit(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            at_second_unit()
        original(*arguments)

    def work() -> None:
        os.environ[preemption.GRACE_VARIABLE] = str(grace)
        worker.commit = commit
        with (tmp_path / "errors").open("w") as stream, redirect_stderr(stream):
            main([str(tmp_path / "recipe.yaml")], [tmp_path / "noisezoo"])

    return in_child(work)


def tell(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def too_long(number: signal.Signals) -> None:
    """A unit that outlasts any grace."""
    tell(number)
    time.sleep(50)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 0), (signal.SIGTERM, 143)])
def test_a_unit_that_fits_the_grace_is_finished_and_no_other_begun(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    assert worked(tmp_path, lambda: tell(number)) == code
    assert finished_units(tmp_path / "noisezoo") == 2
    assert leases(tmp_path / "noisezoo") == []
    assert leftovers(tmp_path / "noisezoo") == []


def test_a_unit_that_does_not_fit_the_grace_is_dropped_and_done_by_the_next_run(
    tmp_path: Path, reference: Path
) -> None:
    started = time.monotonic()
    assert worked(tmp_path, lambda: too_long(signal.SIGUSR1), grace=0.2) == 0
    assert time.monotonic() - started < 30
    assert finished_units(tmp_path / "noisezoo") == 1
    assert leases(tmp_path / "noisezoo") == []
    assert leftovers(tmp_path / "noisezoo") == []
    assert run(RECIPE, tmp_path / "noisezoo")
    assert published(tmp_path / "noisezoo") == published(reference)


def test_the_same_signal_twice_is_one_and_a_harder_one_ends_it_sooner(tmp_path: Path, monkeypatch: Any) -> None:
    def signals() -> None:
        tell(signal.SIGUSR1)
        tell(signal.SIGUSR1)  # srun and the launcher both pass it on

    assert worked(tmp_path, signals) == 0
    assert finished_units(tmp_path / "noisezoo") == 2
    monkeypatch.setitem(
        preemption.PREEMPTION_SIGNALS, signal.SIGTERM, preemption.PreemptionSignal(signal.SIGTERM, 0.2, 143)
    )
    assert worked(tmp_path, lambda: [tell(signal.SIGUSR1), too_long(signal.SIGTERM)] and None) == 143
    assert finished_units(tmp_path / "noisezoo") == 3
    assert leases(tmp_path / "noisezoo") == []


def test_an_interrupt_is_obeyed_at_once(tmp_path: Path) -> None:
    assert worked(tmp_path, lambda: tell(signal.SIGINT)) == 130
    assert finished_units(tmp_path / "noisezoo") == 1
    assert leases(tmp_path / "noisezoo") == []


def in_a_callback(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strike while Arrow compares two of the array types of `datasets`, which it does by calling Python."""
    deserialize = Array3DExtensionType.__arrow_ext_deserialize__.__func__

    def struck(*arguments: Any) -> Any:
        monkeypatch.undo()
        tell(number)
        time.sleep(0.5)  # for a grace to end in
        return deserialize(*arguments)

    monkeypatch.setattr(Array3DExtensionType, "__arrow_ext_deserialize__", classmethod(struck))


def compared_when_struck(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> bool:
    a, b = (view_features("pixels", (1, 8, 8), "float16").arrow_schema for _ in range(2))
    assert a.equals(b)
    in_a_callback(number, monkeypatch)
    return bool(a.equals(b))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_arrow_takes_an_interrupt_for_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not compared_when_struck(signal.SIGINT, monkeypatch)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGUSR1, 0)])
def test_a_signal_that_is_lost_in_a_library_is_obeyed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    assert worked(tmp_path, lambda: in_a_callback(number, monkeypatch), grace=0.1) == code
    assert "differently" not in (tmp_path / "errors").read_text()
    assert failures(open_build(tmp_path / "noisezoo").state / "logs", since=0) == []
    assert finished_units(tmp_path / "noisezoo") == 1
    assert leases(tmp_path / "noisezoo") == []
    assert leftovers(tmp_path / "noisezoo") == []


def test_a_preemption_signal_while_publishing_does_not_undo_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE.model_dump(mode="json")))
    original = entry.finish

    def finish_told(*arguments: Any) -> None:
        tell(signal.SIGTERM)
        original(*arguments)

    monkeypatch.setattr(entry, "finish", finish_told)
    assert in_child(lambda: main([str(tmp_path / "recipe.yaml")], [tmp_path / "noisezoo"])) == 0
    assert (tmp_path / "noisezoo" / "README.md").exists()


def test_handlers_and_clock_are_given_back(tmp_path: Path) -> None:
    numbers = (*preemption.PREEMPTION_SIGNALS, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    with preemption.handle_preemption():
        assert not preemption.stop_requested()
        tell(signal.SIGUSR1)
        assert preemption.stop_requested()
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with preemption.handle_preemption():
        assert not preemption.stop_requested(), "a signal is for the work at hand"


def test_a_launcher_outside_the_main_thread_takes_no_signals() -> None:
    before = [signal.getsignal(number) for number in preemption.PREEMPTION_SIGNALS]
    seen: list[Any] = []

    def work() -> None:
        with preemption.raise_preempted():
            seen.extend(signal.getsignal(number) for number in preemption.PREEMPTION_SIGNALS)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before


def test_a_launcher_waits_longer_than_its_processes_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(preemption.GRACE_VARIABLE, "77")
    environment = launch_environment(threads=1, gpu=True)
    assert environment[preemption.GRACE_VARIABLE] == "77"
    assert float(environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) == 77 + preemption.LEAVING
    assert "SIGUSR1" in environment["PET_SIGNALS_TO_HANDLE"].split(",")


def test_build_passes_a_signal_on_through_accelerate_and_releases_every_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one real launch of two processes here: `noisezoo build` told to stop by a scheduler."""
    slow_down(tmp_path, monkeypatch)
    recipe = digits_recipe(("random-64", "pixels-8"), limit=200, slice_rows=2, settings={"readers": 1})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    cluster, out = Cluster(tmp_path / "stubs", ()), tmp_path / "noisezoo"
    build = cluster.start(f"noisezoo build {tmp_path}/recipe.yaml --out {out} --processes 2")
    wait_until(lambda: list(out.rglob("parts/*/*.json")) or build.poll() is not None)
    os.kill(build.pid, signal.SIGUSR1)
    code, output = finish(build)
    assert code == 0, output
    assert 0 < finished_units(out) < 200
    assert leases(out) == []
    assert leftovers(out) == []
