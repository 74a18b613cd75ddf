"""UNets: unconditional, Stable Diffusion 1 and 2, latent consistency models, Stable Diffusion XL."""

import torch
from torch import Tensor

from noisezoo.builder.models.denoisers import Conditions, Denoiser

CLASSES = ("class_embed_type", "num_class_embeds")  # keys of configs of class-conditional UNets


class Unconditional(Denoiser, network="UNet2DModel"):
    """A network that takes the state and the time alone; neither prompt nor guidance has anything to act on."""

    takes, unmet = "none", CLASSES

    @property
    def multiple(self) -> int:
        """One halving fewer than there are levels."""
        halvings = len(self.network.config.block_out_channels) - 1
        return int(2**halvings)

    def encode(self, prompt: str | None) -> Conditions:
        """Nothing."""
        return {}


class TextConditioned(Denoiser, network="UNet2DConditionModel"):
    """Stable Diffusion 1 and 2, and latent consistency models, which take the guidance scale as an input."""

    text_pipeline, unmet = "StableDiffusionPipeline", (*CLASSES, "encoder_hid_dim_type")

    def encode(self, prompt: str | None) -> Conditions:
        """The text tower's last hidden state; None is the empty prompt."""
        embedding, _ = self.tower.encode_prompt(prompt or "", self.pipeline.device, 1, False)
        return {"encoder_hidden_states": embedding}


class TextAndSizeConditioned(Denoiser, network="UNet2DConditionModel", embeds="text_time"):
    """Stable Diffusion XL (Podell et al. 2023): two text towers, and the picture's size.

    No prompt means zeros where the folder's index says so (`force_zeros_for_empty_prompt`): the empty prompt's guidance
    then matters, unless the negative prompt is "" as well.
    """

    text_pipeline, takes, unmet = "StableDiffusionXLPipeline", "zeros", (*CLASSES, "encoder_hid_dim_type")

    def encode(self, prompt: str | None) -> Conditions:
        """Hidden states of both towers, and the second one's pooled embedding."""
        hidden, _, pooled, _ = self.tower.encode_prompt(
            prompt or "", device=self.pipeline.device, do_classifier_free_guidance=False
        )
        found = {"encoder_hidden_states": hidden, "text_embeds": pooled}
        zeros = prompt is None and self.tower.config.force_zeros_for_empty_prompt
        return {name: torch.zeros_like(value) for name, value in found.items()} if zeros else found

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass; the picture counts as uncropped and of its own size."""
        size = [side * self.pipeline.downscale for side in y.shape[-2:]]
        sizes = self.constant(*size, *(0, 0), *size, like=y).expand(len(y), -1)  # original, corner, target
        given = dict(conditions)
        added = {"text_embeds": given.pop("text_embeds"), "time_ids": sizes}
        return self.call(y, time, **given, added_cond_kwargs=added)
