"""The inverter against closed forms, against diffusers' inverse scheduler, and against itself."""

import gc
import shutil
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    StableDiffusionPipeline,
    UNet2DModel,
)
from huggingface_hub import constants

from noisezoo import zoo
from noisezoo.builder.launch.machines import machine
from noisezoo.builder.launch.plan import plan
from noisezoo.builder.models import check_access, keeps_prompts, pipeline as pipelines
from noisezoo.builder.models.inverter import Inverter
from noisezoo.builder.models.pipeline import Pipeline, Runtime
from noisezoo.builder.models.schemes import SCHEMES
from noisezoo.builder.recipe import Settings, make_recipe
from noisezoo.errors import NoiseZooError, UsageError
from tests.builder.folders import save_diffusion
from tests.builder.models import compiles, save_stable_diffusion, save_unconditional


def pictures(n: int = 2, size: int = 8) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def diffusers_inversion(y: torch.Tensor, network: Any, folder: Path, **conditions: Any) -> torch.Tensor:
    scheduler = DDIMInverseScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(50)
    with torch.inference_mode():
        for t in scheduler.timesteps:
            y = scheduler.step(network(y, t, **conditions).sample, t, y).prev_sample
    return y


def test_a_pixel_model_is_inverted_as_by_diffusers_inverse_scheduler(unconditional: Path) -> None:
    network = UNet2DModel.from_pretrained(unconditional / "unet").eval()
    expected = diffusers_inversion(pictures(), network, unconditional)
    torch.testing.assert_close(Inverter.from_pretrained(unconditional).invert(pictures()), expected, rtol=0, atol=1e-5)


def test_stable_diffusion_is_inverted_as_by_diffusers_inverse_scheduler(stable_diffusion: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(stable_diffusion, safety_checker=None)
    with torch.inference_mode():
        mode = pipeline.vae.encode(pictures(size=16)).latent_dist.mode()
        prompt, _ = pipeline.encode_prompt("", "cpu", 1, do_classifier_free_guidance=False)
    expected = diffusers_inversion(
        (mode - 0.25) * 0.7, pipeline.unet, stable_diffusion, encoder_hidden_states=prompt.expand(2, -1, -1)
    )
    found = Inverter.from_pretrained(stable_diffusion).invert(pictures(size=16))
    assert found.shape == (2, 4, 8, 8)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_generating_from_noise_is_diffusers_own_sampler(stable_diffusion: Path) -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    pipeline = StableDiffusionPipeline.from_pretrained(stable_diffusion, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    # The pipeline decodes without the shift, so only latents are comparable.
    latents = pipeline("cat", latents=noise, num_inference_steps=10, guidance_scale=3.5, output_type="latent").images
    inverter = Inverter.from_pretrained(stable_diffusion, num_inference_steps=10, prompt="cat", guidance_scale=3.5)
    torch.testing.assert_close(inverter.generate(noise), inverter.decode(latents), rtol=1e-4, atol=1e-4)


def test_the_autoencoder_s_mode_is_shifted_and_scaled_and_decoding_undoes_it(stable_diffusion: Path) -> None:
    inverter = Inverter.from_pretrained(stable_diffusion)
    vae = inverter.pipeline.autoencoder
    with torch.inference_mode():
        mode = vae.encode(pictures(size=16)).latent_dist.mode()
        decoded = vae.decode(mode).sample
    latents = inverter.encode(pictures(size=16))
    torch.testing.assert_close(latents, (mode - 0.25) * 0.7)
    torch.testing.assert_close(inverter.decode(latents), decoded, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("prompt", "scale", "forwards"), [("", 3.5, 50), ("a cat", 3.5, 100), ("a cat", 1.0, 50)])
def test_guidance_costs_a_second_forward_only_where_it_acts(
    stable_diffusion: Path, prompt: str, scale: float, forwards: int
) -> None:
    inverter = Inverter.from_pretrained(stable_diffusion, prompt=prompt, guidance_scale=scale)
    inverter.invert_latents(torch.zeros(2, 4, 8, 8))
    assert inverter.network.forwards == forwards


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_forward_left_out_for_an_empty_prompt_would_have_changed_no_bit(stable_diffusion: Path, dtype: str) -> None:
    network = Inverter.from_pretrained(stable_diffusion, prompt="", guidance_scale=3.5, dtype=dtype).network
    y = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    once = network(y, 500)
    assert network.forwards == 1
    network.guided = True
    assert torch.equal(network(y, 500), once)
    assert network.forwards == 3


def test_a_negative_prompt_makes_the_empty_prompt_s_second_forward_matter(stable_diffusion: Path) -> None:
    inverter = Inverter.from_pretrained(stable_diffusion, num_inference_steps=5, negative_prompt="a dog")
    plain = Inverter.from_pretrained(stable_diffusion, num_inference_steps=5)
    y = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    assert not torch.equal(inverter.invert_latents(y), plain.invert_latents(y))
    assert (inverter.network.forwards, plain.network.forwards) == (10, 5)


def test_a_prompt_for_each_image_gives_what_each_alone_gives(stable_diffusion: Path) -> None:
    y = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    prompts = ["a cat", "", "a dog"]
    together = Inverter.from_pretrained(stable_diffusion, num_inference_steps=5).invert_latents(y, prompts=prompts)
    for i, prompt in enumerate(prompts):
        alone = Inverter.from_pretrained(stable_diffusion, num_inference_steps=5, prompt=prompt)
        torch.testing.assert_close(together[i : i + 1], alone.invert_latents(y[i : i + 1]), rtol=0, atol=1e-4)


def test_a_batch_of_empty_prompts_needs_one_forward_a_step_after_a_prompted_one(stable_diffusion: Path) -> None:
    inverter = Inverter.from_pretrained(stable_diffusion, num_inference_steps=5)
    inverter.invert_latents(torch.zeros(2, 4, 8, 8), prompts=["a cat", ""])
    assert inverter.network.forwards == 10
    inverter.invert_latents(torch.zeros(2, 4, 8, 8), prompts=["", ""])
    assert inverter.network.forwards == 15


def test_a_prompt_changes_the_noise_and_its_guidance_too(stable_diffusion: Path) -> None:
    y = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    found = [
        Inverter.from_pretrained(stable_diffusion, num_inference_steps=5, prompt=p, guidance_scale=w).invert_latents(y)
        for p, w in [("", 3.5), ("a cat", 1.0), ("a cat", 3.5)]
    ]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_more_steps_bring_the_round_trip_closer(unconditional: Path) -> None:
    errors = []
    for steps in (10, 50, 200):
        inverter = Inverter.from_pretrained(unconditional, num_inference_steps=steps)
        inverter.pipeline.denoiser.conv_out.weight.mul_(0.1)  # smooth in the state, as a trained network is
        errors.append(float((inverter.generate(inverter.invert(pictures())) - pictures()).abs().mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.05


def test_a_picture_s_noise_does_not_depend_on_its_batch(unconditional: Path) -> None:
    inverter = Inverter.from_pretrained(unconditional, num_inference_steps=10)
    together = inverter.invert(pictures(4))
    alone = torch.cat([inverter.invert(pictures(4)[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    assert together.std(dim=0).min() > 1e-3, "the four pictures must differ for this to mean anything"


def test_the_same_inversion_twice_is_the_same_to_the_bit(stable_diffusion: Path) -> None:
    runs = [
        Inverter.from_pretrained(stable_diffusion, num_inference_steps=5).invert(pictures(size=16)) for _ in range(2)
    ]
    assert torch.equal(*runs)


def test_a_half_precision_network_keeps_a_float32_state(unconditional: Path) -> None:
    exact, half = (Inverter.from_pretrained(unconditional, dtype=d).invert(pictures()) for d in ("float32", "bfloat16"))
    assert half.dtype == torch.float32
    assert not torch.equal(half, half.to(torch.bfloat16).float())
    torch.testing.assert_close(half, exact, rtol=0, atol=0.1)


def test_an_untrained_network_is_the_one_diffusers_makes_from_that_seed(unconditional: Path) -> None:
    before = torch.random.get_rng_state()
    found = Inverter.from_pretrained(unconditional, untrained_seed=7).pipeline.denoiser
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator must be left alone"
    torch.manual_seed(7)
    expected = UNet2DModel.from_config(UNet2DModel.load_config(unconditional / "unet"))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))
    trained = UNet2DModel.from_pretrained(unconditional / "unet")
    assert not torch.equal(found.conv_in.weight, trained.conv_in.weight)


def test_a_grey_model_sees_the_mean_of_the_channels_and_generates_three_alike(tmp_path: Path) -> None:
    save_unconditional(tmp_path / "grey", channels=1)
    inverter = Inverter.from_pretrained(tmp_path / "grey", num_inference_steps=2)
    torch.testing.assert_close(inverter.encode(pictures()), pictures().mean(dim=1, keepdim=True))
    generated = inverter.generate(inverter.invert(pictures()))
    assert generated.shape == (2, 3, 8, 8)
    assert torch.equal(generated[:, 0], generated[:, 2])


def test_v_prediction_is_read_from_the_folder_and_never_from_its_name(tmp_path: Path) -> None:
    save_stable_diffusion(tmp_path / "epsilon-base", prediction_type="v_prediction")
    inverter = Inverter.from_pretrained(tmp_path / "epsilon-base", num_inference_steps=2)
    assert inverter.trajectory.prediction == "v_prediction"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_inverts_and_generates_through_a_folder(stable_diffusion: Path, scheme: str) -> None:
    inverter = Inverter.from_pretrained(stable_diffusion, num_inference_steps=4, scheme=scheme)
    noise, previous = inverter.invert_states(inverter.encode(pictures(size=16)))
    assert (previous is not None) == inverter.scheme.keeps_previous
    assert noise.shape == (2, 4, 8, 8)
    assert noise.dtype == torch.float32
    images = inverter.generate(noise, previous=previous)
    assert images.shape == (2, 3, 16, 16)
    assert bool(images.isfinite().all())
    assert inverter.faults == [None, None]


def test_two_states_of_bdia_bring_the_latents_back_but_for_rounding(stable_diffusion: Path) -> None:
    inverter = Inverter.from_pretrained(stable_diffusion, num_inference_steps=20, scheme="bdia")
    latents = inverter.encode(pictures(size=16))
    noise, previous = inverter.invert_states(latents)
    wanted = inverter.decode(latents)
    torch.testing.assert_close(inverter.generate(noise, previous=previous), wanted, rtol=0, atol=1e-3)
    assert float((inverter.generate(noise) - wanted).abs().max()) > 1e-2


def test_a_forward_start_draws_from_each_image_s_own_seed_or_content(unconditional: Path) -> None:
    make = partial(Inverter.from_pretrained, unconditional, num_inference_steps=10, scheme="forward-start",
                   scheme_options={"share": 0.3})  # fmt: skip
    images = pictures(3)
    found = make().invert(images, seeds=[1, 2, 3])
    assert torch.equal(found, make().invert(images, seeds=[1, 2, 3]))
    assert not torch.equal(found, make().invert(images, seeds=[1, 2, 4]))
    torch.testing.assert_close(make().invert(images[1:2], seeds=[2]), found[1:2], rtol=0, atol=1e-4)
    own = make().invert(images)
    torch.testing.assert_close(make().invert(images[2:]), own[2:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("scheme", ["ddim", "heun", "ab2"])
def test_a_network_that_fails_is_named_by_image_and_step(unconditional: Path, scheme: str) -> None:
    inverter = Inverter.from_pretrained(unconditional, num_inference_steps=10, scheme=scheme)
    plain = inverter.invert(pictures(3))
    healthy = inverter.network.predict

    def failing(y: torch.Tensor, time: torch.Tensor, conditions: Any) -> torch.Tensor:
        output = healthy(y, time, conditions)
        return torch.where((time >= 601).view(-1, 1, 1, 1) & (torch.arange(3) == 1).view(3, 1, 1, 1), torch.nan, output)

    inverter.network.predict = failing  # type: ignore[method-assign]
    noise = inverter.invert(pictures(3))
    assert inverter.faults == [None, 6, None], "601 is the time of the seventh step of ten"
    assert not bool(noise[1].isfinite().any())
    torch.testing.assert_close(noise[[0, 2]], plain[[0, 2]])


def test_a_broken_network_s_fault_is_forgotten_by_the_next_inversion(unconditional: Path) -> None:
    inverter = Inverter.from_pretrained(unconditional, num_inference_steps=2)
    inverter.invert(torch.full((1, 3, 8, 8), torch.nan))
    assert inverter.faults == [0]
    inverter.invert(pictures())
    assert inverter.faults == [None, None]


@pytest.mark.parametrize(
    "runtime",
    [Runtime(channels_last=False), Runtime(vae_slicing=True)],
)
def test_how_a_network_is_run_changes_its_noise_by_rounding_only(stable_diffusion: Path, runtime: Runtime) -> None:
    plain = Inverter.from_pretrained(stable_diffusion, num_inference_steps=5).invert(pictures(size=16))
    found = Inverter.from_pretrained(stable_diffusion, num_inference_steps=5, runtime=runtime).invert(pictures(size=16))
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-4)


def test_runtime_settings_reach_the_modules(stable_diffusion: Path) -> None:
    runtime = Runtime(vae_slicing=True, vae_tiling=True)
    vae = Inverter.from_pretrained(stable_diffusion, num_inference_steps=1, runtime=runtime).pipeline.autoencoder
    assert vae.use_slicing
    assert vae.use_tiling
    with pytest.raises(UsageError, match="unknown attention_backend 'telepathy'; choose one of: flash, cudnn"):
        Runtime(attention_backend="telepathy")


@pytest.mark.parametrize("name", ["sd15", "pixart", "flux-dev"])
def test_the_attention_kernel_that_is_asked_for_computes_the_attention_of_every_kind_of_network(
    tmp_path: Path, name: str
) -> None:
    folder = save_diffusion(name, tmp_path / "model")
    load = partial(Inverter.from_pretrained, folder, num_inference_steps=1)
    y = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    by_math, by_choice = (load(runtime=Runtime(attention_backend=each)).invert_latents(y) for each in ("math", None))
    torch.testing.assert_close(by_math, by_choice, rtol=0, atol=1e-4)
    with pytest.raises(UsageError, match="attention_backend 'cudnn' does not serve this network here: leave it out"):
        load(runtime=Runtime(attention_backend="cudnn")).invert_latents(y)  # a kernel that computes no float32


def test_text_towers_go_once_the_one_prompt_is_encoded_and_come_back_for_another(stable_diffusion: Path) -> None:
    load = partial(Inverter.from_pretrained, stable_diffusion, num_inference_steps=1)
    one, each = load(prompt="a face"), load(prompt=None)
    towers = [weakref.ref(each.network.tower.text_encoder)]
    assert "tower" not in vars(one.network)
    assert "tower" in vars(each.network), "images will bring prompts of their own"
    images = pictures(size=16)
    assert torch.equal(one.invert(images), each.invert(images, prompts=["a face"] * len(images)))
    assert torch.equal(
        one.invert(images, prompts=["x"] * len(images)), each.invert(images, prompts=["x"] * len(images))
    )
    each.network.release_tower()
    gc.collect()
    assert towers[0]() is None, "nothing else holds it"


def test_the_own_prompt_of_a_hub_model_is_encoded_once_for_all_processes(
    stable_diffusion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    snapshot = shutil.copytree(stable_diffusion, tmp_path / "models--me--sd" / "snapshots" / ("a" * 40))
    load = partial(Inverter.from_pretrained, num_inference_steps=2, guidance_scale=2.0)
    images = pictures(size=16)
    expected = load(stable_diffusion, prompt="a face").invert(images)
    assert not (tmp_path / "home").exists(), "a local folder may change"
    monkeypatch.setattr(pipelines.files, "resolve", lambda *place, pickled: snapshot)
    assert torch.equal(load(snapshot, prompt="a face").invert(images), expected)
    fetched: list[tuple[str, str]] = []
    monkeypatch.setattr(pipelines.files, "resolve", lambda repo, commit, pickled: fetched.append((repo, commit)))
    read, text_pipeline = [], Pipeline.text_pipeline
    monkeypatch.setattr(Pipeline, "text_pipeline", lambda self, kind: read.append(kind) or text_pipeline(self, kind))  # type: ignore[func-returns-value]
    again = load(snapshot, prompt="a face")
    assert torch.equal(again.invert(images), expected) and not read, "no text tower is read"
    tower = (snapshot / "text_encoder").rename(tmp_path / "tower")
    (snapshot / "text_encoder").mkdir()
    shutil.copy(tower / "config.json", snapshot / "text_encoder")
    assert torch.equal(load(snapshot, prompt="a face").invert(images), expected) and not fetched, "nor fetched"
    with pytest.raises(UsageError, match="text_encoder/model.safetensors"):
        load(snapshot, prompt="a cat")
    assert fetched == [("me/sd", "a" * 40)]
    shutil.copytree(tower, snapshot / "text_encoder", dirs_exist_ok=True)
    read.clear()
    other = again.invert(images, prompts=["a cat", "a dog"])
    assert read and not torch.equal(other, expected)
    kept = len(list((tmp_path / "home").rglob("*.safetensors")))
    assert kept == 2, "the prompt and the negative one, and not each image's own"
    load(snapshot, prompt="a face", dtype="bfloat16")
    assert len(list((tmp_path / "home").rglob("*.safetensors"))) == 2 * kept


def test_text_towers_are_neither_asked_for_nor_planned_where_the_prompts_are_kept(
    stable_diffusion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HF_HOME", "home"), ("HF_HUB_CACHE", "hub")):
        monkeypatch.setattr(constants, name, str(tmp_path / value))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = shutil.copytree(stable_diffusion, tmp_path / "hub" / "models--me--sd" / "snapshots" / ("a" * 40))
    row, prompt = replace(zoo.get("sd15"), name="mine", repo="me/sd", revision="a" * 40), {"prompt": "a face"}
    recipe = make_recipe({"name": "t", "source": {"name": "faces"}, "rows": [vars(row)], "views": ["mine"],
                          "settings": prompt})  # fmt: skip
    whole = plan(recipe, 10, machine("h100"))
    assert whole.views[0].towers and not keeps_prompts(row, Settings(**prompt))
    Inverter.from_pretrained(snapshot, num_inference_steps=1, **prompt)
    assert keeps_prompts(row, Settings(**prompt))
    for other in ({"prompt": "a cat"}, {**prompt, "negative_prompt": "a cat"}, {"prompt_column": "caption"}):
        assert not keeps_prompts(row, Settings(**other))
    kept = plan(recipe, 10, machine("h100"))
    assert kept.views[0].towers == 0 and kept.downloads["me/sd"] < whole.downloads["me/sd"]  # type: ignore[operator]
    (snapshot / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(NoiseZooError, match="the cache on this machine lacks it"):
        check_access(row)
    check_access(row, texts=False)
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert not keeps_prompts(row, Settings(**prompt)), "all else is needed"


@compiles
def test_a_compiled_network_gives_the_same_noise(unconditional: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The graph is captured as always, and then run eagerly, as generating code for it takes a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain = Inverter.from_pretrained(unconditional, num_inference_steps=2)
    compiled = Inverter.from_pretrained(unconditional, num_inference_steps=2, runtime=Runtime(compile=True))
    assert compiled.pipeline.denoiser._compiled_call_impl is not None
    torch.testing.assert_close(compiled.invert(pictures()), plain.invert(pictures()), rtol=0, atol=1e-4)
