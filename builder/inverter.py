"""One `Inverter` for every diffusion model: images to noise and noise to images."""

from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.builder.denoisers import make_denoiser
from noisezoo.builder.pipeline import Pipeline, load_pipeline, resolve
from noisezoo.builder.schemes import SCHEMES
from noisezoo.builder.trajectory import read_trajectory
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Inverter:
    """A diffusion model, read as a deterministic map between images and Gaussian noise.

    Make one with `from_pretrained`. Images are (b, 3, h, w) float in [-1, 1]; latents and noise are (b, c, h', w')
    float32, with c, h', w' as the model has them. `network.forwards` counts the passes through the network.
    """

    def __init__(
        self, pipeline: Pipeline, *, num_inference_steps: int, guidance_scale: float, prompt: str, scheme: str
    ) -> None:
        if scheme not in SCHEMES:
            raise UsageError(f"unknown scheme {scheme!r}; choose one of: {', '.join(SCHEMES)}")
        self.pipeline = pipeline
        self.trajectory = read_trajectory(pipeline.scheduler_config, num_inference_steps)
        self.scheme = SCHEMES[scheme](self.trajectory)
        self.network = make_denoiser(pipeline, prompt, guidance_scale)

    @classmethod
    def from_pretrained(
        cls,
        folder_or_hub_id: str | Path,
        *,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.5,
        prompt: str = "",
        scheme: str = "ddim",
        dtype: str = "float32",
        device: "str | torch.device | None" = None,
        revision: str | None = None,
        untrained_seed: int | None = None,
    ) -> "Inverter":
        """Load a diffusers folder or Hub repository.

        Args:
            folder_or_hub_id: A folder with a `model_index.json`, or a Hub id.
            num_inference_steps: Steps of the sampler that is inverted (the paper: 50).
            guidance_scale: Classifier-free guidance scale (the paper: 3.5); without effect for an empty prompt.
            prompt: One prompt for all images.
            scheme: A key of `noisezoo.builder.schemes.SCHEMES`.
            dtype: Dtype of the network; the state stays float32.
            device: Where to run; the first GPU where there is one, by default.
            revision: Revision on the Hub.
            untrained_seed: Use the network as it stands before training, from this seed.

        Raises:
            UsageError: Not a pipeline folder, a missing component, or a setting the model cannot be inverted with.
        """
        import torch

        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        folder = resolve(folder_or_hub_id, revision)
        pipeline = load_pipeline(folder, dtype=dtype, device=where, untrained_seed=untrained_seed)
        return cls(
            pipeline,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            prompt=prompt,
            scheme=scheme,
        )

    def invert(self, images: "Tensor") -> "Tensor":
        """Images to noise: (b, 3, h, w) in [-1, 1] -> (b, c, h', w') float32."""
        return self.invert_latents(self.encode(images))

    def invert_latents(self, latents: "Tensor") -> "Tensor":
        """Latents to noise, along the trajectory: (b, c, h', w') float32 both."""
        import torch

        with torch.inference_mode():
            return self.scheme.invert(latents.to(self.pipeline.device, torch.float32), self.network).contiguous()

    def generate(self, noise: "Tensor") -> "Tensor":
        """Noise to images, with the same steps: (b, c, h', w') -> (b, 3, h, w) float32 in about [-1, 1]."""
        import torch

        with torch.inference_mode():
            return self.decode(self.scheme.generate(noise.to(self.pipeline.device, torch.float32), self.network))

    def encode(self, images: "Tensor") -> "Tensor":
        """Images to the denoiser's latents: the VAE posterior's mode, shifted and scaled as its config says.

        Without an autoencoder, the images themselves, in as many channels as the network takes.
        """
        return encode(self.pipeline, images, channels=self.pipeline.denoiser.config.in_channels)

    def decode(self, latents: "Tensor") -> "Tensor":
        """Latents to images: (b, c, h', w') -> (b, 3, h, w) float32, grey repeated to three channels."""
        import torch

        vae = self.pipeline.autoencoder
        with torch.inference_mode():
            images = latents if vae is None else vae.decode(latents / _scale(vae) + _shift(vae)).sample
        return images.float().expand(-1, 3, -1, -1)


def encode(pipeline: Pipeline, images: "Tensor", channels: int) -> "Tensor":
    """What `Inverter.encode` does, for a pipeline whose denoiser need not be loaded; float32."""
    import torch

    images = images.to(pipeline.device, torch.float32)
    vae = pipeline.autoencoder
    if vae is None:
        return images if images.shape[1] == channels else images.mean(dim=1, keepdim=True)
    with torch.inference_mode():
        encoded = vae.encode(images)
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        scaled: Tensor = ((latents - _shift(vae)) * _scale(vae)).float()
    return scaled


def _scale(vae: "torch.nn.Module") -> float:
    return float(getattr(vae.config, "scaling_factor", None) or 1.0)


def _shift(vae: "torch.nn.Module") -> float:
    return float(getattr(vae.config, "shift_factor", None) or 0.0)
