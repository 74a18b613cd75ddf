"""Publishing against a loopback Hub: one commit a version, nothing sent twice, nothing half-visible."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.dataset.contents import listed, version_tag
from noisezoo.builder.dataset.join import join
from noisezoo.errors import UsageError
from noisezoo.files import sha256_of
from noisezoo.record import RECORD
from tests.builder.building import digits_recipe, published as files_of, recipe_of
from tests.builder.publishing import REPO, held, of, refusal, send, until, versions
from tests.hub_repos import Blob
from tests.hub_server import TOKEN, HubServer, client

publisher = import_module("noisezoo.builder.dataset.publish")

WRITES = "^(POST|PUT|DELETE) "


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server, client(server):
        yield server


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset of two views, and the same one after a third was added."""
    before, after = (tmp_path_factory.mktemp(name) / "noisezoo" for name in ("before", "after"))
    views = ("random-64", "pixels-8", "pixels-8-whitened")
    assert run(digits_recipe(views[:2]), before)
    shutil.copytree(before, after)
    assert run(digits_recipe(views), after)
    return before, after


@dataclass
class Watch:
    """Everything that `main` showed while something ran."""

    server: HubServer
    shown: list[dict[str, str]]

    def __enter__(self) -> "Watch":
        self.done = Event()
        self.thread = Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.thread.join()

    def look(self) -> None:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.server.url, token=TOKEN)
        while not self.done.is_set():
            tree = api.list_repo_tree(REPO, recursive=True, repo_type="dataset")
            self.shown.append({entry.path: entry.blob_id for entry in tree if hasattr(entry, "lfs")})


def test_what_the_record_lists_is_published_by_one_commit_and_nothing_else(copied: Path, server: HubServer) -> None:
    (copied / "notes.txt").write_text("not of the dataset")
    (copied / "stray.parquet").write_bytes(b"PAR1")
    result = send(copied, server)
    expected = {path: data for path, data in of(copied).items() if path not in ("notes.txt", "stray.parquet")}
    assert held(server) == expected and "README.md" in expected
    assert set(result.uploaded) == set(expected) and result.skipped == result.deleted == ()
    assert result.uploaded_bytes == sum(map(len, expected.values()))
    assert result.commit == server.repo(REPO).head.sha
    assert versions(server) == [f"Version {result.tag}"]


def test_the_version_is_tagged_by_its_content(grown: tuple[Path, Path], server: HubServer) -> None:
    before, after = grown
    first, second = send(before, server), send(after, server)
    assert server.repo(REPO).tags == {first.tag: first.commit, second.tag: second.commit}
    assert first.tag == version_tag(listed(before)) != second.tag
    assert first.tag.startswith("v") and len(first.tag) == 13
    again = send(before, server)
    assert again.tag == first.tag and again.commit != first.commit
    assert held(server) == of(before)


def test_publishing_again_sends_nothing_and_makes_no_commit(built: Path, server: HubServer) -> None:
    first = send(built, server)
    server.seen.clear()
    second = send(built, server)
    assert server.lines(WRITES) == []
    assert (second.commit, second.tag) == (first.commit, first.tag)
    assert (second.uploaded, second.uploaded_bytes) == ((), 0)
    assert (second.skipped, second.skipped_bytes) == (first.uploaded, first.uploaded_bytes)


def test_adding_a_view_sends_that_view_paired_and_the_papers_and_nothing_else(
    grown: tuple[Path, Path], server: HubServer
) -> None:
    before, after = grown
    send(before, server)
    server.seen.clear()
    result = send(after, server)
    changed = {path for path, data in of(after).items() if of(before).get(path) != data}
    assert set(result.uploaded) == changed
    assert {path.partition("/")[0] for path in changed if "/" in path} == {"pixels-8-whitened", "paired"}
    assert {"README.md", "recipe.json"} <= changed
    sums = files_of(after)
    assert set(server.uploaded()) == {sums[path] for path in changed if path.endswith((".parquet", ".safetensors"))}
    assert held(server) == of(after)


def test_a_view_that_is_no_longer_listed_goes_and_what_the_owner_added_stays(
    grown: tuple[Path, Path], server: HubServer
) -> None:
    before, after = grown
    send(after, server)
    repo = server.repo(REPO)
    repo.commit("by hand", {**repo.head.tree, "LICENSE": Blob(b"mine"), "docs/notes.md": Blob(b"mine")})
    result = send(before, server)
    gone = set(of(after)) - set(of(before))
    assert gone and set(result.deleted) == gone
    assert held(server) == of(before) | {"LICENSE": b"mine", "docs/notes.md": b"mine"}


def test_a_reader_sees_the_old_version_or_the_new_one_at_any_moment(
    grown: tuple[Path, Path], server: HubServer
) -> None:
    before, after = grown
    send(before, server)
    old = {path: blob.oid for path, blob in server.repo(REPO).head.tree.items()}
    pause = server.hold("/commit/")
    with Watch(server, []) as watch:
        sender = Thread(target=send, args=(after, server))
        sender.start()
        assert pause.reached.wait(60)
        seen = len(watch.shown)
        until(lambda: len(watch.shown) > seen + 2)
        assert set(server.uploaded()) >= {sha256_of(after / "pixels-8-whitened" / "train-00000-of-00002.parquet")}
        pause.released.set()
        sender.join()
        seen = len(watch.shown)
        until(lambda: len(watch.shown) > seen + 2)
    new = {path: blob.oid for path, blob in server.repo(REPO).head.tree.items()}
    assert old != new
    assert all(shown in (old, new) for shown in watch.shown)
    assert watch.shown[0] == old and watch.shown[-1] == new


def test_every_version_loads_by_its_tag_whole_and_as_a_stream(
    grown: tuple[Path, Path], server: HubServer, tmp_path: Path
) -> None:
    first, second = (send(folder, server) for folder in grown)
    code = f"""
import noisezoo
from datasets import get_dataset_config_names as names, load_dataset
print(*("pixels-8-whitened" in names({REPO!r}, revision=tag) for tag in {(first.tag, second.tag)!r}))
new = noisezoo.load({REPO!r}, ["random-64", "pixels-8-whitened"], revision={second.tag!r})
old = load_dataset({REPO!r}, revision={first.tag!r})
stream = load_dataset({REPO!r}, "random-64", split="train", streaming=True)
print(len(new), sum(map(len, old.values())), len(list(stream)) == len(old["train"]))
"""
    assert server.run(code, tmp_path / "home").split() == ["False", "True", "40", "40", "True"]


def test_one_view_of_many_moves_that_views_bytes_alone(built: Path, server: HubServer, tmp_path: Path) -> None:
    send(built, server)
    server.seen.clear()
    server.run(f"from datasets import load_dataset; load_dataset({REPO!r}, 'pixels-8')", tmp_path / "home")
    sizes = {path: len(data) for path, data in of(built).items()}
    assert server.downloaded() == {p: n for p, n in sizes.items() if p.startswith("pixels-8/") or p == "README.md"}


def test_a_dry_run_tells_what_would_be_sent_and_touches_nothing(grown: tuple[Path, Path], server: HubServer) -> None:
    before, after = grown
    new = send(before, server, dry_run=True)
    assert server.repos == {} and new.commit is None
    assert set(new.uploaded) == set(of(before))
    send(before, server)
    server.seen.clear()
    more, nothing = send(after, server, dry_run=True), send(before, server, dry_run=True)
    assert server.lines(WRITES) == [] and held(server) == of(before)
    assert nothing.uploaded == () and nothing.commit == server.repo(REPO).head.sha
    done = send(after, server)
    assert (more.tag, more.uploaded, more.skipped, more.deleted) == (
        done.tag, done.uploaded, done.skipped, done.deleted,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (True, "manual")),
        ({"gated": "auto"}, (True, "auto")),
        ({"private": False}, (False, "manual")),
        ({"private": False, "sensitive": False}, (False, False)),
        ({"sensitive": False}, (True, False)),
    ],
)
def test_the_repository_has_the_access_it_shall_have_before_any_content(
    built: Path, server: HubServer, options: dict[str, Any], expected: tuple[bool, Any]
) -> None:
    pause = server.hold("^PUT /lfs/", 100)
    sender = Thread(target=lambda: send(built, server, **options))
    sender.start()
    assert pause.reached.wait(60)
    assert (server.repo(REPO).private, server.repo(REPO).gated) == expected
    server.clear()
    sender.join()
    assert held(server) == of(built)


def test_a_public_repository_is_closed_first_and_a_gate_of_its_own_stays(built: Path, server: HubServer) -> None:
    from huggingface_hub import HfApi

    HfApi(endpoint=server.url, token=TOKEN).create_repo(REPO, repo_type="dataset", private=False)
    server.repo(REPO).gated = "auto"
    send(built, server)
    assert (server.repo(REPO).private, server.repo(REPO).gated) == (True, "auto")


def test_large_datasets_are_sent_a_batch_at_a_time(
    built: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "BATCH", 1)
    send(built, server)
    assert held(server) == of(built)
    assert len(server.lines("/preupload/")) == len(of(built))
    assert len(server.lines("/commit/")) == 1


def test_a_joined_dataset_is_published_though_no_build_lies_beside_it(
    built: Path, tmp_path: Path, server: HubServer
) -> None:
    faces = tmp_path / "faces"
    assert run(recipe_of("faces", ("random",), limit=8), faces)
    join([built, faces], tmp_path / "both")
    send(tmp_path / "both", server)
    assert {"digits-ddpm", "faces.random"} <= {path.partition("/")[0] for path in held(server)}


def test_pictures_that_may_show_people_are_not_published(built: Path, tmp_path: Path, server: HubServer) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "noisezoo", ignore=shutil.ignore_patterns("_build")))
    text = (folder / RECORD).read_text()
    (folder / RECORD).write_text(text.replace('"sensitive": false', '"sensitive": true'))
    assert "pixels-8 holds the pictures of source digits" in refusal(folder, server, UsageError)
    assert server.seen == []
