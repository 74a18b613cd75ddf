"""Noise schedules and predictions as algebra, and how a folder's scheduler config becomes a trajectory.

A state is y = a x0 + s eps. A schedule is its levels: the pairs (a, s) that it visits and the time that the network is
told at each. Every prediction type gives x0 and eps as p y + q output. Divided by c, the probability-flow ODE of every
schedule is du / dtau = g with u = y / c and tau = s / c:

- noise coordinates, c = a:         g = eps, tau may run to infinity; DDIM is Euler's method (Song et al. 2021, eq. 14);
- straight coordinates, c = a + s:  g = eps - x0, tau runs to 1; a rectified flow as it stands (Liu et al. 2022).

One loop therefore serves diffusion models and flows, and a scheme needs to know neither schedules nor predictions.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
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
    """One noise level: y = a x0 + s eps, and the network's answer there as a direction."""

    time: float  # what the network is told
    a: float  # weight of the image
    s: float  # weight of the noise
    c: float  # the scale of the coordinates: u = y / c
    p: float  # weight of the state in the direction g = p y + q output
    q: float  # weight of the network's output in it

    @property
    def tau(self) -> float:
        """The ODE's own time, s / c."""
        return self.s / self.c


@dataclass(frozen=True)
class Trajectory:
    """The states a sampler visits, from the clean image to x_T."""

    times: np.ndarray  # what the network is told at each state, ascending: (steps + 1,) float64
    a: np.ndarray  # weight of the image in each state, clean state first: (steps + 1,) float64
    s: np.ndarray  # weight of the noise in each state: (steps + 1,) float64
    prediction: str  # a key of `PREDICTIONS`
    norm: int  # n of a^n + s^n = 1: 2 for variance-preserving diffusion, 1 for a rectified flow
    schedule: tuple[np.ndarray, np.ndarray, np.ndarray]
    """The whole schedule as (times, a, s), each (m,), times ascending: what lies between the states."""

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.times) - 1


class Coordinates:
    """A trajectory in straight coordinates, or in noise coordinates where it has them.

    Straight coordinates bend least: on the trained testbed models a second-order scheme needs a half to a tenth of the
    forwards there. A flow, and a diffusion model whose x_T is pure noise, end infinitely far in noise coordinates, so
    that they are taken straight in any case.
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
        times, a, s = self.trajectory.schedule
        time = float(np.interp(tau, s / (a + s if self.straight else a), times))
        return self._level(time, c * image, c * noise, seen=(c * image, c * noise))

    def _level(self, time: float, a: float, s: float, seen: Coefficients) -> Level:
        """The direction's coefficients are those of the level that the network takes the state for.

        That is what its training target means; diffusers' inverse scheduler converts v at the *source* state while the
        network is told the target's time.
        """
        (p_image, q_image), (p_noise, q_noise) = PREDICTIONS[self.trajectory.prediction](*seen)
        if not self.straight:
            return Level(time, a, s, a, p_noise, q_noise)
        return Level(time, a, s, a + s, p_noise - p_image, q_noise - q_image)


READ = frozenset({
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "timestep_spacing", "steps_offset", "set_alpha_to_one", "final_sigmas_type", "rescale_betas_zero_snr",
    "lambda_min_clipped", "shift", "use_dynamic_shifting", "base_shift", "max_shift", "base_image_seq_len",
    "max_image_seq_len", "shift_terminal", "time_shift_type", "thresholding", "stochastic_sampling", "invert_sigmas",
})  # fmt: skip
"""Keys of scheduler configs that are read, or refused with a reason of their own."""
WITHOUT_EFFECT = frozenset({
    "clip_sample", "clip_sample_range", "sample_max_value", "dynamic_thresholding_ratio", "variance_type",
    "skip_prk_steps", "solver_order", "solver_type", "algorithm_type", "lower_order_final", "euler_at_final",
    "solver_p", "predict_x0", "disable_corrector", "predictor_order", "corrector_order", "tau_func", "eta",
    "original_inference_steps", "timestep_scaling", "noise_sampler_seed", "flow_shift",
})  # fmt: skip
"""Keys that say how a sampler steps, clips or adds noise: the ODE that is inverted does not depend on them."""
FORMER_DEFAULTS = {"predict_epsilon": True}
"""Keys of former versions that changed the numbers, which today's classes ignore -> their defaults."""
LIKE_EULER = ("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")
"""Samplers that visit, between Euler's timesteps, further ones."""
OF_THEIR_OWN = ("UnCLIPScheduler", "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")
"""Samplers whose schedule is not what their config's betas give."""
FLOOR = 2.0**-24  # least alpha-bar that has a finite s / a; Euler's sampler takes zero terminal SNR for it


def read_trajectory(
    config: Mapping[str, Any], num_inference_steps: int, *, span: int | None = None, image_tokens: int | None = None,
    given_sigmas: bool = False,
) -> Trajectory:  # fmt: skip
    """The trajectory of a folder's `scheduler_config.json`, whatever scheduler class it names.

    Args:
        config: The scheduler's configuration.
        num_inference_steps: Steps of the sampler that is to be inverted.
        span: End where a sampler of `span` steps ends, whatever the number of steps (a diffusion model's x_T depends on
            it: t = 981 for 50 leading steps, 951 for 20), and space the steps for accuracy; None: the folder's spacing.
        image_tokens: Tokens of one image in the network, which a flow with dynamic shifting asks for.
        given_sigmas: The model's pipeline gives its scheduler the sigmas 1, ..., 1 / steps (FLUX's does).

    Raises:
        UsageError: The configuration is one that cannot be inverted; says which and why.
    """
    if num_inference_steps < 1:
        raise UsageError(f"{num_inference_steps} steps: at least one is needed")
    if "beta_schedule" in config:
        return _diffusion(_complete(config), num_inference_steps, span)
    if "shift" in config:
        return _flow(_complete(config), num_inference_steps, image_tokens, given_sigmas)
    raise UsageError(
        f"cannot invert along {config.get('_class_name', 'this scheduler')}: its config has neither a beta_schedule "
        "(DDPM family) nor a shift (rectified flow)"
    )


def _complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with its own class's defaults for the keys that it lacks, which differ from DDIM's.

    Raises UsageError where a key that we do not read stands at another value than its class's default.
    """
    defaults = {name: p.default for name, p in signature(_sampler(config)).parameters.items()}
    own = {"set_alpha_to_one": True, **defaults, **config}
    for key, value in config.items():
        default = defaults.get(key, FORMER_DEFAULTS.get(key))
        stands = value == default or (key not in (*defaults, *FORMER_DEFAULTS) and not value)
        if not (stands or key.startswith("_") or key in READ or key in WITHOUT_EFFECT):
            raise UsageError(
                f"the scheduler's {key} is {json.dumps(value)}, which changes the noise and is not read here: set it "
                f"to {json.dumps(default)} in a copy of the folder's scheduler_config.json, or leave it out"
            )
    if own.get("final_sigmas_type") == "sigma_min":
        own["set_alpha_to_one"] = False
    return own


def _sampler(config: Mapping[str, Any]) -> Any:
    """The scheduler class that a config names; UsageError where none is known whose schedule its config tells."""
    import diffusers

    default = "DDIMScheduler" if "beta_schedule" in config else "FlowMatchEulerDiscreteScheduler"
    name = config.get("_class_name") or default
    sampler = getattr(diffusers, name, None)
    known = set() if sampler is None else set(signature(sampler).parameters)
    if name in OF_THEIR_OWN or not known & {"prediction_type", "shift"}:
        raise UsageError(f"cannot invert along {name}: its schedule is not known here")
    return sampler


def _made(sampler: Any, config: Mapping[str, Any]) -> Any:
    """A scheduler of the keys that it takes; clipping cannot be inverted, and is off."""
    known = {name: config[name] for name in signature(sampler).parameters if name in config}
    return sampler(**{**known, **({"clip_sample": False} if "clip_sample" in known else {})})


def _diffusion(config: Mapping[str, Any], steps: int, span: int | None) -> Trajectory:
    from diffusers import DDIMScheduler

    prediction, trained = config["prediction_type"], config["num_train_timesteps"]
    if prediction not in PREDICTIONS or prediction == "flow_prediction":
        treated = ", ".join(name for name in PREDICTIONS if name != "flow_prediction")
        raise UsageError(f"cannot invert prediction type {prediction!r}; treated are: {treated}")
    if config.get("thresholding"):
        raise UsageError("dynamic thresholding is not invertible: the scheduler must have thresholding off")
    try:
        ddim = _made(DDIMScheduler, {"clip_sample": False, **config})
    except NotImplementedError as error:
        raise UsageError(f"cannot invert along a {config['beta_schedule']!r} schedule: DDIM has none such") from error
    timesteps = _timesteps(config, ddim, span or steps)
    if timesteps[-1] >= trained or timesteps[0] < 0:
        raise UsageError(f"the scheduler's timesteps run past its {trained}: lower steps_offset or the number of steps")
    if span is not None:
        timesteps = _respaced(timesteps, steps)
    abar = ddim.alphas_cumprod.double().numpy()
    states = np.concatenate([[float(ddim.final_alpha_cumprod)], _abar_at(abar, timesteps)])
    if states[-1] <= 0 and prediction == "epsilon":
        raise UsageError(
            "zero terminal SNR with epsilon prediction: the image cannot be told from x_T; use v-prediction"
        )
    times = np.concatenate([[0.0], timesteps])
    schedule = (np.arange(len(abar), dtype=np.float64), np.sqrt(abar), np.sqrt(1 - abar))
    return Trajectory(times, np.sqrt(states), np.sqrt(1 - states), prediction, 2, schedule)


def _timesteps(config: Mapping[str, Any], ddim: Any, steps: int) -> np.ndarray:
    """The timesteps of the folder's own sampler, ascending.

    A sampler of sigmas steps from one of its timesteps to the next. DDIM's family steps by trained // steps, which
    leads elsewhere than to its timesteps where the spacing is not that: UsageError then, as for too many steps.
    """
    name, trained = config.get("_class_name", "DDIMScheduler"), config["num_train_timesteps"]
    if steps > trained:
        raise UsageError(f"{steps} steps are more than the schedule's {trained} timesteps: choose fewer")
    sampler = _sampler({"_class_name": "EulerDiscreteScheduler"} if name in LIKE_EULER else config)
    own = _made(sampler, config)
    if not hasattr(own, "sigmas"):
        own, spacing = ddim, config["timestep_spacing"]
        if spacing != "leading" and trained % steps:
            raise UsageError(
                f"{steps} steps leave gaps in a schedule of {trained}: with {spacing} spacing {name} steps elsewhere "
                "than to its timesteps; choose a divisor, as 20, 50 or 100"
            )
    own.set_timesteps(steps)
    timesteps = np.unique(np.asarray(own.timesteps, dtype=np.float64))
    if len(timesteps) != steps:
        raise UsageError(f"{name} visits a timestep twice in {steps} steps: choose fewer")
    return timesteps


def _abar_at(abar: np.ndarray, timesteps: np.ndarray) -> np.ndarray:
    """alpha-bar at timesteps; between two whole ones s / a is linear, as Euler's sampler has it."""
    whole = timesteps.astype(np.int64)
    if (whole == timesteps).all():
        return np.asarray(abar[whole])
    ratio = np.interp(timesteps, np.arange(len(abar)), np.sqrt(1 / np.maximum(abar, FLOOR) - 1))
    return np.asarray(1 / (1 + ratio**2))


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


def _flow(config: Mapping[str, Any], steps: int, image_tokens: int | None, given_sigmas: bool) -> Trajectory:
    """By the scheduler's own sigmas, which carry its shift, static or dynamic; they end at 1 whatever the steps."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    if config.get("stochastic_sampling"):
        raise UsageError("a stochastic flow sampler is not invertible: the scheduler must have stochastic_sampling off")
    scheduler = _made(FlowMatchEulerDiscreteScheduler, config)
    mu = _shift(scheduler.config, image_tokens) if scheduler.config.use_dynamic_shifting else None
    sigmas = {"sigmas": np.linspace(1.0, 1 / steps, steps).tolist()}
    scheduler.set_timesteps(mu=mu, **(sigmas if given_sigmas else {"num_inference_steps": steps}))
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
