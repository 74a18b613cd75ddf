"""Transformers: DiT, PixArt, Stable Diffusion 3, FLUX."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from noisezoo.builder.models.denoisers.denoiser import Conditions, Denoiser
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


class ClassConditioned(Denoiser):
    """DiT (Peebles & Xie 2023): a prompt is the name or the number of a class, the empty one is the null class."""

    def encode(self, prompt: str | None) -> Conditions:
        """The class as a number, (1,) int64."""
        import torch

        null = self.network.config.num_embeds_ada_norm
        number = self._number(prompt) if prompt else null
        if not 0 <= number <= null:
            raise UsageError(f"class {number} does not exist: this model has {null}")
        return {"class_labels": torch.tensor([number], device=self.pipeline.device)}

    def _number(self, prompt: str) -> int:
        if prompt.isdecimal():
            return int(prompt)
        names: Mapping[str, str] = self.pipeline.index.get("id2label") or {}
        for number, label in names.items():
            if prompt in [name.strip() for name in str(label).split(",")]:
                return int(number)
        raise UsageError(f"{prompt!r} is no class of this model: give a class's name or number, or an empty prompt")

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass."""
        output: Tensor = self.network(y, timestep=time, **conditions, return_dict=False)[0]
        return output


class Mmdit(Denoiser):
    """Stable Diffusion 3 (Esser et al. 2024): a rectified flow on two CLIP towers and T5."""

    text_pipeline: ClassVar[str] = "StableDiffusion3Pipeline"

    def encode(self, prompt: str | None) -> Conditions:
        """Hidden states of all towers, and CLIP's pooled embeddings."""
        tower = self.pipeline.text_pipeline(self.text_pipeline)
        text = prompt or ""
        hidden, _, pooled, _ = tower.encode_prompt(
            text, text, text, device=self.pipeline.device, do_classifier_free_guidance=False
        )
        found = {"encoder_hidden_states": hidden, "pooled_projections": pooled}
        return {name: value.to(self.pipeline.dtype) for name, value in found.items()}

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass."""
        output: Tensor = self.network(hidden_states=y, timestep=time, **conditions, return_dict=False)[0]
        return output


class Flux(Denoiser):
    """FLUX.1: a rectified flow on CLIP's pooled embedding and T5, latents packed two by two, guidance as input."""

    text_pipeline: ClassVar[str] = "FluxPipeline"

    @property
    def embeds_guidance(self) -> bool:
        """True for the guidance-distilled model, and for one without any guidance as well."""
        return True

    def encode(self, prompt: str | None) -> Conditions:
        """T5's hidden states, CLIP's pooled embedding, and the guidance scale where the network takes it."""
        import torch

        tower = self.pipeline.text_pipeline(self.text_pipeline)
        hidden, pooled, _ = tower.encode_prompt(prompt or "", None, device=self.pipeline.device)
        found = {"encoder_hidden_states": hidden.to(self.pipeline.dtype), "pooled_projections": pooled}
        if self.network.config.guidance_embeds:
            found["guidance"] = torch.tensor([self.guidance_scale], device=self.pipeline.device)
        return found

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass on (b, c, h, w) latents, packed to (b, h w / 4, 4 c) and back."""
        b, c, h, w = y.shape
        packed = y.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)
        text = conditions["encoder_hidden_states"]
        ids = {"img_ids": position_ids(y, h // 2, w // 2), "txt_ids": y.new_zeros(text.shape[1], 3)}
        output = self.network(hidden_states=packed, timestep=time / 1000, **conditions, **ids, return_dict=False)[0]
        unpacked: Tensor = output.view(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)
        return unpacked


def position_ids(y: "Tensor", rows: int, columns: int) -> "Tensor":
    """FLUX's place of each image token, (rows columns, 3): 0, row, column."""
    import torch

    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).reshape(-1, 3).to(y)


class PixArt(Denoiser):
    """PixArt (Chen et al. 2023): a transformer on T5, with the picture's size where it was trained on many."""

    text_pipeline: ClassVar[str] = "PixArtAlphaPipeline"

    def encode(self, prompt: str | None) -> Conditions:
        """T5's hidden states and which of them hold text."""
        tower = self.pipeline.text_pipeline(self.text_pipeline)
        hidden, mask, _, _ = tower.encode_prompt(
            prompt or "", do_classifier_free_guidance=False, device=self.pipeline.device,
            max_sequence_length=self.pipeline.prompt_tokens,
        )  # fmt: skip
        return {"encoder_hidden_states": hidden.to(self.pipeline.dtype), "encoder_attention_mask": mask}

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass."""
        height, width = (side * self.pipeline.downscale for side in y.shape[-2:])
        size = {
            "resolution": y.new_tensor([height, width]).expand(len(y), 2),
            "aspect_ratio": y.new_tensor([height / width]).expand(len(y), 1),
        }
        added = size if self.network.use_additional_conditions else dict.fromkeys(size)
        output: Tensor = self.network(y, timestep=time, **conditions, added_cond_kwargs=added, return_dict=False)[0]
        return output
