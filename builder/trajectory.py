"""Noise schedules and predictions as algebra: one state equation, a row for each prediction, no branches.

A state is y = a x0 + s eps. A schedule is its levels: the pairs (a, s) it visits and what the network is told at each.
Every prediction type says x0 and eps as p y + q output. Divided by c, the probability-flow ODE of every schedule is
du / dtau = g with u = y / c and tau = s / c:

- noise coordinates, c = a:         g = eps, tau runs to infinity; DDIM is Euler's method (Song et al. 2021, eq. 14);
- straight coordinates, c = a + s:  g = eps - x0, tau runs to 1; a rectified flow as it stands (Liu et al. 2022).

So one loop serves diffusion models and flows, and a scheme need know neither schedules nor predictions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np

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
    """The levels a sampler visits, from the clean image to x_T.

    Attributes:
        times: What the network is told at each level, ascending: (steps + 1,) float64.
        a: Weight of the image in each state, clean state first: (steps + 1,) float64.
        s: Weight of the noise in each state: (steps + 1,) float64.
        prediction: A key of `PREDICTIONS`.
        norm: n of a^n + s^n = 1: 2 for variance-preserving diffusion, 1 for a rectified flow.
        grid: The continuous schedule between the levels, as (tau, time) in this trajectory's coordinates, both rising.
        clean: (a, s) of the level that the network takes the clean state for; differs from the first state's where that
            is the image itself, which no network is trained on.
    """

    times: np.ndarray
    a: np.ndarray
    s: np.ndarray
    prediction: str
    norm: int
    grid: tuple[np.ndarray, np.ndarray]
    clean: Coefficients

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.times) - 1

    @property
    def straight(self) -> bool:
        """Whether the coordinates are straight: for flows, and where x_T is pure noise (else infinitely far)."""
        return is_straight(self.norm, float(self.a[-1]))

    @cached_property
    def levels(self) -> list[Level]:
        """The levels, clean first."""
        states = zip(self.times.tolist(), self.a.tolist(), self.s.tolist(), strict=True)
        first, *others = states
        return [self._level(*first, seen=self.clean), *(self._level(time, a, s, seen=(a, s)) for time, a, s in others)]

    def between(self, here: Level, there: Level, share: float = 0.5) -> Level:
        """The level a share of the way from one to another, in tau; the network is told the time that belongs to it."""
        tau = here.tau + share * (there.tau - here.tau)
        image, noise = (1 - tau, tau) if self.straight else (1.0, tau)
        c = (image**self.norm + noise**self.norm) ** (-1 / self.norm)
        a, s = c * image, c * noise
        return self._level(float(np.interp(tau, *self.grid)), a, s, seen=(a, s))

    def _level(self, time: float, a: float, s: float, seen: Coefficients) -> Level:
        """The direction's coefficients are those of the level that the network takes the state for.

        That is what its training target means; diffusers' inverse scheduler converts v at the *source* state while the
        network is told the target's time.
        """
        (p_image, q_image), (p_noise, q_noise) = PREDICTIONS[self.prediction](*seen)
        if not self.straight:
            return Level(time, a, s, a, p_noise, q_noise)
        return Level(time, a, s, a + s, p_noise - p_image, q_noise - q_image)


def is_straight(norm: int, last_a: float) -> bool:
    """Whether a schedule is integrated in straight coordinates."""
    return norm == 1 or last_a == 0


def taus(a: np.ndarray, s: np.ndarray, straight: bool) -> np.ndarray:
    """S / c of many states; infinity where a noise coordinate has no image left."""
    c = a + s if straight else a
    tau: np.ndarray = np.divide(s, c, out=np.full_like(s, inf), where=c > 0)
    return tau
