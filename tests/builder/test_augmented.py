"""Views of augmented pictures: the same computation on a mirrored or cropped copy, through a whole build."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import noisezoo
from noisezoo import zoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.recipe import Settings, make_recipe
from noisezoo.builder.sources import COPIES
from noisezoo.builder.views import make_computer
from noisezoo.errors import UsageError
from tests.builder.building import recipe_of

SEEING = ("faces-ldm-uncond", "faces-vae", "faces-clip", "pixels")
SETTINGS = {"num_inference_steps": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("augmented") / "faces"
    views = [name for view in SEEING for name in (view, f"{view}-flip")] + ["pixels-crop"]
    assert run(recipe_of("faces", views, limit=8, settings=SETTINGS, slice_rows=8), folder)
    return folder


def test_a_flipped_view_is_the_view_of_the_mirrored_picture_and_shares_no_latent_with_it(built: Path) -> None:
    """The mirrored pictures are made from the stored pixels; the autoencoder is one for all four views of latents."""
    rows = noisezoo.load(built, views=[*SEEING, *(f"{view}-flip" for view in SEEING)])
    pixels = noisezoo.matrix(rows, "pixels").reshape(8, 3, 32, 32)
    np.testing.assert_array_equal(noisezoo.matrix(rows, "pixels-flip").reshape(pixels.shape), pixels[..., ::-1])
    pictures = [Image.fromarray(np.round((p.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)) for p in pixels]
    ids = rows.data.column("image_id").to_pylist()
    for view in SEEING[:3]:
        computer = make_computer(zoo.get(view), Settings(**SETTINGS))
        computer.load()
        _, columns, _ = computer.rows(ids, [ImageOps.mirror(p) for p in pictures])
        expected = columns[view].reshape(8, -1).astype(np.float32)
        found = noisezoo.matrix(rows, f"{view}-flip")
        assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)
        assert np.linalg.norm(noisezoo.matrix(rows, view) - expected) > 0.1 * np.linalg.norm(expected)


def test_a_crop_is_the_middle_of_the_picture_at_its_size_and_orientation(built: Path) -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1)))  # 64 columns
    row = np.asarray(COPIES["crop"](ramp).convert("L"), np.float64)[32]
    np.testing.assert_allclose(row[4:-4], 4 * (4 + 7 / 8 * (np.arange(4, 60) + 0.5) - 0.5), atol=1.5)
    turned = Image.new("RGB", (4, 2), "white")
    turned.putpixel((0, 0), (255, 0, 0))
    turned.getexif()[0x0112] = 6  # to be shown a quarter turn to the right: red is at the top right, mirrored top left
    assert COPIES["flip"](turned).getpixel((0, 0)) == (255, 0, 0) and COPIES["flip"](turned).size == (2, 4)
    rows = noisezoo.load(built, views=["pixels", "pixels-crop"])
    assert not np.allclose(noisezoo.matrix(rows, "pixels"), noisezoo.matrix(rows, "pixels-crop"), atol=0.1)


def test_copies_are_rows_of_their_family_that_stand_in_no_listing_and_bring_no_twin() -> None:
    row = zoo.get("faces-clip-untrained-flip")
    assert (row.kind, row.family, row.untrained, row.original) == ("control", "open_clip", True, "faces-clip-untrained")
    assert row.baseline is None and row.name not in {each.name for each in zoo.rows()}
    for name in ("random-flip", "faces-ddpm-residual-crop", "faces-clip-flip-crop", "faces-clip-turn"):
        with pytest.raises(UsageError, match="the zoo has no view"):
            zoo.get(name)


def test_a_copy_follows_the_settings_of_the_view_that_it_is_held_against() -> None:
    views = ["faces-ddpm", "faces-ddpm-flip", "faces-ddpm-residual", "pixels-flip", "pixels"]
    recipe = make_recipe({"name": "x", "source": {"name": "faces"}, "views": views,
                          "view_settings": {"faces-ddpm": {"num_inference_steps": 7}}})  # fmt: skip
    assert recipe.settings_of("faces-ddpm-flip").num_inference_steps == 7
    assert recipe.settings_of("pixels-flip").num_inference_steps != 7
    with pytest.raises(UsageError, match="is made of faces-ddpm and a pixels view"):
        make_recipe({"name": "x", "source": {"name": "faces"}, "views": views[:4]})
