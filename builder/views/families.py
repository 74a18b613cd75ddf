"""How each family of views is computed: one small class each, named here."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from noisezoo.builder.recipe import Settings
    from noisezoo.builder.views.computer import Computer
    from noisezoo.zoo import View

COMPUTERS: Mapping[str, str] = {
    "diffusers": "noisezoo.builder.views.networks:NoiseComputer",
    "open_clip": "noisezoo.builder.views.networks:EmbeddingComputer",
    "timm": "noisezoo.builder.views.networks:EmbeddingComputer",
    "transformers": "noisezoo.builder.views.networks:EmbeddingComputer",
    "vae": "noisezoo.builder.views.networks:LatentComputer",
    "pixels": "noisezoo.builder.views.controls:PixelComputer",
    "whitened": "noisezoo.builder.views.controls:WhitenedComputer",
    "random": "noisezoo.builder.views.controls:RandomComputer",
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
