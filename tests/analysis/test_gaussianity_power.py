import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from noisezoo.analysis.controls.power import ALTERNATIVES, Law, PowerTable, planted_power
from noisezoo.analysis.controls.simulation import simulate_une
from noisezoo.analysis.gaussian.gaussianity import gaussianity

AD = "anderson-darling"


@pytest.fixture(scope="module")
def data() -> NDArray[np.float64]:
    """An axis that stands out, shared by all coordinates, over white noise."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((400, 1)) @ np.full((1, 120), 0.35) + rng.standard_normal((400, 120))


@pytest.fixture(scope="module")
def table(data: NDArray[np.float64]) -> PowerTable:
    return planted_power(data, n_replicates=12, n_projections=60)


@pytest.mark.parametrize(
    ("alternative", "family", "test"),
    [
        ("laplace coordinates", "coordinates", AD),
        ("laplace coordinates", "norm", "variance ratio"),
        ("bimodal coordinate", "coordinates", AD),
        ("shell", "norm", "variance ratio"),
        ("shared scale", "mardia kurtosis", "40 axes"),
        ("shared scale", "norm", "variance ratio"),
        ("shared scale", "bhep", "10 axes"),
        ("skewed leading axis", "principal axes", AD),
        ("skewed leading axis", "mardia skewness", "10 axes"),
        ("skewed leading axis", "bhep", "10 axes"),
    ],
)
def test_each_planted_departure_is_found_by_the_family_that_should(
    table: PowerTable, alternative: str, family: str, test: str
) -> None:
    row = table.row(alternative, family, test)
    assert row.replicates == 12 and row.low > 0.6


@pytest.mark.parametrize("alternative", ["laplace coordinates", "bimodal coordinate", "shell"])
def test_projections_are_blind_where_coordinates_or_norms_see_everything(table: PowerTable, alternative: str) -> None:
    assert table.row(alternative, "projections", AD).found <= 4


def test_nothing_planted_is_found_at_the_level(table: PowerTable) -> None:
    for row in (row for row in table.rows if row.alternative == "none"):
        assert row.found <= stats.binom.ppf(0.999, 12, table.alpha) + 1, row  # replicates share their null


def test_rows_of_identities_cause_no_false_alarm_in_the_planted_power() -> None:
    """Planted rows are independent whatever the data: 40 people of 1 to 12 near copies lend their covariance alone."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(40), rng.integers(1, 13, 40))
    X = rng.standard_normal((40, 8))[groups] + 0.1 * rng.standard_normal((len(groups), 8))
    table = planted_power(X, n_replicates=20, n_projections=60, alternatives=["none"], seed=6)
    assert len(table.rows) > 5
    for row in table.rows:
        assert row.found <= stats.binom.ppf(0.999, 20, table.alpha) + 1, row  # replicates share their null


def test_intervals_are_wilsons(table: PowerTable) -> None:
    for row in table.rows:
        interval = stats.binomtest(row.found, row.replicates).proportion_ci(method="wilson")
        assert (row.low, row.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_the_sentence_names_finders_and_blind_families_at_this_size(table: PowerTable) -> None:
    said = table.sentence()
    assert said.startswith("With 400 rows in 120 dimensions:")
    bimodal = next(clause for clause in said.split(";") if "bimodal" in clause)
    found, missed = bimodal.split(" and missed by ")
    assert "found by coordinates" in found and "projections" in missed
    assert "caveats" in table.settings() and not table.caveats


def test_an_undetectable_departure_is_called_so(data: NDArray[np.float64]) -> None:
    few = planted_power(data[:25, :3], alternatives=["bimodal coordinate"], n_replicates=2, n_projections=10)
    assert "is not detectable" in few.sentence()  # two replicates decide nothing


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_planted_rows_keep_the_covariance_of_the_data(name: str) -> None:
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    law = Law(np.array([3.0, 2, 1, 1, 1]), axes)
    drawn = ALTERNATIVES[name].draw(rng, 60_000, law)
    covariance = np.cov(drawn.T)
    assert np.trace(covariance) == pytest.approx(16, rel=0.03)
    if name != "shell":
        np.testing.assert_allclose(np.diag(covariance), law.sd**2, rtol=0.06)


def test_larger_data_is_stood_for_by_some_columns_and_rows_and_this_is_said(data: NDArray[np.float64]) -> None:
    small = planted_power(data, max_rows=100, max_columns=30, n_replicates=2, n_projections=10, alternatives=["none"])
    assert (small.n, small.d, small.of_n, small.of_d) == (100, 30, 400, 120)
    assert "100 rows and 30 columns" in small.settings()["caveats"][0]
    json.dumps(small.to_dict(), allow_nan=False)


def test_an_unknown_alternative_is_refused(data: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="alternatives must be some of none, laplace"):
        planted_power(data, alternatives=["cauchy"])


@pytest.mark.parametrize(
    ("control", "family"),
    [("laplace", "coordinates"), ("bimodal", "coordinates"), ("shell", "norm"), ("scale-mixture", "mardia kurtosis")],
)
def test_the_controls_of_the_simulated_embedding_are_seen_by_their_family(control: str, family: str) -> None:
    families = ["projections", "coordinates", "norm", "mardia kurtosis"]
    views = [simulate_une(500, view_dims=(60,), control=which, seed=3).views[0] for which in (None, control)]
    gaussian, other = (gaussianity(view, n_projections=100, families=families) for view in views)
    assert any(row.departs for row in other.rows if row.family == family)
    assert not any(row.departs for row in gaussian.rows if row.family == family)
