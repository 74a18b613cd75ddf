"""UNets: unconditional, Stable Diffusion 1 and 2, latent consistency models, Stable Diffusion XL."""

from typing import TYPE_CHECKING, ClassVar

from noisezoo.builder.models.denoisers.denoiser import Conditions, Denoiser

if TYPE_CHECKING:
    from torch import Tensor


class Unconditional(Denoiser):
    """A network that takes the state and the time alone; neither prompt nor guidance has anything to act on."""

    def encode(self, prompt: str | None) -> Conditions:
        """Nothing."""
        return {}

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass."""
        output: Tensor = self.network(y, time, return_dict=False)[0]
        return output


class TextConditioned(Denoiser):
    """Stable Diffusion 1 and 2, and latent consistency models, which take the guidance scale as an input."""

    text_pipeline: ClassVar[str] = "StableDiffusionPipeline"

    def encode(self, prompt: str | None) -> Conditions:
        """The text tower's last hidden state; None is the empty prompt."""
        tower = self.pipeline.text_pipeline(self.text_pipeline)
        embedding, _ = tower.encode_prompt(prompt or "", self.pipeline.device, 1, False)
        return {"encoder_hidden_states": embedding.to(self.pipeline.dtype), **self._guidance()}

    @property
    def embeds_guidance(self) -> bool:
        """True for a latent consistency model (Luo et al. 2023)."""
        return self.network.config.time_cond_proj_dim is not None

    def _guidance(self) -> Conditions:
        if not self.embeds_guidance:
            return {}
        import torch

        tower = self.pipeline.text_pipeline("LatentConsistencyModelPipeline")
        scale, width = torch.tensor([self.guidance_scale - 1.0]), self.network.config.time_cond_proj_dim
        embedding = tower.get_guidance_scale_embedding(scale, embedding_dim=width)
        return {"timestep_cond": embedding.to(self.pipeline.device, self.pipeline.dtype)}

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass."""
        output: Tensor = self.network(y, time, **conditions, return_dict=False)[0]
        return output


class TextAndSizeConditioned(Denoiser):
    """Stable Diffusion XL (Podell et al. 2023): two text towers, and the picture's size.

    No prompt means zeros where the folder's index says so (`force_zeros_for_empty_prompt`): the empty prompt's guidance
    then matters, unless the negative prompt is "" as well.
    """

    text_pipeline: ClassVar[str] = "StableDiffusionXLPipeline"

    def encode(self, prompt: str | None) -> Conditions:
        """Hidden states of both towers, and the second one's pooled embedding."""
        import torch

        tower = self.pipeline.text_pipeline(self.text_pipeline)
        hidden, _, pooled, _ = tower.encode_prompt(
            prompt or "", device=self.pipeline.device, do_classifier_free_guidance=False
        )
        found = {"encoder_hidden_states": hidden.to(self.pipeline.dtype), "text_embeds": pooled.to(self.pipeline.dtype)}
        zeros = prompt is None and tower.config.force_zeros_for_empty_prompt
        return {name: torch.zeros_like(value) for name, value in found.items()} if zeros else found

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass; the picture counts as uncropped and of its own size."""
        size = [side * self.pipeline.downscale for side in y.shape[-2:]]
        sizes = y.new_tensor([*size, 0, 0, *size]).expand(len(y), -1)  # original size, crop's corner, target size
        added = {"text_embeds": conditions["text_embeds"], "time_ids": sizes}
        hidden = conditions["encoder_hidden_states"]
        output: Tensor = self.network(
            y, time, encoder_hidden_states=hidden, added_cond_kwargs=added, return_dict=False
        )[0]
        return output
