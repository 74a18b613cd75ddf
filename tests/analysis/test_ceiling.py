"""Shares of a noise ceiling: closed forms, other functions of ours on the same rows, and nothing where nothing is."""

import numpy as np
import pytest

from noisezoo.analysis import alignment, share_of_ceiling, stitch


def planted(n: int, own: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Y = S + E and its copy S + F, all of unit variance; X = own S + N."""
    rng = np.random.default_rng([seed, 93])
    S, E, F, N = rng.standard_normal((4, n, 4))
    return own * S + N, S + E, S + F


def test_the_share_is_that_of_gaussian_views() -> None:
    """R2 from the copy is 1/4, from X own^2 / (2 (own^2 + 1)); CKA of such views the square of each correlation's."""
    found = share_of_ceiling(*planted(2500, 0.7, 0), n_splits=6, n_permutations=6)
    told, most = 0.49 / (2 * 1.49), 0.25
    three = (found.found[0], found.ceiling[0], found.share[0])
    for measured, truth in zip(three, (told, most, told / most), strict=True):
        assert measured.estimate == pytest.approx(truth, abs=0.04 if truth > 0.3 else 0.02)
        assert measured.low < truth < measured.high and measured.null.p_value < 1e-3
    assert found.ceiling[1].estimate == pytest.approx(most, abs=0.03)
    assert found.share[1].estimate == pytest.approx(told / most, abs=0.06)


def test_what_is_found_is_what_stitching_and_alignment_find() -> None:
    X, Y, copy = planted(150, 1.0, 1)
    found = share_of_ceiling(X, Y, copy, n_splits=1, n_permutations=0)
    for of, source in (("found", X), ("ceiling", copy)):
        r2, cka, nearest = (one.estimate for one in getattr(found, of))
        linear = stitch(source, Y, n_permutations=0)
        assert r2 == pytest.approx(linear.r2.estimate, abs=1e-6)
        assert nearest == pytest.approx(linear.retrieval[1].estimate, abs=0.1)  # in other galleries
        assert cka == pytest.approx(alignment(source, Y, n_splits=1, n_permutations=0).cka.estimate, abs=1e-6)


@pytest.mark.parametrize("people", [False, True])
def test_a_view_that_shares_nothing_reaches_nothing_at_the_nominal_rate(people: bool) -> None:
    """24 seeds: 99.9 % of a binomial of 24 at 0.05 is 6. People have two rows each, alike but for a little."""
    rejected = np.zeros(3)
    for seed in range(24):
        X, Y, copy = planted(60, 0.0, seed)
        groups = None
        if people:
            X, Y, copy = (np.repeat(A, 2, axis=0) for A in (X, Y, copy))
            X, groups = X + 0.1 * np.random.default_rng(seed).standard_normal(X.shape), np.repeat(np.arange(60), 2)
        found = share_of_ceiling(X, Y, copy, groups=groups, n_folds=3, n_splits=1, n_permutations=8, seed=seed)
        rejected += [one.null.p_value <= 0.05 for one in found.found]
    assert (rejected <= 6).all()


def test_intervals_of_shares_hold_the_average_of_the_procedure() -> None:
    draws = {"n_folds": 3, "n_splits": 6, "n_permutations": 0}
    found = [share_of_ceiling(*planted(160, 1.0, s), **draws, seed=s) for s in range(60)]
    for k in (0, 1):
        values = [one.found[k].estimate / one.ceiling[k].estimate for one in found]
        told = [one.share[k] for one in found if np.isfinite(one.share[k].low)]
        assert len(told) > 50
        assert 0.85 <= np.mean([one.low <= np.mean(values) <= one.high for one in told])


def test_a_ceiling_at_chance_gives_no_share_and_bad_input_is_refused() -> None:
    X, Y, copy = planted(120, 1.0, 3)
    other = np.random.default_rng(4).standard_normal(copy.shape)
    found = share_of_ceiling(X, Y, other, n_splits=4)
    assert np.isnan([one.estimate for one in found.share[:2]]).all() and found.found[0].estimate > 0.1
    assert [(row["what"], row["measure"]) for row in found.records()][3::3] == [("ceiling", "r2"), ("share", "r2")]
    with pytest.raises(ValueError, match="X has 60 rows and the copy has 120"):
        share_of_ceiling(X[:60], Y, copy)
