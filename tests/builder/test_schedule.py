"""The scheduler: every lot is drawn once, by few models a process; the dead are told by silence, not by clocks."""

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
from noisezoo.builder.engine import monitor as keeper, queue as folders, scheduler as schedule
from noisezoo.builder.engine.build import Build, open_build, prepare
from noisezoo.builder.engine.leases import Claim, bury, claimed, claims_in, sign_of_life
from noisezoo.builder.engine.log import Log
from noisezoo.builder.engine.monitor import Keeper
from noisezoo.builder.engine.queue import Folder
from noisezoo.builder.engine.scheduler import LOOKS, Draw, Looks, Lot, spread
from noisezoo.builder.engine.worker import work
from tests.builder.building import digits_recipe, leftovers, published
from tests.builder.test_claims import dead_pid, write_claim
from tests.chaos.hurried import BEAT, STALE_AFTER, hurried


class Memory:
    """A store without a folder, for any number of draws that take turns."""

    def __init__(self, lots: dict[str, int]) -> None:
        self.lots = {group: np.ones(n, bool) for group, n in lots.items()}
        self.looks, self.claims = 0, 0

    def look(self) -> dict[str, np.ndarray]:
        self.looks += 1
        return {group: lots.copy() for group, lots in self.lots.items()}

    def claim(self, lot: Lot) -> bool:
        self.claims += 1
        won = bool(self.lots[lot.group][lot.number])
        self.lots[lot.group][lot.number] = False
        return won


def drain(store: Memory, draws: list[Draw]) -> list[list[Lot]]:
    """All draws in turn, a lot each, until nothing is open; what each of them won."""
    won: list[list[Lot]] = [[] for _ in draws]
    at_work = {k for k, draw in enumerate(draws) if draw.enter() is not None}
    while at_work:
        for k in list(at_work):
            lot = draws[k].next()
            if lot is None and draws[k].enter() is None:
                at_work.discard(k)
            elif lot is not None and draws[k].take(lot):
                won[k].append(lot)
    return won


WORK = {"long": 100.0, "middle": 10.0, "short": 1.0}


@pytest.mark.parametrize("processes", [1, 7, 40])
def test_every_lot_is_won_once_however_many_draw(processes: int) -> None:
    store = Memory(dict.fromkeys(WORK, 60))
    won = drain(store, [Draw(store, WORK, spread(str(k))) for k in range(processes)])
    every = sorted(lot for lots in won for lot in lots)
    assert every == sorted(Lot(group, n) for group in WORK for n in range(60))


def test_a_process_alone_goes_through_each_group_once() -> None:
    store = Memory(dict.fromkeys(WORK, 20))
    (won,) = drain(store, [Draw(store, WORK, 0.3)])
    order = [lot.group for lot in won]
    assert sum(a != b for a, b in zip(order, order[1:], strict=False)) == len(WORK) - 1
    assert store.claims == 60, "it never asks for what it knows to be taken"


def test_processes_begin_where_the_work_is_and_none_where_another_is() -> None:
    store = Memory(dict.fromkeys(WORK, 1000))
    draws = [Draw(store, WORK, spread(str(k))) for k in range(200)]
    first = [draw.next() for draw in draws if draw.enter()]
    assert len(set(first)) > 170, "by chance alone, about 18 of 200 points meet another among 1,000 lots"
    share = np.mean([lot is not None and lot.group == "long" for lot in first])
    assert 0.9 <= share < 1.0, "of the work, long lots are 90 %"


def test_what_is_proposed_ahead_is_not_proposed_again_and_costs_nobody_anything() -> None:
    store = Memory({"a": 3})
    ahead, other = Draw(store, {"a": 1.0}, 0.0), Draw(store, {"a": 1.0}, 0.5)
    assert ahead.enter() == other.enter() == "a"
    proposed = [ahead.next() for _ in range(3)]
    assert sorted(lot.number for lot in proposed if lot) == [0, 1, 2]
    assert ahead.next() is None
    taken = [other.next() for _ in range(3)]
    assert all(other.take(lot) for lot in taken if lot)
    assert not any(ahead.take(lot) for lot in proposed if lot)


def test_only_what_stays_silent_look_after_look_is_dead() -> None:
    looks: Looks[str] = Looks()
    for k in range(3 * LOOKS):
        signs = {"alive": k, "slow": k // (LOOKS - 1), "dead": "same"} | ({} if k % 3 else {"comes and goes": 0})
        found = looks.dead(signs)
        assert found == (["dead"] if k >= LOOKS else [])


def test_a_clock_that_jumps_makes_no_one_dead() -> None:
    looks: Looks[str] = Looks()
    assert not any(looks.dead({"claim": time}) for time in (5e9, -100.0, 0.0, 5e9, 5e9 + 1, 1.0, 2.0, 3.0, 0.0))


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
    monkeypatch.setattr(folders, "SHARED_FROM", 0)
    listed: list[int] = []
    original = Folder._list
    monkeypatch.setattr(Folder, "_list", lambda self: listed.append(1) or original(self))
    build = prepare(digits_recipe(), tmp_path / "noisezoo")
    first, second = Folder(build), Folder(build)
    for mine, theirs in zip(first.look().values(), second.look().values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(listed) == 1
    second.look()
    assert len(listed) == 2, "who has seen it looks anew"
    assert run(digits_recipe(), build.root)
    assert published(build.root) == published(built)
    assert leftovers(build.root) == []


def test_a_lot_that_a_living_process_holds_is_not_open_and_a_dead_one_s_is(tmp_path: Path) -> None:
    build = prepare(digits_recipe(), tmp_path / "noisezoo")
    units = build.units(build.views[0])
    write_claim(units[0].claim_path)
    write_claim(units[1].claim_path, pid=dead_pid())
    folder = Folder(build)
    lots = next(iter(folder.look().values()))
    assert lots.tolist() == [False] + [True] * (len(lots) - 1)
    assert folder.living == 1


def test_a_damaged_marker_among_finished_ones_is_found_and_its_unit_computed_again(copied: Path) -> None:
    build = open_build(copied)
    victim = build.units(build.views[1])[2]
    victim.marker_path.write_text("{}")
    assert work(build, Log(build.state / "logs")) == 1
    assert victim.marker() is not None


def test_the_dead_of_other_hosts_are_buried_by_the_keeper_and_the_living_are_not(tmp_path: Path) -> None:
    claims = tmp_path / "claims"
    write_claim(claims / "a" / "1.json", host="elsewhere")
    write_claim(claims / "a" / "2.json", host="elsewhere")
    with Keeper(claims) as keeper, Keeper(claims) as second:
        assert keeper.keeps() and not second.keeps()
        for k in range(LOOKS + 2):
            os.utime(claims / "a" / "2.json", (k, k))  # its host's clock is wrong, but it goes
            keeper.look()
            second.look()
    assert sorted(path.name for path in claims.rglob("*.json")) == ["2.json"]


def test_who_keeps_next_is_found_by_looks_where_the_keeper_s_host_is_gone(tmp_path: Path) -> None:
    write_claim(tmp_path / "keeper.json", host="elsewhere")
    with Keeper(tmp_path) as keeper:
        for _ in range(LOOKS + 2):
            keeper.look()
        assert keeper.keeps()


def test_a_claim_is_not_buried_if_it_came_after_the_last_look(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_claim(path, host="elsewhere")
    sign = sign_of_life(path)
    assert sign is not None
    os.utime(path, (1, 1))
    bury(path, sign)
    assert path.exists()


def test_who_ends_while_it_buries_a_claim_ends_that_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, over = threading.Event(), threading.Event()

    def slow(path: Path, sign: tuple[float, int]) -> None:
        begun.set()
        time.sleep(0.3)
        over.set()

    monkeypatch.setattr(keeper, "bury", slow)
    with hurried(), Keeper(tmp_path) as mine:
        write_claim(tmp_path / "claim.json", host="elsewhere")
        assert mine.keeps()
        assert begun.wait(60)
    assert over.is_set()


def test_the_keeper_waits_for_a_sibling_and_takes_over_what_it_leaves(tmp_path: Path) -> None:
    build = prepare(digits_recipe(("pixels-8",), limit=16), tmp_path / "noisezoo")
    unit = build.units(build.views[0])[1]

    def hold() -> None:
        with claimed(unit.claim_path):
            time.sleep(0.5)
            os._exit(9)

    sibling = multiprocessing.get_context("fork").Process(target=hold)
    sibling.start()
    while not unit.claim_path.exists():
        time.sleep(0.01)
    assert work(build, Log(build.state / "logs")) == len(build.units(build.views[0]))
    sibling.join()
    assert build.pending() == []
    assert not list((build.state / "claims").rglob("*.*"))


def test_who_finds_all_in_living_hands_and_does_not_keep_leaves_at_once(tmp_path: Path) -> None:
    build = prepare(digits_recipe(("pixels-8",), limit=16), tmp_path / "noisezoo")
    for unit in build.units(build.views[0]):
        write_claim(unit.claim_path)
    write_claim(build.state / "claims" / "keeper.json")
    begun = time.monotonic()
    assert work(build, Log(build.state / "logs")) == 0
    assert time.monotonic() - begun < LOOKS * schedule.BEAT, "sooner than any silence tells"
    assert len(list((build.state / "claims").rglob("*.json"))) == len(build.units(build.views[0])) + 1


def left_by_the_dead(tmp_path: Path) -> Build:
    """A build, all of it and its keeping claimed by processes of a host that is gone."""
    build = prepare(digits_recipe(("pixels-8",), limit=16), tmp_path / "noisezoo")
    for unit in build.units(build.views[0]):
        write_claim(unit.claim_path, host="elsewhere")
    write_claim(build.state / "claims" / "keeper.json", host="elsewhere")
    return build


def test_nobody_leaves_to_a_keeper_whose_host_is_gone(tmp_path: Path) -> None:
    with hurried():
        build = left_by_the_dead(tmp_path)
        assert work(build, Log(build.state / "logs")) == len(build.units(build.views[0]))
    assert build.pending() == []
    assert not list((build.state / "claims").rglob("*.*"))


def test_who_does_not_keep_leaves_once_another_host_s_keeper_shows_a_sign_of_life(tmp_path: Path) -> None:
    with hurried():
        build, over = left_by_the_dead(tmp_path), threading.Event()

        def live() -> None:
            while not over.wait(BEAT / 2):
                for path in claims_in(build.state / "claims"):
                    Claim(path).touch()

        beating = threading.Thread(target=live)
        beating.start()
        begun = time.monotonic()
        assert work(build, Log(build.state / "logs")) == 0
        assert 2 * BEAT <= time.monotonic() - begun < 2 * STALE_AFTER
        over.set()
        beating.join()
    assert len(build.pending()) == len(build.units(build.views[0]))


def test_points_are_spread_by_name_alone() -> None:
    points = np.sort([spread(f"{socket.gethostname()} {k}") for k in range(2000)])
    assert spread("a") == spread("a")
    assert np.abs(points - np.linspace(0, 1, 2000)).max() < 1.63 / np.sqrt(2000)  # Kolmogorov-Smirnov at 1 %
