"""How well a row's noise gives its picture back: measures of a regenerated picture against the given one."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from noisezoo.builder.sources import hash_unit
from noisezoo.errors import UsageError

Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]
PREFIX = "reconstruction_"


def psnr(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of (b, 3, h, w) pictures in [-1, 1], clipped to it first: (b,) float32."""
    error = (np.clip(images, -1, 1) - reference).reshape(len(images), -1).astype(np.float64)
    return np.asarray(10 * np.log10(4 / np.maximum((error**2).mean(axis=1), 1e-12)), dtype=np.float32)


def ssim(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004; scikit-image's, 7x7 windows or the largest that fits): (b,) float32."""
    from skimage.metrics import structural_similarity

    side = min(images.shape[2:])
    window = min(7, side - 1 + side % 2)  # odd
    options: dict[str, Any] = {"data_range": 2.0, "channel_axis": 0, "win_size": window}
    pairs = zip(np.clip(images, -1, 1), reference, strict=True)
    found = [structural_similarity(a, b, **options) for a, b in pairs]  # type: ignore[no-untyped-call]
    return np.asarray(found, dtype=np.float32)


def lpips(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Learned perceptual distance (Zhang et al. 2018; the `lpips` package's AlexNet), 0 for equal: (b,) float32."""
    import torch

    a, b = (torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)) for x in (np.clip(images, -1, 1), reference))
    with torch.inference_mode():
        return np.asarray(_lpips_network()(a, b).reshape(-1).cpu().numpy(), dtype=np.float32)


@cache
def _lpips_network() -> Any:
    return import_module("lpips").LPIPS(net="alex", verbose=False).eval()


METRICS: Mapping[str, Metric] = {"psnr": psnr, "ssim": ssim, "lpips": lpips}
"""Name in a recipe -> measure of (images, reference), (b, 3, h, w) in [-1, 1] both."""

PACKAGES = {"lpips": "lpips"}
"""Metric -> the package it needs beyond NoiseZoo's own."""

TITLES = {"psnr": "PSNR, dB", "ssim": "SSIM", "lpips": "LPIPS"}


def check_metrics(names: Iterable[str]) -> None:
    """Refuse, before any work, a metric whose package is not there."""
    for name in names:
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            raise UsageError(f"metric {name} needs a package: `pip install {PACKAGES[name]}`, or leave it out")


def is_sampled(image_id: str, seed: int, share: float) -> bool:
    """Whether an image is among the share that is regenerated: by its id alone, so that it is so in every view."""
    return hash_unit(f"reconstruct/{seed}/{image_id}") < share


def measure(names: Iterable[str], images: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
    """The named metrics' columns: name of the column -> (b,) float32."""
    return {PREFIX + name: METRICS[name](images, reference) for name in names}
