"""PIE-Bench: its folder as a source, its measures against independent forms, and the table of inversions."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from transformers import ViTModel

import noisezoo
from noisezoo import cli, zoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.models.encoders import Encoder
from noisezoo.builder.sources.pie_bench import EDIT_TYPES, SIDE, decode_mask
from noisezoo.builder.sources.source import open_source
from noisezoo.builder.views import quality
from noisezoo.builder.views.edit_measures import ClipScore, Edits, Structure, encoders_of, make_measures
from noisezoo.builder.views.inversion_table import mask_at
from noisezoo.errors import UsageError
from tests.builder.building import recipe_of
from tests.builder.encoder_folders import ENCODER_FOLDERS, save_open_clip, save_timm
from tests.builder.test_quality import fake_lpips

MASKS = ([0, 4 * SIDE], [SIDE * 200 + 100, 50, SIDE * 201 + 100, 50], [0, SIDE**2], [])


def write_benchmark(folder: Path, **changes: Any) -> Path:
    """Four pictures as the authors lay them out; the last is missing. `changes` are of the first entry."""
    entries = {}
    rng = np.random.default_rng(0)
    for k, mask in enumerate(MASKS):
        path = f"{k}_type/1_artificial/{k:012d}.jpg"
        entries[f"{k:012d}"] = {
            "image_path": path, "original_prompt": f"a cat number {k}", "editing_prompt": f"a [dog] number {k}",
            "editing_instruction": "Turn it", "editing_type_id": str(k), "blended_word": "cat dog", "mask": mask,
        }  # fmt: skip
        if k < 3:
            (folder / "annotation_images" / path).parent.mkdir(parents=True)
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / "annotation_images" / path, quality=95)
    entries["000000000000"] |= changes
    entries["000000000000"] = {key: value for key, value in entries["000000000000"].items() if value is not None}
    (folder / "mapping_file.json").write_text(json.dumps(entries))
    return folder


def by_the_authors_rule(runs: Sequence[int]) -> np.ndarray:
    """A loop over every pixel of every run, and the frame."""
    flat = np.zeros(SIDE * SIDE, bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        for place in range(start, min(start + length, SIDE * SIDE)):
            flat[place] = True
    mask = flat.reshape(SIDE, SIDE)
    mask[0, :] = mask[-1, :] = mask[:, 0] = mask[:, -1] = True
    return mask


def test_a_mask_is_its_runs_over_the_rows_and_the_frame() -> None:
    rng = np.random.default_rng(1)
    drawn = np.stack([rng.integers(0, SIDE**2, 30), rng.integers(0, 900, 30)], axis=1).ravel().tolist()
    for runs in (*MASKS, drawn, [SIDE**2 - 3, 50]):
        np.testing.assert_array_equal(decode_mask(runs), by_the_authors_rule(runs))
    np.testing.assert_array_equal(mask_at(drawn, SIDE), decode_mask(drawn))
    quarter = mask_at(MASKS[0], 128)
    assert quarter.shape == (128, 128) and quarter[0].all() and not quarter[2, 1:-1].any()


def test_the_folder_is_a_dataset_with_prompts_types_and_masks_and_refuses_what_is_missing(tmp_path: Path) -> None:
    source = write_benchmark(tmp_path / "PIE")
    assert run(recipe_of(f"pie-bench:{source}", ("pixels-8",), limit=None), tmp_path / "out")
    rows = noisezoo.load(tmp_path / "out", views=["pixels-8"])
    assert len(rows) == 3
    by_id = {row["image_id"]: row for row in rows}
    row = by_id["000000000001"]
    assert (row["original_prompt"], row["editing_prompt"]) == ("a cat number 1", "a dog number 1")
    assert (row["instruction"], row["blended_word"]) == ("Turn it", "cat dog")
    assert rows.features["edit_type"].int2str(row["edit_type"]) == "change_object" == EDIT_TYPES[1]
    assert decode_mask(json.loads(row["mask"]))[200:202, 100:150].all()
    (refusal,) = [json.loads(line) for line in (tmp_path / "out" / "refusals.jsonl").read_text().splitlines()]
    assert refusal["image_id"] == "000000000003" and refusal["error"] == "FileNotFoundError"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"editing_prompt": None}, "entry 000000000000 of mapping_file.json has no editing_prompt"),
        ({"editing_type_id": "10"}, "entry 000000000000 has editing_type_id '10', not 0 to 9"),
        ({"mask": [1, 2, 3]}, "the mask of entry 000000000000 is none: 3 numbers are no pairs"),
        ({"mask": [SIDE**2, 1]}, "a run starts outside of a picture of 512 pixels a side"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(f"pie-bench:{write_benchmark(tmp_path, **changes)}").scan()


def test_a_folder_without_the_mapping_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give the folder that holds mapping_file.json and annotation_images/"):
        open_source(f"pie-bench:{tmp_path}").scan()
    with pytest.raises(UsageError, match="write pie-bench:PATH"):
        open_source("pie-bench")


def made_edits(side: int = 32) -> Edits:
    rng = np.random.default_rng(2)
    given, edited = (torch.from_numpy(rng.integers(0, 256, (3, 3, side, side)) / 127.5 - 1).float() for _ in range(2))
    masks = torch.zeros(3, side, side, dtype=torch.bool)
    masks[0, 5:20, 8:30] = True
    masks[2] = True
    return Edits(given, edited, masks, ["a dog"] * 3)


def test_what_is_outside_the_mask_is_measured_as_scikit_image_does_on_pictures_black_inside() -> None:
    edits = made_edits()
    found = {
        name: measure(edits).numpy() for name, measure in make_measures(["psnr", "mse", "ssim"], {}, "cpu").items()
    }
    for k in range(2):
        kept = ~edits.masks[k].numpy()[..., None]
        a, b = (((x[k].permute(1, 2, 0).numpy().astype(float) + 1) / 2) * kept for x in (edits.edited, edits.given))
        assert found["mse"][k] == pytest.approx(mean_squared_error(a, b), rel=1e-5)
        assert found["psnr"][k] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), rel=1e-5)
        expected = structural_similarity(
            a, b, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert found["ssim"][k] == pytest.approx(expected, abs=1e-5)
    assert all(np.isnan(column[2]) for column in found.values()), "nothing is outside of a mask over all"


def test_lpips_is_its_package_s_squeeze_net_on_what_is_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="the measure lpips needs a package: `pip install lpips`"):
        encoders_of(["lpips"])
    made, edits = fake_lpips(monkeypatch), made_edits()
    found = make_measures(["lpips"], {}, "cpu")["lpips"](edits)
    changed = (edits.edited - edits.given).abs() * ~edits.masks[:, None]
    np.testing.assert_allclose(found[:2], changed.mean(dim=(1, 2, 3))[:2], rtol=1e-5)
    assert made == [{"net": "squeeze", "verbose": False}]
    quality.lpips_network.cache_clear()


def similarity(keys: torch.Tensor) -> torch.Tensor:
    """Cosine of every two tokens of (b, tokens, d)."""
    return torch.nn.functional.cosine_similarity(keys[:, :, None], keys[:, None], dim=-1)


@pytest.mark.parametrize("family", ["transformers", "timm"])
def test_the_structure_distance_compares_the_keys_of_the_last_attention(tmp_path: Path, family: str) -> None:
    if family == "transformers":
        ENCODER_FOLDERS["dino-vit-b8"](tmp_path / "model")
        model: Any = ViTModel.from_pretrained(tmp_path / "model", add_pooling_layer=False).eval()
    else:
        save_timm(tmp_path / "model", "vit_base_patch16_224.dino", img_size=224, embed_dim=24, depth=2, num_heads=3)
        model = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True, num_classes=0).eval()

    def keys(images: torch.Tensor) -> torch.Tensor:
        """The last block's normalised input under the key weights alone."""
        resized = torch.nn.functional.interpolate((images + 1) / 2 * 255, size=(224, 224), mode="bilinear")
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = (resized - mean[:, None, None]) / std[:, None, None]
        if family == "transformers":
            hidden = model(pixels, output_hidden_states=True).hidden_states[-2]
            last = model.layers[-1]
            return last.attention.k_proj(last.layernorm_before(hidden))
        _, between = model.forward_intermediates(pixels, indices=[0], return_prefix_tokens=True, output_fmt="NLC")[:2]
        tokens = torch.cat([between[0][1], between[0][0]], dim=1)
        last = model.blocks[-1]
        normal = last.norm1(tokens)
        return normal @ last.attn.qkv.weight[24:48].T + last.attn.qkv.bias[24:48]

    edits = made_edits()
    structure = Structure(Encoder.from_pretrained(tmp_path / "model"))
    with torch.inference_mode():
        expected = (similarity(keys(edits.edited)) - similarity(keys(edits.given))).pow(2).mean(dim=(1, 2))
        np.testing.assert_allclose(structure(edits.edited, edits.given), expected, rtol=1e-3)
        assert structure(edits.given, edits.given).abs().max() < 1e-12


def test_the_clip_score_is_the_cosine_of_picture_and_prompt_by_open_clip_and_never_negative(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    save_open_clip(folder, patch_size=14, embed_dim=12, quick_gelu=True)
    row = zoo.View("mine", "embedding", "open_clip", str(folder), 28, (12,), "MIT", 0.0, "a stand-in")
    edits, prompts = made_edits(), ["a dog", "a red house", "two old trees"]
    found = ClipScore(row, "cpu")(edits.edited, prompts).numpy()
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        pictures = [Image.fromarray(np.uint8(np.round((x.permute(1, 2, 0).numpy() + 1) * 127.5))) for x in edits.edited]
        seen = model.eval().encode_image(torch.stack([preprocess(picture) for picture in pictures]))
        said = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(prompts))
        cosine = torch.cosine_similarity(seen, said).numpy()
    np.testing.assert_allclose(found, np.maximum(100 * cosine, 0), atol=1e-4)
    assert (cosine > 0).any() and len({*found}) > 1
    dino = zoo.View("other", "embedding", "timm", str(folder), 28, (12,), "MIT", 0.0, "no text")
    with pytest.raises(UsageError, match="prompts are compared with pictures by an open_clip model"):
        ClipScore(dino, "cpu")


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """A small model that reads prompts, and stand-ins of what the measures read: the options that name them."""
    ENCODER_FOLDERS["dino-vit-b8"](tmp_path / "dino")
    ENCODER_FOLDERS["clip-vit-l14"](tmp_path / "clip")
    return ["--view", "faces-ldm", "--folder", f"dino-vit-b8={tmp_path / 'dino'}",
            "--folder", f"clip-vit-l14={tmp_path / 'clip'}"]  # fmt: skip


def command(monkeypatch: pytest.MonkeyPatch, *given: str) -> int:
    monkeypatch.setattr(sys, "argv", ["noisezoo", "inversions", *given])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_the_table_holds_every_scheme_and_measure_and_an_exact_scheme_brings_pictures_back(
    tmp_path: Path, models: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_benchmark(tmp_path / "PIE"), tmp_path / "rows.csv"
    measures = "structure,psnr,mse,ssim,clip_whole,clip_edited"
    assert command(monkeypatch, f"pie-bench:{source}", *models, "--schemes", "ddim,bdia", "--steps", "4", "--measures",
                   measures, "--batch-size", "2", "--out", str(out)) == 0  # fmt: skip
    rows = pd.read_csv(out, dtype={"image_id": str})
    assert len(rows) == 3 * 2 * 2 and set(rows["task"]) == {"reconstruction", "edit"}
    assert set(rows.columns) == {"scheme", "task", "image_id", "edit_type", *measures.split(",")}
    assert set(rows["edit_type"]) == set(EDIT_TYPES[:3])
    by = rows.set_index(["scheme", "task", "image_id"])
    back = by.xs("reconstruction", level="task")
    first = [f"{k:012d}" for k in range(2)]
    assert (back.loc["bdia"].loc[first, "psnr"] >= back.loc["ddim"].loc[first, "psnr"]).all()
    whole = by.xs("000000000002", level="image_id")
    assert whole["psnr"].isna().all() and whole["structure"].notna().all()
    edit = by.xs("edit", level="task")
    assert (edit.loc["bdia"].loc[first, "structure"] > back.loc["bdia"].loc[first, "structure"]).all()
    said = capsys.readouterr().out
    mean = edit.loc["bdia", "ssim"].mean() * 100
    assert f"{mean:.2f} [" in said and "structure x 1000" in said and "CLIP edited" in said
    assert "3 pictures, 4 steps" in said and "refused: 000000000003: " in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--schemes", "ddmi"], "unknown scheme 'ddmi'; did you mean ddim?"),
        (["--measures", "psnr,fid"], "no measure 'fid'; choose of: structure, psnr"),
        (["--measures", "psnr", "--folder", "clip-vit-l14=x"], "that view is not read here"),
        (["--measures", "psnr", "--view", "digits-ddpm"], "its model reads no prompts"),
        (["--measures", "psnr", "--set", "steps=3"], "setting steps: Extra inputs are not permitted"),
        (["--schemes", ","], "name at least one scheme"),
        (["--measures", "lpips"], "needs a package"),
    ],
)
def test_what_cannot_be_tabled_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    source = f"pie-bench:{write_benchmark(tmp_path / 'PIE')}"
    assert command(monkeypatch, source, "--view", "faces-ldm", *given) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


def test_another_source_has_nothing_to_edit_by(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "digits", "--measures", "psnr") == 2
    assert "source digits has no prompts and masks of edits: give pie-bench:PATH" in capsys.readouterr().err
