"""Match the images of two views that nobody paired: what only departures from a Gaussian law can do.

A Gaussian view is the same law after every rotation of its whitened rows, so that nothing in two Gaussian views says
which rotation brings them together. What a method finds on real views beyond what it finds on Gaussian rows of the same
joint covariance measures what is not Gaussian in them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import (
    Draws,
    Floats,
    Measured,
    Result,
    interval_of_rate,
    mean_intervals,
    no_narrower,
    null_of_ranks,
    one_of_each,
    principal_frame,
    same_rows,
    to_numpy,
    units_of,
)

Method = Callable[[Floats, Floats, int], Floats]
"""Whitened leading scores (n, r) of two views and a seed -> how well each row of one fits each of the other, (n, n)."""


def by_moments(A: Floats, B: Floats, seed: int) -> Floats:
    """Axes in falling order of variance, turned so that all are skewed to one side."""
    A, B = (X * np.where((X**3).mean(axis=0) < 0, -1.0, 1.0) for X in (A, B))
    return _nearness(A, B)


def by_independent_components(A: Floats, B: Floats, seed: int) -> Floats:
    """FastICA of each view (Hyvarinen 1999), its components matched by skewness and kurtosis.

    scikit-learn warns where it does not converge: Gaussian rows have no components to converge to.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.decomposition import FastICA

    def components(X: Floats) -> tuple[Floats, Floats]:
        S = FastICA(whiten="unit-variance", max_iter=300, random_state=seed).fit_transform(X)
        S = S * np.where((S**3).mean(axis=0) < 0, -1.0, 1.0)
        return S, np.stack([(S**3).mean(axis=0), np.log((S**4).mean(axis=0))], axis=1)

    (S, of_a), (R, of_b) = components(A), components(B)
    order = linear_sum_assignment(np.square(of_a[:, None] - of_b).sum(axis=2))[1]
    return _nearness(S, R[:, order])


def by_gromov_wasserstein(A: Floats, B: Floats, seed: int) -> Floats:
    """The coupling of rows that best keeps distances (Memoli 2011), by POT's conditional gradient."""
    import ot

    C, D = (ot.dist(X, X, metric="euclidean") for X in (A, B))
    return np.asarray(ot.gromov.gromov_wasserstein(C / C.mean(), D / D.mean(), max_iter=200))


def _nearness(A: Floats, B: Floats) -> Floats:
    return np.asarray(A @ B.T - np.square(B).sum(axis=1) / 2)


NEEDS = {"independent components": "sklearn", "gromov-wasserstein": "ot"}
"""Packages of the extra `unpaired`."""
METHODS: Mapping[str, Method] = {
    "moments": by_moments,
    "independent components": by_independent_components,
    "gromov-wasserstein": by_gromov_wasserstein,
}


@dataclass(frozen=True, eq=False)
class Unpaired(Result):
    """What each method finds, beside what it finds on Gaussian rows of the same joint covariance.

    `rank` is the mean share of the other rows that a row's own partner fits better than, 1/2 by chance; `first` the
    share of rows whose partner fits best, 1 / n by chance. Intervals take the map as given, and are no narrower than
    the range of the Gaussian rows, which is the null.
    """

    rank: Mapping[str, Measured]
    first: Mapping[str, Measured]
    n: int
    axes: int
    draws: Draws
    caveats: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a method and measure."""
        levels = {"rank": 0.5, "first": 1 / self.n}
        return [{"method": method, **found.row(measure), "chance": levels[measure]}
                for measure, every in (("rank", self.rank), ("first", self.first))
                for method, found in every.items()]  # fmt: skip


def match_unpaired(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    methods: Sequence[str] | None = None,
    axes: int = 8,
    max_rows: int = 300,
    groups: ArrayLike | None = None,
    n_permutations: int = 19,
    confidence: float = 0.95,
    seed: int = 42,
) -> Unpaired:
    """Match rows of X (n, d) and Y (n, e) without their pairing, which is only used to score the matches.

    Each view enters by its whitened leading axes; both orders are shuffled before a method sees them.

    `methods` are some of METHODS; None for all that are installed (the extra `unpaired` installs all). At most so many
    leading `axes` of each view are taken, and of more than `max_rows` rows a random subset, for transport costs the
    cube; of each of `groups` (n,) one row. The null is of `n_permutations` Gaussian datasets of the same joint
    covariance; the draws are as in `Draws`.

    Raises:
        ValueError: fewer than 20 rows, an unknown method, or what `same_rows` refuses.
    """
    draws = Draws(n_permutations=n_permutations, confidence=confidence, seed=seed)
    known = [name for name in METHODS if name not in NEEDS or find_spec(NEEDS[name])]
    chosen = known if methods is None else list(methods)
    if not chosen or not set(chosen) <= set(METHODS):
        raise ValueError(f"methods must be some of {', '.join(METHODS)}, not {chosen}")
    A, B = (to_numpy(V).astype(np.float64) for V in same_rows([("X", X), ("Y", Y)], min_rows=20))
    rng = np.random.default_rng([seed, 12])
    rows = np.sort(rng.permutation(one_of_each(units_of(len(A), groups), seed))[:max_rows])
    T, U = (principal_frame(V[rows], name, leading=axes).scores for V, name in ((A, "X"), (B, "Y")))
    r = min(T.shape[1], U.shape[1])
    T, U = T[:, :r], U[:, :r]

    def found(T: Floats, U: Floats) -> Floats:
        return np.stack([_found(METHODS[name], T, U, rng, seed) for name in chosen])  # (methods, n, 2)

    real, null = found(T, U), []
    for _ in range(n_permutations):
        both = rng.standard_normal((len(rows), len(rows))) @ np.hstack([T, U]) / np.sqrt(len(rows))
        null.append(found(both[:, :r], both[:, r:]).mean(axis=1))
    drawn = np.array(null).reshape(n_permutations, len(chosen), 2)
    measured = [_measured(each, drawn[:, k], draws) for k, each in enumerate(real)]
    left = sorted(set(METHODS) - set(known)) if methods is None else []
    said = tuple(f"{name} was left out: install noisezoo[unpaired]" for name in left)
    rank, first = (dict(zip(chosen, each, strict=True)) for each in zip(*measured, strict=True))
    return Unpaired(rank, first, len(rows), r, draws, said)


def _whitened(V: Floats) -> Floats:
    """Principal scores (n, r) of unit variance, in falling order of the variance that they had."""
    frame = principal_frame(V)
    return np.asarray(frame.scores * np.sqrt(len(V) / frame.eigenvalues))


def _found(method: Method, T: Floats, U: Floats, rng: np.random.Generator, seed: int) -> Floats:
    """Rank and first place of each row's own partner, (n, 2), ties broken at random."""
    n, given, taken = len(T), rng.permutation(len(T)), rng.permutation(len(T))
    S = method(_whitened(T[given]), _whitened(U[taken]), seed)
    own = S[np.arange(n), np.argsort(taken)[given]][:, None]
    above, equal = (S > own).sum(axis=1), (S == own).sum(axis=1)
    rank = 1 - (above + (equal - 1) / 2) / (n - 1)
    return np.stack([rank, (above == 0) / equal], axis=1)


def _measured(found: Floats, null: Floats, draws: Draws) -> tuple[Measured, Measured]:
    rank = mean_intervals(found[:, :1], seed=draws.seed, confidence=draws.confidence)[0]
    first = interval_of_rate(found[:, 1], np.arange(len(found)), draws.confidence)
    laws = [null_of_ranks(i.estimate, each, draws.confidence) for i, each in zip((rank, first), null.T, strict=True)]
    wide = (no_narrower(i, law) for i, law in zip((rank, first), laws, strict=True))
    a, b = (Measured(i.estimate, max(i.low, 0.0), min(i.high, 1.0), law) for i, law in zip(wide, laws, strict=True))
    return a, b
