"""Folders whose noise is known in closed form, for every prediction type, read by `from_pretrained`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from noisezoo.builder.models.inverter import Inverter
from tests.builder.models import save_constant


def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def abar_ends(folder: Path, steps: int = 50) -> tuple[float, float]:
    """alpha-bar of the clean state and of x_T, as diffusers' sampler has them."""
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(steps)
    return float(scheduler.final_alpha_cumprod), float(scheduler.alphas_cumprod[scheduler.timesteps[0]])


@pytest.mark.parametrize("schedule", [{}, {"set_alpha_to_one": True}, {"beta_schedule": "linear", "steps_offset": 0}])
def test_a_model_that_says_zero_only_rescales(tmp_path: Path, schedule: dict[str, Any]) -> None:
    save_constant(tmp_path / "model", 0.0, **schedule)
    first, last = abar_ends(tmp_path / "model")
    found = Inverter.from_pretrained(tmp_path / "model").invert(pictures())
    torch.testing.assert_close(found, (last / first) ** 0.5 * pictures(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("schedule", [{}, {"set_alpha_to_one": True}, {"timestep_spacing": "trailing"}])
def test_a_model_that_says_a_constant_adds_its_closed_form(tmp_path: Path, schedule: dict[str, Any]) -> None:
    bias = 0.3
    save_constant(tmp_path / "model", bias, **schedule)
    first, last = abar_ends(tmp_path / "model")
    s_first, s_last = (1 / first - 1) ** 0.5, (1 / last - 1) ** 0.5
    found = Inverter.from_pretrained(tmp_path / "model").invert(pictures())
    expected = last**0.5 * (pictures() / first**0.5 + (s_last - s_first) * bias)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


FINE = {"num_inference_steps": 500, "scheme": "midpoint"}
"""As near to the ODE as a test can wait for."""


def angle(abar: float) -> float:
    """The angle of a state on the unit circle, tan = s / a."""
    return float(np.arctan2((1 - abar) ** 0.5, abar**0.5))


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_a_model_whose_v_is_constant_turns_the_state_by_the_angle_alone(tmp_path: Path, bias: float) -> None:
    save_constant(tmp_path / "model", bias, prediction_type="v_prediction", timestep_spacing="trailing")
    first, last = abar_ends(tmp_path / "model", 500)
    found = Inverter.from_pretrained(tmp_path / "model", **FINE).invert(pictures())
    # In angles the ODE is dy = v d(angle) (Salimans & Ho 2022, appendix D).
    expected = pictures() + bias * (angle(last) - angle(first))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_a_model_that_says_one_picture_whatever_it_sees_keeps_the_noise_it_started_with(tmp_path: Path) -> None:
    save_constant(tmp_path / "model", 0.3, prediction_type="sample", timestep_spacing="trailing")
    first, last = abar_ends(tmp_path / "model", 500)
    found = Inverter.from_pretrained(tmp_path / "model", **FINE).invert(pictures())
    noise = (pictures() - first**0.5 * 0.3) / (1 - first) ** 0.5
    torch.testing.assert_close(found, last**0.5 * 0.3 + (1 - last) ** 0.5 * noise, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("scheme", ["ddim", "euler", "midpoint", "fireflow", "heun", "ab2", "bdia"])
def test_a_flow_of_constant_velocity_in_a_folder_is_followed_exactly(tmp_path: Path, scheme: str) -> None:
    save_constant(tmp_path / "model", 0.3)
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(tmp_path / "model" / "scheduler")
    inverter = Inverter.from_pretrained(tmp_path / "model", num_inference_steps=7, scheme=scheme)
    torch.testing.assert_close(inverter.invert(pictures()), pictures() + 0.3, rtol=1e-5, atol=1e-5)
