"""A final name never stands for less than a whole file, however its writer ends."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from noisezoo.errors import NoiseZooError
from noisezoo.files import clean_up, committed, read_json, read_state, sha256_of, write_json
from tests.builder.building import in_child, leftovers

ENDS = [RuntimeError, KeyboardInterrupt, SystemExit, OSError]


def test_a_committed_file_has_its_bytes_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with committed(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent, "another file system's rename would not be atomic"
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("error", ENDS)
@pytest.mark.parametrize("written", ["", "half"])
def test_an_exception_while_writing_leaves_nothing(tmp_path: Path, error: type[BaseException], written: str) -> None:
    with pytest.raises(error), committed(tmp_path / "file") as temporary:
        temporary.write_text(written)
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", ENDS)
def test_an_exception_before_anything_is_written_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), committed(tmp_path / "file"):
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", ENDS)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_exception_while_committing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], call: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(error), committed(tmp_path / "file") as temporary:
        temporary.write_text("whole")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", ENDS)
def test_a_failing_check_leaves_nothing_and_sees_the_whole_file(tmp_path: Path, error: type[BaseException]) -> None:
    seen = []

    def check(path: Path) -> None:
        seen.append(path.read_text())
        raise error

    with pytest.raises(error), committed(tmp_path / "file", check=check) as temporary:
        temporary.write_text("whole")
    assert seen == ["whole"]
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt), committed(tmp_path / "file") as temporary:
        temporary.write_text("new, but")
        raise KeyboardInterrupt
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]


def test_a_killed_writer_leaves_no_final_file_and_the_next_cleaning_takes_the_rest(tmp_path: Path) -> None:
    def die_writing() -> None:
        with committed(tmp_path / "file") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die_writing) == -signal.SIGKILL
    assert not (tmp_path / "file").exists()
    assert len(leftovers(tmp_path)) == 1
    (tmp_path / "another.tmp").write_text("not ours")
    clean_up(tmp_path, "other")
    assert len(leftovers(tmp_path)) == 2
    clean_up(tmp_path, "file")
    assert [p.name for p in tmp_path.iterdir()] == ["another.tmp"]


def test_json_is_written_with_equal_bytes_for_equal_values_and_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": [1.5, None]})
    write_json(tmp_path / "b", {"a": [1.5, None], "b": 1})
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "b")
    assert read_json(tmp_path / "a") == {"a": [1.5, None], "b": 1}


@pytest.mark.parametrize("content", [None, "", "{half", "[1]", b"\xff\xfe"])
def test_what_is_no_json_mapping_reads_as_nothing(tmp_path: Path, content: str | bytes | None) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read_json(tmp_path / "a") is None


def test_a_state_file_that_a_sibling_commits_during_the_look_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, look = tmp_path / "state.json", Path.open

    def meanwhile(self: Path, *arguments: Any, **options: Any) -> Any:
        try:
            return look(self, *arguments, **options)
        except FileNotFoundError:
            monkeypatch.undo()
            write_json(path, {"by": "sibling"})
            raise

    monkeypatch.setattr(Path, "open", meanwhile)
    assert read_state(path) is None
    assert read_state(path) == {"by": "sibling"}


def test_a_damaged_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b'{"half')
    with pytest.raises(NoiseZooError, match=r"state\.json is damaged: put back"):
        read_state(tmp_path / "state.json")
