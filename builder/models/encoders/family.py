"""What a family of encoders must offer: a network, its own preprocessing and its own way to one vector a picture."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor


class Family(ABC):
    """One encoder as its own library knows it."""

    weights: ClassVar[tuple[str, ...]]
    """Names the weights may have, the preferred one first."""

    model: "torch.nn.Module"

    @abstractmethod
    def load(self, folder: Path, stored: frozenset[str], untrained_seed: int | None) -> None:
        """Read `self.model`, in float32, and the preprocessing.

        Args:
            folder: The library's own folder.
            stored: Names of the tensors that the folder's weights hold.
            untrained_seed: Start the network anew from its configuration and this seed.
        """

    @abstractmethod
    def prepare(self, image: "Image") -> "Tensor":
        """One RGB picture as the network's input, by the library's own preprocessing: (3, h, w) float32."""

    @abstractmethod
    def forward(self, pixels: "Tensor") -> "Tensor":
        """(b, 3, h, w) -> (b, d), raw: never normalised, never clipped."""


def seeded(make: "Callable[[], torch.nn.Module]", seed: int | None) -> "torch.nn.Module":
    """A network whose random start, if it has one, is fixed by the seed; the caller keeps torch's own random state."""
    import torch

    if seed is not None:
        torch.default_generator.manual_seed(seed)  # the GPUs' generators have no part in it
    return make()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UsageError: No such file, or it is not JSON.
    """
    if not path.is_file():
        raise UsageError(f"{path.parent} lacks {path.name}")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UsageError(f"{path} is not a JSON object: {error}") from error


def stored_tensors(folder: Path, names: tuple[str, ...]) -> frozenset[str]:
    """Names of the tensors in a folder's safetensors file, or in the shards that its index lists.

    Reads headers only; a header that does not fit its file's length is a truncated download.

    Args:
        folder: An encoder's folder.
        names: Names the weights may have, the preferred one first; `NAME.index.json` lists shards.

    Raises:
        UsageError: No weights, a shard is missing, or a file is truncated.
    """
    found: set[str] = set()
    for path in _weight_files(folder, names):
        found |= _tensors(path)
    return frozenset(found)


def _weight_files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    for name in names:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return [folder / shard for shard in sorted(set(read_json(index).get("weight_map", {}).values()))]
    raise UsageError(f"{folder} holds no weights in safetensors: it lacks {' or '.join(names)}")


def _tensors(path: Path) -> set[str]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"{path.parent} lacks {path.name}, a shard that its index lists: download the folder again")
    try:
        with safe_open(path, framework="pt") as stored:
            return set(stored.keys())
    except SafetensorError as error:
        raise UsageError(f"{path.parent}: {path.name} is truncated or damaged ({error}): download it again") from error
