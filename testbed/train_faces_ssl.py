"""Train `faces-ssl`: a small ViT by SimCLR (Chen et al. 2020) on drawn faces, which never sees a label or a caption.

python testbed/train_faces_ssl.py --steps 1500
"""

import argparse

import torch
from common import Training, face_batch, finish
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, normalize
from transformers import ViTConfig, ViTImageProcessor, ViTModel

NAME, SEED, BATCH, TEMPERATURE = "faces-ssl", 5, 256, 0.15


class SimCLR(nn.Module):
    """The encoder that ships, and the projection that is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        config = ViTConfig(image_size=32, patch_size=8, hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
                           intermediate_size=512)  # fmt: skip
        self.encoder = ViTModel(config, add_pooling_layer=False)
        self.projection = nn.Sequential(nn.Linear(128, 256), nn.GELU(), nn.Linear(256, 64))

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors of pictures: (b, 3, 32, 32) -> (b, 64)."""
        tokens = self.encoder(images).last_hidden_state[:, 1:]
        projected: Tensor = self.projection(tokens.mean(dim=1))
        return normalize(projected, dim=1)


def make_model() -> SimCLR:
    """Encoder and projection before training; the encoder comes first, so its start is `SEED`'s alone."""
    torch.manual_seed(SEED)
    return SimCLR()


def augment(images: Tensor) -> Tensor:
    """A random view of each picture: mirrored, moved, scaled, its colours mixed and its contrast changed, with noise.

    Colours are changed most: otherwise the background alone would tell one picture from the others.
    """
    b = len(images)
    zoom = 1 + 0.12 * (2 * torch.rand(b) - 1)
    mirror = torch.where(torch.rand(b) < 0.5, -1.0, 1.0)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * mirror, zoom
    theta[:, :, 2] = 0.12 * (2 * torch.rand(b, 2) - 1)
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    moved = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    mixing = torch.eye(3) + 0.35 * torch.randn(b, 3, 3)
    colored = torch.einsum("bij,bjhw->bihw", mixing, moved) + 0.3 * torch.randn(b, 3, 1, 1)
    return colored + 0.05 * torch.randn_like(colored)


def contrastive_loss(a: Tensor, b: Tensor) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1) of two views' unit vectors (n, e)."""
    z = torch.cat([a, b])  # (2n, e)
    logits = (z @ z.T / TEMPERATURE).fill_diagonal_(float("-inf"))
    target = torch.arange(len(z)).roll(len(a))
    return cross_entropy(logits, target)


def main() -> None:
    """Train and write the encoder alone, as the folder that transformers reads as a ViT, in float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_500)
    steps = parser.parse_args().steps
    model = make_model()

    def loss(step: int) -> Tensor:
        images, _ = face_batch(step, BATCH, stream=SEED)
        return contrastive_loss(model(augment(images)), model(augment(images)))

    ema = Training(NAME, model, loss, steps, seed=SEED, every=100, ema_decay=0.99, weight_decay=0.05).run()
    folder = finish(NAME, {"steps": steps, "batch_size": BATCH, "seed": SEED, "images": steps * BATCH})
    encoder = ema.encoder
    assert isinstance(encoder, ViTModel)
    encoder.half().save_pretrained(folder)
    half = [0.5, 0.5, 0.5]
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=half, image_std=half).save_pretrained(folder)


if __name__ == "__main__":
    main()
