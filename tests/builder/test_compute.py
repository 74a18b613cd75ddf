"""A view's computer: one bad image costs one row, and no row depends on which others there are."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from noisezoo.builder.compute import make_computer
from noisezoo.builder.compute.base import Computer, Rows
from noisezoo.builder.compute.models import latent_statistics, psnr
from noisezoo.builder.recipe import Settings
from noisezoo.errors import UsageError
from noisezoo.zoo import View

VIEW = View("v", "control", "pixels", "", 2, (1, 2, 2), "none", 0.0, "a test's view")


class Recorder(Computer):
    """Gives each picture's first pixel; refuses 13, answers 7 with NaN and 99 with more than float16 holds."""

    def __init__(self) -> None:
        super().__init__(VIEW, Settings(batch_size=3))
        self.batches: list[list[str]] = []

    @property
    def quality(self) -> tuple[str, ...]:
        return ("brightness",)

    def prepare(self, image: Image.Image) -> np.ndarray:
        value = np.asarray(image, np.float32)[0, 0]
        if value == 13:
            raise ValueError("13 brings\nbad luck")
        return np.full((1, 2, 2), {7: np.nan, 99: 1e9}.get(int(value), value), np.float32)

    def compute(self, inputs: np.ndarray, ids: Sequence[str]) -> Rows:
        self.batches.append(list(ids))
        return {"v": inputs, "brightness": inputs[:, 0, 0, 0]}


def grey(value: int) -> Image.Image:
    return Image.new("L", (2, 2), value)


def test_what_cannot_be_prepared_or_is_not_finite_is_refused_and_the_rest_goes_on() -> None:
    values: list[int | Exception] = [1, 13, 7, 2, OSError("torn"), 99, 3]
    images = [value if isinstance(value, Exception) else grey(value) for value in values]
    ids = [f"i{k}" for k in range(len(values))]
    kept, rows, refusals = Recorder().rows(ids, images)
    assert kept == ["i0", "i3", "i6"]
    assert rows["v"][:, 0, 0, 0].tolist() == rows["brightness"].tolist() == [1, 2, 3]
    assert (rows["v"].dtype, rows["v"].shape) == (np.float16, (3, 1, 2, 2))
    found = {r.image_id: (r.stage, r.error, r.message) for r in refusals}
    assert found == {
        "i1": ("v", "ValueError", "13 brings bad luck"),
        "i2": ("v", "FloatingPointError", "the result is not finite in float16"),
        "i4": ("v", "OSError", "torn"),
        "i5": ("v", "FloatingPointError", "the result is not finite in float16"),
    }
    assert sorted([*kept, *found]) == ids


def test_batches_are_cut_before_anything_is_refused() -> None:
    whole, holed = Recorder(), Recorder()
    ids = [f"i{k}" for k in range(7)]
    whole.rows(ids, [grey(k + 1) for k in range(7)])
    holed.rows(ids, [grey(13 if k == 1 else k + 1) for k in range(7)])
    assert whole.batches == [["i0", "i1", "i2"], ["i3", "i4", "i5"], ["i6"]]
    assert holed.batches == [["i0", "i2"], ["i3", "i4", "i5"], ["i6"]]


def test_a_slice_in_which_everything_is_refused_has_no_rows_of_the_right_shape() -> None:
    kept, rows, refusals = Recorder().rows(["a", "b"], [grey(13), grey(13)])
    assert (kept, len(refusals)) == ([], 2)
    assert (rows["v"].shape, rows["v"].dtype, rows["brightness"].shape) == ((0, 1, 2, 2), np.float16, (0,))


def test_progress_is_shown_after_every_batch() -> None:
    signs: list[int] = []
    Recorder().rows([f"i{k}" for k in range(7)], [grey(1)] * 7, progress=lambda: signs.append(1))
    assert len(signs) == 3


def test_latent_statistics_are_each_row_s_mean_and_standard_deviation() -> None:
    array = np.stack([np.full((1, 2, 2), 3.0), np.array([[[-1.0, 1.0], [-1.0, 1.0]]])])
    found = latent_statistics(array)
    assert found["latent_mean"].tolist() == [3, 0]
    assert found["latent_std"].tolist() == [0, 1]


def test_psnr_is_the_range_of_two_over_the_error_in_decibels() -> None:
    reference = np.zeros((2, 3, 4, 4), np.float32)
    found = psnr(reference + np.array([0.2, 0.02], np.float32).reshape(2, 1, 1, 1), reference)
    np.testing.assert_allclose(found, [20, 40], atol=1e-4)  # 20 log10(2 / error)
    assert psnr(np.full((1, 3, 4, 4), 9.0), np.ones((1, 3, 4, 4)))[0] > 100, "pictures are clipped to [-1, 1] first"


def test_an_unknown_family_is_refused_by_name() -> None:
    from dataclasses import replace

    with pytest.raises(UsageError, match="view v: unknown family 'magic'"):
        make_computer(replace(VIEW, family="magic"), Settings())
