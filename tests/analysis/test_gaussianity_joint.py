import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from noisezoo.analysis.gaussian import joint as multivariate
from noisezoo.analysis.gaussian.joint import (
    bhep,
    frequencies,
    mardia_kurtosis,
    mardia_kurtosis_moments,
    mardia_skewness,
    whiten,
)

Floats = NDArray[np.float64]


@pytest.fixture
def skewed() -> Floats:
    rng = np.random.default_rng(0)
    return rng.gamma(3.0, size=(70, 4)) @ rng.standard_normal((4, 4)) + 5


def products(X: Floats) -> Floats:
    """Mardia's (x_i - mean) S^-1 (x_j - mean), S with 1 / n."""
    centred = X - X.mean(axis=0)
    return centred @ np.linalg.solve(np.cov(X.T, bias=True), centred.T)


def test_mardias_statistics_equal_their_definitions_over_all_pairs(skewed: Floats) -> None:
    g = products(skewed)
    assert mardia_skewness(skewed) == pytest.approx((g**3).mean(), rel=1e-10)
    assert mardia_kurtosis(skewed) == pytest.approx((np.diag(g) ** 2).mean(), rel=1e-10)


def test_in_one_dimension_they_are_the_square_of_skewness_and_the_kurtosis(skewed: Floats) -> None:
    x = skewed[:, :1]
    assert mardia_skewness(x) == pytest.approx(stats.skew(x[:, 0]) ** 2, rel=1e-10)
    assert mardia_kurtosis(x) == pytest.approx(stats.kurtosis(x[:, 0], fisher=False), rel=1e-10)


def test_bhep_is_the_distance_of_characteristic_functions_at_the_given_frequencies(skewed: Floats) -> None:
    T = frequencies(4, 30)
    phi = np.exp(1j * whiten(skewed) @ T).mean(axis=0)
    direct = 70 * (np.abs(phi - np.exp(-(np.linalg.norm(T, axis=0) ** 2) / 2)) ** 2).mean()
    assert bhep(skewed, T) == pytest.approx(direct, rel=1e-10)


def test_bhep_over_many_frequencies_becomes_henze_and_zirklers_closed_form(skewed: Floats) -> None:
    n, k, b = 70, 4, multivariate.BANDWIDTH**2
    g = products(skewed)
    squares = np.diag(g)
    between = squares[:, None] + squares - 2 * g  # squared Mahalanobis distances of all pairs
    closed = (
        np.exp(-b / 2 * between).mean()
        - 2 * (1 + b) ** (-k / 2) * np.exp(-b / (2 * (1 + b)) * squares).mean()
        + (1 + 2 * b) ** (-k / 2)
    )
    parts = [bhep(skewed, frequencies(k, 20_000, seed=seed)) for seed in range(8)]
    assert np.mean(parts) == pytest.approx(n * closed, abs=4 * np.std(parts) / np.sqrt(7) + 1e-12)
    assert np.std(parts) < 0.05 * n * closed


def test_affine_maps_of_the_rows_change_nothing(skewed: Floats) -> None:
    rng = np.random.default_rng(1)
    mapped = skewed @ np.triu(rng.standard_normal((4, 4)) + 3 * np.eye(4)) - 100
    for statistic in (mardia_skewness, mardia_kurtosis):
        assert statistic(mapped) == pytest.approx(statistic(skewed), rel=1e-8)
    T = frequencies(
        4
    )  # finite frequencies are not invariant to rotation; a triangular map leaves the whitening as it is
    assert bhep(mapped, T) == pytest.approx(bhep(skewed, T), rel=1e-8)


def test_kurtosis_moments_are_exact_on_gaussian_rows() -> None:
    rng = np.random.default_rng(2)
    values = np.array([mardia_kurtosis(rng.standard_normal((30, 3))) for _ in range(4000)])
    mean, variance = mardia_kurtosis_moments(30, 3)
    assert values.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 4000))
    assert values.var() == pytest.approx(variance, rel=0.12)


def test_float32_rows_give_the_same_numbers(skewed: Floats) -> None:
    T = frequencies(4)
    for statistic in (mardia_skewness, mardia_kurtosis, lambda X: bhep(X, T)):
        assert statistic(skewed.astype(np.float32)) == pytest.approx(statistic(skewed), rel=1e-3)


@pytest.mark.parametrize("X", [np.eye(3), np.ones((30, 2)), np.repeat(np.arange(30.0)[:, None], 2, axis=1)])
def test_rows_that_do_not_span_their_dimensions_are_refused(X: Floats) -> None:
    with pytest.raises(ValueError, match="take fewer columns"):
        mardia_skewness(X)
