"""Train `faces-ldm-uncond`: an unconditional diffusion on the 4x8x8 latents of `faces-vae`, from a random start.

python testbed/train_faces_vae.py && python testbed/train_faces_ldm_uncond.py --steps 4500
python testbed/train_faces_ldm_uncond.py --steps 1500 --seed 11    # another training of it
"""

from pathlib import Path

import torch
from common import (
    RUNS,
    TESTBED,
    Training,
    diffusion_loss,
    face_batch,
    finish,
    make_scheduler,
    read_options,
    run_name,
    sample,
    save_grid,
)  # fmt: skip
from diffusers import AutoencoderKL, LDMPipeline, UNet2DModel

NAME, SEED, BATCH, IMAGES, CHUNK = "faces-ldm-uncond", 3, 64, 128_000, 128


def make_unet(seed: int = SEED) -> UNet2DModel:
    """The network as it stands before training, for a seed."""
    torch.manual_seed(seed)
    return UNet2DModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(64, 96),
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=8, attention_head_dim=16,
    )  # fmt: skip


def read_vae(folder: Path = RUNS / "faces-vae" / "vae") -> AutoencoderKL:
    """The trained autoencoder, float32."""
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32).eval()
    vae.register_to_config(_name_or_path="faces-vae")  # what ships must not name a folder of this machine
    return vae


@torch.no_grad()
def latent_chunk(vae: AutoencoderKL, step: int) -> torch.Tensor:
    """Scaled posterior modes of `CHUNK` training faces: (CHUNK, 4, 8, 8) float32."""
    clean, _ = face_batch(step, CHUNK, stream=SEED)
    return vae.encode(clean).latent_dist.mode() * vae.config.scaling_factor


def training_latents(vae: AutoencoderKL) -> torch.Tensor:
    """Scaled posterior modes of the training faces: (IMAGES, 4, 8, 8) float32, kept on disk between restarts."""
    cache = Path(RUNS / NAME / "latents.pt")
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.cat([latent_chunk(vae, step) for step in range(IMAGES // CHUNK)]), cache)
    return torch.load(cache, weights_only=True)


def main() -> None:
    """Train, sample, and write the diffusers folder in float16."""
    options = read_options(__doc__, steps=12_000, seed=SEED)
    name = run_name(NAME, options.seed, SEED)
    vae = read_vae() if name == NAME else read_vae(TESTBED / NAME / "vqvae")  # another training has the same latents
    latents = training_latents(vae)
    abar = make_scheduler().alphas_cumprod

    def loss(step: int) -> torch.Tensor:
        return diffusion_loss(run.model, abar, latents[torch.randint(len(latents), (BATCH,))], options.device)

    run = Training(name, make_unet(options.seed), loss, options.steps, seed=options.seed, device=options.device)
    run.sample = lambda ema, step: save_grid(
        sample(LDMPipeline(vae, ema, make_scheduler()), 32), run.folder / f"samples-{step:06d}.png"
    )
    ema = run.run()
    folder = finish(name, {"steps": options.steps, "batch_size": BATCH, "seed": options.seed, "images": IMAGES})
    if name == NAME:  # for the card
        save_grid(sample(LDMPipeline(vae, ema, make_scheduler()), 96), folder / "samples.png")
    LDMPipeline(vae.half(), ema.half(), make_scheduler()).save_pretrained(folder)


if __name__ == "__main__":
    main()
