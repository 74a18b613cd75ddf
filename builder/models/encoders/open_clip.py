"""The image tower of an open_clip model."""

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.builder.models.encoders import Encoder
from noisezoo.builder.models.files import Layout, read_json

if TYPE_CHECKING:
    from torch import Tensor

LAYOUT = Layout(
    "open_clip_config.json", "model_cfg", ("*.txt", "vocab.json", "*token*.json"),
    ("open_clip_model", "open_clip_pytorch_model"),
)  # fmt: skip
"""Only these two names: given neither, open_clip would rather read a pickle than any other safetensors file."""


class OpenClip(Encoder, name="open_clip", layout=LAYOUT, package="open_clip_torch"):
    """`open_clip_config.json` and its weights in one folder."""

    def load(self, folder: Path, stored: frozenset[str], untrained_seed: int | None) -> None:
        """By open_clip's own factory, from `local-dir:`, and its validation transform; the text tower is let go."""
        import open_clip
        import torch

        model, _, self.preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        if untrained_seed is not None:
            # The factory with load_weights=False warns through the root logger, which would configure logging for all.
            settings = deepcopy(read_json(folder / "open_clip_config.json")["model_cfg"])
            settings.pop("custom_text", None)
            settings["vision_cfg"]["timm_model_pretrained"] = False  # else towers of other libraries' are downloaded
            settings["text_cfg"]["hf_model_pretrained"] = False
            torch.default_generator.manual_seed(untrained_seed)
            model = type(model)(**settings)
        for name in [name for name, _ in model.named_children() if name != "visual"]:
            delattr(model, name)
        self.model = model

    def forward(self, pixels: "Tensor") -> "Tensor":
        """`encode_image` without its normalisation, which is the default of some of open_clip's classes."""
        embedding: Tensor = self.model.encode_image(pixels, normalize=False)  # type: ignore[operator]
        return embedding
