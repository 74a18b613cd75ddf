"""Convolutions lie channels last where that is faster and changes no byte that was promised."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from noisezoo.builder.models import pipeline as pipelines
from noisezoo.builder.models.pipeline import Pipeline, Runtime, load_pipeline


def loaded(folder: Path, device: str, channels_last: bool) -> Pipeline:
    """The folder as it is run on a device; its tensors stay here."""
    plain = load_pipeline(folder, dtype="float32", device=torch.device("cpu"), runtime=Runtime(channels_last=False))
    made = replace(plain, device=torch.device(device), runtime=Runtime(channels_last=channels_last))
    pipelines._apply(made.runtime, made)
    return made


def is_channels_last(module: Any) -> bool:
    """Of its convolutions; those of one channel or one pixel lie in both orders."""
    weights = [p for p in module.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    (found,) = {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights}
    return found


@pytest.mark.parametrize(("device", "channels_last"), [("cuda", True), ("cuda", False), ("cpu", True), ("cpu", False)])
def test_denoisers_are_channels_last_where_wanted_and_autoencoders_on_cuda_alone(
    stable_diffusion: Path, device: str, channels_last: bool
) -> None:
    pipeline = loaded(stable_diffusion, device, channels_last)
    assert is_channels_last(pipeline.denoiser) == channels_last
    assert is_channels_last(pipeline.autoencoder) == (channels_last and device == "cuda")
