"""How well a row's noise gives its picture back: measures of a regenerated picture against the given one."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from noisezoo.builder.sources import hash_unit
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Metric = Callable[["Tensor", "Tensor"], "Tensor"]
PREFIX = "reconstruction_"


def mse(images: "Tensor", reference: "Tensor") -> "Tensor":
    """Mean squared error of (b, 3, h, w) pictures in [-1, 1], their values taken to [0, 1]: (b,) float64."""
    squares: Tensor = ((images - reference).double() / 2).pow(2)
    return squares.flatten(1).mean(dim=1)


def psnr(images: "Tensor", reference: "Tensor") -> "Tensor":
    """Peak signal-to-noise ratio in dB of (b, 3, h, w) pictures in [-1, 1]: (b,) float64."""
    return 10 * (1 / mse(images, reference).clamp(min=2.5e-13)).log10()


def ssim(images: "Tensor", reference: "Tensor") -> "Tensor":
    """Structural similarity (Wang et al. 2004; 7x7 windows or the largest that fits, as scikit-image): (b,) float64."""
    from torch.nn.functional import avg_pool2d

    side = min(images.shape[2:])
    window = min(7, side - 1 + side % 2)  # odd
    blur = lambda z: avg_pool2d(avg_pool2d(z, (window, 1), 1), (1, window), 1)  # noqa: E731
    return _similarity(images.double(), reference.double(), blur, window**2 / (window**2 - 1), span=2.0)


def gaussian_ssim(images: "Tensor", reference: "Tensor") -> "Tensor":
    """Structural similarity in Gaussian windows of 1.5 pixels' deviation, 11x11, of values in [0, 1]: (b,) float64.

    As torchmetrics' default, and scikit-image's with `gaussian_weights=True` and `use_sample_covariance=False`.
    """
    import torch
    from torch.nn.functional import conv2d

    channels, places = images.shape[1], torch.arange(-5, 6, dtype=torch.float64, device=images.device)
    weights = torch.exp(-(places**2) / (2 * 1.5**2))
    kernel = (weights / weights.sum()).expand(channels, 1, 1, -1)
    blur = lambda z: conv2d(conv2d(z, kernel, groups=channels), kernel.mT, groups=channels)  # noqa: E731
    return _similarity((images.double() + 1) / 2, (reference.double() + 1) / 2, blur, 1.0, span=1.0)


def _similarity(
    x: "Tensor", y: "Tensor", blur: "Callable[[Tensor], Tensor]", unbiased: float, *, span: float
) -> "Tensor":
    """The mean over windows of the index of Wang et al. 2004, for values that lie so far apart at most."""
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mean_x, mean_y, xx, yy, xy = (blur(z) for z in (x, y, x * x, y * y, x * y))
    variances = unbiased * (xx - mean_x**2 + yy - mean_y**2)
    covariance = unbiased * (xy - mean_x * mean_y)
    light = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (light * (2 * covariance + c2) / (variances + c2)).mean(dim=(1, 2, 3))


def lpips(images: "Tensor", reference: "Tensor", net: str = "alex") -> "Tensor":
    """Learned perceptual distance (Zhang et al. 2018) of the `lpips` package's `net`, 0 for equal: (b,) float32."""
    distance: Tensor = lpips_network(net).to(images.device)(images, reference)
    return distance.reshape(-1)


@cache
def lpips_network(net: str) -> Any:
    """The `lpips` package's network on top of `net` (alex, squeeze, vgg), loaded once."""
    return import_module("lpips").LPIPS(net=net, verbose=False).eval()


def latent_statistics(array: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation of each row of (b, c, h, w), float32: a standard Gaussian's are 0 and 1."""
    flat = array.reshape(len(array), -1).astype(np.float64)
    return {"latent_mean": flat.mean(axis=1).astype(np.float32), "latent_std": flat.std(axis=1).astype(np.float32)}


METRICS: Mapping[str, Metric] = {"psnr": psnr, "ssim": ssim, "lpips": lpips}
"""Name in a recipe -> measure of (images, reference), (b, 3, h, w) float32 in [-1, 1] both, on one device."""

PACKAGES = {"lpips": "lpips"}  # metric -> the package it needs beyond NoiseZoo's own

TITLES = {"psnr": "PSNR, dB", "ssim": "SSIM", "lpips": "LPIPS"}


def check_metrics(names: Iterable[str]) -> None:
    """Refuse, before any work, a metric whose package is not there."""
    for name in names:
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            raise UsageError(f"metric {name} needs a package: `pip install {PACKAGES[name]}`, or leave it out")


def is_sampled(image_id: str, seed: int, share: float) -> bool:
    """Whether an image is among the share that is regenerated: by its id alone, so that it is so in every view."""
    return hash_unit(f"reconstruct/{seed}/{image_id}") < share


def measure(
    names: Iterable[str], images: np.ndarray, reference: np.ndarray, device: "torch.device | str" = "cpu"
) -> dict[str, np.ndarray]:
    """The columns of the named `METRICS`, computed on a device: name of the column -> (b,) float32.

    Both are (b, 3, h, w): the regenerated pictures, which are clipped to [-1, 1] first, and the given ones.
    """
    import torch

    a, b = (torch.from_numpy(np.ascontiguousarray(x, np.float32)).to(device) for x in (images, reference))
    with torch.inference_mode():
        found = {PREFIX + name: METRICS[name](a.clamp(-1, 1), b) for name in names}
    return {name: column.cpu().numpy().astype(np.float32) for name, column in found.items()}
