"""Publishing when something goes wrong: kills, a busy or broken Hub, refused files, tokens and names."""

import signal
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, Image

from noisezoo.builder.dataset.publish import Published, publish
from noisezoo.builder.engine.build import STATE
from noisezoo.errors import IncompleteError, NoiseZooError, UsageError
from tests.builder.building import published as files_of
from tests.builder.publishing import REPO, held, of, passes, recorded, refusal, send, until, versions
from tests.hub_repos import Blob
from tests.hub_server import STRANGER, TOKEN, HubServer, client

publisher = import_module("noisezoo.builder.dataset.publish")


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server, client(server):
        yield server


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that anybody in this process slept, without sleeping them."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize(
    ("moment", "after"),
    [
        ("^POST /api/repos/create", 0),
        ("^PUT .*/settings", 0),
        ("/preupload/", 0),
        ("/objects/batch", 0),
        ("^PUT /lfs/", 3),
        ("/verify", 5),
        ("/commit/", 0),
        ("/refs", 0),
        ("/tag/", 0),
    ],
)
def test_a_publication_killed_at_any_moment_goes_on_and_sends_nothing_twice(
    built: Path, server: HubServer, tmp_path: Path, moment: str, after: int
) -> None:
    pause = server.hold(moment, 100, after=after)
    code = f"""
from pathlib import Path
from noisezoo.builder.dataset.publish import publish
publish(Path({str(built)!r}), {REPO!r}, check=lambda folder: None)
"""
    child = server.start(code, tmp_path / "home")
    until(lambda: pause.reached.is_set() or child.poll() is not None)
    if moment == "^PUT /lfs/":
        until(lambda: len(server.repo(REPO).store) == after)
    child.send_signal(signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    _, said = child.communicate()
    assert pause.reached.is_set(), said
    server.clear()
    through = set(server.repo(REPO).store) if server.repos else set()
    assert not server.repos or held(server) in ({}, of(built))
    result = send(built, server)
    assert held(server) == of(built)
    assert versions(server) == [f"Version {result.tag}"]
    assert server.repo(REPO).tags == {result.tag: result.commit}
    assert (server.repo(REPO).private, server.repo(REPO).gated) == (True, "manual")
    sizes = {digest: (built / path).stat().st_size for path, digest in files_of(built).items()}
    assert {digest: n for digest, n in server.uploaded().items() if digest in through} == {
        digest: sizes[digest] for digest in through
    }
    assert len(through) >= after


def test_an_unverified_or_incomplete_build_is_refused_before_any_request(
    copied: Path, server: HubServer, tmp_path: Path
) -> None:
    def fails(folder: Path) -> None:
        raise NoiseZooError(f"{folder.name} is damaged")

    assert refusal(copied, server, check=fails) == "noisezoo is damaged"
    assert "holds no dataset and no build" in refusal(tmp_path, server, UsageError)
    next(copied.glob("random-64/*.parquet")).unlink()
    assert "not a finished dataset" in refusal(copied, server, IncompleteError)
    assert server.seen == []


def test_a_build_with_a_unit_missing_is_refused_though_its_files_are_there(copied: Path, server: HubServer) -> None:
    next((copied / STATE).rglob("digits-ddpm/*.json")).unlink()
    assert "run its build again" in refusal(copied, server, IncompleteError)


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("noisezoo.py", b"print()", "noisezoo.py is code"),
        ("images/1.PNG", b"png", "images/1.PNG is an image"),
        (f"{STATE}/log.jsonl", b"{}", "is not part of the dataset"),
        ("../outside.txt", b"", "is not part of the dataset"),
    ],
)
def test_code_images_and_the_builds_own_state_are_never_sent(
    copied: Path, server: HubServer, path: str, data: bytes, message: str
) -> None:
    recorded(copied, **{path: data})
    assert message in refusal(copied, server)
    assert server.seen == []


def test_an_image_column_is_refused_by_name(copied: Path, server: HubServer) -> None:
    table = pa.table({"face": [{"bytes": b"jpeg", "path": None}]}, schema=Features({"face": Image()}).arrow_schema)
    pq.write_table(table, copied / "new.parquet")
    recorded(copied, **{"new.parquet": (copied / "new.parquet").read_bytes()})
    assert "new.parquet has an image column, face" in refusal(copied, server)
    assert server.seen == []


@pytest.mark.parametrize(
    ("path", "small"),
    [
        ("recipe.json", publisher.SMALL),
        ("random-64/train-00000-of-00002.parquet", publisher.SMALL),
        ("random-64/train-00000-of-00002.parquet", 0),
    ],
)
def test_a_file_that_changed_since_it_was_verified_is_never_visible(
    copied: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch, path: str, small: int
) -> None:
    def flips(folder: Path) -> None:
        data = bytearray((folder / path).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / path).write_bytes(data)

    monkeypatch.setattr(publisher, "SMALL", small)
    message = refusal(copied, server, check=flips)
    assert (f"{path} is not what its record says" if small else "does not match its sha256") in message
    assert held(server) == {}


@pytest.mark.parametrize("match", ["GET /api/datasets", "/repos/create", "/settings", "/preupload/", "^PUT /lfs/",
                                   "/commit/", "/refs", "/tag/"])  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again_after_the_time_it_told(
    built: Path, server: HubServer, naps: list[float], match: str, status: int
) -> None:
    server.fail(1, status=status, retry_after=17, match=match)
    result = send(built, server)
    assert held(server) == of(built) and server.repo(REPO).tags == {result.tag: result.commit}
    assert len(versions(server)) == 1
    assert naps in ([17.0], [18.0])


def test_a_hub_that_stays_busy_is_given_up_with_what_was_sent_kept(
    built: Path, server: HubServer, naps: list[float]
) -> None:
    server.fail(1000, status=503, match="/commit/")
    message = refusal(built, server, IncompleteError)
    assert message == f"{REPO}: the Hub is busy (planted 503): publish again later; what was sent is kept"
    assert len(server.lines("/commit/")) == publisher.ATTEMPTS
    assert naps == [1, 2, 4, 8] and held(server) == {}
    server.clear()
    sent = server.uploaded()
    send(built, server)
    assert server.uploaded() == sent and held(server) == of(built)


def test_a_wait_longer_than_five_minutes_is_cut_short(built: Path, server: HubServer, naps: list[float]) -> None:
    server.fail(1, status=429, retry_after=86400, match="/commit/")
    send(built, server)
    assert naps == [300]


def test_a_broken_upload_is_sent_again(built: Path, server: HubServer, naps: list[float]) -> None:
    server.drop(2)
    send(built, server)
    assert held(server) == of(built)


def test_a_commit_whose_answer_was_lost_is_not_made_twice(built: Path, server: HubServer, naps: list[float]) -> None:
    server.lose()
    result = send(built, server)
    assert versions(server) == [f"Version {result.tag}"]
    assert result.commit == server.repo(REPO).head.sha and server.repo(REPO).tags == {result.tag: result.commit}
    assert set(result.uploaded) == set(of(built))


def test_a_commit_of_somebody_else_in_between_is_kept(built: Path, server: HubServer, naps: list[float]) -> None:
    pause = server.hold("/commit/")
    results: list[Published] = []
    sender = Thread(target=lambda: results.append(send(built, server)))
    sender.start()
    assert pause.reached.wait(60)
    repo = server.repo(REPO)
    repo.commit("by hand", {**repo.head.tree, "LICENSE": Blob(b"mine")})
    server.clear()
    sender.join()
    assert held(server) == of(built) | {"LICENSE": b"mine"}
    assert [line[-3:] for line in server.lines("/commit/")] == ["412", "200"]
    assert results[0].commit == repo.head.sha


def test_an_expired_token_is_told_with_its_mend(built: Path, server: HubServer) -> None:
    server.expire()
    assert "run `hf auth login`" in refusal(built, server)
    server.users[TOKEN] = "me"
    server.expire(match="/commit/")
    assert "run `hf auth login`" in refusal(built, server)
    assert held(server) == {}


def test_a_card_that_the_hub_refuses_is_told_in_one_line(built: Path, server: HubServer) -> None:
    server.fail(1, status=400, match="/validate-yaml")
    assert "the Hub refused: Invalid metadata in README.md" in refusal(built, server)
    assert held(server) == {}


def test_a_token_that_may_not_write_is_told_with_its_mend(built: Path, server: HubServer) -> None:
    send(built, server, private=False)
    assert "this token may not write there" in refusal(built, server, token=STRANGER, private=True)


def test_a_dataset_of_another_kind_is_not_overwritten(built: Path, server: HubServer) -> None:
    from huggingface_hub import HfApi

    HfApi(endpoint=server.url, token=TOKEN).create_repo(REPO, repo_type="dataset", private=True)
    server.repo(REPO).commit("theirs", {**server.repo(REPO).head.tree, "data/train.parquet": Blob(b"PAR1")})
    assert f"{REPO} holds another dataset (data/train.parquet)" in refusal(built, server, UsageError)
    assert held(server) == {"data/train.parquet": b"PAR1"}


def test_a_tag_of_ours_on_another_version_is_refused(built: Path, server: HubServer) -> None:
    tag = send(built, server).tag
    repo = server.repo(REPO)
    repo.tags[tag] = next(iter(repo.commits))
    assert f"has a tag {tag} on another version: delete that tag" in refusal(built, server)


def test_a_name_that_is_none_is_refused_as_bad_usage(built: Path, server: HubServer) -> None:
    with pytest.raises(UsageError, match="a/b/c: this is no name of a repository: give ORG/NAME"):
        publish(built, "a/b/c", check=passes, token=TOKEN, endpoint=server.url)


def test_a_hub_out_of_reach_is_told_as_that(built: Path, server: HubServer, naps: list[float]) -> None:
    with pytest.raises(IncompleteError, match="cannot be reached .*publish again when online"):
        publish(built, REPO, check=passes, token=TOKEN, endpoint="http://127.0.0.1:1")


def test_offline_mode_is_told_as_that(built: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "unset HF_HUB_OFFLINE" in refusal(built, server, UsageError)
