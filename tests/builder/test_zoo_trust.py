"""Weights and code in a folder that must not be trusted, and folders that lack a part."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from noisezoo.builder.models.inverter import Inverter
from noisezoo.errors import UsageError
from tests.builder.folders import (
    PICKLED,
    PROMPT,
    Folders,
    edit_json,
    latents,
    pictures,
    save_diffusion,
    shard_denoiser,
)
from tests.builder.references import load_reference, reference


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("diffusion"))


def open_folder(folder: Path, **settings: Any) -> Inverter:
    return Inverter.from_pretrained(folder, num_inference_steps=2, device="cpu", **settings)


def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def refusal(folder: Path, **settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        open_folder(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Bomb:
    """Something that writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("row", PICKLED)
def test_pickled_weights_are_read_only_where_asked_for(row: str, folders: Folders) -> None:
    message = refusal(folders[row])
    assert "pickled" in message
    assert "safetensors" in message
    assert open_folder(folders[row], pickled=True).invert(pictures(row)).isfinite().all()


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(part: str, folders: Folders, tmp_path: Path) -> None:
    folder, marker = copy(folders["dit-xl-2-256"], tmp_path), tmp_path / "ran"
    weights = folder / part / "diffusion_pytorch_model.bin"
    torch.save({**torch.load(weights), "bomb": Bomb(marker)}, weights)
    assert part in refusal(folder, pickled=True)
    assert not marker.exists()
    torch.load(weights, weights_only=False)
    assert marker.exists(), "the pickle must be a dangerous one for this to mean anything"


def test_a_bare_pickle_that_is_no_torch_file_is_refused_and_runs_nothing(folders: Folders, tmp_path: Path) -> None:
    folder, marker = copy(folders["dit-xl-2-256"], tmp_path), tmp_path / "ran"
    weights = folder / "transformer" / "diffusion_pytorch_model.bin"
    weights.write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    refusal(folder, pickled=True)
    assert not marker.exists()


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_a_pickle_beside_safetensors_is_never_opened(part: str, folders: Folders, tmp_path: Path) -> None:
    folder, marker = copy(folders["sd15"], tmp_path), tmp_path / "ran"
    for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin"):
        torch.save({"bomb": Bomb(marker)}, folder / part / name)
    found = open_folder(folder, pickled=True).invert(pictures("sd15"))
    assert torch.equal(found, open_folder(folders["sd15"]).invert(pictures("sd15")))
    assert not marker.exists()


@pytest.mark.parametrize("pickled", [False, True])
def test_a_text_tower_that_is_only_a_pickle_with_code_is_refused_and_runs_none(
    pickled: bool, folders: Folders, tmp_path: Path
) -> None:
    folder, marker = copy(folders["sd15"], tmp_path), tmp_path / "ran"
    (folder / "text_encoder" / "model.safetensors").unlink()
    torch.save({"bomb": Bomb(marker)}, folder / "text_encoder" / "pytorch_model.bin")
    assert "text_encoder" in refusal(folder, pickled=pickled)
    assert not marker.exists()


def code(marker: Path, name: str, base: str) -> str:
    return (
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
        f"import diffusers, transformers\nclass {name}({base}):\n    pass\n"
    )


def test_a_folder_s_own_pipeline_code_never_runs(folders: Folders, tmp_path: Path) -> None:
    folder, marker = copy(folders["lcm"], tmp_path), tmp_path / "ran"
    base = "diffusers.LatentConsistencyModelPipeline"
    (folder / "pipeline.py").write_text(code(marker, "MyPipeline", base))
    edit_json(folder / "model_index.json", _class_name=["pipeline", "MyPipeline"])
    assert open_folder(folder).invert(pictures("lcm")).isfinite().all()
    assert not marker.exists()
    diffusers.DiffusionPipeline.from_pretrained(folder, custom_pipeline=str(folder), trust_remote_code=True)
    assert marker.exists(), "the code must be one that diffusers would run for this to mean anything"


def test_a_component_whose_class_is_the_folder_s_own_code_is_refused_and_never_runs(
    folders: Folders, tmp_path: Path
) -> None:
    folder, marker = copy(folders["sd15"], tmp_path), tmp_path / "ran"
    (folder / "unet" / "my_unet.py").write_text(code(marker, "MyUNet", "diffusers.UNet2DConditionModel"))
    edit_json(folder / "model_index.json", unet=["my_unet", "MyUNet"])
    assert "component unet is a my_unet.MyUNet" in refusal(folder)
    assert not marker.exists()


@pytest.mark.parametrize(("part", "file"), [("text_encoder", "config.json"), ("tokenizer", "tokenizer_config.json")])
def test_an_auto_map_to_the_folder_s_own_code_is_ignored(
    part: str, file: str, folders: Folders, tmp_path: Path
) -> None:
    folder, marker = copy(folders["sd15"], tmp_path), tmp_path / "ran"
    (folder / part / "mine.py").write_text(code(marker, "Mine", "object"))
    kinds = ("AutoConfig", "AutoModel", "AutoTokenizer")
    edit_json(folder / part / file, auto_map=dict.fromkeys(kinds, "mine.Mine"))
    assert open_folder(folder).invert(pictures("sd15")).isfinite().all()
    assert not marker.exists()


def test_a_sharded_network_is_the_same_network(folders: Folders, tmp_path: Path) -> None:
    folder = copy(folders["sd3-medium"], tmp_path)
    assert len(shard_denoiser(folder)) > 2
    whole, sharded = (open_folder(path) for path in (folders["sd3-medium"], folder))
    assert torch.equal(whole.invert(pictures("sd3-medium")), sharded.invert(pictures("sd3-medium")))


def test_a_missing_shard_is_refused_by_name(folders: Folders, tmp_path: Path) -> None:
    folder = copy(folders["sd3-medium"], tmp_path)
    missing = shard_denoiser(folder)[1]
    missing.unlink()
    assert missing.name in refusal(folder)


@pytest.mark.parametrize("row", ["sd15", "sdxl", "sd3-medium", "flux-dev", "pixart"])
def test_a_component_that_the_index_lists_and_the_folder_lacks_is_refused_by_name(
    row: str, folders: Folders, tmp_path: Path
) -> None:
    index = json.loads((folders[row] / "model_index.json").read_text())
    for part in (name for name in index if name.startswith(("text_encoder", "tokenizer", "vae", "transformer"))):
        folder = copy(folders[row], tmp_path / part)
        shutil.rmtree(folder / part)
        assert part in refusal(folder)


def test_a_t5_vocabulary_as_pixart_ships_it_is_read(folders: Folders, tmp_path: Path) -> None:
    """On the Hub PixArt's tokenizer is a sentencepiece file alone, which takes sentencepiece and protobuf to read."""
    pytest.importorskip("google.protobuf")
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = copy(folders["pixart"], tmp_path)
    (tmp_path / "text").write_text("\n".join(f"{PROMPT} number {i}" for i in range(100)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(folder / "tokenizer" / "spiece"), vocab_size=40,
        model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False,
    )  # fmt: skip
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with torch.inference_mode():
        found = open_folder(folder, prompt=PROMPT).network(latents("pixart"), 500)
    expected = reference(load_reference(folder), latents("pixart"), 500, PROMPT)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_folder_is_made_of_the_same_numbers_every_time(folders: Folders, tmp_path: Path) -> None:
    again = save_diffusion("dit-xl-2-256", tmp_path / "again")
    weights = Path("transformer") / "diffusion_pytorch_model.bin"
    first, second = (torch.load(folder / weights) for folder in (folders["dit-xl-2-256"], again))
    assert all(torch.equal(first[key], second[key]) for key in first)
