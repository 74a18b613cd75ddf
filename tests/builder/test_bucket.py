"""Builds in object storage: leases by conditional writes, faults of the storage, and the local build's bytes."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.audit import verify
from noisezoo.builder.dataset import bring, is_finished
from noisezoo.builder.engine import leases as leases_module
from noisezoo.builder.engine.build import STATE, open_build, prepare
from noisezoo.builder.engine.leases import Lease
from noisezoo.builder.engine.store import Folder, Store, find_store
from noisezoo.builder.launch import status
from noisezoo.builder.launch.engines import find_engine
from noisezoo.errors import UsageError
from tests.builder.building import digits_recipe, in_child, published
from tests.chaos.hurried import hurried
from tests.s3_server import BUCKET, S3Server

VIEWS = ("pixels-8", "pixels-8-whitened")
RECIPE = digits_recipe(VIEWS, limit=24)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def url(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A build's place, of which nothing is there yet; its last name is that of the local build's folder."""
    monkeypatch.setenv("NOISEZOO_WORK", str(tmp_path / "work"))
    return f"s3://{BUCKET}/{tmp_path.name}/noisezoo"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The hashes of the same dataset built in a folder."""
    folder = tmp_path_factory.mktemp("local") / "noisezoo"
    assert run(RECIPE, folder)
    return published(folder)


def keys(server: S3Server, url: str) -> dict[str, int]:
    return server.keys(url.removeprefix(f"s3://{BUCKET}/"))


def dataset(server: S3Server, url: str) -> dict[str, str]:
    """Path -> sha256 of every published object."""
    path = url.removeprefix("s3:/")
    names = [name for name in keys(server, url) if not name.startswith(STATE)]
    return {name: sha256(server.ask("GET", f"{path}/{name}")).hexdigest() for name in names}


def leases(server: S3Server, url: str) -> list[str]:
    """Objects of leases that some process owns."""
    there = keys(server, url).items()
    return [name for name, size in there if "/claims/" in name and size > 1]


def started(work: Callable[[], None]) -> BaseProcess:
    process = get_context("fork").Process(target=work)
    process.start()
    return process


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)


def protocol(store: Store) -> None:
    """What leases ask of any store."""
    path = store.root / STATE / "claims" / "a" / "1.json"
    store.make(store.root / STATE)
    assert store.creation(store.root / STATE) in ("hard links", "conditional writes")
    assert store.read(path) is None and store.size(path) is None and store.names(path.parent) == frozenset()
    assert store.create(path, "me") and not store.create(path, "you")
    first = store.read(path)
    assert first is not None and first.content == b"me" and store.names(path.parent) == {"1.json"}
    assert abs(store.time(path.parent) - first.time) < 60
    if isinstance(store, Folder):
        os.utime(path, (1, 1))
    else:
        store.touch(path, first)
    second = store.read(path)
    assert second is not None and second != first and second.content.partition(b"\n")[0] == b"me"
    assert not store.delete(path, first), "it has changed since"
    assert store.delete(path, second) and store.read(path) is None
    assert store.names(path.parent) == frozenset() and store.walk(path.parent) == []
    store.touch(path, second)
    assert store.read(path) is None, "what is gone stays gone"
    assert store.create(path, "you") and not store.create(path, "me")
    store.remove(path)
    assert store.create(path, "me")


def test_a_folder_gives_what_leases_ask_for(tmp_path: Path) -> None:
    protocol(Folder(tmp_path))


def test_a_bucket_gives_what_leases_ask_for(url: str) -> None:
    assert in_child(lambda: protocol(find_store(url))) == 0


@pytest.mark.parametrize("how", ["503", "lost"])
def test_a_write_whose_answer_fails_neither_loses_nor_doubles_a_lease(server: S3Server, url: str, how: str) -> None:
    def work() -> None:
        store = find_store(url)
        path = store.root / STATE / "claims" / "1.json"
        server.fail(how, 1, "PUT .*/claims/1.json")
        with Lease(path, store).acquire() as acquired:
            assert acquired, "its own lease is recognised"
            before = Lease(path, store).last_heartbeat()
            server.fail(how, 1, "PUT .*/claims/1.json")
            Lease(path, store).heartbeat()
            assert before is not None and Lease(path, store).last_heartbeat() not in (None, before)
            with Lease(path, store).acquire() as second:
                assert not second
            server.fail(how, 1, "PUT .*/claims/1.json")
        assert store.read(path) is None and server.left() == 0

    assert in_child(work) == 0


def race(url: str, number: int, wins: Path) -> None:
    store = find_store(url)
    for turn in range(12):
        with Lease(store.root / "claims" / f"{turn}.json", store).acquire() as acquired:
            if acquired and not (wins / f"{turn}").exists():
                os.close(os.open(wins / f"{turn}", os.O_CREAT | os.O_EXCL))
                time.sleep(0.002)


def test_of_processes_racing_for_leases_in_a_bucket_each_is_won_once(url: str, tmp_path: Path) -> None:
    racers = [started(lambda n=number: race(url, n, tmp_path)) for number in range(3)]  # type: ignore[misc]
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0, 0]
    assert len([path for path in tmp_path.iterdir() if path.name.isdigit()]) == 12


def test_processes_share_a_build_in_a_bucket_through_faults_and_give_the_local_build_s_bytes(
    server: S3Server, url: str, local: dict[str, str], tmp_path: Path
) -> None:
    server.fail("503", 3, "PUT .*/parts/.*parquet")
    server.fail("lost", 3, "PUT .*/claims/")
    server.fail("lost", 2, "PUT .*/parts/.*json")

    def work() -> None:
        run(RECIPE, Path(url))  # a path folds the slashes of a URL

    def look() -> None:
        build = open_build(url)
        assert is_finished(build) and build.owners() == []
        assert all(view.left == 0 for view in status(build))
        assert verify(url).ok
        assert published(Path(bring(url))) == local

    siblings = [started(work) for _ in range(2)]
    for sibling in siblings:
        sibling.join(60)
    assert [sibling.exitcode for sibling in siblings] == [0, 0] and server.left() == 0
    if leases(server, url):  # of the process that was not the last
        assert in_child(work) == 0
    assert dataset(server, url) == local and leases(server, url) == []
    logs = [name for name in keys(server, url) if name.endswith(".jsonl")]
    assert len(logs) >= 2, "each process's log is there for the others"
    here = [path.name for path in (tmp_path / "work").rglob("*") if path.suffix == ".parquet"]
    assert here == ["manifest.parquet"] or here == [], "no copy of a part or of a published file stays behind"
    assert in_child(look) == 0
    shard = next(name for name in local if name.startswith("pixels-8/"))
    server.ask("PUT", f"{url.removeprefix('s3:/')}/{shard}", b"damaged")
    assert in_child(lambda: os._exit(verify(url).ok)) == 0, "a damaged object is found"


def test_a_worker_of_another_machine_killed_in_a_unit_loses_its_lease_and_another_one_finishes(
    server: S3Server, url: str, local: dict[str, str]
) -> None:
    def dies() -> None:
        from noisezoo.builder.engine import worker

        socket.gethostname = lambda: "elsewhere"
        worker.commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        run(RECIPE, Path(url))

    def goes_on() -> None:
        with hurried(), patch.object(leases_module, "MISSED_SCANS", 2):
            run(RECIPE, Path(url))

    assert in_child(dies) == -signal.SIGKILL
    path = url.removeprefix("s3:/")
    assert any(b"elsewhere" in server.ask("GET", f"{path}/{name}") for name in leases(server, url))
    assert in_child(goes_on) == 0
    assert dataset(server, url) == local and leases(server, url) == []


def test_a_publisher_killed_between_two_files_leaves_no_dataset_and_the_next_one_the_same_bytes(
    server: S3Server, url: str, local: dict[str, str]
) -> None:
    def dies() -> None:
        from noisezoo.builder.engine.bucket import Bucket

        sent, share = [], Bucket.share

        def shares(store: Bucket, path: Path) -> None:
            sent.append(path)
            if path.name == "README.md":
                os.kill(os.getpid(), signal.SIGKILL)
            share(store, path)

        Bucket.share = shares  # type: ignore[method-assign]
        run(RECIPE, Path(url))

    assert in_child(dies) == -signal.SIGKILL
    assert "noisezoo.json" not in dataset(server, url) and "README.md" not in dataset(server, url)
    assert in_child(lambda: os._exit(int(not run(RECIPE, Path(url))))) == 0
    assert dataset(server, url) == local


def test_a_storage_that_ignores_conditions_is_refused_before_any_work(server: S3Server, url: str) -> None:
    server.fail("unconditional", 2, "PUT .*/_build/.*tmp")

    def work() -> None:
        with pytest.raises(UsageError, match="ignores If-None-Match or If-Match.*choose another --out"):
            prepare(RECIPE, url)

    assert in_child(work) == 0 and server.left() == 0
    assert keys(server, url) == {}


def test_a_bucket_that_is_not_there_is_refused_in_one_line(url: str) -> None:
    def work() -> None:
        with pytest.raises(UsageError, match="cannot write to s3://none/x: there is no such bucket.*another --out"):
            prepare(RECIPE, "s3://none/x")

    assert in_child(work) == 0


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("hf://buckets/me/builds", "the Hub's buckets have no write on a condition.*copy the dataset there"),
        ("ftp://host/x", "a build is shared in a folder or on s3://, gs://, az://"),
        ("s3://", "names no bucket: write s3://BUCKET/PATH"),
    ],
)
def test_what_is_no_shared_place_is_refused_with_the_mend(place: str, said: str) -> None:
    for each in (place, Path(place)):
        with pytest.raises(UsageError, match=said):
            find_store(each)


def test_without_the_package_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore.exceptions", None)
    with pytest.raises(UsageError, match=r"needs the package obstore: pip install 'noisezoo\[storage\]'"):
        find_store("s3://never-asked-for/x")


def test_an_engine_that_needs_a_folder_refuses_a_bucket(url: str) -> None:
    def work() -> None:
        start = find_engine("ray", {})
        assert start is not None
        with pytest.raises(UsageError, match="--engine ray needs a folder that every machine sees"):
            start(prepare(RECIPE, url), 1)
        assert json.loads((open_build(url).store.fetch(open_build(url).state / "recipe.json")).read_text())

    assert in_child(work) == 0
