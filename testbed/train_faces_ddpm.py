"""Train `faces-ddpm`: an unconditional pixel diffusion model on drawn faces, from a random start.

python testbed/train_faces_ddpm.py --steps 12000
"""

import argparse

import torch
from common import TESTBED, Training, diffusion_loss, face_batch, finish, make_scheduler, sample, save_grid
from diffusers import DDIMPipeline, UNet2DModel

NAME, SEED, BATCH = "faces-ddpm", 1, 64


def make_unet() -> UNet2DModel:
    """The network as it stands before training, for `SEED`."""
    torch.manual_seed(SEED)
    return UNet2DModel(
        sample_size=32, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(16, 32, 64, 96),
        down_block_types=("DownBlock2D",) * 4, up_block_types=("UpBlock2D",) * 4,
        norm_num_groups=8, attention_head_dim=16,
    )  # fmt: skip


def main() -> None:
    """Train, sample, and write the diffusers folder in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12_000)
    steps = parser.parse_args().steps
    abar = make_scheduler().alphas_cumprod
    unet = make_unet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(step: int) -> torch.Tensor:
        clean, _ = face_batch(step, BATCH, stream=SEED)
        return diffusion_loss(unet, abar, clean.to(memory_format=torch.channels_last))

    DDIMPipeline(make_unet().half(), make_scheduler()).save_pretrained(TESTBED / f"{NAME}-untrained")
    run = Training(NAME, unet, loss, steps, seed=SEED)
    run.sample = lambda ema, step: save_grid(
        sample(DDIMPipeline(ema, make_scheduler()), 32), run.folder / f"samples-{step:06d}.png"
    )
    ema = run.run()
    folder = finish(NAME, {"steps": steps, "batch_size": BATCH, "seed": SEED, "images": steps * BATCH})
    DDIMPipeline(ema.half(), make_scheduler()).save_pretrained(folder)
    save_grid(sample(DDIMPipeline(ema.float(), make_scheduler()), 96), folder / "samples.png")


if __name__ == "__main__":
    main()
