"""Controls against their closed forms."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from noisezoo import zoo
from noisezoo.builder.engine.build import prepare
from noisezoo.builder.engine.log import Log
from noisezoo.builder.engine.worker import load_computer
from noisezoo.builder.recipe import Settings
from noisezoo.builder.sources.pixels import signed
from noisezoo.builder.views import controls
from noisezoo.builder.views.computer import Computer
from noisezoo.builder.views.controls import RIDGE, whitening
from noisezoo.builder.views.families import make_computer
from noisezoo.errors import NoiseZooError
from tests.builder.building import digits_recipe


def computer(name: str, batch_size: int = 64, seed: int = 42) -> Computer:
    return make_computer(zoo.get(name), Settings(batch_size=batch_size, seed=seed))


def pictures(n: int, size: int = 8) -> list[Image.Image]:
    """Smooth pictures: neighbouring pixels correlate."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(n, size, size)).cumsum(axis=1).cumsum(axis=2)
    scaled = 128 + 127 * noise / np.abs(noise).max()
    return [Image.fromarray(picture.astype(np.uint8)) for picture in scaled]


def rows_of(made: Computer, images: list[Image.Image]) -> np.ndarray:
    kept, rows, _ = made.rows([f"i{k}" for k in range(len(images))], images)
    assert len(kept) == len(images)
    return rows[made.view.name].reshape(len(images), -1).astype(np.float64)


@pytest.mark.parametrize("n", [300, 40])
def test_whitening_leaves_the_ridge_shrunk_identity_as_covariance(n: int) -> None:
    images = pictures(n)
    made = computer("pixels-8-whitened")
    made.fitted = made.fit(images)
    X = np.stack([signed(image, 8)[0].reshape(-1) for image in images]).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(X.T))
    values = np.maximum(values, 0)
    ridge = RIDGE * values.mean()
    expected = vectors * (values / (values + ridge)) @ vectors.T
    white = rows_of(made, images)
    np.testing.assert_allclose(np.cov(white.T), expected, atol=0.01)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=0.01)
    assert abs(np.corrcoef(X.T)).mean() > 0.2, "the pictures must be correlated for this to mean anything"


def test_whitening_is_zca_on_pictures_it_was_not_fitted_on() -> None:
    images = pictures(60)
    made = computer("pixels-8-whitened")
    made.fitted = made.fit(images[:40])
    X = np.stack([signed(image, 8)[0].reshape(-1) for image in images]).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(X[:40].T))
    gains = (np.maximum(values, 0) + RIDGE * np.maximum(values, 0).mean()) ** -0.5
    expected = (X[40:] - X[:40].mean(axis=0)) @ (vectors * gains) @ vectors.T
    np.testing.assert_allclose(rows_of(made, images[40:]), expected, rtol=5e-3, atol=5e-3)


def test_whitening_does_not_depend_on_the_pictures_scale() -> None:
    X = np.random.default_rng(1).normal(size=(50, 6)) @ np.diag([3, 2, 1, 1, 0.5, 0.1])
    one, ten = whitening(X), whitening(10 * X)
    np.testing.assert_allclose(one["gains"], 10 * ten["gains"], rtol=1e-5)
    np.testing.assert_allclose(one["floor"], 10 * ten["floor"], rtol=1e-5)


def test_a_fit_is_made_by_one_process_while_others_wait_and_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = prepare(digits_recipe(("pixels-8-whitened",), limit=16), tmp_path / "out")
    unit, log, fits = build.units(build.views[0])[0], Log(build.state / "logs"), []
    fit, begun = controls.WhitenedComputer.fit, threading.Event()

    def slow(self: Any, images: Any) -> dict[str, np.ndarray]:
        fits.append(begun.set())
        time.sleep(0.2)  # so that the second comes while the first one fits
        return fit(self, images)

    monkeypatch.setattr(controls.WhitenedComputer, "fit", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(load_computer, build, build.source, unit, log)
        assert begun.wait(60)
        second = pool.submit(load_computer, build, build.source, unit, log)
        one, other = first.result(60).fitted, second.result(60).fitted
    assert len(fits) == 1
    assert one and all(np.array_equal(one[name], other[name]) for name in one)


def test_pictures_that_are_all_alike_cannot_be_whitened() -> None:
    with pytest.raises(NoiseZooError, match="alike"):
        whitening(np.ones((5, 3)))
    with pytest.raises(NoiseZooError, match="alike"):
        whitening(np.ones((1, 3)))


def test_pixels_are_the_picture_and_go_back_to_its_bytes() -> None:
    rng = np.random.default_rng(0)
    bytes_ = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    row = rows_of(computer("pixels"), [Image.fromarray(bytes_)])[0].reshape(3, 32, 32)
    assert np.array_equal(np.round((row.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8), bytes_)


def test_random_rows_are_standard_normal_and_independent() -> None:
    rows = rows_of(computer("random-64"), pictures(400))
    assert stats.kstest(rows.ravel(), "norm").pvalue > 1e-3
    correlations = np.corrcoef(rows)[np.triu_indices(400, 1)]
    assert abs(correlations).max() < stats.norm.isf(0.01 / 2 / len(correlations)) / 8 * 1.1


def test_a_random_row_follows_the_image_id_alone() -> None:
    images = pictures(6)
    made = computer("random-64")
    _, together, _ = made.rows(list("abcdef"), images)
    _, few, _ = computer("random-64", batch_size=1).rows(["e", "b"], [images[0], images[5]])
    assert np.array_equal(few["random-64"], together["random-64"][[4, 1]])


def test_a_random_row_changes_with_the_seed_and_the_view() -> None:
    image = pictures(1)
    rows = [rows_of(computer("random-64", seed=seed), image) for seed in (42, 43)]
    assert abs(np.corrcoef(rows[0], rows[1])[0, 1]) < 0.5
    assert not np.allclose(rows_of(computer("random"), image)[0, :64], rows[0][0])
