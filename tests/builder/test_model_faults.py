"""Model folders that would give other numbers than their makers', or none: refused in one line, or read rightly."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from noisezoo import zoo
from noisezoo.builder.engine import fingerprint as fingerprint_module
from noisezoo.builder.engine.fingerprint import fingerprint, hashing
from noisezoo.builder.models import Encoder, Inverter, Runtime, check_access, footprint
from noisezoo.errors import UsageError
from tests.builder.folders import PROMPT, Folders, edit_json, image_unet, latents, pictures, text_unet
from tests.builder.models import save_unconditional
from tests.builder.references import load_reference, reference
from tests.builder.towers import clip_tower

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 3438167540\n"
SD15 = zoo.View("mine", "noise", "diffusers", "", 16, (4, 8, 8), "MIT", 1.0, "a test's")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("diffusion"))


@pytest.fixture
def copy(folders: Folders, tmp_path: Path) -> Callable[[str], Path]:
    return lambda row: Path(shutil.copytree(folders[row], tmp_path / "model"))


def load(folder: Path, **settings: Any) -> Inverter:
    return Inverter.from_pretrained(folder, **{"num_inference_steps": 2, "device": "cpu", **settings})


def refusal(folder: Path, **settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


# Weights that do not fill a network.


@pytest.mark.parametrize(
    ("part", "tensor"),
    [("text_encoder", "encoder.layers.0.self_attn.q_proj.weight"), ("unet", "conv_in.weight"),
     ("vae", "encoder.conv_in.weight"), ("text_encoder", "final_layer_norm.bias")],
)  # fmt: skip
def test_a_component_that_lacks_a_tensor_is_refused_by_both_names(
    copy: Callable[[str], Path], part: str, tensor: str
) -> None:
    folder = copy("sd15")
    path = next((folder / part).glob("*.safetensors"))
    gone = next(name for name in load_file(path) if name.endswith(tensor))
    rewrite(path, lambda tensors: tensors.__delitem__(gone))
    message = refusal(folder)
    assert f"component {part} lacks the tensor" in message and gone.split(".", 1)[1] in message


def test_a_pickled_component_that_lacks_a_tensor_is_refused_too(copy: Callable[[str], Path]) -> None:
    folder = copy("ldm-celebahq-256")
    path = folder / "unet" / "diffusion_pytorch_model.bin"
    tensors = torch.load(path, weights_only=True)
    torch.save({name: value for name, value in tensors.items() if name != "conv_out.bias"}, path)
    assert "component unet lacks the tensor conv_out.bias" in refusal(folder, pickled=True)


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_surplus_tensors_are_let_be(copy: Callable[[str], Path], folders: Folders, part: str) -> None:
    folder = copy("sd15")
    path = next((folder / part).glob("*.safetensors"))
    rewrite(path, lambda tensors: tensors.update({"left.over": torch.zeros(3)}))
    assert torch.equal(load(folder).invert(pictures("sd15")), load(folders["sd15"]).invert(pictures("sd15")))


# Keys of configs.


def test_an_xl_autoencoder_with_latent_statistics_is_read_as_its_pipeline_reads_it(copy: Callable[[str], Path]) -> None:
    """Playground v2.5: (z - mean) * scale / std going in, and back out."""
    folder = copy("sdxl")
    mean, std = [-1.6574, 1.886, -1.383, 2.5155], [8.4927, 5.9022, 6.5498, 5.2299]
    edit_json(folder / "vae" / "config.json", latents_mean=mean, latents_std=std, scaling_factor=0.5)
    inverter = load(folder)
    with torch.inference_mode():
        mode = inverter.pipeline.autoencoder.encode(pictures("sdxl")).latent_dist.mode()
    m, s = (torch.tensor(values).view(1, 4, 1, 1) for values in (mean, std))
    torch.testing.assert_close(inverter.encode(pictures("sdxl")), (mode - m) * 0.5 / s)
    y = latents("sdxl")
    with torch.inference_mode():
        decoded = inverter.pipeline.autoencoder.decode(y * s / 0.5 + m).sample  # as diffusers' pipeline decodes
    torch.testing.assert_close(inverter.decode(y), decoded, rtol=1e-4, atol=1e-4)


def test_latent_statistics_that_the_pipeline_does_not_read_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("sd15")
    edit_json(folder / "vae" / "config.json", latents_mean=[0.1] * 4, latents_std=[2.0] * 4)
    assert "component vae has latents_mean, which a StableDiffusionPipeline does not read" in refusal(folder)


@pytest.mark.parametrize(("part", "row"), [("unet", "sd15"), ("vae", "sd15"), ("transformer", "sd3-medium"),
                                           ("text_encoder", "sd15")])  # fmt: skip
def test_a_quantised_component_is_refused_by_name(copy: Callable[[str], Path], part: str, row: str) -> None:
    folder = copy(row)
    edit_json(folder / part / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    assert f"component {part} is quantised" in refusal(folder)


@pytest.mark.parametrize(("part", "row"), [("unet", "sd15"), ("vae", "sd15"), ("transformer", "dit-xl-2-256")])
def test_a_key_that_no_class_knows_is_refused_where_it_says_something(
    copy: Callable[[str], Path], part: str, row: str
) -> None:
    folder, pickled = copy(row), row.startswith("dit")
    edit_json(folder / part / "config.json", a_key_of_tomorrow=None, another=False)
    load(folder, pickled=pickled)
    edit_json(folder / part / "config.json", a_key_of_tomorrow="rotate")
    assert "its config's a_key_of_tomorrow is 'rotate'" in refusal(folder, pickled=pickled)


@pytest.mark.parametrize("change", [{"use_karras_sigmas": True}, {"predict_epsilon": False}])
def test_a_scheduler_s_key_that_changes_the_noise_is_refused_by_name(
    copy: Callable[[str], Path], change: dict[str, Any]
) -> None:
    folder = copy("sd15")
    edit_json(folder / "scheduler" / "scheduler_config.json", **change)
    assert f"the scheduler's {next(iter(change))} is" in refusal(folder)


@pytest.mark.parametrize(("written", "scale"), [(0.18215, 1.0), (None, 1.0), (0.5, 0.5)])
def test_the_scale_that_diffusers_writes_of_itself_is_not_a_vector_quantised_model_s(
    copy: Callable[[str], Path], written: float | None, scale: float
) -> None:
    """Saved again by diffusers, as we advise for pickles, CompVis' LDM has Stable Diffusion's scale in its config."""
    folder = copy("ldm-celebahq-256")
    for part, kind in (("vqvae", diffusers.VQModel), ("unet", diffusers.UNet2DModel)):
        kind.from_pretrained(folder / part).save_pretrained(folder / part)
        (folder / part / "diffusion_pytorch_model.bin").unlink()
    if written is None or written != 0.18215:
        edit_json(
            folder / "vqvae" / "config.json",
            without=("scaling_factor",),
            **({"scaling_factor": written} if written else {}),
        )
    else:
        assert json.loads((folder / "vqvae" / "config.json").read_text())["scaling_factor"] == 0.18215
    assert load(folder).pipeline.scaling[0] == scale


# Networks and their conditions.


def save_lcm_sdxl(folder: Path) -> Path:
    """LCM-SDXL: an SDXL whose UNet takes the guidance scale as an input."""
    unet = text_unet(
        8 + 16, attention_head_dim=[2, 4], use_linear_projection=True, transformer_layers_per_block=[1, 2],
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 12,
        time_cond_proj_dim=16,
    )  # fmt: skip
    with torch.no_grad():
        unet.time_embedding.cond_proj.weight.normal_()  # as trained: it starts at nought
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet")
    return folder


def test_an_xl_network_with_a_guidance_input_is_given_it_and_run_once(copy: Callable[[str], Path]) -> None:
    folder = save_lcm_sdxl(copy("sdxl"))
    y, found = latents("sdxl"), {}
    pipeline = load_reference(folder)
    hidden, _, pooled, _ = pipeline.encode_prompt(PROMPT, device="cpu", do_classifier_free_guidance=False)
    for scale in (3.5, 8.0):
        inverter = load(folder, prompt=PROMPT, guidance_scale=scale)
        with torch.inference_mode():
            found[scale] = inverter.network(y, 500)
            expected = pipeline.unet(
                y, 500, encoder_hidden_states=hidden.expand(2, -1, -1),
                timestep_cond=pipeline.get_guidance_scale_embedding(torch.tensor([scale - 1]), 16),
                added_cond_kwargs={"text_embeds": pooled.expand(2, -1),
                                   "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2)},
            ).sample  # fmt: skip
        torch.testing.assert_close(found[scale], expected, rtol=1e-5, atol=1e-5)
        assert inverter.network.forwards == 1
    assert not torch.allclose(found[3.5], found[8.0], atol=1e-3)
    row = replace(SD15, repo=str(folder))
    assert (model := footprint(row)) is not None and model.guidance == "input"


def test_stable_diffusion_3_without_t5_is_what_diffusers_makes_of_it(copy: Callable[[str], Path]) -> None:
    folder = copy("sd3-medium")
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / part)
    edit_json(folder / "model_index.json", text_encoder_3=[None, None], tokenizer_3=[None, None])
    with torch.inference_mode():
        found = load(folder, prompt=PROMPT).network(latents("sd3-medium"), 500)
    without = diffusers.DiffusionPipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    expected = reference(without, latents("sd3-medium"), 500, PROMPT)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("takes", "gives"), [(9, 4), (8, 4)])
def test_a_network_that_sees_more_than_the_latent_is_refused(
    copy: Callable[[str], Path], takes: int, gives: int
) -> None:
    folder = copy("sd15")
    shutil.rmtree(folder / "unet")
    text_unet(8, in_channels=takes).save_pretrained(folder / "unet")
    assert f"takes {takes} channels and gives {gives}: it sees a picture or a mask" in refusal(folder)


@pytest.mark.parametrize("condition", [{"num_class_embeds": 10}, {"class_embed_type": "timestep"}])
def test_a_class_conditional_unet_is_refused(tmp_path: Path, condition: dict[str, Any]) -> None:
    save_unconditional(tmp_path)
    shutil.rmtree(tmp_path / "unet")
    image_unet(3, 8, **condition).save_pretrained(tmp_path / "unet")
    assert f"conditions that are not given here ({next(iter(condition))})" in refusal(tmp_path)


@pytest.mark.parametrize("row", ["sd15", "sd3-medium", "ldm-celebahq-256"])
def test_a_latent_model_without_its_autoencoder_is_refused(copy: Callable[[str], Path], row: str) -> None:
    folder = copy(row)
    part = "vqvae" if row.startswith("ldm") else "vae"
    edit_json(folder / "model_index.json", **{part: [None, None]})
    assert "names no autoencoder: put its vae back" in refusal(folder, pickled=True)


def test_an_autoencoder_of_another_model_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("sd15")
    shutil.rmtree(folder / "vae")
    from tests.builder.folders import autoencoder

    autoencoder(latent_channels=16).save_pretrained(folder / "vae")
    assert "takes 4 channels, and the autoencoder gives 16" in refusal(folder)


@pytest.mark.parametrize(("row", "side", "fits"), [("flux-dev", 18, False), ("sd3-medium", 18, False),
                                                   ("flux-dev", 20, True), ("sd15", 17, False), ("sd15", 18, True),
                                                   ("sd3-medium", 64, False)])  # fmt: skip
def test_pictures_whose_latents_do_not_fit_are_refused_with_the_sides_that_do(
    folders: Folders, row: str, side: int, fits: bool
) -> None:
    inverter, images = load(folders[row]), torch.zeros(1, 3, side, side)
    if fits:
        assert inverter.invert(images).isfinite().all()
        return
    with pytest.raises(UsageError, match="multiples of|at most"):
        inverter.invert(images)


def test_latents_of_another_shape_are_refused(folders: Folders) -> None:
    with pytest.raises(UsageError, match="latents of 3 channels: a UNet2DConditionModel takes 4"):
        load(folders["sd15"]).invert_latents(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UsageError, match="sides must be multiples of 2"):
        load(folders["ldm-celebahq-256"], pickled=True).generate(torch.zeros(1, 3, 9, 9))


def test_the_refiner_is_refused_with_a_mend_that_helps(copy: Callable[[str], Path]) -> None:
    folder = copy("sdxl")
    edit_json(folder / "model_index.json", text_encoder=[None, None], tokenizer=[None, None])
    message = refusal(folder)
    assert "its index names none, as SDXL's refiner does" in message and "download" not in message


def test_a_tokenizer_without_a_greatest_length_takes_its_tower_s(copy: Callable[[str], Path], folders: Folders) -> None:
    folder = copy("sd15")
    edit_json(folder / "tokenizer" / "tokenizer_config.json", without=("model_max_length",))
    long = "a face with long hair and a hat " * 20
    for prompt in ("", long):
        found = [load(path, prompt=prompt).invert_latents(latents("sd15")) for path in (folder, folders["sd15"])]
        assert torch.equal(*found)


@pytest.mark.parametrize(
    ("row", "fits", "cut"),
    [("sd15", 75, 76), ("sdxl", 75, 76), ("flux-dev", 75, 76), ("sd3-medium", 40, 76), ("ddpm-celebahq-256", 500, None),
     ("dit-xl-2-256", 500, None)],
)  # fmt: skip
def test_prompts_whose_end_is_cut_off_are_told(folders: Folders, row: str, fits: int, cut: int | None) -> None:
    inverter = load(folders[row], pickled=True)
    is_cut = inverter.network.is_cut
    assert [*map(is_cut, ["", "face " * fits])] == [False, False]
    if cut is not None:
        assert [*map(is_cut, ["", "face " * cut, "face"])] == [False, True, False]


def test_pixart_s_prompts_are_cut_at_its_own_length(folders: Folders) -> None:
    inverter = load(folders["pixart-alpha"])
    assert [*map(inverter.network.is_cut, ["ten " * 20, "ten " * 200])] == [False, True]


# Files that are not what they seem.


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors",
                                  "vae/diffusion_pytorch_model.safetensors", "unet/config.json"])  # fmt: skip
def test_a_git_lfs_pointer_is_named_with_its_mend_wherever_it_lies(copy: Callable[[str], Path], file: str) -> None:
    folder = copy("sd15")
    (folder / file).write_text(POINTER)
    row = replace(SD15, repo=str(folder))
    for use in (lambda: load(folder), lambda: check_access(row), lambda: footprint(row), lambda: fingerprint(row)):
        with pytest.raises(
            UsageError, match=f"{file} is a git-lfs pointer and not the file itself: run `git lfs pull`"
        ):
            use()


@pytest.mark.parametrize(
    ("file", "part"),
    [("text_encoder/model.safetensors", "component text_encoder"), ("tokenizer/vocab.json", "component tokenizer"),
     ("tokenizer/tokenizer_config.json", "component tokenizer"), ("unet/config.json", "unet"),
     ("scheduler/scheduler_config.json", "scheduler_config.json"), ("text_encoder/config.json", "text_encoder"),
     ("vae/diffusion_pytorch_model.safetensors", "component vae")],
)  # fmt: skip
def test_a_truncated_file_is_told_with_its_component(copy: Callable[[str], Path], file: str, part: str) -> None:
    folder = copy("sd15")
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    assert part in refusal(folder)


def test_a_truncated_weight_is_no_memory_error_in_a_plan(copy: Callable[[str], Path]) -> None:
    folder = copy("sd15")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 4000)
    with pytest.raises(UsageError, match="is truncated or damaged"):
        footprint(replace(SD15, repo=str(folder)))


def test_a_plan_counts_the_weights_that_are_read_and_no_other_copy(copy: Callable[[str], Path]) -> None:
    folder = copy("sd15")
    row = replace(SD15, repo=str(folder))
    before = footprint(row)
    for name in ("v1-5-pruned.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
                 "unet/diffusion_pytorch_model.non_ema.safetensors",
                 "text_encoder/model.fp16.safetensors"):  # fmt: skip
        save_file({"x": torch.zeros(1000, 1000)}, folder / name)
    assert before is not None and footprint(row) == before
    counted = {
        part: sum(x.numel() for x in load_file(next((folder / part).glob(pattern))).values())
        for part, pattern in (("unet", "diffusion_pytorch_model.safetensors"), ("text_encoder", "model.safetensors"),
                              ("vae", "*.safetensors"))
    }  # fmt: skip
    assert (before.network, before.text, before.autoencoder) == tuple(counted.values())


def test_what_is_not_read_is_no_part_of_a_fingerprint_and_all_that_is_read_is(copy: Callable[[str], Path]) -> None:
    folder = copy("sd15")
    row, vae = replace(SD15, repo=str(folder)), replace(SD15, repo=str(folder), family="vae", kind="control")
    before, latent = fingerprint(row), fingerprint(vae)
    for unread in ("safety_checker", "feature_extractor"):
        shutil.rmtree(folder / unread)
    (folder / "README.md").write_text("new")
    save_file({"x": torch.zeros(3)}, folder / "v1-5-pruned.safetensors")
    assert fingerprint(row) == before
    schedule = folder / "scheduler" / "scheduler_config.json"
    original = schedule.read_bytes()
    edit_json(schedule, beta_end=0.013)
    changed = fingerprint(row)
    assert changed != before
    rewrite(folder / "unet" / "diffusion_pytorch_model.safetensors", lambda tensors: tensors["conv_in.bias"].add_(1))
    assert fingerprint(row) not in (before, changed)
    shutil.rmtree(folder / "unet")
    schedule.write_bytes(original)
    assert fingerprint(vae) == latent, "an autoencoder's view does not depend on the denoiser"


def test_a_local_folder_is_hashed_once_a_build_and_only_the_files_that_are_read(
    copy: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, read = copy("sd15"), []
    known = fingerprint_module.sha256_of
    monkeypatch.setattr(fingerprint_module, "sha256_of", lambda path: read.append(path) or known(path))  # type: ignore[func-returns-value]
    row = replace(zoo.get("sd15"), repo=str(folder), revision=None)
    untrained = zoo.untrained(row)
    first = [fingerprint(view, hashing(tmp_path)) for view in (untrained, row)]
    names = [path.relative_to(folder).as_posix() for path in read]
    assert len(names) == len(set(names)), "views of one folder share its hashes"
    assert names.index("vae/config.json") < names.index("unet/diffusion_pytorch_model.safetensors"), "the row's alone"
    assert "README.md" not in names and first[0] != first[1]
    read.clear()
    assert [fingerprint(view, hashing(tmp_path)) for view in (untrained, row)] == first and not read
    assert [fingerprint(view) for view in (untrained, row)] == first, "as without a state"
    read.clear()
    rewrite(folder / "unet" / "diffusion_pytorch_model.safetensors", lambda tensors: tensors["conv_in.bias"].add_(1))
    changed = [fingerprint(view, hashing(tmp_path)) for view in (untrained, row)]
    assert [path.name for path in read] == ["diffusion_pytorch_model.safetensors"]
    assert changed[0] == first[0] and changed[1] != first[1], "an untrained network reads no weights of its denoiser"


def test_shards_beside_an_index_of_pickles_are_read(copy: Callable[[str], Path], folders: Folders) -> None:
    folder = copy("sd3-medium")
    tower = folder / "text_encoder"
    transformers_tower = type(load(folders["sd3-medium"]).network.tower.text_encoder)
    transformers_tower.from_pretrained(tower).save_pretrained(tower, max_shard_size="100KB")
    (tower / "pytorch_model.bin.index.json").write_text(
        json.dumps({"weight_map": {"x": "pytorch_model-00001-of-00002.bin"}})
    )
    assert len(list(tower.glob("model-*.safetensors"))) > 1
    y = latents("sd3-medium")
    assert torch.equal(load(folder).invert_latents(y), load(folders["sd3-medium"]).invert_latents(y))


def test_a_component_folder_may_be_a_link(copy: Callable[[str], Path], folders: Folders, tmp_path: Path) -> None:
    folder = copy("sd15")
    (folder / "vae").rename(tmp_path / "elsewhere")
    (folder / "vae").symlink_to(tmp_path / "elsewhere")
    assert torch.equal(load(folder).encode(pictures("sd15")), load(folders["sd15"]).encode(pictures("sd15")))


def test_a_single_checkpoint_file_is_told_what_to_become(tmp_path: Path) -> None:
    path = tmp_path / "v1-5-pruned.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    for use in (lambda: load(path), lambda: check_access(replace(SD15, repo=str(path)))):
        with pytest.raises(UsageError, match="is a single file: read it by diffusers' `from_single_file`"):
            use()


def test_half_precision_copies_alone_are_told_to_be_renamed(copy: Callable[[str], Path]) -> None:
    folder = copy("sd15")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    for pickled in (False, True):
        message = refusal(folder, pickled=pickled)
        assert "rename unet/diffusion_pytorch_model.fp16.safetensors" in message and "`pickled" not in message


# Settings.


@pytest.mark.parametrize("dtype", ["fp16", "float64", "int8", "no"])
def test_a_dtype_that_no_network_runs_in_is_refused_with_those_that_do(folders: Folders, dtype: str) -> None:
    for use in (lambda: load(folders["sd15"], dtype=dtype), lambda: Encoder.from_pretrained(
            zoo.TESTBED / "faces-ssl", dtype=dtype)):  # fmt: skip
        with pytest.raises(UsageError, match=f"unknown dtype '{dtype}'; choose one of: float32, "):
            use()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "GPU0", "mps"])
def test_a_device_that_is_not_there_is_refused(folders: Folders, device: str) -> None:
    for use in (lambda: load(folders["sd15"], device=device), lambda: Encoder.from_pretrained(
            zoo.TESTBED / "faces-ssl", device=device)):  # fmt: skip
        with pytest.raises(UsageError, match=f"device '{device}'"):
            use()


def test_compiling_without_a_compiler_is_refused_before_any_work(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "compile needs a C++ compiler" in refusal(folders["sd15"], runtime=Runtime(compile=True))


def test_a_prompt_that_is_no_class_is_refused_in_one_line(folders: Folders) -> None:
    assert "is no class of this model" in refusal(folders["dit-xl-2-256"], pickled=True, prompt="unicorn")


def test_where_x_t_ends_is_told_by_the_inverter(folders: Folders) -> None:
    for steps, timestep in ((50, 981), (150, 895)):
        path = load(folders["sd15"], num_inference_steps=steps).trajectory
        assert path.times[-1] == timestep
        assert path.a[-1] ** 2 + path.s[-1] ** 2 == pytest.approx(1)


def test_ddim_source_through_a_folder_is_the_loop_of_its_definition(folders: Folders) -> None:
    inverter = load(folders["sd15"], num_inference_steps=10, scheme="ddim-source")
    scheduler = diffusers.DDIMScheduler.from_config(inverter.pipeline.scheduler_config, clip_sample=False)
    scheduler.set_timesteps(10)
    abar, times = scheduler.alphas_cumprod.double(), scheduler.timesteps.tolist()[::-1]
    y = expected = latents("sd15")
    with torch.inference_mode():
        for t, after in zip(times, times[1:], strict=False):
            eps = inverter.network(expected, t)
            x0 = (expected - (1 - abar[t]) ** 0.5 * eps) / abar[t] ** 0.5
            expected = (abar[after] ** 0.5 * x0 + (1 - abar[after]) ** 0.5 * eps).float()
    inverter.network.forwards = 0
    torch.testing.assert_close(inverter.invert_latents(y), expected, rtol=1e-4, atol=1e-5)
    assert inverter.network.forwards == 9


def test_a_constant_network_s_noise_is_the_closed_form_by_the_release_s_loop(tmp_path: Path) -> None:
    from tests.builder.models import save_constant

    save_constant(tmp_path, 0.3)
    inverter = load(tmp_path, num_inference_steps=50, scheme="ddim-source")
    path, z = inverter.trajectory, pictures("ddpm-celebahq-256")[..., :8, :8]
    s = path.s / path.a
    expected = path.a[-1] * (z / path.a[1] + (s[-1] - s[1]) * 0.3)
    torch.testing.assert_close(inverter.invert_latents(z), expected.float(), rtol=1e-4, atol=1e-4)
    assert np.isfinite(inverter.generate(inverter.invert_latents(z)).numpy()).all()


def test_a_text_tower_s_width_that_is_not_the_network_s_is_told_in_one_line(copy: Callable[[str], Path]) -> None:
    folder = copy("sd15")
    shutil.rmtree(folder / "text_encoder")
    clip_tower(24).save_pretrained(folder / "text_encoder")
    assert "its text towers give 24 numbers a token, and the UNet2DConditionModel takes 8" in refusal(folder)


def test_a_file_is_hashed_though_another_process_takes_the_temporary_of_its_hash_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, state, renamed = tmp_path / "weights", tmp_path / "state", os.replace
    weights.write_bytes(b"weights")

    def taken(temporary: Path, path: Path) -> None:
        temporary.unlink()
        renamed(temporary, path)

    monkeypatch.setattr(os, "replace", taken)
    assert hashing(state)(weights) == sha256(b"weights").hexdigest()
    monkeypatch.setattr(os, "replace", renamed)
    assert hashing(state)(weights) == sha256(b"weights").hexdigest()
    assert [path.name for path in state.iterdir()] == ["hashes.json"]
