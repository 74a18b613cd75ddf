"""`verify`, `publish`, `remove` and `join` at the command line."""

import shutil
from pathlib import Path

import pytest

import noisezoo
from noisezoo.builder.__main__ import run as build
from noisezoo.record import read_record
from tests.builder.building import published, recipe_of
from tests.hub_server import TOKEN, HubServer, client
from tests.noisezoo.test_cli import run

MonkeyPatch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]


def test_verify_of_a_sound_dataset_ends_with_0_and_what_was_checked(
    built: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    assert run(monkeypatch, "verify", str(built)) == 0
    record = read_record(built)
    assert record is not None
    out = capsys.readouterr().out
    assert f"Checked {len(record.files)} files" in out and "40 rows" in out


def test_verify_prints_each_fault_on_a_line_and_ends_with_1(
    copied: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    (copied / "README.md").write_text((copied / "README.md").read_text() + "edited\n")
    (copied / "noisezoo.py").write_text("")
    assert run(monkeypatch, "verify", str(copied)) == 1
    captured = capsys.readouterr()
    faults = [line for line in captured.out.splitlines() if line.startswith(("README.md", "noisezoo.py"))]
    assert len(faults) == 2
    assert "has 2 faults" in captured.err


def test_remove_takes_ids_from_the_line_and_from_a_file(
    copied: Path, tmp_path: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    ids = noisezoo.load(copied, views=[])["image_id"][:4]
    (tmp_path / "ids").write_text(f"{ids[2]}\n\n {ids[3]} \n")
    ids_file = str(tmp_path / "ids")
    assert run(monkeypatch, "remove", str(copied), "--ids", f"{ids[0]},{ids[1]}", "--ids-file", ids_file) == 0
    assert len(noisezoo.load(copied)) == 36
    out = capsys.readouterr().out
    assert "36" in out and "No later build brings them back" in out
    assert run(monkeypatch, "verify", str(copied)) == 0


def test_remove_names_what_it_does_not_know_and_ends_with_2(
    copied: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    before = published(copied)
    assert run(monkeypatch, "remove", str(copied), "--ids", "nobody,no-one") == 2
    assert "has no image 'nobody', 'no-one'" in capsys.readouterr().err
    assert published(copied) == before


def test_join_makes_one_dataset_and_says_how_configs_are_called(
    built: Path, tmp_path: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    assert build(recipe_of("faces", ("random-64",), 8), tmp_path / "faces")
    out = str(tmp_path / "zoo")
    assert run(monkeypatch, "join", str(built), str(tmp_path / "faces"), "--out", out) == 0
    assert "digits" in (told := capsys.readouterr().out) and "faces" in told
    assert len(noisezoo.load(out, views=["random-64"], source="faces")) == 8
    assert run(monkeypatch, "verify", out) == 0


def test_publish_verifies_sends_and_says_what_it_sent(
    copied: Path, tmp_path: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    with HubServer() as server, client(server):
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        assert run(monkeypatch, "publish", str(copied), "me/digits", "--dry-run") == 0
        told = capsys.readouterr().out
        assert "would be sent: README.md" in told and not server.repos
        assert run(monkeypatch, "publish", str(copied), "me/digits") == 0
        told = capsys.readouterr().out
        assert "sent: README.md" in told and 'load_dataset("me/digits"' in told
        assert run(monkeypatch, "publish", str(copied), "me/digits") == 0
        assert "0 files (0.0 MB) sent" in capsys.readouterr().out


def test_publish_refuses_what_does_not_verify(copied: Path, monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    shard = next((copied / "pixels-8").glob("*.parquet"))
    harmed = bytearray(shard.read_bytes())
    harmed[100] ^= 1
    shard.write_bytes(harmed)
    assert run(monkeypatch, "publish", str(copied), "me/digits", "--dry-run") == 1
    assert shard.name in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "publish", "remove", "join"])
def test_help_is_short_and_has_an_example(command: str, monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, command, "--help") == 0
    assert f"Example: noisezoo {command} " in " ".join(capsys.readouterr().out.split())


def test_a_published_folder_can_be_removed_from_without_its_build(
    copied: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    shutil.rmtree(copied / "_build")
    first = noisezoo.load(copied, views=[])["image_id"][0]
    assert run(monkeypatch, "remove", str(copied), "--ids", first) == 0
    assert "No later build" not in capsys.readouterr().out
