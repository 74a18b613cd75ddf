"""Builds in object storage: leases by conditional writes, faults of the storage, and the local build's bytes."""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from noisezoo import cli
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit import verify
from noisezoo.builder.dataset import bring, is_finished, join, remove
from noisezoo.builder.engine import leases as leases_module
from noisezoo.builder.engine.bucket import Bucket
from noisezoo.builder.engine.build import STATE, open_build, prepare
from noisezoo.builder.engine.leases import Lease
from noisezoo.builder.engine.store import Store, find_store
from noisezoo.builder.launch import Node, Slurm, status
from noisezoo.builder.launch.engines import find_engine
from noisezoo.errors import UsageError
from noisezoo.record import read_record
from tests.bucket_servers import BUCKET, PLACES, BucketServer, missing
from tests.builder.building import digits_recipe, in_child, published
from tests.builder.committed import commit_units
from tests.builder.publishing import REPO, held, versions
from tests.chaos.hurried import hurried
from tests.hub_server import HubServer

VIEWS = ("pixels-8", "pixels-8-whitened")
RECIPE = digits_recipe(VIEWS, limit=24)


each_storage = pytest.mark.parametrize("server", list(PLACES), indirect=True)
s3_alone = pytest.mark.parametrize("server", ["s3"], indirect=True)
s3_and_slowly_the_others = pytest.mark.parametrize(
    "server", ["s3", *(pytest.param(each, marks=pytest.mark.slow) for each in ("hf", "gs", "az"))], indirect=True
)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[BucketServer]:
    if missing(request.param):
        pytest.skip(missing(request.param))
    with BucketServer(request.param) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.setattr("noisezoo.builder.engine.bucket.HUB", server.url)
        yield server


@pytest.fixture
def url(server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A build's place, of which nothing is there yet; its last name is that of the local build's folder."""
    monkeypatch.setenv("NOISEZOO_WORK", str(tmp_path / "work"))
    return f"{server.place}/{tmp_path.name}/noisezoo"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dataset built in a folder."""
    folder = tmp_path_factory.mktemp("local") / "noisezoo"
    assert run(RECIPE, folder)
    return folder


@pytest.fixture(scope="module")
def local(folder: Path) -> dict[str, str]:
    """The hashes of the folder's files."""
    return published(folder)


def dataset(server: BucketServer, url: str) -> dict[str, str]:
    """Path -> sha256 of every published object."""
    names = [name for name in server.keys(url) if not name.startswith(STATE)]
    return {name: sha256(server.read(f"{url}/{name}")).hexdigest() for name in names}


def leases(server: BucketServer, url: str) -> list[str]:
    """Objects of leases that some process owns."""
    there = server.keys(url).items()
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
    if type(store) is Store:
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


def test_a_bucket_has_its_own_way_of_all_that_a_folder_does() -> None:
    by_others = {"read_state", "read_json", "write_json"}
    assert {name for name in vars(Store) if not name.startswith("_")} - by_others <= vars(Bucket).keys()


def test_a_folder_gives_what_leases_ask_for(tmp_path: Path) -> None:
    protocol(Store(tmp_path))


@each_storage
def test_a_bucket_gives_what_leases_ask_for(url: str) -> None:
    assert in_child(lambda: protocol(find_store(url))) == 0


@each_storage
@pytest.mark.parametrize("how", ["503", "lost"])
def test_a_write_whose_answer_fails_neither_loses_nor_doubles_a_lease(server: BucketServer, url: str, how: str) -> None:
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


class Counted:
    """A bucket's client that counts what it is asked, listings as `list` and readings as `get`."""

    def __init__(self, client: Any) -> None:
        self._client, self.asked = client, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        self.asked[name.partition("_")[0]] += 1
        return getattr(self._client, name)


@s3_alone
def test_whether_units_are_left_costs_a_listing_a_view_and_a_reading_a_marker(url: str) -> None:
    recipe = digits_recipe(("pixels-8", "random-64"), limit=48, slice_rows=8)

    def work() -> None:
        build = prepare(recipe, url)
        first, *others = build.all_units()
        commit_units(build, others)
        build = open_build(url)
        build.store._client = client = Counted(build.store._client)  # type: ignore[attr-defined]
        assert len(build.pending()) == 1
        build.store.write_json(others[0].marker_path, {**(others[0].marker() or {}), "bytes": 1})
        build.store.remove(others[1].part)
        client.asked.clear()
        assert [unit.number for unit in build.pending()] == [0, 1, 2]
        assert client.asked == {"list": 2, "get": len(others)}

    assert in_child(work) == 0


@s3_alone
def test_datasets_of_buckets_are_joined_and_what_cannot_be_changed_there_is_refused_in_one_line(
    url: str, local: dict[str, str], tmp_path: Path
) -> None:
    def work() -> None:
        run(RECIPE, url)  # type: ignore[arg-type]
        join([Path(url)], tmp_path / "joined")
        assert read_record(tmp_path / "joined") is not None and verify(tmp_path / "joined").ok
        views = {name: digest for name, digest in published(tmp_path / "joined").items() if name.startswith("pixels")}
        assert views == {name: digest for name, digest in local.items() if name.startswith("pixels")}
        for change in (lambda: remove(Path(url), ["digits-0001"]), lambda: join([tmp_path / "joined"], Path(url))):
            with pytest.raises(UsageError, match=f"^{url} is in object storage.*`noisezoo join {url} --out FOLDER`"):
                change()
        with pytest.raises(UsageError, match="a job of SLURM needs a folder that every machine sees.*--out"):
            Slurm(1, "1:00:00").write(open_build(url), Node(0))

    assert in_child(work) == 0


def race(url: str, number: int, wins: Path) -> None:
    store = find_store(url)
    for turn in range(12):
        with Lease(store.root / "claims" / f"{turn}.json", store).acquire() as acquired:
            if acquired and not (wins / f"{turn}").exists():
                os.close(os.open(wins / f"{turn}", os.O_CREAT | os.O_EXCL))
                time.sleep(0.002)


@each_storage
def test_of_processes_racing_for_leases_in_a_bucket_each_is_won_once(url: str, tmp_path: Path) -> None:
    racers = [started(lambda n=number: race(url, n, tmp_path)) for number in range(3)]  # type: ignore[misc]
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0, 0]
    assert len([path for path in tmp_path.iterdir() if path.name.isdigit()]) == 12


@pytest.mark.parametrize(  # fake-gcs-server takes no pieces
    "server", ["s3", *(pytest.param(each, marks=pytest.mark.slow) for each in ("hf", "az"))], indirect=True
)
def test_a_file_that_is_sent_in_pieces_is_fetched_whole(url: str, tmp_path: Path) -> None:
    def work() -> None:
        store = find_store(url)
        path, content = store.root / "large", os.urandom(11 << 20)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        store.share(path)
        path.unlink()
        assert store.size(path) == len(content)
        assert store.fetch(path).read_bytes() == content and store.tail(path, 10 << 20) == content[10 << 20 :]

    assert in_child(work) == 0


@s3_alone
def test_a_process_that_cleans_up_leaves_what_a_sibling_on_its_machine_is_fetching(url: str) -> None:
    def work() -> None:
        store = find_store(url)
        store.root.mkdir(parents=True)
        fetching, left = store.root / ".1.parquet.a.tmp", store.root / ".1.parquet.b.tmp"
        fetching.touch()
        left.touch()
        os.utime(left, (time.time() - 7200,) * 2)
        store.clean_up(store.root)
        assert fetching.exists() and not left.exists()

    assert in_child(work) == 0


@s3_and_slowly_the_others
def test_processes_share_a_build_in_a_bucket_through_faults_and_give_the_local_build_s_bytes(
    server: BucketServer, url: str, local: dict[str, str], tmp_path: Path
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
    logs = [name for name in server.keys(url) if name.endswith(".jsonl")]
    assert len(logs) >= 2, "each process's log is there for the others"
    here = [path.name for path in (tmp_path / "work").rglob("*") if path.suffix == ".parquet"]
    assert here == ["manifest.parquet"] or here == [], "no copy of a part or of a published file stays behind"
    assert in_child(look) == 0
    shard = next(name for name in local if name.startswith("pixels-8/"))
    server.write(f"{url}/{shard}", b"damaged")
    assert in_child(lambda: os._exit(verify(url).ok)) == 0, "a damaged object is found"


@s3_and_slowly_the_others
def test_a_worker_of_another_machine_killed_in_a_unit_loses_its_lease_and_another_one_finishes(
    server: BucketServer, url: str, local: dict[str, str]
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
    assert any(b"elsewhere" in server.read(f"{url}/{name}") for name in leases(server, url))
    assert in_child(goes_on) == 0
    assert dataset(server, url) == local and leases(server, url) == []


@s3_and_slowly_the_others
def test_a_publisher_killed_between_two_files_leaves_no_dataset_and_the_next_one_the_same_bytes(
    server: BucketServer, url: str, local: dict[str, str]
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


@s3_and_slowly_the_others
def test_a_dataset_is_published_from_a_bucket_and_loaded_from_the_hub(
    server: BucketServer, url: str, folder: Path, local: dict[str, str], tmp_path: Path
) -> None:
    for name in local:
        server.write(f"{url}/{name}", (folder / name).read_bytes())
    code = f"""
import noisezoo
from noisezoo.builder.engine import bucket
from noisezoo.cli import make_app
bucket.HUB = {server.url!r}
for _ in range(2):
    make_app()(["publish", {url!r}, {REPO!r}], standalone_mode=False)
sent, built = noisezoo.load({REPO!r}), noisezoo.load({str(folder)!r})
assert sent.num_rows == 24 and sent.column_names == built.column_names and sent.to_dict() == built.to_dict()
"""
    with HubServer() as hub:
        said = hub.run(code, tmp_path / "home")
        assert {path: sha256(content).hexdigest() for path, content in held(hub).items()} == local
        assert len(versions(hub)) == 1 and f"0 files (0.0 MB) sent, {len(local)}" in said


@pytest.mark.parametrize("server", ["s3", "hf", "gs"], indirect=True)  # Azure's clients sign the conditions
def test_a_storage_that_ignores_conditions_is_refused_before_any_work(server: BucketServer, url: str) -> None:
    server.fail("unconditional", 2, "PUT .*/_build/.*tmp")

    def work() -> None:
        with pytest.raises(UsageError, match="ignores If-None-Match or If-Match.*choose another --out"):
            prepare(RECIPE, url)

    assert in_child(work) == 0 and server.left() == 0
    assert server.keys(url) == {}


@pytest.mark.parametrize("server", ["s3", "hf", "az"], indirect=True)  # fake-gcs-server fails, with 500
def test_a_bucket_that_is_not_there_is_refused_in_one_line(server: BucketServer, url: str) -> None:
    def work() -> None:
        none = server.place.removesuffix(BUCKET) + "none/x"
        with pytest.raises(UsageError, match=f"cannot write to {none}: there is no such bucket.*another --out"):
            prepare(RECIPE, none)

    assert in_child(work) == 0


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("hf://datasets/me", "names no bucket: write hf://buckets/NAMESPACE/NAME/PATH"),
        ("ftp://host/x", "a build is shared in a folder or on s3://, gs://, az://, hf://"),
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


@s3_alone
def test_an_engine_that_needs_a_folder_refuses_a_bucket_before_any_work(
    server: BucketServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        start = find_engine("ray", {})
        assert start is not None
        with pytest.raises(UsageError, match="--engine ray needs a folder that every machine sees"):
            start(prepare(RECIPE, url), 1)
        for command in ("build --engine ray", "cluster slurm --nodes 1 --gpus-per-node 0 --time 1:00:00"):
            monkeypatch.setattr("sys.argv", ["noisezoo", *command.split(), "digits", "--out", f"{url}-new"])
            with pytest.raises(SystemExit, match="2"):
                cli.main()

    assert in_child(work) == 0
    assert server.keys(f"{url}-new") == {}, "nothing was prepared there"
