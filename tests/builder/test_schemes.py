"""Every scheme against the ODE of a Gaussian mixture, whose perfect denoiser is known, and against its own way back."""

from collections.abc import Callable
from math import log

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from noisezoo.builder.models.noise_schedule import Coordinates, Trajectory, read_trajectory
from noisezoo.builder.models.schemes import SCHEMES, anderson, make_scheme
from noisezoo.errors import UsageError
from tests.builder.closed_forms import data, diffusion, error, exact_noise, flow, mixture_network, posterior_mean
from tests.builder.models import STABLE_DIFFUSION

Make = Callable[[int], Trajectory]
FAMILIES = {"diffusion": diffusion, "flow": flow}


def draw() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((64, 1, 1, 1)))


def truth_and_round_trip(make: Make, scheme: str, steps: int) -> tuple[float, float]:
    path, y = make(steps), data()
    network, walker = mixture_network(path), make_scheme(scheme, path)
    noise, previous = walker.invert(y, network, draw)
    return error(noise, exact_noise(path, y)), error(walker.generate(noise, network, previous), y)


# A flow's sampler keeps the width of the step next to the image, however many steps there are: hence fewer of them.
RANGES = {"diffusion": (200, 1000), "flow": (50, 200)}
ORDERS = [
    *[(name, family, 1) for name in ("ddim", "euler") for family in FAMILIES],
    *[(name, family, 2) for name in ("heun", "midpoint", "ab2", "fireflow") for family in FAMILIES],
    ("bdia", "flow", 2),
    ("belm", "flow", 2),
]


@pytest.mark.parametrize(("scheme", "family", "order"), ORDERS)
def test_a_scheme_nears_the_ode_s_noise_and_its_own_way_back_at_its_order(scheme: str, family: str, order: int) -> None:
    few, many = RANGES[family]
    coarse, fine = (truth_and_round_trip(FAMILIES[family], scheme, steps) for steps in (few, many))
    truth, back = (log(a / b, many / few) for a, b in zip(coarse, fine, strict=True))
    assert order - 0.35 < truth < order + 0.8
    assert back > order - 0.35 or coarse[1] < 1e-12


# The best of each pair is below the worst of the next by a wide margin; the bounds are those of 50 steps.
BOUNDS = {
    ("ddim", "diffusion"): (3e-2, 3e-2), ("heun", "diffusion"): (1e-2, 2e-3), ("midpoint", "diffusion"): (2e-3, 1e-3),
    ("ab2", "diffusion"): (4e-3, 2e-2), ("fireflow", "diffusion"): (4e-3, 1e-3), ("bdia", "diffusion"): (2e-2, 1e-12),
    ("euler", "flow"): (7e-2, 9e-2), ("heun", "flow"): (4e-3, 1e-3), ("midpoint", "flow"): (1e-3, 2e-4),
    ("fireflow", "flow"): (3e-3, 1e-3), ("bdia", "flow"): (6e-3, 1e-12),
    ("belm", "diffusion"): (6e-3, 1e-12), ("belm", "flow"): (3e-3, 1e-12),
    ("gnri", "diffusion"): (3e-2, 3e-2), ("gnri", "flow"): (9e-2, 4e-3),
}  # fmt: skip


@pytest.mark.parametrize(("scheme", "family"), BOUNDS)
def test_fifty_steps_come_as_near_as_the_table_in_the_documentation_says(scheme: str, family: str) -> None:
    truth, back = truth_and_round_trip(FAMILIES[family], scheme, 50)
    assert truth < BOUNDS[scheme, family][0]
    assert back < BOUNDS[scheme, family][1]


@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_points_invert_the_discrete_sampler_and_leave_the_truth_behind(family: str) -> None:
    plain, solved = (truth_and_round_trip(FAMILIES[family], name, 50) for name in ("ddim", "ddim-fixed-point"))
    assert solved[1] < plain[1] / 100
    assert solved[0] > plain[0]


def test_anderson_acceleration_beats_plain_iteration_at_equal_cost() -> None:
    rng = np.random.default_rng(0)
    A = torch.from_numpy(rng.standard_normal((3, 6, 6)) * 0.15)
    b = torch.from_numpy(rng.standard_normal((3, 6, 1)))
    exact = torch.linalg.solve(torch.eye(6, dtype=torch.float64) - A, b).squeeze(2)

    def step(x: torch.Tensor) -> torch.Tensor:
        return (A @ x.unsqueeze(2) + b).squeeze(2)

    plain = b.squeeze(2)
    guesses, images = [plain], [step(plain)]
    for _ in range(5):
        guesses.append(anderson(guesses, images))
        images.append(step(guesses[-1]))
        plain = step(plain)
    assert error(images[-1], exact) < error(step(plain), exact) / 20


def release_loop(
    latents: np.ndarray, timesteps: list[int], abar: np.ndarray, network: Callable[..., np.ndarray]
) -> np.ndarray:
    """The definition, in float64: z0 is the state of the lowest timestep; each step asks where it starts."""
    y = latents.astype(np.float64)
    for t, after in zip(timesteps, timesteps[1:], strict=False):
        eps = network(y, t)
        x0 = (y - (1 - abar[t]) ** 0.5 * eps) / abar[t] ** 0.5
        y = abar[after] ** 0.5 * x0 + (1 - abar[after]) ** 0.5 * eps
    return y


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("steps", [2, 50, 150])
def test_ddim_source_is_the_loop_of_its_definition(steps: int, prediction: str) -> None:
    scheduler = DDIMScheduler(**STABLE_DIFFUSION)
    scheduler.set_timesteps(steps)
    abar, timesteps = scheduler.alphas_cumprod.double().numpy(), scheduler.timesteps.tolist()[::-1]
    path, y, asked = read_trajectory({**STABLE_DIFFUSION, "prediction_type": prediction}, steps), data(), []
    network = mixture_network(path)
    levels = {t: (abar[t] ** 0.5, (1 - abar[t]) ** 0.5) for t in timesteps}

    def epsilon(state: np.ndarray, t: int) -> np.ndarray:
        asked.append(t)
        a, s = levels[t]
        return (state - a * posterior_mean(state, a, s)) / s

    expected = release_loop(y.numpy(), timesteps, abar, epsilon)
    told: list[float] = []
    scheme = make_scheme("ddim-source", path)
    found, previous = scheme.invert(y, lambda state, t: told.append(t) or network(state, t), draw)  # type: ignore[func-returns-value]
    assert previous is None and told == asked == timesteps[:-1]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_ddim_source_asks_where_ddim_does_not_and_nears_the_same_noise() -> None:
    y, apart = data(), []
    for steps in (50, 200):
        path = diffusion(steps)
        network = mixture_network(path)
        found, ddim = (make_scheme(name, path).invert(y, network, draw)[0] for name in ("ddim-source", "ddim"))
        apart.append(error(found, ddim))
    assert 0.01 < apart[0] and apart[1] < apart[0] / 2


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_ddim_source_follows_the_closed_form_of_a_constant_prediction(bias: float) -> None:
    path, y = diffusion(50), data()
    found, _ = make_scheme("ddim-source", path).invert(y, lambda state, t: torch.full_like(state, bias), draw)
    (a_0, s_0), (a_T, s_T) = ((path.a[i], path.s[i] / path.a[i]) for i in (1, -1))
    torch.testing.assert_close(found, a_T * (y / a_0 + (s_T - s_0) * bias))
    back = make_scheme("ddim-source", path).generate(found, lambda state, t: torch.full_like(state, bias))
    torch.testing.assert_close(back, y)


def test_one_iteration_of_the_fixed_point_is_ddim() -> None:
    path, y = diffusion(20), data()
    network = mixture_network(path)
    once = make_scheme("ddim-fixed-point", path, {"iterations": 1}).invert(y, network, draw)[0]
    assert torch.equal(once, make_scheme("ddim", path).invert(y, network, draw)[0])


CALLS = {"ddim": 20, "ddim-source": 19, "euler": 20, "heun": 40, "midpoint": 40, "ab2": 21, "fireflow": 21, "bdia": 21,
         "belm": 21, "gnri": 40,
         "forward-start": 19, "ddim-fixed-point": 100}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_asks_the_network_as_often_as_it_says(scheme: str) -> None:
    path, calls = diffusion(20), []
    network = mixture_network(path)
    make_scheme(scheme, path).invert(data(), lambda y, t: calls.append(t) or network(y, t), draw)  # type: ignore[func-returns-value]
    assert len(calls) == CALLS[scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_whose_network_fails_leaves_the_others_as_they_would_be_without_it(scheme: str, family: str) -> None:
    path, y = FAMILIES[family](10), data()[:4].float()
    good = mixture_network(path)

    def network(state: torch.Tensor, time: float) -> torch.Tensor:
        output = good(state, time).float()
        return torch.cat([output[:2], torch.full_like(output[2:3], torch.nan), output[3:]])

    with_it, _ = make_scheme(scheme, path).invert(y, network, lambda: draw()[:4].float())
    without, _ = make_scheme(scheme, path).invert(y, lambda s, t: good(s, t).float(), lambda: draw()[:4].float())
    assert not with_it[2].isfinite().any()
    torch.testing.assert_close(with_it[[0, 1, 3]], without[[0, 1, 3]], rtol=0, atol=1e-6)


def test_bdia_without_its_second_state_still_generates_nearly() -> None:
    path, y = diffusion(100), data()
    network, scheme = mixture_network(path), make_scheme("bdia", path)
    noise, previous = scheme.invert(y, network, draw)
    assert previous is not None
    assert error(scheme.generate(noise, network, previous), y) < 1e-12 < error(scheme.generate(noise, network), y) < 0.2


def test_belm_is_the_formula_of_its_paper_in_the_scaled_state_and_exact_from_its_last_two_states() -> None:
    """x_{i-1} = (h_i / h_{i+1})^2 x_{i+1} + (1 - (h_i / h_{i+1})^2) x_i - h_i (1 + h_i / h_{i+1}) eps, x = y / a."""
    path, y = diffusion(10), data()
    network = mixture_network(path)
    noise, previous = make_scheme("belm", path).invert(y, network, draw)
    assert previous is not None
    sigma, x = path.s / path.a, [noise / path.a[-1], previous / path.a[-2]]
    for i in range(path.steps - 1, 0, -1):
        here, after = sigma[i] - sigma[i - 1], sigma[i + 1] - sigma[i]
        r = here / after
        eps = network(x[-1] * path.a[i], float(path.times[i]))
        x.append(r**2 * x[-2] + (1 - r**2) * x[-1] - here * (1 + r) * eps)
    torch.testing.assert_close(x[-1] * path.a[0], y, rtol=0, atol=1e-11)
    back = make_scheme("belm", path).generate(noise, network, previous)
    torch.testing.assert_close(back, y, rtol=0, atol=1e-11)


def test_belm_passes_steps_of_no_width_exactly() -> None:
    config = {**STABLE_DIFFUSION, "timestep_spacing": "leading", "steps_offset": 0, "set_alpha_to_one": False}
    path, y = read_trajectory(config, 20), data()
    assert path.s[0] == path.s[1], "the sampler visits time 0"
    network, scheme = mixture_network(path), make_scheme("belm", path)
    noise, previous = scheme.invert(y, network, draw)
    assert error(scheme.generate(noise, network, previous), y) < 1e-12


def test_one_call_of_gnri_is_ddim_and_each_further_one_leaves_less_of_the_fixed_point_s_residual() -> None:
    path, y = diffusion(50), data(4 * 256).reshape(4, 1, 16, 16)
    network, ddim = mixture_network(path), make_scheme("ddim", path)
    states, backs = [], []
    for iterations in (1, 2, 5):
        scheme = make_scheme("gnri", path, {"iterations": iterations, "guidance": 0.0})
        states.append(scheme.invert(y, network, draw)[0])
        backs.append(error(ddim.generate(states[-1], network), y))
    torch.testing.assert_close(states[0], ddim.invert(y, network, draw)[0])
    assert backs[0] > 1.5 * backs[1] > 2.5 * backs[2]


def test_gnri_solves_a_step_of_a_linear_network_exactly_in_one_newton_iteration() -> None:
    """One number a state and eps = k y + m: z = F(z) has the solution of a linear equation, which no iteration sees."""
    path, y, (k, m) = diffusion(10), data(), (0.3, -0.2)
    linear = lambda state, time: k * state + m  # noqa: E731
    found, _ = make_scheme("gnri", path, {"guidance": 0.0}).invert(y, linear, draw)
    z = y
    for a, s, b, t in zip(path.a, path.s, path.a[1:], path.s[1:], strict=False):
        c = t - b / a * s  # z = (b / a) y + c (k z + m)
        z = (b / a * z + c * m) / (1 - c * k)
    torch.testing.assert_close(found, z, rtol=1e-4, atol=1e-4)  # eta is 1e-6
    assert (
        error(make_scheme("ddim", path).generate(found, linear), y)
        < 1e-4
        < error(make_scheme("ddim", path).generate(make_scheme("ddim", path).invert(y, linear, draw)[0], linear), y)
    )


def test_gnri_s_guidance_draws_to_the_mean_of_forward_diffusion() -> None:
    path, y = diffusion(10), data(4 * 64).reshape(4, 1, 8, 8)
    network = mixture_network(path)
    here, there = Coordinates(path, straight=False).levels[:2]
    seen: dict[float, list[torch.Tensor]] = {0.0: [], 0.02: []}
    for guidance, states in seen.items():
        asked = lambda z, t, states=states: states.append(z.detach()) or network(z, t)  # noqa: E731
        make_scheme("gnri", path, {"guidance": guidance}).step(y, asked, here, there)
    without, under = (float((states[1] - y).norm()) for states in seen.values())
    assert under > without, "the Newton step is longer by what the guidance adds to f"


def test_forward_start_takes_what_is_fresh_from_the_seed_and_the_rest_from_ddim() -> None:
    path, y = diffusion(50), data()
    network = mixture_network(path)
    noise, _ = make_scheme("forward-start", path, {"share": 0.2}).invert(y, network, draw)
    levels = Coordinates(path, straight=False).levels
    start, level = levels[0], levels[10]
    ratio = level.a / start.a
    fresh = ratio * y + (level.s**2 - ratio**2 * start.s**2) ** 0.5 * draw()
    ddim = make_scheme("ddim", path)
    torch.testing.assert_close(noise, ddim.walk(fresh, network, levels[10:]))
    same = make_scheme("forward-start", path, {"share": 0.0}).invert(y, network, draw)[0]
    assert torch.equal(same, ddim.invert(y, network, draw)[0])


def test_forward_start_over_all_steps_is_forward_diffusion_itself() -> None:
    path = diffusion(50)
    y = torch.full((4000, 1, 1, 1), 0.7, dtype=torch.float64)
    fresh = torch.from_numpy(np.random.default_rng(2).standard_normal((4000, 1, 1, 1)))
    noise, _ = make_scheme("forward-start", path, {"share": 1.0}).invert(y, mixture_network(path), lambda: fresh)
    a, s = float(path.a[-1] / path.a[0]), float(path.s[-1])
    assert float(noise.mean()) == pytest.approx(0.7 * a, abs=5 * s / 4000**0.5)
    assert float(noise.std()) == pytest.approx(s, rel=0.05)


@pytest.mark.parametrize(
    ("scheme", "options", "message"),
    [
        ("dpm", {}, "unknown scheme 'dpm'; choose one of: ddim, ddim-fixed-point, gnri, euler"),
        ("heun", {"iterations": 3}, "scheme heun has no option 'iterations'; it has: none"),
        ("ddim-fixed-point", {"share": 3}, "scheme ddim-fixed-point has no option 'share'; it has: iterations"),
        ("ddim-fixed-point", {"iterations": 0}, "at least one is needed"),
        ("forward-start", {"share": 1.5}, "must lie between 0 and 1"),
        ("gnri", {"iterations": 0}, "at least one is needed"),
    ],
)
def test_a_scheme_that_does_not_exist_or_an_option_it_lacks_is_refused(
    scheme: str, options: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_scheme(scheme, diffusion(10), options)


def test_ddim_source_needs_two_timesteps() -> None:
    with pytest.raises(UsageError, match="at least 2 steps are needed"):
        make_scheme("ddim-source", diffusion(1))
