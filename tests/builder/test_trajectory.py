"""Trajectories against diffusers' own schedules, and schemes against the exact flow of Gaussian data."""

import json
import re
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from noisezoo.builder.models.noise_schedule import Coordinates, Trajectory, read_trajectory
from noisezoo.builder.models.schemes import Ddim, Network, make_scheme
from noisezoo.errors import UsageError
from tests.builder.models import STABLE_DIFFUSION

TAU = 0.5
"""Standard deviation of the Gaussian data whose denoiser is known exactly."""


def trajectory(steps: int = 50, **config: Any) -> Trajectory:
    return read_trajectory({**STABLE_DIFFUSION, **config}, steps)


def gaussian_network(path: Trajectory) -> Network:
    """The exact denoiser of N(0, TAU^2) data, answering in the trajectory's own prediction type."""
    states = {float(t): (float(a), float(s)) for t, a, s in zip(path.times[1:], path.a[1:], path.s[1:], strict=True)}
    answers: dict[str, Callable[[Any, Any, float, float], Any]] = {
        "epsilon": lambda x0, eps, a, s: eps,
        "sample": lambda x0, eps, a, s: x0,
        "v_prediction": lambda x0, eps, a, s: a * eps - s * x0,
    }

    def network(y: torch.Tensor, time: float) -> torch.Tensor:
        a, s = states[time]
        variance = a**2 * TAU**2 + s**2
        return answers[path.prediction](a * TAU**2 * y / variance, s * y / variance, a, s)

    return network


def flow_end(path: Trajectory, y: torch.Tensor) -> torch.Tensor:
    """Where the probability-flow ODE of Gaussian data carries a state: it only rescales it to the marginal's width."""
    widths = np.sqrt(path.a**2 * TAU**2 + path.s**2)
    return y * float(widths[-1] / widths[0])


def invert(path: Trajectory, y: torch.Tensor, network: Network) -> torch.Tensor:
    return Ddim(path).invert(y, network, lambda: y)[0]


def truth_error(steps: int, **config: Any) -> float:
    path = trajectory(steps, timestep_spacing="trailing", **config)
    y = torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2)
    found = invert(path, y, gaussian_network(path))
    return float((found - flow_end(path, y)).norm() / flow_end(path, y).norm())


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_the_trajectory_visits_the_states_of_diffusers_sampler(spacing: str) -> None:
    reference = DDIMScheduler(**{**STABLE_DIFFUSION, "timestep_spacing": spacing})
    reference.set_timesteps(50)
    path = trajectory(timestep_spacing=spacing)
    assert path.times[1:].tolist() == reference.timesteps.tolist()[::-1]
    abar = np.array(
        [float(reference.alphas_cumprod[0]), *reference.alphas_cumprod[path.times[1:].astype(int)].double().tolist()]
    )
    np.testing.assert_allclose(path.a**2, abar, rtol=1e-6)
    np.testing.assert_allclose(path.a**2 + path.s**2, 1, rtol=1e-12)


def test_the_paper_s_fifty_leading_steps_end_at_981() -> None:
    assert trajectory(50).times[[0, 1, -1]].tolist() == [0, 1, 981]


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
    found = [invert(path, y, gaussian_network(path)) for path in (trajectory(), trajectory(prediction_type=prediction))]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_v_prediction_with_zero_terminal_snr_inverts_and_generates_finite_pictures() -> None:
    path = trajectory(100, prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True)
    assert path.a[-1] == 0
    y = torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2)
    network = gaussian_network(path)
    noise = invert(path, y, network)
    torch.testing.assert_close(noise, flow_end(path, y), rtol=0.05, atol=0)
    torch.testing.assert_close(Ddim(path).generate(noise, network), y, rtol=0.1, atol=0)


def test_a_config_without_clip_sample_does_not_clip() -> None:
    config = {key: value for key, value in STABLE_DIFFUSION.items() if key != "clip_sample"}
    assert DDIMScheduler.from_config(config).config.clip_sample, "diffusers' default is the trap this test is about"
    path = read_trajectory(config, 50)
    y = torch.full((1, 3, 2, 2), 5.0)  # far outside the [-1, 1] that clipping would force
    scale = float(path.a[-1] / path.a[0])
    torch.testing.assert_close(invert(path, y, lambda y, t: torch.zeros_like(y)), scale * y)


@pytest.mark.parametrize(
    ("config", "steps", "message"),
    [
        ({"prediction_type": "flow"}, 50, "cannot invert prediction type 'flow'"),
        ({"thresholding": True}, 50, "thresholding is not invertible"),
        ({"beta_schedule": "sigmoid"}, 50, "cannot invert along a 'sigmoid' schedule"),
        ({"timestep_spacing": "trailing"}, 30, "30 steps leave gaps in a schedule of 1000: .*choose a divisor"),
        ({"timestep_spacing": "linspace"}, 150, "150 steps leave gaps in a schedule of 1000"),
        ({}, 1001, "1001 steps are more than the schedule's 1000 timesteps"),
        ({}, 0, "at least one is needed"),
        ({}, 1000, "run past its 1000"),
        ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, 50, "zero terminal SNR with epsilon"),
    ],
)
def test_a_schedule_that_cannot_be_inverted_is_refused_with_the_reason(
    config: dict[str, Any], steps: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        trajectory(steps, **config)


def test_a_schedule_of_another_family_is_refused_rather_than_read_as_ddpm() -> None:
    with pytest.raises(UsageError, match="cannot invert along ScoreSdeVeScheduler"):
        read_trajectory({"_class_name": "ScoreSdeVeScheduler", "num_train_timesteps": 1000, "sigma_max": 1348.0}, 50)


def test_a_span_ends_where_its_sampler_ends_whatever_the_number_of_steps() -> None:
    path = read_trajectory(STABLE_DIFFUSION, 16, span=50)
    paper = trajectory(50)
    assert path.times[[0, 1, -1]].tolist() == [0, 1, 981]
    assert path.steps == 16
    assert (path.a[-1], path.s[-1]) == (paper.a[-1], paper.s[-1])
    assert trajectory(20).times[-1] == 951, "without a span, fewer steps end elsewhere, so that truths do not compare"
    with pytest.raises(UsageError, match="1200 steps do not fit"):
        read_trajectory(STABLE_DIFFUSION, 1200, span=50)


def flow(steps: int = 50, tokens: int | None = None, *, given: bool = False, **config: Any) -> Trajectory:
    schedule = dict(FlowMatchEulerDiscreteScheduler(**config).config)
    return read_trajectory(schedule, steps, image_tokens=tokens, given_sigmas=given)


def test_a_flow_visits_the_sigmas_of_its_own_sampler_with_the_shift_as_that_applies_it() -> None:
    reference = FlowMatchEulerDiscreteScheduler(shift=3.0)
    reference.set_timesteps(20)
    path = flow(20, shift=3.0)
    np.testing.assert_allclose(path.s, reference.sigmas.double().numpy()[::-1], rtol=1e-6)
    np.testing.assert_allclose(path.times[1:], reference.timesteps.double().numpy()[::-1], rtol=1e-6)
    np.testing.assert_allclose(path.a + path.s, 1, rtol=1e-12)
    assert (path.a[-1], path.s[0], path.times[0]) == (0, 0, 0)


def test_dynamic_shifting_follows_the_number_of_image_tokens_as_flux_does() -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    dynamic = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
               "max_image_seq_len": 4096}  # fmt: skip
    for tokens in (256, 1024, 4096):
        reference = FlowMatchEulerDiscreteScheduler(**dynamic)
        reference.set_timesteps(sigmas=np.linspace(1.0, 1 / 20, 20), mu=calculate_shift(tokens, 256, 4096, 0.5, 1.15))
        path = flow(20, tokens, given=True, **dynamic)
        np.testing.assert_allclose(path.s, reference.sigmas.double().numpy()[::-1], rtol=1e-6)
    with pytest.raises(UsageError, match="image tokens"):
        flow(20, **dynamic)


def test_the_pipeline_and_not_the_flag_says_whether_a_flow_is_given_its_sigmas() -> None:
    """FLUX gives 1, ..., 1/n whatever the flag (schnell's is off), Stable Diffusion 3 never does."""
    np.testing.assert_allclose(flow(4, given=True, shift=1.0).s, [0, 0.25, 0.5, 0.75, 1])
    dynamic = {"use_dynamic_shifting": True, "base_image_seq_len": 256, "max_image_seq_len": 4096}
    for tokens in (256, 1024):
        reference = FlowMatchEulerDiscreteScheduler(**dynamic)
        mu = 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)
        reference.set_timesteps(4, mu=mu)
        np.testing.assert_allclose(flow(4, tokens, **dynamic).s, reference.sigmas.double().numpy()[::-1], rtol=1e-6)


@pytest.mark.parametrize("steps", [7, 30, 33, 150, 999])
def test_leading_steps_of_any_number_are_those_of_diffusers_sampler_and_its_steps_lead_to_them(steps: int) -> None:
    reference = DDIMScheduler(**{**STABLE_DIFFUSION, "steps_offset": 0})
    reference.set_timesteps(steps)
    path = trajectory(steps, steps_offset=0)
    assert path.times[1:].tolist() == reference.timesteps.tolist()[::-1]
    y, expected = torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2), torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2)
    network = gaussian_network(path)
    for t in reference.timesteps:
        expected = reference.step(network(expected, float(t)), t, expected, eta=0.0).prev_sample
    torch.testing.assert_close(Ddim(path).generate(y, network), expected, rtol=1e-4, atol=1e-5)


def test_where_x_t_ends_is_told() -> None:
    """150 leading steps end at t = 895, where 0.122 of the image is left; 50 at t = 981, where 0.076 is."""
    paths = [trajectory(steps) for steps in (150, 50)]
    assert [path.times[-1] for path in paths] == [895, 981]
    assert [round(path.a[-1], 3) for path in paths] == [0.122, 0.076]
    assert [round(path.s[-1], 3) for path in paths] == [0.993, 0.997]


OWN_SPACINGS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
                "LMSDiscreteScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler", "SASolverScheduler",
                "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler")  # fmt: skip


@pytest.mark.parametrize("spacing", [{}, {"timestep_spacing": "leading"}, {"timestep_spacing": "trailing"}])
@pytest.mark.parametrize("name", [*OWN_SPACINGS, "KDPM2DiscreteScheduler", "PNDMScheduler", "DDPMScheduler"])
def test_a_key_that_a_config_lacks_is_its_own_class_s_default(name: str, spacing: dict[str, str]) -> None:
    kind = getattr(diffusers, name)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    path = read_trajectory({"_class_name": name, **betas, **spacing}, 50)
    if name in OWN_SPACINGS:
        reference = kind.from_config({**betas, **spacing})
        reference.set_timesteps(50)
        np.testing.assert_allclose(path.times[1:], np.unique(reference.timesteps.numpy()), rtol=1e-6)
        sigmas = np.unique(reference.sigmas.double().numpy()[:-1])[-50:]
        np.testing.assert_allclose(path.s[1:] / path.a[1:], sigmas, rtol=1e-4)
    leading = spacing.get("timestep_spacing") == "leading" or (
        not spacing and name in ("PNDMScheduler", "DDPMScheduler")
    )
    solver = name in ("UniPCMultistepScheduler", "DEISMultistepScheduler", "SASolverScheduler",
                      "DPMSolverMultistepScheduler")  # fmt: skip
    if name != "DPMSolverSinglestepScheduler":
        assert path.times[-1] == ((950 if solver else 980) if leading else 999)
    assert path.a[0] == (pytest.approx(0.99957, abs=1e-4) if name == "PNDMScheduler" else 1.0)


def test_betas_that_a_config_lacks_are_its_own_class_s_default() -> None:
    lcm = read_trajectory({"_class_name": "LCMScheduler", "beta_schedule": "scaled_linear"}, 50)
    np.testing.assert_allclose(lcm.a[-1] ** 2, float(diffusers.LCMScheduler().alphas_cumprod[980]), rtol=1e-6)


def test_a_solver_that_ends_at_its_least_sigma_ends_at_the_least_noise() -> None:
    config = {"_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "linear"}
    zero, least = (read_trajectory({**config, **final}, 20) for final in ({}, {"final_sigmas_type": "sigma_min"}))
    assert zero.s[0] == 0 and least.s[0] == pytest.approx(1e-2, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("EulerDiscreteScheduler", "use_karras_sigmas", True), ("EulerDiscreteScheduler", "timestep_type", "continuous"),
     ("EulerDiscreteScheduler", "use_exponential_sigmas", True), ("EulerDiscreteScheduler", "sigma_max", 80.0),
     ("EulerDiscreteScheduler", "interpolation_type", "log_linear"), ("DDPMScheduler", "predict_epsilon", False),
     ("DPMSolverMultistepScheduler", "use_karras_sigmas", True), ("UniPCMultistepScheduler", "use_beta_sigmas", True),
     ("DPMSolverMultistepScheduler", "use_lu_lambdas", True), ("UniPCMultistepScheduler", "use_flow_sigmas", True),
     ("DDIMScheduler", "a_key_of_tomorrow", 3)],
)  # fmt: skip
def test_a_key_that_changes_the_numbers_and_is_not_read_is_refused_by_name(name: str, key: str, value: Any) -> None:
    config = {"_class_name": name, "beta_schedule": "linear"}
    assert read_trajectory(config, 50).steps == 50
    told = f"the scheduler's {key} is {json.dumps(value)}, which changes the noise"
    with pytest.raises(UsageError, match=told) as caught:
        read_trajectory({**config, key: value}, 50)
    mend = re.search("set it to (.*) in a copy", str(caught.value))
    assert mend is not None
    assert read_trajectory({**config, key: json.loads(mend[1])}, 50).steps == 50


@pytest.mark.parametrize(
    "left", [{"skip_prk_steps": True}, {"clip_sample": True}, {"solver_order": 3}, {"trained_betas": None},
             {"timestep_values": None}, {"use_karras_sigmas": False}, {"predict_epsilon": True},
             {"variance_type": "learned_range"}, {"algorithm_type": "sde-dpmsolver++"}],
)  # fmt: skip
def test_a_key_without_effect_on_the_ode_is_let_be(left: dict[str, Any]) -> None:
    config = {"_class_name": "DDIMScheduler", "beta_schedule": "linear"}
    plain, found = (read_trajectory({**config, **more}, 50) for more in ({}, left))
    assert np.array_equal(plain.a, found.a) and np.array_equal(plain.times, found.times)


@pytest.mark.parametrize("name", ["UnCLIPScheduler", "RePaintScheduler", "CogVideoXDDIMScheduler", "NoSuchScheduler"])
def test_a_sampler_of_a_schedule_of_its_own_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"cannot invert along {name}"):
        read_trajectory({"_class_name": name, "beta_schedule": "squaredcos_cap_v2"}, 50)


def test_generating_along_a_flow_takes_diffusers_own_steps() -> None:
    path, reference = flow(20, shift=3.0), FlowMatchEulerDiscreteScheduler(shift=3.0)
    reference.set_timesteps(20)
    y = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def network(state: torch.Tensor, time: float) -> torch.Tensor:
        return torch.sin(state + time / 1000)

    expected = y
    for t in reference.timesteps:
        expected = reference.step(network(expected, float(t)), t, expected).prev_sample
    torch.testing.assert_close(Ddim(path).generate(y, network), expected, rtol=1e-5, atol=1e-5)


def test_a_flow_of_constant_velocity_is_followed_exactly_by_every_step() -> None:
    path, y = flow(3, shift=3.0), torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(invert(path, y, lambda y, t: torch.full_like(y, 0.4)), y + 0.4)


@pytest.mark.parametrize(
    ("config", "steps", "message"),
    [({"stochastic_sampling": True}, 50, "stochastic flow sampler"), ({"invert_sigmas": True}, 50, "invert_sigmas off"),
     ({}, 0, "at least one is needed")],
)  # fmt: skip
def test_a_flow_that_cannot_be_inverted_is_refused_with_the_reason(
    config: dict[str, Any], steps: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        flow(steps, **config)


@pytest.mark.parametrize("straight", [True, False])
def test_a_level_between_two_lies_on_the_schedule_and_its_time_belongs_to_it(straight: bool) -> None:
    path = Coordinates(trajectory(20), straight=straight)
    middle = path.between(*path.levels[10:12])
    scheduler = DDIMScheduler(**STABLE_DIFFUSION)
    below = int(middle.time)
    abar = float(np.interp(middle.time, [below, below + 1], scheduler.alphas_cumprod[below : below + 2].numpy()))
    assert middle.a**2 + middle.s**2 == pytest.approx(1)
    assert middle.a**2 == pytest.approx(abar, rel=1e-3)
    halfway = (line := Coordinates(flow(20), straight=straight)).between(*line.levels[4:6])
    assert halfway.time == pytest.approx(1000 * halfway.s)
    assert halfway.a + halfway.s == pytest.approx(1)


def test_a_clean_state_without_any_noise_is_shown_to_the_network_as_its_lowest_level() -> None:
    path = trajectory(prediction_type="sample", set_alpha_to_one=True)
    assert path.s[0] == 0
    for straight in (True, False):
        first = Coordinates(path, straight=straight).levels[0]
        assert np.isfinite([first.p, first.q]).all(), "eps = (y - a x0) / s does not exist at s = 0"


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_both_coordinates_are_one_ode(prediction: str) -> None:
    path = trajectory(200, prediction_type=prediction)
    y, network = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(1, 3, 2, 2), gaussian_network(path)
    for straight in (True, False):
        scheme = make_scheme("heun", path)
        scheme.path = Coordinates(path, straight=straight)
        found, _ = scheme.invert(y, lambda y, t: network(y, t or 1.0), lambda: y)
        torch.testing.assert_close(found, flow_end(path, y), rtol=2e-3, atol=1e-4)
