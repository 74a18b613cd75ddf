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
