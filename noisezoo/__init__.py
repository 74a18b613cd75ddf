"""NoiseZoo: diffusion noise and encoder embeddings of the same images, paired row by row.

>>> import noisezoo
>>> rows = noisezoo.load("path/or/repo", views=["faces-ddpm", "faces-clip"])  # doctest: +SKIP
>>> noise = noisezoo.matrix(rows, "faces-ddpm")  # doctest: +SKIP
"""

from importlib.metadata import version

from noisezoo import zoo
from noisezoo.errors import IncompleteError, NoiseZooError, UsageError
from noisezoo.loading import load, matrix

__version__ = version("noisezoo")
__all__ = ["IncompleteError", "NoiseZooError", "UsageError", "__version__", "load", "matrix", "zoo"]
