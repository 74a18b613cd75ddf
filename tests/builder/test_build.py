"""A build's folder: the same bytes however it is worked on, and only its own recipe's."""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisezoo import files, zoo
from noisezoo.builder import __main__ as main
from noisezoo.builder.__main__ import run
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.engine.build import Build, open_build, prepare
from noisezoo.builder.engine.scheduler import Scheduler
from noisezoo.builder.launch.local import build_dataset
from noisezoo.builder.recipe import Recipe
from noisezoo.builder.sources.source import open_source
from noisezoo.builder.views.controls import PixelComputer
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.loading import load_config
from noisezoo.place import open_place
from tests.builder.building import digits_recipe, leftovers, parts, published, recipe_of
from tests.builder.committed import commit_units

SMALL = ("pixels-8-whitened", "random-64")


def small(**fields: Any) -> Recipe:
    return digits_recipe(SMALL, limit=16, **fields)


@pytest.fixture
def unpublished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """A build whose parts are all there and whose dataset is not."""
    with monkeypatch.context() as patch:
        patch.setattr(main, "_publish", lambda *_: None)
        assert not run(small(), tmp_path / "noisezoo")
    return open_build(tmp_path / "noisezoo")


def test_two_launched_processes_give_the_bytes_of_one(built: Path, tmp_path: Path) -> None:
    outcome = build_dataset(digits_recipe(), tmp_path / "noisezoo", processes=2)
    assert published(tmp_path / "noisezoo") == published(built)
    workers = {
        json.loads(line)["event"] for log in (tmp_path / "noisezoo").rglob("logs/*.jsonl") for line in log.open()
    }
    assert workers >= {"loaded", "unit", "published"}
    assert len(list((tmp_path / "noisezoo" / "_build" / "logs").glob("*.jsonl"))) == 2
    assert [view.done for view in outcome.views] == [40] * 4
    assert leftovers(tmp_path) == []


def test_the_order_of_work_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight, backward = tmp_path / "a" / "noisezoo", tmp_path / "b" / "noisezoo"
    assert run(small(), straight)
    monkeypatch.setattr(Scheduler, "_jump", lambda self, lots: int(np.flatnonzero(lots)[-1]))
    assert run(small(), backward)
    assert published(straight) == published(backward)


def test_a_finished_build_run_again_touches_nothing(copied: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*.parquet")}
    assert run(digits_recipe(), copied)
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*.parquet")} == before


def test_all_files_are_as_readable_as_their_maker_makes_files(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        assert run(digits_recipe(("pixels-8-whitened", "digits-ddpm"), limit=16), tmp_path / "noisezoo")
    finally:
        os.umask(umask)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "noisezoo").rglob("*")}
    assert {path for path, mode in modes.items() if mode != (0o750 if path.is_dir() else 0o640)} == set()


def test_a_marker_holds_the_hash_and_the_counts_of_its_part(built: Path) -> None:
    import pyarrow.parquet as pq

    build = open_build(built)
    for unit in build.all_units():
        marker = json.loads(unit.marker_path.read_text())
        ids = pq.read_table(unit.part).column("image_id").to_pylist()
        assert marker["sha256"] == hashlib.sha256(unit.part.read_bytes()).hexdigest()
        assert (marker["rows"], marker["first"], marker["last"]) == (len(ids), ids[0], ids[-1])
        assert marker["rows"] + marker["refused"] == len(unit.rows)
        assert marker["recipe"] == digits_recipe().digest()
        assert {"noisezoo", "torch", "numpy", "pyarrow"} <= set(marker["software"])


def test_a_flipped_bit_in_a_part_is_found_at_publishing_and_computed_again(unpublished: Build, built: Path) -> None:
    victim = unpublished.units(zoo.get("random-64"))[1].part
    before = parts(unpublished)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    assert run(small(), unpublished.root)
    after = parts(unpublished)
    assert {path for path in before if before[path][0] != after[path][0]} == set()
    assert {path for path in before if before[path][1] != after[path][1]} == {victim}


@pytest.mark.parametrize("lost", ["part", "marker", "half a part", "half a marker", "another recipe's marker"])
def test_a_unit_without_both_part_and_marker_is_computed_again_and_no_other(copied: Path, lost: str) -> None:
    reference = published(copied)
    unit = open_build(copied).units(zoo.get("pixels-8"))[2]
    before = parts(open_build(copied))
    marker = unit.marker_path.read_text()
    harm = {
        "part": unit.part.unlink,
        "marker": unit.marker_path.unlink,
        "half a part": lambda: os.truncate(unit.part, unit.part.stat().st_size // 2),
        "half a marker": lambda: unit.marker_path.write_text(marker[: len(marker) // 2]),
        "another recipe's marker": lambda: unit.marker_path.write_text(
            json.dumps({**json.loads(marker), "recipe": "0" * 64})
        ),
    }
    harm[lost]()
    assert run(digits_recipe(), copied)
    after = parts(open_build(copied))
    assert {path for path in before if before[path] != after[path]} == {unit.part}
    assert {path: sha for path, (sha, _) in before.items()} == {path: sha for path, (sha, _) in after.items()}
    assert published(copied) == reference


def test_adding_a_view_computes_nothing_else_again_and_equals_building_both_at_once(tmp_path: Path) -> None:
    out = tmp_path / "a" / "noisezoo"
    assert run(digits_recipe(("random-64",), limit=16), out)
    before = parts(open_build(out))
    assert run(digits_recipe(("pixels-8",), limit=16), out)
    after = parts(open_build(out))
    assert {path: after[path] for path in before} == before
    assert open_build(out).recipe.views == ("random-64", "pixels-8")
    assert run(digits_recipe(("random-64", "pixels-8"), limit=16), tmp_path / "b" / "noisezoo")
    assert published(out) == published(tmp_path / "b" / "noisezoo")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"seed": 7}}, "settings.seed is 42 there and 7 here"),
        ({"settings": {"num_inference_steps": 5}}, "settings.num_inference_steps is 2 there and 5 here"),
        ({"limit": 39}, "source.limit is 40 there and 39 here"),
        ({"slice_rows": 4}, "slice_rows is 8 there and 4 here"),
    ],
)
def test_another_recipe_s_build_is_refused_by_the_field_that_differs(
    built: Path, changes: dict[str, Any], message: str
) -> None:
    before = published(built)
    with pytest.raises(UsageError, match=message) as caught:
        run(digits_recipe(**changes), built)
    assert "\n" not in str(caught.value)
    assert published(built) == before


@pytest.mark.parametrize("changes", [{"settings": {"seed": 7}}, {"limit": 12}, {"source": "faces"}])
def test_a_folder_without_one_committed_part_is_taken_over_by_another_recipe(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    taken, fresh = tmp_path / "a" / "noisezoo", tmp_path / "b" / "noisezoo"
    prepare(digits_recipe(SMALL, limit=16), taken)
    corrected = recipe_of(**{"source": "digits", "views": SMALL, "limit": 16, **changes})
    assert run(corrected, taken)
    assert run(corrected, fresh)
    assert published(taken) == published(fresh)
    assert leftovers(tmp_path) == []


def test_a_folder_in_which_a_process_works_is_not_taken_over(tmp_path: Path) -> None:
    build = prepare(small(), tmp_path / "noisezoo")
    with build.units(build.views[0])[0].lease.acquire() as acquired:
        assert acquired
        with pytest.raises(UsageError, match="settings.seed is 42 there and 7 here"):
            prepare(small(settings={"seed": 7}), build.root)
    assert prepare(small(settings={"seed": 7}), build.root).recipe.settings.seed == 7


def test_one_committed_part_keeps_a_folder_for_its_recipe(tmp_path: Path) -> None:
    build = prepare(small(), tmp_path / "noisezoo")
    commit_units(build, build.units(zoo.get("random-64"))[:1])
    with pytest.raises(UsageError, match="settings.seed is 42 there and 7 here"):
        prepare(small(settings={"seed": 7}), build.root)
    unit = build.units(zoo.get("random-64"))[0]
    assert (unit.marker() or {})["rows"] == len(unit.rows)


def test_a_folder_with_other_files_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("mine")
    with pytest.raises(UsageError, match=r"is not empty and holds no build \(holiday.jpg"):
        run(small(), tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["holiday.jpg"]


def test_a_file_in_the_folder_s_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="cannot write to .*out: Not a directory; choose another --out"):
        run(small(), tmp_path / "out")


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(files, "TemporaryFile", deny)  # as root, no mode of a folder would
    with pytest.raises(UsageError, match="cannot write to .*: Permission denied; choose another --out"):
        run(small(), tmp_path / "out")


def test_a_view_whose_shipped_model_is_missing_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "TESTBED", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="view digits-ddpm: its model folder .* is missing"):
        run(digits_recipe(("random-64", "digits-ddpm"), limit=8), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_changed_model_is_computed_again(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noisezoo.builder.engine import build as build_module

    before = parts(open_build(copied))
    original = build_module.fingerprint
    monkeypatch.setattr(
        build_module, "fingerprint", lambda view, *hashed: original(view) + "+" * (view.name == "pixels-8")
    )
    assert run(digits_recipe(), copied)
    after = parts(open_build(copied))
    assert {path.parent.name for path in before if before[path] != after[path]} == {"pixels-8"}


def test_an_image_that_one_view_refuses_is_in_no_config_and_the_card_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = digits_recipe(("random-64", "pixels-8"), limit=16)
    victim = prepare(recipe, tmp_path / "noisezoo").manifest.ids[3]
    original = PixelComputer.prepare
    content = open_source("digits").picture(str(int(victim.removeprefix("digits-")))).tobytes()

    def refuse(self: PixelComputer, image: Any) -> Any:
        if image.tobytes() == content:
            raise ValueError("not this one")
        return original(self, image)

    monkeypatch.setattr(PixelComputer, "prepare", refuse)
    assert run(recipe, tmp_path / "noisezoo")
    for config in ("paired", "labels", "random-64", "pixels-8"):
        rows = load_config(open_place(tmp_path / "noisezoo"), config)
        assert len(rows) == 15
        assert victim not in rows["image_id"]
    refusal = json.loads((tmp_path / "noisezoo" / "refusals.jsonl").read_text())
    assert refusal == {"image_id": victim, "stage": "pixels-8", "error": "ValueError", "message": "not this one"}
    assert "16 images in = 15 rows out + 1 refused" in (tmp_path / "noisezoo" / "README.md").read_text()


def test_a_build_in_which_every_image_is_refused_fails_with_the_first_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: PixelComputer, image: Any) -> Any:
        raise ValueError("too dark")

    monkeypatch.setattr(PixelComputer, "prepare", refuse)
    with pytest.raises(NoiseZooError, match="every image was refused; the first: too dark") as caught:
        run(recipe_of("digits", ("pixels-8",), limit=8), tmp_path / "out")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "out" / "README.md").exists()


def test_a_lost_published_file_is_published_again(copied: Path) -> None:
    reference = published(copied)
    next((copied / "pixels-8").glob("train-*")).unlink()
    assert not is_finished(open_build(copied))
    assert run(digits_recipe(), copied)
    assert published(copied) == reference


def test_there_is_no_build_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no build"):
        open_build(tmp_path)


def test_leases_have_a_heartbeat_after_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[Path] = []
    monkeypatch.setattr("noisezoo.builder.engine.leases.Lease.heartbeat", lambda lease: touched.append(lease.path))
    build = prepare(digits_recipe(("pixels-8",), limit=16, settings={"batch_size": 3}), tmp_path / "noisezoo")
    assert run(build.recipe, build.root)
    for unit in build.all_units():
        assert touched.count(unit.lease.path) >= -(-len(unit.rows) // 3)


@pytest.mark.parametrize("readers", [1, 5])
def test_how_many_threads_read_changes_no_byte_and_is_not_published(built: Path, tmp_path: Path, readers: int) -> None:
    assert run(digits_recipe(settings={"readers": readers}), tmp_path / "noisezoo")
    assert published(tmp_path / "noisezoo") == published(built)


def test_a_lack_of_memory_halves_the_batch_and_the_marker_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PixelComputer.compute

    def cramped(self: PixelComputer, values: np.ndarray, batch: Any) -> Any:
        if len(values) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return original(self, values, batch)

    assert run(digits_recipe(("pixels-8",), limit=16), tmp_path / "a" / "noisezoo")
    monkeypatch.setattr(PixelComputer, "compute", cramped)
    assert run(digits_recipe(("pixels-8",), limit=16), tmp_path / "b" / "noisezoo")
    build = open_build(tmp_path / "b" / "noisezoo")
    assert all((unit.marker() or {})["batch_size"]["network"] == 1 for unit in build.all_units())
    assert published(tmp_path / "a" / "noisezoo") == published(tmp_path / "b" / "noisezoo")


def test_a_lack_of_memory_for_one_image_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: PixelComputer, values: np.ndarray, batch: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(PixelComputer, "compute", full)
    with pytest.raises(NoiseZooError, match="view pixels-8: one image does not fit into memory"):
        run(digits_recipe(("pixels-8",), limit=8), tmp_path / "out")
    assert leftovers(tmp_path) == []
    assert not list((tmp_path / "out" / "_build" / "claims").rglob("*.json"))
