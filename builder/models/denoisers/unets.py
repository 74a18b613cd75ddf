"""UNets: unconditional, Stable Diffusion 1 and 2, latent consistency models, Stable Diffusion XL."""

from typing import TYPE_CHECKING

from noisezoo.builder.models.denoisers import Conditions, Denoiser

if TYPE_CHECKING:
    from torch import Tensor


class Unconditional(Denoiser, network="UNet2DModel"):
    """A network that takes the state and the time alone; neither prompt nor guidance has anything to act on."""

    takes = "none"

    def encode(self, prompt: str | None) -> Conditions:
        """Nothing."""
        return {}


class TextConditioned(Denoiser, network="UNet2DConditionModel"):
    """Stable Diffusion 1 and 2, and latent consistency models, which take the guidance scale as an input."""

    text_pipeline = "StableDiffusionPipeline"

    def encode(self, prompt: str | None) -> Conditions:
        """The text tower's last hidden state; None is the empty prompt."""
        embedding, _ = self.tower.encode_prompt(prompt or "", self.pipeline.device, 1, False)
        return {"encoder_hidden_states": embedding, **self.embedded_guidance()}

    def embedded_guidance(self) -> Conditions:
        """The embedded guidance scale, (1, d), where the network takes it."""
        import torch

        if not self.embeds_guidance:
            return {}
        tower = self.pipeline.text_pipeline("LatentConsistencyModelPipeline")
        scale, width = torch.tensor([self.guidance_scale - 1.0]), self.network.config.time_cond_proj_dim
        embedding = tower.get_guidance_scale_embedding(scale, embedding_dim=width)
        return {"timestep_cond": embedding.to(self.pipeline.device)}


class TextAndSizeConditioned(Denoiser, network="UNet2DConditionModel", embeds="text_time"):
    """Stable Diffusion XL (Podell et al. 2023): two text towers, and the picture's size.

    No prompt means zeros where the folder's index says so (`force_zeros_for_empty_prompt`): the empty prompt's guidance
    then matters, unless the negative prompt is "" as well.
    """

    text_pipeline, takes = "StableDiffusionXLPipeline", "zeros"

    def encode(self, prompt: str | None) -> Conditions:
        """Hidden states of both towers, and the second one's pooled embedding."""
        import torch

        hidden, _, pooled, _ = self.tower.encode_prompt(
            prompt or "", device=self.pipeline.device, do_classifier_free_guidance=False
        )
        found = {"encoder_hidden_states": hidden, "text_embeds": pooled}
        zeros = prompt is None and self.tower.config.force_zeros_for_empty_prompt
        return {name: torch.zeros_like(value) for name, value in found.items()} if zeros else found

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass; the picture counts as uncropped and of its own size."""
        size = [side * self.pipeline.downscale for side in y.shape[-2:]]
        original, corner, target = size, (0, 0), size
        sizes = self.constant(*original, *corner, *target, like=y).expand(len(y), -1)
        added = {"text_embeds": conditions["text_embeds"], "time_ids": sizes}
        hidden = conditions["encoder_hidden_states"]
        return self.call(y, time, encoder_hidden_states=hidden, added_cond_kwargs=added)
