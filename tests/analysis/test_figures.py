import io
import re
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from noisezoo.analysis.figures import charts as figures
from noisezoo.analysis.figures.drawing import COLOURS


def test_an_interval_is_drawn_to_scale_about_zero() -> None:
    dot = figures.Dot("a", "b", 2.0, -1.0, 4.0, COLOURS["noise"])
    svg = figures.intervals("x", "x", [dot], ends=("low", "high"), span=(-3, 6))
    lines = re.findall(r'd="M ([\d.]+) [\d.]+\s+L ([\d.]+) [\d.]+\s*"[^>]*stroke: var\(--(noise|muted)\)', svg)
    ends = {colour: (float(a), float(b)) for a, b, colour in lines}
    zero = ends["muted"][0]
    left, right = ends["noise"]
    assert left < zero < right and (right - zero) / (zero - left) == pytest.approx(4.0, rel=1e-3)


def test_a_tiled_picture_keeps_its_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4)) / 127.5 - 1
    picture = figures.tile(images, 3, side=8)
    sheet = np.asarray(Image.open(io.BytesIO(b64decode(picture.uri.partition(",")[2]))))
    assert sheet.shape == (4 + 1 + 4, 3 * 4 + 2, 4) and (picture.width, picture.height) == (28, 18)
    expected = np.rint((images[4] + 1) * 127.5).transpose(1, 2, 0)  # second row, second column
    np.testing.assert_array_equal(sheet[5:9, 5:9, :3], expected)
    assert (sheet[5:9, 5:9, 3] == 255).all() and not sheet[4, :, 3].any() and not sheet[5:, 10:, 3].any()


def test_a_large_picture_is_averaged_down() -> None:
    grey = np.tile(np.array([[-1.0, 1.0]]), (200, 100))[None, None]  # (1, 1, 200, 200), black and white columns
    sheet = np.asarray(Image.open(io.BytesIO(b64decode(figures.tile(grey, 1, side=64).uri.partition(",")[2]))))
    assert max(sheet.shape[:2]) <= figures.LARGEST_SIDE and abs(sheet[..., 0].astype(int).mean() - 127.5) < 1
