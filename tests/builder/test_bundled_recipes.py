"""The bundled recipes for real pictures: planned, scripted, and executed on small folders of the same classes."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import AutoencoderKL, VQModel

import noisezoo
from noisezoo import zoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.import_arrays import NAMES
from noisezoo.builder.recipe import Recipe, read_recipe
from noisezoo.record import read_record
from tests.builder.encoder_folders import save_dinov3, save_open_clip, save_timm
from tests.builder.folders import save_diffusion
from tests.builder.image_sources import people, write_parquet
from tests.builder.test_afhq import write_hub

RECIPES = ("celeba-paper", "celeba-release", "celeba", "afhq", "afhqv2")
LEVELS = {"sd15": 4, "sd21-base": 4, "lcm": 4, "dit-xl-2-256": 4, "ldm-celebahq-256": 3}
"""Noise view -> levels of its autoencoder, which halve the side but for the first, as on the Hub."""
SIDE = 64
"""Pixels a side of the noise views' pictures here: their latents are 8 a side, or 16."""


def save_deep(name: str, folder: Path) -> None:
    """A diffusion folder whose autoencoder divides the side as the Hub's does."""
    import torch

    save_diffusion(name, folder)
    levels = LEVELS[name]
    blocks: dict[str, Any] = {"block_out_channels": (4,) * levels, "norm_num_groups": 4,
                              "down_block_types": ("DownEncoderBlock2D",) * levels,
                              "up_block_types": ("UpDecoderBlock2D",) * levels}  # fmt: skip
    part = next(folder / kind for kind in ("vae", "vqvae") if (folder / kind).is_dir())
    pickled = {"safe_serialization": not zoo.get(name).pickled}
    for weights in [*part.glob("*.safetensors"), *part.glob("*.bin")]:
        weights.unlink()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(levels)
        if part.name == "vae":
            AutoencoderKL(latent_channels=4, **blocks).save_pretrained(part, **pickled)
        else:
            VQModel(latent_channels=3, num_vq_embeddings=32, **blocks).save_pretrained(part, **pickled)


def save_wide_dinov2(folder: Path) -> None:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    Dinov2Model(Dinov2Config(hidden_size=1024, num_hidden_layers=1, num_attention_heads=8, mlp_ratio=1, image_size=28,
                             patch_size=14)).save_pretrained(folder)  # fmt: skip
    BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(folder)


def save_wide_siglip(folder: Path) -> None:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    tower = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 8, "intermediate_size": 16}
    text = {**tower, "vocab_size": 64, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    SiglipModel(SiglipConfig(text_config=text, vision_config={**tower, "image_size": 32, "patch_size": 16})
                ).save_pretrained(folder)  # fmt: skip
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


WIDE: Mapping[str, Any] = {"img_size": 32, "embed_dim": 768, "depth": 1, "num_heads": 8, "mlp_ratio": 0.1}
ENCODERS: Mapping[str, Callable[[Path], None]] = {
    "clip-vit-b16": partial(save_open_clip, patch_size=16, embed_dim=512, quick_gelu=True),
    "clip-vit-l14": partial(save_open_clip, patch_size=14, embed_dim=768, quick_gelu=True),
    "openclip-vit-b16": partial(save_open_clip, patch_size=16, embed_dim=512, quick_gelu=False),
    "openclip-vit-l14": partial(save_open_clip, patch_size=14, embed_dim=768, quick_gelu=False),
    "dinov3-vit-l16": partial(save_dinov3, width=1024),
    "dinov2-vit-l14": save_wide_dinov2,
    "siglip2": save_wide_siglip,
    "mae-vit-b16": partial(save_timm, name="vit_base_patch16_224.mae", **WIDE),
    "imagenet-vit-b16": partial(save_timm, name="vit_base_patch16_224.augreg2_in21k_ft_in1k", **WIDE),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources as on the Hub, few pictures each, and a small folder for every model that a recipe names."""
    root = tmp_path_factory.mktemp("recipes")
    write_parquet(root / "celeba", people(30))
    write_hub(root / "afhq", n=12)
    for name in LEVELS:
        save_deep(name, root / "models" / name)
    for name, save in ENCODERS.items():
        save(root / "models" / name)
    return root


def small(name: str, world: Path, **overrides: Any) -> Recipe:
    """A bundled recipe on the small source and models: nothing else is changed but sizes, limit and dtype."""
    recipe = read_recipe(name)
    wanted = {row.repo for row in recipe.zoo_rows()}
    folders = {each: str(world / "models" / each) for each in (*LEVELS, *ENCODERS) if zoo.get(each).repo in wanted}
    sizes = {each: {**recipe.view_settings.get(each, {}), "resolution": SIDE} for each in LEVELS}
    source = {"name": f"{recipe.source.name}:{world / recipe.source.name.removesuffix('v2')}", "limit": 6}
    settings = {"dtype": "float32", "reconstruct": 0.5 if recipe.settings.reconstruct else 0}
    return read_recipe(name, {"source": source, "folders": folders, "settings": settings, "view_settings": sizes,
                              "slice_rows": 4, "pca_dims": 16, **overrides})  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_s_build_is_whole_sound_and_says_where_its_noise_ends(name: str, world: Path, tmp_path: Path) -> None:
    recipe = small(name, world)
    assert run(recipe, tmp_path / "out")
    report = verify(tmp_path / "out")
    assert report.ok, report.findings[:3]
    (section,) = read_record(tmp_path / "out").sections  # type: ignore[union-attr]
    assert tuple(section.view_names) == recipe.views and section.rows == (3 if name == "celeba-paper" else 6)
    noise = [view["name"] for view in section.views if view["family"] == "diffusers"]
    ends = {view: section.facts[view]["x_T_time"] for view in noise}
    if name == "celeba-paper":
        assert ends == {"sd15": 981, "sd21-base": 981, "lcm": 894} and set(section.splits) == {"validation"}
    elif name == "celeba-release":
        assert ends == {"sd15": 895, "sd21-base": 895, "lcm": 894} and set(section.splits) == {"train"}
    else:
        for view in section.views:
            if view["family"] == "residual":
                check_residual(tmp_path / "out", view["name"], view["autoencoder"], section.facts[view["name"]])
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(f"t = {end:g}: " in card for end in ends.values())


def check_residual(out: Path, name: str, latent: str, facts: Mapping[str, float]) -> None:
    """By numpy, from what is published of the two views."""
    views = [name.removesuffix("-residual"), latent, name]
    rows = noisezoo.load(out, views=views)
    x, z, rest = (noisezoo.matrix(rows, view) for view in views)
    np.testing.assert_array_equal(rest, (x - np.float32(facts["x_T_a"]) * z).astype(np.float16).astype(np.float32))
    assert 0 < facts["x_T_a"] < 0.2


def test_the_release_s_views_are_those_that_the_published_files_are_imported_as() -> None:
    recipe = read_recipe("celeba-release")
    assert set(recipe.views) == set(NAMES.values())
    shapes = {row.name: row.shape for row in recipe.zoo_rows()}
    assert {shapes[view] for view in ("sd15", "sd21-base", "lcm")} == {(4, 64, 64)}, "their rows hold 16,384 numbers"
    assert recipe.source.split == "train" and recipe.settings_of("lcm").num_inference_steps == 150


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_planned_and_scripted_by_its_name_alone(
    name: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.noisezoo.test_cli import run as command

    assert command(monkeypatch, "plan", name, "--gpu", "rtx4090", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    counts = {"celeba-paper": 19_867, "celeba-release": 162_770, "celeba": 202_599, "afhq": 16_130, "afhqv2": 15_803}
    assert made["images"] == counts[name] and made["device_memory"] < 24e9
    recipe = small(name, world)
    folders = [f"--folder={each}={path}" for each, path in recipe.folders.items()]
    nodes = ["--out", str(tmp_path / "out"), "--nodes", "2", "--gpus-per-node", "4", "--time", "1:00:00"]
    code = command(monkeypatch, "cluster", "slurm", name, "--source", recipe.source.name, *folders, *nodes)
    assert code == 0 and "--nodes=2" in (tmp_path / "out" / "_build" / "cluster" / "slurm.sh").read_text()


def test_the_release_s_lcm_has_no_guidance_input_and_its_stable_diffusion_one_pass(tmp_path: Path) -> None:
    import torch

    from noisezoo.builder.models import Inverter

    state = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for name in ("lcm", "sd15"):
        folder = save_diffusion(name, tmp_path / name)
        networks = [Inverter.from_pretrained(folder, num_inference_steps=2, guidance_scale=scale, prompt=prompt).network
                    for scale, prompt in ((None, "a face"), (1.0, "a face"))]  # fmt: skip
        with torch.inference_mode():
            without, ones = (network(state, 500) for network in networks)
        assert ("timestep_cond" in networks[0].conditional) is False and not networks[0].guided
        assert torch.equal(without, ones) is (name == "sd15"), "a scale of 1 is an input of the LCM, none is not"
