"""Noise schedules and predictions as algebra: one state equation, a row for each prediction, no branches.

A state is y_t = a_t x0 + s_t eps. Every schedule is its pairs (a, s) on the timesteps it visits; every prediction type
says x0 and eps as p y + q output. So one loop serves them all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisezoo.errors import UsageError

Coefficients = tuple[float, float]
PREDICTIONS: Mapping[str, Callable[[float, float], tuple[Coefficients, Coefficients]]] = {
    "epsilon": lambda a, s: ((1.0 / a, -s / a), (0.0, 1.0)),
    "v_prediction": lambda a, s: ((a, -s), (s, a)),  # v = a eps - s x0 (Salimans & Ho 2022), with a^2 + s^2 = 1
    "sample": lambda a, s: ((0.0, 1.0), (1.0 / s, -a / s)),
}
"""Prediction type -> the (p, q) of x0 and the (p, q) of eps, each p y + q output, at the network's own (a, s)."""


@dataclass(frozen=True)
class Trajectory:
    """The states a sampler visits, from the clean image to x_T.

    Attributes:
        timesteps: What the network is told on each step, ascending: (steps,) int64.
        a: Weight of the image in each state, clean state first: (steps + 1,) float64.
        s: Weight of the noise in each state: (steps + 1,) float64.
        prediction: A key of `PREDICTIONS`.
    """

    timesteps: np.ndarray
    a: np.ndarray
    s: np.ndarray
    prediction: str

    def epsilon_coefficients(self, step: int) -> Coefficients:
        """(p, q) with eps = p y + q output for the network call of step `step`, made at state `step + 1`'s time.

        Using the network's own time for both is what the training target means; diffusers' inverse scheduler converts
        v at the *source* state while the network sees the target's time.
        """
        return self._coefficients(step)[1]

    def generation_coefficients(self, step: int) -> Coefficients:
        """(p, q) with state `step` = p (state `step + 1`) + q output: DDIM's a' x0 + s' eps (Song et al. 2021, eq. 12).

        x0 comes from the prediction, not from y / a, which does not exist where the last state is pure noise.
        """
        (p_image, q_image), (p_noise, q_noise) = self._coefficients(step)
        a, s = float(self.a[step]), float(self.s[step])
        return a * p_image + s * p_noise, a * q_image + s * q_noise

    def _coefficients(self, step: int) -> tuple[Coefficients, Coefficients]:
        return PREDICTIONS[self.prediction](float(self.a[step + 1]), float(self.s[step + 1]))


def read_trajectory(config: Mapping[str, Any], num_inference_steps: int) -> Trajectory:
    """The trajectory that a diffusers scheduler folder describes, read through `DDIMScheduler` itself.

    Args:
        config: The folder's `scheduler_config.json`, whatever its class among the DDPM family.
        num_inference_steps: Steps of the sampler that is to be inverted.

    Raises:
        UsageError: The configuration is one that DDIM inversion cannot treat; says which and why.
    """
    from diffusers import DDIMScheduler

    if "beta_schedule" not in config:
        name = config.get("_class_name", "this scheduler")
        raise UsageError(
            f"cannot invert along {name}: its config has no beta_schedule, so it is not of the DDPM family"
        )
    trained = config.get("num_train_timesteps", 1000)
    if config.get("prediction_type", "epsilon") not in PREDICTIONS:
        raise UsageError(
            f"cannot invert prediction type {config['prediction_type']!r}; treated are: {', '.join(PREDICTIONS)}"
        )
    if config.get("thresholding"):
        raise UsageError("dynamic thresholding is not invertible: the scheduler must have thresholding off")
    if not 1 <= num_inference_steps <= trained or trained % num_inference_steps:
        raise UsageError(
            f"{num_inference_steps} steps leave gaps in a schedule of {trained}: choose a divisor, as 20, 50 or 100"
        )
    # A config that lacks clip_sample (PNDM's) would get DDIM's default True, and clipping cannot be inverted.
    scheduler = DDIMScheduler.from_config({**config, "clip_sample": False})  # type: ignore[no-untyped-call]
    scheduler.set_timesteps(num_inference_steps)
    timesteps = np.asarray(scheduler.timesteps)[::-1].astype(np.int64)
    if timesteps[-1] >= trained or timesteps[0] < 0:
        raise UsageError(f"the scheduler's timesteps run past its {trained}: lower steps_offset or the number of steps")
    abar = scheduler.alphas_cumprod.double().numpy()
    states = np.concatenate([[float(scheduler.final_alpha_cumprod)], abar[timesteps]])
    if states[-1] <= 0 and scheduler.config.prediction_type == "epsilon":
        raise UsageError(
            "zero terminal SNR with epsilon prediction: the image cannot be told from x_T; use v-prediction"
        )
    return Trajectory(timesteps, np.sqrt(states), np.sqrt(1 - states), scheduler.config.prediction_type)
