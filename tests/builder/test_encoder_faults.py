"""Encoder folders that are broken, each refused in one line that names the fault."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from noisezoo.builder.models.encoders import Encoder
from noisezoo.errors import UsageError
from tests.builder.encoder_folders import ENCODER_FOLDERS, FAMILIES, pictures
from tests.builder.models import save_vit


def check_refused(folder: Path, match: str) -> None:
    """Loading must fail in one line that says so."""
    with pytest.raises(UsageError, match=match) as caught:
        Encoder.from_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_missing_and_pickled_weights_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    ENCODER_FOLDERS[name](folder)
    weights = next(folder.glob("*.safetensors"))
    torch.save(load_file(weights), folder / "open_clip_pytorch_model.bin")
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    check_refused(folder, f"model holds no weights in safetensors: it lacks {weights.name}")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_truncated_file_is_named(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    ENCODER_FOLDERS[name](folder)
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    check_refused(folder, f"{weights.name} is truncated or damaged")


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_that_lack_a_tensor_are_refused_and_never_filled_at_random(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    ENCODER_FOLDERS[name](folder)
    path = next(folder.glob("*.safetensors"))
    tensors = load_file(path)
    gone = next(key for key in tensors if "norm" in key or "ln_" in key)
    save_file({key: value for key, value in tensors.items() if key != gone}, path, metadata={"format": "pt"})
    check_refused(folder, gone.split(".")[-2])


def test_a_sharded_checkpoint_reads_as_a_whole_one_and_a_missing_shard_is_named(tmp_path: Path) -> None:
    whole = save_vit(tmp_path / "whole", pooler=True)
    save_vit(tmp_path / "sharded", pooler=True)
    (tmp_path / "sharded" / "model.safetensors").unlink()
    whole.save_pretrained(tmp_path / "sharded", max_shard_size="5KB")
    shards = sorted((tmp_path / "sharded").glob("model-*.safetensors"))
    assert len(shards) > 1
    expected = Encoder.from_pretrained(tmp_path / "whole").embed(pictures())
    assert np.array_equal(Encoder.from_pretrained(tmp_path / "sharded").embed(pictures()), expected)
    shards[1].unlink()
    with pytest.raises(UsageError, match=f"sharded lacks {shards[1].name}, which model.safetensors.index.json lists"):
        Encoder.from_pretrained(tmp_path / "sharded")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_folder_that_asks_for_custom_code_is_refused(tmp_path: Path, name: str) -> None:
    save_vit(tmp_path / "model", pooler=False)
    path = tmp_path / "model" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoModel": "own.Model"}}))
    with pytest.raises(UsageError, match=f"{name} asks for custom code"):
        Encoder.from_pretrained(tmp_path / "model")


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    save_vit(tmp_path / "model", pooler=False)
    (tmp_path / "model" / "config.json").write_text("{")
    with pytest.raises(UsageError, match="config.json is not a JSON object"):
        Encoder.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("name", ["imagenet-vit-b16", "mae-vit-b16", "clip-vit-b16", "dinov2-vit-l14"])
@pytest.mark.parametrize("which", [0, -1])
def test_any_tensor_that_the_weights_lack_is_named(name: str, which: int, tmp_path: Path) -> None:
    """timm asks for all of them only where the classifier is kept, and this one has 1000 classes."""
    folder = tmp_path / "model"
    ENCODER_FOLDERS[name](folder)
    path = next(folder.glob("*.safetensors"))
    tensors = load_file(path)
    needed = sorted(key for key in tensors if key.startswith(("blocks.", "visual.transformer", "encoder.layer")))
    gone = needed[which]
    save_file({key: value for key, value in tensors.items() if key != gone}, path, metadata={"format": "pt"})
    renamed = name == "dinov2-vit-l14"  # transformers names its tensors anew as it reads them
    check_refused(folder, f"lack.* encoder.layer.*{gone[-4:]}" if renamed else gone.split(".", 1)[1])


@pytest.mark.parametrize("name", FAMILIES)
def test_surplus_tensors_are_let_be(name: str, tmp_path: Path) -> None:
    for folder in (tmp_path / "model", tmp_path / "more"):
        ENCODER_FOLDERS[name](folder)
    path = next((tmp_path / "more").glob("*.safetensors"))
    save_file({**load_file(path), "left.over": torch.zeros(3)}, path, metadata={"format": "pt"})
    plain, more = (Encoder.from_pretrained(tmp_path / which).embed(pictures()) for which in ("model", "more"))
    assert np.array_equal(plain, more)


def test_an_untrained_twin_never_downloads_trained_towers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open_clip config with `timm_model_pretrained: true` makes a tower fetch weights when it is built."""
    import open_clip
    import timm

    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": True,
                       "timm_pool": "", "timm_proj": "linear"},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }  # fmt: skip
    fetched: list[bool] = []
    create = timm.create_model

    def watched(name: str, pretrained: bool = False, **options: object) -> object:
        fetched.append(pretrained)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", watched)
    quiet = {**config, "vision_cfg": {**config["vision_cfg"], "timm_model_pretrained": False}}  # type: ignore[dict-item]
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(open_clip.CustomTextCLIP(**quiet).state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {**config, "custom_text": True}, "preprocess_cfg": {}})
    )
    fetched.clear()
    first, other = (Encoder.from_pretrained(folder, untrained_seed=seed).embed(pictures()) for seed in (1, 2))
    assert fetched and not any(fetched)
    assert not np.allclose(first, other, atol=1e-3)


def test_a_processor_of_another_size_than_the_network_s_is_refused_before_any_picture(tmp_path: Path) -> None:
    from transformers import ViTImageProcessor

    save_vit(tmp_path / "model", pooler=False)
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "model")
    check_refused(tmp_path / "model", "its preprocessing does not suit its network")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_git_lfs_pointer_is_named_with_its_mend(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    ENCODER_FOLDERS[name](folder)
    next(folder.glob("*.safetensors")).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    check_refused(folder, "is a git-lfs pointer and not the file itself: run `git lfs pull`")


def test_pickles_of_an_encoder_are_told_to_be_converted_and_not_to_be_trusted(tmp_path: Path) -> None:
    save_vit(tmp_path / "model", pooler=False)
    path = tmp_path / "model" / "model.safetensors"
    torch.save(load_file(path), tmp_path / "model" / "pytorch_model.bin")
    path.unlink()
    with pytest.raises(UsageError, match="convert pytorch_model.bin to safetensors$"):
        Encoder.from_pretrained(tmp_path / "model", family="transformers")
