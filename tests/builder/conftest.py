"""Tiny model folders, made once."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def unconditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unconditional model of 8x8 colour pictures with epsilon prediction."""
    from tests.builder.models import save_unconditional

    folder = tmp_path_factory.mktemp("models") / "unconditional"
    save_unconditional(folder)
    return folder


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion of random weights whose autoencoder scales and shifts its latents."""
    from tests.builder.models import save_stable_diffusion

    folder = tmp_path_factory.mktemp("models") / "stable-diffusion"
    save_stable_diffusion(folder, vae={"scaling_factor": 0.7, "shift_factor": 0.25})
    return folder
