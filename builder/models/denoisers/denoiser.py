"""The contract of a denoiser: guidance, conditions, counting; a subclass says what its network takes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from noisezoo.builder.models.pipeline import Pipeline

Conditions = dict[str, "Tensor"]
"""What a network is told beside state and time, a row an image: name -> (b, ...)."""
PROMPTS_KEPT = 256
"""Encoded prompts kept at hand, where every image has its own."""


class Denoiser(ABC):
    """A network as `(state, time) -> output`, both float32, under guidance.

    `forwards` counts the passes; `finite` collects, call by call, the time and which images' outputs were finite.
    """

    def __init__(
        self, pipeline: "Pipeline", *, prompt: str, negative_prompt: str | None, guidance_scale: float
    ) -> None:
        self.pipeline, self.network = pipeline, pipeline.denoiser
        self.prompt, self.negative_prompt, self.guidance_scale = prompt, negative_prompt, guidance_scale
        self.forwards = 0
        self.finite: list[tuple[float, Tensor]] = []
        self._encoded = lru_cache(maxsize=PROMPTS_KEPT)(self._encode_alone)
        self.condition([prompt])

    def condition(self, prompts: Sequence[str]) -> None:
        """Set what the next calls are conditioned on: one prompt for all images, or one each.

        The second forward of guidance, u + w (c - u) (Ho & Salimans 2022), is made exactly where it can matter: not
        where the scale is 1, and not where c and u are given the same conditions, as then the sum is u to the bit.
        """
        import torch

        self.conditional = self._rows(prompts)
        self.unconditional = self._rows([self.negative_prompt])
        same = all(torch.equal(c, u.expand_as(c)) for c, u in self._pairs())
        self.guided = not self.embeds_guidance and self.guidance_scale != 1.0 and not same

    def __call__(self, y: "Tensor", time: float) -> "Tensor":
        """The guided output for the whole batch at one time: (b, c, h, w) float32 both."""
        inputs = self.pipeline.cast(y)
        output = self._forward(inputs, time, self.conditional)
        if self.guided:
            without = self._forward(inputs, time, self.unconditional)
            output = without + self.guidance_scale * (output - without)
        self.finite.append((time, output.isfinite().flatten(1).all(dim=1)))
        return output

    @property
    def embeds_guidance(self) -> bool:
        """Whether the network takes the guidance scale as an input, so that it needs no second forward."""
        return False

    @abstractmethod
    def encode(self, prompt: str | None) -> Conditions:
        """The conditions of one prompt, (1, ...) each; None stands for no prompt at all, as the pipeline means it."""

    @abstractmethod
    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass: (b, c, h, w), times (b,) float32, conditions (b, ...) -> (b, c or more, h, w)."""

    def _forward(self, y: "Tensor", time: float, conditions: Conditions) -> "Tensor":
        """One counted pass; of networks that learn a variance beside, the first half of the channels (Nichol 2021)."""
        import torch

        self.forwards += 1
        rows = {name: value.expand(len(y), *value.shape[1:]) for name, value in conditions.items()}
        times = torch.full((len(y),), time, dtype=torch.float32, device=y.device)  # half precision does not hold 981
        if self.pipeline.runtime.compile:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        output = self.predict(y, times, rows)[:, : y.shape[1]]
        return output.to(torch.float32, copy=True)  # a replayed graph writes its next output over this one

    def _rows(self, prompts: Sequence[str | None]) -> Conditions:
        import torch

        rows = [self._encoded(prompt) for prompt in prompts]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _encode_alone(self, prompt: str | None) -> Conditions:
        """Every prompt is encoded by itself, so that its encoding does not depend on its company."""
        import torch

        with torch.no_grad():
            return self.encode(prompt)

    def _pairs(self) -> "list[tuple[Tensor, Tensor]]":
        return [(self.conditional[name], self.unconditional[name]) for name in self.conditional]
