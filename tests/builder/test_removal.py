"""Removal by id: the images are gone everywhere, whoever is killed meanwhile, and no build brings them back."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.dataset.layout import STAGED
from noisezoo.builder.dataset.remove import remove
from noisezoo.builder.engine.build import STATE, open_build
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.files import sha256_of
from noisezoo.pca import Basis
from noisezoo.record import read_record
from tests.builder.building import digits_recipe, in_child, leftovers, published, recipe_of
from tests.builder.image_sources import jpegs

VIEWS = ("random-64", "pixels-8")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 digits in two views, built; for copying."""
    folder = tmp_path_factory.mktemp("small") / "noisezoo"
    assert run(digits_recipe(VIEWS, 24), folder)
    return folder


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    shutil.copytree(small, tmp_path / "noisezoo")
    return tmp_path / "noisezoo"


def ids_of(folder: Path, config: str = "labels", split: str | None = None) -> list[str]:
    files = sorted((folder / config).glob(f"{split or '*'}-*.parquet"))
    return [each for path in files for each in pq.read_table(path, columns=["image_id"])["image_id"].to_pylist()]


def without_build(folder: Path) -> Path:
    shutil.rmtree(folder / STATE)
    return folder


def test_removed_images_are_in_no_config_and_all_others_are_as_they_were(folder: Path) -> None:
    before = noisezoo.load(folder, views=VIEWS)
    gone = [before["image_id"][0], before["image_id"][7], before["image_id"][-1]]
    record = remove(folder, gone)
    after = noisezoo.load(folder, views=VIEWS)
    assert after["image_id"] == [i for i in before["image_id"] if i not in gone]
    kept = [row for row, i in enumerate(before["image_id"]) if i not in gone]
    for view in VIEWS:
        assert np.array_equal(noisezoo.matrix(after, view), noisezoo.matrix(before, view)[kept])
    for config in ("paired", "labels", *VIEWS):
        assert not set(gone) & set(ids_of(folder, config))
        assert len(ids_of(folder, config)) == 21
    assert sum(len(rows) for rows in load_dataset(str(folder)).values()) == 21
    (section,) = record.sections
    assert (section.scanned, section.rows, section.refused, section.removed) == (24, 21, 0, 3)
    assert record == read_record(folder)
    assert "24 images in = 21 rows out + 0 refused + 3 removed" in (folder / "README.md").read_text()
    assert verify(folder).findings == ()
    assert leftovers(folder) == [] and not (folder / STAGED).exists()


def test_the_pca_basis_is_that_of_the_images_that_are_left(folder: Path) -> None:
    path = folder / "paired" / "basis" / "random-64.safetensors"
    old = Basis.read(path)
    remove(folder, ids_of(folder, split="train")[:2])
    X = noisezoo.matrix(noisezoo.load(folder, views=["random-64"], split="train"), "random-64", "float64")
    new = Basis.read(path)
    np.testing.assert_allclose(new.mean, X.mean(axis=0), atol=1e-6)
    variances = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2 / (len(X) - 1)
    np.testing.assert_allclose(new.explained_variance, variances[: len(new.explained_variance)], rtol=1e-4)
    assert not np.allclose(old.mean, new.mean)


def test_a_rebuild_gives_the_bytes_that_removal_gave(folder: Path) -> None:
    remove(folder, ids_of(folder)[3:6])
    assert is_finished(open_build(folder))
    bytes_of_removal = published(folder)
    for name in bytes_of_removal:
        (folder / name).unlink()
    assert run(digits_recipe(VIEWS, 24), folder)
    assert published(folder) == bytes_of_removal


def test_a_view_that_is_added_later_leaves_removed_images_out(folder: Path) -> None:
    gone = ids_of(folder)[:3]
    remove(folder, gone[:2])
    remove(folder, gone[2:])
    assert run(digits_recipe((*VIEWS, "pixels-8-whitened"), 24), folder)
    assert len(noisezoo.load(folder, views=["pixels-8-whitened"])) == 21
    assert not set(gone) & set(ids_of(folder, "pixels-8-whitened"))
    assert verify(folder).findings == ()


def test_a_view_in_work_is_published_by_its_build_and_not_by_a_removal(folder: Path) -> None:
    from noisezoo.builder.engine.build import prepare

    prepare(digits_recipe((*VIEWS, "pixels-8-whitened"), 24), folder)
    remove(folder, ids_of(folder)[:1])
    assert not is_finished(open_build(folder))
    assert run(digits_recipe((*VIEWS, "pixels-8-whitened"), 24), folder)
    assert len(ids_of(folder, "pixels-8-whitened")) == 23


def test_a_downloaded_folder_becomes_the_same_version(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other" / "noisezoo")
    gone = ids_of(folder)[5:9]
    remove(folder, gone)
    downloaded = without_build(tmp_path / "other" / "noisezoo")
    remove(downloaded, gone)
    assert published(downloaded) == published(folder)


def test_a_split_of_which_nothing_is_left_disappears(folder: Path) -> None:
    for split in ("train", "test"):  # the first one too, on which the bases were fitted
        remove(folder, ids_of(folder, split=split))
    assert set(load_dataset(str(folder))) == {"validation"}
    assert not list(folder.glob("[!_]*/train-*.parquet"))
    assert verify(folder).findings == ()
    assert run(digits_recipe(VIEWS, 24), folder)
    assert set(load_dataset(str(folder))) == {"validation"}


def refusal(folder: Path, ids: list[str], **options: Any) -> str:
    before = published(folder)
    with pytest.raises(UsageError) as caught:
        remove(folder, ids, **options)
    assert published(folder) == before
    assert not (folder / STATE / "removed.json").exists()
    return str(caught.value)


def test_unknown_images_are_all_named_and_nothing_is_changed(folder: Path) -> None:
    known = ids_of(folder)[0]
    assert "has no image 'nobody', 'no one'" in refusal(folder, ["nobody", known, "no one"])
    assert "has no source 'faces'; it has: digits" in refusal(folder, [known], source="faces")
    assert "nothing was removed" in refusal(folder, [])


def test_the_last_image_cannot_be_removed(folder: Path) -> None:
    assert "a dataset needs one" in refusal(folder, ids_of(folder))


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no published dataset"):
        remove(tmp_path, ["a"])
    with pytest.raises(UsageError, match="there is no folder"):
        remove(tmp_path / "none", ["a"])


def test_removing_again_what_a_build_knows_as_removed_changes_nothing(folder: Path) -> None:
    gone = ids_of(folder)[:2]
    remove(folder, gone)
    once = published(folder)
    remove(folder, gone)
    assert published(folder) == once


def test_a_refused_image_is_removed_from_the_refusals_and_counted_once(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for k, data in enumerate(jpegs(10)):
        (images / f"{k}.jpg").write_bytes(data[: len(data) // 3] if k in (2, 5) else data)
    folder = tmp_path / "noisezoo"
    assert run(recipe_of(f"imagefolder:{images}", ("pixels", "random-64"), None), folder)
    refused = [json.loads(line) for line in (folder / "refusals.jsonl").read_text().splitlines()]
    assert {each["image_id"] for each in refused} == {"2.jpg", "5.jpg"}
    remove(folder, ["2.jpg", "7.jpg"])
    left = [json.loads(line) for line in (folder / "refusals.jsonl").read_text().splitlines()]
    assert {each["image_id"] for each in left} == {"5.jpg"}
    record = read_record(folder)
    assert record is not None
    section = record.sections[0]
    assert (section.scanned, section.rows, section.refused, section.removed) == (10, 7, 1, 2)
    removed = published(folder)
    (folder / "noisezoo.json").unlink()
    assert run(recipe_of(f"imagefolder:{images}", ("pixels", "random-64"), None), folder)
    assert published(folder) == removed


def killed(step: int, work: Callable[[], object]) -> bool:
    """Run `work` in a process that dies before its `step`-th rename; whether it died."""
    real = os.replace
    left = iter(range(step))

    def replace(*arguments: Any) -> None:
        if next(left, None) is None:
            os._exit(9)
        real(*arguments)

    def child() -> None:
        os.replace = replace  # type: ignore[assignment]
        work()

    return in_child(child) == 9


def readable(folder: Path) -> int | None:
    """Rows of the dataset that a reader sees now, all of which pair; None where there is none to be read."""
    try:
        return len(noisezoo.load(folder, views=VIEWS))
    except NoiseZooError as error:
        assert "is not a finished NoiseZoo folder" in str(error)
        return None


@pytest.mark.parametrize("has_build", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_killed_at_any_rename_a_removal_goes_on_to_the_same_bytes(small: Path, tmp_path: Path, has_build: bool) -> None:
    def fresh(name: str) -> Path:
        shutil.copytree(small, tmp_path / name / "noisezoo")
        return tmp_path / name / "noisezoo" if has_build else without_build(tmp_path / name / "noisezoo")

    gone = ids_of(small)[1:4]
    whole = fresh("whole")
    remove(whole, gone)
    seen, step = [], 0
    while True:
        folder = fresh(str(step))
        died = killed(step, lambda folder=folder: remove(folder, gone))  # type: ignore[misc]
        seen.append(readable(folder))
        if not died:
            break
        remove(folder, gone)
        assert published(folder) == published(whole), step
        assert leftovers(folder) == [], step
        assert not has_build or is_finished(open_build(folder)), step
        shutil.rmtree(folder.parent)
        step += 1
    assert seen == sorted(seen, key=lambda rows: (24, None, 21).index(rows))  # type: ignore[arg-type]
    assert set(seen) == {24, None, 21}


def test_a_build_that_goes_on_after_a_killed_removal_makes_the_same_version(folder: Path, tmp_path: Path) -> None:
    gone = ids_of(folder)[:2]
    shutil.copytree(folder, tmp_path / "whole" / "noisezoo")
    remove(tmp_path / "whole" / "noisezoo", gone)
    assert killed(30, lambda: remove(folder, gone))
    assert readable(folder) is None
    assert run(digits_recipe(VIEWS, 24), folder)
    assert published(folder) == published(tmp_path / "whole" / "noisezoo")


def test_a_removal_waits_for_no_one_and_says_who_writes(folder: Path) -> None:
    from noisezoo.builder.engine.leases import Lease

    gone = ids_of(folder)[:1]
    before = {path: sha256_of(path) for path in folder.rglob("*.parquet")}
    with Lease(folder / STATE / "claims" / "publish.json").acquire():
        with pytest.raises(NoiseZooError, match="another process is writing"):
            remove(folder, gone)
    assert {path: sha256_of(path) for path in folder.rglob("*.parquet")} == before
