"""Train `faces-clip`: a small contrastive image-text model of open_clip's classes, on drawn faces and their captions.

python testbed/train_faces_clip.py --steps 3000
"""

import argparse
import json

import torch
from common import Training, face_batch, finish
from open_clip import CLIP
from safetensors.torch import save_file
from tokenizer import make_tokenizer
from torch.nn.functional import cross_entropy

from noisezoo.builder.sources.faces.factors import captions

NAME, SEED, BATCH = "faces-clip", 4, 256
CONTEXT = 64


def model_config(vocab_size: int) -> dict:
    """open_clip's `model_cfg`: a 4-layer ViT with 8-pixel patches and a 2-layer text tower."""
    return {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": vocab_size, "width": 96, "heads": 4, "layers": 2,
                     "hf_tokenizer_name": "local"},
    }  # fmt: skip


def contrastive_loss(model: CLIP, images: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Symmetric cross-entropy over the batch's image-text similarities (Radford et al. 2021, section 2.3)."""
    image, text, scale = model(images, tokens)
    logits = scale * image @ text.T  # (b, b)
    target = torch.arange(len(logits))
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def main() -> None:
    """Train and write the folder that open_clip reads as `local-dir:FOLDER`, in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3_000)
    steps = parser.parse_args().steps
    tokenizer = make_tokenizer()
    config = model_config(len(tokenizer))
    torch.manual_seed(SEED)
    model = CLIP(**{key: value for key, value in config.items()})

    def loss(step: int) -> torch.Tensor:
        images, factors = face_batch(step, BATCH, stream=SEED)
        texts = captions(factors, step)
        tokens = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
        return contrastive_loss(model, images, tokens.input_ids)

    ema = Training(NAME, model, loss, steps, lr=1e-3, seed=SEED, every=250, ema_decay=0.99, weight_decay=0.05).run()
    folder = finish(NAME, {"steps": steps, "batch_size": BATCH, "seed": SEED, "images": steps * BATCH})
    half = [0.5, 0.5, 0.5]
    preprocess = {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "shortest"}
    settings = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    weights = {key: value.half().contiguous() for key, value in ema.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
