"""From any picture to the square RGB pixels a model sees; the same pixels reach every view of one resolution."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


def to_rgb(image: "Image") -> "Image":
    """Honour EXIF rotation, scale 16 bits down to 8, lay transparency over white; an animation's first frame."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    deep = upright.mode.startswith("I;16")
    if deep or upright.mode in ("I", "F"):  # of these two, the depth must be told from the values
        wide = np.asarray(upright, dtype=np.float64)
        depth = 65535.0 if deep or wide.max(initial=0) > 255 else 255.0
        upright = Image.fromarray(np.round(np.clip(wide / depth, 0, 1) * 255).astype(np.uint8))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return upright.convert("RGB")


def square(image: "Image", resolution: int) -> "Image":
    """Centre crop to a square, then bicubic resize (antialiased when it shrinks): `resolution` pixels a side, RGB."""
    from PIL import Image

    picture = to_rgb(image)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    if side == resolution:
        return picture.crop(box)
    return picture.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box)


def signed(image: "Image", resolution: int) -> np.ndarray:
    """The picture a diffusion model sees: (3, resolution, resolution) float32 in [-1, 1]."""
    pixels = np.asarray(square(image, resolution), dtype=np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / np.float32(127.5) - np.float32(1)


def to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """(..., 3, h, w) as `channels` channels: unchanged, or their mean as one (a grey picture's own values)."""
    return pixels if pixels.shape[-3] == channels else pixels.mean(axis=-3, keepdims=True, dtype=np.float32)
