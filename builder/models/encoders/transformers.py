"""Any transformers image model, read out by what it offers."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.builder.models.encoders import Encoder
from noisezoo.builder.models.files import Layout, read_json
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")


class Transformers(
    Encoder, name="transformers", layout=Layout("config.json", "model_type", CONFIGS), package="transformers"
):
    """`config.json` with transformers' `model_type`, `preprocessor_config.json` and the weights.

    A vector a picture, by the first of these that the model offers:

    1. `get_image_features`, of two-tower models, or `image_embeds`, of a vision tower with its projection: what the
       contrastive loss compared with text (CLIP's projection, SigLIP's attention pooling), before normalisation. The
       text tower is dropped.
    2. `pooler_output`: what the model's makers pooled (DINOv2 and DINOv3: the class token after the last layer norm;
       ConvNeXt and ResNet: the mean over space). Where the pooler has parameters that the weights lack, it was never
       trained: the model is built without it, since transformers would fill it with random numbers and only warn.
    3. `last_hidden_state` as a map (b, c, h, w): its mean over space.
    4. `last_hidden_state` as tokens (b, n, d): the mean of the patch tokens, without class, distillation or register
       tokens.
    """

    def load(self, folder: Path, stored: frozenset[str], untrained_seed: int | None) -> None:
        """By `AutoModel` and `AutoImageProcessor`, no remote code."""
        import torch
        import transformers
        from transformers import AutoConfig, AutoImageProcessor, AutoModel

        _refuse_custom_code(folder)
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)  # type: ignore[no-untyped-call]
        self.preprocess = lambda image: processor(images=image, return_tensors="pt").pixel_values[0]
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if hasattr(config, "mask_ratio"):
            config.mask_ratio = 0.0  # a masked autoencoder hides patches at random, in evaluation mode as well
        options = {"dtype": torch.float32, "trust_remote_code": False, **_pooler_option(config, stored)}
        name = (config.architectures or [""])[0]  # AutoModel would drop the projection of a tower saved with it
        kind: Any = getattr(transformers, name, None) if name.endswith("VisionModelWithProjection") else None
        if untrained_seed is not None:
            self.model = AutoModel.from_config(config, **options) if kind is None else kind(config)  # type: ignore[no-untyped-call]
        else:
            self.model, report = (kind or AutoModel).from_pretrained(
                folder, config=config, use_safetensors=True, output_loading_info=True, **options
            )
            if report["missing_keys"]:  # transformers fills these with random numbers and only warns
                raise UsageError(f"{folder}: its weights lack {', '.join(sorted(report['missing_keys'])[:3])}")
        for name in ("text_model", "text_projection"):
            if hasattr(self.model, "get_image_features") and hasattr(self.model, name):
                delattr(self.model, name)
        _refuse_further_inputs(self.model)

    def forward(self, pixels: "Tensor") -> "Tensor":
        """The first read-out of the class's list that the model offers; raises UsageError where none is a vector."""
        features = getattr(self.model, "get_image_features", None)
        output = features(pixels) if features is not None else self.model(pixels, **self._in_order(pixels))
        embedding = _read_out(self.model, output, pixels)
        if embedding.ndim != 2:
            raise UsageError(f"{type(self.model).__name__} gives {tuple(embedding.shape)}, not one vector a picture")
        return embedding

    def _in_order(self, pixels: "Tensor") -> dict[str, "Tensor"]:
        """A masked autoencoder shuffles its patches by random numbers: rising ones keep their order."""
        import torch

        embeddings = getattr(self.model, "embeddings", None)
        if not hasattr(embeddings, "random_masking"):
            return {}
        patches = _patches(self.model, pixels)
        return {"noise": torch.arange(patches, device=pixels.device).expand(len(pixels), patches)}


def _read_out(model: "torch.nn.Module", output: Any, pixels: "Tensor") -> "Tensor":
    import torch

    if isinstance(output, torch.Tensor):  # what get_image_features returned before transformers 5
        return output
    projected: Tensor | None = getattr(output, "image_embeds", None)
    if projected is not None:
        return projected
    pooled: Tensor | None = getattr(output, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1) if pooled.shape[2:] == (1, 1) else pooled
    hidden: Tensor | None = getattr(output, "last_hidden_state", None)
    if hidden is None:
        raise UsageError(f"{type(model).__name__} gives neither pooler_output nor last_hidden_state")
    return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else _patch_tokens(model, hidden, pixels).mean(dim=1)


def _patch_tokens(model: "torch.nn.Module", hidden: "Tensor", pixels: "Tensor") -> "Tensor":
    """(b, n, d) -> (b, patches, d): without the tokens that lead the patches."""
    embeddings = getattr(model, "embeddings", None)
    leading = (getattr(embeddings, name, None) for name in ("cls_token", "distillation_token", "register_tokens"))
    skipped = sum(token.shape[1] for token in leading if token is not None)
    if hidden.shape[1] - skipped != _patches(model, pixels):
        raise UsageError(f"{type(model).__name__} gives {hidden.shape[1]} tokens, and which are patches cannot be told")
    return hidden[:, skipped:]


def _patches(model: "torch.nn.Module", pixels: "Tensor") -> int:
    size: int | list[int] | None = getattr(model.config, "patch_size", None)
    if size is None:
        raise UsageError(f"{type(model).__name__} has no patch_size, so which of its tokens are patches cannot be told")
    rows, columns = (size, size) if isinstance(size, int) else size
    return (pixels.shape[2] // rows) * (pixels.shape[3] // columns)


def _pooler_option(config: Any, stored: frozenset[str]) -> dict[str, bool]:
    """Ask for no pooler where the pooler has parameters and the weights hold none of them."""
    import torch
    from transformers import MODEL_MAPPING

    kind: Any = MODEL_MAPPING.get(type(config), None)
    if kind is None or "add_pooling_layer" not in inspect.signature(kind.__init__).parameters:
        return {}
    with torch.device("meta"):
        names = [name for name, _ in kind(config).named_parameters() if "pooler" in name]
    trained = all(any(kept.endswith(name) for kept in stored) for name in names)
    return {} if trained else {"add_pooling_layer": False}


def _refuse_custom_code(folder: Path) -> None:
    read_json(folder / "config.json")
    for name in CONFIGS:
        if (folder / name).is_file() and "auto_map" in read_json(folder / name):
            raise UsageError(f"{folder}: {name} asks for custom code (auto_map), which never runs here")


def _refuse_further_inputs(model: "torch.nn.Module") -> None:
    """An encoder sees one square picture and nothing else; NaFlex models want a mask and a shape for each as well."""
    tower = getattr(model, "vision_model", model)
    needed = {name for name, p in inspect.signature(tower.forward).parameters.items()
              if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}  # fmt: skip
    if further := sorted(needed - {"pixel_values"}):
        raise UsageError(
            f"{type(model).__name__} wants {', '.join(further)} beside the picture: use its fixed-resolution weights"
        )
