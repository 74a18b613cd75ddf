"""One `Encoder` for every image encoder: pictures to raw embeddings, by the library's own preprocessing and forward."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo.builder.pipeline import resolve
from noisezoo.builder.pixels import to_rgb
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor


class Encoder(ABC):
    """Pictures to embeddings, raw: never normalised, never clipped."""

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
        """Load an encoder's folder or Hub repository.

        Args:
            folder_or_hub_id: An open_clip or transformers folder, or a Hub id.
            family: `open_clip` or `transformers`; by default, read off the folder's files.
            dtype: Dtype of the network; embeddings are float32.
            device: Where to run; the first GPU where there is one, by default.
            revision: Revision on the Hub.
            untrained_seed: Use the network as it stands before training, from this seed.

        Raises:
            UsageError: Neither kind of folder, or it cannot be loaded.
        """
        import torch

        folder = resolve(folder_or_hub_id, revision)
        family = family or _family_of(folder)
        if family not in ENCODERS:
            raise UsageError(f"unknown encoder family {family!r}; choose one of: {', '.join(ENCODERS)}")
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        encoder = ENCODERS[family]()
        try:
            encoder.load(folder, untrained_seed)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise UsageError(f"{folder} cannot be loaded by {family}: {str(error).splitlines()[0]}") from error
        encoder.device, encoder.dtype = where, getattr(torch, dtype)
        encoder.model.to(where, encoder.dtype).eval().requires_grad_(False)
        return encoder

    model: "torch.nn.Module"
    device: "torch.device"
    dtype: "torch.dtype"

    @abstractmethod
    def load(self, folder: Path, untrained_seed: int | None) -> None:
        """Read `self.model` and the preprocessing from a folder."""

    @abstractmethod
    def prepare(self, image: "Image") -> "Tensor":
        """One picture as the network's input, by the library's own preprocessing: (3, h, w) float32."""

    @abstractmethod
    def forward(self, pixels: "Tensor") -> "Tensor":
        """(b, 3, h, w) -> (b, d), raw."""

    def embed(self, pil_images: "Sequence[Image]") -> np.ndarray:
        """Embeddings of PIL pictures of any mode and size: (b, d) float32."""
        import torch

        return self.embed_prepared(torch.stack([self.prepare(to_rgb(image)) for image in pil_images]))

    def embed_prepared(self, pixels: "Tensor") -> np.ndarray:
        """Embeddings of already prepared pictures: (b, 3, h, w) -> (b, d) float32."""
        import torch

        with torch.inference_mode():
            embedding: np.ndarray = self.forward(pixels.to(self.device, self.dtype)).float().cpu().numpy()
        return embedding


class OpenClipEncoder(Encoder):
    """The image tower of an open_clip model (`open_clip_config.json` and its weights in one folder)."""

    def load(self, folder: Path, untrained_seed: int | None) -> None:
        """By open_clip's own factory, from `local-dir:`."""
        import open_clip

        model, _, self.preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        if untrained_seed is not None:
            settings = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
            model = _seeded(lambda: open_clip.CLIP(**settings), untrained_seed)
        self.model = model

    def prepare(self, image: "Image") -> "Tensor":
        """open_clip's validation transform."""
        prepared: Tensor = self.preprocess(image)
        return prepared

    def forward(self, pixels: "Tensor") -> "Tensor":
        """`encode_image` without its normalisation."""
        embedding: Tensor = self.model.encode_image(pixels)  # type: ignore[operator]
        return embedding


class TransformersEncoder(Encoder):
    """Any transformers vision model: the mean of its last patch tokens, or its pooled output where it has one."""

    def load(self, folder: Path, untrained_seed: int | None) -> None:
        """By `AutoModel` and `AutoImageProcessor`, safetensors only, no remote code."""
        from transformers import AutoConfig, AutoImageProcessor, AutoModel

        self.processor = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        if untrained_seed is not None:
            config = AutoConfig.from_pretrained(folder)
            self.model = _seeded(
                lambda: AutoModel.from_config(config, **_without_pooler(folder)),  # type: ignore[no-untyped-call]
                untrained_seed,
            )
        else:
            self.model = AutoModel.from_pretrained(folder, use_safetensors=True, **_without_pooler(folder))

    def prepare(self, image: "Image") -> "Tensor":
        """The folder's own image processor."""
        prepared: Tensor = self.processor(images=image, return_tensors="pt").pixel_values[0]
        return prepared

    def forward(self, pixels: "Tensor") -> "Tensor":
        """`pooler_output` where the model has a trained one, else the mean over patch tokens (no class token)."""
        output = self.model(pixels)
        pooled = getattr(output, "pooler_output", None)
        embedding: Tensor = pooled if pooled is not None else output.last_hidden_state[:, 1:].mean(dim=1)
        return embedding


ENCODERS: Mapping[str, type[Encoder]] = {"open_clip": OpenClipEncoder, "transformers": TransformersEncoder}


def _family_of(folder: Path) -> str:
    marks = {"open_clip_config.json": "open_clip", "config.json": "transformers"}
    for name, family in marks.items():
        if (folder / name).is_file():
            return family
    raise UsageError(f"{folder} is not an encoder's folder: it has none of {', '.join(marks)}")


def _without_pooler(folder: Path) -> dict[str, Any]:
    """Ask for no pooler where the weights hold none: transformers would fill it with random numbers and only warn."""
    from safetensors import safe_open

    weights = folder / "model.safetensors"
    if not weights.is_file():
        return {}
    with safe_open(weights, framework="pt") as stored:
        names = list(stored.keys())
    config = json.loads((folder / "config.json").read_text())
    has_pooler = any("pooler" in name for name in names)
    return {} if has_pooler or config.get("model_type") not in ("vit", "deit", "beit") else {"add_pooling_layer": False}


def _seeded(make: Any, seed: int) -> "torch.nn.Module":
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: torch.nn.Module = make()
    return model
