"""Views that are models: noise by inversion, embeddings by an encoder, latents by an autoencoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.builder.compute.base import Computer, Rows
from noisezoo.builder.pixels import signed, to_rgb
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


class ModelComputer(Computer):
    """A view with weights: a shipped folder, or a Hub repository at its pinned revision."""

    @property
    def location(self) -> str | Path:
        """Where the weights are."""
        return self.view.repo if self.view.folder is None else self.view.folder

    @property
    def seed(self) -> int | None:
        """The random start of an untrained control; None for a trained model."""
        return self.view.start_seed

    @property
    def device(self) -> "torch.device":
        """The device accelerate gave this process."""
        from accelerate import PartialState

        device: torch.device = PartialState().device
        return device


class NoiseComputer(ModelComputer):
    """Noise by inversion, with each row's mean and standard deviation, and its reconstruction PSNR where asked for."""

    def load(self) -> None:
        """Read the diffusers folder."""
        from noisezoo.builder.inverter import Inverter

        s = self.settings
        self.inverter = Inverter.from_pretrained(
            self.location, num_inference_steps=s.num_inference_steps, guidance_scale=s.guidance_scale, prompt=s.prompt,
            scheme=s.scheme, dtype=s.dtype, device=self.device, revision=self.view.revision, untrained_seed=self.seed,
        )  # fmt: skip

    @property
    def quality(self) -> tuple[str, ...]:
        """`latent_mean`, `latent_std`, and `reconstruction_psnr` in dB where the recipe asks for it."""
        return ("latent_mean", "latent_std") + (("reconstruction_psnr",) if self.settings.reconstruct else ())

    def prepare(self, image: "Image") -> np.ndarray:
        """(3, h, w) in [-1, 1]."""
        return signed(image, self.view.resolution)

    def compute(self, inputs: np.ndarray, ids: Sequence[str]) -> Rows:
        """Invert, and regenerate where the reconstruction is wanted."""
        import torch

        images = torch.from_numpy(inputs)
        noise = self.inverter.invert(images)
        array = noise.cpu().numpy()
        self._check_shape(array)
        rows = {self.view.name: array, **latent_statistics(array)}
        if self.settings.reconstruct:
            rows["reconstruction_psnr"] = psnr(self.inverter.generate(noise).cpu().numpy(), inputs)
        return rows

    def _check_shape(self, array: np.ndarray) -> None:
        if array.shape[1:] != self.view.shape:
            raise UsageError(
                f"view {self.view.name}: its model gives {array.shape[1:]}, its row says {self.view.shape}"
            )


class LatentComputer(ModelComputer):
    """The autoencoder's latent that a latent diffusion inverts: what its noise is made from."""

    def load(self) -> None:
        """Read the autoencoder alone."""
        from noisezoo.builder.pipeline import load_pipeline, resolve

        folder = resolve(self.location, self.view.revision)
        self.pipeline = load_pipeline(folder, dtype="float32", device=self.device, denoise=False)
        if self.pipeline.autoencoder is None:
            raise UsageError(f"view {self.view.name}: {folder} has no autoencoder")

    def prepare(self, image: "Image") -> np.ndarray:
        """(3, h, w) in [-1, 1]."""
        return signed(image, self.view.resolution)

    def compute(self, inputs: np.ndarray, ids: Sequence[str]) -> Rows:
        """The posterior's mode, shifted and scaled."""
        import torch

        from noisezoo.builder.inverter import encode

        return {self.view.name: encode(self.pipeline, torch.from_numpy(inputs), channels=3).cpu().numpy()}


class EmbeddingComputer(ModelComputer):
    """An encoder's raw embedding."""

    def load(self) -> None:
        """Read the encoder's folder."""
        from noisezoo.builder.encoder import Encoder

        self.encoder = Encoder.from_pretrained(
            self.location, family=self.view.family, dtype=self.settings.dtype, device=self.device,
            revision=self.view.revision, untrained_seed=self.seed,
        )  # fmt: skip

    def prepare(self, image: "Image") -> np.ndarray:
        """The library's own preprocessing."""
        return self.encoder.prepare(to_rgb(image)).numpy()

    def compute(self, inputs: np.ndarray, ids: Sequence[str]) -> Rows:
        """One forward."""
        import torch

        return {self.view.name: self.encoder.embed_prepared(torch.from_numpy(inputs))}


def latent_statistics(array: np.ndarray) -> Rows:
    """Mean and standard deviation of each row of (b, c, h, w), float32: a standard Gaussian's are 0 and 1."""
    flat = array.reshape(len(array), -1).astype(np.float64)
    return {"latent_mean": flat.mean(axis=1).astype(np.float32), "latent_std": flat.std(axis=1).astype(np.float32)}


def psnr(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of (b, 3, h, w) pictures in [-1, 1], clipped to it first: (b,) float32."""
    error = (np.clip(images, -1, 1) - reference).reshape(len(images), -1).astype(np.float64)
    return np.asarray(10 * np.log10(4 / np.maximum((error**2).mean(axis=1), 1e-12)), dtype=np.float32)
