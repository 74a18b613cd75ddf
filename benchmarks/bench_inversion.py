"""Inversion against the plain diffusers loop that a first user writes, and what is spent around the network.

    python -m benchmarks.bench_inversion            # a minute: ratios on a small Stable Diffusion
    python -m benchmarks.bench_inversion --around   # instead, a build at Stable Diffusion 1.5's full size (minutes)

The plain loop: pipeline components, DDIMInverseScheduler, classifier-free guidance at 3.5 with empty prompts as a
doubled batch, float32. Ours is `Inverter` at its defaults; that both give the same noise is checked.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMInverseScheduler, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

from noisezoo import zoo
from noisezoo.builder.launch.local import build_dataset
from noisezoo.builder.models.inverter import Inverter
from noisezoo.builder.models.schemes import pick
from noisezoo.builder.recipe import make_recipe
from noisezoo.builder.sources.pixels import signed
from noisezoo.builder.sources.source import open_source
from tests.builder.closed_forms import error
from tests.builder.models import STABLE_DIFFUSION
from tests.builder.towers import clip_tokenizer, clip_tower

STEPS, GUIDANCE, BATCH, REPEATS = 50, 3.5, 8, 3
SMALL: Mapping[str, Any] = {
    "block_out_channels": (64, 128), "layers_per_block": 1, "cross_attention_dim": 32, "sample_size": 16,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
SMALL_VAE: Mapping[str, Any] = {"block_out_channels": (32, 64), "sample_size": 32}
FULL: Mapping[str, Any] = {"cross_attention_dim": 768, "sample_size": 64}  # all else is the class's default: SD 1.5
FULL_VAE: Mapping[str, Any] = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512}


def save_model(folder: Path, unet: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    """A Stable Diffusion of random weights, its text tower small: what it gives depends on its width alone."""
    torch.manual_seed(0)
    depth = len(vae["block_out_channels"])
    autoencoder = AutoencoderKL(
        latent_channels=4, down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth, **vae,
    )  # fmt: skip
    StableDiffusionPipeline(
        autoencoder, clip_tower(unet["cross_attention_dim"]), clip_tokenizer(), UNet2DConditionModel(**unet),
        DDIMScheduler(**STABLE_DIFFUSION), None, None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


@torch.no_grad()
def plain_loop(pipe: StableDiffusionPipeline, images: torch.Tensor) -> torch.Tensor:
    """As a first user writes it."""
    latents = pipe.vae.encode(images).latent_dist.mode() * pipe.vae.config.scaling_factor
    prompt, negative = pipe.encode_prompt([""] * len(images), "cpu", 1, True, negative_prompt=[""] * len(images))
    embeddings = torch.cat([negative, prompt])
    scheduler = DDIMInverseScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        output = pipe.unet(torch.cat([latents] * 2), t, encoder_hidden_states=embeddings).sample
        unconditional, conditional = output.chunk(2)
        guided = unconditional + GUIDANCE * (conditional - unconditional)
        latents = scheduler.step(guided, t, latents).prev_sample
    return latents


def best_of(run: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Least seconds of several runs, and the last result."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def compare(folder: Path) -> None:
    """Seconds a batch of the plain loop and of ours, which give the same noise."""
    save_model(folder, SMALL, SMALL_VAE)
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    images = torch.rand(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    inverter = Inverter.from_pretrained(folder, num_inference_steps=STEPS, guidance_scale=GUIDANCE)
    plain, expected = best_of(lambda: plain_loop(pipe, images))
    ours, noise = best_of(lambda: inverter.invert(images))
    print(f"random weights   plain {plain:.3f} s, ours {ours:.3f} s: {plain / ours:.2f}x, "
          f"relative difference {error(noise, expected):.0e}")  # fmt: skip


def compare_truth() -> None:
    """The same on the trained `faces-ldm`, with the distance to the ODE's own noise: 981 steps of Heun's method."""
    row = zoo.get("faces-ldm")
    assert row.folder is not None
    images = torch.from_numpy(np.stack([signed(image, 32) for image in open_source("faces").images(list("0123"))]))
    pipe = StableDiffusionPipeline.from_pretrained(row.folder, safety_checker=None, torch_dtype=torch.float32)
    truth = Inverter.from_pretrained(row.folder, scheme="heun", num_inference_steps=981, span=STEPS).invert(images)
    plain, noise = best_of(lambda: plain_loop(pipe, images))
    print(f"faces-ldm        plain {plain:.3f} s, {2 * STEPS} forwards, {error(noise, truth):.3f} from the truth")
    for name, settings in {"ddim": {}, "accuracy ddim-50": pick("ddim-50")}.items():
        inverter = Inverter.from_pretrained(row.folder, **settings)
        ours, noise = best_of(lambda inverter=inverter: inverter.invert(images))
        forwards = inverter.network.forwards // REPEATS
        print(f"    ours, {name:<18}{ours:.3f} s: {plain / ours:.2f}x, {forwards} forwards, "
              f"{error(noise, truth):.3f} from the truth")  # fmt: skip


def around(folder: Path, steps: int = 2, count: int = 2) -> None:
    """A build at full size from JPEG files; the network's seconds, measured for few steps, are scaled to 50."""
    save_model(folder / "sd15", FULL, FULL_VAE)
    source = open_source("faces", {"size": 512, "count": count})
    (folder / "photos").mkdir()
    for i, image in enumerate(source.images([str(i) for i in range(count)])):
        assert not isinstance(image, Exception)
        image.save(folder / "photos" / f"{i}.jpg", quality=95)
    recipe = make_recipe({
        "name": "around", "source": {"name": f"imagefolder:{folder / 'photos'}"}, "views": ["sd15"],
        "folders": {"sd15": str(folder / "sd15")}, "slice_rows": count,
        "settings": {"num_inference_steps": steps, "batch_size": 1, "threads": 2, "reconstruct": 0.0},
    })  # fmt: skip
    build_dataset(recipe, folder / "build", processes=1)
    logs = (folder / "build" / "_build" / "logs").glob("*.jsonl")
    lines = [json.loads(line) for path in logs for line in path.read_text().splitlines()]
    units = [line for line in lines if line["event"] == "unit"]
    spent = {name: sum(unit[f"{name}_seconds"] for unit in units) for name in ("read", "encode", "network", "write")}
    spent["network"] *= STEPS / steps
    whole = sum(spent.values())
    for name, seconds in spent.items():
        print(f"{name:<10}{seconds / count:9.3f} s an image  {seconds / whole:7.2%}")
    share = 1 - spent["network"] / whole
    print(f"around the network: {share:.2%} of wall time (network scaled from {steps} to {STEPS} steps)")


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--around", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        (around if options.around else compare)(Path(name))
    if not options.around:
        compare_truth()


if __name__ == "__main__":
    main()
