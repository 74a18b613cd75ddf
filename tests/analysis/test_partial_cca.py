"""Canonical correlations given a third view: those of residuals, of Gaussian laws, and none where nothing is left."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from noisezoo.analysis.controls.partial_cca import partial_cca
from noisezoo.analysis.core import assign_folds


def planted(n: int, own: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Z; Y = Z + U + E, all of unit variance; X = Z + own U + noise of variance 1/4, every column alike."""
    rng = np.random.default_rng([seed, 91])
    Z, U, E, N = rng.standard_normal((4, n, 3))
    return Z + own * U + 0.5 * N, Z + U + E, Z


def test_correlations_are_those_of_the_residuals_of_scikit_learn() -> None:
    """Canonical directions by QR, out of each fold; the signs of both directions of a pair go together."""
    X, Y, Z = planted(150, 0.7, 1)
    folds = assign_folds(150, 5, seed=42)
    expected = np.zeros(3)
    for f in range(5):
        rest, test = folds != f, folds == f
        (A, a), (B, b) = (
            (W[rest] - fit.predict(Z[rest]), W[test] - fit.predict(Z[test]))
            for W in (X, Y) for fit in [LinearRegression().fit(Z[rest], W[rest])]
        )  # fmt: skip
        (P, R), (Q, S) = map(np.linalg.qr, (A, B))
        left, _, right = np.linalg.svd(P.T @ Q)
        pairs = zip((a @ np.linalg.solve(R, left)).T, (b @ np.linalg.solve(S, right.T)).T, strict=True)
        expected += test.mean() * np.array([np.corrcoef(x, y)[0, 1] for x, y in pairs])
    found = partial_cca(X, Y, Z, n_splits=1, n_permutations=0)
    assert [m.estimate for m in found.given] == pytest.approx([*expected, expected.mean()], abs=1e-6)


def test_correlations_are_those_of_gaussian_views() -> None:
    """Given Z each pair's is own / sqrt(2 (own^2 + 1/4)); without, Z adds 1 to covariance and both variances."""
    found = partial_cca(*planted(3000, 1.0, 0), n_splits=6, n_permutations=6)
    for measured, truth in ((found.given[-1], 1 / np.sqrt(2.5)), (found.alone[-1], 2 / np.sqrt(3 * 2.25))):
        assert measured.estimate == pytest.approx(truth, abs=0.02) and measured.low < truth < measured.high
        assert measured.null.p_value < 1e-3
    groups = np.repeat(np.arange(1000), 3)
    grouped = partial_cca(*planted(3000, 1.0, 0), groups=groups, n_splits=2).given[-1]
    assert grouped.estimate == pytest.approx(found.given[-1].estimate, abs=0.02)


@pytest.mark.parametrize("people", [False, True])
def test_what_comes_through_the_picture_alone_is_not_found_at_the_nominal_rate(people: bool) -> None:
    """Of axes of very unequal strengths. With people, each row comes twice but for a little.

    40 seeds: 99.9 % of a binomial of 40 at 0.05 is 8.
    """
    rejected, values = np.zeros(2), []
    for seed in range(40):
        rng = np.random.default_rng([seed, 92])
        Z = np.repeat(rng.standard_normal((120, 5)), 2 if people else 1, axis=0) * [10, 3, 1, 0.3, 0.1]
        X, Y = (Z @ rng.standard_normal((5, 4)) + np.repeat(rng.standard_normal((120, 4)), len(Z) // 120, axis=0)
                + 0.1 * rng.standard_normal((len(Z), 4)) for _ in range(2))  # fmt: skip
        groups = np.repeat(np.arange(120), 2) if people else None
        found = partial_cca(X, Y, Z, n_splits=1, n_permutations=8, groups=groups, seed=seed)
        assert found.alone[0].estimate > 0.9
        rejected += [found.given[0].null.p_value <= 0.05, found.given[-1].null.p_value <= 0.05]
        values.append(found.given[-1].estimate)
    assert (rejected <= 8).all()
    assert np.mean(values) == pytest.approx(0, abs=0.03)


def test_intervals_hold_the_average_of_the_procedure() -> None:
    found = [partial_cca(*planted(120, 1.0, s), n_folds=3, n_splits=6, n_permutations=0, seed=s).given[-1]
             for s in range(60)]  # fmt: skip
    mean = np.mean([each.estimate for each in found])
    assert 0.85 <= np.mean([each.low <= mean <= each.high for each in found]) <= 1.0


def test_rows_axes_and_bad_input() -> None:
    X, Y, Z = planted(120, 1.0, 3)
    wide = np.random.default_rng(0).standard_normal((120, 200))
    found = partial_cca(X, Y, wide, n_splits=1, n_permutations=0)
    assert found.axes == (3, 3, 24) and "leading 24 axes of Z" in found.caveats[0]
    assert [row["pair"] for row in found.records()] == ["1", "2", "3", "mean"] * 2
    with pytest.raises(ValueError, match="give the same images"):
        partial_cca(X[:60], Y, Z)
    with pytest.raises(ValueError, match="all rows of"):
        partial_cca(X, Y, 0 * Z)
