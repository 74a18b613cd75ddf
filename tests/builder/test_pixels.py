"""Any picture as the square RGB pixels a model sees."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.sources.pixels import signed, square, to_channels, to_rgb
from noisezoo.builder.sources.source import open_source
from tests.builder.building import recipe_of


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


COLOUR = (200, 60, 20)


def plain(mode: str) -> Image.Image:
    """A picture of one colour in another mode."""
    return Image.new("RGB", (6, 4), COLOUR).convert(mode, palette=Image.Palette.ADAPTIVE)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "YCbCr", "CMYK", "HSV", "P"])
def test_colour_of_any_mode_is_that_colour(mode: str) -> None:
    found = np.asarray(to_rgb(plain(mode)), dtype=int)
    assert found.shape == (4, 6, 3)
    assert abs(found - COLOUR).max() <= 3


@pytest.mark.parametrize("mode", ["L", "LA", "1", "PA"])
def test_grey_of_any_mode_is_grey(mode: str) -> None:
    white = Image.new("L", (6, 4), 255).convert("LA").convert(mode) if mode != "1" else Image.new("1", (6, 4), 1)
    assert np.array_equal(np.asarray(to_rgb(white)), np.full((4, 6, 3), 255))


def test_grey_with_transparency_lies_over_white() -> None:
    assert to_rgb(Image.new("LA", (2, 2), (0, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert to_rgb(Image.new("LA", (2, 2), (0, 255))).getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.25, 1], [0, 64, 255]), ([0, 0.5, 1.0001], [0, 128, 255]), ([-0.05, 0.5, 1.09], [0, 128, 255]),
     ([0, 0.001, 0.002], [0, 0, 1]), ([1, 1, 1], [255, 255, 255])],
)  # fmt: skip
def test_floats_run_from_black_at_0_to_white_at_1_whatever_else_the_picture_holds(
    values: list[float], expected: list[int]
) -> None:
    picture = Image.fromarray(np.array([values], dtype=np.float32))
    assert picture.mode == "F"
    assert np.asarray(to_rgb(picture))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("values", [[0, 100, 255], [0, 32768, 65535], [-1, 0.5, 1], [0, 1.2]])
def test_floats_of_another_range_are_refused_with_their_range(values: list[float]) -> None:
    with pytest.raises(ValueError, match=f"values from {min(values):g} to {max(values):g}, and black is 0 and white 1"):
        to_rgb(Image.fromarray(np.array([values], dtype=np.float32)))


@pytest.mark.parametrize(("values", "expected"), [
    ([0, 1], [0, 0]), ([0, 257], [0, 1]), ([0, 255, 256], [0, 1, 1]), ([0, 40000, 65535], [0, 156, 255])
])  # fmt: skip
def test_whole_numbers_run_to_65535_whatever_else_the_picture_holds(values: list[int], expected: list[int]) -> None:
    dark = Image.fromarray(np.array([values], dtype=np.int32))
    assert dark.mode == "I"
    assert np.asarray(to_rgb(dark))[0, :, 0].tolist() == expected


def test_whole_numbers_beyond_16_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="values from 0 to 100000"):
        to_rgb(Image.fromarray(np.array([[0, 100_000]], dtype=np.int32)))


def png16(pixels: np.ndarray, clear: tuple[int, ...]) -> Image.Image:
    """A PNG of 16 bits, (h, w) or (h, w, 3), with a transparent value or colour."""
    import io
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = 2 if pixels.ndim == 3 else 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    file = b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return Image.open(io.BytesIO(file))


def test_the_transparent_value_of_16_bit_grey_lies_over_white() -> None:
    found = to_rgb(png16(np.array([[0, 1000, 1001, 65535]]), (1000,)))
    assert np.asarray(found)[0, :, 0].tolist() == [0, 255, 4, 255]


def test_the_transparent_colour_of_16_bit_colour_lies_over_white() -> None:
    found = to_rgb(png16(np.array([[[1000, 2000, 3000], [65535, 0, 0]]]), (1000, 2000, 3000)))
    assert np.asarray(found)[0].tolist() == [[255, 255, 255], [255, 0, 0]]


def icc(space: str, gamma: float, red: tuple[float, float] = (0.64, 0.33)) -> bytes:
    """A small ICC profile (version 2): grey of a gamma, or linear-light colour of chosen primaries, D50 white."""
    import struct

    def s15(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"mine\0" + bytes(78 + 3)
    white = b"XYZ \0\0\0\0" + s15(0.9642, 1.0, 0.8249)
    tags = {b"desc": text, b"wtpt": white, b"cprt": b"text\0\0\0\0mine\0\0\0\0"}
    if space == "GRAY":
        tags[b"kTRC"] = curve
    else:  # swapped primaries: what is stored as red is green, and the other way round
        columns = {
            b"rXYZ": (0.3851, 0.7169, 0.0971),
            b"gXYZ": (0.4361, 0.2225, 0.0139),
            b"bXYZ": (0.1431, 0.0606, 0.7141),
        }
        tags |= {name: b"XYZ \0\0\0\0" + s15(*xyz) for name, xyz in columns.items()}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    offset, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", offset + len(data), len(value))
        data += value
    header = struct.pack(
        ">I4sI4s4s4s", offset + len(data), b"lcms", 0x02400000, b"mntr", space.ljust(4).encode(), b"XYZ "
    )
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + s15(0.9642, 1.0, 0.8249) + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + data


def srgb(linear: float) -> float:
    """The sRGB value, 0 to 255, of light from 0 to 1 (IEC 61966-2-1)."""
    return 255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_a_colour_profile_is_converted_to_srgb(suffix: str, tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 16), (255, 0, 0))
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    picture.save(tmp_path / f"a.{suffix}", icc_profile=icc("RGB", 1.0), **options)
    found = np.asarray(to_rgb(Image.open(tmp_path / f"a.{suffix}")), dtype=int)
    assert abs(found[8, 8] - (0, 255, 0)).max() <= 4, "the profile says that what is stored as red is green"


@pytest.mark.parametrize("level", [0, 30, 128, 255])
def test_a_grey_profile_of_linear_light_becomes_the_grey_of_srgb(level: int, tmp_path: Path) -> None:
    Image.new("L", (4, 4), level).save(tmp_path / "a.png", icc_profile=icc("GRAY", 1.0))
    found = np.asarray(to_rgb(Image.open(tmp_path / "a.png")), dtype=float)
    np.testing.assert_allclose(found, srgb(level / 255), atol=1.5)


def test_a_profile_beside_transparency_changes_the_colours_and_keeps_the_alpha(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    picture.putpixel((1, 0), (255, 0, 0, 0))
    picture.save(tmp_path / "a.png", icc_profile=icc("RGB", 1.0))
    found = np.asarray(to_rgb(Image.open(tmp_path / "a.png")), dtype=int)[0]
    assert abs(found - [(0, 255, 0), (255, 255, 255)]).max() <= 4


@pytest.mark.parametrize("profile", [b"no profile", icc("GRAY", 1.0)])
def test_a_profile_that_cannot_be_read_or_is_of_other_colours_changes_nothing(profile: bytes, tmp_path: Path) -> None:
    Image.fromarray(ramp(8, 8)).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(np.asarray(to_rgb(Image.open(tmp_path / "a.png"))), ramp(8, 8))


def test_a_profile_that_is_srgb_changes_no_byte(tmp_path: Path) -> None:
    from PIL import ImageCms

    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(ramp(8, 8)).save(tmp_path / "a.png", icc_profile=own)
    assert np.array_equal(np.asarray(to_rgb(Image.open(tmp_path / "a.png"))), ramp(8, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="values that are not finite"):
        to_rgb(Image.fromarray(np.array([[0, value]], dtype=np.float32)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_exif_says_is_turned_stands_upright(orientation: int, tmp_path: Path) -> None:
    upright = ramp(8, 6)
    turned = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
              6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1)}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turned[orientation])).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(to_rgb(Image.open(tmp_path / "a.png"))), upright)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_is_its_first_frame(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    animation = Image.open(tmp_path / f"a.{suffix}")
    assert getattr(animation, "n_frames", 1) == 3
    assert np.asarray(square(animation, 16)).reshape(-1, 3).max(axis=0).tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_a_picture_of_any_size_fills_the_square(size: tuple[int, int]) -> None:
    found = signed(Image.new("RGB", size, COLOUR), 32)
    assert found.shape == (3, 32, 32)
    assert np.allclose(found, (np.array(COLOUR) / 127.5 - 1).reshape(3, 1, 1), atol=1e-5)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_a_hundred_megapixels_is_read(tmp_path: Path) -> None:
    large = Image.new("L", (12_500, 8_000))
    large.paste(255, (6_250, 0, 12_500, 8_000))
    large.save(tmp_path / "large.png")
    source = open_source(f"imagefolder:{tmp_path}")
    found = signed(source.picture("large.png"), 8)
    assert np.allclose(found[:, :, :3], -1) and np.allclose(found[:, :, 5:], 1)


def test_bad_files_cost_their_rows_and_every_other_kind_of_picture_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for mode in ("L", "LA", "P", "RGB", "RGBA", "1"):
        plain(mode).save(photos / f"{mode}.png")
    plain("CMYK").save(photos / "cmyk.jpg")
    Image.fromarray(ramp(9, 9)[..., 0].astype(np.uint16) * 257).save(photos / "deep.png")
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(photos / "float.tiff")
    Image.new("RGB", (1, 1)).save(photos / "dot.png")
    Image.new("L", (90, 90)).save(photos / "bomb.png")
    (photos / "text.png").write_text("not a picture")
    (photos / "torn.png").write_bytes((photos / "deep.png").read_bytes()[:-40])
    (photos / "empty.png").write_bytes(b"")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # a bomb has more than twice as many
    out = tmp_path / "noisezoo"
    views = ("pixels-8", "random-64")
    assert run(recipe_of(f"imagefolder:{photos}", views, limit=None, pca_dims=64, settings={"readers": 3}), out)
    refusals = [json.loads(line) for line in (out / "refusals.jsonl").read_text().splitlines()]
    reasons = {refusal["image_id"]: refusal["error"] for refusal in refusals if refusal["stage"] != "random-64"}
    assert reasons == {"bomb.png": "DecompressionBombError", "text.png": "UnidentifiedImageError",
                       "torn.png": "OSError", "empty.png": "UnidentifiedImageError"}  # fmt: skip
    rows = noisezoo.load(out, views=["pixels-8"])
    assert sorted([*rows["image_id"], *reasons]) == sorted(path.name for path in photos.iterdir())
    assert "14 images in = 10 rows out + 4 refused" in (out / "README.md").read_text()


def test_a_picture_is_cut_to_its_middle_or_squeezed_whole_as_the_recipe_says() -> None:
    flag = np.zeros((8, 24, 3), np.uint8)
    flag[:, 8:16] = 255  # a white middle between black sides
    assert np.asarray(square(Image.fromarray(flag), 8)).min() == 255
    squeezed = np.asarray(square(Image.fromarray(flag), 6, crop="none", resample="box"))
    assert squeezed[0, :, 0].tolist() == [0, 0, 255, 255, 0, 0]


@pytest.mark.parametrize("resample", ["bicubic", "lanczos", "bilinear", "box"])
def test_a_picture_is_resized_by_the_named_filter_of_pillow(resample: str) -> None:
    picture = Image.fromarray(ramp(16, 16))
    expected = picture.resize((7, 7), Image.Resampling[resample.upper()])
    assert np.array_equal(np.asarray(square(picture, 7, resample=resample)), np.asarray(expected))
