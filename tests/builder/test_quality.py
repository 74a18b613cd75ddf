"""How well a picture came back, against formulas written out here and against what pictures must obey."""

import sys
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from noisezoo.builder.engine.build import prepare
from noisezoo.builder.views import quality
from noisezoo.builder.views.quality import PREFIX, check_metrics, is_sampled, measure
from noisezoo.errors import UsageError
from tests.builder.building import digits_recipe


def metric(name: str, images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return measure([name], images, reference)[PREFIX + name]


psnr, ssim, lpips = (partial(metric, name) for name in ("psnr", "ssim", "lpips"))


def pictures(n: int = 2, side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, 3, side, side)).astype(np.float32)


def test_psnr_is_the_range_of_two_over_the_error_in_decibels() -> None:
    reference = np.zeros((2, 3, 4, 4), np.float32)
    found = psnr(reference + np.array([0.2, 0.02], np.float32).reshape(2, 1, 1, 1), reference)
    np.testing.assert_allclose(found, [20, 40], atol=1e-4)  # 20 log10(2 / error)
    assert psnr(np.full((1, 3, 4, 4), 9.0), np.ones((1, 3, 4, 4)))[0] > 100, "pictures are clipped to [-1, 1] first"


def test_ssim_is_its_formula_where_one_window_is_the_whole_picture() -> None:
    a, b = pictures(1, 7)[0].astype(np.float64), pictures(2, 7)[1].astype(np.float64)
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    channels = []
    for x, y in zip(a.reshape(3, -1), b.reshape(3, -1), strict=True):
        covariance = np.cov(x, y)  # of the sample, as Wang et al. 2004
        light = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
        structure = (2 * covariance[0, 1] + c2) / (covariance[0, 0] + covariance[1, 1] + c2)
        channels.append(light * structure)
    found = ssim(a[None].astype(np.float32), b[None].astype(np.float32))
    np.testing.assert_allclose(found, [np.mean(channels)], rtol=1e-4)


@pytest.mark.parametrize("side", [3, 8, 32])
def test_ssim_is_scikit_image_s(side: int) -> None:
    images, reference = pictures(4, side)[::-1] * 0.7, pictures(4, side)
    options: dict[str, Any] = {"data_range": 2.0, "channel_axis": 0, "win_size": min(7, side - 1 + side % 2)}
    pairs = zip(images.astype(np.float64), reference.astype(np.float64), strict=True)
    np.testing.assert_allclose(
        ssim(images, reference), [structural_similarity(*p, **options) for p in pairs], rtol=1e-5
    )


@pytest.mark.parametrize("side", [3, 4, 5, 8, 32])
def test_ssim_of_pictures_of_any_side_is_one_for_the_same_and_less_for_another(side: int) -> None:
    reference = pictures(3, side)
    np.testing.assert_allclose(ssim(reference, reference), 1, atol=1e-6)
    np.testing.assert_allclose(ssim(3 * reference, np.clip(3 * reference, -1, 1)), 1, atol=1e-6)  # clipped first
    assert (ssim(reference[::-1].copy(), reference)[[0, 2]] < 0.9).all()
    assert ssim(reference, reference).dtype == np.float32


def fake_lpips(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A module in the place of `lpips`: its distance is the mean absolute difference; what it was made with."""
    made: list[dict[str, Any]] = []

    class LPIPS:
        def __init__(self, **options: Any) -> None:
            made.append(options)

        def eval(self) -> "LPIPS":
            return self

        def to(self, device: Any) -> "LPIPS":
            return self

        def __call__(self, a: Any, b: Any) -> Any:
            return (a - b).abs().mean(dim=(1, 2, 3), keepdim=True)

    module = ModuleType("lpips")
    module.LPIPS = LPIPS  # type: ignore[attr-defined]
    module.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec("lpips", None)
    monkeypatch.setitem(sys.modules, "lpips", module)
    quality.lpips_network.cache_clear()
    return made


def test_lpips_is_its_package_s_network_on_clipped_pictures_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fake_lpips(monkeypatch)
    reference = pictures(2)
    check_metrics(["psnr", "lpips"])
    found = lpips(5 * reference, reference)
    expected = np.abs(np.clip(5 * reference, -1, 1) - reference).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    lpips(reference, reference)
    assert made == [{"net": "alex", "verbose": False}]
    quality.lpips_network.cache_clear()


def test_a_metric_whose_package_is_missing_is_refused_before_any_work(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="metric lpips needs a package: `pip install lpips`"):
        prepare(digits_recipe(settings={"metrics": ["lpips"]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    prepare(digits_recipe(settings={"metrics": ["lpips"], "reconstruct": 0}), tmp_path / "unused")


def test_measures_are_columns_by_name() -> None:
    reference = pictures()
    found = measure(["ssim", "psnr"], reference / 2, reference)
    assert list(found) == ["reconstruction_ssim", "reconstruction_psnr"]
    assert np.array_equal(found["reconstruction_psnr"], psnr(reference / 2, reference))


def test_the_sample_is_the_wanted_share_and_grows_with_it() -> None:
    ids = [f"i{k}" for k in range(20_000)]
    small, large = ({i for i in ids if is_sampled(i, 42, share)} for share in (0.02, 0.2))
    assert abs(len(small) - 400) < 5 * np.sqrt(400)
    assert abs(len(large) - 4000) < 5 * np.sqrt(4000)
    assert small < large, "a larger share keeps a smaller one's rows"
    assert all(is_sampled(i, 42, 1.0) for i in ids) and not any(is_sampled(i, 42, 0.0) for i in ids)
    other = {i for i in ids if is_sampled(i, 43, 0.02)}
    assert len(small & other) < 40
