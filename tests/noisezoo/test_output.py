"""What commands print: as it is, uncut in a pipe, within a narrow terminal, and as JSON for scripts."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from noisezoo import zoo
from noisezoo.builder.recipe import RECIPES, bundled, read_recipe
from noisezoo.commands.bars import Bars, working
from noisezoo.commands.output import duration, plain_console, rounded, size_text
from tests.noisezoo.test_cli import run

MonkeyPatch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[2]


def on_terminal(*arguments: str, columns: int = 80) -> list[str]:
    """The lines that a command shows on a terminal of that width, without colours."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    command = [sys.executable, "-m", "noisezoo", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**environment, "TERM": "xterm"}, stdout=follower, stderr=follower
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += os.read(leader, 65536)
        except OSError:  # the end of what a terminal shows
            break
    os.close(leader)
    assert process.wait() == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).splitlines()


@pytest.mark.parametrize("name", bundled())
def test_a_recipe_in_a_file_is_the_bundled_one_byte_for_byte(name: str, tmp_path: Path) -> None:
    with (tmp_path / "mine.yaml").open("wb") as stream:
        subprocess.run([sys.executable, "-m", "noisezoo", "recipes", name], cwd=ROOT, stdout=stream, check=True)
    assert (tmp_path / "mine.yaml").read_bytes() == (RECIPES / f"{name}.yaml").read_bytes()
    assert on_terminal("recipes", name) == (RECIPES / f"{name}.yaml").read_text().splitlines()


def test_a_narrow_terminal_shows_every_view_whole_and_no_line_beyond_its_width() -> None:
    lines = on_terminal("recipes")
    words = set(re.findall(r"[\w-]+", "\n".join(lines)))
    assert {view for name in bundled() for view in read_recipe(name).views} <= words
    models = on_terminal("models", "--all")
    assert set(zoo.ROWS) <= {line.split()[1] for line in models if line.startswith("│")}
    plan = on_terminal("plan", "faces", "--views", "sd15,clip-vit-l14")
    assert max(map(len, [*lines, *models, *plan])) <= 80


def test_nothing_is_cut_in_a_pipe(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(monkeypatch, "models", "--all") == 0
    lines = capsys.readouterr().out.splitlines()
    for row in zoo.rows():
        assert any(row.name in line and row.about in line and row.license in line for line in lines), row.name


def test_brackets_in_a_path_are_printed_as_they_are(
    built: Path, tmp_path: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    folder = tmp_path / "run[1]" / "[bold]"
    assert run(monkeypatch, "join", str(built), "--out", str(folder)) == 0
    assert f"{folder}" in capsys.readouterr().out
    with working(plain_console(), f"preparing {folder}"):
        assert f"preparing {folder} ..." in capsys.readouterr().out


def test_models_as_json_are_the_rows_of_the_zoo(monkeypatch: MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, "models", "--all", "--json") == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(found) == set(zoo.ROWS)
    assert found["sd15"]["repo"] == zoo.get("sd15").repo and found["sd15"]["size"] == 4 * 64 * 64
    assert run(monkeypatch, "models", "sd15", "--images", "10", "--steps", "3", "--json") == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["forwards"], one["bytes"]) == (30, 10 * 4 * 64 * 64 * 2)


def test_verification_as_json_lists_each_fault_and_still_fails(
    copied: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    assert run(monkeypatch, "verify", str(copied), "--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    (copied / "README.md").write_text("another card")
    assert run(monkeypatch, "verify", str(copied), "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False and {fault["where"] for fault in found["findings"]} == {"README.md"}


def test_progress_says_what_is_done_from_the_first_moment_and_ends_at_all_of_it(capsys: Capture, built: Path) -> None:
    from noisezoo.builder.engine import open_build
    from noisezoo.builder.launch import Watcher

    with Bars(plain_console(), 2) as bars:
        assert "starting 2 processes" in bars._said(0.0, None, False)
        assert "at the first images" in bars._said(0.0, None, True)
        bars.update([Watcher(open_build(built)).scan()])
        bars.update([Watcher(open_build(built)).scan()])
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"100% done, publishing, \d+ s passed", line)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.21, "0.21 s"), (119, "119 s"), (120, "2 min"), (7300, "2 h"), (2e5, "2.3 d")]
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_and_sizes_are_rounded_as_people_write_them() -> None:
    assert [rounded(x) for x in (None, 0.012345, 12.345, 1234.5)] == ["-", "0.0123", "12.3", "1,230"]
    assert [size_text(x) for x in (0, 999, 1500, 2.5e9)] == ["0 B", "999 B", "1.5 kB", "2.5 GB"]
