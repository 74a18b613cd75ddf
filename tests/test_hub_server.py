"""The loopback Hub, proved against huggingface_hub and datasets themselves."""

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, constants, errors

from tests.hub_server import STRANGER, HubServer, client

REPO = "me/data"
CARD = """---
configs:
- {config_name: a, data_files: [{split: train, path: a/*.parquet}], default: true}
- {config_name: b, data_files: [{split: train, path: b/*.parquet}]}
---
"""


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def api(server: HubServer) -> Iterator[Any]:
    with client(server) as api:
        yield api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of two configs with a card: column `a` counts up, `b` down."""
    folder = tmp_path / "data"
    for name, values in {"a": range(5000), "b": range(5000, 0, -1)}.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.table({name: list(values)}), folder / name / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def uploaded(api: Any, folder: Path) -> str:
    """The folder, in `me/data`; the sha of its commit."""
    api.create_repo(REPO, repo_type="dataset")
    return str(api.upload_folder(repo_id=REPO, folder_path=folder, repo_type="dataset").oid)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that anybody in this process slept, without sleeping them."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def add(api: Any, path: str, data: bytes, **options: Any) -> str:
    operations = [CommitOperationAdd(path, data)]
    return str(api.create_commit(REPO, operations, commit_message="add", repo_type="dataset", **options).oid)


def test_a_repository_is_made_once_and_says_who_owns_it(server: HubServer, api: Any) -> None:
    assert api.whoami()["name"] == "me"
    url = api.create_repo(REPO, repo_type="dataset", private=True)
    assert url.repo_id == REPO and url.repo_type == "dataset"
    assert api.create_repo(REPO, repo_type="dataset", exist_ok=True) == url
    with pytest.raises(errors.HfHubHTTPError, match="409"):
        api.create_repo(REPO, repo_type="dataset")
    assert api.dataset_info(REPO).private is True
    assert server.repo(REPO).private


def test_a_folder_comes_back_byte_for_byte(api: Any, folder: Path, uploaded: str, tmp_path: Path) -> None:
    back = Path(api.snapshot_download(REPO, repo_type="dataset", cache_dir=tmp_path / "cache"))
    for path in folder.rglob("*.*"):
        assert (back / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert api.dataset_info(REPO).sha == back.name == uploaded


def test_only_files_of_the_repositorys_own_rules_go_to_the_store(
    server: HubServer, api: Any, folder: Path, uploaded: str
) -> None:
    entries = {entry.path: entry for entry in api.list_repo_tree(REPO, recursive=True, repo_type="dataset")}
    data = (folder / "a/train-00000-of-00001.parquet").read_bytes()
    large, small = entries["a/train-00000-of-00001.parquet"], entries["README.md"]
    assert large.lfs.sha256 == hashlib.sha256(data).hexdigest() and large.size == len(data)
    assert small.lfs is None
    card = (folder / "README.md").read_bytes()
    assert small.blob_id == hashlib.sha1(b"blob %d\0" % len(card) + card).hexdigest()
    assert server.uploaded()[large.lfs.sha256] == len(data)
    assert set(entries) == {".gitattributes", "README.md", "a", "b", large.path, large.path.replace("a/", "b/", 1)}


def test_git_itself_gives_a_pointer_the_same_name(api: Any, uploaded: str, tmp_path: Path) -> None:
    entry = api.get_paths_info(REPO, "a/train-00000-of-00001.parquet", repo_type="dataset")[0]
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{entry.lfs.sha256}\nsize {entry.size}\n"
    named = subprocess.run(["git", "hash-object", "--stdin"], input=pointer, capture_output=True, text=True, check=True)
    assert entry.blob_id == named.stdout.strip()


def test_a_tree_is_told_in_pages_and_by_folder(api: Any, server: HubServer, uploaded: str) -> None:
    server.page = 2
    assert len(list(api.list_repo_tree(REPO, recursive=True, repo_type="dataset"))) == 6
    assert [entry.path for entry in api.list_repo_tree(REPO, repo_type="dataset")] == [
        ".gitattributes", "README.md", "a", "b",
    ]  # fmt: skip
    inside = list(api.list_repo_tree(REPO, "a", repo_type="dataset", expand=True))
    assert [entry.path for entry in inside] == ["a/train-00000-of-00001.parquet"]
    assert inside[0].last_commit.oid == uploaded
    with pytest.raises(errors.EntryNotFoundError):
        list(api.list_repo_tree(REPO, "c", repo_type="dataset"))


def test_commits_are_immutable_and_read_by_branch_tag_or_sha(api: Any, server: HubServer, tmp_path: Path) -> None:
    api.create_repo(REPO, repo_type="dataset")
    first = add(api, "x.txt", b"one")
    api.create_tag(REPO, tag="v1", repo_type="dataset")
    second = add(api, "x.txt", b"two")

    def read(revision: str) -> bytes:
        cache = tmp_path / "cache"
        path = api.hf_hub_download(REPO, "x.txt", repo_type="dataset", revision=revision, cache_dir=cache)
        return Path(path).read_bytes()

    assert [read(revision) for revision in ("main", "v1", first, second)] == [b"two", b"one", b"one", b"two"]
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(REPO, repo_type="dataset").tags}
    assert tags == {"v1": first}
    assert [commit.commit_id for commit in api.list_repo_commits(REPO, repo_type="dataset")][:2] == [second, first]
    with pytest.raises(errors.HfHubHTTPError, match="409"):
        api.create_tag(REPO, tag="v1", repo_type="dataset")
    api.delete_tag(REPO, tag="v1", repo_type="dataset")
    with pytest.raises(errors.RevisionNotFoundError):
        read("v1")


def test_a_commit_deletes_files_and_folders_and_refuses_what_is_not_there(api: Any, uploaded: str) -> None:
    def delete(path: str) -> None:
        operations = [CommitOperationDelete(path)]
        api.create_commit(REPO, operations, commit_message="delete", repo_type="dataset")

    delete("a/train-00000-of-00001.parquet")
    delete("b/")
    assert api.list_repo_files(REPO, repo_type="dataset") == [".gitattributes", "README.md"]
    with pytest.raises(errors.EntryNotFoundError):
        delete("nothing.txt")


def test_a_commit_on_an_older_parent_is_refused(api: Any, uploaded: str) -> None:
    add(api, "x.txt", b"1", parent_commit=uploaded)
    with pytest.raises(errors.HfHubHTTPError, match="412"):
        add(api, "y.txt", b"2", parent_commit=uploaded)


def test_a_private_repository_is_not_there_for_others(api: Any, server: HubServer, uploaded: str) -> None:
    api.update_repo_settings(REPO, repo_type="dataset", private=True)
    for token, status in ((False, "401"), (STRANGER, "404")):
        with pytest.raises(errors.RepositoryNotFoundError, match=status):
            api.dataset_info(REPO, token=token)
    with pytest.raises(errors.RepositoryNotFoundError):
        add(api, "x.txt", b"1", token=STRANGER)


def test_a_gated_repository_shows_its_files_and_keeps_their_content(
    api: Any, server: HubServer, uploaded: str, tmp_path: Path
) -> None:
    api.update_repo_settings(REPO, repo_type="dataset", gated="manual")
    assert api.dataset_info(REPO, token=STRANGER).gated == "manual"
    asked = {"repo_type": "dataset", "token": STRANGER, "cache_dir": tmp_path}
    with pytest.raises(errors.GatedRepoError, match="403"):
        api.hf_hub_download(REPO, "README.md", **asked)
    server.repo(REPO).granted.add("you")
    assert Path(api.hf_hub_download(REPO, "README.md", **asked)).read_text() == CARD


def test_who_does_not_own_a_repository_cannot_write_to_it(api: Any, uploaded: str) -> None:
    with pytest.raises(errors.HfHubHTTPError, match="403"):
        add(api, "x.txt", b"1", token=STRANGER)


def test_a_model_repository_is_another_one_of_the_same_name(api: Any, uploaded: str) -> None:
    api.create_repo(REPO)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=REPO)
    assert api.list_repo_files(REPO) == [".gitattributes", "config.json"]
    assert "config.json" not in api.list_repo_files(REPO, repo_type="dataset")


def test_an_expired_token_is_told_as_401(api: Any, server: HubServer, uploaded: str) -> None:
    server.expire()
    with pytest.raises(errors.HfHubHTTPError, match="Invalid credentials"):
        api.dataset_info(REPO)


def test_one_config_moves_its_own_bytes_alone(server: HubServer, folder: Path, uploaded: str, tmp_path: Path) -> None:
    server.seen.clear()
    code = f"from datasets import load_dataset; print(sum(load_dataset({REPO!r}, 'b', split='train')['b']))"
    assert server.run(code, tmp_path / "home") == str(sum(range(5001)))
    size = (folder / "b/train-00000-of-00001.parquet").stat().st_size
    assert server.downloaded() == {"README.md": len(CARD), "b/train-00000-of-00001.parquet": size}


def test_datasets_loads_by_config_by_revision_and_as_a_stream(
    api: Any, server: HubServer, uploaded: str, tmp_path: Path
) -> None:
    api.create_tag(REPO, tag="v1", repo_type="dataset")
    pq.write_table(pa.table({"a": [7]}), tmp_path / "new.parquet")
    add(api, "a/train-00000-of-00001.parquet", (tmp_path / "new.parquet").read_bytes())
    code = f"""
from datasets import load_dataset
print(len(load_dataset({REPO!r}, split="train")), len(load_dataset({REPO!r}, "a", revision="v1", split="train")),
      len(load_dataset({REPO!r}, "a", revision={uploaded!r}, split="train")),
      sum(1 for _ in load_dataset({REPO!r}, "b", split="train", streaming=True)))
"""
    assert server.run(code, tmp_path / "home") == "1 5000 5000 5000"


def test_a_range_is_answered_with_those_bytes_alone(api: Any, server: HubServer, folder: Path, uploaded: str) -> None:
    from huggingface_hub import HfFileSystem

    path = "a/train-00000-of-00001.parquet"
    server.seen.clear()
    files = HfFileSystem(endpoint=server.url, token=api.token, skip_instance_cache=True)
    with files.open(f"datasets/{REPO}/{path}", cache_type="none") as stream:
        stream.seek(100)
        assert stream.read(200) == (folder / path).read_bytes()[100:300]
    assert server.downloaded() == {path: 200}


def test_a_truncated_download_is_resumed_where_it_broke(
    api: Any,
    server: HubServer,
    folder: Path,
    uploaded: str,
    tmp_path: Path,
    naps: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what of a chunk has arrived is lost with it
    path = "a/train-00000-of-00001.parquet"
    server.seen.clear()
    server.truncate(1)
    back = api.hf_hub_download(REPO, path, repo_type="dataset", cache_dir=tmp_path)
    assert Path(back).read_bytes() == (folder / path).read_bytes()
    assert [line[-3:] for line in server.lines("^GET /cdn/")] == ["200", "206"]
    size = (folder / path).stat().st_size
    assert size <= server.downloaded()[path] < size + 1024


@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_request_is_tried_again_after_the_time_told(
    api: Any, server: HubServer, uploaded: str, naps: list[float], status: int
) -> None:
    server.fail(2, status=status, retry_after=7, match="/tree/")
    assert len(list(api.list_repo_tree(REPO, repo_type="dataset"))) == 4
    assert naps == [8, 8]
    assert [line[-3:] for line in server.lines("/tree/")] == [str(status), str(status), "200"]


def test_an_upload_whose_connection_broke_is_sent_again(
    api: Any, server: HubServer, folder: Path, naps: list[float]
) -> None:
    api.create_repo(REPO, repo_type="dataset")
    server.drop(1)
    data = (folder / "a/train-00000-of-00001.parquet").read_bytes()
    add(api, "a.parquet", data)
    assert server.repo(REPO).head.tree["a.parquet"].data == data
    assert server.uploaded()[hashlib.sha256(data).hexdigest()] == len(data) // 2 + len(data)
    assert naps


def test_a_lost_answer_is_a_commit_all_the_same(api: Any, server: HubServer, uploaded: str) -> None:
    server.lose()
    with pytest.raises(errors.HTTPError):
        add(api, "x.txt", b"1")
    assert "x.txt" in server.repo(REPO).head.tree


def test_a_held_request_waits_until_it_is_released(server: HubServer, uploaded: str, tmp_path: Path) -> None:
    held = server.hold("/resolve/main/README.md")
    code = f"from huggingface_hub import hf_hub_download as get; get({REPO!r}, 'README.md', repo_type='dataset')"
    child = server.start(code, tmp_path / "home")
    assert held.reached.wait(60)
    assert child.poll() is None
    held.released.set()
    assert child.wait(60) == 0


def test_what_the_store_does_not_hold_cannot_be_committed(api: Any, server: HubServer, uploaded: str) -> None:
    operation = CommitOperationAdd("z.parquet", b"never sent")
    api.preupload_lfs_files(REPO, [operation], repo_type="dataset")
    server.repo(REPO).store.clear()
    with pytest.raises(errors.BadRequestError, match="does not exist"):
        api.create_commit(REPO, [operation], commit_message="add", repo_type="dataset")
