"""What a view adds to another given a third: the closed form of Gaussian views, and nothing where nothing is added."""

import numpy as np
import pytest

from noisezoo.analysis.controls.given import shared_given


def planted(n: int, own: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Z; Y = Z + U + E, all of unit variance; X = Z + own U + noise of variance 1/4, every column alike."""
    rng = np.random.default_rng([seed, 90])
    Z, U, E, N = rng.standard_normal((4, n, 3))
    return Z + own * U + 0.5 * N, Z + U + E, Z


def truth(own: float) -> float:
    """Of the variance 2 of U + E, what own U + N/2 tells: its squared correlation."""
    return own**2 / (2 * (own**2 + 0.25))


@pytest.mark.parametrize("own", [0.3, 1.0])
def test_the_partial_r2_is_that_of_gaussian_views(own: float) -> None:
    X, Y, Z = planted(3000, own, 0)
    found = shared_given(X, Y, Z, n_splits=6, n_permutations=6)
    assert found.partial.estimate == pytest.approx(truth(own), abs=0.03)
    assert found.partial.low < truth(own) < found.partial.high
    assert found.alone.estimate == pytest.approx(1 / 3, abs=0.03)
    assert 1 - found.both.estimate == pytest.approx((1 - found.alone.estimate) * (1 - found.partial.estimate))
    assert found.partial.null.p_value < 1e-3 and abs(found.partial.null.mean) < 0.01


def test_a_view_that_only_repeats_the_picture_adds_nothing_at_the_nominal_rate() -> None:
    """X predicts Y well, and Z says all of it. 40 seeds: 99.9 % of a binomial of 40 at 0.05 is 8."""
    rejected, values = 0, []
    for seed in range(40):
        X, Y, Z = planted(120, 0.0, seed)
        found = shared_given(X, Y, Z, n_folds=3, n_splits=1, n_permutations=8, seed=seed).partial
        rejected += found.null.p_value <= 0.05
        values.append(found.estimate)
    assert rejected <= 8
    assert np.mean(values) == pytest.approx(0, abs=0.01)


def test_intervals_hold_the_average_of_the_procedure() -> None:
    found = [shared_given(*planted(120, 1.0, s), n_folds=3, n_splits=6, n_permutations=0, seed=s).partial
             for s in range(60)]  # fmt: skip
    mean = np.mean([each.estimate for each in found])
    held = np.mean([each.low <= mean <= each.high for each in found])
    assert 0.85 <= held <= 1.0


def test_scale_groups_and_bad_input() -> None:
    X, Y, Z = planted(120, 1.0, 3)
    a, b = (shared_given(x, Y, z, n_splits=2, n_permutations=2) for x, z in ((X, Z), (100 * X, 1e-3 * Z)))
    assert b.partial.estimate == pytest.approx(a.partial.estimate, abs=1e-6)
    groups = np.repeat(np.arange(40), 3)
    assert np.isfinite([*shared_given(X, Y, Z, groups=groups, n_splits=2).records()[2].values()][1:]).all()
    with pytest.raises(ValueError, match="X has 60 rows"):
        shared_given(X[:60], Y, Z)
    with pytest.raises(ValueError, match="all rows of"):
        shared_given(X, Y, 0 * Z)
