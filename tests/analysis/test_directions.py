"""Directions against scikit-learn, against closed forms, and against simulated data whose directions are known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from noisezoo.analysis import cosine
from noisezoo.analysis.controls.simulation import Simulated, simulate_une
from noisezoo.analysis.edits.directions import (
    MAKERS,
    carry_back_probes,
    class_mean_directions,
    lda_directions,
    make_directions,
    stray_shares,
    strengths_on,
)
from noisezoo.analysis.probes.fit import fit_probes
from noisezoo.pca import fit_pca

Floats = NDArray[np.float64]


def two_gaussians(n: int, d: int, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    """Rows (n, d) of two classes with one covariance; also the difference of the means (d,), and the covariance."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((d, d)) / np.sqrt(d) + np.eye(d)
    delta = rng.standard_normal(d) / 2
    y = (rng.random((n, 1)) < 0.3).astype(float)
    return rng.standard_normal((n, d)) @ root + y * delta + 4, y, delta, root.T @ root


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    return simulate_une(4000, view_dims=(100,), n_attributes=4)


def euclidean(a: Floats, b: Floats) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_fishers_direction_is_the_closed_form_of_two_gaussians() -> None:
    X, y, delta, covariance = two_gaussians(20_000, 8)
    w = lda_directions(X, y, shrinkage=0.0)[:, 0]
    assert cosine(w, np.linalg.solve(covariance, delta), covariance) > 0.999


@pytest.mark.parametrize("n", [300, 30])
@pytest.mark.parametrize("shrinkage", [0.1, 0.9])
def test_a_shrunk_discriminant_is_scikit_learns_also_for_more_columns_than_rows(n: int, shrinkage: float) -> None:
    X, y, _, _ = two_gaussians(n, 60)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X, y[:, 0]).coef_[0]
    assert euclidean(lda_directions(X, y, shrinkage=shrinkage)[:, 0], theirs) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("n", [300, 30])
def test_the_default_intensity_is_ledoit_and_wolfs_of_the_rows_within_their_classes(n: int) -> None:
    X, y, _, _ = two_gaussians(n, 60)
    present = y[:, 0] == 1
    residuals = X - np.where(y == 1, X[present].mean(axis=0), X[~present].mean(axis=0))
    shrunk, _ = ledoit_wolf(residuals, assume_centered=True)
    wanted = np.linalg.solve(shrunk, X[present].mean(axis=0) - X[~present].mean(axis=0))
    assert euclidean(lda_directions(X, y)[:, 0], wanted) == pytest.approx(1, abs=1e-9)


def test_full_shrinkage_gives_the_difference_of_the_class_means() -> None:
    X, y, _, _ = two_gaussians(50, 80)
    means = X[y[:, 0] == 1].mean(axis=0) - X[y[:, 0] == 0].mean(axis=0)
    np.testing.assert_allclose(class_mean_directions(X, y)[:, 0], means, atol=1e-12)
    assert euclidean(lda_directions(X, y, shrinkage=1.0)[:, 0], means) == pytest.approx(1)


def test_a_far_mean_costs_a_float32_class_mean_no_digits() -> None:
    X, y, _, _ = two_gaussians(400, 20)
    near, far = (class_mean_directions((X + shift).astype(np.float32), y) for shift in (0, 1000))
    np.testing.assert_allclose(far, near, atol=2e-4)


def test_shrinking_steadies_the_direction_where_there_are_as_many_columns_as_rows() -> None:
    X, y, delta, covariance = two_gaussians(100, 100)
    truth = np.linalg.solve(covariance, delta)
    shrunk, bare = (cosine(lda_directions(X, y, shrinkage=s)[:, 0], truth, covariance) for s in (None, 0.0))
    assert shrunk > bare + 0.1


@pytest.mark.parametrize("kind", ["probe", "lda"])
def test_directions_of_the_simulated_model_are_found(kind: str, simulated: Simulated) -> None:
    X = simulated.views[0]
    W = MAKERS[kind](X, simulated.attributes)
    for w, truth in zip(W.T, simulated.directions(0).T, strict=True):
        assert cosine(w, truth, rows=X) > 0.98


def test_class_means_of_the_simulated_model_are_the_covariance_times_its_directions(simulated: Simulated) -> None:
    X = simulated.views[0].astype(np.float64)
    wanted = np.cov(X.T) @ simulated.directions(0)
    for w, truth in zip(class_mean_directions(X, simulated.attributes).T, wanted.T, strict=True):
        assert euclidean(w, truth) > 0.97


@pytest.mark.parametrize("kind", MAKERS)
def test_directions_made_on_principal_components_come_back_as_they_were_where_nothing_was_left_out(kind: str) -> None:
    X, y, _, _ = two_gaussians(300, 12)
    plain = make_directions(X, y, ["a"], kind=kind, n_splits=0).normal("a")
    carried = make_directions(X, y, ["a"], kind=kind, basis=fit_pca(X, 12), n_splits=0).normal("a")
    assert euclidean(plain, carried) > 0.99999


def test_a_direction_made_on_a_basis_lies_in_its_span() -> None:
    X, y, _, _ = two_gaussians(300, 12)
    basis = fit_pca(X, 5)
    normal = make_directions(X, y, ["a"], basis=basis, n_splits=0).normal("a")
    np.testing.assert_allclose(normal @ basis.components.T @ basis.components, normal, atol=1e-6)


def test_probes_carried_back_give_the_logits_they_gave_on_the_scores() -> None:
    X, y, _, _ = two_gaussians(300, 12)
    basis = fit_pca(X, 5)
    probes = fit_probes(basis.transform(X), y)
    carried = carry_back_probes(probes, basis)
    np.testing.assert_allclose(carried.decision_function(X), probes.decision_function(basis.transform(X)), atol=1e-4)


@pytest.mark.parametrize("kind", MAKERS)
def test_halves_agree_on_a_planted_direction_and_not_on_shuffled_labels(kind: str) -> None:
    X, y, _, _ = two_gaussians(800, 20)
    found = make_directions(X, y, ["a"], kind=kind)
    assert found.agreement[0].low > 0.75
    assert abs(found.null[0].estimate) < 0.6 and found.null[0].low < found.agreement[0].low
    assert np.linalg.norm(found.normals, axis=1) == pytest.approx(1)
    assert found.scales[0] == pytest.approx(np.std(X @ found.normal("a")))
    assert found.to_dict()["rows"][0]["attribute"] == "a"


def test_an_unknown_kind_one_class_and_a_wrong_shrinkage_are_refused() -> None:
    X, y, _, _ = two_gaussians(40, 5)
    with pytest.raises(ValueError, match="kind must be one of probe, class means, lda, not 'svm'"):
        make_directions(X, y, ["a"], kind="svm")
    with pytest.raises(ValueError, match="every row has the same value of attribute 0"):
        lda_directions(X, np.ones((40, 1)))
    with pytest.raises(ValueError, match="shrinkage must lie between 0 and 1"):
        lda_directions(X, y, shrinkage=1.5)


def test_one_rare_attribute_does_not_refuse_the_others() -> None:
    X, y, _, _ = two_gaussians(200, 5)
    alone, none = np.zeros((200, 1)), np.zeros((200, 1))
    alone[7] = 1
    found = make_directions(X, np.hstack([y, alone, none]), ["a", "alone", "none"])
    assert found.names == ("a", "alone")
    assert found.refused == {"none": "every row has the same value"}
    assert np.isnan(found.agreement[1].estimate) and np.isfinite(found.agreement[0].estimate)
    with pytest.raises(ValueError, match="every row has the same value of attribute 'none'"):
        make_directions(X, none, ["none"])


def test_halves_of_identities_do_not_agree_on_labels_that_only_identities_share() -> None:
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(60), rng.integers(3, 12, 60))
    X = rng.standard_normal((60, 10))[groups] + 0.3 * rng.standard_normal((len(groups), 10))
    y = (rng.random(60) < 0.5).astype(float)[groups][:, None]
    apart, whole = (make_directions(X, y, ["a"], groups=g, kind="lda", n_splits=20) for g in (None, groups))
    assert apart.agreement[0].estimate > 0.5  # rows of one identity in both halves
    assert whole.agreement[0].estimate < 0.35
    assert whole.null[0].low < whole.agreement[0].estimate < whole.null[0].high


def test_folds_that_keep_identities_whole_choose_weaker_probes_of_labels_that_only_identities_share() -> None:
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(60), 6)
    X = (rng.standard_normal((60, 40))[groups] + 0.1 * rng.standard_normal((360, 40))).astype(np.float32)
    y = (rng.random(60) < 0.5).astype(float)[groups][:, None]
    apart, whole = (strengths_on(X, y, "probe", g) for g in (None, groups))
    assert apart is not None and whole is not None and whole[0] < 0.1 * apart[0]
    assert strengths_on(X, y, "lda", groups) is None


@pytest.mark.parametrize("kind", MAKERS)
def test_directions_of_coins_stray_as_shuffled_ones_do_and_planted_ones_by_their_noise(kind: str) -> None:
    """Class means of 400 rows either way, d = 20, one unit apart: noise of 20 * 4 / 800, and so a share of 0.30."""
    coins, planted = [], []
    for seed in range(12):
        rng = np.random.default_rng([seed, 9])
        y = (np.arange(800) % 2).astype(float)[:, None]
        X = rng.standard_normal((800, 20))
        for found, rows in ((coins, X), (planted, X + y * np.eye(1, 20))):
            C = strengths_on(rows, y, kind, None)
            found.append(stray_shares(rows, y, kind, np.arange(800), C, seed=seed)[0])
    assert np.mean(np.array(coins) == 1) >= 0.75 and min(coins) > 0.5
    assert 0.29 < np.median(planted) < 0.65  # on the safe side of it by two deviations of luck
