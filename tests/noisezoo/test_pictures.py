"""Pictures of a dataset without a view of them, found again in their source: the same numbers as if it had one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noisezoo
from noisezoo.analysis.studies.data import Data
from noisezoo.builder.__main__ import run as build
from noisezoo.builder.dataset.join import join
from noisezoo.builder.dataset.leave_out import leave_out
from noisezoo.commands.analyze import read_recipe_of
from noisezoo.commands.pictures import find_pictures, split_source
from noisezoo.errors import IncompleteError, NoiseZooError, UsageError
from tests.builder.building import digits_recipe, recipe_of
from tests.builder.test_frozen import photos, swap
from tests.noisezoo.test_cli import run

VIEWS = ("digits-ddpm", "pixels-8", "random-64")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "digits"
    recipe = digits_recipe(VIEWS, limit=120, slice_rows=64, pca_dims=16, settings={"batch_size": 64})
    assert build(recipe, folder)
    return folder


@pytest.fixture(scope="module")
def bare(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was published of it: no pictures."""
    with leave_out(whole, ["pixels-8"]) as shown:
        return Path(shutil.copytree(shown, tmp_path_factory.mktemp("bare") / "digits"))


def found(dataset: Path, where: str, views: list[str] | None = None, **options: Any) -> dict[str, np.ndarray]:
    recipe = read_recipe_of(dataset)
    return find_pictures(dataset, where, options, source=None, views=views, revision=None, recipe=recipe)


def test_a_view_found_again_is_the_one_that_was_left_out_in_full_and_reduced(whole: Path, bare: Path) -> None:
    given, pictures = Data(whole), found(bare, "digits")
    again = Data(bare, found=pictures)
    assert again.views == ["digits-ddpm", "random-64", "pixels-8"]
    assert np.array_equal(again.stored("pixels-8"), given.stored("pixels-8"))
    np.testing.assert_array_equal(again.matrix("pixels-8"), given.matrix("pixels-8"))
    np.testing.assert_allclose(again.reduced("pixels-8"), given.reduced("pixels-8"), atol=1e-5)
    assert again.facts("pixels-8") == given.facts("pixels-8")


def test_edits_and_controls_of_a_dataset_without_pictures_have_the_numbers_of_one_with_them(
    whole: Path, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--studies", "structure,edits", "--quick", "--model", "digits-ddpm"]
    for name, dataset, more in (("with", whole, []), ("without", bare, ["--source", "digits"])):
        assert run(monkeypatch, "analyze", str(dataset), "--out", str(tmp_path / name), *given, *more) == 0
    assert "pixels-8: 120 pictures of digits" in capsys.readouterr().out
    results = [
        json.loads((tmp_path / name / "results.json").read_text())["datasets"]["digits"] for name in ("with", "without")
    ]
    assert results[0]["edits"]["digits-ddpm"]["reconstruction_psnr"]
    assert results[0]["edits"] == results[1]["edits"]

    def key(row: dict[str, Any]) -> str:
        return json.dumps(row, sort_keys=True)

    rows = [sorted(map(key, each["structure"]["rows"])) for each in results]
    assert rows[0] and rows[0] == rows[1]


def test_pictures_of_a_folder_are_found_by_their_names_and_compared_with_what_was_built(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", range(12)), tmp_path / "out"
    assert build(recipe_of(f"imagefolder:{root}", ("random-64",), limit=None), out)
    pixels = found(out, f"imagefolder:{root}")["pixels"]
    greys = np.round((pixels[:, 0, 0, 0].astype(float) + 1) * 127.5).astype(int).tolist()
    assert [f"{grey:02d}.png" for grey in greys] == noisezoo.load(out)["image_id"][:]
    swap(root / "03.png", root / "07.png")
    with pytest.raises(IncompleteError, match="no longer the picture that the manifest froze"):
        found(out, f"imagefolder:{root}")
    for name in ("03.png", "05.png", "07.png", "09.png"):
        (root / name).unlink()
    with pytest.raises(UsageError, match=r"lacks 4 of 12 images: 0\d.png, 0\d.png, 0\d.png, \.\.\."):
        found(out, f"imagefolder:{root}")


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", range(6)), tmp_path / "out"
    assert build(recipe_of(f"imagefolder:{root}", ("random-64",), limit=None), out)
    shutil.rmtree(out / "_build")  # as a reader has it: nobody knows what the file was
    (root / "02.png").write_bytes(b"no picture")
    with pytest.raises(NoiseZooError, match="02.png cannot be read .*no picture"):
        found(out, f"imagefolder:{root}")


def test_views_that_are_not_asked_for_are_not_made_and_a_dataset_with_pictures_keeps_its_own(
    whole: Path, bare: Path
) -> None:
    assert found(bare, "digits", views=["digits-ddpm"]) == {} and found(whole, "digits") == {}
    with pytest.raises(UsageError, match="has no source 'digtis'; it has: digits, with its own pictures"):
        found(whole, "digtis")


def test_of_several_sources_a_name_chooses_and_a_place_says_where_pictures_are(bare: Path, tmp_path: Path) -> None:
    assert build(recipe_of("faces", ("random",), limit=8), tmp_path / "faces")
    join([bare, tmp_path / "faces"], tmp_path / "both")
    assert split_source(tmp_path / "both", "faces", None) == ("faces", None)
    assert split_source(tmp_path / "both", "faces:", None) == ("faces", "faces:")
    assert split_source(bare, "digits", None) == (None, "digits")
    with pytest.raises(UsageError, match="has no source 'celeba'; it has: digits, faces"):
        split_source(tmp_path / "both", "celeba:/data", None)
