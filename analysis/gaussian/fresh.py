"""The paper's tests of Gaussianity as its released code makes them: every projection on fresh rows of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisezoo.analysis.core import Draws, Floats, Result, as_rows, refuse_settings, wilson
from .univariate import anderson_darling, dagostino_pearson, shapiro_wilk

POOL, PANEL = 40, 250
"""A panel of so many projections draws from rows that are so many times as many as a projection takes."""
CRITICAL = {
    "anderson-darling": (0.787, 4.0, -25.0),  # scipy < 1.17 (Stephens 1974)
    "anderson-darling, today's": (0.752, 0.75, 2.25),  # scipy >= 1.17 (D'Agostino and Stephens 1986, table 4.7)
}
"""Critical value of A2 at 5 % where mean and variance are estimated: c / (1 + a / n + b / n^2) for (c, a, b)."""
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class FreshProjections(Result):
    """Acceptance at 5 % by each test over projections, and the mean of the statistic or of p, as the release prints.

    Intervals are Wilson's over projections, whose directions and rows are drawn anew each. The null is the same on
    samples of a true Gaussian.
    """

    acceptance: Mapping[str, tuple[float, float, float]]  # test -> estimate, low, high
    means: Mapping[str, float]  # test -> mean statistic (Anderson-Darling) or mean p
    null: Mapping[str, tuple[float, float, float]]
    null_means: Mapping[str, float]
    n: int
    d: int
    n_projections: int
    n_samples: int
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a test."""
        names = ("estimate", "low", "high", "null", "null_low", "null_high")
        return [
            {"test": test, **dict(zip(names, (*found, *self.null[test]), strict=True)), "mean": self.means[test],
             "null_mean": self.null_means[test]}
            for test, found in self.acceptance.items()
        ]  # fmt: skip


def fresh_projections(
    X: Any, *, n_projections: int = 5000, n_samples: int = 250, confidence: float = 0.95, seed: int = 42
) -> FreshProjections:
    """Anderson-Darling, D'Agostino-Pearson and Shapiro-Wilk on random projections, `n_samples` fresh rows for each.

    That is how the released notebook of the UNE paper tests. Anderson-Darling is judged by scipy's critical values of
    that time and by today's, which are lower; the other two by p >= 5 %.

    X (n, d) are rows of any real dtype, an array or `Blocks`. The directions of `n_projections` are uniform on the
    sphere; the `n_samples` rows of each are drawn without replacement, from a panel's pool of rows where n is large.
    `confidence` and `seed` are as in `Draws`.

    Raises:
        ValueError: fewer rows than `n_samples`, that fewer than 20, or what `as_rows` refuses.
    """
    refuse_settings(n_projections=n_projections)
    draws = Draws(confidence=confidence, seed=seed)
    rows = as_rows(X, min_rows=20)
    n, d = rows.shape
    if not 20 <= n_samples <= n:
        raise ValueError(f"n_samples must lie between 20 and the {n} rows of X, not {n_samples}")
    rng, Z = np.random.default_rng([seed, 31]), np.empty((n_samples, n_projections))
    for start in range(0, n_projections, PANEL):
        width = min(PANEL, n_projections - start)
        pool = np.sort(rng.permutation(n)[: POOL * n_samples])
        W = rng.standard_normal((d, width)).astype(np.float32)
        P = np.asarray(rows.take(pool), np.float32) @ (W / np.linalg.norm(W, axis=0))  # (pool, width)
        order = rng.random(P.shape).argpartition(n_samples - 1, axis=0)[:n_samples]
        Z[:, start : start + width] = np.take_along_axis(P, order, axis=0)
    null = _tested(np.random.default_rng([seed, 32]).standard_normal(Z.shape), confidence)
    return FreshProjections(*_tested(Z, confidence), *null, n, d, n_projections, n_samples, draws)


def _tested(Z: Floats, confidence: float) -> tuple[dict[str, tuple[float, float, float]], dict[str, float]]:
    """Acceptance with interval, and mean statistic or p, of the columns of Z (n_samples, m)."""
    (n, m), A2 = Z.shape, anderson_darling(Z)[0]
    passed = {test: A2 < np.round(c / (1 + a / n + b / n**2), 3) for test, (c, a, b) in CRITICAL.items()}
    means = dict.fromkeys(CRITICAL, float(A2.mean()))
    for test, p in (("dagostino-pearson", dagostino_pearson(Z)[1]), ("shapiro-wilk", shapiro_wilk(Z)[1])):
        passed[test], means[test] = p >= ALPHA, float(p.mean())
    low, high = wilson([int(each.sum()) for each in passed.values()], m, confidence)
    ends = zip(passed.items(), low, high, strict=True)
    return {test: (float(each.mean()), float(a), float(b)) for (test, each), a, b in ends}, means


def bimodal(n: int, d: int, seed: int = 42, distance: float = 5.0) -> Floats:
    """Rows (n, d) of two Gaussians of equal weight, `distance` standard deviations from their middle in every column.

    A control that tests must reject: along most directions two humps can be seen. The paper reports such a control and
    does not say how it was made.
    """
    rng = np.random.default_rng([seed, 33])
    side = rng.choice([-distance, distance], (n, 1))
    return np.asarray(rng.standard_normal((n, d)) + side)


def marchenko_pastur_share(n: int, d: int, k: int) -> float:
    """Share of the variance that the k leading components of n independent standard Gaussian rows of width d hold.

    From the law of Marchenko and Pastur (1967) at ratio g = p / q of the smaller side p of the centred matrix to the
    larger q. With eigenvalues x = 1 + g + 2 sqrt(g) cos t, its density is 2 sin(t)^2 / (pi x) in t, and each weighs x.
    """
    from scipy.integrate import quad
    from scipy.optimize import brentq

    p, q = sorted((n - 1, d))
    g = p / q
    if k >= p:
        return 1.0

    def counted(t: float) -> float:
        """Share of the eigenvalues that are larger than that of t."""
        density = lambda u: 2 * np.sin(u) ** 2 / np.pi / (1 + g + 2 * np.sqrt(g) * np.cos(u))  # noqa: E731
        return float(quad(density, 0, t)[0])

    t = float(brentq(lambda t: counted(t) - k / p, 0, np.pi))
    return float((t - np.sin(t) * np.cos(t)) / np.pi)
