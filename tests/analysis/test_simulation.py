from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from noisezoo.analysis import fit_probes, gaussianity
from noisezoo.analysis.controls.simulation import simulate_une

Floats = NDArray[np.float64]
SMALL: dict[str, Any] = {"shared_dim": 6, "view_dims": (12, 20), "n_attributes": 4}


def test_the_same_seed_gives_the_same_numbers_and_another_sample_the_same_population() -> None:
    a, b = simulate_une(50, **SMALL), simulate_une(50, **SMALL)
    other = simulate_une(50, sample=1, **SMALL)
    for x, y, z in zip(a.views, b.views, other.views, strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == np.float32 and not np.allclose(x, z)
    for i in range(2):
        np.testing.assert_array_equal(a.maps[i], other.maps[i])
        np.testing.assert_array_equal(a.regressions[i], other.regressions[i])
    np.testing.assert_array_equal(a.normals, other.normals)


def test_a_views_best_regression_is_least_squares_of_s_on_it() -> None:
    data = simulate_une(200_000, **SMALL)
    for X, B in zip(data.views, data.regressions, strict=True):
        np.testing.assert_allclose(np.linalg.lstsq(X.astype(float), data.S)[0], B, atol=0.01)


def test_private_variance_is_as_asked_and_with_a_steep_spectrum_the_leading_axis_is_private() -> None:
    data = simulate_une(4000, view_dims=(310,), noise=1.0, decay=1.0)
    X, A = data.views[0].astype(float), data.maps[0]
    assert (A**2).sum() / 310 == pytest.approx(1, abs=0.05)
    assert X.var(axis=0).mean() == pytest.approx((A**2).sum() / 310 + 1, rel=0.03)
    axis = np.linalg.eigh(np.cov(X.T))[1][:, -1]
    assert ((A @ axis) ** 2).sum() < 0.3 * (axis @ np.cov(X.T) @ axis)


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_the_bayes_rule_reaches_the_accuracy_it_is_said_to_have(noise: float) -> None:
    data = simulate_une(100_000, noise=noise, label_noise=0.1, **SMALL)
    for view in (0, 1):
        said = (data.views[view] @ data.directions(view) > data.thresholds) == data.attributes
        np.testing.assert_allclose(said.mean(axis=0), data.bayes_accuracy(view), atol=0.006)
        logits = data.views[view] @ data.directions(view)
        r2 = [stats.pearsonr(logits[:, j], data.S @ data.normals[:, j]).statistic ** 2 for j in range(4)]
        np.testing.assert_allclose(r2, data.reliability(view), atol=0.01)


def test_rates_and_label_noise_are_as_asked() -> None:
    data = simulate_une(100_000, label_noise=0.1, **SMALL)
    np.testing.assert_allclose(data.clean.mean(axis=0), [0.2, 0.3, 0.4, 0.5], atol=0.007)
    assert np.mean(data.clean != data.attributes) == pytest.approx(0.1, abs=0.003)


def test_independent_views_share_nothing_and_tell_no_attribute() -> None:
    data = simulate_une(4000, control="independent", **SMALL)
    a, b = data.views
    largest = np.abs(np.corrcoef(np.hstack([a, b, data.S]).T)[:12, 12:]).max()
    assert largest < stats.norm.isf(1e-6) / np.sqrt(4000)
    np.testing.assert_allclose(
        data.bayes_accuracy(0), np.maximum([0.2, 0.3, 0.4, 0.5], [0.8, 0.7, 0.6, 0.5]) * 0.96 + 0.02
    )


MARGINALS: dict[str, Callable[[Floats], Floats]] = {
    "laplace": stats.laplace(scale=np.sqrt(0.5)).cdf,
    "bimodal": lambda x: (stats.norm.cdf(x, 0.9, np.sqrt(0.19)) + stats.norm.cdf(x, -0.9, np.sqrt(0.19))) / 2,
    "scale-mixture": lambda x: stats.t.cdf(x * np.sqrt(5 / 3), 5),
}


@pytest.mark.parametrize("control", MARGINALS)
def test_every_coordinate_has_the_marginal_its_control_names(control: str) -> None:
    data = simulate_une(20_000, control=control, **SMALL)
    for X, model in zip(data.views, simulate_une(20_000, **SMALL).views, strict=True):
        sd = model.std(axis=0)
        for x, s in zip(X.T, sd, strict=True):
            distance = stats.kstest(x / s, MARGINALS[control]).statistic
            assert distance < 0.02
            assert stats.kstest(x / s, "norm").statistic > 0.03


@pytest.mark.parametrize(
    ("control", "family"),
    [("laplace", "coordinates"), ("bimodal", "coordinates"), ("shell", "norm"), ("scale-mixture", "norm")],
)
def test_gaussianity_sees_each_marginal_control_where_it_departs_and_passes_the_model(
    control: str, family: str
) -> None:
    def departs(c: str | None) -> bool:
        rows = gaussianity(simulate_une(1000, control=c, **SMALL).views[1], n_projections=50).rows
        return any(row.departs for row in rows if row.family == family)

    assert departs(control)
    assert not departs(None)


def test_rows_of_a_shell_have_one_norm() -> None:
    norms = np.linalg.norm(simulate_une(500, control="shell", **SMALL).views[0], axis=1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-5)


def test_scales_of_a_mixture_are_shared_by_all_views_of_a_row() -> None:
    def correlation(control: str | None) -> float:
        data = simulate_une(2000, control=control, shared_dim=2, view_dims=(60, 60), noise=20.0)
        a, b = (np.log(np.linalg.norm(X, axis=1)) for X in data.views)
        return float(np.corrcoef(a, b)[0, 1])

    assert correlation("scale-mixture") > 0.7
    assert abs(correlation(None)) < 0.2


def test_linear_probes_of_nonlinear_attributes_stay_at_chance_where_products_tell_them() -> None:
    data = simulate_une(4000, control="nonlinear", noise=0.1, label_noise=0.0, **SMALL)
    train, test = slice(0, 2000), slice(2000, None)
    X, Y = data.views[1], data.attributes
    estimates = X @ data.regressions[1]
    products = np.einsum("ni,nj->nij", estimates, estimates).reshape(len(X), -1)
    linear, quadratic = (
        ((fit_probes(F[train], Y[train]).decision_function(F[test]) > 0) == Y[test]).mean() for F in (X, products)
    )
    assert abs(linear - 0.5) < 3 * 0.5 / np.sqrt(4 * 2000)
    assert quadratic > 0.85


@pytest.mark.parametrize("control", ["laplace", "bimodal", "shell", "scale-mixture", "nonlinear"])
def test_a_control_without_a_closed_form_refuses_to_give_one(control: str) -> None:
    data = simulate_une(10, control=control, **SMALL)
    with pytest.raises(ValueError, match=f"{control}.*no closed form"):
        data.bayes_accuracy(0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"control": "cauchy"}, "control must be None or one of independent"),
        ({"noise": 0.0}, "noise must be positive"),
        ({"label_noise": 0.5}, "label_noise in"),
        ({"shared_dim": 1}, "shared_dim must be at least 2"),
        ({"view_dims": ()}, "view_dims"),
        ({"n_attributes": 0}, "n_attributes"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simulate_une(10, **settings)


def test_wide_views_need_no_square_matrix() -> None:
    data = simulate_une(8, view_dims=(16384,))
    assert data.views[0].shape == (8, 16384)
    assert data.reliability(0) == pytest.approx(1, abs=1e-3)
