"""Any timm image model."""

from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.builder.models.encoders.family import Family, seeded

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Timm(Family):
    """`config.json` with timm's `architecture`, and its weights."""

    weights = ("model.safetensors",)

    def load(self, folder: Path, stored: frozenset[str], untrained_seed: int | None) -> None:
        """By timm's own factory, from `local-dir:`, without the classifier."""
        import timm
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        pretrained = untrained_seed is None
        self.model = seeded(
            lambda: timm.create_model(f"local-dir:{folder}", pretrained=pretrained, num_classes=0), untrained_seed
        )
        settings = resolve_model_data_config(self.model)  # type: ignore[no-untyped-call]
        self.preprocess = create_transform(**settings, is_training=False)

    def prepare(self, image: "Image") -> "Tensor":
        """The evaluation transform that the folder's config describes."""
        prepared: Tensor = self.preprocess(image)
        return prepared

    def forward(self, pixels: "Tensor") -> "Tensor":
        """The pooled features that the classifier would read."""
        embedding: Tensor = self.model(pixels)
        return embedding
