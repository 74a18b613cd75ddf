"""Image encoders: pictures to raw embeddings, by each library's own preprocessing and forward.

To add a family, write `class Mine(Encoder, name="mine", layout=Layout(...), package="...")` in a file of this folder or
in a plug-in.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import patch

import numpy as np

from noisezoo.builder.models.arithmetic import network_device, network_dtype, set_arithmetic
from noisezoo.builder.models.files import Layout, list_files, local_files, reading, resolve, tensors
from noisezoo.builder.sources import to_rgb
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.plugins import load_package

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

BLANK_SIDE = 256  # side of a blank picture, in pixels; a preprocessing that resizes or crops makes its own of it


class Encoder(ABC):
    """Pictures to embeddings, raw: never normalised, never clipped. A subclass is one library's encoders.

    Attributes:
        TABLE: Name of a family -> subclass.
        layout: Where the family's folders keep their files, and the mark that tells them.
        package: The library's name on the package index, whose version a build records.
        model: The network.
        preprocess: One RGB picture -> the network's input, (3, h, w) float32.
        dtype: Dtype of the network.
        device: Where it runs.
    """

    TABLE: ClassVar[dict[str, type["Encoder"]]] = {}
    layout: ClassVar[Layout]
    package: ClassVar[str]
    model: "torch.nn.Module"
    preprocess: "Callable[[Image], Tensor]"
    dtype: "torch.dtype"
    device: "torch.device"

    def __init_subclass__(cls, *, name: str, layout: Layout, package: str) -> None:
        cls.layout, cls.package = layout, package
        Encoder.TABLE[name] = cls
        Layout.TABLE[name] = layout

    @abstractmethod
    def load(self, folder: Path, stored: frozenset[str], untrained_seed: int | None) -> None:
        """Set `model`, in float32, and `preprocess`.

        Args:
            folder: The library's own folder.
            stored: Names of the tensors that the folder's weights hold.
            untrained_seed: Start the network anew from its configuration; torch's generator has this seed already.
        """

    def forward(self, pixels: "Tensor") -> "Tensor":
        """(b, 3, h, w) -> (b, d), raw: never normalised, never clipped."""
        embedding: Tensor = self.model(pixels)
        return embedding

    @staticmethod
    def from_pretrained(
        folder_or_hub_id: str | Path,
        *,
        family: str | None = None,
        dtype: str = "float32",
        device: "str | torch.device | None" = None,
        revision: str | None = None,
        untrained_seed: int | None = None,
    ) -> "Encoder":
        """Load an encoder's folder or Hub repository: safetensors only, no remote code.

        Args:
            folder_or_hub_id: An open_clip, timm or transformers folder, or a Hub id, at `revision`.
            family: A key of `families()`; by default, read off the folder's files.
            dtype: Arithmetic of the network, set for this process; embeddings are float32.
            device: Where to run; the first GPU where there is one, by default.
            revision: Revision on the Hub.
            untrained_seed: Use the network as it stands before training, from this seed.

        Raises:
            UsageError: Not an encoder's folder, its weights are missing or damaged, or its library cannot load it.
        """
        import torch
        from PIL.Image import new

        family = family or _recognise(folder_or_hub_id, revision)
        if family not in families():
            raise UsageError(f"unknown encoder family {family!r}; choose one of: {', '.join(families())}")
        encoder = families()[family]()
        kind, where = network_dtype(dtype), network_device(device)
        set_arithmetic(dtype)
        folder = resolve(folder_or_hub_id, revision, family=family)
        weights = [name for name in local_files(folder, family) if name.endswith(".safetensors")]
        stored = frozenset(key for name in weights for key in tensors(folder / name))
        with reading(f"{folder}: {family} model"), torch.random.fork_rng(devices=[]), filled(folder):
            if untrained_seed is not None:
                torch.default_generator.manual_seed(untrained_seed)  # the GPUs' generators have no part in it
            encoder.load(folder, stored, untrained_seed)
        encoder.model.eval()
        with torch.inference_mode(), reading(f"{folder}: its preprocessing does not suit its network, which"):
            encoder.forward(encoder.preprocess(new("RGB", (BLANK_SIDE, BLANK_SIDE)))[None])
        return encoder.to(where, kind)

    def to(self, device: "str | torch.device", dtype: "torch.dtype") -> "Encoder":
        """Itself, its network moved to a device and a dtype and in evaluation mode."""
        import torch

        self.device, self.dtype = torch.device(device), dtype
        self.model = self.model.to(self.device, dtype).eval().requires_grad_(False)
        return self

    def prepare(self, image: "Image") -> "Tensor":
        """One RGB picture as the network's input, by the library's own preprocessing: (3, h, w) float32."""
        return self.preprocess(image)

    def embed(self, pil_images: "Sequence[Image]") -> np.ndarray:
        """Embeddings of PIL pictures of any mode and size: (b, d) float32.

        Raises NoiseZooError for numbers that are not finite, by the pictures' positions, and UsageError where the
        folder's preprocessing leaves pictures at sizes that differ.
        """
        import torch

        prepared = [self.prepare(to_rgb(image)) for image in pil_images]
        sizes = sorted({tuple(pixels.shape[1:]) for pixels in prepared})
        if len(sizes) > 1:
            raise UsageError(f"the encoder's preprocessing leaves pictures at different sizes {sizes}: give squares")
        embedding = self.embed_prepared(torch.stack(prepared))
        broken = np.flatnonzero(~np.isfinite(embedding).all(axis=1))
        if len(broken):
            raise NoiseZooError(f"the embedding of picture {', '.join(map(str, broken))} is not finite in {self.dtype}")
        return embedding

    def embed_prepared(self, pixels: "Tensor") -> np.ndarray:
        """Embeddings of prepared pictures: (b, 3, h, w) -> (b, d) float32.

        A picture that the network cannot embed has NaN or infinity in its row, so that one does not cost the others.
        """
        import torch

        with torch.inference_mode():
            embedding: np.ndarray = self.forward(pixels.to(self.device, self.dtype)).float().cpu().numpy()
        return embedding


@contextmanager
def filled(folder: Path) -> "Iterator[None]":
    """Raise UsageError for weights that leave a tensor of a network at its random start; surplus tensors are fine.

    timm asks for all tensors only where the classifier is kept, and open_clip refuses surplus ones.
    """
    import torch

    load = torch.nn.Module.load_state_dict

    def checked(module: torch.nn.Module, state: Mapping[str, Any], *_: Any, **options: Any) -> Any:
        result = load(module, state, strict=False, assign=options.get("assign", False))
        if result.missing_keys:
            raise UsageError(f"{folder}: its weights lack {', '.join(sorted(result.missing_keys)[:3])}")
        return result

    with patch.object(torch.nn.Module, "load_state_dict", checked):
        yield


def families() -> Mapping[str, type[Encoder]]:
    """Name -> family of encoders: ours first, in the order in which a folder's files are tried, then plug-ins'."""
    load_package(__name__)
    ours = {name: family for name, family in Encoder.TABLE.items() if family.__module__.startswith(__name__)}
    return {**dict(sorted(ours.items())), **Encoder.TABLE}


def _recognise(folder_or_hub_id: str | Path, revision: str | None) -> str:
    """The first family whose mark the files bear.

    Repositories of open_clip models often hold the other two families' files as well, so it comes first.
    """
    marks = {name: family.layout for name, family in families().items()}
    listing = list_files(folder_or_hub_id, revision, sorted({layout.mark for layout in marks.values()}))
    for name, layout in marks.items():
        if layout.mark in listing.names and layout.key in listing.read(layout.mark):
            return name
    told = ", ".join(f"{layout.mark} with {layout.key!r}" for layout in marks.values())
    raise UsageError(f"{folder_or_hub_id} is not an encoder's folder: it has none of {told}")
