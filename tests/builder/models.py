"""Tiny model folders, each written by its own library's `save_pretrained`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from torch._inductor import config

from noisezoo.builder.models.arithmetic import can_compile

STABLE_DIFFUSION: Mapping[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
    "set_alpha_to_one": False, "clip_sample": False,
}  # fmt: skip
"""Stable Diffusion's schedule."""

newer_torch = pytest.mark.skipif(not hasattr(config, "deterministic"), reason="a torch as old as 2.7 fakes no GPU")
compiles = pytest.mark.skipif(not can_compile(), reason="no C++ compiler, or a torch as old as 2.7")


def save_unconditional(
    folder: Path, *, channels: int = 3, size: int = 8, seed: int = 0, **schedule: Any
) -> UNet2DModel:
    """An unconditional pixel model with random weights, saved as a diffusers pipeline; the network that was saved."""
    torch.manual_seed(seed)
    network = UNet2DModel(
        sample_size=size, in_channels=channels, out_channels=channels, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    ).eval()  # fmt: skip
    DDPMPipeline(network, DDIMScheduler(**{**STABLE_DIFFUSION, **schedule})).save_pretrained(folder)
    return network


def save_constant(folder: Path, bias: float, **schedule: Any) -> None:
    """A model whose output is `bias` whatever it is shown: its `conv_out` has zero weights."""
    network = save_unconditional(folder, **schedule)
    with torch.no_grad():
        network.conv_out.weight.zero_()
        network.conv_out.bias.fill_(bias)
    network.save_pretrained(folder / "unet")


def save_stable_diffusion(
    folder: Path, *, vae: Mapping[str, Any] | None = None, **schedule: Any
) -> StableDiffusionPipeline:
    """A Stable Diffusion of random weights: 16x16 pictures, 4x8x8 latents; the pipeline that was saved."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = _tokenizer(folder.with_name(folder.name + "-vocabulary"))
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=12, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    network = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=4,
    )  # fmt: skip
    scheduler = DDIMScheduler(**{**STABLE_DIFFUSION, **schedule})
    pipeline = StableDiffusionPipeline(
        tiny_autoencoder(**(vae or {})), text, tokenizer, network, scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return pipeline


def tiny_autoencoder(**config: Any) -> AutoencoderKL:
    """An autoencoder that halves the side."""
    return AutoencoderKL(
        block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **config,
    ).eval()  # fmt: skip


def _tokenizer(folder: Path) -> Any:
    """CLIP's tokenizer over single letters."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=12)


def save_open_clip(folder: Path, seed: int = 0) -> None:
    """A contrastive model with random weights in open_clip's own folder layout."""
    import open_clip
    from safetensors.torch import save_file

    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config)
    folder.mkdir(parents=True)
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.25], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def save_vit(folder: Path, *, pooler: bool, seed: int = 0) -> Any:
    """A vision transformer with random weights, with or without a pooler; the model that was saved."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    model = ViTModel(config, add_pooling_layer=pooler).eval()
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return model
