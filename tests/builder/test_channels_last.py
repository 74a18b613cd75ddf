"""Convolutions lie in the memory format that was asked for, or else in the one that was measured faster."""

from pathlib import Path
from typing import Any

import pytest
import torch

from noisezoo.builder.models.pipeline import Runtime, load_pipeline

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def is_channels_last(module: Any) -> bool:
    """Of its convolutions; those of one channel or one pixel lie in both orders."""
    weights = [p for p in module.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    (found,) = {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights}
    return found


@pytest.mark.parametrize(("asked", "found"), [(True, True), (False, False), (None, True)])
def test_denoisers_are_channels_last_where_wanted_and_autoencoders_never(
    stable_diffusion: Path, asked: bool | None, found: bool
) -> None:
    pipeline = load_pipeline(stable_diffusion, dtype="float32", device=CPU, runtime=Runtime(channels_last=asked))
    assert is_channels_last(pipeline.denoiser) == pipeline.runtime.channels_last == found
    assert not is_channels_last(pipeline.autoencoder)
    state = pipeline.cast(torch.zeros(2, 4, 8, 8))
    assert state.is_contiguous(memory_format=torch.channels_last) == found


@pytest.mark.parametrize(
    ("device", "compiled", "fast"), [(CPU, False, True), (CPU, True, True), (CUDA, False, False), (CUDA, True, True)]
)
def test_the_memory_format_that_was_measured_faster_is_the_default(
    device: torch.device, compiled: bool, fast: bool
) -> None:
    assert Runtime(compile=compiled).on(device).channels_last == fast
    assert Runtime(compile=compiled, channels_last=not fast).on(device).channels_last != fast
