"""Trajectories against diffusers' own schedules, and schemes against the exact flow of Gaussian data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from noisezoo.builder.schemes import Ddim, Network
from noisezoo.builder.trajectory import Trajectory, read_trajectory
from noisezoo.errors import UsageError
from tests.builder.models import STABLE_DIFFUSION

TAU = 0.5
"""Standard deviation of the Gaussian data whose denoiser is known exactly."""


def trajectory(steps: int = 50, **config: Any) -> Trajectory:
    return read_trajectory({**STABLE_DIFFUSION, **config}, steps)


def gaussian_network(path: Trajectory) -> Network:
    """The exact denoiser of N(0, TAU^2) data, answering in the trajectory's own prediction type."""
    states = {int(t): (float(a), float(s)) for t, a, s in zip(path.timesteps, path.a[1:], path.s[1:], strict=True)}
    answers: dict[str, Callable[[Any, Any, float, float], Any]] = {
        "epsilon": lambda x0, eps, a, s: eps,
        "sample": lambda x0, eps, a, s: x0,
        "v_prediction": lambda x0, eps, a, s: a * eps - s * x0,
    }

    def network(y: torch.Tensor, timestep: int) -> torch.Tensor:
        a, s = states[timestep]
        variance = a**2 * TAU**2 + s**2
        return answers[path.prediction](a * TAU**2 * y / variance, s * y / variance, a, s)

    return network


def flow_end(path: Trajectory, y: torch.Tensor) -> torch.Tensor:
    """Where the probability-flow ODE of Gaussian data carries a state: it only rescales it to the marginal's width."""
    widths = np.sqrt(path.a**2 * TAU**2 + path.s**2)
    return y * float(widths[-1] / widths[0])


def truth_error(steps: int, **config: Any) -> float:
    path = trajectory(steps, timestep_spacing="trailing", **config)
    y = torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2)
    found = Ddim(path).invert(y, gaussian_network(path))
    return float((found - flow_end(path, y)).norm() / flow_end(path, y).norm())


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_the_trajectory_visits_the_states_of_diffusers_sampler(spacing: str) -> None:
    reference = DDIMScheduler(**{**STABLE_DIFFUSION, "timestep_spacing": spacing})
    reference.set_timesteps(50)
    path = trajectory(timestep_spacing=spacing)
    assert path.timesteps.tolist() == reference.timesteps.tolist()[::-1]
    abar = np.array([float(reference.alphas_cumprod[0]), *reference.alphas_cumprod[path.timesteps].double().tolist()])
    np.testing.assert_allclose(path.a**2, abar, rtol=1e-6)
    np.testing.assert_allclose(path.a**2 + path.s**2, 1, rtol=1e-12)


def test_the_paper_s_fifty_leading_steps_end_at_981() -> None:
    assert trajectory(50).timesteps[[0, -1]].tolist() == [1, 981]


def test_generation_takes_diffusers_own_steps() -> None:
    path = trajectory(20)
    reference = DDIMScheduler(**STABLE_DIFFUSION)
    reference.set_timesteps(20)
    y = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    expected, network = y, gaussian_network(path)
    for t in reference.timesteps:
        expected = reference.step(network(expected, int(t)), t, expected, eta=0.0).prev_sample
    torch.testing.assert_close(Ddim(path).generate(y, network), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_inversion_nears_the_exact_flow_in_proportion_to_the_steps(prediction: str) -> None:
    coarse, fine, finest = (truth_error(steps, prediction_type=prediction) for steps in (50, 100, 200))
    assert finest < 0.02
    assert 1.6 < coarse / fine < 2.4
    assert 1.6 < fine / finest < 2.4


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_the_same_denoiser_gives_the_same_noise_in_every_prediction_type(prediction: str) -> None:
    y = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = [
        Ddim(path).invert(y, gaussian_network(path)) for path in (trajectory(), trajectory(prediction_type=prediction))
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_v_prediction_with_zero_terminal_snr_inverts_and_generates_finite_pictures() -> None:
    path = trajectory(100, prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True)
    assert path.a[-1] == 0
    y = torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2)
    network = gaussian_network(path)
    noise = Ddim(path).invert(y, network)
    torch.testing.assert_close(noise, flow_end(path, y), rtol=0.05, atol=0)
    torch.testing.assert_close(Ddim(path).generate(noise, network), y, rtol=0.1, atol=0)


def test_a_config_without_clip_sample_does_not_clip() -> None:
    config = {key: value for key, value in STABLE_DIFFUSION.items() if key != "clip_sample"}
    assert DDIMScheduler.from_config(config).config.clip_sample, "diffusers' default is the trap this test is about"
    path = read_trajectory(config, 50)
    y = torch.full((1, 3, 2, 2), 5.0)  # far outside the [-1, 1] that clipping would force
    scale = float(path.a[-1] / path.a[0])
    torch.testing.assert_close(Ddim(path).invert(y, lambda y, t: torch.zeros_like(y)), scale * y)


@pytest.mark.parametrize(
    ("config", "steps", "message"),
    [
        ({"prediction_type": "flow"}, 50, "cannot invert prediction type 'flow'"),
        ({"thresholding": True}, 50, "thresholding is not invertible"),
        ({}, 30, "30 steps leave gaps in a schedule of 1000"),
        ({}, 1001, "1001 steps leave gaps"),
        ({}, 0, "0 steps leave gaps"),
        ({}, 1000, "run past its 1000"),
        ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, 50, "zero terminal SNR with epsilon"),
    ],
)
def test_a_schedule_that_cannot_be_inverted_is_refused_with_the_reason(
    config: dict[str, Any], steps: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        trajectory(steps, **config)


@pytest.mark.parametrize(
    "config",
    [{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
     {"_class_name": "ScoreSdeVeScheduler", "num_train_timesteps": 1000, "sigma_max": 1348.0}],
)  # fmt: skip
def test_a_schedule_of_another_family_is_refused_rather_than_read_as_ddpm(config: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=str(config["_class_name"])):
        read_trajectory(config, 50)
