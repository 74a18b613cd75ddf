"""File systems that lack something: leases work without hard links, and one line says what cannot work."""

import errno
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.engine.build import open_build, prepare
from noisezoo.builder.engine.leases import Lease
from noisezoo.builder.engine.store import NO_LINKS, Store
from noisezoo.builder.launch import local
from noisezoo.builder.launch.local import build_dataset
from noisezoo.errors import UsageError
from tests.builder.building import digits_recipe, leftovers, published
from tests.builder.test_leases import dead_pid, race, write_lease

RECIPE = digits_recipe(("random-64", "pixels-8"), limit=16)


@pytest.fixture(
    params=[errno.EPERM, *(pytest.param(e, marks=pytest.mark.slow) for e in (errno.EOPNOTSUPP, errno.ENOSYS))]
)
def no_links(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A file system without hard links, as exFAT, SMB and FUSE mounts say it."""
    assert request.param in NO_LINKS

    def link(*_: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", link)


def test_the_way_in_which_leases_are_created_is_found_out(tmp_path: Path) -> None:
    assert Store(tmp_path).creation(tmp_path) == "hard links"
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links_leases_are_created_exclusively_and_it_is_said(
    tmp_path: Path, no_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []
    monkeypatch.setattr(local, "_run", lambda builds, *_: int(not run(builds[0].recipe, builds[0].root)))
    build_dataset(RECIPE, tmp_path / "a" / "noisezoo", say=words.append)
    assert "exclusive creation" in " ".join(words)
    state = open_build(tmp_path / "a" / "noisezoo").state
    assert json.loads((state / "begun.json").read_text())["leases"] == "exclusive creation"
    events = [json.loads(line) for path in (state / "logs").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert {event["created_by"] for event in events if event["event"] == "leases"} == {"exclusive creation"}
    monkeypatch.undo()
    assert run(RECIPE, tmp_path / "b" / "noisezoo")
    assert published(tmp_path / "a" / "noisezoo") == published(tmp_path / "b" / "noisezoo")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("dead", [False, True])
def test_without_hard_links_each_lease_is_still_won_once(tmp_path: Path, no_links: None, dead: bool) -> None:
    units = range(24)
    for number in units if dead else ():
        write_lease(tmp_path / "claims" / f"{number}.json", pid=dead_pid())
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


def test_without_hard_links_a_dead_process_s_lease_is_taken_over(tmp_path: Path, no_links: None) -> None:
    write_lease(tmp_path / "c.json", pid=dead_pid())
    with Lease(tmp_path / "c.json").acquire() as acquired:
        assert acquired
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_with_neither_is_refused_in_one_line_before_any_work(
    tmp_path: Path, no_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.open

    def not_exclusive(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        return original(path, "w" if mode == "x" else mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", not_exclusive)
    with pytest.raises(UsageError, match="neither hard links nor exclusive creation.*choose another --out") as caught:
        prepare(RECIPE, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["_build"]
