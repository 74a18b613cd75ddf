"""Pictures that an analysis makes and judges obey the guard of memory: a batch that does not fit is halved."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from noisezoo.builder import models, views
from noisezoo.commands.analyze import make_judge, make_model
from noisezoo.errors import NoiseZooError


class Small:
    """A device with room for three pictures at a time."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def take(self, count: int) -> None:
        self.sizes.append(count)
        if count > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    def generate(self, noise: torch.Tensor) -> torch.Tensor:
        self.take(len(noise))
        return noise + 1

    def embed(self, pictures: list[Any]) -> np.ndarray:
        self.take(len(pictures))
        return np.array([[np.asarray(picture).mean()] for picture in pictures])


def test_pictures_of_an_edit_are_made_in_batches_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    device, noise = Small(), np.random.default_rng(0).normal(size=(11, 3 * 32 * 32)).astype(np.float32)
    monkeypatch.setattr(views, "make_inverter", lambda *_: device)
    made = make_model("faces-ddpm", {}).generate(noise)
    np.testing.assert_array_equal(made.reshape(11, -1), noise + 1)
    assert device.sizes[0] > 3 and device.sizes[-1] <= 3


def test_pictures_are_judged_in_batches_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    device, levels = Small(), np.linspace(-1, 1, 11)
    monkeypatch.setattr(models, "Encoder", SimpleNamespace(from_pretrained=lambda *_, **__: device))
    found = make_judge("faces-clip").embed(np.broadcast_to(levels[:, None, None, None], (11, 3, 8, 8)))
    np.testing.assert_allclose(found[:, 0], np.round((levels + 1) * 127.5))
    assert device.sizes[0] > 3 and device.sizes[-1] <= 3


def test_a_model_or_a_judge_that_does_not_fit_is_loaded_once_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []

    def load(*given: object, **_: object) -> None:
        loads.append(given)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nand more")

    monkeypatch.setattr(views, "make_inverter", load)
    monkeypatch.setattr(models, "Encoder", SimpleNamespace(from_pretrained=load))
    fault = "^view {}: its model does not fit into the memory of cpu"
    with pytest.raises(NoiseZooError, match=fault.format("faces-ddpm")):
        make_model("faces-ddpm", {}).generate(np.zeros((11, 3 * 32 * 32), np.float32))
    with pytest.raises(NoiseZooError, match=fault.format("faces-clip")):
        make_judge("faces-clip").embed(np.zeros((11, 3, 8, 8)))
    assert len(loads) == 2


def test_a_fault_of_loading_that_is_not_of_memory_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise RuntimeError("a layer is missing")

    monkeypatch.setattr(views, "make_inverter", load)
    with pytest.raises(RuntimeError, match="^a layer is missing$"):
        make_model("faces-ddpm", {}).generate(np.zeros((2, 3 * 32 * 32), np.float32))
