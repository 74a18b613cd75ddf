"""What each zoo row's guided network must say, from the diffusers pipeline alone.

Every function repeats the network call of its pipeline's own `__call__` on the pipeline's own components and prompt
encoding, and gives the guided prediction in the latents' shape; `test_zoo_references` holds it to the pipeline itself.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tests.builder.folders import DIFFUSION_FOLDERS, PROMPT, Folders

CPU = torch.device("cpu")
UNCONDITIONAL = ("ddpm-celebahq-256", "ldm-celebahq-256")
PROMPTS: Mapping[str, str] = {
    row: "golden retriever" if row.startswith("dit") else PROMPT
    for row in DIFFUSION_FOLDERS
    if row not in UNCONDITIONAL
}
"""Row -> a prompt that it takes."""


def distance(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of what is expected."""
    return float((found - expected).norm() / expected.norm())


class References:
    """diffusers' own pipelines by row, each loaded once."""

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self.loaded: dict[str, Any] = {}

    def __getitem__(self, row: str) -> Any:
        """The pipeline of a row."""
        self.loaded[row] = self.loaded.get(row) or load_reference(self.folders[row])
        return self.loaded[row]


def load_reference(folder: Path) -> Any:
    """The diffusers pipeline of a folder, float32, ready to be asked."""
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _guide(unconditional: Tensor, conditional: Tensor, w: float) -> Tensor:
    return unconditional + w * (conditional - unconditional)


def _repeat(embedding: Tensor, batch: int) -> Tensor:
    return embedding.repeat(batch, *[1] * (embedding.ndim - 1))


def _pair(negative: Tensor, positive: Tensor, batch: int) -> Tensor:
    """Unconditional rows first, as the pipelines stack them: (2 batch, ...)."""
    return torch.cat([_repeat(negative, batch), _repeat(positive, batch)])


def _unconditional(pipeline: Any, y: Tensor, t: Tensor, prompt: str, w: float, negative: str | None) -> Tensor:
    prediction: Tensor = pipeline.unet(y, t).sample
    return prediction


def _stable_diffusion(pipeline: Any, y: Tensor, t: Tensor, prompt: str, w: float, negative: str | None) -> Tensor:
    positive, negative_embeds = pipeline.encode_prompt(prompt, CPU, 1, True, negative)
    hidden = _pair(negative_embeds, positive, len(y))
    return _guide(*pipeline.unet(torch.cat([y, y]), t, encoder_hidden_states=hidden).sample.chunk(2), w)


def _latent_consistency(pipeline: Any, y: Tensor, t: Tensor, prompt: str, w: float, negative: str | None) -> Tensor:
    hidden, _ = pipeline.encode_prompt(prompt, CPU, 1, False)
    condition = pipeline.get_guidance_scale_embedding(
        torch.tensor(w - 1).repeat(len(y)), embedding_dim=pipeline.unet.config.time_cond_proj_dim
    )
    prediction: Tensor = pipeline.unet(
        y, t, timestep_cond=condition, encoder_hidden_states=_repeat(hidden, len(y))
    ).sample
    return prediction


def _sdxl(pipeline: Any, y: Tensor, t: Tensor, prompt: str, w: float, negative: str | None) -> Tensor:
    positive, negative_embeds, pooled, negative_pooled = pipeline.encode_prompt(
        prompt, device=CPU, do_classifier_free_guidance=True, negative_prompt=negative
    )
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    sizes = pipeline._get_add_time_ids(
        (side, side), (0, 0), (side, side), pooled.dtype, pipeline.text_encoder_2.config.projection_dim
    )
    added = {"text_embeds": _pair(negative_pooled, pooled, len(y)), "time_ids": sizes.repeat(2 * len(y), 1)}
    hidden = _pair(negative_embeds, positive, len(y))
    both = pipeline.unet(torch.cat([y, y]), t, encoder_hidden_states=hidden, added_cond_kwargs=added).sample
    return _guide(*both.chunk(2), w)


def _dit(pipeline: Any, y: Tensor, t: Tensor, prompt: str, w: float, negative: str | None) -> Tensor:
    """The null class follows the last label, and stands for the empty prompt; the learned variance is left out."""
    null = pipeline.transformer.config.num_embeds_ada_norm
    label = pipeline.get_label_ids([prompt])[0] if prompt else null
    labels = torch.tensor([null] * len(y) + [label] * len(y))
    both = pipeline.transformer(torch.cat([y, y]), timestep=t.expand(2 * len(y)), class_labels=labels).sample
    return _guide(*both[:, : y.shape[1]].chunk(2), w)


def _sd3(pipeline: Any, y: Tensor, t: Tensor, prompt: str, w: float, negative: str | None) -> Tensor:
    positive, negative_embeds, pooled, negative_pooled = pipeline.encode_prompt(
        prompt, None, None, negative_prompt=negative, device=CPU
    )
    both = pipeline.transformer(
        hidden_states=torch.cat([y, y]),
        timestep=t.expand(2 * len(y)),
        encoder_hidden_states=_pair(negative_embeds, positive, len(y)),
        pooled_projections=_pair(negative_pooled, pooled, len(y)),
    ).sample
    return _guide(*both.chunk(2), w)


def _flux(pipeline: Any, y: Tensor, t: Tensor, prompt: str, w: float, negative: str | None) -> Tensor:
    batch, channels, height, width = y.shape
    hidden, pooled, text_ids = pipeline.encode_prompt(prompt, None, device=CPU)
    packed = pipeline.transformer(
        hidden_states=pipeline._pack_latents(y, batch, channels, height, width),
        timestep=t.expand(batch) / 1000,
        guidance=torch.full([batch], w),
        pooled_projections=_repeat(pooled, batch),
        encoder_hidden_states=_repeat(hidden, batch),
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_image_ids(batch, height // 2, width // 2, CPU, y.dtype),
    ).sample
    scale = pipeline.vae_scale_factor
    prediction: Tensor = pipeline._unpack_latents(packed, height * scale, width * scale, scale)
    return prediction


def _pixart(pipeline: Any, y: Tensor, t: Tensor, prompt: str, w: float, negative: str | None) -> Tensor:
    positive, mask, negative_embeds, negative_mask = pipeline.encode_prompt(
        prompt, True, negative_prompt=negative or "", device=CPU
    )
    sizes: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
    if pipeline.transformer.config.sample_size == 128 and pipeline.transformer.use_additional_conditions:
        side = float(128 * pipeline.vae_scale_factor)
        rows = 2 * len(y)
        sizes = {"resolution": torch.tensor([[side, side]] * rows), "aspect_ratio": torch.tensor([[1.0]] * rows)}
    both = pipeline.transformer(
        torch.cat([y, y]),
        encoder_hidden_states=_pair(negative_embeds, positive, len(y)),
        encoder_attention_mask=_pair(negative_mask, mask, len(y)),
        timestep=t.expand(2 * len(y)),
        added_cond_kwargs=sizes,
    ).sample
    return _guide(*both.chunk(2, dim=1)[0].chunk(2), w)  # the second half of the channels is the learned variance


REFERENCES: Mapping[str, Callable[[Any, Tensor, Tensor, str, float, str | None], Tensor]] = {
    "DDPMPipeline": _unconditional,
    "LDMPipeline": _unconditional,
    "StableDiffusionPipeline": _stable_diffusion,
    "LatentConsistencyModelPipeline": _latent_consistency,
    "StableDiffusionXLPipeline": _sdxl,
    "DiTPipeline": _dit,
    "StableDiffusion3Pipeline": _sd3,
    "FluxPipeline": _flux,
    "PixArtAlphaPipeline": _pixart,
    "PixArtSigmaPipeline": _pixart,
}
"""Pipeline class -> its guided network."""


def reference(
    pipeline: Any,
    latents: Tensor,
    timestep: float,
    prompt: str = "",
    guidance_scale: float = 3.5,
    negative_prompt: str | None = None,
) -> Tensor:
    """The guided prediction of a diffusers pipeline's network: (b, c, h, w) float32, as its latents."""
    kind = REFERENCES[type(pipeline).__name__]
    with torch.inference_mode():
        return kind(pipeline, latents, torch.as_tensor(timestep), prompt, guidance_scale, negative_prompt)


def call_arguments(pipeline: Any, noise: Tensor, prompt: str = "", guidance_scale: float = 3.5) -> dict[str, Any]:
    """The arguments of a pipeline's `__call__` that sample one image from `noise`, as far as it takes them.

    DiT's pipeline has 1000 for the null class whatever the network's, so that only a real class can be asked for here.
    """
    kind, generator = type(pipeline).__name__, torch.Generator().manual_seed(2)
    if kind in ("DDPMPipeline", "LDMPipeline"):
        return {"generator": generator}
    if kind == "DiTPipeline":
        return {"class_labels": pipeline.get_label_ids([prompt]), "guidance_scale": 1.0, "generator": generator}
    if kind == "FluxPipeline":
        latents = pipeline._pack_latents(noise, *noise.shape)
    else:
        latents = noise
    side = noise.shape[-1] * pipeline.vae_scale_factor
    binning = {"use_resolution_binning": False} if kind.startswith("PixArt") else {}
    common = {"prompt": prompt, "guidance_scale": guidance_scale, "output_type": "latent"}
    return {**common, **binning, "latents": latents, "height": side, "width": side}


def unpack(pipeline: Any, state: Tensor, side: int) -> Tensor:
    """FLUX's packed state as latents of `side`; another pipeline's state as it is."""
    if type(pipeline).__name__ != "FluxPipeline":
        return state
    scale = pipeline.vae_scale_factor
    latents: Tensor = pipeline._unpack_latents(state, side * scale, side * scale, scale)
    return latents


def record_steps(
    pipeline: Any, steps: int, noise: Tensor, prompt: str = "", guidance_scale: float = 3.5
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Run a pipeline's own `__call__`; the network's (state, time, guided prediction) at each step, one image."""
    scheduler, seen, inputs = pipeline.scheduler, [], []
    step, scale = scheduler.step, getattr(scheduler, "scale_model_input", lambda sample, *_: sample)

    def record_scale(sample: Tensor, *args: Any) -> Tensor:
        inputs.append(scale(sample, *args))
        return inputs[-1]

    def record_step(prediction: Tensor, t: Tensor, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        shown = (inputs or [sample])[-1][:1]
        state, guided = (unpack(pipeline, value, noise.shape[-1]) for value in (shown, prediction[:1]))
        seen.append((state, torch.as_tensor(t), guided))
        return step(prediction, t, sample, *args, **kwargs)

    with (
        patch.object(scheduler, "step", record_step),
        patch.object(scheduler, "scale_model_input", record_scale, create=True),
    ):
        pipeline(num_inference_steps=steps, **call_arguments(pipeline, noise, prompt, guidance_scale))
    return seen
