"""Families of views: the class that computes each, one small class in one file."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from noisezoo.builder.models import families
from noisezoo.errors import UsageError
from noisezoo.plugins import load_plugins

if TYPE_CHECKING:
    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View
    from .computer import Computer

COMPUTERS = {
    "diffusers": "noisezoo.builder.views.networks:NoiseComputer",
    "vae": "noisezoo.builder.views.networks:LatentComputer",
    "pixels": "noisezoo.builder.views.controls:PixelComputer",
    "whitened": "noisezoo.builder.views.controls:WhitenedComputer",
    "random": "noisezoo.builder.views.controls:RandomComputer",
    "true": "noisezoo.builder.views.generated:TrueNoiseComputer",
    "residual": "noisezoo.builder.views.residual:ResidualComputer",
}
"""A row's `family` -> `module:class`, but for the families of encoders."""
ENCODERS = "noisezoo.builder.views.networks:EmbeddingComputer"  # what computes every family of encoders


def register_family(family: str, target: str) -> None:
    """Add a family of views of your own, computed by the `Computer` at `module:class`; rows of the zoo name it.

    Raises UsageError where another class computes that family.
    """
    if COMPUTERS.setdefault(family, target) != target:
        raise UsageError(f"there is a family {family!r} already ({COMPUTERS[family]}): choose another name")


def check_family(view: "View") -> None:
    """Raise UsageError for a row whose family nothing computes."""
    known = _computers()
    if view.family not in known:
        raise UsageError(f"view {view.name}: unknown family {view.family!r}; choose one of: {', '.join(known)}")


def make_computer(view: "View", settings: "Settings") -> "Computer":
    """The computer of a view, its model not yet loaded; raises as `check_family` does."""
    check_family(view)
    computer: Computer = resolve_name(_computers()[view.family])(view, settings)
    return computer


def _computers() -> dict[str, str]:
    load_plugins()
    return {**dict.fromkeys(families(), ENCODERS), **COMPUTERS}
