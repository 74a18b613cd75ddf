"""Train `faces-ldm-uncond`: an unconditional diffusion on the 4x8x8 latents of `faces-vae`, from a random start.

python testbed/train_faces_vae.py && python testbed/train_faces_ldm_uncond.py --steps 4500
"""

import argparse
from pathlib import Path

import torch
from common import RUNS, Training, diffusion_loss, face_batch, finish, make_scheduler, sample, save_grid
from diffusers import AutoencoderKL, LDMPipeline, UNet2DModel

NAME, SEED, BATCH, IMAGES, CHUNK = "faces-ldm-uncond", 3, 64, 128_000, 128


def make_unet() -> UNet2DModel:
    """The network as it stands before training, for `SEED`."""
    torch.manual_seed(SEED)
    return UNet2DModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(64, 96),
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=8, attention_head_dim=16,
    )  # fmt: skip


def read_vae() -> AutoencoderKL:
    """The trained autoencoder, float32."""
    vae = AutoencoderKL.from_pretrained(RUNS / "faces-vae" / "vae", torch_dtype=torch.float32).eval()
    vae.register_to_config(_name_or_path="faces-vae")  # what ships must not name a folder of this machine
    return vae


@torch.no_grad()
def training_latents(vae: AutoencoderKL) -> torch.Tensor:
    """Scaled posterior modes of the training faces: (IMAGES, 4, 8, 8) float32, kept on disk between restarts."""
    cache = Path(RUNS / NAME / "latents.pt")
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        batches = (face_batch(step, CHUNK, stream=SEED)[0] for step in range(IMAGES // CHUNK))
        latents = [vae.encode(clean).latent_dist.mode() * vae.config.scaling_factor for clean in batches]
        torch.save(torch.cat(latents), cache)
    return torch.load(cache, weights_only=True)


def main() -> None:
    """Train, sample, and write the diffusers folder in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12_000)
    steps = parser.parse_args().steps
    vae = read_vae()
    latents = training_latents(vae)
    abar = make_scheduler().alphas_cumprod
    unet = make_unet()

    def loss(step: int) -> torch.Tensor:
        return diffusion_loss(unet, abar, latents[torch.randint(len(latents), (BATCH,))])

    run = Training(NAME, unet, loss, steps, seed=SEED)
    run.sample = lambda ema, step: save_grid(
        sample(LDMPipeline(vae, ema, make_scheduler()), 32), run.folder / f"samples-{step:06d}.png"
    )
    ema = run.run()
    folder = finish(NAME, {"steps": steps, "batch_size": BATCH, "seed": SEED, "images": IMAGES})
    save_grid(sample(LDMPipeline(vae, ema, make_scheduler()), 96), folder / "samples.png")
    LDMPipeline(vae.half(), ema.half(), make_scheduler()).save_pretrained(folder)


if __name__ == "__main__":
    main()
