"""Claims: exclusive while their holder lives, free once it is dead."""

import json
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from noisezoo.builder.engine.leases import STALE_AFTER, claimed, holder, is_stale, process_start
from tests.builder.building import in_child, leftovers


def write_claim(path: Path, silent: float = 0.0, **changes: Any) -> None:
    """A claim as this very process would hold it, with some fields changed, silent for so many seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = process_start(os.getpid())
    claim = {"host": socket.gethostname(), "pid": os.getpid(), "process_start": start, "claimed_at": time.time()}
    path.write_text(json.dumps({**claim, **changes}))
    os.utime(path, (time.time() - silent,) * 2)


def dead_pid() -> int:
    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(0,))
    process.start()
    process.join()
    assert process.pid is not None
    return process.pid


def test_a_claim_is_held_for_the_block_and_gone_after_it(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "7.json"
    with claimed(path) as claim:
        assert claim is not None
        found = holder(path)
        assert found is not None
        assert (found["pid"], found["host"]) == (os.getpid(), socket.gethostname())
        with claimed(path) as second:
            assert second is None
        assert path.exists(), "the refused claimant must not take the claim away"
    assert list(path.parent.iterdir()) == []


def test_a_claim_is_released_on_any_exception(tmp_path: Path) -> None:
    for error in (RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), claimed(tmp_path / "c.json") as claim:
            assert claim is not None
            raise error
        assert not (tmp_path / "c.json").exists()


def race(folder: Path, numbers: range) -> None:
    """Do every unit that is not done, holding its claim; two holders at once would make one fail."""
    for number in numbers:
        done = folder / f"{number}.done"
        with claimed(folder / "claims" / f"{number}.json") as claim:
            if claim is None or done.exists():
                continue
            time.sleep(0.0005)
            os.close(os.open(done, os.O_CREAT | os.O_EXCL))
            with (folder / f"won-{os.getpid()}").open("a") as stream:
                stream.write(f"{number}\n")


@pytest.mark.parametrize("dead", [False, True])
def test_of_processes_racing_for_many_claims_each_is_won_once(tmp_path: Path, dead: bool) -> None:
    units = range(150)
    if dead:
        pid = dead_pid()
        for number in units:
            write_claim(tmp_path / "claims" / f"{number}.json", pid=pid)
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


def test_a_killed_process_s_claim_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    def hold_and_die() -> None:
        with claimed(path):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(hold_and_die) == -signal.SIGKILL
    assert path.exists()
    assert is_stale(path)
    with claimed(path) as claim:
        assert claim is not None
    assert not path.exists()


def test_a_living_process_s_claim_stays_however_silent_it_is(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_claim(path, silent=100 * STALE_AFTER)
    assert not is_stale(path)
    with claimed(path) as claim:
        assert claim is None
    assert path.exists()


def test_a_later_process_with_the_same_number_does_not_keep_a_dead_one_s_claim(tmp_path: Path) -> None:
    write_claim(tmp_path / "c.json", process_start=(process_start(os.getpid()) or 0) - 1000)
    assert is_stale(tmp_path / "c.json")


def test_another_host_s_claim_goes_stale_only_after_silence(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_claim(path, host="elsewhere", pid=dead_pid(), silent=STALE_AFTER - 30)
    assert not is_stale(path), "its process cannot be seen from here"
    write_claim(path, host="elsewhere", pid=dead_pid(), silent=STALE_AFTER + 30)
    assert is_stale(path)


def test_a_sign_of_life_keeps_another_host_s_claim(tmp_path: Path) -> None:
    with claimed(tmp_path / "c.json") as claim:
        assert claim is not None
        os.utime(tmp_path / "c.json", (0, 0))
        claim.touch()
        assert time.time() - (tmp_path / "c.json").stat().st_mtime < 60
        (tmp_path / "c.json").unlink()
        claim.touch()  # taken over meanwhile: it stays gone
        assert not (tmp_path / "c.json").exists()


def test_an_unreadable_claim_holds_until_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("{half")
    assert not is_stale(path)
    os.utime(path, (0, 0))
    assert is_stale(path)
