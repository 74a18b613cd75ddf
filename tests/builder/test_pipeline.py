"""Folders that are not what the inverter needs are refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from noisezoo.builder.models.inverter import Inverter
from noisezoo.errors import UsageError


@pytest.fixture
def folder(unconditional: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(unconditional, tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(folder: Path | str, **settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        Inverter.from_pretrained(folder, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_unknown_scheme_is_refused_with_the_known_ones(folder: Path) -> None:
    assert refusal(folder, scheme="dpm").startswith("unknown scheme 'dpm'; choose one of: ddim, ")


def test_a_folder_without_an_index_is_not_a_pipeline(tmp_path: Path) -> None:
    assert "is not a diffusers pipeline: it has no model_index.json" in refusal(tmp_path)


def test_an_index_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / "model_index.json").write_text("<html>")
    assert "model_index.json is not a JSON object" in refusal(folder)


def test_a_missing_component_folder_is_refused_by_name(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    assert "lacks its component unet/" in refusal(folder)


def test_missing_weights_are_refused_by_component(folder: Path) -> None:
    next((folder / "unet").glob("*.safetensors")).unlink()
    assert "lacks unet/diffusion_pytorch_model.safetensors" in refusal(folder)


def test_truncated_weights_are_refused_by_component(folder: Path) -> None:
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "component unet cannot be loaded" in refusal(folder)


def test_an_index_without_a_denoiser_is_refused(folder: Path) -> None:
    edit(folder / "model_index.json", unet=[None, None])
    assert "has no denoiser" in refusal(folder)


def test_a_missing_schedule_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")
    assert "has no scheduler/scheduler_config.json" in refusal(folder)


def test_a_component_class_from_elsewhere_is_never_imported_as_a_model(folder: Path) -> None:
    edit(folder / "model_index.json", unet=["os", "system"])
    assert "component unet is a os.system, which is not a class we load" in refusal(folder)


def test_a_component_from_a_module_that_does_not_exist_is_refused_in_one_line(folder: Path) -> None:
    edit(folder / "model_index.json", unet=["my_custom_pipeline", "MyUNet"])
    assert "component unet is a my_custom_pipeline.MyUNet" in refusal(folder)


def test_a_network_of_another_kind_is_refused_by_its_class(folder: Path) -> None:
    from diffusers import UNet1DModel

    UNet1DModel(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), extra_in_channels=0,
                down_block_types=("DownBlock1D", "DownBlock1D"), up_block_types=("UpBlock1D", "UpBlock1D"),
                ).save_pretrained(folder / "unet")  # fmt: skip
    edit(folder / "model_index.json", unet=["diffusers", "UNet1DModel"])
    assert "cannot invert through a UNet1DModel" in refusal(folder)


def test_conditions_that_no_denoiser_knows_are_refused_by_name(stable_diffusion: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stable_diffusion, tmp_path / "model"))
    edit(folder / "unet" / "config.json", addition_embed_type="text")
    shutil.rmtree(folder / "unet" / "x", ignore_errors=True)
    assert "cannot invert through a UNet2DConditionModel with text conditions" in refusal(folder, untrained_seed=0)


def test_a_text_conditioned_model_without_its_tokenizer_is_refused(stable_diffusion: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stable_diffusion, tmp_path / "model"))
    edit(folder / "model_index.json", tokenizer=[None, None])
    assert "takes a prompt, but has no tokenizer and text_encoder" in refusal(folder)


def test_a_name_that_is_neither_folder_nor_reachable_is_refused() -> None:
    assert "it is no folder here, and offline the cache on this machine lacks it" in refusal("nobody/no-such-model")
