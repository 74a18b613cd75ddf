"""Pictures that an analysis makes and judges obey the guard of memory: a batch that does not fit is halved."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from noisezoo.builder import views
from noisezoo.builder.models import encoders
from noisezoo.commands.analyze import make_judge, make_model


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
    monkeypatch.setattr(views, "make_inverter", lambda *_: device, raising=False)
    made = make_model("faces-ddpm", {}).generate(noise)
    np.testing.assert_array_equal(made.reshape(11, -1), noise + 1)
    assert device.sizes[0] > 3 and device.sizes[-1] <= 3


def test_pictures_are_judged_in_batches_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    device, levels = Small(), np.linspace(-1, 1, 11)
    monkeypatch.setattr(encoders, "Encoder", SimpleNamespace(from_pretrained=lambda *_, **__: device))
    monkeypatch.setattr("noisezoo.builder.models.Encoder", encoders.Encoder, raising=False)
    found = make_judge("faces-clip").embed(np.broadcast_to(levels[:, None, None, None], (11, 3, 8, 8)))
    np.testing.assert_allclose(found[:, 0], np.round((levels + 1) * 127.5))
    assert device.sizes[0] > 3 and device.sizes[-1] <= 3
