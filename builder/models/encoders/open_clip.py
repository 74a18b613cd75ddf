"""The image tower of an open_clip model."""

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.builder.models.encoders.family import Family, read_json, seeded

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class OpenClip(Family):
    """`open_clip_config.json` and its weights in one folder."""

    # Only these two: given neither, open_clip would rather read a pickle than any other safetensors file.
    weights = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")

    def load(self, folder: Path, stored: frozenset[str], untrained_seed: int | None) -> None:
        """By open_clip's own factory, from `local-dir:`; the text tower is then let go."""
        import open_clip

        model, _, self.preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        if untrained_seed is not None:
            # The factory with load_weights=False warns through the root logger, which would configure logging for all.
            settings = deepcopy(read_json(folder / "open_clip_config.json")["model_cfg"])
            settings.pop("custom_text", None)
            model = seeded(lambda: type(model)(**settings), untrained_seed)
        for name in [name for name, _ in model.named_children() if name != "visual"]:
            delattr(model, name)
        self.model = model

    def prepare(self, image: "Image") -> "Tensor":
        """open_clip's validation transform."""
        prepared: Tensor = self.preprocess(image)
        return prepared

    def forward(self, pixels: "Tensor") -> "Tensor":
        """`encode_image` without its normalisation, which is the default of some of open_clip's classes."""
        embedding: Tensor = self.model.encode_image(pixels, normalize=False)  # type: ignore[operator]
        return embedding
