"""Inversion schemes: each walks the levels of a trajectory from the image to the noise, and back.

A scheme integrates du / dtau = g (see `noise_schedule`). It knows neither the schedule nor what the network predicts,
so every scheme serves diffusion models and rectified flows alike.
"""

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from noisezoo.errors import UsageError
from noisezoo.plugins import load_plugins
from .noise_schedule import Coordinates, Level, Trajectory

if TYPE_CHECKING:
    from torch import Tensor

Network = Callable[["Tensor", float], "Tensor"]
"""(state (b, c, h, w) float32, time) -> output (b, c, h, w) float32, in the network's own prediction type."""
Draw = Callable[[], "Tensor"]  # fresh Gaussian noise in the state's shape, from each image's own seed
ETA = 1e-6  # what keeps a Newton step finite where the derivative is none
SCHEMES: "dict[str, type[Scheme]]" = {}  # name in a recipe -> scheme; a subclass enters by its `name`


@dataclass
class Scheme(ABC):
    """A way to integrate the probability-flow ODE; the state stays float32 throughout. Options are fields.

    `class Mine(Scheme, name="mine")` adds a scheme. One of one-step methods says `step`, others `walk`.
    """

    trajectory: Trajectory
    name: ClassVar[str]
    keeps_previous: ClassVar[bool] = False
    straight: ClassVar[bool] = True

    def __init_subclass__(cls, *, name: str) -> None:
        cls.name = name
        SCHEMES[name] = cls

    @property
    def passes_each(self) -> float:
        """Passes through the network that one of its calls costs."""
        return 1.0

    @cached_property
    def path(self) -> Coordinates:
        """The trajectory in the coordinates that the scheme integrates in."""
        return Coordinates(self.trajectory, straight=self.straight)

    def invert(self, y: "Tensor", network: Network, draw: Draw) -> "tuple[Tensor, Tensor | None]":
        """From the clean state to x_T, and the last state but one where the way back needs it."""
        return self.walk(y, network, self.path.levels), None

    def generate(self, y: "Tensor", network: Network, previous: "Tensor | None" = None) -> "Tensor":
        """From x_T to the clean state with the same steps."""
        return self.walk(y, network, self.path.levels[::-1])

    def walk(self, y: "Tensor", network: Network, levels: Sequence[Level]) -> "Tensor":
        """Integrate through the levels, in either direction."""
        for here, there in pairwise(levels):
            y = self.step(y, network, here, there)
        return y

    def step(self, y: "Tensor", network: Network, here: Level, there: Level) -> "Tensor":
        """From one level to the next; Euler's method (first order, one call) here."""
        return move(y, slope(y, here, network), here, there)


def slope(y: "Tensor", level: Level, network: Network) -> "Tensor":
    """The ODE's direction g = p y + q output at a level."""
    return level.p * y + level.q * network(y, level.time)


def move(y: "Tensor", g: "Tensor", here: Level, there: Level) -> "Tensor":
    """Carry a state along a constant direction: u' = u + (tau' - tau) g, with u = y / c and tau = s / c."""
    ratio = there.c / here.c
    return ratio * y + (there.s - ratio * here.s) * g


class Ddim(Scheme, name="ddim"):
    """The paper's: DDIM run backwards, the network asked in the state a step starts at, at the time where it ends.

    Equals diffusers' `DDIMInverseScheduler` on its own timesteps for epsilon prediction; for v-prediction the network's
    own level converts v, where diffusers takes the source's (an error of first order). Generation is DDIM's
    (Song et al. 2021, eq. 12), which in noise coordinates is Euler's method.
    """

    straight = False

    def step(self, y: "Tensor", network: Network, here: Level, there: Level) -> "Tensor":
        """One call, at the noisier of the two levels."""
        return move(y, slope(y, max(here, there, key=lambda level: level.tau), network), here, there)


@dataclass
class FixedPoint(Ddim, name="ddim-fixed-point"):
    """Solves each of DDIM's own steps for the state it came from (Pan et al. 2023): y = F(y), F the step reversed.

    Anderson acceleration (Walker & Ni 2011) over all earlier iterates. It inverts the *discrete* sampler: the round
    trip nears exactness while the distance to the ODE's noise does not shrink. One iteration is `ddim`.
    """

    iterations: int = 5

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise UsageError(f"{self.name} with {self.iterations} iterations: at least one is needed")

    def step(self, y: "Tensor", network: Network, here: Level, there: Level) -> "Tensor":
        """`iterations` calls towards noise, from the step's own beginning; DDIM's one call towards the image."""
        if there.tau < here.tau:
            return super().step(y, network, here, there)
        guesses, images = [y], [super().step(y, network, here, there)]
        for _ in range(self.iterations - 1):
            guesses.append(anderson(guesses, images))
            images.append(move(y, slope(guesses[-1], there, network), here, there))
        return images[-1]


@dataclass
class GuidedNewton(FixedPoint, name="gnri"):
    """Solves each of DDIM's own steps by guided Newton-Raphson iterations (Samuel et al. 2025, GNRI).

    F is the step reversed, as in `FixedPoint`, and D the numbers in a state z. From z = the step's beginning y, the
    scalar f(z) = |z - F(z)|_1 + guidance |z - mu|_2 / beta is driven to zero by z_i <- z_i - f / (D (df / dz_i + eta)).
    Its second term keeps to where forward diffusion leads from y: mu is the mean and, of a diffusion model, beta the
    variance. As in the released code, the answer is F(z) of the z that F moves least. Each call but a step's last is
    followed by one pass back, which takes as long as two forwards. With one number a state, a linear network, no
    guidance and two iterations, the step is solved exactly.
    """

    iterations: int = 2
    guidance: float = 0.1

    @property
    def passes_each(self) -> float:
        """Passes through the network that one call costs, the passes back included."""
        return 3 - 2 / self.iterations

    def step(self, y: "Tensor", network: Network, here: Level, there: Level) -> "Tensor":
        """`iterations` calls towards noise; DDIM's one call towards the image."""
        import torch

        if there.tau <= here.tau:
            return Ddim.step(self, y, network, here, there)
        ratio, ones = there.a / here.a, [1] * (y.dim() - 1)
        beta = 1.0 if self.trajectory.norm == 1 else 1 - ratio**2
        with torch.inference_mode(False), torch.enable_grad():
            y = y.clone()
            z, best, least = y, y, torch.full((len(y),), torch.inf, device=y.device, dtype=y.dtype)
            for left in reversed(range(self.iterations)):
                z = z.detach().requires_grad_()
                image = move(y, slope(z, there, network), here, there)
                residual = (z - image).flatten(1).abs().sum(dim=1)  # (b,)
                worse = (residual >= least).detach()  # false where the network failed, so that its row fails
                best, least = torch.where(worse.view(-1, *ones), best, image), torch.where(worse, least, residual)
                if left:
                    f = residual + self.guidance * (z - ratio * y).flatten(1).norm(dim=1) / beta
                    (slopes,) = torch.autograd.grad(f.sum(), z)
                    z = z - f.view(-1, *ones) / (z[0].numel() * (slopes + ETA))
        return best.detach()


def anderson(guesses: "Sequence[Tensor]", images: "Sequence[Tensor]") -> "Tensor":
    """The next guess from x_i and F(x_i), each image of the batch for itself.

    Weights that sum to 1 and make the residual sum w_i (F(x_i) - x_i) least, applied to the F(x_i) (Walker & Ni 2011,
    section 2). A row that is not finite stays so and touches no other.
    """
    import torch

    X, F = (torch.stack([state.flatten(1) for state in states], dim=1) for states in (guesses, images))  # (b, k, d)
    R = F - X
    D = R[:, 1:] - R[:, :1]  # (b, k - 1, d): residuals as the first plus a mix of differences
    G = D @ D.mT  # (b, k - 1, k - 1)
    ridge = 1e-6 * G.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(G.shape[1], device=G.device)
    mix = torch.linalg.solve_ex(G + ridge + 1e-30, -(D @ R[:, 0].unsqueeze(2)))[0] if len(guesses) > 1 else None
    mixed = F[:, 0] if mix is None else F[:, 0] + (mix.mT @ (F[:, 1:] - F[:, :1])).squeeze(1)
    return mixed.view_as(guesses[0])


class Euler(Scheme, name="euler"):
    """Euler's method; on a rectified flow, its plain inversion (Liu et al. 2022)."""


class Heun(Scheme, name="heun"):
    """Heun's method (second order, two calls a step), as in Karras et al. (2022), algorithm 1."""

    def step(self, y: "Tensor", network: Network, here: Level, there: Level) -> "Tensor":
        """Along the mean of the slopes at both ends."""
        first = slope(y, here, network)
        second = slope(move(y, first, here, there), there, network)
        return move(y, (first + second) / 2, here, there)


class Midpoint(Scheme, name="midpoint"):
    """The midpoint rule (second order, two calls a step), asking halfway in tau (Wang et al. 2024)."""

    def step(self, y: "Tensor", network: Network, here: Level, there: Level) -> "Tensor":
        """Along the slope at the middle, reached by the slope at the start."""
        middle = self.path.between(here, there)
        halfway = move(y, slope(y, here, network), here, middle)
        return move(y, slope(halfway, middle, network), here, there)


class FireFlow(Scheme, name="fireflow"):
    """The midpoint rule at one call a step: the last middle's slope reaches the next middle (Deng et al. 2024)."""

    def walk(self, y: "Tensor", network: Network, levels: Sequence[Level]) -> "Tensor":
        """One call a step, and one to begin with."""
        g = slope(y, levels[0], network)
        for here, there in pairwise(levels):
            middle = self.path.between(here, there)
            g = slope(move(y, g, here, middle), middle, network)
            y = move(y, g, here, there)
        return y


class AdamsBashforth(Scheme, name="ab2"):
    """Adams-Bashforth of two steps of any widths (second order, one call a step; the first step is Heun's)."""

    def walk(self, y: "Tensor", network: Network, levels: Sequence[Level]) -> "Tensor":
        """The slope carried on to the middle of the step: g + (h / 2 h') (g - g'), h' and g' the last step's."""
        levels = [levels[0], *(there for here, there in pairwise(levels) if there.tau != here.tau)]  # no empty steps
        before = slope(y, levels[0], network)
        ahead = slope(move(y, before, *levels[:2]), levels[1], network)
        y = move(y, (before + ahead) / 2, *levels[:2])
        for last, here, there in zip(levels, levels[1:], levels[2:], strict=False):
            g = slope(y, here, network)
            lean = (there.tau - here.tau) / (2 * (here.tau - last.tau))
            y, before = move(y, g + lean * (g - before), here, there), g
        return y


class Bdia(Heun, name="bdia"):
    """Bi-directional integration with gamma = 1 (Zhang et al. 2023, eq. 15): exact with its own sampler.

    y_{i+1} = y_{i-1} + [DDIM from i to i+1] - [DDIM from i to i-1], both from y_i at one network call; read backwards
    it gives y_{i-1} from y_{i+1} and y_i, so that the last *two* states bring the image back but for rounding.
    """

    keeps_previous = True
    straight = False

    def invert(self, y: "Tensor", network: Network, draw: Draw) -> "tuple[Tensor, Tensor | None]":
        """Any first step would come back exactly; Heun's keeps the second order."""
        levels = self.path.levels
        return self._leaps(y, self.step(y, network, *levels[:2]), network, levels)

    def generate(self, y: "Tensor", network: Network, previous: "Tensor | None" = None) -> "Tensor":
        """From the last two states; from x_T alone, the first step is DDIM's."""
        levels = self.path.levels[::-1]
        first = move(y, slope(y, levels[0], network), *levels[:2]) if previous is None else previous
        return self._leaps(y, first, network, levels)[0]

    def _leaps(
        self, before: "Tensor", y: "Tensor", network: Network, levels: Sequence[Level]
    ) -> "tuple[Tensor, Tensor]":
        """The last state and the last but one, from the first two."""
        for last, here, there in zip(levels, levels[1:], levels[2:], strict=False):
            before, y = y, self.leap(before, y, slope(y, here, network), last, here, there)
        return y, before

    def leap(self, before: "Tensor", y: "Tensor", g: "Tensor", last: Level, here: Level, there: Level) -> "Tensor":
        """The state at `there`, from those at `last` and `here` and the slope at `here`."""
        return before + (move(y, g, here, there) - move(y, g, here, last))


class Belm(Bdia, name="belm"):
    """O-BELM (Wang et al. 2024): of all two-step methods that one call makes exact both ways, the most accurate.

    u_{i+1} = r^2 u_{i-1} + (1 - r^2) u_i + h (1 + r) g(u_i), where u = y / a, h = tau_{i+1} - tau_i and r = h over the
    width of the step before. Solved for u_{i-1} it reads the same with the steps reversed. Its local error is of third
    order, but where steps widen (r > 1: towards noise) it grows from step to step.
    """

    def leap(self, before: "Tensor", y: "Tensor", g: "Tensor", last: Level, here: Level, there: Level) -> "Tensor":
        """By the formula; after a step of no width, with which some spacings begin, Euler's."""
        h, width = there.tau - here.tau, here.tau - last.tau
        if not (h and width):
            return move(y, g, here, there)
        r = h / width
        return there.c * (r**2 * before / last.c + (1 - r**2) * y / here.c + h * (1 + r) * g)


@dataclass
class ForwardStart(Ddim, name="forward-start"):
    """DDIM whose first `share` of steps is forward diffusion, from a seed per image (Staniszewski et al. 2024).

    Remedies the structure of the image that DDIM inversion leaves in the noise, most of it in those steps.
    """

    share: float = 0.04

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UsageError(f"forward-start with a share of {self.share}: it must lie between 0 and 1")

    def invert(self, y: "Tensor", network: Network, draw: Draw) -> "tuple[Tensor, Tensor | None]":
        """y_m = (a_m / a_0) y_0 + sqrt(s_m^2 - (a_m / a_0)^2 s_0^2) noise, then DDIM from there."""
        levels = self.path.levels
        m = round(self.share * self.trajectory.steps)
        if m:
            ratio = levels[m].a / levels[0].a
            y = ratio * y + max(levels[m].s ** 2 - (ratio * levels[0].s) ** 2, 0.0) ** 0.5 * draw()
        return self.walk(y, network, levels[m:]), None


@dataclass
class DdimSource(Scheme, name="ddim-source"):
    """The loop of the paper's released code: the network is asked in the state and at the time where a step starts.

    The image's latent is taken for the state of the lowest timestep, and that is where generation ends: N timesteps
    are N - 1 steps of one call. Euler's method in noise coordinates.
    """

    straight = False

    def __post_init__(self) -> None:
        if self.trajectory.steps < 2:
            raise UsageError("ddim-source steps from one timestep to the next: at least 2 steps are needed")

    def walk(self, y: "Tensor", network: Network, levels: Sequence[Level]) -> "Tensor":
        """Through all levels but the clean one."""
        clean = self.path.levels[0]
        return super().walk(y, network, [level for level in levels if level is not clean])


def make_scheme(name: str, trajectory: Trajectory, options: Mapping[str, Any] | None = None) -> Scheme:
    """A scheme on a trajectory; raises UsageError as `check_scheme` does."""
    check_scheme(name, options or {})
    return SCHEMES[name](trajectory, **(options or {}))


def check_scheme(name: str, options: Mapping[str, Any]) -> None:
    """Raise UsageError for a scheme or an option that there is not, or an option's value of another type."""
    load_plugins()
    if name not in SCHEMES:
        near = get_close_matches(name, SCHEMES, 1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"unknown scheme {name!r}; {guess}choose one of: {', '.join(SCHEMES)}")
    known = {field.name: field.default for field in fields(SCHEMES[name]) if field.default is not MISSING}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(f"scheme {name} has no option {unknown[0]!r}; it has: {', '.join(known) or 'none'}")
    for option, value in options.items():
        numbers = (int, float) if isinstance(known[option], float) else type(known[option])
        if not isinstance(value, numbers) or isinstance(value, bool) != isinstance(known[option], bool):
            raise UsageError(f"scheme {name}: {option} is {value!r}, where a value like {known[option]!r} is needed")


ACCURACIES: Mapping[str, Mapping[str, Any]] = {
    "ddim-20": {"scheme": "fireflow", "num_inference_steps": 6, "span": 20},
    "ddim-50": {"scheme": "fireflow", "num_inference_steps": 9, "span": 50},
    "ddim-100": {"scheme": "fireflow", "num_inference_steps": 12, "span": 100},
}
"""`ddim-N` -> settings whose noise lies at most as far from the ODE's own as DDIM's at N steps, at the noise level
where those end, on every closed form and trained model of `benchmarks/accuracy.csv` (by `bench_accuracy.py`)."""


def pick(name: str) -> dict[str, Any]:
    """The settings that `accuracy: NAME` of a recipe stands for; raises UsageError where that was not measured."""
    if name not in ACCURACIES:
        raise UsageError(f"accuracy {name!r} was not measured; choose one of: {', '.join(ACCURACIES)}")
    return dict(ACCURACIES[name])
