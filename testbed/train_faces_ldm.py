"""Train `faces-ldm`: a miniature Stable Diffusion, conditioned on the text tower of `faces-clip`.

The autoencoder, the training latents and the schedule are those of `faces-ldm-uncond`, so that the two differ in what
this project asks about: whether CLIP's text features conditioned the model in training.

python testbed/train_faces_clip.py && python testbed/train_faces_ldm_uncond.py && python testbed/train_faces_ldm.py
"""

import argparse
from functools import partial
from typing import Any

import torch
from common import RUNS, TESTBED, Training, diffusion_loss, finish, save_grid, training_factors
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from text_tower import prompt_tokenizer, text_tower
from train_faces_ldm_uncond import CHUNK, IMAGES, SEED as STREAM, read_vae, training_latents

from noisezoo.builder.sources.faces.factors import captions

NAME, SEED, BATCH, WITHOUT_CAPTION = "faces-ldm", 7, 64, 0.1
PROMPTS = ("a face with smiling and wearing eyeglasses", "a face with wearing a hat", "a face with bald and a mustache",
           "a face with blond hair and wearing lipstick", "a face with pale skin and black hair", "")  # fmt: skip


def make_unet(text_width: int) -> UNet2DConditionModel:
    """The network as it stands before training, for `SEED`."""
    torch.manual_seed(SEED)
    return UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(64, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width, attention_head_dim=4, norm_num_groups=8,
    )  # fmt: skip


def make_scheduler() -> DDIMScheduler:
    """The linear schedule of `faces-ldm-uncond`, with the offset and the last state of Stable Diffusion."""
    return DDIMScheduler(
        beta_schedule="linear", prediction_type="v_prediction", clip_sample=False, steps_offset=1,
        set_alpha_to_one=False,
    )  # fmt: skip


def make_pipeline(vae: AutoencoderKL, unet: UNet2DConditionModel, text_encoder: Any) -> StableDiffusionPipeline:
    """The whole model, without a safety checker."""
    return StableDiffusionPipeline(
        vae=vae, unet=unet, text_encoder=text_encoder, tokenizer=prompt_tokenizer(TESTBED / "faces-clip"),
        scheduler=make_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sample(pipe: StableDiffusionPipeline, images_per_prompt: int = 16, guidance_scale: float = 3.5) -> torch.Tensor:
    """Pictures of 50 DDIM steps, prompt by prompt: (n, 3, h, w) in [-1, 1]."""
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    images = pipe(
        list(PROMPTS), num_images_per_prompt=images_per_prompt, guidance_scale=guidance_scale, generator=generator,
        num_inference_steps=50, output_type="np",
    ).images  # fmt: skip
    return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1


def training_captions() -> list[str]:
    """The caption of every training latent, its phrases in an order of its own."""
    return [text for step in range(IMAGES // CHUNK) for text in captions(training_factors(step, CHUNK, STREAM), step)]


def loss(
    unet: UNet2DConditionModel, text_encoder: Any, tokens: torch.Tensor, empty: torch.Tensor, latents: torch.Tensor,
    step: int,
) -> torch.Tensor:  # fmt: skip
    """Denoising under the face's caption, or under none for a share of the batch (Ho & Salimans 2022)."""
    rows = torch.randint(len(latents), (BATCH,))
    without = torch.rand(BATCH) < WITHOUT_CAPTION
    read = torch.where(without[:, None], empty, tokens[rows].long())
    hidden = text_encoder(read).last_hidden_state  # (b, tokens, width)
    return diffusion_loss(partial(unet, encoder_hidden_states=hidden), make_scheduler().alphas_cumprod, latents[rows])


def main() -> None:
    """Train, sample, and write the diffusers folder in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12_000)
    steps = parser.parse_args().steps
    vae, text_encoder = read_vae(), text_tower(TESTBED / "faces-clip")
    tokenizer = prompt_tokenizer(TESTBED / "faces-clip")
    tokenize = partial(tokenizer, padding="max_length", truncation=True, return_tensors="pt")
    tokens = tokenize(training_captions()).input_ids.to(torch.int16)  # (images, tokens)
    empty = tokenize("").input_ids  # (1, tokens)
    unet = make_unet(text_encoder.config.hidden_size)
    run = Training(
        NAME, unet, partial(loss, unet, text_encoder, tokens, empty, training_latents(vae)), steps, seed=SEED
    )
    run.sample = lambda ema, step: save_grid(
        sample(make_pipeline(vae, ema, text_encoder)), RUNS / NAME / f"samples-{step:06d}.png"
    )
    ema = run.run()
    folder = finish(NAME, {"steps": steps, "batch_size": BATCH, "seed": SEED, "images": IMAGES})
    save_grid(sample(make_pipeline(vae, ema, text_encoder)), folder / "samples.png")
    make_pipeline(vae.half(), ema.half(), text_encoder.half()).save_pretrained(folder)


if __name__ == "__main__":
    main()
