"""Denoisers whose exact answer is known, and the noise that the probability-flow ODE itself gives."""

from collections.abc import Callable

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from scipy.integrate import solve_ivp

from noisezoo.builder.models.noise_schedule import Trajectory, read_trajectory
from noisezoo.builder.models.schemes import Network
from tests.builder.models import STABLE_DIFFUSION

MEANS, WEIGHTS, WIDTH = np.array([-0.8, 0.3, 1.1]), np.array([0.3, 0.5, 0.2]), 0.25
"""A mixture of three Gaussians of one width in every coordinate: no denoiser of it is linear."""
FLOW = dict(FlowMatchEulerDiscreteScheduler(shift=3.0).config)
"""Stable Diffusion 3's schedule."""


def diffusion(steps: int, **config: object) -> Trajectory:
    """Stable Diffusion's trajectory; trailing, so that every number of steps ends at the same noise level."""
    return read_trajectory({**STABLE_DIFFUSION, "timestep_spacing": "trailing", **config}, steps)


def flow(steps: int) -> Trajectory:
    """Stable Diffusion 3's trajectory."""
    return read_trajectory(FLOW, steps)


def data(n: int = 64) -> torch.Tensor:
    """Samples of the mixture: (n, 1, 1, 1) float64."""
    rng = np.random.default_rng(0)
    x = rng.choice(MEANS, n, p=WEIGHTS) + WIDTH * rng.standard_normal(n)
    return torch.from_numpy(x).reshape(n, 1, 1, 1)


def posterior(y: torch.Tensor, a: float, s: float) -> torch.Tensor:
    """E[x0 | y] for y = a x0 + s eps: the answer of a perfect denoiser."""
    means, variance = torch.from_numpy(MEANS), a**2 * WIDTH**2 + s**2
    log_weight = torch.from_numpy(np.log(WEIGHTS)) - (y[..., None] - a * means) ** 2 / (2 * variance)
    found = means + a * WIDTH**2 / variance * (y[..., None] - a * means)
    return (log_weight.softmax(dim=-1) * found).sum(dim=-1)


def posterior_mean(y: np.ndarray, a: float, s: float) -> np.ndarray:
    """The same of arrays."""
    return np.asarray(posterior(torch.from_numpy(y), a, s).numpy())


OUTPUTS: dict[str, Callable[..., torch.Tensor]] = {
    "epsilon": lambda x0, eps, a, s: eps,
    "sample": lambda x0, eps, a, s: x0,
    "v_prediction": lambda x0, eps, a, s: a * eps - s * x0,
    "flow_prediction": lambda x0, eps, a, s: eps - x0,
}


def mixture_network(path: Trajectory) -> Network:
    """The perfect denoiser of the mixture, answering in the trajectory's own prediction type."""

    def network(y: torch.Tensor, time: float) -> torch.Tensor:
        times, a, s = path.schedule
        a, s = level_at(path, float(np.interp(time, times, s / (a + s))))
        x0 = posterior(y, a, s)
        return OUTPUTS[path.prediction](x0, (y - a * x0) / s if s else 0 * x0, a, s)

    return network


def level_at(path: Trajectory, tau: float) -> tuple[float, float]:
    """(a, s) in the ratio (1 - tau) to tau: on the unit circle for diffusion, on the straight line for flows."""
    length = 1.0 if path.norm == 1 else float(np.hypot(1 - tau, tau))
    return (1 - tau) / length, tau / length


def exact_noise(path: Trajectory, y: torch.Tensor) -> torch.Tensor:
    """Where the ODE itself carries clean states, by an integrator of eighth order."""
    starts, ends = ((path.a[i], path.s[i]) for i in (0, -1))

    def direction(tau: float, u: np.ndarray) -> np.ndarray:
        a, s = level_at(path, tau)
        y = (a + s) * u
        x0 = posterior_mean(y, a, s)
        return np.asarray((y - a * x0) / s - x0)

    tiny = 1e-9  # at tau = 0 a flow's direction has eps = 0 / 0
    times = (max(starts[1] / sum(starts), tiny), ends[1] / sum(ends))
    found = solve_ivp(direction, times, y.flatten().numpy() / sum(starts), method="DOP853", rtol=1e-10, atol=1e-12)
    return torch.from_numpy(found.y[:, -1] * sum(ends)).view_as(y)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Root mean square error over the wanted values' own root mean square."""
    return float((found - wanted).norm() / wanted.norm())
