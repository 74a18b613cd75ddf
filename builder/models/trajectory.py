"""Noise schedules and predictions as algebra: one state equation, a row for each prediction, no branches.

A state is y = a x0 + s eps. A schedule is its levels: the pairs (a, s) it visits and what the network is told at each.
Every prediction type says x0 and eps as p y + q output. Divided by c, the probability-flow ODE of every schedule is
du / dtau = g with u = y / c and tau = s / c:

- noise coordinates, c = a:         g = eps, tau may run to infinity; DDIM is Euler's method (Song et al. 2021, eq. 14);
- straight coordinates, c = a + s:  g = eps - x0, tau runs to 1; a rectified flow as it stands (Liu et al. 2022).

So one loop serves diffusion models and flows, and a scheme need know neither schedules nor predictions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

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
