"""From any picture to the square RGB pixels a model sees; the same pixels reach every view of one resolution."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


def to_rgb(image: "Image") -> "Image":
    """Honour EXIF rotation, scale 16 bits down to 8, lay transparency over white; an animation's first frame."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        wide = np.asarray(upright, dtype=np.float64)
        if not np.isfinite(wide).all():
            raise ValueError("the picture holds values that are not finite")
        white = _white(upright.mode, float(wide.max(initial=0)))
        upright = Image.fromarray(np.round(np.clip(wide / white, 0, 1) * 255).astype(np.uint8))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return upright.convert("RGB")


def _white(mode: str, top: float) -> float:
    """The value that is white in grey of more than 8 bits; told from the values where the mode does not say."""
    if mode.startswith("I;16") or top > 255:
        return 65535.0
    return 1.0 if mode == "F" and top <= 1 else 255.0


def square(image: "Image", resolution: int, *, crop: str = "center", resample: str = "bicubic") -> "Image":
    """A square of `resolution` pixels a side, RGB; antialiased where it shrinks.

    Args:
        image: Any picture.
        resolution: Pixels a side.
        crop: `center` takes the largest square in the middle, `none` squeezes the whole picture.
        resample: The filter, as Pillow names it: `bicubic`, `lanczos`, `bilinear` or `box`.
    """
    from PIL import Image

    picture = to_rgb(image)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side) if crop == "center" else (0, 0, *picture.size)
    if (box[2] - box[0], box[3] - box[1]) == (resolution, resolution):
        return picture.crop(box)
    return picture.resize((resolution, resolution), Image.Resampling[resample.upper()], box=box)


def signed(image: "Image", resolution: int, *, crop: str = "center", resample: str = "bicubic") -> np.ndarray:
    """The picture a diffusion model sees: (3, resolution, resolution) float32 in [-1, 1]."""
    pixels = np.asarray(square(image, resolution, crop=crop, resample=resample), dtype=np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / np.float32(127.5) - np.float32(1)


def to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """(..., 3, h, w) as `channels` channels: unchanged, or their mean as one (a grey picture's own values)."""
    return pixels if pixels.shape[-3] == channels else pixels.mean(axis=-3, keepdims=True, dtype=np.float32)
