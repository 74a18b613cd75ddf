"""Any picture as the square RGB pixels a model sees."""

import numpy as np
import pytest
from PIL import Image

from noisezoo.builder.pixels import signed, square, to_channels, to_rgb


def ramp(h: int, w: int) -> np.ndarray:
    return np.linspace(0, 255, h * w * 3).reshape(h, w, 3).round().astype(np.uint8)


def test_a_square_picture_of_the_wanted_size_keeps_every_byte() -> None:
    assert np.array_equal(np.asarray(square(Image.fromarray(ramp(16, 16)), 16)), ramp(16, 16))


def test_a_wide_picture_is_cropped_about_its_centre() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert np.asarray(square(Image.fromarray(wide), 10)).min() == 255
    assert np.asarray(square(Image.fromarray(wide.transpose(1, 0, 2)), 10)).min() == 255


def test_signed_pixels_run_from_minus_one_to_one_and_go_back_to_the_bytes() -> None:
    pixels = signed(Image.fromarray(ramp(8, 8)), 8)
    assert (pixels.shape, pixels.dtype, pixels.min(), pixels.max()) == ((3, 8, 8), np.float32, -1, 1)
    assert np.array_equal(np.round((pixels.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8), ramp(8, 8))


def test_shrinking_averages_rather_than_picks() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    assert abs(np.asarray(square(Image.fromarray(board.astype(np.uint8)), 8)).mean() - 127.5) < 3


def test_transparency_lies_over_white() -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert to_rgb(clear).getpixel((0, 0)) == (255, 255, 255)
    assert to_rgb(half).getpixel((0, 0)) == (127, 127, 127)


def test_a_palette_with_a_transparent_entry_lies_over_white() -> None:
    picture = Image.new("P", (2, 2), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    assert to_rgb(picture).getpixel((0, 0)) == (10, 20, 30)
    picture.info["transparency"] = 1
    assert to_rgb(picture).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("top", [65535, 40000, 200])
def test_sixteen_bit_grey_keeps_its_brightness(top: int) -> None:
    wide = np.linspace(0, top, 64).reshape(8, 8).astype(np.uint16)
    found = np.asarray(to_rgb(Image.fromarray(wide)))[..., 0]
    np.testing.assert_allclose(found, wide / 65535 * 255, atol=0.51)


def test_one_channel_of_a_grey_picture_is_its_own_values() -> None:
    grey = ramp(8, 8)[..., 0]
    one = to_channels(signed(Image.fromarray(grey), 8), 1)
    np.testing.assert_allclose(one[0], grey / 127.5 - 1, atol=1e-6)
    three = signed(Image.fromarray(ramp(8, 8)), 8)
    assert to_channels(three, 3) is three
