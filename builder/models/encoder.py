"""One `Encoder` for every image encoder: pictures to raw embeddings, by the library's own preprocessing and forward."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.builder.models.encoders.family import Family, read_json, stored_tensors
from noisezoo.builder.models.encoders.open_clip import OpenClip
from noisezoo.builder.models.encoders.timm import Timm
from noisezoo.builder.models.encoders.transformers import Transformers
from noisezoo.builder.models.files import resolve
from noisezoo.builder.sources import to_rgb
from noisezoo.errors import NoiseZooError, UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

FAMILIES: Mapping[str, type[Family]] = {"open_clip": OpenClip, "timm": Timm, "transformers": Transformers}
MARKS: Mapping[str, tuple[str, str]] = {
    "open_clip": ("open_clip_config.json", "model_cfg"),
    "timm": ("config.json", "architecture"),
    "transformers": ("config.json", "model_type"),
}
"""What tells a family's folder: a file, and a key in it. Hub repositories of open_clip models often hold the other two
families' files as well, so it comes first."""


class Encoder:
    """Pictures to embeddings, raw: never normalised, never clipped."""

    def __init__(self, family: Family, *, dtype: "torch.dtype", device: "torch.device") -> None:
        self.family, self.dtype, self.device = family, dtype, device
        self.model = family.model.to(device, dtype).eval().requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls,
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
            folder_or_hub_id: An open_clip, timm or transformers folder, or a Hub id.
            family: One of `FAMILIES`; by default, read off the folder's files.
            dtype: Dtype of the network; embeddings are float32.
            device: Where to run; the first GPU where there is one, by default.
            revision: Revision on the Hub.
            untrained_seed: Use the network as it stands before training, from this seed.

        Raises:
            UsageError: Not an encoder's folder, its weights are missing or damaged, or its library cannot load it.
        """
        import torch

        if family is None:
            family, folder = _recognise(folder_or_hub_id, revision)
        elif family in FAMILIES:
            folder = resolve(folder_or_hub_id, revision, family=family)
        else:
            raise UsageError(f"unknown encoder family {family!r}; choose one of: {', '.join(FAMILIES)}")
        loaded = FAMILIES[family]()
        stored = stored_tensors(folder, loaded.weights)
        try:
            with torch.random.fork_rng(devices=[]):  # even a network that is read from files starts at random
                loaded.load(folder, stored, untrained_seed)
        except NoiseZooError:
            raise
        except Exception as error:  # three libraries, each with errors of its own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(f"{folder} cannot be loaded by {family}: {reason[:300]}") from error
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(loaded, dtype=getattr(torch, dtype), device=where)

    def prepare(self, image: "Image") -> "Tensor":
        """One RGB picture as the network's input, by the library's own preprocessing: (3, h, w) float32."""
        return self.family.prepare(image)

    def embed(self, pil_images: "Sequence[Image]") -> np.ndarray:
        """Embeddings of PIL pictures of any mode and size: (b, d) float32.

        Raises:
            NoiseZooError: The network gave a number that is not finite; names the pictures by position.
            UsageError: The folder's preprocessing leaves pictures at sizes that differ.
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
            embedding: np.ndarray = self.family.forward(pixels.to(self.device, self.dtype)).float().cpu().numpy()
        return embedding


def _recognise(folder_or_hub_id: str | Path, revision: str | None) -> tuple[str, Path]:
    """The first family whose mark the files bear, and where they lie."""
    fault = None
    for family, (name, key) in MARKS.items():
        try:
            folder = resolve(folder_or_hub_id, revision, family=family)
        except UsageError as error:  # a Hub repository may hold another family's files
            fault = error
            continue
        if (folder / name).is_file() and key in read_json(folder / name):
            return family, folder
    marks = ", ".join(f"{name} with {key!r}" for name, key in MARKS.values())
    raise fault or UsageError(f"{folder_or_hub_id} is not an encoder's folder: it has none of {marks}")
