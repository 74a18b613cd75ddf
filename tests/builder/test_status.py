"""Where a build stands: the same from one look and from many, exact in what is missing, honest in how fast it goes."""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from noisezoo import cli
from noisezoo.builder.dataset.finish import finish
from noisezoo.builder.engine.build import Build, Unit, open_build
from noisezoo.builder.engine.log import Log
from noisezoo.builder.launch.status import ViewStatus, Watcher, ranges, status
from noisezoo.commands import status as command
from tests.builder.building import digits_recipe
from tests.builder.committed import committed_build

MonkeyPatch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]
VIEWS = ("random-64", "pixels-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = committed_build(digits_recipe(VIEWS, limit=40), tmp_path_factory.mktemp("built") / "out")
    finish(build)
    return build.root


@pytest.fixture
def build(finished: Path, tmp_path: Path) -> Build:
    shutil.copytree(finished, tmp_path / "out")
    return open_build(tmp_path / "out")


def units(build: Build, view: int = 0) -> list[Unit]:
    return build.units(build.views[view])


def rewrite(unit: Unit, **fields: Any) -> None:
    unit.marker_path.write_text(json.dumps({**json.loads(unit.marker_path.read_text()), **fields}))


def counted(build: Build) -> list[tuple[str, int, int, int]]:
    """(view, done, refused, running), asked of every unit by itself."""
    found = []
    for view in build.views:
        markers = {unit.number: unit.marker() for unit in build.units(view)}
        held = [u for u in build.units(view) if markers[u.number] is None and u.lease.path.exists()]
        running = sum(len(unit.rows) for unit in held if not unit.lease.is_expired())
        valid = [marker for marker in markers.values() if marker is not None]
        found.append((view.name, sum(m["rows"] for m in valid), sum(m["refused"] for m in valid), running))
    return found


FOREIGN = {"host": "elsewhere", "pid": 1, "process_start": 0.0, "claimed_at": 0.0}


def lease_of_another_host(unit: Unit, silent: float = 0.0) -> None:
    unit.lease.path.parent.mkdir(parents=True, exist_ok=True)
    unit.lease.path.write_text(json.dumps(FOREIGN))
    os.utime(unit.lease.path, (time.time() - silent,) * 2)


CHANGES: dict[str, Callable[[Unit], object]] = {
    "nothing": lambda unit: None,
    "a marker goes": lambda unit: unit.marker_path.unlink(),
    "a part goes": lambda unit: unit.part.unlink(),
    "another host takes a unit": lambda unit: (unit.marker_path.unlink(), lease_of_another_host(unit)),
    "another host falls silent": lambda unit: (unit.marker_path.unlink(), lease_of_another_host(unit, 1e6)),
    "a folder goes": lambda unit: shutil.rmtree(unit.part.parent),
}
FROM_THE_START: dict[str, Callable[[Unit], object]] = {
    **CHANGES,
    "a marker is cut short": lambda unit: unit.marker_path.write_text('{"rows": 8, '),
    "a marker is of another recipe": lambda unit: rewrite(unit, recipe="another"),
    "a part is short": lambda unit: unit.part.write_bytes(b"PAR1"),
}


def seen(views: list[ViewStatus]) -> list[tuple[str, int, int, int]]:
    return [(view.view, view.done, view.refused, view.running) for view in views]


@pytest.mark.parametrize("change", FROM_THE_START.values(), ids=FROM_THE_START.keys())
def test_a_first_look_sees_what_asking_every_unit_would_tell(change: Callable[[Unit], object], build: Build) -> None:
    change(units(build)[2])
    change(units(build, 1)[0])
    assert seen(status(build)) == counted(build)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_later_look_sees_what_a_first_one_would(change: Callable[[Unit], object], build: Build) -> None:
    first = units(build)[1]
    marker = first.marker_path.read_bytes()
    first.marker_path.unlink()
    watcher = Watcher(build)
    assert seen(watcher.scan().views) == counted(build)
    first.marker_path.write_bytes(marker)
    assert seen(watcher.scan().views) == counted(build)
    change(units(build)[2])
    change(units(build, 1)[0])
    assert seen(watcher.scan().views) == counted(build)
    assert watcher.scan().views == status(build)


def test_a_valid_marker_is_read_once_and_a_look_at_nothing_new_opens_no_file(
    build: Build, monkeypatch: MonkeyPatch
) -> None:
    read: list[Unit] = []
    marker = Unit.marker
    monkeypatch.setattr(Unit, "marker", lambda unit, *_: (read.append(unit), marker(unit))[1])
    units(build)[0].marker_path.rename(build.root / "aside")
    watcher = Watcher(build)
    first = watcher.scan().views
    assert len(read) == 2 * len(units(build)) - 1
    for _ in range(3):
        assert watcher.scan().views == first
    (build.root / "aside").rename(units(build)[0].marker_path)
    assert sum(view.missing for view in watcher.scan().views) == 0
    assert len(read) == 2 * len(units(build))


def test_looking_changes_nothing_in_the_folder(build: Build) -> None:
    lease_of_another_host(units(build)[0])
    units(build)[0].marker_path.unlink()

    def state() -> list[tuple[str, int, int]]:
        return [(str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(build.root.rglob("*"))]

    before = state()
    progress = Watcher(open_build(build.root)).scan()
    assert progress.to_json()["finished"] is False
    assert state() == before


def planted(build: Build, host: str, attempt: str, start: float, seconds: float, *numbers: int) -> None:
    """Let a process of a host have committed these units of every view, one after another."""
    for view in range(len(VIEWS)):
        for i, number in enumerate(numbers):
            rewrite(units(build, view)[number], host=host, attempt=attempt, seconds=seconds,
                    started=start + i * seconds)  # fmt: skip


def test_the_slowest_host_is_told_whatever_views_it_worked_on(build: Build) -> None:
    n = len(units(build))
    for i, unit in enumerate(units(build)):  # the slow view: 10 s and 15 s a unit
        rewrite(unit, host="quick" if i % 2 else "slow", attempt="b" if i % 2 else "a", started=0.0,
                seconds=(10.0 if i % 2 else 15.0) * len(unit.rows) / 8)  # fmt: skip
    for unit in units(build, 1):  # the quick view: by the slow host alone
        rewrite(unit, host="slow", attempt="a", started=0.0, seconds=0.1)
    progress = Watcher(build).scan()
    assert n > 3 and progress.slowest_host == "slow"
    slow, quick = progress.hosts[0], next(host for host in progress.hosts if host.host == "quick")
    assert (slow.speed or 0) < 1 < (quick.speed or 0)
    assert (slow.images_per_second or 0) > (quick.images_per_second or 0), "by images a second it would seem quick"


def test_time_left_is_that_of_the_processes_at_work(build: Build) -> None:
    planted(build, "a", "a-1", 1000.0, 8.0, *range(len(units(build))))
    gone = units(build)[-2:]
    for unit in gone:
        unit.marker_path.unlink()
    left = sum(len(unit.rows) for unit in gone)
    done = sum(len(unit.rows) for unit in units(build)[:-2])
    one = 8.0 * (len(units(build)) - 2) / done * left
    n = len(units(build))
    processes = (2 * n - 2) / n  # two views side by side, but for the last two units of one
    assert Watcher(build).scan().seconds_left == pytest.approx(one / processes)
    with ExitStack() as held:
        for unit in gone:
            held.enter_context(unit.lease.acquire())  # one process, at two units
        progress = Watcher(build).scan()
        assert (len(progress.at_work), progress.seconds_left) == (1, pytest.approx(one))


def test_a_view_that_nobody_began_is_reckoned_by_its_work(build: Build) -> None:
    shutil.rmtree(units(build, 1)[0].part.parent)
    left = Watcher(build).scan().seconds_left
    assert left is not None and left > 0


def test_a_unit_is_failed_from_its_failure_until_somebody_takes_it_up(build: Build) -> None:
    unit = units(build)[1]
    marker = unit.marker_path.read_text()
    unit.marker_path.unlink()
    watcher, log = Watcher(build), Log(build.state / "logs")
    assert watcher.scan().views[0].failed == 0
    with pytest.raises(OSError, match="full"), log.about(view=unit.view.name, slice=unit.number):
        raise OSError("the disk is full")
    log.write("failed", message="the disk is full")
    view = watcher.scan().views[0]
    assert (view.failed, view.missing) == (len(unit.rows), len(unit.rows))
    (missing,) = watcher.scan().to_json()["missing"]
    assert missing == {"view": VIEWS[0], "slice": 1, "first_row": unit.rows.start, "rows": len(unit.rows),
                       "failed": "the disk is full"}  # fmt: skip
    with unit.lease.acquire():
        assert [(v.failed, v.running) for v in watcher.scan().views] == [(0, len(unit.rows)), (0, 0)]
    unit.marker_path.write_text(marker)
    assert watcher.scan().views[0].failed == 0 and watcher.scan().failures == []


def test_a_process_that_died_at_a_unit_is_a_failure_that_names_it(build: Build) -> None:
    unit = units(build)[0]
    unit.marker_path.unlink()
    lease_of_another_host(unit, silent=1e6)
    progress = Watcher(build).scan()
    assert progress.views[0].failed == len(unit.rows)
    assert progress.to_json()["missing"][0]["failed"] == "process 1 on elsewhere died at it"


def test_a_process_is_known_by_its_log_before_its_first_unit(build: Build) -> None:
    log = Log(build.state / "logs")
    (mine,) = [process for process in Watcher(build).scan().processes if process.attempt == log.attempt]
    assert (mine.host, mine.pid, mine.images, mine.at_work) == (socket.gethostname(), os.getpid(), 0, False)
    assert time.time() - mine.last_seen < 60
    done = [process for process in Watcher(build).scan().processes if process.images]
    assert sum(process.images for process in done) == 2 * len(build.manifest)
    units(build)[0].marker_path.unlink()
    with units(build)[0].lease.acquire():
        at_work = [process.attempt for process in Watcher(build).scan().processes if process.at_work]
    assert at_work == [log.attempt], "an earlier attempt of the same number is dead"


def shown(monkeypatch: MonkeyPatch, capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["noisezoo", "status", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0), *capsys.readouterr()


def test_json_has_the_keys_that_its_help_promises_and_lists_exactly_what_is_missing(
    build: Build, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    for number in (0, 2):
        units(build)[number].marker_path.unlink()
    code, out, err = shown(monkeypatch, capsys, str(build.root), "--json")
    found = json.loads(out)
    assert code == 3 and f"{VIEWS[0]} lacks {sum(len(units(build)[i].rows) for i in (0, 2))} of 40 images" in err
    assert [(unit["view"], unit["slice"]) for unit in found["missing"]] == [(VIEWS[0], 0), (VIEWS[0], 2)]
    monkeypatch.setenv("COLUMNS", "200")
    promised = " ".join(shown(monkeypatch, capsys, "--help")[1].split())
    assert [key for key in found if key not in promised and key not in ("folder", "time")] == []


def test_a_finished_build_exits_0_and_an_unpublished_one_3(
    build: Build, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    code, out, _ = shown(monkeypatch, capsys, str(build.root))
    assert (code, "Finished" in out) == (0, True)
    (build.state / "dataset.json").unlink()
    code, _, err = shown(monkeypatch, capsys, str(build.root))
    assert code == 3 and "not published" in err


@pytest.mark.parametrize("form", ["--json", "--watch"])
def test_watching_goes_on_until_the_build_is_finished(
    form: str, build: Build, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    unit, looks = units(build)[0], []
    marker = unit.marker_path.read_text()
    unit.marker_path.unlink()

    def nap(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            unit.marker_path.write_text(marker)

    monkeypatch.setattr(command.time, "sleep", nap)
    code, out, _ = shown(monkeypatch, capsys, str(build.root), "--watch", "--every", "7", form)
    assert (code, looks) == (0, [7, 7])
    if form == "--json":
        assert [json.loads(line)["finished"] for line in out.splitlines()] == [False, False, True]


def test_numbers_are_told_in_ranges() -> None:
    assert ranges([0, 2, 3, 4, 9, 10]) == [(0, 0), (2, 4), (9, 10)]
    assert ranges([]) == []


def test_markers_of_before_logs_were_named_still_count(build: Build) -> None:
    for unit in units(build):
        fields = json.loads(unit.marker_path.read_text())
        unit.marker_path.write_text(json.dumps({k: v for k, v in fields.items() if k not in ("host", "attempt")}))
    progress = Watcher(build).scan()
    assert progress.finished and progress.views[0].done == len(build.manifest)
    assert all(process.attempt for process in progress.processes)


@pytest.fixture(autouse=True)
def wide(monkeypatch: MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "160")
    yield
