"""The scheduler: every task is drawn once, by few models a process; missed heartbeats tell the dead, not clocks."""

import multiprocessing
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.schedule_model import simulate
from benchmarks.simulate_schedule import GOAL, SMALL
from noisezoo.builder.__main__ import run
from noisezoo.builder.engine import leases, queue as queues
from noisezoo.builder.engine.build import Build, open_build, prepare, publishing_lease
from noisezoo.builder.engine.leases import MISSED_SCANS, Lease, MissedScans, Monitor, leases_in
from noisezoo.builder.engine.log import Log
from noisezoo.builder.engine.queue import Queue
from noisezoo.builder.engine.scheduler import Scheduler, Task, point_of
from noisezoo.builder.engine.worker import work
from noisezoo.files import committed
from tests.builder.building import digits_recipe, leftovers, published
from tests.builder.test_leases import dead_pid, write_lease
from tests.chaos.hurried import HEARTBEAT_SECONDS, hurried


class Memory:
    """Tasks without a folder, for any number of schedulers that take turns."""

    def __init__(self, tasks: dict[str, int]) -> None:
        self.tasks = {group: np.ones(n, bool) for group, n in tasks.items()}
        self.listings, self.attempts = 0, 0


class InMemory(Scheduler):
    """A scheduler of tasks in memory."""

    def __init__(self, memory: Memory, work: dict[str, float], point: float) -> None:
        super().__init__(work, point)
        self.memory = memory

    def list_open(self) -> dict[str, np.ndarray]:
        self.memory.listings += 1
        return {group: tasks.copy() for group, tasks in self.memory.tasks.items()}

    def try_acquire(self, task: Task) -> bool:
        self.memory.attempts += 1
        won = bool(self.memory.tasks[task.group][task.number])
        self.memory.tasks[task.group][task.number] = False
        return won


def drain(schedulers: list[InMemory]) -> list[list[Task]]:
    """All schedulers in turn, a task each, until nothing is open; what each of them won."""
    won: list[list[Task]] = [[] for _ in schedulers]
    at_work = {k for k, scheduler in enumerate(schedulers) if scheduler.enter() is not None}
    while at_work:
        for k in list(at_work):
            task = schedulers[k].next()
            if task is None and schedulers[k].enter() is None:
                at_work.discard(k)
            elif task is not None and schedulers[k].acquire(task):
                won[k].append(task)
    return won


WORK = {"long": 100.0, "middle": 10.0, "short": 1.0}


@pytest.mark.parametrize("processes", [1, 7, 40])
def test_every_lot_is_won_once_however_many_draw(processes: int) -> None:
    memory = Memory(dict.fromkeys(WORK, 60))
    won = drain([InMemory(memory, WORK, point_of(str(k))) for k in range(processes)])
    every = sorted(task for tasks in won for task in tasks)
    assert every == sorted(Task(group, n) for group in WORK for n in range(60))


def test_a_process_alone_goes_through_each_group_once() -> None:
    memory = Memory(dict.fromkeys(WORK, 20))
    (won,) = drain([InMemory(memory, WORK, 0.3)])
    order = [task.group for task in won]
    assert sum(a != b for a, b in zip(order, order[1:], strict=False)) == len(WORK) - 1
    assert memory.attempts == 60, "it never asks for what it knows to be taken"


def test_processes_begin_where_the_work_is_and_none_where_another_is() -> None:
    memory = Memory(dict.fromkeys(WORK, 1000))
    schedulers = [InMemory(memory, WORK, point_of(str(k))) for k in range(200)]
    first = [each.next() for each in schedulers if each.enter()]
    assert len(set(first)) > 170, "by chance alone, about 18 of 200 points meet another among 1,000 tasks"
    share = np.mean([task is not None and task.group == "long" for task in first])
    assert 0.9 <= share < 1.0, "of the work, long tasks are 90 %"


def test_what_is_proposed_ahead_is_not_proposed_again_and_costs_nobody_anything() -> None:
    memory = Memory({"a": 3})
    ahead, other = InMemory(memory, {"a": 1.0}, 0.0), InMemory(memory, {"a": 1.0}, 0.5)
    assert ahead.enter() == other.enter() == "a"
    proposed = [ahead.next() for _ in range(3)]
    assert sorted(task.number for task in proposed if task) == [0, 1, 2]
    assert ahead.next() is None
    taken = [other.next() for _ in range(3)]
    assert all(other.acquire(task) for task in taken if task)
    assert not any(ahead.acquire(task) for task in proposed if task)


def test_only_what_stays_silent_look_after_look_is_dead() -> None:
    scans: MissedScans[str] = MissedScans()
    for k in range(3 * MISSED_SCANS):
        beats = {"alive": k, "slow": k // (MISSED_SCANS - 1), "dead": "same"} | ({} if k % 3 else {"comes and goes": 0})
        found = scans.expired(beats)
        assert found == (["dead"] if k >= MISSED_SCANS else [])


def test_a_clock_that_jumps_makes_no_one_dead() -> None:
    scans: MissedScans[str] = MissedScans()
    assert not any(scans.expired({"claim": time}) for time in (5e9, -100.0, 0.0, 5e9, 5e9 + 1, 1.0, 2.0, 3.0, 0.0))


def test_the_small_simulation_reaches_the_goal_and_loses_only_what_was_in_work() -> None:
    outcome = simulate(SMALL)
    assert outcome.missing == 0
    assert outcome.ratio <= GOAL
    worse = simulate(replace(SMALL, deaths=1.0))
    assert worse.missing == 0 and worse.dead > 10
    assert worse.most_lost == 1 and 0 < worse.lost < 0.03
    assert simulate(replace(SMALL, deaths=1.0, requeue=None, processes=8, linger="none")).dead > 0


def test_the_simulated_makespan_of_one_sure_process_is_its_work_and_its_loads() -> None:
    alone = replace(SMALL, processes=1, images=320, deaths=0.0, slow=0.0, sigma=0.0, begin=0.0, load=0.0, read=1e9)
    alone = replace(alone, op=1e-9, ops=1e9)
    outcome = simulate(alone)
    assert outcome.ratio == pytest.approx(1.0, abs=1e-4)
    assert (outcome.conflicts, outcome.dead, outcome.lost) == (0, 0, 0.0)


def test_one_process_looks_for_all_and_a_large_build_is_the_same(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "SHARED_FROM", 0)
    listed: list[int] = []
    original = Queue._list
    monkeypatch.setattr(Queue, "_list", lambda self: listed.append(1) or original(self))
    build = prepare(digits_recipe(), tmp_path / "noisezoo")
    first, second = Queue(build), Queue(build)
    for mine, theirs in zip(first.list_open().values(), second.list_open().values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(listed) == 1
    second.list_open()
    assert len(listed) == 2, "a process that has seen it lists anew"
    assert run(digits_recipe(), build.root)
    assert published(build.root) == published(built)
    assert leftovers(build.root) == []


def test_a_lot_that_a_living_process_holds_is_not_open_and_a_dead_one_s_is(tmp_path: Path) -> None:
    build = prepare(digits_recipe(), tmp_path / "noisezoo")
    units = build.units(build.views[0])
    write_lease(units[0].lease.path)
    write_lease(units[1].lease.path, pid=dead_pid())
    queue = Queue(build)
    tasks = next(iter(queue.list_open().values()))
    assert tasks.tolist() == [False] + [True] * (len(tasks) - 1)
    assert queue.living == 1


def test_a_damaged_marker_among_finished_ones_is_found_and_its_unit_computed_again(copied: Path) -> None:
    build = open_build(copied)
    victim = build.units(build.views[1])[2]
    victim.marker_path.write_text("{}")
    assert work(build, Log(build.state / "logs")) == 1
    assert victim.marker() is not None


def test_the_monitor_expires_leases_of_other_hosts_dead_processes_and_no_others(tmp_path: Path) -> None:
    claims = tmp_path / "claims"
    write_lease(claims / "a" / "1.json", host="elsewhere")
    write_lease(claims / "a" / "2.json", host="elsewhere")
    with Monitor(claims) as first, Monitor(claims) as second:
        assert first.acquire() and not second.acquire()
        for k in range(MISSED_SCANS + 2):
            os.utime(claims / "a" / "2.json", (k, k))  # its host's clock is wrong, but it goes
            first.scan()
            second.scan()
    assert sorted(path.name for path in claims.rglob("*.json")) == ["2.json"]


def test_where_the_monitor_s_host_is_gone_scans_find_the_next_monitor(tmp_path: Path) -> None:
    write_lease(tmp_path / "monitor.json", host="elsewhere")
    with Monitor(tmp_path) as monitor:
        for _ in range(MISSED_SCANS + 2):
            monitor.scan()
        assert monitor.acquire()


def test_a_lease_with_a_heartbeat_since_the_last_scan_is_not_expired(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_lease(path, host="elsewhere")
    beat = Lease(path).last_heartbeat()
    assert beat is not None
    os.utime(path, (1, 1))
    Lease(path).expire(beat)
    assert path.exists()


def test_a_monitor_that_ends_while_it_expires_a_lease_finishes_that_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over = threading.Event(), threading.Event()

    def slow(lease: Lease, beat: tuple[float, int]) -> None:
        begun.set()
        time.sleep(0.3)
        over.set()

    monkeypatch.setattr(Lease, "expire", slow)
    with hurried(), Monitor(tmp_path) as mine:
        write_lease(tmp_path / "lease.json", host="elsewhere")
        assert mine.acquire()
        assert begun.wait(60)
    assert over.is_set()


def test_the_monitor_waits_for_a_sibling_and_takes_over_what_it_leaves(tmp_path: Path) -> None:
    build = prepare(digits_recipe(("pixels-8",), limit=16), tmp_path / "noisezoo")
    unit = build.units(build.views[0])[1]

    def hold() -> None:
        with unit.lease.acquire():
            time.sleep(0.5)
            os._exit(9)

    sibling = multiprocessing.get_context("fork").Process(target=hold)
    sibling.start()
    while not unit.lease.path.exists():
        time.sleep(0.01)
    assert work(build, Log(build.state / "logs")) == len(build.units(build.views[0]))
    sibling.join()
    assert build.pending() == []
    assert not list((build.state / "claims").rglob("*.*"))


def test_files_that_a_publisher_is_writing_are_not_cleaned_up_by_a_process_that_leaves(tmp_path: Path) -> None:
    build = prepare(digits_recipe(("pixels-8",), limit=16), tmp_path / "noisezoo")
    (unit, *_) = build.all_units()
    unit.part.parent.mkdir(parents=True)
    with publishing_lease(build.store).acquire(), committed(unit.part) as download:
        download.touch()
        Queue(build).clean_up()
        assert download.exists()
    left = unit.part.with_name(f".{unit.part.name}.tmp")
    left.touch()
    Queue(build).clean_up()
    assert not left.exists() and not list((build.state / "claims").rglob("*.*"))


def test_who_finds_all_in_living_hands_and_does_not_keep_leaves_at_once(tmp_path: Path) -> None:
    build = prepare(digits_recipe(("pixels-8",), limit=16), tmp_path / "noisezoo")
    for unit in build.units(build.views[0]):
        write_lease(unit.lease.path)
    write_lease(build.state / "claims" / "monitor.json")
    begun = time.monotonic()
    assert work(build, Log(build.state / "logs")) == 0
    assert time.monotonic() - begun < MISSED_SCANS * leases.HEARTBEAT_SECONDS, "sooner than a scan could tell a death"
    assert len(list((build.state / "claims").rglob("*.json"))) == len(build.units(build.views[0])) + 1


def left_by_the_dead(tmp_path: Path) -> Build:
    """A build of which processes of a host that is gone own all leases, the monitor's too."""
    build = prepare(digits_recipe(("pixels-8",), limit=16), tmp_path / "noisezoo")
    for unit in build.units(build.views[0]):
        write_lease(unit.lease.path, host="elsewhere")
    write_lease(build.state / "claims" / "monitor.json", host="elsewhere")
    return build


def test_no_process_leaves_the_rest_to_a_monitor_whose_host_is_gone(tmp_path: Path) -> None:
    with hurried():
        build = left_by_the_dead(tmp_path)
        assert work(build, Log(build.state / "logs")) == len(build.units(build.views[0]))
    assert build.pending() == []
    assert not list((build.state / "claims").rglob("*.*"))


def test_a_process_leaves_once_another_host_s_monitor_sends_a_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hurried():
        build, scan, begun = left_by_the_dead(tmp_path), Monitor.scan, time.monotonic()

        def scan_of_the_living(monitor: Monitor) -> None:
            for lease in leases_in(build.leases):
                lease.heartbeat()
            scan(monitor)

        monkeypatch.setattr(Monitor, "scan", scan_of_the_living)
        assert work(build, Log(build.state / "logs")) == 0
        assert time.monotonic() - begun >= 2 * HEARTBEAT_SECONDS
    assert len(build.pending()) == len(build.units(build.views[0]))


def test_points_are_spread_by_name_alone() -> None:
    points = np.sort([point_of(f"{socket.gethostname()} {k}") for k in range(2000)])
    assert point_of("a") == point_of("a")
    assert np.abs(points - np.linspace(0, 1, 2000)).max() < 1.63 / np.sqrt(2000)  # Kolmogorov-Smirnov at 1 %
