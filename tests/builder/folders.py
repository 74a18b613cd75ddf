"""Small folders with the classes and the layout that the zoo's diffusion models have on the Hub, and random weights.

Each is written by its own pipeline's `save_pretrained` and then given the Hub's spellings where the library has moved
on since: classes' former names, keys that older configs lack, weights beside the index, pickles.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel
from torch import Tensor

from tests.builder.towers import clip_tokenizer, clip_tower, save_former_vocabulary, t5_tokenizer, t5_tower

PROMPT = "a photo of a face"
LABELS = {0: "tench, Tinca tinca", 1: "goldfish", 2: "golden retriever", 3: "white shark"}
SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SD_STEPS = {"skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}
LINEAR_BETAS = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
VAE_LEVELS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}


def autoencoder(**config: Any) -> AutoencoderKL:
    """An autoencoder that halves the side; its `sample_size` is, as on the Hub, no guide to the model's resolution."""
    settings = {"latent_channels": 4, "norm_num_groups": 4, "sample_size": 48, "block_out_channels": (8, 8)}
    return AutoencoderKL(**{**settings, **VAE_LEVELS, **config})


def text_unet(width: int, **config: Any) -> UNet2DConditionModel:
    """A UNet with cross-attention to `width` channels, on 4x8x8 latents."""
    settings = {
        "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (8, 16), "layers_per_block": 1,
        "norm_num_groups": 4, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": 2,
    }  # fmt: skip
    return UNet2DConditionModel(**{**settings, "cross_attention_dim": width, **config})


def image_unet(channels: int, size: int, **config: Any) -> UNet2DModel:
    """An unconditional UNet."""
    return UNet2DModel(
        sample_size=size, in_channels=channels, out_channels=channels, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"), attention_head_dim=4,
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), **config,
    )  # fmt: skip


def _safety_parts() -> dict[str, Any]:
    """The two components of SD 1.5 and LCM that no inversion needs and every folder of theirs has."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    tower = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        vision_config={**tower, "image_size": 16, "patch_size": 8},
        text_config={**tower, "vocab_size": 16, "bos_token_id": 0, "eos_token_id": 2}, projection_dim=8,
    )  # fmt: skip
    checker = StableDiffusionSafetyChecker(config)
    for buffer in ("special_care_embeds", "concept_embeds"):
        getattr(checker, buffer).data.normal_()
    return {"safety_checker": checker, "feature_extractor": transformers.CLIPImageProcessor(size=16, crop_size=16)}


def edit_json(path: Path, *, without: tuple[str, ...] = (), **changes: Any) -> None:
    """Rewrite a JSON file with some keys changed and some left out."""
    kept = {key: value for key, value in json.loads(path.read_text()).items() if key not in without}
    path.write_text(json.dumps({**kept, **changes}, indent=2))


def _save_sd15(folder: Path) -> None:
    diffusers.StableDiffusionPipeline(
        vae=autoencoder(), text_encoder=clip_tower(8), tokenizer=clip_tokenizer(), unet=text_unet(8),
        scheduler=diffusers.PNDMScheduler(**SD_BETAS, **SD_STEPS), **_safety_parts(),
    ).save_pretrained(folder)  # fmt: skip
    edit_json(folder / "vae" / "config.json", without=("scaling_factor", "shift_factor"))


def _save_sd21(folder: Path, scheduler: type[Any], **settings: Any) -> None:
    diffusers.StableDiffusionPipeline(
        vae=autoencoder(scaling_factor=0.18215), text_encoder=clip_tower(8, act="gelu"), tokenizer=clip_tokenizer("!"),
        unet=text_unet(8, attention_head_dim=[2, 4], use_linear_projection=True),
        scheduler=scheduler(**SD_BETAS, **settings),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def _save_lcm(folder: Path) -> None:
    diffusers.LatentConsistencyModelPipeline(
        vae=autoencoder(), text_encoder=clip_tower(8), tokenizer=clip_tokenizer(),
        unet=text_unet(8, time_cond_proj_dim=16), scheduler=diffusers.LCMScheduler(**SD_BETAS), **_safety_parts(),
    ).save_pretrained(folder)  # fmt: skip


def _save_ddpm(folder: Path) -> None:
    scheduler = diffusers.DDPMScheduler(**LINEAR_BETAS, variance_type="fixed_small", clip_sample=True)
    pipeline = diffusers.DDPMPipeline(image_unet(3, 16, flip_sin_to_cos=False, freq_shift=1), scheduler)
    pipeline.save_pretrained(folder, safe_serialization=False)
    for part in ("unet", "scheduler"):  # on the Hub this model's files lie beside the index
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()


def _save_ldm(folder: Path) -> None:
    vqvae = diffusers.VQModel(
        block_out_channels=(8, 8), latent_channels=3, norm_num_groups=4, num_vq_embeddings=32, sample_size=48,
        **VAE_LEVELS,
    )  # fmt: skip
    vqvae.quantize.embedding.weight.data.normal_()  # its start is within 1/32 of nought, far from any latent
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False
    )
    pipeline = diffusers.LDMPipeline(vqvae, image_unet(3, 8), scheduler)
    pipeline.save_pretrained(folder, safe_serialization=False)
    # Not scaled in training; diffusers fills the lacking key with 0.18215, and its own pipeline is wrong (issue 6725).
    edit_json(folder / "vqvae" / "config.json", without=("scaling_factor",))
    edit_json(folder / "scheduler" / "scheduler_config.json", timestep_values=None, trained_betas=None)


def _former_name(folder: Path) -> None:
    """Call the transformer by the class it had when the Hub's folder was written."""
    edit_json(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    edit_json(folder / "transformer" / "config.json", _class_name="Transformer2DModel")


def _save_dit(folder: Path) -> None:
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, norm_num_groups=4,
        sample_size=8, num_embeds_ada_norm=len(LABELS),
    )  # fmt: skip
    diffusers.DiTPipeline(
        transformer, autoencoder(), diffusers.DDIMScheduler(**LINEAR_BETAS, clip_sample=False), id2label=LABELS
    ).save_pretrained(folder, safe_serialization=False)
    edit_json(folder / "model_index.json", id2label=LABELS)
    _former_name(folder)


def _save_sdxl(folder: Path) -> None:
    unet = text_unet(
        8 + 16, attention_head_dim=[2, 4], use_linear_projection=True, transformer_layers_per_block=[1, 2],
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 12,
    )  # fmt: skip
    diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025, force_upcast=True), unet=unet, force_zeros_for_empty_prompt=True,
        text_encoder=clip_tower(8), text_encoder_2=clip_tower(16, projection=12, act="gelu"),
        tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer("!"), add_watermarker=False,
        scheduler=diffusers.EulerDiscreteScheduler(**SD_BETAS, steps_offset=1, timestep_spacing="leading"),
    ).save_pretrained(folder)  # fmt: skip
    left_by_earlier_schedulers = {"clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True}
    edit_json(folder / "scheduler" / "scheduler_config.json", **left_by_earlier_schedulers, sample_max_value=1.0)


def _flow_autoencoder(**config: Any) -> AutoencoderKL:
    return autoencoder(latent_channels=4, use_quant_conv=False, use_post_quant_conv=False, **config)


def _save_sd3(folder: Path) -> None:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=8 + 12, out_channels=4,
        pos_embed_max_size=12,
    )  # fmt: skip
    diffusers.StableDiffusion3Pipeline(
        transformer=transformer, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_flow_autoencoder(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=clip_tower(8, projection=8), tokenizer=clip_tokenizer(),
        text_encoder_2=clip_tower(16, projection=12, act="gelu"), tokenizer_2=clip_tokenizer("!"),
        text_encoder_3=t5_tower(32), tokenizer_3=t5_tokenizer(512),
    ).save_pretrained(folder)  # fmt: skip
    edit_json(folder / "model_index.json", tokenizer_3=["transformers", "T5TokenizerFast"])


def _save_flux(folder: Path) -> None:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=8, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256,
        max_image_seq_len=4096,
    )  # fmt: skip
    diffusers.FluxPipeline(
        transformer=transformer, scheduler=scheduler, vae=_flow_autoencoder(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=clip_tower(8), tokenizer=clip_tokenizer(),
        text_encoder_2=t5_tower(16), tokenizer_2=t5_tokenizer(512),
    ).save_pretrained(folder)  # fmt: skip
    edit_json(folder / "model_index.json", tokenizer_2=["transformers", "T5TokenizerFast"])


def _save_pixart(
    folder: Path, *, pipeline: type[Any], prompt_tokens: int, scale: float, additional: bool | None
) -> None:
    """The alpha is told the picture's size, the sigma is not, both at the sample size that diffusers asks for."""
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=8, num_layers=2, sample_size=128,
        patch_size=16, cross_attention_dim=24, caption_channels=16, norm_num_groups=4, interpolation_scale=2,
        use_additional_conditions=additional,
    )  # fmt: skip
    pipeline(
        transformer=transformer, scheduler=diffusers.DPMSolverMultistepScheduler(**LINEAR_BETAS),
        vae=autoencoder(mid_block_add_attention=False, scaling_factor=scale),  # attention over 128 x 128 takes seconds
        text_encoder=t5_tower(16), tokenizer=t5_tokenizer(prompt_tokens),
    ).save_pretrained(folder)  # fmt: skip
    _former_name(folder)


DIFFUSION_FOLDERS: Mapping[str, Callable[[Path], None]] = {
    "sd15": _save_sd15,
    "sd21": partial(
        _save_sd21, scheduler=diffusers.DDIMScheduler, prediction_type="v_prediction", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    ),
    "sd21-base": partial(_save_sd21, scheduler=diffusers.PNDMScheduler, **SD_STEPS),
    "lcm": _save_lcm,
    "ddpm-celebahq-256": _save_ddpm,
    "ldm-celebahq-256": _save_ldm,
    "dit-xl-2-256": _save_dit,
    "sdxl": _save_sdxl,
    "sd3-medium": _save_sd3,
    "flux-dev": _save_flux,
    "pixart": partial(
        _save_pixart, pipeline=diffusers.PixArtSigmaPipeline, prompt_tokens=300, scale=0.13025, additional=False
    ),
    "pixart-alpha": partial(
        _save_pixart, pipeline=diffusers.PixArtAlphaPipeline, prompt_tokens=120, scale=0.18215, additional=None
    ),
}  # fmt: skip
"""Zoo row -> what writes a small folder like the row's on the Hub; `pixart-alpha` is the other version of `pixart`."""


def save_diffusion(name: str, folder: Path) -> Path:
    """Write the folder of row `name`; the same numbers on every call, and the global generator left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        DIFFUSION_FOLDERS[name](folder)
    for tokenizer in folder.glob("tokenizer*"):
        save_former_vocabulary(tokenizer)
    return folder


PICKLED = ("ddpm-celebahq-256", "ldm-celebahq-256", "dit-xl-2-256")
SIDES = {"pixart": 256, "pixart-alpha": 256}
"""Pixels a side, where the folder's configs do not say 16."""
SHAPES = {
    "ddpm-celebahq-256": (3, 16, 16),
    "ldm-celebahq-256": (3, 8, 8),
    "pixart": (4, 128, 128),
    "pixart-alpha": (4, 128, 128),
}
"""Shape of the latents, where the folder's configs do not say (4, 8, 8)."""


def shape(row: str) -> tuple[int, int, int]:
    """Shape of a row's latents."""
    return SHAPES.get(row, (4, 8, 8))


def pictures(row: str, n: int = 2) -> Tensor:
    """Random pictures of a row's own size: (n, 3, h, w) in [-1, 1]."""
    side = SIDES.get(row, 16)
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def latents(row: str, n: int = 2) -> Tensor:
    """Gaussian latents of a row: (n, c, h, w)."""
    return torch.randn(n, *shape(row), generator=torch.Generator().manual_seed(1))


class Folders:
    """The folders under one root, each written on first use; they are for looking at, not for changing."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, name: str) -> Path:
        """The folder of row `name`."""
        folder = self.root / name
        return folder if folder.is_dir() else save_diffusion(name, folder)


def shard_denoiser(folder: Path, max_shard_size: str = "10KB") -> list[Path]:
    """Save a folder's denoiser anew in several files with an index; the files, in order."""
    part = next(folder / name for name in ("unet", "transformer") if (folder / name).is_dir())
    kind = getattr(diffusers, json.loads((part / "config.json").read_text())["_class_name"])
    network = kind.from_pretrained(part)
    for path in part.glob("diffusion_pytorch_model*"):
        path.unlink()
    network.save_pretrained(part, max_shard_size=max_shard_size)
    return sorted(part.glob("*-of-*.safetensors"))
