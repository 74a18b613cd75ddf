"""What is planted at 4 views x 310 dimensions and n = 4000 is found, and nothing where nothing is."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from noisezoo.analysis import cosine, fit_probes
from noisezoo.analysis.controls.simulation import Simulated, simulate_une
from noisezoo.analysis.relations.gcca import SharedSpace, gcca
from noisezoo.analysis.relations.intersections import shared_probes

Floats = NDArray[np.float64]
SEEDS = 200


@pytest.fixture(scope="module")
def planted() -> Simulated:
    return simulate_une(4000)


@pytest.fixture(scope="module")
def space(planted: Simulated) -> SharedSpace:
    return gcca(planted.views, 32, n_permutations=0)


def canonical_correlations(A: Floats, B: Floats) -> Floats:
    bases = (np.linalg.qr(M - M.mean(axis=0))[0] for M in (A, B))
    return np.linalg.svd(next(bases).T @ next(bases), compute_uv=False)


def test_gcca_recovers_the_shared_gaussian_on_rows_it_was_not_fitted_on(planted: Simulated, space: SharedSpace) -> None:
    assert canonical_correlations(space.out_of_fold, planted.S).min() > 0.975
    fresh = simulate_une(1000, sample=1)
    assert canonical_correlations(space.transform(fresh.views), fresh.S).min() > 0.975


def test_gcca_finds_what_pca_of_the_same_size_does_not() -> None:
    data = simulate_une(2000, shared_dim=8, view_dims=(100,) * 4, noise=2.0, decay=1.5)
    centred = np.hstack([X - X.mean(axis=0) for X in data.views]).astype(np.float64)
    leading = np.linalg.eigh(centred.T @ centred)[1][:, -8:]
    assert canonical_correlations(centred @ leading, data.S).min() < 0.5
    assert canonical_correlations(gcca(data.views, 8).out_of_fold, data.S).min() > 0.975


def test_probe_directions_and_accuracies_are_the_true_rules(planted: Simulated) -> None:
    X, fresh = planted.views[0], simulate_une(20_000, view_dims=(310,), sample=2)
    probes, truth = fit_probes(X, planted.attributes), planted.directions(0)
    cosines = [cosine(probes.coef[:, j], truth[:, j], rows=X) for j in range(truth.shape[1])]
    assert min(cosines) > 0.98
    np.testing.assert_allclose(fresh.directions(0), truth)
    accuracy = ((probes.decision_function(fresh.views[0]) > 0) == fresh.attributes).mean(axis=0)
    np.testing.assert_allclose(accuracy, planted.bayes_accuracy(0), atol=0.015)


def test_probes_of_the_shared_space_reach_the_rule_that_knows_s(planted: Simulated, space: SharedSpace) -> None:
    table = shared_probes(space, planted.attributes, planted.names, n_permutations=0, n_splits=1)
    accuracy = [table.interval(name, "accuracy").estimate for name in planted.names]
    known = ((planted.S @ planted.normals > planted.thresholds) == planted.attributes).mean(axis=0)
    assert (np.array(accuracy) > planted.bayes_accuracy(0)).all()  # four views tell more than one
    assert (np.array(accuracy) < known + 0.005).all()
    directions = fit_probes(space.out_of_fold, planted.attributes).coef
    logits = space.out_of_fold @ directions
    correlations = [
        stats.pearsonr(*pair).statistic for pair in zip(logits.T, (planted.S @ planted.normals).T, strict=True)
    ]
    assert min(correlations) > 0.98


def small(sample: int, **settings: Any) -> list[Any]:
    shape: dict[str, Any] = {"shared_dim": 2, "view_dims": (5, 5, 5), "n_attributes": 1}
    return list(simulate_une(sample=sample, **{"n": 70, **shape, **settings}).views)


@pytest.mark.parametrize(("control", "truth"), [("independent", 0), (None, 2)])
def test_more_is_found_than_is_shared_as_often_as_is_said(control: str | None, truth: int) -> None:
    settings = {"n_folds": 2, "n_permutations": 19}
    spaces = (gcca(small(s, control=control, noise=2.0), 3, seed=s, **settings) for s in range(SEEDS))
    false = sum(space.n_shared > truth for space in spaces)
    low, high = stats.binom.interval(0.95, SEEDS, 0.05)
    assert false <= high
    assert truth or low <= false  # beside true dimensions a false one has fewer chances, so that the test is stricter


@pytest.mark.parametrize("settings", [{"control": "independent"}, {"noise": 1.0}])
def test_intervals_of_held_out_values_hold_the_procedures_expectation(settings: dict[str, Any]) -> None:
    spaces = [gcca(small(s, n=200, **settings), 3, n_folds=2, seed=s) for s in range(SEEDS)]
    expected = np.mean([space.held_out_values for space in spaces], axis=0)
    held = [[i.low <= e <= i.high for i, e in zip(space.held_out, expected, strict=True)] for space in spaces]
    assert 0.93 <= np.mean(held) <= 0.97
