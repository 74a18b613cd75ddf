"""Encoders against their own libraries, on folders of the classes and layout that each row of the zoo has."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Dinov2Model, DINOv3ViTModel, SiglipVisionModel, ViTConfig, ViTModel

from noisezoo import zoo
from noisezoo.builder.models.encoders import Encoder
from noisezoo.builder.models.files import Listing
from noisezoo.builder.sources.pixels import to_rgb
from noisezoo.errors import NoiseZooError, UsageError
from tests.builder.encoder_folders import ENCODER_FOLDERS, FAMILIES, pictures, pixels_by_transformers
from tests.builder.models import save_vit

ROWS = sorted(ENCODER_FOLDERS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    for name, write in ENCODER_FOLDERS.items():
        write(root / name)
    save_vit(root / "pooled", pooler=True)
    save_vit(root / "plain", pooler=False)
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(scope="module")
def encoders(folders: dict[str, Path]) -> dict[str, Encoder]:
    return {name: Encoder.from_pretrained(folders[name]) for name in ROWS}


def by_open_clip(folder: Path) -> torch.Tensor:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    embedding: torch.Tensor = model.eval().encode_image(torch.stack([preprocess(p) for p in pictures()]))
    return embedding


def by_timm(folder: Path) -> torch.Tensor:
    """The classifier kept, its input taken, and the transform from the folder's own config."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    settings = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    transform = timm.data.create_transform(
        input_size=tuple(settings["input_size"]), mean=settings["mean"], std=settings["std"],
        interpolation=settings["interpolation"], crop_pct=settings["crop_pct"], is_training=False,
    )  # fmt: skip
    pixels = torch.stack([transform(p) for p in pictures()])
    embedding: torch.Tensor = model.forward_head(model.forward_features(pixels), pre_logits=True)
    return embedding


def class_token(model: Any) -> Callable[[Path], torch.Tensor]:
    return lambda folder: model.from_pretrained(folder).eval()(pixels_by_transformers(folder)).last_hidden_state[:, 0]


def mean_of_patches(folder: Path) -> torch.Tensor:
    hidden = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()(pixels_by_transformers(folder))
    mean: torch.Tensor = hidden.last_hidden_state[:, 1:].mean(dim=1)
    return mean


def by_siglip_s_image_tower(folder: Path) -> torch.Tensor:
    pooled: torch.Tensor = (
        SiglipVisionModel.from_pretrained(folder).eval()(pixels_by_transformers(folder)).pooler_output
    )
    return pooled


REFERENCES: Mapping[str, Callable[[Path], torch.Tensor]] = {
    "clip-vit-b16": by_open_clip,
    "clip-vit-l14": by_open_clip,
    "openclip-vit-b16": by_open_clip,
    "openclip-vit-l14": by_open_clip,
    "dinov3-vit-l16": class_token(DINOv3ViTModel),
    "dinov2-vit-l14": class_token(Dinov2Model),
    "dino-vit-b8": mean_of_patches,
    "siglip2": by_siglip_s_image_tower,
    "mae-vit-b16": by_timm,
    "imagenet-vit-b16": by_timm,
}


def test_every_encoder_of_the_zoo_that_is_not_shipped_has_a_folder_here() -> None:
    rows = [row for row in zoo.rows() if row.kind == "embedding" and not row.untrained and row.folder is None]
    assert sorted(row.name for row in rows) == ROWS


@pytest.mark.parametrize("name", ROWS)
def test_every_row_embeds_as_its_own_library_does_and_does_not_normalise(
    folders: dict[str, Path], encoders: dict[str, Encoder], name: str
) -> None:
    with torch.inference_mode():
        expected = REFERENCES[name](folders[name]).numpy()
    found = encoders[name].embed(pictures())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    norms = np.linalg.norm(found.astype(np.float64), axis=1)
    assert (np.abs(norms - 1) > 0.01).all(), "embeddings must stay raw"
    assert np.ptp(norms) > 1e-5, "embeddings of different pictures must keep their lengths"


@pytest.mark.parametrize("name", ROWS)
def test_every_row_embeds_one_picture_as_among_others_and_the_same_each_time(
    encoders: dict[str, Encoder], name: str
) -> None:
    together = encoders[name].embed(pictures())
    alone = np.concatenate([encoders[name].embed([picture]) for picture in pictures()])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-4)
    assert np.array_equal(together, encoders[name].embed(pictures()))


@pytest.mark.parametrize(("dtype", "error"), [("float16", 3e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("name", ROWS)
def test_every_row_in_half_precision_stays_within_its_stated_error(
    folders: dict[str, Path], encoders: dict[str, Encoder], name: str, dtype: str, error: float
) -> None:
    full = encoders[name].embed(pictures())
    half = Encoder.from_pretrained(folders[name], dtype=dtype).embed(pictures())
    assert half.dtype == np.float32
    assert 0 < np.linalg.norm(half - full) <= error * np.linalg.norm(full)


def test_no_row_keeps_a_text_tower(encoders: dict[str, Encoder]) -> None:
    for name, vocabulary in [("clip-vit-b16", 49408), ("siglip2", 64)]:
        shapes = [tuple(p.shape) for p in encoders[name].model.parameters()]
        assert all(vocabulary not in shape for shape in shapes)


def odd_pictures() -> dict[str, Image.Image]:
    rng = np.random.default_rng(1)
    colour = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    turned = colour.copy()
    turned.getexif()[0x0112] = 6
    deep = Image.fromarray(rng.integers(0, 65536, (20, 30), dtype=np.uint16))
    return {
        "grey": colour.convert("L"), "palette": colour.convert("P"), "ink": colour.convert("CMYK"),
        "transparent": colour.convert("RGBA"), "black and white": colour.convert("1"), "16-bit": deep, "turned": turned,
        "one pixel": colour.crop((0, 0, 1, 1)), "three pixels": colour.crop((0, 0, 3, 1)),
        "wide": colour.resize((200, 5)), "large": colour.resize((900, 700)),
    }  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_every_row_embeds_a_picture_of_any_mode_and_size_as_its_rgb(encoders: dict[str, Encoder], name: str) -> None:
    odd = odd_pictures()
    found = encoders[name].embed(list(odd.values()))
    assert found.shape == (len(odd), encoders[name].embed(pictures()).shape[1])
    assert np.isfinite(found).all()
    assert np.array_equal(found, encoders[name].embed([to_rgb(picture) for picture in odd.values()]))


@pytest.mark.parametrize("name", [*FAMILIES, "plain", "pooled", "siglip2"])
def test_an_untrained_encoder_follows_its_seed_and_is_not_the_trained_one(folders: dict[str, Path], name: str) -> None:
    state = torch.random.get_rng_state()
    trained = Encoder.from_pretrained(folders[name]).embed(pictures())
    first, again, other = (
        Encoder.from_pretrained(folders[name], untrained_seed=s).embed(pictures()) for s in (5, 5, 6)
    )
    assert first.shape == trained.shape
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3)
    assert not np.allclose(first, trained, atol=1e-3)
    assert torch.equal(state, torch.random.get_rng_state()), "torch's own random state must be left alone"


def test_the_untrained_twins_are_the_libraries_own_random_starts(folders: dict[str, Path]) -> None:
    # The same start by the library's own constructor, so that equal numbers mean the same read-out and nothing else.
    settings = json.loads((folders["clip-vit-b16"] / "open_clip_config.json").read_text())["model_cfg"]
    preprocess = open_clip.create_model_and_transforms(f"local-dir:{folders['clip-vit-b16']}")[2]
    torch.manual_seed(3)
    clip = open_clip.CLIP(**settings).eval()
    torch.manual_seed(3)
    vit = ViTModel(ViTConfig.from_pretrained(folders["plain"]), add_pooling_layer=False).eval()
    with torch.inference_mode():
        expected = {
            "clip-vit-b16": clip.encode_image(torch.stack([preprocess(p) for p in pictures()])),
            "plain": vit(pixels_by_transformers(folders["plain"])).last_hidden_state[:, 1:].mean(dim=1),
        }
    for name, embedding in expected.items():
        found = Encoder.from_pretrained(folders[name], untrained_seed=3).embed(pictures())
        np.testing.assert_allclose(found, embedding, rtol=0, atol=1e-5)


def test_a_number_that_is_not_finite_is_named_by_its_picture_and_costs_the_others_nothing(
    folders: dict[str, Path],
) -> None:
    encoder = Encoder.from_pretrained(folders["plain"])
    pixels = torch.stack([encoder.prepare(picture) for picture in pictures()])
    pixels[2, 0, 0, 0] = torch.nan
    found = encoder.embed_prepared(pixels)
    assert np.isfinite(found).all(axis=1).tolist() == [True, True, False, True]
    encoder.model.layernorm.weight.fill_(torch.inf)
    with pytest.raises(NoiseZooError, match="picture 0, 1, 2, 3 is not finite in torch.float32"):
        encoder.embed(pictures())


def test_the_family_is_read_off_the_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    for name, family in FAMILIES.items():
        assert type(Encoder.from_pretrained(folders[name])).__name__ == {
            "open_clip": "OpenClip", "timm": "Timm", "transformers": "Transformers"
        }[family]  # fmt: skip
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="not an encoder's folder: it has none of open_clip_config.json with"):
        Encoder.from_pretrained(tmp_path)
    with pytest.raises(
        UsageError, match="unknown encoder family 'keras'; choose one of: open_clip, timm, transformers"
    ):
        Encoder.from_pretrained(folders["plain"], family="keras")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_hub_repository_is_fetched_by_the_family_whose_files_it_holds(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    listed, fetched = [], []

    def files(repo: str, revision: str | None, marks: list[str]) -> Listing:
        listed.append((repo, revision))
        return replace(Listing.of(folders[name]), place=repo)

    def fetch(repo: str, revision: str | None, *, family: str) -> Path:
        fetched.append((repo, revision, family))
        return folders[name]

    monkeypatch.setattr("noisezoo.builder.models.encoders.list_files", files)
    monkeypatch.setattr("noisezoo.builder.models.encoders.resolve", fetch)
    found = Encoder.from_pretrained("maker/model", revision="v1").embed(pictures())
    assert set(listed) == {("maker/model", "v1")}
    assert fetched == [("maker/model", "v1", FAMILIES[name])], "no other family's files are fetched"
    listed.clear()
    np.testing.assert_array_equal(
        Encoder.from_pretrained("maker/model", family=FAMILIES[name]).embed(pictures()), found
    )
    assert listed == [], "a family that is named is not searched for"


def test_openai_s_activation_is_the_one_that_its_config_asks_for(
    folders: dict[str, Path], encoders: dict[str, Encoder]
) -> None:
    quick, exact = (
        load_file(folders[name] / "open_clip_model.safetensors") for name in ("clip-vit-b16", "openclip-vit-b16")
    )
    assert all(torch.equal(quick[key], exact[key]) for key in exact), "the folders differ in their activation alone"
    by_quick, by_exact = (encoders[name].embed(pictures()) for name in ("clip-vit-b16", "openclip-vit-b16"))
    assert 1e-4 < np.abs(by_quick - by_exact).max() < 0.1
