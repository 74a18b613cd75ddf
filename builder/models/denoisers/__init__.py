"""How each kind of denoising network is called: what it takes beside the state and the time.

A denoiser hides its network's arguments and its guidance, and counts forwards. One row of `DENOISERS` a network;
prompts are encoded by the network's own diffusers pipeline.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from noisezoo.builder.models.denoisers.denoiser import Denoiser
from noisezoo.builder.models.denoisers.transformers import ClassConditioned, Flux, Mmdit, PixArt
from noisezoo.builder.models.denoisers.unets import TextAndSizeConditioned, TextConditioned, Unconditional
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from noisezoo.builder.models.pipeline import Pipeline

__all__ = ["DENOISERS", "Denoiser", "make_denoiser"]

DENOISERS: Mapping[tuple[str, str | None], type[Denoiser]] = {
    ("UNet2DModel", None): Unconditional,
    ("UNet2DConditionModel", None): TextConditioned,
    ("UNet2DConditionModel", "text_time"): TextAndSizeConditioned,
    ("DiTTransformer2DModel", None): ClassConditioned,
    ("PixArtTransformer2DModel", None): PixArt,
    ("SD3Transformer2DModel", None): Mmdit,
    ("FluxTransformer2DModel", None): Flux,
}
"""Class of the network and what it embeds beside text (its config's `addition_embed_type`) -> how it is called."""


def make_denoiser(
    pipeline: "Pipeline", *, prompt: str = "", negative_prompt: str | None = None, guidance_scale: float = 3.5
) -> Denoiser:
    """The denoiser for a pipeline's network.

    Raises:
        UsageError: Networks of that kind are not treated.
    """
    kind = type(pipeline.denoiser).__name__
    embeds = pipeline.denoiser.config.get("addition_embed_type")
    if (kind, embeds) not in DENOISERS:
        treated = ", ".join(dict.fromkeys(name for name, _ in DENOISERS))
        also = f" with {embeds} conditions" if embeds else ""
        raise UsageError(f"cannot invert through a {kind}{also}; treated are: {treated}")
    return DENOISERS[kind, embeds](
        pipeline, prompt=prompt, negative_prompt=negative_prompt, guidance_scale=guidance_scale
    )
