"""Structure in noise: closed forms of its expectations, planted structure found, and nothing found in iid noise."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats

from noisezoo.analysis.controls.structure import STATISTICS, NoiseStructure, noise_structure

Floats = NDArray[np.float64]
SHAPE = (2, 8, 8)
IMAGE, IN_SIZE, SMOOTH = "image R2", "image R2 of |noise|", "log variance, smooth less textured"
MORAN, TOP = "Moran's I, lag 1", "top eigenvalue of patches"


def pictures(n: int, seed: int = 0, side: int = 16) -> Floats:
    """Smooth blobs in the left half, texture in the right: (n, 3, side, side)."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal((n, 3, side, side)), (0, 0, 3, 3))
    texture = rng.standard_normal((n, 3, side, side))
    return np.where(np.arange(side) < side // 2, 3 * blobs, texture)


def noise(n: int, seed: int = 1, shape: tuple[int, int, int] = SHAPE) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, *shape))


def study(Z: Floats, images: Floats, **settings: int) -> NoiseStructure:
    return noise_structure(Z.reshape(len(Z), -1), images, Z.shape[1:], **settings)  # type: ignore[arg-type]


def test_expectations_under_independence_are_the_closed_forms() -> None:
    found = study(noise(400), pictures(400))
    positions = 64
    assert found.row(IMAGE).null == pytest.approx(3 / (positions - 1), rel=0.03)
    assert found.row(MORAN).null == pytest.approx(-1 / (positions - 1), abs=0.002)
    assert found.row(SMOOTH).null == pytest.approx(0, abs=0.03)


def test_r2_and_morans_i_equal_a_plain_computation() -> None:
    Z, images = noise(3), pictures(3, side=8)
    found = {name: study(Z, images).row(name).estimate for name in (IMAGE, MORAN)}
    r2, moran = [], []
    for z, image in zip(Z, images, strict=True):
        design = np.column_stack([np.ones(64), image.reshape(3, -1).T])
        for channel in z:
            v = channel.ravel()
            left = v - design @ np.linalg.lstsq(design, v, rcond=None)[0]
            r2.append(1 - left.var() / v.var())
            off = channel - channel.mean()
            pairs = [off[i, j] * off[k, m] for i in range(8) for j in range(8) for k, m in ((i + 1, j), (i, j + 1))
                     if k < 8 and m < 8]  # fmt: skip
            moran.append(np.mean(pairs) / (off**2).mean())
    assert found[IMAGE] == pytest.approx(np.mean(r2))
    assert found[MORAN] == pytest.approx(np.mean(moran))


def test_less_variance_planted_in_smooth_places_is_found_at_its_size_and_nowhere_in_the_picture_itself() -> None:
    Z = noise(200, seed=2)
    Z[..., :4] *= 0.5  # the smooth half
    row = study(Z, pictures(200)).row(SMOOTH)
    assert row.low < np.log(0.25) < row.high and row.p_value < 1e-6
    assert row.departing_low > 0.7
    assert study(Z, pictures(200)).row(IN_SIZE).p_value < 0.01  # |noise| follows what texture does to the picture
    mirrored = study(Z[..., ::-1].copy(), pictures(200)).row(SMOOTH)
    assert mirrored.estimate == pytest.approx(-row.estimate, abs=0.2)


def test_a_trace_of_the_picture_is_found_at_the_share_it_was_planted_with() -> None:
    images = pictures(300, side=8)
    trace = images[:, :1] - images[:, :1].mean(axis=(2, 3), keepdims=True)
    trace /= trace.std(axis=(2, 3), keepdims=True)
    row = study(np.sqrt(0.9) * noise(300) + np.sqrt(0.1) * trace, images).row(IMAGE)
    assert row.estimate == pytest.approx(0.1 + 0.9 * row.null, abs=0.02)
    assert row.p_value < 1e-6 and row.low > row.null_high


def test_blurred_noise_is_autocorrelated_and_its_patches_have_a_leading_axis() -> None:
    blurred = ndimage.gaussian_filter(noise(100), (0, 0, 0.7, 0.7))
    found = study(blurred, pictures(100))
    for name in (MORAN, TOP):
        assert found.row(name).p_value < 1e-6 and found.row(name).low > found.row(name).null_high
    assert found.row(IMAGE).departing < 0.5


def test_iid_noise_is_rejected_at_the_nominal_rate_and_its_p_values_are_uniform() -> None:
    images = pictures(25)
    shape = (1, 5, 5)
    runs = [study(noise(25, 100 + seed, shape), images, seed=seed) for seed in range(200)]
    for name in STATISTICS:
        p = [run.row(name).p_value for run in runs]
        departing = np.mean([run.row(name).departing for run in runs])
        assert stats.kstest(p, "uniform").pvalue > 1e-3, name
        assert stats.binomtest(sum(value < 0.05 for value in p), 200, 0.05).pvalue > 1e-3, name
        assert abs(departing - 0.05) < 0.015, name  # 5000 rows
        held = [run.row(name).low <= run.row(name).null <= run.row(name).high for run in runs]
        assert np.mean(held) > 0.88, name


def test_scale_shift_and_float16_change_nothing_of_note() -> None:
    Z, images = noise(20), pictures(20)
    first, scaled = study(Z, images), study(7 * Z + 3, images)
    half = study(Z.astype(np.float16), 100 + 5 * images)
    for a, b, c in zip(first.rows, scaled.rows, half.rows, strict=True):
        assert b.estimate == pytest.approx(a.estimate, abs=1e-9)
        assert c.estimate == pytest.approx(a.estimate, abs=5e-3)


def test_grey_pictures_count_as_one_channel_and_flat_ones_explain_nothing() -> None:
    grey = np.repeat(pictures(200)[:, :1], 3, axis=1)
    assert study(noise(200), grey).row(IMAGE).null == pytest.approx(1 / 63, rel=0.1)
    assert study(noise(20), np.ones((20, 3, 16, 16))).row(IMAGE).estimate == 0


def test_a_noise_grid_that_does_not_divide_the_picture_takes_area_means() -> None:
    images = np.zeros((2, 1, 7, 7))
    images[:, :, :, 5:] = 1.0
    found = study(noise(2, shape=(1, 4, 4)), images)
    assert {row.statistic for row in found.rows} == set(STATISTICS) - {"Moran's I, lag 4"}


def test_what_cannot_be_measured_is_refused_by_name() -> None:
    Z, images = noise(5).reshape(5, -1), pictures(5)
    with pytest.raises(ValueError, match="Z has 128 columns, and a row of shape"):
        noise_structure(Z, images, (4, 8, 8))
    with pytest.raises(ValueError, match="images must be"):
        noise_structure(Z, images[:4], SHAPE)
    with pytest.raises(ValueError, match="too small"):
        noise_structure(Z, images, (32, 2, 2))
    with pytest.raises(ValueError, match="cannot reject a row"):
        noise_structure(Z, images, SHAPE, n_null=5)
    lost = Z.astype(np.float16)
    lost[4, 7] = np.nan
    for n_rows in (2, 500):  # whether it was drawn or not
        with pytest.raises(ValueError, match="block of Z holds 1 NaN or infinite values, the first at row 4, column 7"):
            noise_structure(lost, images, SHAPE, n_rows=n_rows)
    Z[3, 64:] = 1.5
    with pytest.raises(ValueError, match="channel 1 of row 3 of Z is constant"):
        noise_structure(Z, images, SHAPE)
