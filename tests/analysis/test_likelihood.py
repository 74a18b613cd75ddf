"""The likelihood of rows: exact for Gaussian rows of any covariance, and planted outliers are found."""

import numpy as np
import pytest
from scipy import stats

from noisezoo.analysis.gaussian.likelihood import row_likelihood


@pytest.mark.parametrize("shape", [(400, 5), (300, 40), (200, 600)])
def test_p_values_of_gaussian_rows_are_uniform_whatever_the_shape_and_covariance(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    p, outliers = [], 0
    for _ in range(12):
        found = row_likelihood(rng.standard_normal(shape) * np.linspace(5, 0.2, shape[1]) + 7)
        p.append(found.p_values)
        outliers += int(found.outlier.any())
    assert stats.kstest(np.concatenate(p), "uniform").statistic < 0.06  # rows of a fold share a covariance
    assert np.mean(np.concatenate(p) <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert outliers <= 3


def test_the_density_is_that_of_the_law_where_the_law_is_known_well() -> None:
    rng = np.random.default_rng(1)
    S = np.array([[2.0, 0.6], [0.6, 1.0]])
    X = rng.multivariate_normal([3, -1], S, 20000)
    found = row_likelihood(X)
    np.testing.assert_allclose(
        found.log_likelihood, stats.multivariate_normal([3, -1], S).logpdf(X), rtol=0.05, atol=0.05
    )
    assert np.square(found.norm).mean() == pytest.approx(1, abs=0.03)
    assert found.share.low <= 0.05 <= found.share.high


def test_planted_outliers_are_found_and_heavy_tails_have_too_many() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((500, 20))
    X[[3, 77, 200]] *= 5
    found = row_likelihood(X)
    assert set(np.flatnonzero(found.outlier)) == {3, 77, 200}
    assert set(np.argsort(found.log_likelihood)[:3]) == {3, 77, 200}
    assert [row["row"] for row in found.records() if row["outlier"]] == [3, 77, 200]
    heavy = row_likelihood(rng.standard_normal((500, 20)) * np.sqrt(3 / rng.chisquare(3, (500, 1))))
    assert heavy.share.low > 0.05


def test_people_go_whole_and_few_rows_are_refused() -> None:
    X = np.repeat(np.random.default_rng(3).standard_normal((60, 4)), 3, axis=0)
    groups = np.repeat(np.arange(60), 3)
    assert row_likelihood(X, groups=groups).share.high - row_likelihood(X, groups=groups).share.low > 0.05
    with pytest.raises(ValueError, match="at least 60 rows"):
        row_likelihood(X[:50])
