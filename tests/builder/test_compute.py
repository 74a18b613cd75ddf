"""A view's computer: one bad image costs one row, and no row depends on which others there are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from noisezoo.builder.recipe import Settings
from noisezoo.builder.views.computer import FAULT, Batch, Computer, Rows
from noisezoo.builder.views.families import make_computer
from noisezoo.builder.views.quality import latent_statistics
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.zoo import View

VIEW = View("v", "control", "pixels", "", 2, (1, 2, 2), "none", 0.0, "a test's view")


class Recorder(Computer):
    """Gives each picture's first pixel; refuses 13, answers 7 with NaN, 99 with more than float16 holds, 5 by a fault.

    `room` is how many images it can take at once; `failure`, what it raises for more.
    """

    def __init__(self, batch_size: int = 3, room: int = 100, failure: type[Exception] = RuntimeError) -> None:
        super().__init__(VIEW, Settings(batch_size=batch_size))
        self.batches: list[list[str]] = []
        self.room, self.failure = room, failure

    @property
    def quality(self) -> tuple[str, ...]:
        return ("brightness",)

    def prepare(self, image: Image.Image) -> np.ndarray:
        value = np.asarray(image, np.float32)[0, 0]
        if value == 13:
            raise ValueError("13 brings\nbad luck")
        return np.full((1, 2, 2), {7: np.nan, 99: 1e9}.get(int(value), value), np.float32)

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        self.batches.append(list(batch.ids))
        if len(values) > self.room:
            raise self.failure("CUDA out of memory. Tried to allocate\n 2 GiB")
        faults = [None if value != 5 else "5 is right out" for value in values[:, 0, 0, 0]]
        return {"v": values, "brightness": values[:, 0, 0, 0], FAULT: np.array(faults, dtype=object)}


def grey(value: int) -> Image.Image:
    return Image.new("L", (2, 2), value)


def test_what_cannot_be_prepared_or_is_not_finite_is_refused_and_the_rest_goes_on() -> None:
    values: list[int | Exception] = [1, 13, 7, 2, OSError("torn"), 99, 3, 5]
    images = [value if isinstance(value, Exception) else grey(value) for value in values]
    ids = [f"i{k}" for k in range(len(values))]
    kept, rows, refusals = Recorder().rows(ids, images)
    assert kept == ["i0", "i3", "i6"]
    assert list(rows) == ["v", "brightness"]
    assert rows["v"][:, 0, 0, 0].tolist() == rows["brightness"].tolist() == [1, 2, 3]
    assert (rows["v"].dtype, rows["v"].shape) == (np.float16, (3, 1, 2, 2))
    found = {r.image_id: (r.stage, r.error, r.message) for r in refusals}
    assert found == {
        "i1": ("v", "ValueError", "13 brings bad luck"),
        "i2": ("v", "FloatingPointError", "the result is not finite in float16"),
        "i4": ("v", "OSError", "torn"),
        "i5": ("v", "FloatingPointError", "the result is not finite in float16"),
        "i7": ("v", "FloatingPointError", "5 is right out"),
    }
    assert sorted([*kept, *found]) == ids
    assert list(found) == sorted(found), "refusals are in the slice's order"


def test_batches_are_cut_before_anything_is_refused() -> None:
    whole, holed = Recorder(), Recorder()
    ids = [f"i{k}" for k in range(7)]
    values = [1, 2, 3, 4, 6, 8, 9]
    whole.rows(ids, [grey(value) for value in values])
    holed.rows(ids, [grey(13 if k == 1 else value) for k, value in enumerate(values)])
    assert whole.batches == [["i0", "i1", "i2"], ["i3", "i4", "i5"], ["i6"]]
    assert holed.batches == [["i0", "i2"], ["i3", "i4", "i5"], ["i6"]]


def test_a_slice_in_which_everything_is_refused_has_no_rows_of_the_right_shape() -> None:
    kept, rows, refusals = Recorder().rows(["a", "b"], [grey(13), grey(13)])
    assert (kept, len(refusals)) == ([], 2)
    assert (rows["v"].shape, rows["v"].dtype, rows["brightness"].shape) == ((0, 1, 2, 2), np.float16, (0,))


def values_of(made: Computer, n: int) -> list[float]:
    """The rows of n pictures of the values 20, 21, ..."""
    kept, rows, refusals = made.rows([f"i{k}" for k in range(n)], [grey(20 + k) for k in range(n)])
    assert (len(kept), refusals) == (n, [])
    return list(rows["v"][:, 0, 0, 0].tolist())


@pytest.mark.parametrize("failure", [RuntimeError, torch.OutOfMemoryError, MemoryError])
def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_the_run_goes_on(failure: type[Exception]) -> None:
    made = Recorder(batch_size=8, room=3, failure=failure)
    assert values_of(made, 11) == [20.0 + k for k in range(11)]
    assert [len(batch) for batch in made.batches] == [8, 4, 2, 2, 2, 2, 2, 1]
    assert made.stages.sizes["network"] == 2


def test_the_size_that_did_fit_is_remembered_for_later_batches() -> None:
    made = Recorder(batch_size=8, room=4)
    values_of(made, 8)
    made.batches.clear()
    values_of(made, 8)
    assert [len(batch) for batch in made.batches] == [4, 4]


def test_one_image_that_does_not_fit_is_an_error_that_says_what_to_set() -> None:
    message = r"view v: one image does not fit into memory \(network: CUDA out of memory.*\); use --set dtype=bfloat16"
    with pytest.raises(NoiseZooError, match=message) as caught:
        values_of(Recorder(room=0), 5)
    assert "\n" not in str(caught.value)


def test_another_error_of_the_network_is_not_taken_for_a_lack_of_memory() -> None:
    class Broken(Recorder):
        def compute(self, values: np.ndarray, batch: Batch) -> Rows:
            raise RuntimeError("shapes do not match")

    made = Broken()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        values_of(made, 5)
    assert made.stages.sizes["network"] == 3


def test_an_encoding_that_does_not_fit_is_halved_by_itself() -> None:
    class Encoding(Recorder):
        def encode(self, inputs: np.ndarray) -> np.ndarray:
            if len(inputs) > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            return inputs + 1

    made = Encoding(batch_size=8)
    assert values_of(made, 8) == [21.0 + k for k in range(8)]
    assert made.stages.sizes == {"encode": 2, "network": 8}


def test_the_clock_says_what_each_stage_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("noisezoo.builder.views.stages.time.perf_counter", lambda: now)

    class Slow(Recorder):
        def spend(self, seconds: float) -> None:
            nonlocal now
            now += seconds

        def prepare(self, image: Image.Image) -> np.ndarray:
            self.spend(1)
            return super().prepare(image)

        def encode(self, inputs: np.ndarray) -> np.ndarray:
            self.spend(10)
            return inputs

        def compute(self, values: np.ndarray, batch: Batch) -> Rows:
            self.spend(100)
            return super().compute(values, batch)

    made = Slow(batch_size=3)
    values_of(made, 5)
    assert made.stages.take_seconds() == {"read": 5, "encode": 20, "network": 200}
    assert made.stages.take_seconds() == {}


def test_a_model_whose_rows_have_another_shape_than_its_view_says_is_refused() -> None:
    class Wide(Recorder):
        def compute(self, values: np.ndarray, batch: Batch) -> Rows:
            return {"v": np.repeat(values, 2, axis=-1), "brightness": values[:, 0, 0, 0]}

    with pytest.raises(UsageError, match=r"view v: its model gives \(1, 2, 4\), its row says \(1, 2, 2\)"):
        values_of(Wide(), 2)


def test_pictures_left_at_different_sizes_are_refused_with_the_sizes() -> None:
    class Ragged(Recorder):
        def prepare(self, image: Image.Image) -> np.ndarray:
            return np.zeros((1, 2, 2 + np.asarray(image)[0, 0] % 2), np.float32)

    with pytest.raises(UsageError, match=r"view v: .*different sizes \(\(1, 2, 2\), \(1, 2, 3\)\)"):
        values_of(Ragged(), 2)


def test_latent_statistics_are_each_row_s_mean_and_standard_deviation() -> None:
    array = np.stack([np.full((1, 2, 2), 3.0), np.array([[[-1.0, 1.0], [-1.0, 1.0]]])])
    found = latent_statistics(array)
    assert found["latent_mean"].tolist() == [3, 0]
    assert found["latent_std"].tolist() == [0, 1]


def test_an_unknown_family_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="view v: unknown family 'magic'"):
        make_computer(replace(VIEW, family="magic"), Settings())


def test_a_part_of_a_batch_keeps_ids_and_prompts_together() -> None:
    ids: Sequence[str] = ["a", "b", "c"]
    assert Batch(ids, ["x", "y", "z"])[np.array([1, 2])] == Batch(["b", "c"], ["y", "z"])
    assert Batch(ids)[np.array([0])] == Batch(["a"])
