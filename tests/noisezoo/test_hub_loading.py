"""Datasets on the Hub: what is in the cache loads offline, at its own revision; refusals are one line each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder.publishing import REPO, send
from tests.fresh import Fresh, module
from tests.hub_server import STRANGER, TOKEN, HubServer, client

MISSING = "it is no folder here, and the Hub does not have it, or not for this token"
OFFLINE = "import os; os.environ['HF_HUB_OFFLINE'] = '1'\n"
LOAD = f"""
import noisezoo
from noisezoo import NoiseZooError
try:
    rows = noisezoo.load({REPO!r}, ["random-64", "digits-ddpm"], revision=REVISION)
    print(len(rows), noisezoo.matrix(rows, "digits-ddpm").shape)
except NoiseZooError as error:
    print(type(error).__name__, error, error.exit_code)
"""


@pytest.fixture
def server(built: Path) -> Iterator[HubServer]:
    with HubServer() as server, client(server):
        send(built, server, private=False, gated=None, sensitive=False)
        server.seen.clear()
        yield server


def loaded(
    server: HubServer, home: Path, revision: str | None = None, token: str | None = TOKEN, offline: bool = False
) -> str:
    return server.run(OFFLINE * offline + LOAD.replace("REVISION", repr(revision)), home, token)


def test_only_the_files_of_the_named_views_are_fetched_and_only_once(
    built: Path, server: HubServer, tmp_path: Path
) -> None:
    assert loaded(server, tmp_path) == "40 (40, 64)"
    folders = {path.partition("/")[0] for path in server.downloaded()}
    assert folders == {"README.md", "labels", "random-64", "digits-ddpm"}
    server.seen.clear()
    assert loaded(server, tmp_path) == "40 (40, 64)"
    assert not server.downloaded()


def test_a_dataset_that_plain_datasets_has_cached_loads_offline(server: HubServer, tmp_path: Path) -> None:
    configs = ("labels", "random-64", "digits-ddpm")
    server.run(f"from datasets import load_dataset\nfor c in {configs}: load_dataset({REPO!r}, c)", tmp_path)
    server.seen.clear()
    assert loaded(server, tmp_path, offline=True) == "40 (40, 64)"
    assert server.lines() == []


def test_offline_a_revision_is_the_one_that_was_asked_for_or_refused(
    built: Path, server: HubServer, tmp_path: Path, copied: Path
) -> None:
    from noisezoo.builder.dataset.remove import remove
    from noisezoo.record import record_of

    first = server.repo(REPO).tags
    old = next(iter(first))
    loaded(server, tmp_path, old)
    import noisezoo

    remove(copied, noisezoo.load(built, views=[])["image_id"][:4])
    assert record_of(copied).sections[0].rows == 36
    send(copied, server, private=False, gated=None, sensitive=False)
    new = next(tag for tag in server.repo(REPO).tags if tag != old)
    assert loaded(server, tmp_path) == "36 (36, 64)"
    assert loaded(server, tmp_path, old, offline=True) == "40 (40, 64)"
    assert loaded(server, tmp_path, offline=True) == "36 (36, 64)"
    said = loaded(server, tmp_path, new, offline=True)
    assert said.startswith("UsageError") and f"{REPO} at revision '{new}': it is no folder here, and offline" in said


def test_offline_a_view_that_is_not_in_the_cache_is_refused_by_its_name(server: HubServer, tmp_path: Path) -> None:
    server.run(f"from datasets import load_dataset; load_dataset({REPO!r}, 'labels')", tmp_path)
    said = loaded(server, tmp_path, offline=True)
    assert said.startswith("NoiseZooError view 'random-64' of me/noisezoo has missing or damaged files") or (
        "the cache on this machine lacks it" in said
    )


@pytest.mark.parametrize(("how", "token", "message"), [
    ("private", STRANGER, MISSING),
    ("private", None, MISSING),
    ("gated", STRANGER, "accept its licence at"),
    ("401", TOKEN, "the Hub refused the access token, or there is none"),
    ("403", TOKEN, "this token may not read it"),
    ("503", TOKEN, "the Hub is busy"),
])  # fmt: skip
def test_what_the_hub_refuses_is_one_line_with_its_mend(
    server: HubServer, tmp_path: Path, how: str, token: str | None, message: str
) -> None:
    if how == "private":
        server.repo(REPO).private = True
    elif how == "gated":
        server.repo(REPO).gated = "manual"
    else:
        server.fail(100, status=int(how), match="/api/datasets")
    said = loaded(server, tmp_path, token=token)
    name = f"{REPO} is gated" if how == "gated" else REPO
    assert f"{name}: {message}" in said and len(said.splitlines()) == 1
    assert said.endswith(" 1" if how == "503" else " 2")


def test_an_unknown_repository_and_an_unknown_revision_are_refused_by_name(server: HubServer, tmp_path: Path) -> None:
    said = loaded(server, tmp_path, "v9")
    assert (
        f"{REPO} at revision 'v9': it is no folder here, and the Hub does not have it" in said
        and len(said.splitlines()) == 1
    )
    said = server.run(LOAD.replace(REPO, "me/nothing").replace("REVISION", "None"), tmp_path)
    assert f"me/nothing: {MISSING}" in said and len(said.splitlines()) == 1


def test_a_repository_of_other_data_is_refused_as_no_dataset_of_ours(server: HubServer, tmp_path: Path) -> None:
    from tests.hub_repos import Blob

    server.repo(REPO).commit("theirs", {"noises_a.npy": Blob(b"x"), "README.md": Blob(b"# Noise\n")})
    assert "is no NoiseZoo dataset: its README.md does not list configs" in loaded(server, tmp_path)
    server.repo(REPO).commit("theirs", {"noises_a.npy": Blob(b"x")})
    assert "is no NoiseZoo dataset: it has no README.md" in loaded(server, tmp_path)


def test_a_stream_from_the_hub_reads_the_commit_that_it_was_opened_at(
    built: Path, server: HubServer, tmp_path: Path
) -> None:
    code = f"""
import noisezoo
rows = noisezoo.load({REPO!r}, ["digits-ddpm"], streaming=True)
print(rows.column_names[-1], rows.num_shards, sum(1 for _ in rows), sum(1 for _ in rows.shuffle(seed=1)))
"""
    assert server.run(code, tmp_path).split()[1:] == ["4", "40", "40"]


def test_analyze_says_in_one_line_what_the_hub_refuses(server: HubServer, tmp_path: Path) -> None:
    command = ("analyze", "me/nothing", "--out", str(tmp_path / "report"))
    analysis = Fresh(module("noisezoo"), *command, environment=server.environment(tmp_path))
    _, said = analysis.communicate()
    assert analysis.poll() == 2
    assert "me/nothing: it is no folder here, and the Hub does not have it" in said and "Traceback" not in said
