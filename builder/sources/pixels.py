"""From any picture to the square RGB pixels a model sees; the same pixels reach every view of one resolution."""

import io
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

WHITE = {"I": 65535.0, "F": 1.0}
"""The value that is white, by the first letter of a mode of more than 8 bits: whatever else a picture holds."""
BEYOND = 0.1
"""Share of white by which a value may lie below black or above white: it is clipped, as sharpening leaves such."""


def to_rgb(image: "Image") -> "Image":
    """The picture upright, in sRGB, on white where it is transparent; an animation's first frame.

    EXIF rotation is honoured, a colour profile converted to sRGB, and grey of 16 bits (0 to 65535) or of floats (0 to
    1) scaled to 8 bits.

    Raises:
        ValueError: A picture of floats or of 32 bits is not in that range.
    """
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode[0] in WHITE:
        upright = _eight_bits(upright)
    profile = upright.info.get("icc_profile")
    if upright.has_transparency_data:
        clear = upright.info.get("transparency")
        if isinstance(clear, tuple) and max(clear) > 255:  # Pillow reads a PNG's 16 bits as 8, but not this colour's
            upright.info["transparency"] = tuple(value >> 8 for value in clear)
        layer = upright.convert("RGBA")
        alpha = layer.getchannel("A")
        layer = to_srgb(layer.convert("RGB"), profile)
        layer.putalpha(alpha)
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return to_srgb(upright, profile)


def mirrored(image: "Image") -> "Image":
    """The picture upright, left to right."""
    from PIL import ImageOps

    return ImageOps.mirror(to_rgb(image))


def middle(image: "Image") -> "Image":
    """The picture's middle, 7/8 of each side, at the picture's size."""
    from PIL import Image

    upright = to_rgb(image)
    w, h = upright.size
    return upright.resize((w, h), Image.Resampling.BICUBIC, box=(w / 16, h / 16, w * 15 / 16, h * 15 / 16))


COPIES: "Mapping[str, Callable[[Image], Image]]" = {"flip": mirrored, "crop": middle}
"""A zoo row's `augment` -> the copy that its view sees."""


def _eight_bits(picture: "Image") -> "Image":
    """Grey of more than 8 bits as 8 bits; its transparent value, where it has one, as an alpha channel."""
    from PIL import Image

    values = np.asarray(picture, dtype=np.float64)
    shares = values / WHITE[picture.mode[0]]
    if not np.isfinite(shares).all():
        raise ValueError("the picture holds values that are not finite")
    if shares.size and (shares.min() < -BEYOND or shares.max() > 1 + BEYOND):
        raise ValueError(
            f"the picture holds values from {values.min():g} to {values.max():g}, and black is 0 and white "
            f"{WHITE[picture.mode[0]]:g}: save it in 8 or 16 bits"
        )
    grey = Image.fromarray(np.round(np.clip(shares, 0, 1) * 255).astype(np.uint8))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    grey.info = {name: value for name, value in picture.info.items() if name == "icc_profile"}
    return grey


def to_srgb(picture: "Image", profile: bytes | None) -> "Image":
    """A picture without alpha as sRGB: by its colour profile (ICC), or as Pillow converts its mode.

    A profile that cannot be read, or is of another kind of colours than the picture's, is passed over.
    """
    from PIL import ImageCms

    mode = {"1": "L", "P": "RGB"}.get(picture.mode, picture.mode)
    transform = _transform(profile, mode) if profile else None
    if transform is None:
        return picture.convert("RGB")
    converted = ImageCms.applyTransform(picture.convert(mode), transform)
    assert converted is not None  # as it is not done in place
    return converted


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> Any:
    """Pillow's transform of a mode from a profile to sRGB; None where none is needed or possible."""
    from PIL import ImageCms

    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(own).lower():
            return None
        return ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def square(image: "Image", resolution: int, *, crop: str = "center", resample: str = "bicubic") -> "Image":
    """Any picture as a square of `resolution` pixels a side, RGB; antialiased where it shrinks.

    `crop` is `center` for the largest square in the middle, or `none` to squeeze the whole picture; `resample` is the
    filter as Pillow names it: `bicubic`, `lanczos`, `bilinear` or `box`.
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
