"""Noise schedules and predictions as algebra, and how a folder's scheduler config becomes a trajectory.

A state is y = a x0 + s eps. A schedule is its levels: the pairs (a, s) that it visits and the time that the network is
told at each. Every prediction type gives x0 and eps as p y + q output. Divided by c, the probability-flow ODE of every
schedule is du / dtau = g with u = y / c and tau = s / c:

- noise coordinates, c = a:         g = eps, tau may run to infinity; DDIM is Euler's method (Song et al. 2021, eq. 14);
- straight coordinates, c = a + s:  g = eps - x0, tau runs to 1; a rectified flow as it stands (Liu et al. 2022).

One loop therefore serves diffusion models and flows, and a scheme needs to know neither schedules nor predictions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from noisezoo.errors import UsageError

Coefficients = tuple[float, float]
PREDICTIONS: Mapping[str, Callable[[float, float], tuple[Coefficients, Coefficients]]] = {
    "epsilon": lambda a, s: ((1.0 / a, -s / a), (0.0, 1.0)),
    "v_prediction": lambda a, s: ((a, -s), (s, a)),  # v = a eps - s x0 (Salimans & Ho 2022), with a^2 + s^2 = 1
    "sample": lambda a, s: ((0.0, 1.0), (1.0 / s, -a / s)),
    "flow_prediction": lambda a, s: ((1 / (a + s), -s / (a + s)), (1 / (a + s), a / (a + s))),  # v = eps - x0
}
"""Prediction type -> the (p, q) of x0 and the (p, q) of eps, each p y + q output, at the network's own (a, s)."""


@dataclass(frozen=True)
class Level:
    """One noise level: y = a x0 + s eps, and the network's answer there as a direction.

    Attributes:
        time: What the network is told.
        a: Weight of the image.
        s: Weight of the noise.
        c: The scale of the coordinates: u = y / c.
        p: Weight of the state in the direction g = p y + q output.
        q: Weight of the network's output in it.
    """

    time: float
    a: float
    s: float
    c: float
    p: float
    q: float

    @property
    def tau(self) -> float:
        """The ODE's own time, s / c."""
        return self.s / self.c


@dataclass(frozen=True)
class Trajectory:
    """The states a sampler visits, from the clean image to x_T.

    Attributes:
        times: What the network is told at each state, ascending: (steps + 1,) float64.
        a: Weight of the image in each state, clean state first: (steps + 1,) float64.
        s: Weight of the noise in each state: (steps + 1,) float64.
        prediction: A key of `PREDICTIONS`.
        norm: n of a^n + s^n = 1: 2 for variance-preserving diffusion, 1 for a rectified flow.
        schedule: The whole schedule as (times, a, s), each (m,), times ascending: what lies between the states.
    """

    times: np.ndarray
    a: np.ndarray
    s: np.ndarray
    prediction: str
    norm: int
    schedule: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.times) - 1


class Coordinates:
    """A trajectory in straight coordinates, or in noise coordinates where it has them.

    Straight coordinates bend least: on the trained testbed models a second-order scheme needs a half to a tenth of the
    forwards there. A flow, and a diffusion model whose x_T is pure noise, end infinitely far in noise coordinates; they
    are taken straight in any case.
    """

    def __init__(self, trajectory: Trajectory, *, straight: bool) -> None:
        self.trajectory = trajectory
        self.straight = straight or trajectory.norm == 1 or trajectory.a[-1] == 0

    @cached_property
    def levels(self) -> list[Level]:
        """The levels of the states, clean first.

        The clean state may hold no noise at all, which no network is trained on: the network's answer is read as one at
        its lowest level.
        """
        path, (_, a, s) = self.trajectory, self.trajectory.schedule
        states = list(zip(path.times.tolist(), path.a.tolist(), path.s.tolist(), strict=True))
        lowest = (float(a[0]), float(s[0]))
        return [self._level(*states[0], seen=lowest), *(self._level(*state, seen=state[1:]) for state in states[1:])]

    def between(self, here: Level, there: Level, share: float = 0.5) -> Level:
        """The level a share of the way from one to another, in tau; the network is told the time that belongs to it."""
        tau = here.tau + share * (there.tau - here.tau)
        n = self.trajectory.norm
        image, noise = (1 - tau, tau) if self.straight else (1.0, tau)
        c = (image**n + noise**n) ** (-1 / n)
        times, taus = self._grid
        return self._level(float(np.interp(tau, taus, times)), c * image, c * noise, seen=(c * image, c * noise))

    @cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        times, a, s = self.trajectory.schedule
        return times, s / (a + s if self.straight else a)

    def _level(self, time: float, a: float, s: float, seen: Coefficients) -> Level:
        """The direction's coefficients are those of the level that the network takes the state for.

        That is what its training target means; diffusers' inverse scheduler converts v at the *source* state while the
        network is told the target's time.
        """
        (p_image, q_image), (p_noise, q_noise) = PREDICTIONS[self.trajectory.prediction](*seen)
        if not self.straight:
            return Level(time, a, s, a, p_noise, q_noise)
        return Level(time, a, s, a + s, p_noise - p_image, q_noise - q_image)


def read_trajectory(
    config: Mapping[str, Any], num_inference_steps: int, *, span: int | None = None, image_tokens: int | None = None
) -> Trajectory:
    """The trajectory of a folder's `scheduler_config.json`, whatever scheduler class it names.

    Args:
        config: The scheduler's configuration.
        num_inference_steps: Steps of the sampler that is to be inverted.
        span: End where a sampler of `span` steps ends, whatever the number of steps (a diffusion model's x_T depends on
            it: t = 981 for 50 leading steps, 951 for 20), and space the steps for accuracy; None: the folder's spacing.
        image_tokens: Tokens of one image in the network, which a flow with dynamic shifting asks for.

    Raises:
        UsageError: The configuration is one that cannot be inverted; says which and why.
    """
    for key, read in READERS.items():
        if key in config:
            return read(config, num_inference_steps, span, image_tokens)
    raise UsageError(
        f"cannot invert along {config.get('_class_name', 'this scheduler')}: its config has neither a beta_schedule "
        "(DDPM family) nor a shift (rectified flow)"
    )


def _diffusion(config: Mapping[str, Any], steps: int, span: int | None, image_tokens: int | None) -> Trajectory:
    from diffusers import DDIMScheduler

    trained = config.get("num_train_timesteps", 1000)
    prediction = config.get("prediction_type", "epsilon")
    _refuse_diffusion(config, prediction, span or steps, trained)
    # A config that lacks clip_sample (PNDM's) would get DDIM's default True, and clipping cannot be inverted.
    try:
        scheduler = DDIMScheduler.from_config({**config, "clip_sample": False})  # type: ignore[no-untyped-call]
    except NotImplementedError as error:
        raise UsageError(f"cannot invert along a {config['beta_schedule']!r} schedule: DDIM has none such") from error
    timesteps = _timesteps(config, scheduler, span or steps)
    if timesteps[-1] >= trained or timesteps[0] < 0:
        raise UsageError(f"the scheduler's timesteps run past its {trained}: lower steps_offset or the number of steps")
    if span is not None:
        timesteps = _respaced(timesteps, steps)
    abar = scheduler.alphas_cumprod.double().numpy()
    states = np.concatenate([[float(scheduler.final_alpha_cumprod)], abar[timesteps]])
    if states[-1] <= 0 and prediction == "epsilon":
        raise UsageError(
            "zero terminal SNR with epsilon prediction: the image cannot be told from x_T; use v-prediction"
        )
    times = np.concatenate([[0.0], timesteps])
    schedule = (np.arange(len(abar), dtype=np.float64), np.sqrt(abar), np.sqrt(1 - abar))
    return Trajectory(times, np.sqrt(states), np.sqrt(1 - states), prediction, 2, schedule)


def _timesteps(config: Mapping[str, Any], ddim: Any, steps: int) -> np.ndarray:
    """The folder's own spacing, ascending: DDIM's reading of it, but for samplers that read it otherwise."""
    import diffusers

    name = config.get("_class_name")
    sampler = getattr(diffusers, name).from_config(config) if name in OWN_SPACING else ddim
    sampler.set_timesteps(steps)
    timesteps = np.asarray(sampler.timesteps)[::-1].astype(np.int64)
    if (np.diff(timesteps) <= 0).any():
        raise UsageError(f"{name} visits a timestep twice in {steps} steps: choose fewer")
    return timesteps


def _respaced(timesteps: np.ndarray, steps: int) -> np.ndarray:
    """`steps` whole timesteps over the range of the given ones, their distances growing linearly.

    This is DDIM's quadratic spacing (Song et al. 2021, appendix D.2): the path bends most near the image.
    """
    first, last = int(timesteps[0]), int(timesteps[-1])
    if not 1 <= steps <= last - first + 1:
        raise UsageError(f"{steps} steps do not fit between timesteps {first} and {last}")
    wanted = first + (last - first) * np.linspace(1.0 if steps == 1 else 0.0, 1.0, steps) ** 2
    order = np.arange(steps)
    apart = np.maximum.accumulate(wanted.round().astype(np.int64) - order) + order  # no timestep twice
    return np.minimum(apart, last - order[::-1])


def _refuse_diffusion(config: Mapping[str, Any], prediction: str, steps: int, trained: int) -> None:
    if prediction not in PREDICTIONS or prediction == "flow_prediction":
        treated = ", ".join(name for name in PREDICTIONS if name != "flow_prediction")
        raise UsageError(f"cannot invert prediction type {prediction!r}; treated are: {treated}")
    if config.get("thresholding"):
        raise UsageError("dynamic thresholding is not invertible: the scheduler must have thresholding off")
    if not 1 <= steps <= trained or trained % steps:
        raise UsageError(f"{steps} steps leave gaps in a schedule of {trained}: choose a divisor, as 20, 50 or 100")


def _flow(config: Mapping[str, Any], steps: int, span: int | None, image_tokens: int | None) -> Trajectory:
    """A flow ends at sigma 1 for any number of steps, so `span` changes nothing.

    The sigmas are read off the scheduler after `set_timesteps`: they carry its shift, static or dynamic, as its own
    sampler applies it.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    if config.get("stochastic_sampling"):
        raise UsageError("a stochastic flow sampler is not invertible: the scheduler must have stochastic_sampling off")
    if steps < 1:
        raise UsageError(f"{steps} steps: at least one is needed")
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)  # type: ignore[no-untyped-call]
    if scheduler.config.use_dynamic_shifting:
        scheduler.set_timesteps(
            sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), mu=_shift(scheduler.config, image_tokens)
        )
    else:
        scheduler.set_timesteps(steps)
    sigma = scheduler.sigmas.double().numpy()[::-1].copy()
    if sigma[0] != 0:
        raise UsageError("the flow's sampler does not end at the clean image: turn invert_sigmas off")
    trained = float(scheduler.config.num_train_timesteps)
    ends = np.array([0.0, 1.0])
    return Trajectory(sigma * trained, 1 - sigma, sigma, "flow_prediction", 1, (trained * ends, 1 - ends, ends))


def _shift(config: Any, image_tokens: int | None) -> float:
    """Dynamic shifting's mu, linear in the number of image tokens (Esser et al. 2024, section 5.3.2)."""
    if image_tokens is None:
        raise UsageError("this flow's schedule depends on the number of image tokens: give image_tokens")
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    return float(config.base_shift + slope * (image_tokens - config.base_image_seq_len))


OWN_SPACING = ("DPMSolverMultistepScheduler",)
"""Samplers whose `linspace` leaves out time 0, where DDIM's spends a step of no width."""
READERS: Mapping[str, Callable[[Mapping[str, Any], int, int | None, int | None], Trajectory]] = {
    "beta_schedule": _diffusion,
    "shift": _flow,
}
"""A key that only one family's configs have -> how that family is read."""
