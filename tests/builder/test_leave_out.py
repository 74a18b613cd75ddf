"""Publishing without some views: what is sent never held them, says so and verifies, and the folder stays whole."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.join import join
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.record import RECORD, read_record
from tests.builder.building import DIGITS_VIEWS, digits_recipe, leftovers, published, recipe_of
from tests.builder.publishing import held, refusal, send, versions
from tests.hub_server import HubServer, client

PICTURES = ("pixels-8", "pixels-8-whitened")


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server, client(server):
        yield server


def download(server: HubServer, folder: Path) -> Path:
    for path, data in held(server).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_what_is_published_has_the_data_of_a_build_that_never_had_the_views(
    built: Path, tmp_path: Path, server: HubServer
) -> None:
    before = published(built)
    send(built, server, without=PICTURES, check=lambda root: verify(root).raise_if_bad())
    assert published(built) == before and leftovers(built) == []
    shown = download(server, tmp_path / "download" / "noisezoo")
    left = tuple(view for view in DIGITS_VIEWS if view not in PICTURES)
    assert run(digits_recipe(left), tmp_path / "never" / "noisezoo")
    data = {path: sha for path, sha in published(tmp_path / "never" / "noisezoo").items() if "/" in path}
    assert {path: sha for path, sha in published(shown).items() if "/" in path} == data
    report = verify(shown)
    assert report.ok
    assert [text.split(",")[0] for text in report.skipped] == [f"view {view}" for view in PICTURES]
    assert "Built and not published: `pixels-8`, `pixels-8-whitened`." in (shown / "README.md").read_text()
    assert noisezoo.load(shown).column_names == [name for name in noisezoo.load(built).column_names
                                                 if not name.startswith("pixels")]  # fmt: skip


def test_pictures_that_may_show_people_are_published_without_them_alone(copied: Path, server: HubServer) -> None:
    record = copied / RECORD
    record.write_text(record.read_text().replace('"sensitive": false', '"sensitive": true'))
    assert "--without pixels-8,pixels-8-whitened" in refusal(copied, server, UsageError)
    assert "--without pixels-8-whitened`" in refusal(copied, server, UsageError, without=["pixels-8"])
    send(copied, server, without=PICTURES)
    assert not any("pixels" in path for path in held(server))


def test_views_that_were_published_before_go_and_a_second_call_sends_nothing(built: Path, server: HubServer) -> None:
    send(built, server)
    assert set(send(built, server, without=["pixels-8"]).deleted) > {"paired/basis/pixels-8.safetensors"}
    assert not any(path.startswith("pixels-8/") for path in held(server))
    assert send(built, server, without=["pixels-8"]).uploaded == () and len(versions(server)) == 2


def test_a_dry_run_says_what_would_be_sent_without_them(built: Path, server: HubServer) -> None:
    told = send(built, server, without=["pixels-8"], dry_run=True)
    assert "random-64/train-00000-of-00002.parquet" in told.uploaded
    assert not any(path.startswith("pixels-8/") for path in told.uploaded)
    assert told.tag == send(built, server, without=["pixels-8"]).tag


@pytest.mark.parametrize(
    ("names", "message"),
    [(["pixels"], "--without pixels: did you mean pixels-8.* has the views random-64, pixels-8"),
     (DIGITS_VIEWS, "these are all views of source digits, and a dataset needs one")],
)  # fmt: skip
def test_a_view_that_is_not_there_or_no_view_left_is_one_line(
    built: Path, server: HubServer, names: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        send(built, server, without=names)
    assert server.seen == [] and leftovers(built) == []


def test_a_file_that_was_damaged_since_is_not_published(copied: Path, server: HubServer) -> None:
    victim = next((copied / "random-64").glob("*.parquet"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(NoiseZooError, match="SHA-256 is not the record's"):
        send(copied, server, without=["pixels-8"], check=lambda root: verify(root).raise_if_bad())
    assert server.seen == []


def test_of_several_sources_each_leaves_out_its_own_and_the_others_are_as_they_were(
    built: Path, tmp_path: Path, server: HubServer
) -> None:
    assert run(recipe_of("faces", ("random", "pixels"), limit=8), tmp_path / "faces")
    join([built, tmp_path / "faces"], tmp_path / "both")
    before = published(tmp_path / "both")
    send(tmp_path / "both", server, without=["pixels"], check=lambda root: verify(root).raise_if_bad())
    paths = {path.partition("/")[0] for path in held(server)}
    assert {"digits-ddpm", "pixels-8", "faces.random"} < paths and "faces.pixels" not in paths
    record = json.loads(held(server)[RECORD])
    assert ["left_out" in section for section in record["sections"]] == [False, True]
    assert published(tmp_path / "both") == before


def test_a_record_without_views_left_out_is_written_as_ever_and_one_with_reads_back(
    built: Path, server: HubServer, tmp_path: Path
) -> None:
    assert "left_out" not in (built / RECORD).read_text()
    send(built, server, without=["pixels-8"])
    record = read_record(download(server, tmp_path / "noisezoo"))
    assert record is not None and record.sections[0].left_out == ("pixels-8",)
    assert json.loads(json.dumps(record.to_json())) == json.loads(held(server)[RECORD])


def test_the_numbers_of_the_other_views_are_the_folder_s(built: Path, tmp_path: Path, server: HubServer) -> None:
    send(built, server, without=["pixels-8"])
    shown = download(server, tmp_path / "noisezoo")
    for view in ("random-64", "digits-ddpm"):
        ours, theirs = (noisezoo.matrix(noisezoo.load(root, views=[view]), view) for root in (built, shown))
        assert np.array_equal(ours, theirs)
