"""Long simulations of what chance does where rows come in identities: nothing is shared, and little may be found.

`pytest -m slow tests/analysis/test_chance.py`, half an hour of one core. Short forms stand beside what each tests.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from noisezoo.analysis import alignment, gcca, intersections, stitch, transfer
from noisezoo.analysis.probes import METRICS
from tests.analysis.test_edit_study import NOISE, OVERLAY, tanh_world, targets

pytestmark = pytest.mark.slow
Floats = NDArray[np.float64]
LAWS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "laplace": lambda rng, size: rng.laplace(size=size),
    "t5": lambda rng, size: rng.standard_t(5, size=size),
}
SIZES = {"5 to 20": (40, 5, 20), "1 to 9": (60, 1, 9), "1 to 3": (100, 1, 3), "one": (80, 1, 1)}


def most(n: int, rate: float = 0.05) -> int:
    """Above this many of n at a rate, one simulation in a thousand lies."""
    return int(binom.ppf(0.999, n, rate))


def worlds(count: int, law: str, size: str) -> Any:
    """Three views (n, 6) of identities, each a place and a little of its own, that share nothing."""
    people, least, largest = SIZES[size]
    for seed in range(count):
        rng = np.random.default_rng([seed, people, largest, 91])
        groups = np.repeat(np.arange(people), rng.integers(least, largest + 1, people))
        views = [LAWS[law](rng, (people, 6))[groups] + 0.3 * LAWS[law](rng, (len(groups), 6)) for _ in range(3)]
        yield seed, rng, views, groups


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("law", LAWS)
class TestNothingIsShared:
    """The share of p-values at most 0.05, against the binomial's upper end."""

    def test_alignment(self, law: str, size: str) -> None:
        rejected = np.zeros(4)
        for seed, _, (X, Y, _), groups in worlds(100, law, size):
            found = alignment(X, Y, groups=groups, seed=seed, n_splits=1, n_permutations=10)
            rejected += [row["p_value"] <= 0.05 for row in found.records()]
        assert (rejected <= most(100, 0.06)).all(), rejected

    def test_stitch(self, law: str, size: str) -> None:
        rejected = np.zeros(4)
        for seed, _, (X, Y, _), groups in worlds(200, law, size):
            rejected += [row["p_value"] <= 0.05 for row in stitch(X, Y, groups=groups, seed=seed).records()]
        assert (rejected <= most(200, 0.06)).all(), rejected

    def test_transfer(self, law: str, size: str) -> None:
        rejected = np.zeros(len(METRICS))
        for seed, rng, (X, _, _), groups in worlds(200, law, size):
            label = (rng.random(groups.max() + 1) < 0.5).astype(float)[groups]
            found = transfer(X, X @ rng.standard_normal((6, 4)), label, ["a"], groups=groups, seed=seed, n_splits=1)
            rejected += [measured[0].null.p_value <= 0.05 for measured in found.stitched.values()]
        assert (rejected <= most(200, 0.06)).all(), rejected

    def test_gcca(self, law: str, size: str) -> None:
        rejected = 0
        for seed, _, views, groups in worlds(100, law, size):
            rejected += gcca(views, 2, ridge=0.01, groups=groups, n_permutations=39, seed=seed).p_values[0] <= 0.05
        assert rejected <= most(100)

    def test_intersections(self, law: str, size: str) -> None:
        rejected = np.zeros(3)
        for seed, _, views, groups in worlds(60, law, size):
            found = intersections(views, 2, ridge=0.01, groups=groups, n_permutations=19, n_splits=1, k=5, seed=seed,
                                  subsets=[(0, 1), (0, 2), (1, 2)])  # fmt: skip
            rejected += [row["p_value"] <= 0.05 for row in found.records()]
        assert (rejected <= most(60)).all(), rejected


@pytest.mark.parametrize("cluster", [1, 4])
def test_intervals_of_edits_of_coin_flips_hold_zero_in_95_of_100(cluster: int) -> None:
    missed = {NOISE: 0, OVERLAY: 0}
    for seed in range(400):
        for variant, row in targets(tanh_world(1000 + seed, 0.0, cluster=cluster)).items():
            missed[variant] += not row["low"] <= 0 <= row["high"]
    assert max(missed.values()) <= most(400), missed
