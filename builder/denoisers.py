"""How each kind of denoising network is called: what it takes beside the state and the time.

A denoiser hides its network's arguments and its guidance, and counts forwards. One row of `DENOISERS` a network class.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from noisezoo.builder.pipeline import Pipeline


class Denoiser(ABC):
    """A network as `(state, timestep) -> output`, both float32; `forwards` counts the images it has passed through."""

    def __init__(self, pipeline: "Pipeline", prompt: str, guidance_scale: float) -> None:
        self.network = pipeline.denoiser
        self.dtype = pipeline.dtype
        self.prompt, self.guidance_scale = prompt, guidance_scale
        self.forwards = 0

    def __call__(self, y: "Tensor", timestep: int) -> "Tensor":
        """The network's output for the whole batch at one timestep."""
        import torch

        return self.predict(y.to(self.dtype, memory_format=torch.channels_last), timestep).float()

    @abstractmethod
    def predict(self, y: "Tensor", timestep: int) -> "Tensor":
        """The guided output, in the network's dtype."""

    def forward(self, y: "Tensor", timestep: int, **conditions: Any) -> "Tensor":
        """One counted pass through the network."""
        self.forwards += 1
        output: Tensor = self.network(y, timestep, **conditions).sample
        return output


class Unconditional(Denoiser):
    """A network that takes the state and the time alone; guidance has nothing to act on."""

    def predict(self, y: "Tensor", timestep: int) -> "Tensor":
        """One forward."""
        return self.forward(y, timestep)


class TextConditioned(Denoiser):
    """Stable Diffusion 1 and 2: cross-attention to a CLIP text tower's last hidden state, classifier-free guidance.

    With an empty prompt, conditional and unconditional outputs are one and the same, and u + w (c - u) is u to the
    bit; so the second forward is left out exactly then, and for a scale of 1.
    """

    def __init__(self, pipeline: "Pipeline", prompt: str, guidance_scale: float) -> None:
        super().__init__(pipeline, prompt, guidance_scale)
        self.unconditional = pipeline.encode_prompt("")  # (1, tokens, width)
        self.conditional = pipeline.encode_prompt(prompt) if prompt else self.unconditional

    def predict(self, y: "Tensor", timestep: int) -> "Tensor":
        """U + w (c - u) (Ho & Salimans 2022), by one forward where it equals c, by two elsewhere."""
        c = self.forward(y, timestep, encoder_hidden_states=self.conditional.expand(len(y), -1, -1))
        if not self.prompt or self.guidance_scale == 1.0:
            return c
        u = self.forward(y, timestep, encoder_hidden_states=self.unconditional.expand(len(y), -1, -1))
        return u + self.guidance_scale * (c - u)


DENOISERS: Mapping[str, type[Denoiser]] = {"UNet2DModel": Unconditional, "UNet2DConditionModel": TextConditioned}
"""Class of the network, as the folder's `model_index.json` names it -> how it is called."""


def make_denoiser(pipeline: "Pipeline", prompt: str, guidance_scale: float) -> Denoiser:
    """The denoiser for a pipeline's network.

    Raises:
        UsageError: Networks of that class are not treated.
    """
    kind = type(pipeline.denoiser).__name__
    if kind not in DENOISERS:
        raise UsageError(f"cannot invert through a {kind}; treated are: {', '.join(DENOISERS)}")
    return DENOISERS[kind](pipeline, prompt, guidance_scale)
