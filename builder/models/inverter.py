"""One `Inverter` for every diffusion model: images to noise and noise to images."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arithmetic import network_device, set_arithmetic
from .denoisers import denoiser_of
from .files import reading, resolve
from .noise_schedule import Trajectory, read_trajectory
from .pipeline import Pipeline, Runtime, load_pipeline
from .schemes import Scheme, make_scheme


class Inverter:
    """A diffusion model, read as a deterministic map between images and Gaussian noise.

    Make one with `from_pretrained`. Images are (b, 3, h, w) float in [-1, 1]; latents and noise are (b, c, h', w')
    float32, with c, h', w' as the model has them. `network.forwards` counts the passes through the network.
    """

    def __init__(
        self, pipeline: Pipeline, *, num_inference_steps: int, guidance_scale: float | None, prompt: str | None,
        negative_prompt: str | None, scheme: str, scheme_options: Mapping[str, Any] | None, span: int | None,
    ) -> None:  # fmt: skip
        self.pipeline = pipeline
        kind = denoiser_of({**pipeline.denoiser.config, "_class_name": type(pipeline.denoiser).__name__})
        read = partial(
            read_trajectory, pipeline.scheduler_config, num_inference_steps, span=span, given_sigmas=kind.given_sigmas
        )
        self._count = 0
        self._scheme_of = cache(lambda tokens: make_scheme(scheme, read(image_tokens=tokens), scheme_options))
        self.scheme: Scheme = self._scheme_of(pipeline.default_image_tokens)
        with reading(f"{pipeline.folder}: the prompt's encoding"):
            self.network = kind(
                pipeline, prompt=prompt or "", negative_prompt=negative_prompt, guidance_scale=guidance_scale
            )
        if prompt is not None:
            self.network.release_tower()

    @classmethod
    def from_pretrained(
        cls,
        folder_or_hub_id: str | Path,
        *,
        num_inference_steps: int = 50,
        guidance_scale: float | None = 3.5,
        prompt: str | None = "",
        negative_prompt: str | None = None,
        scheme: str = "ddim",
        scheme_options: Mapping[str, Any] | None = None,
        span: int | None = None,
        dtype: str = "float32",
        device: "str | torch.device | None" = None,
        revision: str | None = None,
        untrained_seed: int | None = None,
        pickled: bool = False,
        runtime: Runtime | None = None,
    ) -> "Inverter":
        """Load a diffusers folder or Hub repository.

        Args:
            folder_or_hub_id: A folder with a `model_index.json`, or a Hub id.
            num_inference_steps: Steps of the sampler that is inverted (the paper: 50).
            guidance_scale: Classifier-free guidance scale (the paper: 3.5); without effect for an empty prompt, but for
                models that take it as an input and for those whose empty prompt is not their "no prompt" (SDXL).
            prompt: One prompt for all images; for a class-conditional model the name or number of a class. None: each
                image will bring its own, so that the text towers are kept.
            negative_prompt: What guidance leads away from; None is the model's own way of having no prompt.
            scheme: A key of `noisezoo.builder.models.schemes.SCHEMES`.
            scheme_options: The scheme's options, as `{"iterations": 5}`.
            span: End where a sampler of this many steps ends, whatever the number of steps; None: as the folder says.
            dtype: Arithmetic of the network (float32, tf32, float16, bfloat16), set for this process, by whatever model
                is loaded last; the state stays float32.
            device: Where to run; the first GPU where there is one, by default.
            revision: Revision on the Hub.
            untrained_seed: Use the network as it stands before training, from this seed.
            pickled: Read `.bin` weights, through `weights_only`, where there are no safetensors.
            runtime: Memory format, attention back-end, VAE slicing and tiling, compilation.

        Raises:
            UsageError: Not a pipeline folder, a missing component, or a setting the model cannot be inverted with.
        """
        where = network_device(device)
        folder = resolve(folder_or_hub_id, revision, pickled=pickled, texts=False)
        pipeline = load_pipeline(
            folder, dtype=dtype, device=where, untrained_seed=untrained_seed, pickled=pickled, runtime=runtime
        )
        set_arithmetic(dtype, compiled=runtime is not None and bool(runtime.compile))
        return cls(
            pipeline, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, prompt=prompt,
            negative_prompt=negative_prompt, scheme=scheme, scheme_options=scheme_options, span=span,
        )  # fmt: skip

    @property
    def trajectory(self) -> Trajectory:
        """The levels that are visited, clean first."""
        return self.scheme.trajectory

    @property
    def faults(self) -> list[int | None]:
        """Of the last inversion: for each image the first step (from 0) whose network output was not finite."""
        times = np.concatenate([self.trajectory.times[1:], [np.inf]])
        found: list[int | None] = [None] * self._count
        for time, finite in reversed(self.network.finite):
            step = min(int(np.searchsorted(times, time)), self.trajectory.steps - 1)
            found = [old if fine else step for old, fine in zip(found, finite.tolist(), strict=True)]
        return found

    def invert(
        self, images: "Tensor", *, prompts: Sequence[str] | None = None, seeds: Sequence[int] | None = None
    ) -> "Tensor":
        """Images to noise.

        Args:
            images: (b, 3, h, w) in [-1, 1].
            prompts: A prompt for each image; by default the inverter's one.
            seeds: A seed for each image, for a scheme that draws noise; by default made from its latent's values.

        Returns:
            (b, c, h', w') float32.
        """
        return self.invert_latents(self.encode(images), prompts=prompts, seeds=seeds)

    def invert_latents(
        self, latents: "Tensor", *, prompts: Sequence[str] | None = None, seeds: Sequence[int] | None = None
    ) -> "Tensor":
        """As `invert`, from latents (b, c, h', w') float32."""
        return self.invert_states(latents, prompts=prompts, seeds=seeds)[0]

    def invert_states(
        self, latents: "Tensor", *, prompts: Sequence[str] | None = None, seeds: Sequence[int] | None = None
    ) -> "tuple[Tensor, Tensor | None]":
        """As `invert_latents`, and the last state but one where the scheme's way back needs it."""
        self.network.check_latents(latents.shape)
        y = latents.to(self.pipeline.device, torch.float32)
        self.network.finite.clear()
        self._count = len(y)
        with torch.inference_mode():
            self.network.condition(prompts or [self.network.prompt])
            draw = lambda: gaussian(y, seeds or content_seeds(y))  # noqa: E731
            noise, previous = self._scheme_for(y).invert(y, self.network, draw)
        return noise.contiguous(), None if previous is None else previous.contiguous()

    def generate(
        self, noise: "Tensor", *, previous: "Tensor | None" = None, prompts: Sequence[str] | None = None
    ) -> "Tensor":
        """Noise (b, c, h', w') to images (b, 3, h, w) float32 in about [-1, 1], by the sampler that the scheme inverts.

        `previous` is what `invert_states` gave beside the noise; prompts are as in `invert`.
        """
        self.network.check_latents(noise.shape)
        y = noise.to(self.pipeline.device, torch.float32)
        before = None if previous is None else previous.to(self.pipeline.device, torch.float32)
        of_inversion = len(self.network.finite)
        with torch.inference_mode():
            self.network.condition(prompts or [self.network.prompt])
            latents = self._scheme_for(y).generate(y, self.network, before)
        del self.network.finite[of_inversion:]  # `faults` speaks of the inversion, and memory must not grow
        return self.decode(latents)

    def encode(self, images: "Tensor") -> "Tensor":
        """Images to the denoiser's latents: the VAE posterior's mode, shifted and scaled as its config says.

        Without an autoencoder, the images themselves, in as many channels as the network takes. Raises UsageError as
        `check_picture` does.
        """
        self.check_picture(*images.shape[-2:])
        return encode(self.pipeline, images)

    def check_picture(self, height: int, width: int) -> None:
        """Raise UsageError for pictures of a size, in pixels, that autoencoder and network do not take."""
        self.pipeline.check_picture(height, width, self.network.multiple)
        downscale, channels = self.pipeline.downscale, self.network.channels
        self.network.check_latents((channels, height // downscale, width // downscale))

    def decode(self, latents: "Tensor") -> "Tensor":
        """Latents to images: (b, c, h', w') -> (b, 3, h, w) float32, grey repeated to three channels."""
        vae = self.pipeline.autoencoder
        with torch.inference_mode():
            scale, shift = self.pipeline.scaling
            images = latents if vae is None else vae.decode(latents / scale + shift).sample
        return images.float().expand(-1, 3, -1, -1)

    def _scheme_for(self, y: "Tensor") -> Scheme:
        """The scheme on the trajectory of these latents, as a flow's shift may depend on their size."""
        return self._scheme_of(self.pipeline.image_tokens(y.shape[1:]))


def encode(pipeline: Pipeline, images: "Tensor") -> "Tensor":
    """What `Inverter.encode` does; where there is an autoencoder, the denoiser need not be loaded; float32."""
    pipeline.check_picture(*images.shape[-2:])
    images = images.to(pipeline.device, torch.float32)
    vae = pipeline.autoencoder
    if vae is None:
        alike = images.shape[1] == pipeline.denoiser.config.in_channels
        return images if alike else images.mean(dim=1, keepdim=True)
    with torch.inference_mode():
        encoded = vae.encode(images)
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        scale, shift = pipeline.scaling
        scaled: Tensor = ((latents - shift) * scale).float()
    return scaled


def gaussian(like: "Tensor", seeds: Sequence[int]) -> "Tensor":
    """Standard Gaussian noise of each seed, the same on every device and in every batch: (b, c, h, w) float32."""
    shape = tuple(like.shape[1:])
    draws = [np.random.Generator(np.random.Philox(seed)).standard_normal(shape, dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(draws)).to(like.device)


def content_seeds(latents: "Tensor") -> list[int]:
    """A seed of 64 bits for each latent, made from its values."""
    digests = [hashlib.sha256(latent.tobytes()).digest() for latent in latents.detach().cpu().numpy()]
    return [int.from_bytes(digest[:8], "big") for digest in digests]
