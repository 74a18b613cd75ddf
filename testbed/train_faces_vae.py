"""Train the autoencoder of the faces' latent models: 3x32x32 pictures to 4x8x8 latents.

python testbed/train_faces_vae.py --steps 6000
"""

import argparse

import torch
from common import RUNS, Training, face_batch, save_grid
from diffusers import AutoencoderKL

NAME, SEED, BATCH, KL_WEIGHT = "faces-vae", 2, 32, 1e-5


def make_vae() -> AutoencoderKL:
    """The autoencoder before training, for `SEED`."""
    torch.manual_seed(SEED)
    return AutoencoderKL(
        sample_size=32, latent_channels=4, block_out_channels=(16, 32, 64), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    )  # fmt: skip


def edges(x: torch.Tensor) -> torch.Tensor:
    """Differences between neighbouring pixels, down then across, as one row a picture."""
    return torch.cat([x.diff(dim=-1).flatten(1), x.diff(dim=-2).flatten(1)], dim=1)


def reconstruct(vae: AutoencoderKL, clean: torch.Tensor) -> torch.Tensor:
    """Encode to the posterior's mode and back."""
    with torch.no_grad():
        return vae.decode(vae.encode(clean).latent_dist.mode()).sample


@torch.no_grad()
def scaling_factor(vae: AutoencoderKL) -> float:
    """One over the standard deviation of the latents, as Rombach et al. (2022) define it."""
    clean, _ = face_batch(10_000_000 // BATCH, 512, stream=SEED)
    return round(1 / float(vae.encode(clean).latent_dist.mode().std()), 5)


def main() -> None:
    """Train, measure the reconstruction and leave the folder in `build/testbed/faces-vae` for the latent models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6_000)
    steps = parser.parse_args().steps
    vae = make_vae().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(step: int) -> torch.Tensor:
        clean, _ = face_batch(step, BATCH, stream=SEED)
        clean = clean.to(memory_format=torch.channels_last)
        posterior = vae.encode(clean).latent_dist
        output = vae.decode(posterior.sample()).sample
        pixel = (output - clean).abs().mean() + (output - clean).pow(2).mean()
        edge = (edges(output) - edges(clean)).abs().mean()
        return pixel + edge + KL_WEIGHT * posterior.kl().mean()

    run = Training(NAME, vae, loss, steps, lr=2e-3, seed=SEED)
    test, _ = face_batch(20_000_000 // BATCH, 32, stream=SEED)
    run.sample = lambda ema, step: save_grid(
        torch.stack([test, reconstruct(ema, test)], 1).flatten(0, 1), run.folder / f"samples-{step:06d}.png"
    )
    ema = run.run()
    mse = (reconstruct(ema, test) - test).pow(2).mean()
    ema.register_to_config(scaling_factor=scaling_factor(ema))
    print(f"PSNR {10 * torch.log10(4 / mse):.2f} dB, scaling factor {ema.config.scaling_factor}")
    ema.half().save_pretrained(RUNS / NAME / "vae")


if __name__ == "__main__":
    main()
