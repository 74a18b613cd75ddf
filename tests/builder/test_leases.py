"""Leases: exclusive while their owner lives, free once it is dead."""

import json
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from noisezoo.builder.engine.leases import EXPIRES_AFTER, Lease, process_start
from tests.builder.building import in_child, leftovers


def write_lease(path: Path, silent: float = 0.0, **changes: Any) -> None:
    """A lease as this very process would own it, with some fields changed, silent for so many seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = process_start(os.getpid())
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "process_start": start, "claimed_at": time.time()}
    path.write_text(json.dumps({**owner, **changes}))
    os.utime(path, (time.time() - silent,) * 2)


def dead_pid() -> int:
    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(0,))
    process.start()
    process.join()
    assert process.pid is not None
    return process.pid


def test_a_lease_is_owned_for_the_block_and_gone_after_it(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "7.json"
    with Lease(path).acquire() as acquired:
        assert acquired
        found = Lease(path).owner
        assert found is not None
        assert (found["pid"], found["host"]) == (os.getpid(), socket.gethostname())
        with Lease(path).acquire() as second:
            assert not second
        assert path.exists(), "the refused process must not take the lease away"
    assert list(path.parent.iterdir()) == []


def test_a_lease_is_released_on_any_exception(tmp_path: Path) -> None:
    for error in (RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), Lease(tmp_path / "c.json").acquire() as acquired:
            assert acquired
            raise error
        assert not (tmp_path / "c.json").exists()


def race(folder: Path, numbers: range) -> None:
    """Do every unit that is not done, owning its lease; two owners at once would make one fail."""
    for number in numbers:
        done = folder / f"{number}.done"
        with Lease(folder / "claims" / f"{number}.json").acquire() as acquired:
            if not acquired or done.exists():
                continue
            time.sleep(0.0005)
            os.close(os.open(done, os.O_CREAT | os.O_EXCL))
            with (folder / f"won-{os.getpid()}").open("a") as stream:
                stream.write(f"{number}\n")


@pytest.mark.parametrize("dead", [False, True])
def test_of_processes_racing_for_many_leases_each_is_won_once(tmp_path: Path, dead: bool) -> None:
    units = range(150)
    if dead:
        pid = dead_pid()
        for number in units:
            write_lease(tmp_path / "claims" / f"{number}.json", pid=pid)
    context = multiprocessing.get_context("fork")
    racers = [context.Process(target=race, args=(tmp_path, units)) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0, 0]
    won = [int(n) for path in tmp_path.glob("won-*") for n in path.read_text().split()]
    assert sorted(won) == list(units)
    assert leftovers(tmp_path) == []


def test_a_killed_process_s_lease_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    def hold_and_die() -> None:
        with Lease(path).acquire():
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(hold_and_die) == -signal.SIGKILL
    assert path.exists()
    assert Lease(path).is_expired()
    with Lease(path).acquire() as acquired:
        assert acquired
    assert not path.exists()


def test_a_living_process_s_lease_stays_however_silent_it_is(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_lease(path, silent=100 * EXPIRES_AFTER)
    assert not Lease(path).is_expired()
    with Lease(path).acquire() as acquired:
        assert not acquired
    assert path.exists()


def test_a_later_process_with_the_same_number_does_not_keep_a_dead_one_s_lease(tmp_path: Path) -> None:
    write_lease(tmp_path / "c.json", process_start=(process_start(os.getpid()) or 0) - 1000)
    assert Lease(tmp_path / "c.json").is_expired()


def test_another_host_s_lease_expires_only_after_silence(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_lease(path, host="elsewhere", pid=dead_pid(), silent=EXPIRES_AFTER - 30)
    assert not Lease(path).is_expired(), "its process cannot be seen from here"
    write_lease(path, host="elsewhere", pid=dead_pid(), silent=EXPIRES_AFTER + 30)
    assert Lease(path).is_expired()


def test_a_heartbeat_keeps_another_host_s_lease(tmp_path: Path) -> None:
    with Lease(tmp_path / "c.json").acquire() as acquired:
        assert acquired
        os.utime(tmp_path / "c.json", (0, 0))
        Lease(tmp_path / "c.json").heartbeat()
        assert time.time() - (tmp_path / "c.json").stat().st_mtime < 60
        (tmp_path / "c.json").unlink()
        Lease(tmp_path / "c.json").heartbeat()  # taken over meanwhile: it stays gone
        assert not (tmp_path / "c.json").exists()


def test_an_unreadable_lease_holds_until_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("{half")
    assert not Lease(path).is_expired()
    os.utime(path, (0, 0))
    assert Lease(path).is_expired()
