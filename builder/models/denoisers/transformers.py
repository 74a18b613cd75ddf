"""Transformers: DiT, PixArt, Stable Diffusion 3, FLUX."""

from typing import Any

import torch
from torch import Tensor

from noisezoo.builder.models.denoisers import Conditions, Denoiser
from noisezoo.errors import UsageError


class ClassConditioned(Denoiser, network="DiTTransformer2DModel"):
    """DiT (Peebles & Xie 2023): a prompt is the name or the number of a class, the empty one is the null class."""

    def encode(self, prompt: str | None) -> Conditions:
        """The class as a number, (1,) int64."""
        null = self.network.config.num_embeds_ada_norm
        number = self._number(prompt) if prompt else null
        if not 0 <= number <= null:
            raise UsageError(f"class {number} does not exist: this model has {null}")
        return {"class_labels": torch.tensor([number], device=self.pipeline.device)}

    def _number(self, prompt: str) -> int:
        if prompt.isdecimal():
            return int(prompt)
        for number, label in (self.pipeline.index.get("id2label") or {}).items():
            if prompt in [name.strip() for name in str(label).split(",")]:
                return int(number)
        raise UsageError(f"{prompt!r} is no class of this model: give a class's name or number, or an empty prompt")


class Mmdit(Denoiser, network="SD3Transformer2DModel"):
    """Stable Diffusion 3 (Esser et al. 2024): a rectified flow on two CLIP towers and T5."""

    text_pipeline, text_tokens = "StableDiffusion3Pipeline", 256

    def encode(self, prompt: str | None) -> Conditions:
        """Hidden states of all towers, and CLIP's pooled embeddings."""
        text = prompt or ""
        hidden, _, pooled, _ = self.tower.encode_prompt(
            text, text, text, device=self.pipeline.device, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": hidden, "pooled_projections": pooled}


class Flux(Denoiser, network="FluxTransformer2DModel"):
    """FLUX.1: a rectified flow on CLIP's pooled embedding and T5, latents packed two by two.

    Guidance is an input of the guidance-distilled model; one without any guidance needs no second pass either.
    """

    text_pipeline, text_tokens, packing = "FluxPipeline", 512, 2
    takes, given_sigmas = "input", True

    def encode(self, prompt: str | None) -> Conditions:
        """T5's hidden states and CLIP's pooled embedding."""
        hidden, pooled, _ = self.tower.encode_prompt(prompt or "", None, device=self.pipeline.device)
        return {"encoder_hidden_states": hidden, "pooled_projections": pooled}

    def scale(self) -> Conditions:
        """The guidance scale, (1,), where the network was distilled under it."""
        if not self.network.config.guidance_embeds:
            return {}
        if self.guidance_scale is None:
            raise UsageError(f"{self.pipeline.folder}: its transformer needs a guidance_scale, which is null")
        return {"guidance": torch.tensor([self.guidance_scale], device=self.pipeline.device)}

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass on (b, c, h, w) latents, packed to (b, h w / 4, 4 c) and back."""
        b, c, h, w = y.shape
        packed = y.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)
        text = conditions["encoder_hidden_states"]
        ids = {"img_ids": position_ids(y, h // 2, w // 2), "txt_ids": y.new_zeros(text.shape[1], 3)}
        output = self.call(hidden_states=packed, timestep=time / 1000, **conditions, **ids)
        return output.view(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


def position_ids(y: "Tensor", rows: int, columns: int) -> "Tensor":
    """FLUX's place of each image token, (rows columns, 3): 0, row, column."""
    sides = (torch.arange(side, device=y.device) for side in (rows, columns))
    row, column = torch.meshgrid(*sides, indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).reshape(-1, 3).to(y.dtype)


class PixArt(Denoiser, network="PixArtTransformer2DModel"):
    """PixArt (Chen et al. 2023): a transformer on T5, with the picture's size where it was trained on many."""

    text_pipeline = "PixArtAlphaPipeline"

    def encode(self, prompt: str | None) -> Conditions:
        """T5's hidden states and which of them hold text."""
        hidden, mask, _, _ = self.tower.encode_prompt(
            prompt or "", do_classifier_free_guidance=False, device=self.pipeline.device,
            max_sequence_length=self.pipeline.prompt_tokens,
        )  # fmt: skip
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}

    def _tokens(self, tokenizer: Any) -> int:
        return self.pipeline.prompt_tokens

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass."""
        height, width = (side * self.pipeline.downscale for side in y.shape[-2:])
        size = {
            "resolution": self.constant(height, width, like=y).expand(len(y), 2),
            "aspect_ratio": self.constant(height / width, like=y).expand(len(y), 1),
        }
        added = size if self.network.use_additional_conditions else dict.fromkeys(size)
        return self.call(y, timestep=time, **conditions, added_cond_kwargs=added)
