"""Faults of disks and clocks: each ends in one line that names the thing, or not at all, and costs no byte."""

import contextlib
import errno
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from noisezoo import files, zoo
from noisezoo.builder import __main__ as entry
from noisezoo.builder.__main__ import run
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.engine import commit as commits, worker
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.launch.status import status
from tests.builder.building import digits_recipe, leftovers, published
from tests.chaos.crew import crew, write_recipe

RECIPE = digits_recipe(("pixels-8", "random-64"), limit=32)
Build = tuple[Path, dict[str, str]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The recipe's file, and the bytes of a build without a fault."""
    folder = tmp_path_factory.mktemp("built")
    assert run(RECIPE, folder / "noisezoo")
    return write_recipe(RECIPE, folder), published(folder / "noisezoo")


def said(recipe: Path, out: Path) -> tuple[int, str]:
    """Exit code and words of a process that worked on the build here."""
    words = io.StringIO()
    with contextlib.redirect_stderr(words), contextlib.redirect_stdout(words):
        try:
            entry.main([str(recipe)], [out])
        except SystemExit as stop:
            return int(stop.code or 0), words.getvalue()
    return 0, words.getvalue()


def failing(module: Any, name: str, turn: int, number: int) -> Callable[[pytest.MonkeyPatch], None]:
    """From its `turn`-th call on, a function of a module fails as the system does."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        original, calls = getattr(module, name), 0

        def broken(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= turn:
                raise OSError(number, os.strerror(number), str(arguments[0]))
            return original(*arguments, **options)

        patch.setattr(module, name, broken)

    return plant


FAULTS = {
    "the disk fails on a write": failing(commits, "write_parquet", 2, errno.EIO),
    "the disk fails on an fsync": failing(files.os, "fsync", 40, errno.EIO),
    "the disk fails on a rename": failing(files.os, "replace", 12, errno.EIO),
    "the quota is used up on a write": failing(commits, "write_parquet", 3, errno.EDQUOT),
    "the disk is full on an fsync": failing(files.os, "fsync", 30, errno.ENOSPC),
    "the disk is mounted read-only in mid-build": failing(files.os, "replace", 10, errno.EROFS),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_disk_ends_in_one_line_that_names_it_and_the_next_run_gives_the_same_bytes(
    built: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    recipe, expected = built
    out = tmp_path / "noisezoo"
    with monkeypatch.context() as patch:
        FAULTS[fault](patch)
        code, words = said(recipe, out)
    assert code == 1
    (line,) = words.strip().splitlines()
    assert line.startswith("error: ") and "run again" in line
    assert published(out).items() <= expected.items() and leftovers(out) == []
    assert run(RECIPE, out)
    assert published(out) == expected and leftovers(out) == []


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "noisezoo-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 120 kB, less than the build needs."""
    with tmpfs(tmp_path / "small", "120k") as folder:
        yield folder


needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


@needs_mount
def test_a_full_disk_costs_nothing_that_was_committed_and_more_room_ends_it(built: Build, small: Path) -> None:
    recipe, expected = built
    out = small / "noisezoo"
    code, words = said(recipe, out)
    assert code == 1 and "No space left" in words and leftovers(out) == []
    done = sum(view.done for view in status(open_build(out)))
    subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
    assert sum(view.done for view in status(open_build(out))) == done
    assert run(RECIPE, out) and published(out) == expected


@needs_mount
@pytest.mark.parametrize("free", [0, 4, 24, 64])
def test_a_disk_that_fills_up_at_any_point_is_one_line_that_names_file_and_mend(
    built: Build, small: Path, free: int
) -> None:
    (small / "others").write_bytes(bytes((120 - free) * 1024))
    code, words = said(built[0], small / "noisezoo")
    (line,) = words.strip().splitlines()
    assert code != 0 and line.startswith("error: ") and "No space left" in line
    assert str(small / "noisezoo") in line and ("free some space" in line or "choose another --out" in line)


@needs_mount
def test_a_disk_that_is_read_only_is_refused_at_once_and_writable_again_goes_on(built: Build, small: Path) -> None:
    recipe, expected = built
    subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
    assert run(RECIPE, small / "noisezoo")
    view = next((small / "noisezoo" / "_build" / "parts").iterdir())
    (view / "000001.json").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    code, words = said(recipe, small / "noisezoo")
    assert code != 0 and len(words.strip().splitlines()) == 1 and "ead-only" in words
    assert status(open_build(small / "noisezoo")), "where the build stands can still be read"
    subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    assert run(RECIPE, small / "noisezoo") and published(small / "noisezoo") == expected


def test_a_slow_disk_changes_nothing(built: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def slowly(*arguments: Any) -> None:
        time.sleep(0.02)
        replace(*arguments)

    monkeypatch.setattr(files.os, "replace", slowly)
    crew(built[0], tmp_path / "noisezoo", 2)
    assert published(tmp_path / "noisezoo") == built[1]


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_by_a_day_takes_no_living_lease_and_changes_no_byte(
    built: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    real, calls = time.time, 0

    def jumping() -> float:
        nonlocal calls
        calls += 1
        return real() + (jump if calls % 3 == 0 else 0.0)

    monkeypatch.setattr(time, "time", jumping)
    crew(built[0], tmp_path / "noisezoo", 2)
    assert published(tmp_path / "noisezoo") == built[1]
    assert all(view.missing == 0 for view in status(open_build(tmp_path / "noisezoo")))


def test_a_marker_without_its_part_and_a_part_without_its_marker_are_made_again(built: Build, tmp_path: Path) -> None:
    out = tmp_path / "noisezoo"
    assert run(RECIPE, out)
    units = list(open_build(out).all_units())
    units[1].part.unlink()
    units[4].marker_path.unlink()
    assert {unit.number for unit in open_build(out).pending()} == {units[1].number, units[4].number}
    assert not is_finished(open_build(out))
    assert run(RECIPE, out) and published(out) == built[1]


@pytest.mark.parametrize("name", ["manifest.parquet", "recipe.json", "source.json", "models.json"])
def test_a_damaged_file_of_the_build_s_own_state_is_named(built: Build, tmp_path: Path, name: str) -> None:
    out = tmp_path / "noisezoo"
    assert run(RECIPE, out)
    (out / "_build" / "dataset.json").unlink()
    path = out / "_build" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, words = said(built[0], out)
    (line,) = words.strip().splitlines()
    assert code != 0 and name in line and line.startswith("error: ")


def noise(out: Path) -> dict[str, list[float]]:
    """Image -> its row of the published view `digits-ddpm`."""
    tables = [pq.read_table(path).to_pydict() for path in sorted((out / "digits-ddpm").glob("*.parquet"))]
    return {image: row for t in tables for image, row in zip(t["image_id"], t["digits-ddpm"], strict=True)}


def test_a_network_that_once_gives_nan_costs_a_build_that_image_and_changes_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, load, calls = digits_recipe(("random-64", "digits-ddpm"), limit=16), worker.load_computer, 0

    def spoil(module: Any, arguments: Any, output: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            output[2] = float("nan")

    def spoiled(*arguments: Any) -> Any:
        computer = load(*arguments)
        if computer.view.name == "digits-ddpm":
            computer.pipeline.denoiser.conv_out.register_forward_hook(spoil)
        return computer

    assert run(recipe, tmp_path / "sound")
    monkeypatch.setattr(worker, "load_computer", spoiled)
    assert run(recipe, tmp_path / "spoiled")
    (refusal,) = map(json.loads, (tmp_path / "spoiled" / "refusals.jsonl").read_text().splitlines())
    assert (refusal["stage"], refusal["error"]) == ("digits-ddpm", "FloatingPointError")
    expected = noise(tmp_path / "sound")
    del expected[refusal["image_id"]]
    assert noise(tmp_path / "spoiled") == expected


def test_a_model_file_cut_short_between_runs_is_named_and_the_whole_one_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(zoo.TESTBED / "digits-ddpm", tmp_path / "testbed" / "digits-ddpm")
    monkeypatch.setattr(zoo, "TESTBED", tmp_path / "testbed")
    recipe, out = digits_recipe(("random-64", "digits-ddpm"), limit=16), tmp_path / "noisezoo"
    assert run(recipe, out)
    expected, units = published(out), open_build(out).units(zoo.get("digits-ddpm"))
    units[1].part.unlink()
    (weights,) = (tmp_path / "testbed" / "digits-ddpm" / "unet").glob("*.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    code, words = said(write_recipe(recipe, tmp_path), out)
    (line,) = words.strip().splitlines()
    assert code != 0 and line.startswith("error: ") and "digits-ddpm" in line and "unet" in line
    weights.write_bytes(whole)
    assert run(recipe, out) and published(out) == expected
