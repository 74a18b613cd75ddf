"""Train `digits-ddpm`: an unconditional diffusion on the training half of scikit-learn's handwritten digits.

python testbed/train_digits_ddpm.py --steps 4000
python testbed/train_digits_ddpm.py --steps 1500 --seed 7    # another training of it
"""

import numpy as np
import torch
from common import Training, diffusion_loss, finish, make_scheduler, read_options, run_name, sample, save_grid
from diffusers import DDIMPipeline, UNet2DModel

from noisezoo.builder.sources.digits import digit_id, digit_pixels, trained_on_digit

NAME, SEED, BATCH = "digits-ddpm", 6, 64


def make_unet(seed: int = SEED) -> UNet2DModel:
    """The network as it stands before training, for a seed."""
    torch.manual_seed(seed)
    return UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64), dropout=0.1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=8, attention_head_dim=16,
    )  # fmt: skip


def digit_tensor(training: bool) -> torch.Tensor:
    """The digits of one side of the split: (n, 1, 8, 8) float32 in [-1, 1]."""
    pixels = digit_pixels()
    chosen = np.array([trained_on_digit(digit_id(i)) == training for i in range(len(pixels))])
    return torch.from_numpy(pixels[chosen]).float()[:, None] / 127.5 - 1


@torch.no_grad()
def held_out_loss(unet: UNet2DModel, abar: torch.Tensor, images: torch.Tensor) -> float:
    """Loss on digits the model never saw, with fixed noise: rises where training starts to memorise."""
    torch.manual_seed(0)
    return float(torch.stack([diffusion_loss(unet, abar, images) for _ in range(8)]).mean())


def main() -> None:
    """Train, sample, and write the diffusers folder in float16."""
    options = read_options(__doc__, steps=4_000, seed=SEED)
    name = run_name(NAME, options.seed, SEED)
    abar, images, unseen = make_scheduler().alphas_cumprod, digit_tensor(True), digit_tensor(False)

    def loss(step: int) -> torch.Tensor:
        return diffusion_loss(run.model, abar, images[torch.randint(len(images), (BATCH,))], options.device)

    def report(ema: UNet2DModel, step: int) -> None:
        print(
            f"step {step}: seen {held_out_loss(ema, abar, images):.5f}, unseen {held_out_loss(ema, abar, unseen):.5f}"
        )
        save_grid(sample(DDIMPipeline(ema, make_scheduler()), 64), run.folder / f"samples-{step:06d}.png")

    run = Training(
        name, make_unet(options.seed), loss, options.steps, seed=options.seed, device=options.device, every=500,
        sample=report,
    )  # fmt: skip
    ema = run.run()
    folder = finish(name, {"steps": options.steps, "batch_size": BATCH, "seed": options.seed, "images": len(images),
                           "loss_on_training_digits": held_out_loss(ema, abar, images),
                           "loss_on_unseen_digits": held_out_loss(ema, abar, unseen)})  # fmt: skip
    if name == NAME:  # for the card
        save_grid(sample(DDIMPipeline(ema, make_scheduler()), 96), folder / "samples.png")
    DDIMPipeline(ema.half(), make_scheduler()).save_pretrained(folder)


if __name__ == "__main__":
    main()
