"""Small folders with random weights, of the Hub's classes and layout, one for each encoder row of the zoo."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

OPENAI = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def save_open_clip(folder: Path, *, patch_size: int, embed_dim: int, quick_gelu: bool) -> None:
    """As open_clip's `push_to_hf_hub` lays it out; OpenAI trained with the quick GELU, LAION without."""
    import open_clip
    from safetensors.torch import save_file

    vision = {"image_size": 2 * patch_size, "layers": 2, "width": 16, "head_width": 8, "patch_size": patch_size}
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    config = {"embed_dim": embed_dim, "vision_cfg": vision, "text_cfg": text}
    if quick_gelu:
        config["quick_gelu"] = True
    torch.manual_seed(embed_dim)
    model = open_clip.CLIP(**config)
    folder.mkdir(parents=True)
    preprocess = {**OPENAI, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def save_timm(folder: Path, name: str, **model_args: Any) -> None:
    """As timm's own `push_to_hf_hub` writes it: `architecture`, `model_args` and `pretrained_cfg`."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    save_for_hf(timm.create_model(name, **model_args), folder, safe_serialization=True)


def save_dinov2(folder: Path) -> None:
    """Positions for a picture larger than the processor gives, as on the Hub (518 against 224)."""
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    BitImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}, do_center_crop=True, **IMAGENET
    ).save_pretrained(folder)


def save_dino(folder: Path) -> None:
    """Without a pooler, as the first DINO has none; whole pictures of the size that the structure distance takes."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=224, patch_size=32)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 224, "width": 224}, **IMAGENET).save_pretrained(folder)


def save_dinov3(folder: Path, width: int = 24) -> None:
    """Rotary positions and four register tokens."""
    from transformers import DINOv3ViTConfig, DINOv3ViTImageProcessor, DINOv3ViTModel

    torch.manual_seed(0)
    config = DINOv3ViTConfig(
        hidden_size=width, num_hidden_layers=2, num_attention_heads=width // 8, intermediate_size=48, image_size=32,
        patch_size=16, num_register_tokens=4,
    )  # fmt: skip
    DINOv3ViTModel(config).save_pretrained(folder)
    DINOv3ViTImageProcessor(size={"height": 32, "width": 32}, **IMAGENET).save_pretrained(folder)


def save_siglip2(folder: Path) -> None:
    """Both towers: SigLIP 2 of a fixed resolution is a `SiglipModel` with a larger vocabulary."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(0)
    tower = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
    text = {**tower, "vocab_size": 64, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    SiglipModel(
        SiglipConfig(text_config=text, vision_config={**tower, "image_size": 32, "patch_size": 16})
    ).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


SMALL_VIT: Mapping[str, Any] = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 3}

ENCODER_FOLDERS: Mapping[str, Callable[[Path], None]] = {
    "clip-vit-b16": partial(save_open_clip, patch_size=16, embed_dim=8, quick_gelu=True),
    "clip-vit-l14": partial(save_open_clip, patch_size=14, embed_dim=12, quick_gelu=True),
    "openclip-vit-b16": partial(save_open_clip, patch_size=16, embed_dim=8, quick_gelu=False),
    "openclip-vit-l14": partial(save_open_clip, patch_size=14, embed_dim=12, quick_gelu=False),
    "dinov3-vit-l16": save_dinov3,
    "dinov2-vit-l14": save_dinov2,
    "dino-vit-b8": save_dino,
    "siglip2": save_siglip2,
    "mae-vit-b16": partial(save_timm, name="vit_base_patch16_224.mae", **SMALL_VIT),
    "imagenet-vit-b16": partial(save_timm, name="vit_base_patch16_224.augreg2_in21k_ft_in1k", **SMALL_VIT),
}
"""Zoo row -> what writes its folder."""

FAMILIES: Mapping[str, str] = {
    "clip-vit-b16": "open_clip", "mae-vit-b16": "timm", "dinov2-vit-l14": "transformers",
}  # fmt: skip
"""Zoo row -> its family: one of each."""


def pictures() -> list[Image.Image]:
    """Four pictures of noise, each of another size."""
    rng = np.random.default_rng(0)
    sizes = [(16, 16), (40, 25), (9, 31), (64, 64)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]


def pixels_by_transformers(folder: Path) -> torch.Tensor:
    """The pictures as the folder's own image processor prepares them: (4, 3, h, w)."""
    from transformers import AutoImageProcessor

    pixels: torch.Tensor = AutoImageProcessor.from_pretrained(folder)(pictures(), return_tensors="pt").pixel_values
    return pixels
