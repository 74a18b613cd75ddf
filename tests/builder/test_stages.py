"""Batches on an accelerator: one shape, each picture in its place; what a library says where memory is short."""

from collections.abc import Sequence

import numpy as np
import pytest

from noisezoo.builder.views.stages import LIBRARY_FAULTS, Stages, is_shortage
from noisezoo.errors import NoiseZooError


class Device:
    """A device that keeps what it is given, holds so many images at once, and says what it is told where it does not.

    Its numbers depend on the place of a row in its batch, as an accelerator's may.
    """

    def __init__(self, room: int = 100, message: str = "CUDA out of memory") -> None:
        self.room, self.message = room, message
        self.batches: list[list[int]] = []

    def __call__(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(pictures.tolist())
        if len(pictures) > self.room:
            raise RuntimeError(self.message)
        return {"picture": pictures, "place": np.arange(len(pictures)) + len(pictures) * 1000}

    @property
    def shapes(self) -> set[int]:
        return {len(batch) for batch in self.batches}


def rows(stages: Stages, device: Device, places: Sequence[int]) -> dict[int, int]:
    """Picture -> the number that the device gave it."""
    found = stages.run("network", device, np.array(places))
    return {int(p): int(n) for part in found for p, n in zip(part["picture"], part["place"], strict=True)}


def filled(size: int) -> Stages:
    stages = Stages("v", size)
    stages.filled = True
    return stages


@pytest.mark.parametrize("n", [1, 4, 7, 8, 9, 64])
def test_all_batches_have_one_shape_and_every_picture_comes_out_once(n: int) -> None:
    device = Device()
    assert sorted(rows(filled(8), device, range(n))) == list(range(n))
    assert device.shapes == {8}


def test_no_row_s_number_depends_on_whether_others_are_refused() -> None:
    whole = rows(filled(8), Device(), range(20))
    for refused in ({0}, {3, 4}, set(range(8)), {19}, {0, 9, 18}):
        index = [i for i in range(20) if i not in refused]
        places = [index.index(i) if i in index else -1 for i in range(20)]
        found = rows(filled(8), Device(), places)
        assert {index[p]: number for p, number in found.items()} == {i: whole[i] for i in index}


def test_a_batch_of_which_all_pictures_are_refused_is_not_computed() -> None:
    device = Device()
    assert rows(filled(4), device, [-1] * 4 + [0, -1, -1, 1]).keys() == {0, 1}
    assert len(device.batches) == 1
    assert Stages("v", 4).run("network", device, np.array([-1, -1])) == []


def test_after_a_shortage_there_is_one_smaller_shape_and_the_event_is_kept() -> None:
    stages, device = filled(32), Device(room=9)
    assert sorted(rows(stages, device, range(70))) == list(range(70))
    assert [len(batch) for batch in device.batches] == [32, 16, *[8] * 9]
    found = stages.take_shortages()
    assert [(each.stage, each.tried, each.then) for each in found] == [("network", 32, 16), ("network", 16, 8)]
    assert stages.take_shortages() == []


@pytest.mark.parametrize("fault", [fault.upper() for fault in LIBRARY_FAULTS])
def test_a_library_s_allocation_fault_halves_a_batch(fault: str) -> None:
    stages, device = Stages("v", 8), Device(room=3, message=f"CUDA error: {fault} when calling `cublasCreate(handle)`")
    assert sorted(rows(stages, device, range(8))) == list(range(8))
    assert stages.sizes["network"] == 2


def test_a_library_s_fault_with_one_image_alone_is_what_it_says() -> None:
    message = "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"
    with pytest.raises(RuntimeError, match=message):
        rows(filled(8), Device(room=0, message=message), range(8))
    with pytest.raises(NoiseZooError, match="one image does not fit"):
        rows(filled(8), Device(room=0), range(8))


def test_other_errors_are_no_shortage_whatever_the_batch() -> None:
    for text in ("shapes do not match", "CUDA error: device-side assert triggered", "cudnn_status_bad_param"):
        assert not is_shortage(RuntimeError(text), 64)


def test_on_a_cpu_a_batch_holds_its_pictures_alone() -> None:
    device = Device()
    assert sorted(rows(Stages("v", 4), device, [0, -1, 1, 2, 3, 4])) == [0, 1, 2, 3, 4]
    assert device.batches == [[0, 1, 2, 3], [4]]
