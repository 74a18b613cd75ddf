"""Rows that are read off a model's own files."""

from pathlib import Path

import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from noisezoo import zoo
from noisezoo.builder.models.describe import describe, row_yaml
from noisezoo.builder.models.encoders import Encoder
from noisezoo.errors import UsageError
from noisezoo.zoo import View
from tests.builder.encoder_folders import ENCODER_FOLDERS, pictures
from tests.builder.folders import edit_json, save_diffusion
from tests.builder.models import save_unconditional, save_vit


@pytest.mark.parametrize("name", sorted(ENCODER_FOLDERS))
def test_an_encoder_s_row_says_what_its_folder_gives(name: str, tmp_path: Path) -> None:
    ENCODER_FOLDERS[name](tmp_path / "My_Model v2")
    row = describe(zoo.get(name).family, tmp_path / "My_Model v2")
    encoder = Encoder.from_pretrained(tmp_path / "My_Model v2")
    assert (row.name, row.kind, row.family) == ("my-model-v2", "embedding", zoo.get(name).family)
    assert row.folder == tmp_path / "My_Model v2"
    assert row.shape == encoder.embed(pictures()).shape[1:]
    assert row.resolution == encoder.prepare(pictures()[0].convert("RGB")).shape[-1]


def test_a_transformer_s_work_is_what_its_sizes_make(tmp_path: Path) -> None:
    ENCODER_FOLDERS["clip-vit-b16"](tmp_path / "model")
    n, d, layers, patch, out = 5, 16, 2, 16, 8
    block = 24 * n * d**2 + 4 * n**2 * d  # projections and a fourfold hidden layer, then the products of attention
    expected = 2 * (n - 1) * 3 * patch**2 * d + layers * block + 2 * d * out
    fused = torch.backends.mha.get_fastpath_enabled()
    assert describe("open_clip", tmp_path / "model").gflops == pytest.approx(expected / 1e9, rel=5e-3)
    assert torch.backends.mha.get_fastpath_enabled() == fused


@pytest.mark.parametrize("name", ["faces-ddpm", "faces-ldm-uncond", "digits-ddpm", "faces-clip", "faces-ssl"])
def test_a_shipped_model_is_described_as_the_zoo_has_it(name: str) -> None:
    row = zoo.get(name)
    assert row.folder is not None
    found = describe(row.family, row.folder)
    for field in ("kind", "family", "resolution", "shape", "clip_conditioned"):
        assert getattr(found, field) == getattr(row, field), field
    assert found.license.lower() == row.license.lower()
    assert (found.autoencoder is None) == (row.autoencoder is None)
    if row.kind == "noise":
        assert found.gflops == pytest.approx(row.gflops, rel=0.1)
        assert found.autoencoder_gflops == pytest.approx(row.autoencoder_gflops, rel=0.1)


def test_a_latent_model_s_row_has_its_sides_and_the_work_of_its_denoiser_alone(tmp_path: Path) -> None:
    save_diffusion("sd15", tmp_path / "model")
    row = describe("diffusers", tmp_path / "model")
    assert (row.kind, row.resolution, row.shape, row.clip_conditioned) == ("noise", 16, (4, 8, 8), True)
    assert row.autoencoder == "model-vae" and row.autoencoder_gflops > 0
    network = UNet2DConditionModel.from_pretrained(tmp_path / "model" / "unet")
    network.set_attn_processor(AttnProcessor())  # by plain products, which every torch counts
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 4, 8, 8), 1, encoder_hidden_states=torch.zeros(1, 77, 8))
    # The tokenizer of a small folder may pad to fewer than CLIP's 77 tokens, which is a small share of the work.
    assert row.gflops == pytest.approx(counter.get_total_flops() / 1e9, rel=0.05)


def test_a_denoiser_that_names_no_size_takes_its_autoencoder_s(tmp_path: Path) -> None:
    save_diffusion("flux-dev", tmp_path / "model")
    row = describe("diffusers", tmp_path / "model")
    assert (row.resolution, row.shape) == (48, (4, 24, 24))
    save_unconditional(tmp_path / "pixels")
    edit_json(tmp_path / "pixels" / "unet" / "config.json", sample_size=None)
    with pytest.raises(UsageError, match="no sample_size in its configs says the resolution: write its row by hand"):
        describe("diffusers", tmp_path / "pixels")


def test_a_model_that_reads_no_clip_is_told_from_one_that_does(tmp_path: Path) -> None:
    for name, reads in [("sd3-medium", True), ("pixart", False)]:
        save_diffusion(name, tmp_path / name)
        assert describe("diffusers", tmp_path / name).clip_conditioned is reads


def test_pickles_are_read_where_they_are_asked_for_and_for_no_encoder(tmp_path: Path) -> None:
    save_diffusion("ldm-celebahq-256", tmp_path / "model")
    with pytest.raises(UsageError, match="pickled"):
        describe("diffusers", tmp_path / "model")
    row = describe("diffusers", tmp_path / "model", pickled=True)
    assert row.pickled and row.shape[0] == 3
    with pytest.raises(UsageError, match="safetensors alone"):
        describe("timm", tmp_path / "model", pickled=True)


def test_pictures_that_are_not_square_have_no_row(tmp_path: Path) -> None:
    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=(16, 24), patch_size=8)
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 16, "width": 24}).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"is for pictures of \(16, 24\) pixels: a view's are square"):
        describe("transformers", tmp_path)


@pytest.mark.parametrize(
    ("readme", "license"),
    [
        (None, "unknown"),
        ("# A model\n\nlicense: mit\n", "unknown"),
        ("---\ntags: [a]\nlicense: mit\n---\n# A model\n", "mit"),
        ("---\nlicense: other\nlicense_name: own-terms\n---\n", "own-terms"),
        ("---\nlicense: other\n---\n", "unknown"),
        ("---\nlicense: [unclosed\n---\n", "unknown"),
    ],
)
def test_a_licence_is_what_the_readme_says_or_unknown(tmp_path: Path, readme: str | None, license: str) -> None:
    save_vit(tmp_path / "model", pooler=True)
    if readme is not None:
        (tmp_path / "model" / "README.md").write_text(readme)
    assert describe("transformers", tmp_path / "model").license == license


def test_a_row_s_name_is_free_and_it_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_vit(tmp_path / "faces-ssl", pooler=True)
    row = describe("transformers", tmp_path / "faces-ssl")
    assert row.name == "faces-ssl-2"
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    assert zoo.register(row).baseline == "faces-ssl-2-untrained"


def test_a_relative_folder_stays_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_vit(tmp_path / "models" / "vit", pooler=True)
    monkeypatch.chdir(tmp_path)
    row = describe("transformers", "models/vit")
    assert row.repo == "./models/vit"
    assert row.folder == Path("models/vit")
    monkeypatch.chdir(tmp_path / "models" / "vit")
    assert describe("transformers", ".").name == "vit"


@pytest.mark.parametrize("name", ["sd15", "siglip2"])
def test_the_yaml_of_a_row_is_the_row(name: str) -> None:
    row = zoo.get(name)
    text = row_yaml(row)
    (read,) = yaml.safe_load(text)["rows"]
    assert View(**{key: tuple(value) if isinstance(value, list) else value for key, value in read.items()}) == row
    assert "untrained:" not in text, "fields at their default are left out"


def test_an_unknown_family_and_a_folder_of_another_are_refused(tmp_path: Path) -> None:
    save_vit(tmp_path / "model", pooler=True)
    with pytest.raises(
        UsageError, match="unknown family 'vae'; choose one of: diffusers, open_clip, timm, transformers"
    ):
        describe("vae", tmp_path / "model")
    for family in ("diffusers", "open_clip", "timm"):
        with pytest.raises(UsageError):
            describe(family, tmp_path / "model")
