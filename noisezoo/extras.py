"""Libraries that a plain install leaves out: an import of ours that does not find one says which extra brings it."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from noisezoo.errors import NoiseZooError

EXTRAS = {
    "matplotlib": "analysis", "scipy": "analysis",
    "embedding_atlas": "explore", "umap": "explore", "gradio": "live",
    "PIL": "build", "accelerate": "build", "diffusers": "build", "open_clip": "build",
    "sklearn": "build", "timm": "build", "torch": "build", "torchvision": "build", "transformers": "build",
}  # fmt: skip
"""Library -> the extra of `pyproject.toml` that brings it."""


class MissingExtraError(NoiseZooError, ImportError):
    """A library is not installed; the message is the command that installs it."""


class _Missing(MetaPathFinder):
    """The last finder that Python asks, so that it is asked only for what no other has found."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Nothing for others' imports, which may do without.

        Raises:
            MissingExtraError: One of our own files imports a library of `EXTRAS`.
        """
        if name in EXTRAS and _importer().partition(".")[0] == "noisezoo":
            raise MissingExtraError(f"this needs `pip install 'noisezoo[{EXTRAS[name]}]'` ({name} is not installed)")
        return None


def _importer() -> str:
    """Name of the module whose import statement is being run."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("importlib"):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))


def explain_missing() -> None:
    """Let imports of missing libraries name their extra."""
    if not any(isinstance(finder, _Missing) for finder in sys.meta_path):
        sys.meta_path.append(_Missing())
