"""Models of the user's own, prompts of the source's, and columns that noise views bring: built, published, loaded."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from noisezoo import zoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.launch import Outcome
from noisezoo.builder.launch.status import status
from noisezoo.builder.recipe import Recipe
from noisezoo.builder.views.networks import image_seed
from noisezoo.commands.build import show_outcome
from noisezoo.errors import UsageError
from tests.builder.building import digits_recipe, parts, published, recipe_of
from tests.builder.folders import edit_json


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of a shipped model in a folder of the user's."""
    folder = tmp_path / "secret place" / "model"
    shutil.copytree(zoo.TESTBED / "digits-ddpm", folder)
    return folder


def local_recipe(folder: Path, **fields: Any) -> Recipe:
    return digits_recipe(("digits-ddpm", "random-64"), limit=16, folders={"digits-ddpm": str(folder)}, **fields)


def test_a_local_folder_in_a_row_s_place_gives_its_numbers_and_no_path_is_published(
    model: Path, tmp_path: Path
) -> None:
    out, shipped = tmp_path / "a" / "noisezoo", tmp_path / "b" / "noisezoo"
    assert run(local_recipe(model), out)
    assert run(digits_recipe(("digits-ddpm", "random-64"), limit=16), shipped)
    different = {path for path, sha in published(out).items() if sha != published(shipped)[path]}
    assert {path for path in different if path.endswith((".parquet", ".safetensors", ".jsonl"))} == set()
    for path in out.rglob("*"):
        if path.is_file() and "_build" not in path.parts:
            assert b"secret place" not in path.read_bytes()
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["weights"] == {"digits-ddpm": {"unet/diffusion_pytorch_model.safetensors": digest}}
    assert "folders" not in recipe
    assert f"`unet/diffusion_pytorch_model.safetensors` {digest}" in (out / "README.md").read_text()


def test_a_model_s_folder_may_move_but_not_change(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "noisezoo"
    assert run(local_recipe(model), out)
    before = parts(open_build(out))
    moved = model.rename(tmp_path / "moved")
    assert run(local_recipe(moved), out)
    assert parts(open_build(out)) == before
    config = json.loads((moved / "scheduler" / "scheduler_config.json").read_text())
    (moved / "scheduler" / "scheduler_config.json").write_text(json.dumps({**config, "beta_end": 0.019}))
    assert run(local_recipe(moved), out)
    after = parts(open_build(out))
    assert {path.parent.name for path in before if before[path] != after[path]} == {"digits-ddpm"}


def test_status_of_a_finished_build_does_not_need_its_models(model: Path, tmp_path: Path) -> None:
    assert run(local_recipe(model), tmp_path / "noisezoo")
    shutil.rmtree(model)
    assert is_finished(open_build(tmp_path / "noisezoo"))
    assert [view.missing for view in status(open_build(tmp_path / "noisezoo"))] == [0, 0]


def test_a_folder_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="view digits-ddpm: .*nowhere.*--folder digits-ddpm=PATH"):
        run(local_recipe(tmp_path / "nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_row_of_the_recipe_s_own_is_built_loaded_and_published_without_its_path(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import noisezoo

    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    row = {"name": "mine", "kind": "noise", "family": "diffusers", "repo": str(model), "resolution": 8,
           "shape": [1, 8, 8], "license": "mine alone", "gflops": 1, "about": "what I trained"}  # fmt: skip
    out = tmp_path / "noisezoo"
    assert run(digits_recipe(("mine", "mine-untrained"), limit=16, rows=[row]), out)
    rows = noisezoo.load(out, views=["mine", "mine-untrained"])
    assert not np.array_equal(noisezoo.matrix(rows, "mine"), noisezoo.matrix(rows, "mine-untrained"))
    assert "mine alone | what I trained |" in (out / "README.md").read_text()
    assert "secret place" not in (out / "README.md").read_text() + (out / "recipe.json").read_text()
    assert open_build(out).views[0].folder == model
    more = digits_recipe(("random-64",), limit=16)
    assert run(more, out), "another view is added by a recipe that does not know the row"
    assert open_build(out).recipe.views == ("mine", "mine-untrained", "random-64")


def test_a_path_of_the_source_is_not_published(tmp_path: Path) -> None:
    photos = tmp_path / "secret place" / "photos"
    photos.mkdir(parents=True)
    for k in range(6):
        Image.new("L", (9, 9), 40 * k).save(photos / f"{k}.png")
    out = tmp_path / "noisezoo"
    assert run(recipe_of(f"imagefolder:{photos}", ("random-64",), pca_dims=64), out)
    assert "secret place" not in (out / "README.md").read_text() + (out / "recipe.json").read_text()
    assert json.loads((out / "recipe.json").read_text())["source"]["name"] == "imagefolder:photos"


def test_a_column_that_is_no_label_cannot_hold_prompts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="prompt_column 'caption' is not a label of source digits; it has: digit, "):
        run(digits_recipe(settings={"prompt_column": "caption"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_captions_are_labels_and_each_image_s_own_prompt(
    stable_diffusion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import noisezoo
    from noisezoo.builder.models.inverter import Inverter

    seen: dict[str, str] = {}
    original = Inverter.invert_states

    def watched(self: Inverter, latents: Any, *, prompts: Any = None, seeds: Any = None) -> Any:
        assert len(prompts) == len(seeds) == len(latents)
        seen.update(zip(seeds, prompts, strict=True))
        return original(self, latents, prompts=prompts, seeds=seeds)

    monkeypatch.setattr(Inverter, "invert_states", watched)
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    row = {"name": "tiny", "kind": "noise", "family": "diffusers", "repo": str(stable_diffusion), "resolution": 16,
           "shape": [4, 8, 8], "license": "none", "gflops": 1, "about": "small",
           "autoencoder": "tiny-vae"}  # fmt: skip
    recipe = recipe_of("faces", ("tiny", "tiny-vae"), limit=12, rows=[row], options={"captions": True, "size": 16},
                       settings={"prompt_column": "caption"}, pca_dims=8)  # fmt: skip
    assert run(recipe, tmp_path / "noisezoo")
    rows = noisezoo.load(tmp_path / "noisezoo", views=["tiny"])
    assert all(caption.startswith("a face") for caption in rows["caption"])
    told = {image_seed("tiny", 42, image_id): caption for image_id, caption in zip(rows["image_id"], rows["caption"],
                                                                                   strict=True)}  # fmt: skip
    assert seen == told


@pytest.mark.parametrize(("prompted", "count"), [({"prompt": "a face with hair"}, 12), ({"prompt": "a face"}, 0),
                                                ({"prompt_column": "caption"}, None)])  # fmt: skip
def test_prompts_that_the_model_reads_in_part_are_counted_on_the_screen_and_in_the_card(
    stable_diffusion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    prompted: dict[str, str], count: int | None,
) -> None:  # fmt: skip
    """This model's tokenizer has a token a letter and room for twelve, the two that begin and end among them."""
    import noisezoo

    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    row = {"name": "tiny", "kind": "noise", "family": "diffusers", "repo": str(stable_diffusion), "resolution": 16,
           "shape": [4, 8, 8], "license": "none", "gflops": 1, "about": "small"}  # fmt: skip
    recipe = recipe_of("faces", ("tiny",), limit=12, rows=[row], options={"captions": True, "size": 16}, pca_dims=8,
                       settings={**prompted, "num_inference_steps": 2, "reconstruct": 0.0})  # fmt: skip
    out = tmp_path / "noisezoo"
    assert run(recipe, out)
    if count is None:
        captions = noisezoo.load(out)["caption"]
        count = sum(len(text.replace(" ", "")) + 2 > 12 for text in captions)
        assert count == 12, "every caption of a drawn face is longer than twelve letters"
    card = " ".join((out / "README.md").read_text().split())
    views = [view for view in status(open_build(out)) if view.missing == 0]
    show_outcome(Outcome(out, views, 1.0), Console(width=300))
    screen = capsys.readouterr().out
    assert (f"The prompts of {count} rows are longer than what the text towers of `tiny` read" in card) is bool(count)
    assert (f"tiny: the prompts of {count} rows are longer than what its text towers read" in screen) is bool(count)
    assert "The prompts of" in card or not count


def test_a_fault_of_a_model_s_folder_names_the_view(
    stable_diffusion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    folder = Path(shutil.copytree(stable_diffusion, tmp_path / "model"))
    edit_json(folder / "unet" / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    row = {"name": "tiny", "kind": "noise", "family": "diffusers", "repo": str(folder), "resolution": 16,
           "shape": [4, 8, 8], "license": "none", "gflops": 1, "about": "small"}  # fmt: skip
    recipe = recipe_of("faces", ("tiny",), limit=4, rows=[row], options={"size": 16})
    with pytest.raises(UsageError, match="^view tiny: .*component unet is quantised"):
        run(recipe, tmp_path / "noisezoo")


@pytest.mark.parametrize(("family", "kind"), [("diffusers", "noise"), ("vae", "control")])
def test_a_resolution_that_the_autoencoder_does_not_divide_is_refused_before_any_picture(
    stable_diffusion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, kind: str
) -> None:
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    row = {"name": "tiny", "kind": kind, "family": family, "repo": str(stable_diffusion), "resolution": 17,
           "shape": [4, 8, 8], "license": "none", "gflops": 1, "about": "small"}  # fmt: skip
    recipe = recipe_of("faces", ("tiny",), limit=4, rows=[row], options={"size": 17})
    with pytest.raises(UsageError, match="view tiny: pictures of 17 x 17 do not fit: sides must be multiples of 2"):
        run(recipe, tmp_path / "noisezoo")


def test_two_latents_are_stored_side_by_side_and_loaded_as_the_view_s_own(tmp_path: Path) -> None:
    import noisezoo

    settings = {"scheme": "bdia", "num_inference_steps": 10, "reconstruct": 1.0}
    out = tmp_path / "noisezoo"
    assert run(digits_recipe(("digits-ddpm", "pixels-8"), limit=24, settings=settings), out)
    rows = noisezoo.load(out, views=["digits-ddpm", "pixels-8"])
    assert {"digits-ddpm", "digits-ddpm.previous_latents"} < set(rows.column_names)
    both = [noisezoo.matrix(rows, name, None) for name in ("digits-ddpm", "digits-ddpm.previous_latents")]
    assert both[0].shape == both[1].shape == (24, 64) and both[1].dtype == np.float16
    assert not np.array_equal(*both)
    card = (out / "README.md").read_text()
    assert "`previous_latents`" in card and "reconstruction PSNR, dB" in card and "| 24 |" in card
    assert "previous_latents" not in noisezoo.load(out).column_names


def test_the_card_says_of_how_many_rows_the_reconstruction_is_the_mean(built: Path) -> None:
    import noisezoo

    values = np.array(noisezoo.load(built, views=["digits-ddpm"])["digits-ddpm.reconstruction_psnr"])
    sample = np.isfinite(values)
    assert 0 < sample.sum() < 10
    lines = (built / "README.md").read_text().splitlines()
    line = next(line for line in lines if line.count("|") == 8 and "t = " in line and "digits-ddpm" in line)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert (cells[0], cells[4], cells[6]) == ("`digits-ddpm`", f"{values[sample].mean():.3f}", str(sample.sum()))
