"""Inversion schemes: each walks a trajectory from the image to the noise, and back. One small class a scheme."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from noisezoo.builder.trajectory import Trajectory

if TYPE_CHECKING:
    from torch import Tensor

Network = Callable[["Tensor", int], "Tensor"]
"""(state (b, c, h, w) float32, timestep) -> output (b, c, h, w) float32, in the network's own prediction type."""


class Scheme(ABC):
    """A way to integrate the probability-flow ODE along a trajectory; the state stays float32 throughout."""

    def __init__(self, trajectory: Trajectory) -> None:
        self.trajectory = trajectory

    @abstractmethod
    def invert(self, y: "Tensor", network: Network) -> "Tensor":
        """From the clean state to x_T: (b, c, h, w) float32 both."""

    def generate(self, y: "Tensor", network: Network) -> "Tensor":
        """From x_T to the clean state by DDIM (Song et al. 2021, eq. 12 with sigma 0)."""
        for step in reversed(range(len(self.trajectory.timesteps))):
            p, q = self.trajectory.generation_coefficients(step)
            y = p * y + q * network(y, int(self.trajectory.timesteps[step]))
        return y

    def epsilon(self, y: "Tensor", step: int, network: Network) -> "Tensor":
        """The noise the network sees in `y`, asked at the time of state `step + 1`."""
        p, q = self.trajectory.epsilon_coefficients(step)
        output = network(y, int(self.trajectory.timesteps[step]))
        return p * y + q * output

    def move(self, y: "Tensor", epsilon: "Tensor", source: int, target: int) -> "Tensor":
        """Carry state `source` to state `target` along a constant epsilon: a' x0 + s' eps, x0 = (y - s eps) / a."""
        a, s = self.trajectory.a, self.trajectory.s
        ratio = float(a[target] / a[source])
        return ratio * y + float(s[target] - ratio * s[source]) * epsilon


class Ddim(Scheme):
    """The paper's: DDIM run backwards, each step's epsilon taken from the state it starts at (first order).

    On its own timesteps it equals diffusers' `DDIMInverseScheduler` for epsilon prediction.
    """

    def invert(self, y: "Tensor", network: Network) -> "Tensor":
        """One network call a step."""
        for step in range(len(self.trajectory.timesteps)):
            y = self.move(y, self.epsilon(y, step, network), step, step + 1)
        return y


SCHEMES: Mapping[str, type[Scheme]] = {"ddim": Ddim}
"""Name in a recipe -> scheme."""
