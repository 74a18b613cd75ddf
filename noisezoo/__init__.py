"""NoiseZoo: diffusion noise and encoder embeddings of the same images, paired row by row.

>>> import noisezoo
>>> rows = noisezoo.load("path/or/repo", views=["faces-ddpm", "faces-clip"])  # doctest: +SKIP
>>> noise = noisezoo.matrix(rows, "faces-ddpm")  # doctest: +SKIP
"""

from importlib import import_module
from importlib.metadata import version
from types import ModuleType

from noisezoo import zoo
from noisezoo.errors import IncompleteError, NoiseZooError, UsageError
from noisezoo.extras import explain_missing
from noisezoo.loading import load, matrix

explain_missing()
__version__ = version("noisezoo")
__all__ = ["IncompleteError", "NoiseZooError", "UsageError", "__version__", "load", "matrix", "zoo"]
_ROOMS = ("builder", "analysis")


def __getattr__(name: str) -> ModuleType:
    """`noisezoo.builder` and `noisezoo.analysis`, imported on first use so that `import noisezoo` stays light."""
    if name in _ROOMS:
        return import_module(f"noisezoo.{name}")
    raise AttributeError(f"module 'noisezoo' has no attribute {name!r}")
