import time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from noisezoo.analysis import anderson_darling, dagostino_pearson, epps_pulley, shapiro_wilk

SAMPLES = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "laplace": lambda rng, shape: rng.laplace(3.0, 5.0, shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "one far outlier": lambda rng, shape: rng.standard_normal(shape) + 1e4 * (np.arange(shape[0]) == 3)[:, None],
}


@pytest.mark.parametrize("n", [20, 250, 1000])
@pytest.mark.parametrize("law", SAMPLES)
def test_anderson_darling_equals_scipy_column_by_column(law: str, n: int) -> None:
    Z = SAMPLES[law](np.random.default_rng(n), (n, 7))
    expected = [stats.anderson(z, "norm", method="interpolate").statistic for z in Z.T]
    np.testing.assert_allclose(anderson_darling(Z)[0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", [20, 250, 1000])
@pytest.mark.parametrize("law", SAMPLES)
def test_dagostino_pearson_equals_scipy_in_statistic_and_p_value(law: str, n: int) -> None:
    Z = SAMPLES[law](np.random.default_rng(n), (n, 7))
    expected = stats.normaltest(Z, axis=0)
    statistic, p = dagostino_pearson(Z)
    np.testing.assert_allclose(statistic, expected.statistic, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(p, expected.pvalue, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("n", [12, 20, 250, 1000, 5000])
@pytest.mark.parametrize("law", SAMPLES)
def test_shapiro_wilk_equals_scipy_in_statistic_and_p_value(law: str, n: int) -> None:
    Z = SAMPLES[law](np.random.default_rng(n), (n, 7))
    expected = [stats.shapiro(z) for z in Z.T]
    statistic, p = shapiro_wilk(Z)
    np.testing.assert_allclose(statistic, [each.statistic for each in expected], atol=1e-8)
    np.testing.assert_allclose(p, [each.pvalue for each in expected], atol=1e-6)


@pytest.mark.parametrize("n", [20, 250, 1000])
@pytest.mark.parametrize("law", SAMPLES)
def test_epps_pulley_is_the_integral_and_the_double_sum_of_baringhaus_and_henze(law: str, n: int) -> None:
    Z = SAMPLES[law](np.random.default_rng(n), (n, 3))
    for z, found in zip(stats.zscore(Z).T, epps_pulley(Z)[0], strict=True):
        pairs = np.exp(-((z[:, None] - z) ** 2) / 2).sum() / n
        closed = pairs - np.sqrt(2) * np.exp(-(z**2) / 4).sum() + n / np.sqrt(3)
        assert found == pytest.approx(closed, rel=1e-4, abs=1e-3)

        def distance(t: float, z: NDArray[np.float64] = z) -> float:
            return float(abs(np.exp(1j * t * z).mean() - np.exp(-t * t / 2)) ** 2 * stats.norm.pdf(t))

        if law != "one far outlier":  # too rough for quadrature
            assert found == pytest.approx(n * integrate.quad(distance, -8, 8, limit=500)[0], abs=1e-3)


@pytest.mark.parametrize("n", [20, 250])
def test_epps_pulley_p_values_are_those_of_gaussian_samples(n: int) -> None:
    """Of 40,000 samples, to 4 standard errors, and to what 20 rows are from the limit."""
    p = epps_pulley(np.random.default_rng([n, 5]).standard_normal((n, 40_000)))[1]
    for level, off in ((0.5, 0.03), (0.05, 0.1), (0.01, 0.2), (0.001, 0.4)):
        assert (p < level).mean() == pytest.approx(level, rel=off, abs=4 * np.sqrt(level / p.size))


def test_epps_pulley_finds_heavy_tails_and_two_modes_and_orders_them() -> None:
    """Power at 5 % of 250 rows: Student's t with 5 degrees 0.7, two modes 1.5 standard deviations out all."""
    rng = np.random.default_rng(9)
    heavy, modes = rng.standard_t(5, (250, 2000)), rng.standard_normal((250, 2000))
    modes += 1.5 * rng.choice([-1, 1], modes.shape)
    (T, p), (_, q) = epps_pulley(heavy), epps_pulley(modes)
    assert 0.6 < (p < 0.05).mean() < 0.9 and (q < 0.05).mean() > 0.95
    far = epps_pulley(rng.standard_normal((2000, 40)) ** np.linspace(1, 9, 40).round())
    for statistic, tail in ((T, p), far):
        assert (np.diff(tail[np.argsort(statistic)]) <= 0).all()
    assert far[1].min() < 1e-100


def test_shapiro_wilk_is_many_times_faster_than_a_loop() -> None:
    Z = np.random.default_rng(0).standard_normal((250, 5000))
    shapiro_wilk(Z[:, :5])
    began = time.process_time()
    shapiro_wilk(Z)
    ours = time.process_time() - began
    began = time.process_time()
    for z in Z.T[:500]:
        stats.shapiro(z)
    assert 10 * (time.process_time() - began) > 10 * ours  # some 50 times; the benchmark measures it


@pytest.mark.parametrize("n", [12, 50, 250, 1000])
def test_shapiro_wilk_p_values_of_true_gaussians_are_near_uniform(n: int) -> None:
    p = shapiro_wilk(np.random.default_rng(n).standard_normal((n, 8000)))[1]
    assert stats.kstest(p, "uniform").statistic < (0.03 if n > 12 else 0.06)  # scipy's as well: Royston's own error
    assert abs((p >= 0.05).mean() - 0.95) < 0.01


def test_shapiro_wilk_refuses_sizes_beyond_its_approximation() -> None:
    with pytest.raises(ValueError, match="up to 5000 rows, not for 5001"):
        shapiro_wilk(np.random.default_rng(0).standard_normal((5001, 1)))
    with pytest.raises(ValueError, match="at least 12 rows"):
        shapiro_wilk(np.zeros((11, 1)))


def test_the_number_of_columns_changes_no_column() -> None:
    Z = np.random.default_rng(0).standard_normal((2000, 300))  # several blocks
    for test in (anderson_darling, dagostino_pearson, shapiro_wilk, epps_pulley):
        np.testing.assert_allclose(test(Z)[0][[0, 140, 299]], test(Z[:, [0, 140, 299]])[0], atol=1e-10)


@pytest.mark.parametrize("n", [50, 250, 1000])
def test_anderson_darling_p_values_of_true_gaussians_are_uniform(n: int) -> None:
    p = anderson_darling(np.random.default_rng(n).standard_normal((n, 20000)))[1]
    lower_half = [abs((p < level).mean() - level) for level in np.arange(0.02, 0.5, 0.02)]
    assert max(lower_half) < 0.006 + 0.008  # the formula's own error, and Kolmogorov's at this many samples
    assert stats.kstest(p, "uniform").statistic < 0.03 + 0.008


def test_dagostino_pearson_p_values_of_true_gaussians_are_near_uniform() -> None:
    p = dagostino_pearson(np.random.default_rng(1).standard_normal((1000, 4000)))[1]
    assert stats.kstest(p, "uniform").statistic < 0.03  # its chi-square law is asymptotic


def test_true_gaussians_are_accepted_at_the_nominal_rate() -> None:
    Z = np.random.default_rng(3).standard_normal((250, 20000))
    for test in (anderson_darling, dagostino_pearson, epps_pulley):
        assert abs((test(Z)[1] >= 0.05).mean() - 0.95) < 0.006  # binomial sd 0.0015; K2 itself is 0.003 off


def test_the_anderson_darling_tail_holds_where_bonferroni_needs_it() -> None:
    p = anderson_darling(np.random.default_rng(4).standard_normal((100, 100_000)))[1]
    for level in (1e-2, 1e-3, 1e-4):
        expected = level * p.size
        assert abs((p < level).sum() - expected) < 4 * np.sqrt(expected)


def test_anderson_darling_p_values_fall_as_the_statistic_rises() -> None:
    rng = np.random.default_rng(5)
    heavy = np.sign(rng.standard_normal((2000, 40))) * rng.exponential(size=(2000, 40)) ** np.linspace(0.5, 6, 40)
    statistic, p = anderson_darling(heavy)
    ordered: NDArray[np.float64] = p[np.argsort(statistic)]
    assert (np.diff(ordered) <= 0).all() and ordered[-1] < 1e-100 and np.isfinite(p).all()


def test_tests_do_not_change_when_a_sample_is_moved_and_scaled() -> None:
    Z = np.random.default_rng(6).gamma(2.0, size=(300, 5))
    for test in (anderson_darling, dagostino_pearson, epps_pulley):
        np.testing.assert_allclose(test(Z)[0], test(5 - 1e3 * Z)[0], rtol=1e-8)


@pytest.mark.parametrize("test", [anderson_darling, dagostino_pearson, shapiro_wilk, epps_pulley])
def test_a_constant_column_is_refused_by_number(test: object) -> None:
    Z = np.random.default_rng(0).standard_normal((50, 6))
    Z[:, 4] = 2.0
    with pytest.raises(ValueError, match=r"1 constant columns \(4\)"):
        test(Z)  # type: ignore[operator]
