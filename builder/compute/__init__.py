"""How each family of views is computed: one small class each, named here."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from noisezoo.builder.compute.base import Computer
    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View

COMPUTERS: Mapping[str, str] = {
    "diffusers": "noisezoo.builder.compute.models:NoiseComputer",
    "open_clip": "noisezoo.builder.compute.models:EmbeddingComputer",
    "timm": "noisezoo.builder.compute.models:EmbeddingComputer",
    "transformers": "noisezoo.builder.compute.models:EmbeddingComputer",
    "vae": "noisezoo.builder.compute.models:LatentComputer",
    "pixels": "noisezoo.builder.compute.controls:PixelComputer",
    "whitened": "noisezoo.builder.compute.controls:WhitenedComputer",
    "random": "noisezoo.builder.compute.controls:RandomComputer",
}
"""A row's `family` -> `module:class`."""


def make_computer(view: "View", settings: "Settings") -> "Computer":
    """The computer of a view, its model not yet loaded.

    Raises:
        UsageError: The row names a family that does not exist.
    """
    if view.family not in COMPUTERS:
        raise UsageError(f"view {view.name}: unknown family {view.family!r}; choose one of: {', '.join(COMPUTERS)}")
    module, _, attribute = COMPUTERS[view.family].partition(":")
    computer: Computer = getattr(import_module(module), attribute)(view, settings)
    return computer
