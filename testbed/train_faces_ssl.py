"""Train `faces-ssl`: a masked autoencoder (He et al. 2022) on drawn faces, which never sees a label or a caption.

python testbed/train_faces_ssl.py --steps 6000
"""

import argparse

import torch
from common import Training, face_batch, finish
from transformers import ViTImageProcessor, ViTMAEConfig, ViTMAEForPreTraining, ViTModel

NAME, SEED, BATCH = "faces-ssl", 5, 128


def make_model() -> ViTMAEForPreTraining:
    """A 4-layer ViT with 4-pixel patches and a light decoder, before training, for `SEED`."""
    torch.manual_seed(SEED)
    return ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=32,
            patch_size=4,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=512,
            decoder_hidden_size=64,
            decoder_num_hidden_layers=2,
            decoder_num_attention_heads=4,
            decoder_intermediate_size=256,
            mask_ratio=0.75,
            norm_pix_loss=False,
        )  # fmt: skip
    )


def main() -> None:
    """Train and write the encoder alone, as the folder that transformers reads as a ViT, in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6_000)
    steps = parser.parse_args().steps
    model = make_model()

    def loss(step: int) -> torch.Tensor:
        return model(face_batch(step, BATCH, stream=SEED)[0]).loss

    ema = Training(NAME, model, loss, steps, lr=1e-3, seed=SEED, weight_decay=0.05).run()
    folder = finish(NAME, {"steps": steps, "batch_size": BATCH, "seed": SEED, "images": steps * BATCH})
    (ema.half()).save_pretrained(folder / "mae")
    encoder = ViTModel.from_pretrained(folder / "mae", add_pooling_layer=False, torch_dtype=torch.float16)
    encoder.save_pretrained(folder)
    for path in (folder / "mae").iterdir():
        path.unlink()
    (folder / "mae").rmdir()
    half = [0.5, 0.5, 0.5]
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=half, image_std=half).save_pretrained(folder)


if __name__ == "__main__":
    main()
