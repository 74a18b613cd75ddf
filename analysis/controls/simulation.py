"""Data with a known truth: the paper's claim as a generative model, and controls that each break one part of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Floats

Singles = NDArray[np.float32]
Rows = NDArray[np.floating]
_DEGREES = 5  # of freedom of the Student's t that random scales make: heavy tails with a finite kurtosis
_RATES = (0.2, 0.5)  # of the rarest and the commonest attribute
MODE = 0.9
"""Distance of the two modes from the mean, in standard deviations."""


def laplace(X: Rows, sd: Floats) -> Floats:
    """Gaussian coordinates (n, d) of standard deviations (d,) made Laplace, by quantiles."""
    from scipy.special import log_ndtr

    return np.asarray(-np.sign(X) * (np.log(2) + log_ndtr(-np.abs(X / sd))) * sd / np.sqrt(2))


def bimodal(X: Rows, sd: Floats) -> Floats:
    """Gaussian coordinates made even mixtures of two Gaussians, by quantiles."""
    from scipy.special import ndtr

    grid, width = np.linspace(-5, 5, 20001), np.sqrt(1 - MODE**2)
    law = (ndtr((grid - MODE) / width) + ndtr((grid + MODE) / width)) / 2
    return np.asarray(np.interp(ndtr(X / sd), law, grid) * sd)


def shell(X: Rows, sd: Floats) -> Floats:
    """Rows brought to one norm."""
    return np.asarray(X * (np.linalg.norm(sd) / np.linalg.norm(X, axis=1, keepdims=True)))


def row_scales(rng: np.random.Generator, n: int, degrees: int) -> Floats:
    """Scales (n, 1) that make Gaussian rows a multivariate t of the same covariance."""
    return np.sqrt((degrees - 2) / rng.chisquare(degrees, (n, 1)))


@dataclass(frozen=True, slots=True)
class _Control:
    shared: bool = True
    warp: Callable[[Singles, Floats, Floats], Rows] | None = None  # view (n, d), its sd (d,), scale (n, 1)
    linear: bool = True
    """Whether an attribute is the sign of s w; else of (s w)(s v), uncorrelated with every linear function of s."""

    @property
    def is_known(self) -> bool:
        """Whether the Bayes rule has a closed form."""
        return self.warp is None and self.linear


CONTROLS: Mapping[str | None, _Control] = MappingProxyType(
    {
        None: _Control(),
        "independent": _Control(shared=False),
        "laplace": _Control(warp=lambda X, sd, scale: laplace(X, sd)),
        "bimodal": _Control(warp=lambda X, sd, scale: bimodal(X, sd)),
        "shell": _Control(warp=lambda X, sd, scale: shell(X, sd)),
        "scale-mixture": _Control(warp=lambda X, sd, scale: X * scale),
        "nonlinear": _Control(linear=False),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """Views x_i = s A_i + e_i of a shared Gaussian s, attributes 1[s w > t], and all that decides them."""

    views: list[Singles]  # [(n, d_i)]
    attributes: Floats  # (n, k) zeros and ones, with label noise
    clean: Floats  # (n, k) without it
    S: Floats  # (n, s) standard Gaussian
    maps: list[Floats]  # [(s, d_i)] A_i
    regressions: list[Floats]  # [(d_i, s)] B_i: E[s | x_i] = x_i B_i, zero where nothing is shared
    normals: Floats  # (s, k) unit vectors w
    thresholds: Floats  # (k,)
    label_noise: float
    control: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the attributes."""
        return tuple(f"attribute_{j}" for j in range(self.attributes.shape[1]))

    def directions(self, view: int) -> Floats:
        """Normals (d_i, k) of the Bayes rule given a view, Cov(x)^-1 Cov(x, s w) = B w.

        Raises:
            ValueError: a control whose views or attributes are not linear and Gaussian: there is no closed form.
        """
        if not CONTROLS[self.control].is_known:
            raise ValueError(f"the truth of the control {self.control!r} has no closed form: it is not linear-Gaussian")
        return np.asarray(self.regressions[view] @ self.normals)

    def reliability(self, view: int) -> Floats:
        """R2 (k,) of the best regression of each s w on a view: w^T A B w; raises as `directions`."""
        return np.asarray(np.sum(self.normals * (self.maps[view] @ self.directions(view)), axis=0))

    def bayes_accuracy(self, view: int) -> Floats:
        """Accuracy (k,), on labels with their noise, of the best rule given a view, 1[E[s w | x] > t].

        s w is Gaussian about m = E[s w | x] with variance 1 - R2, so the rule is right with probability
        Phi(|m - t| / sqrt(1 - R2)), averaged over m ~ N(0, R2). Raises as `directions`.
        """
        from scipy.special import ndtr

        r2 = np.clip(self.reliability(view), 0.0, 1 - 1e-12)[:, None]
        u = np.linspace(-9, 9, 20001)
        weight = np.exp(-(u**2) / 2) / np.exp(-(u**2) / 2).sum()
        right = ndtr(np.abs(np.sqrt(r2) * u - self.thresholds[:, None]) / np.sqrt(1 - r2)) @ weight
        return np.asarray(right * (1 - 2 * self.label_noise) + self.label_noise)


def simulate_une(
    n: int,
    *,
    shared_dim: int = 32,
    view_dims: Sequence[int] = (310,) * 4,
    noise: float = 0.5,
    decay: float = 0.5,
    n_attributes: int = 8,
    label_noise: float = 0.02,
    control: str | None = None,
    sample: int = 0,
    seed: int = 42,
) -> Simulated:
    """Draw n rows of the paper's model: every view a noisy linear projection of one Gaussian, x_i = s A_i + e_i.

    A_i has Gaussian entries, so that s gives each coordinate unit variance on average. e_i is Gaussian in a random
    rotation, its variances falling as j^-decay, as spectra of images and embeddings do. At the defaults a third of a
    view's variance is private, its first axis as strong as the weakest shared one; one view of 310 tells 96 % of the
    variance of an attribute's s w, and the best rule given it is right on 92 % of the labels. From decay 1 the leading
    axes of a view are private, and PCA does not find what is shared.

    Args:
        n: rows.
        shared_dim: s, the dimension of what is shared.
        view_dims: d_i of each view.
        noise: private variance over shared variance, of a coordinate on average.
        decay: exponent of the private spectrum; 0 is white.
        n_attributes: k; their rates run evenly from 20 % to 50 % (all 50 % in "nonlinear").
        label_noise: probability with which a label is flipped.
        control: None for the model, or what breaks it. "independent": each view has a shared Gaussian of its own, and
            the attributes another. "laplace", "bimodal": every coordinate has that marginal, a monotone function of
            the model's. "shell": all rows of a view have one norm. "scale-mixture": rows are Student's t with 5 degrees
            of freedom, one scale a row in all views. "nonlinear": attributes 1[(s w)(s v) > 0], v orthogonal to w.
        sample: another number gives other rows of the same population.
        seed: decides the population: maps, spectra, attributes.

    Returns:
        Views in float32, the rest in float64.

    Raises:
        ValueError: a setting out of its range, or an unknown control.
    """
    _refuse_out_of_range(n, shared_dim, view_dims, noise, n_attributes, label_noise, control)
    row, root = CONTROLS[control], np.sqrt(shared_dim)
    truth = [np.random.default_rng([seed, 0, i]) for i in range(len(view_dims) + 1)]
    drawn = [np.random.default_rng([seed, 1, sample, i]) for i in range(len(view_dims) + 1)]
    S = drawn[0].standard_normal((n, shared_dim))
    scale = row_scales(drawn[0], n, _DEGREES)
    W, V, t = _attributes(shared_dim, n_attributes, truth[0], row.linear)
    clean = ((S @ W if row.linear else (S @ W) * (S @ V)) > t).astype(np.float64)
    labels = np.abs(clean - (drawn[0].random(clean.shape) < label_noise))
    views, maps, regressions = [], [], []
    for d, rng, rows in zip(view_dims, truth[1:], drawn[1:], strict=True):
        A = rng.standard_normal((shared_dim, d)) / root
        private = _Private.draw(d, noise, decay, rng)
        source = S if row.shared else rows.standard_normal(S.shape)
        X = (source.astype(np.float32) @ A.astype(np.float32)) + private.sample(n, rows)
        sd = np.sqrt((A**2).sum(axis=0) + private.variances())
        views.append(row.warp(X, sd, scale).astype(np.float32) if row.warp else X)
        maps.append(A)
        regressions.append(private.regression(A) * row.shared)
    return Simulated(views, labels, clean, S, maps, regressions, W, t, label_noise, control)


def _refuse_out_of_range(
    n: int, shared_dim: int, view_dims: Sequence[int], noise: float, n_attributes: int, label_noise: float,
    control: str | None,
) -> None:  # fmt: skip
    sizes = (n, n_attributes, *view_dims, len(view_dims))
    holds = {
        f"control must be None or one of {', '.join(map(str, list(CONTROLS)[1:]))}": control in CONTROLS,
        "n, n_attributes, every one of view_dims and their number must be at least 1": min(sizes) >= 1,
        "shared_dim must be at least 2": shared_dim >= 2,
        "noise must be positive and label_noise in [0, 0.5)": noise > 0 and 0 <= label_noise < 0.5,
    }
    asked = f"{control!r}, sizes {sizes}, {shared_dim}, {noise} and {label_noise}"
    for must, is_so in holds.items():
        if not is_so:
            raise ValueError(f"{must}; asked for were {asked}")


def _attributes(s: int, k: int, rng: np.random.Generator, linear: bool) -> tuple[Floats, Floats, Floats]:
    """Unit normals w and v (s, k), orthogonal in pairs, and thresholds (k,)."""
    from scipy.special import ndtri

    W, V = (draw / np.linalg.norm(draw, axis=0) for draw in rng.standard_normal((2, s, k)))
    V = V - W * np.sum(W * V, axis=0)
    t = -ndtri(np.linspace(*_RATES, k)) if linear else np.zeros(k)
    return W, V / np.linalg.norm(V, axis=0), t


@dataclass(frozen=True, slots=True, eq=False)
class _Private:
    """A Gaussian of given spectrum in a random rotation Q = P C D: permuted axes, cosine transform, random signs.

    The transform costs d log d a row, so that views of 16,384 dimensions need no d x d matrix.
    """

    spectrum: Floats  # (d,) permuted
    signs: Floats  # (d,)

    @classmethod
    def draw(cls, d: int, noise: float, decay: float, rng: np.random.Generator) -> "_Private":
        powers = np.arange(1, d + 1, dtype=np.float64) ** -decay
        return cls(rng.permutation(noise * powers / powers.mean()), rng.choice([-1.0, 1.0], d))

    def sample(self, n: int, rng: np.random.Generator) -> Singles:
        from scipy.fft import dct

        Z = rng.standard_normal((n, self.spectrum.size), dtype=np.float32) * np.sqrt(self.spectrum, dtype=np.float32)
        return np.asarray(dct(Z, norm="ortho") * self.signs.astype(np.float32))

    def variances(self) -> Floats:
        """Of the coordinates, (d,): sum_j spectrum_j C_jc^2: one more transform, as 2 cos^2 x = 1 + cos 2x."""
        from scipy.fft import dct

        mean = self.spectrum.mean()
        half = dct(self.spectrum) / 2
        doubled = np.concatenate([half, [0.0], -half[:0:-1]])[::2]  # sum_j spectrum_j cos(pi c (2j + 1) / d)
        return np.append(mean, mean + doubled[1:] / self.spectrum.size)

    def regression(self, A: Floats) -> Floats:
        """B (d, s) with E[s | x] = x B: Psi^-1 A^T (1 + A Psi^-1 A^T)^-1, Psi = Q^T spectrum Q."""
        from scipy.fft import dct, idct

        rotated = idct(A * self.signs, norm="ortho")  # (s, d)
        whitened = dct(rotated / self.spectrum, norm="ortho") * self.signs  # A Psi^-1
        return np.asarray(np.linalg.solve(np.eye(len(A)) + whitened @ A.T, whitened).T)
