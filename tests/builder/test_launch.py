"""How a launch ends: finished, incomplete or failed, told from the folder; and where it stands meanwhile."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from noisezoo.builder.__main__ import main, run
from noisezoo.builder.engine.build import Build, open_build, prepare
from noisezoo.builder.engine.log import Log, failures
from noisezoo.builder.engine.preemption import launcher_environment
from noisezoo.builder.launch import local as launch, machines
from noisezoo.builder.launch.local import (
    build_dataset,
    build_datasets,
    default_processes,
    launch_arguments,
    launch_command,
    launch_environment,
    progress_of,
)
from noisezoo.builder.launch.status import status
from noisezoo.errors import IncompleteError, NoiseZooError, StoppedError
from tests.builder.building import digits_recipe
from tests.builder.committed import commit_units

RECIPE = digits_recipe(("random-64", "pixels-8"), limit=16)


def launched_as(work: Callable[[Build], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `work` in the place of the launched processes."""
    monkeypatch.setattr(launch, "_run", lambda builds, processes, watch: work(builds[0]))


def test_a_launch_whose_processes_finish_gives_what_each_view_came_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched_as(lambda build: int(not run(build.recipe, build.root)), monkeypatch)
    outcome = build_dataset(RECIPE, tmp_path / "out")
    assert [(view.view, view.done, view.missing) for view in outcome.views] == [
        ("random-64", 16, 0),
        ("pixels-8", 16, 0),
    ]
    launched_as(lambda build: pytest.fail("a finished build needs no process"), monkeypatch)
    build_dataset(RECIPE, tmp_path / "out")


def test_a_launch_whose_processes_were_killed_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched_as(lambda build: -9, monkeypatch)
    with pytest.raises(
        IncompleteError, match=r"random-64 lacks 16 of 16 images, pixels-8 lacks 16 of 16 images, .*exit -9"
    ) as caught:
        build_dataset(RECIPE, tmp_path / "out")
    assert caught.value.exit_code == 3


def test_a_launch_in_which_a_process_failed_says_why_and_not_what_failed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = prepare(RECIPE, tmp_path / "out").state / "logs"
    Log(logs).write("failed", message="an old fault")
    time.sleep(0.01)

    def fail(build: Build) -> int:
        Log(logs).write("failed", message="the disk is full")
        return 1

    launched_as(fail, monkeypatch)
    with pytest.raises(NoiseZooError, match="^the disk is full$") as caught:
        build_dataset(RECIPE, tmp_path / "out")
    assert caught.value.exit_code == 1


def test_a_log_line_cut_short_hides_no_failure(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write("failed", message="first")
    with log.path.open("a") as stream:
        stream.write('{"time": 9999999999.0, "event": "fai')
    assert failures(tmp_path, since=0) == ["first"]


def test_the_launch_command_is_accelerate_s_for_that_many_processes(tmp_path: Path) -> None:
    command, environment = launch_command([(tmp_path / "r.yaml", tmp_path / "out")], 3, threads=2)
    assert command[1:3] == ["-m", "accelerate.commands.launch"]
    assert command[command.index("--num_processes") + 1] == "3"
    assert command[-5:] == ["-m", "noisezoo.builder", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]
    assert environment["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize("gpus", [0, 1])
def test_one_process_is_started_as_accelerate_starts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int
) -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    monkeypatch.setattr(launch, "gpu_count", lambda: gpus)
    command, environment = launch_command([(tmp_path / "r.yaml", tmp_path / "out")], 1, threads=2)
    for name, value in launch_environment(2, gpu=bool(gpus)).items():
        monkeypatch.setenv(name, value)
    words = [*launch_arguments(1, gpu=bool(gpus)), *command[1:]]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    theirs, told = prepare_simple_launcher_cmd_env(arguments)
    assert command == theirs
    assert environment == {**told, **launcher_environment()}


def test_a_machine_without_a_gpu_s_driver_is_known_to_have_none_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machines.gpu_count() == 2
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(machines, "DRIVERS", ("/nowhere",))
    assert machines.gpu_count() == 0
    monkeypatch.setattr(machines, "DRIVERS", ("/",))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert machines.gpu_count() == 2


def test_one_launch_builds_several_datasets_each_into_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Path]] = []

    def work(builds: Sequence[Build], processes: int, watch: object) -> int:
        seen.append([build.root for build in builds])
        return int(not all([run(build.recipe, build.root) for build in builds]))

    monkeypatch.setattr(launch, "_run", work)
    pairs = [(RECIPE, tmp_path / "a"), (digits_recipe(("pixels-8",), limit=8), tmp_path / "b")]
    assert [len(outcome.views) for outcome in build_datasets(pairs)] == [2, 1]
    more = [*pairs, (digits_recipe(("random-64",), limit=8), tmp_path / "c")]
    build_datasets(more)
    assert seen == [[tmp_path / "a", tmp_path / "b"], [tmp_path / "c"]]  # what is finished is not launched again


def test_recipes_without_a_folder_each_are_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["faces", "digits"], [tmp_path / "a"])
    assert stop.value.code == 2
    assert "2 recipes and 1 folders" in capsys.readouterr().err


def test_by_default_processes_times_threads_fit_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert [default_processes(threads) for threads in (1, 2, 4, 9)] == [6, 3, 1, 1]
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert default_processes(1) == 8
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert default_processes(1) == 4


def test_status_counts_what_is_done_running_and_missing_from_the_folder_alone(tmp_path: Path) -> None:
    assert run(RECIPE, tmp_path / "out")
    build = open_build(tmp_path / "out")
    units = build.units(build.views[0])
    for unit in units[-2:]:
        unit.marker_path.unlink()
    with units[-1].lease.acquire():
        units[-2].lease.path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "process_start": 0}))
        os.utime(units[-2].lease.path, (0, 0))  # a host that has been silent since 1970
        random, pixels = status(open_build(tmp_path / "out"))
    lost = [len(unit.rows) for unit in units[-2:]]
    assert (random.view, random.total, random.refused) == ("random-64", 16, 0)
    assert (random.done, random.running, random.missing) == (16 - sum(lost), lost[1], lost[0])
    assert (pixels.done, pixels.running, pixels.missing) == (16, 0, 0)
    assert random.images_per_second is not None
    assert random.seconds_left == pytest.approx(sum(lost) / random.images_per_second)


def test_status_before_the_first_unit_knows_no_rate(tmp_path: Path) -> None:
    for view in status(prepare(RECIPE, tmp_path / "out")):
        assert (view.done, view.missing, view.images_per_second, view.seconds_left) == (0, 16, None, None)


def test_a_launcher_that_is_terminated_takes_its_processes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "worker"
    script = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(launch, "launch_command", lambda *_: ([sys.executable, "-c", script], dict(os.environ)))

    def work() -> None:
        build_dataset(RECIPE, tmp_path / "out")

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    deadline = time.monotonic() + 30
    while not told.exists() or not told.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == 143
    assert not psutil.pid_exists(int(told.read_text()))


def test_ctrl_c_says_how_much_is_kept_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(build: Build) -> int:
        commit_units(build, build.units(build.views[0])[:-1] + build.units(build.views[1])[:-1])
        raise KeyboardInterrupt

    launched_as(interrupt, monkeypatch)
    with pytest.raises(StoppedError, match=r"^stopped; \d+ % is kept, run the same command to go on$") as caught:
        build_dataset(RECIPE, tmp_path / "out")
    assert caught.value.exit_code == 130
    done = sum(view.done for view in status(open_build(tmp_path / "out")))
    assert f"{done / 32:.0%}" in str(caught.value).replace(" %", "%")
    launched_as(lambda build: int(not run(build.recipe, build.root)), monkeypatch)
    assert all(view.missing == 0 for view in build_dataset(RECIPE, tmp_path / "out").views)


def test_a_launch_is_watched_from_its_start_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(work: object, processes: int, threads: int) -> tuple[list[str], dict[str, str]]:
        recipe, out = tmp_path / "out" / "_build" / "recipe.yaml", tmp_path / "out"
        return [sys.executable, "-m", "noisezoo.builder", str(recipe), "--out", str(out)], dict(os.environ)

    monkeypatch.setattr(launch, "launch_command", start)
    shares: list[float] = []
    build_dataset(RECIPE, tmp_path / "out", processes=1, watch=lambda scans: shares.append(progress_of(scans)[0]))
    assert shares[0] == 0.0 and shares[-1] == 1.0 and shares == sorted(shares)
