import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from noisezoo.analysis.core.linalg import gaussian_root
from noisezoo.analysis.gaussian.gaussianity import GaussianityResult, gaussianity, paper_gaussianity
from noisezoo.analysis.gaussian.univariate import anderson_darling

AD, DP, EP = "anderson-darling", "dagostino-pearson", "epps-pulley"
FAMILIES = ("projections", "coordinates", "principal axes")
VALUES = ("norm", "mardia kurtosis", "mardia skewness", "bhep")


def value_row(result: GaussianityResult, family: str) -> tuple[float, float, float]:
    row = next(row for row in result.rows if row.family == family)
    return row.value, row.null_low, row.null_high


@pytest.fixture(scope="module")
def gaussian() -> GaussianityResult:
    X = np.random.default_rng(20).standard_normal((300, 700)).astype(np.float32)
    return gaussianity(X)


@pytest.fixture(scope="module")
def laplace() -> GaussianityResult:
    return gaussianity(np.random.default_rng(1).laplace(size=(500, 2048)).astype(np.float32))


@pytest.mark.parametrize("test", [AD, DP])
@pytest.mark.parametrize("family", FAMILIES[:2])
def test_true_gaussian_rows_are_accepted_at_the_nominal_rate(
    gaussian: GaussianityResult, family: str, test: str
) -> None:
    row = gaussian.row(family, test)
    assert abs(row.acceptance - 0.95) < 0.03
    assert row.null_low <= row.null <= row.null_high
    assert not row.departs


def test_random_projections_are_blind_to_laplace_coordinates(laplace: GaussianityResult) -> None:
    assert laplace.row("projections", AD).acceptance > 0.93
    assert not laplace.row("projections", AD).departs


def test_coordinates_and_norm_see_laplace_coordinates(laplace: GaussianityResult) -> None:
    row = laplace.row("coordinates", AD)
    assert row.departs and row.rejected is not None and row.rejected > 1000 and row.bonferroni < 1e-6
    value, low, high = value_row(laplace, "norm")
    assert value > high  # var(x^2) is 20 sigma^4 / 4 = 5 against the Gaussian's 2
    assert value == pytest.approx(2.5, rel=0.25)


def test_kurtosis_sees_rows_of_unequal_scale_that_no_coordinate_shows() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((600, 400)) * rng.choice([0.85, 1.13], size=(600, 1))  # coordinates nearly Gaussian
    result = gaussianity(X, families=["mardia kurtosis", "coordinates"])
    value, _, high = value_row(result, "mardia kurtosis")
    assert value > high and result.row("coordinates", AD).acceptance > 0.85


def test_one_planted_coordinate_among_thousands_is_found_by_bonferroni() -> None:
    X = np.random.default_rng(3).standard_normal((500, 3000))
    X[:, 1234] = np.random.default_rng(4).exponential(size=500)
    result = gaussianity(X, n_projections=100, families=["coordinates", "projections"])
    row = result.row("coordinates", AD)
    assert row.departs and row.rejected == row.discoveries == 1
    assert result.p_values["coordinates", AD].argmin() == 1234
    assert not result.row("projections", AD).departs


@pytest.mark.parametrize(
    ("shape", "spiked", "families"),
    [
        ((60, 15), False, [*FAMILIES, *VALUES]),
        ((60, 15), True, [*FAMILIES, *VALUES[:2]]),
        ((50, 120), False, [*FAMILIES, *VALUES[:2]]),
    ],
)
def test_verdicts_on_true_gaussians_keep_their_level(shape: tuple[int, int], spiked: bool, families: list[str]) -> None:
    rng, seeds, alpha = np.random.default_rng(5), 200, 0.1
    scale = np.ones(shape[1])
    scale[:2] = np.sqrt(shape[1]) if spiked else 1
    runs = [
        gaussianity(rng.standard_normal(shape) * scale, n_projections=40, alpha=alpha, seed=seed, families=families)
        for seed in range(seeds)
    ]
    wrong = sum(any(row.departs for row in run.rows) for run in runs)
    assert wrong <= stats.binom.ppf(0.999, seeds, alpha), wrong  # of all words together
    assert wrong == sum("rows depart" in run.sentence() for run in runs)
    for index, row in enumerate(runs[0].rows):
        by_replicates = [run.rows[index].p_value <= alpha for run in runs]
        assert sum(by_replicates) <= stats.binom.ppf(0.999, seeds, alpha), (row.family, row.test)
        # Acceptances tie, and so reject less often than alpha; the other statistics are continuous.
        least = stats.binom.ppf(0.001, seeds, alpha) if row.family in VALUES else 1
        assert sum(by_replicates) >= least, (row.family, row.test)


CASES: dict[str, tuple[int, int, int, float]] = {
    "n > d": (60, 15, 0, 1), "two strong axes": (60, 15, 2, 15), "n < d": (50, 120, 0, 1), "few": (25, 6, 0, 1),
    "n < d, two strong axes": (100, 200, 2, 30), "many": (200, 30, 0, 1),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_true_gaussians_are_said_to_depart_in_no_more_than_a_twentieth(case: str) -> None:
    n, d, strong, scale = CASES[case]
    rng, spread = np.random.default_rng([n, d, 31]), np.r_[np.full(strong, scale), np.ones(d - strong)]
    wrong = sum(
        "rows depart" in gaussianity(rng.standard_normal((n, d)) * spread, n_projections=100, seed=s).sentence()
        for s in range(600)
    )
    print(f"{case}: {wrong / 600:.3f}")
    assert wrong <= stats.binom.ppf(0.999, 600, 0.05)


def test_holm_corrects_the_rows_whose_p_value_can_be_small(laplace: GaussianityResult) -> None:
    judged = [row for row in laplace.rows if not np.isnan(row.p_corrected)]
    assert [row.test for row in judged[:6]] == [AD, EP] * 3 and len(judged) == 10
    own = [min(1, 2 * min(row.bonferroni, row.p_value)) if row.test in (AD, EP) else row.p_value for row in judged]
    expected = [min(1, max(q * sum(r >= q for r in own) for q in own if q <= p)) for p in own]
    np.testing.assert_allclose([row.p_corrected for row in judged], expected, rtol=1e-12)
    for row in laplace.rows:
        if np.isnan(row.p_corrected):
            beside = any(laplace.row(row.family, test).departs for test in (AD, EP))
            assert row.departs == (beside and row.p_value <= laplace.alpha)


def people(rng: np.random.Generator, count: int, d: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Exactly Gaussian rows of people with one to five pictures, alike among themselves."""
    groups = np.repeat(np.arange(count), rng.integers(1, 6, count))
    rows = np.sqrt(0.8) * rng.standard_normal((count, d))[groups]
    return rows + np.sqrt(0.2) * rng.standard_normal((len(groups), d)), groups


def test_gaussian_rows_of_people_depart_no_more_often_than_nominal_with_their_groups() -> None:
    wrong, alone, families = 0, 0, ["projections", "mardia kurtosis"]
    for seed in range(60):
        X, groups = people(np.random.default_rng([seed, 8]), 150, 12)
        shuffled = np.random.default_rng(seed).permutation(len(X))
        found = gaussianity(X[shuffled], groups=groups[shuffled], n_projections=50)  # one seed: one law
        assert found.n == 150 and "one row of each of the groups was tested, 150 rows" in found.caveats[0]
        wrong += any(row.departs for row in found.rows)
        alone += any(row.departs for row in gaussianity(X, n_projections=50, families=families).rows)
    assert wrong <= stats.binom.ppf(0.999, 60, 0.05) and alone > 30


def test_departures_of_people_are_found_with_their_groups() -> None:
    rng = np.random.default_rng(9)
    groups = np.repeat(np.arange(300), rng.integers(1, 6, 300))
    X = rng.exponential(size=(300, 10))[groups] + 0.1 * rng.standard_normal((len(groups), 10))
    assert gaussianity(X, groups=groups, n_projections=50).row("coordinates", AD).departs
    assert paper_gaussianity(X, groups=groups, n_samples=100, n_projections=50).n == 100


def test_the_norm_ratio_is_near_one_for_any_covariance_and_n_below_d() -> None:
    rng = np.random.default_rng(6)
    decays = 1 / np.arange(1, 1001)
    ratios = [
        value_row(gaussianity(rng.standard_normal((150, 1000)) * decays, families=["norm"]), "norm")[0]
        for _ in range(40)
    ]
    assert np.mean(ratios) == pytest.approx(1.0, abs=4 * np.std(ratios) / np.sqrt(40) + 0.02)


def test_mardia_moments_equal_a_simulation_on_plain_gaussian_columns() -> None:
    rng = np.random.default_rng(7)
    results = [
        value_row(gaussianity(rng.standard_normal((100, 10)), families=["mardia kurtosis"]), "mardia kurtosis")
        for _ in range(200)
    ]
    values = np.array([value for value, _, _ in results])
    low, high = results[0][1:]
    assert values.mean() == pytest.approx(1, abs=4 * values.std() / np.sqrt(200))
    assert (high - low) / (2 * 1.96) == pytest.approx(values.std(), rel=0.2)


def test_null_rows_have_the_covariance_of_the_data() -> None:
    rng = np.random.default_rng(8)
    for shape in ((30, 50), (50, 30)):
        X = rng.standard_normal(shape) @ rng.standard_normal((shape[1], shape[1]))
        R: NDArray[np.floating] = gaussian_root(X)
        np.testing.assert_allclose(R.T @ R, np.cov(X.T), atol=1e-9)


def test_dependence_between_projections_widens_the_null() -> None:
    rng = np.random.default_rng(9)
    spread = []
    for scale in (np.ones(300), np.r_[100.0, np.ones(299)]):
        row = gaussianity(rng.standard_normal((200, 300)) * scale, n_projections=200, n_null=59).row("projections", AD)
        spread.append(row.null_high - row.null_low)
    assert spread[1] > 3 * spread[0]  # one strong axis: three hundred tests are one


@pytest.mark.parametrize("shape", [(120, 40), (60, 200)])
def test_nothing_changes_when_rows_are_moved_and_scaled(shape: tuple[int, int]) -> None:
    X = np.random.default_rng(10).standard_normal(shape)
    a, b = (gaussianity(x, n_projections=50).to_frame() for x in (X, 7 + 3e-3 * X))
    numeric = ["acceptance", "value", "bonferroni", "null", "null_low", "null_high"]
    np.testing.assert_allclose(a[numeric].to_numpy(float), b[numeric].to_numpy(float), rtol=1e-6)


def test_axes_norm_and_kurtosis_do_not_change_under_rotation() -> None:
    rng = np.random.default_rng(11)
    X = rng.standard_normal((150, 40)) * np.linspace(1, 4, 40)
    Q = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    a, b = gaussianity(X, n_projections=5), gaussianity(X @ Q, n_projections=5)
    for family in VALUES[:3]:
        assert value_row(a, family) == pytest.approx(value_row(b, family), rel=1e-8)
    assert a.row("principal axes", AD).bonferroni == pytest.approx(b.row("principal axes", AD).bonferroni, rel=1e-6)


def test_the_papers_table_is_two_tests_of_250_rows_beside_what_a_true_gaussian_scores() -> None:
    X = np.random.default_rng(12).standard_normal((2000, 400)).astype(np.float32)
    paper = paper_gaussianity(X, n_null=60)
    assert paper.n == 250 and [row.test for row in paper.rows] == [AD, DP, "both"]
    assert {row.family for row in paper.rows} == {"projections"}
    for row, known in zip(paper.rows, (0.949, 0.947, 0.913), strict=True):
        assert row.null == pytest.approx(known, abs=0.005)  # 60 x 1000 dependent samples
        assert row.low < row.acceptance < row.high and row.high - row.low < 0.04


def test_the_papers_table_equals_scipy_on_the_same_directions() -> None:
    X = np.random.default_rng(13).gamma(4.0, size=(60, 8))
    paper = paper_gaussianity(X, n_samples=50, n_projections=20, n_null=19)
    rows = X[np.sort(np.random.default_rng([42, 0]).permutation(60)[:50])]
    U = np.random.default_rng([42, 100]).standard_normal((8, 256))
    Z = (rows @ (U / np.linalg.norm(U, axis=0)))[:, :20]
    np.testing.assert_allclose(paper.p_values["projections", DP], stats.normaltest(Z).pvalue, rtol=1e-8)
    both = (stats.normaltest(Z).pvalue >= 0.05) & (paper.p_values["projections", AD] >= 0.05)
    assert paper.row("projections", "both").acceptance == both.mean()


def test_the_same_seed_gives_the_same_result() -> None:
    X = np.random.default_rng(12).standard_normal((400, 20))
    a, b = (gaussianity(X, n_samples=250, n_projections=30) for _ in range(2))
    assert a.n == 250 and a.to_dict() == b.to_dict()


def test_both_is_passed_by_samples_that_pass_each(laplace: GaussianityResult) -> None:
    for family in FAMILIES:
        p = np.minimum(laplace.p_values[family, AD], laplace.p_values[family, DP])
        assert laplace.row(family, "both").acceptance == (p >= laplace.alpha).mean()


def test_every_coordinate_has_its_p_value_and_false_discoveries_are_counted(laplace: GaussianityResult) -> None:
    p = laplace.p_values["coordinates", AD]
    adjusted = stats.false_discovery_control(p, method="by")
    assert p.shape == (2048,)
    row = laplace.row("coordinates", AD)
    assert row.discoveries == (adjusted <= laplace.alpha).sum() > (row.rejected or 0)
    assert laplace.row("projections", AD).discoveries == 0
    assert laplace.row("coordinates", DP).discoveries is None  # its tail does not hold


def test_repeated_rows_are_counted_and_said() -> None:
    X = np.random.default_rng(15).standard_normal((60, 5))
    X[[7, 30, 31]] = X[[2, 2, 9]]
    result = gaussianity(X, families=["norm"])
    assert result.repeated_rows == 3 and "3 of 60 rows repeat an earlier row" in result.settings()["caveats"][0]


def test_fewer_rows_than_dimensions_is_a_stated_caveat(gaussian: GaussianityResult) -> None:
    assert "300 rows in 700 dimensions" in gaussian.caveats[0]


def test_the_sentence_says_what_departs_and_what_sees_nothing(
    gaussian: GaussianityResult, laplace: GaussianityResult
) -> None:
    assert "does not show that they are Gaussian" in gaussian.sentence()
    departs, blind = laplace.sentence().split(";")
    assert "500 rows in 2,048 dimensions" in departs and "coordinates" in departs and "norm" in departs
    assert "projections" in blind


def test_constant_coordinates_are_counted_and_left_out() -> None:
    X = np.random.default_rng(13).standard_normal((50, 12))
    X[:, [3, 7]] = 1.0
    result = gaussianity(X, n_projections=10)
    assert result.constant_coordinates == 2 and result.row("coordinates", AD).tests == 10
    p = result.p_values["coordinates", AD]
    assert np.flatnonzero(np.isnan(p)).tolist() == [3, 7] and p.shape == (12,)
    np.testing.assert_allclose(p[[0, 11]], anderson_darling(X[:, [0, 11]])[1], rtol=1e-10)
    assert any("2 of 12 coordinates are constant" in caveat for caveat in result.caveats)


def test_the_result_is_json_and_a_tidy_frame(gaussian: GaussianityResult) -> None:
    assert json.loads(json.dumps(gaussian.to_dict(), allow_nan=False))["rows"][0]["family"] == "projections"
    assert list(gaussian.to_frame()["family"].unique()) == [*FAMILIES, *VALUES]


@pytest.mark.parametrize(
    ("X", "settings", "says"),
    [
        (np.zeros((10, 3)), {}, "at least 20 rows"),
        (np.zeros((30, 3)), {}, "every column of X is constant"),
        (np.random.default_rng(0).standard_normal((30, 3)), {"n_samples": 31}, "between 20 and the 30 rows"),
        (np.random.default_rng(0).standard_normal((30, 3)), {"families": ["nonsense"]}, "families must be some of"),
        (np.full((30, 3), np.nan), {}, "NaN or infinite values, the first at row 0, column 0"),
        (np.eye(30), {"groups": np.arange(30) // 2}, "15 groups of rows of X are too few"),
        (np.eye(30), {"groups": np.arange(29)}, "one label a row"),
        (np.eye(30), {"groups": np.arange(30) % 25, "n_samples": 26}, "between 20 and the 25 groups"),
        (np.eye(30), {"alpha": 0}, "alpha must lie between 0 and 1"),
        (np.eye(30), {"alpha": 5}, "alpha must lie between 0 and 1"),
        (np.eye(30), {"n_projections": 0}, "n_projections must be a whole number, 1 or more, not 0"),
        (np.eye(30), {"n_null": 0}, "n_null must be"),
    ],
)
def test_what_cannot_be_tested_is_refused(X: NDArray[np.float64], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        gaussianity(X, **settings)
