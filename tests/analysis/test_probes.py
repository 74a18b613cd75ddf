import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_expit
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from noisezoo.analysis import cosine, fit_probes
from noisezoo.analysis.controls.simulation import simulate_une

Floats = NDArray[np.float64]


def problem(n: int, d: int, k: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Correlated columns, a far mean, attributes of unequal rates."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / np.sqrt(d) + rng.standard_normal(d)
    logits = (X - X.mean(axis=0)) @ rng.standard_normal((d, k)) / np.sqrt(d)
    return X, (logits + 0.5 * rng.standard_normal((n, k)) > np.linspace(-0.5, 1, k)).astype(float)


def objective(X: Floats, y: Floats, C: float, w: Floats, b: float) -> float:
    """Scikit-learn's objective divided by C n: nats a row."""
    z = X @ w + b
    return float(-np.mean(y * log_expit(z) + (1 - y) * log_expit(-z)) + w @ w / (2 * C * len(y)))


@pytest.mark.parametrize("shape", [(400, 30), (80, 300), (60, 60)])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
def test_the_optimum_is_scikit_learns(shape: tuple[int, int], C: float) -> None:
    X, Y = problem(*shape, k=3)
    probes = fit_probes(X, Y, C=C)
    for j in range(3):
        peer = LogisticRegression(
            C=C, solver="newton-cholesky" if shape[0] > shape[1] else "lbfgs", tol=1e-10, max_iter=10_000
        )
        peer.fit(X, Y[:, j])
        ours = objective(X, Y[:, j], C, probes.coef[:, j], probes.intercept[j])
        assert ours <= objective(X, Y[:, j], C, peer.coef_[0], peer.intercept_[0]) + 1e-6
        assert cosine(probes.coef[:, j], peer.coef_[0]) >= 0.9999
        np.testing.assert_allclose(probes.predict_proba(X)[:, j], peer.predict_proba(X)[:, 1], atol=2e-3)


def test_the_intercept_is_not_penalised() -> None:
    X = np.random.default_rng(1).standard_normal((500, 4)) + 100
    y = (np.random.default_rng(2).random(500) < 0.1).astype(float)
    assert fit_probes(X, y, C=1e-8).predict_proba(X).mean() == pytest.approx(y.mean(), abs=1e-4)


def test_each_attribute_may_have_its_own_strength() -> None:
    X, Y = problem(150, 20, 2)
    both = fit_probes(X, Y, C=[0.01, 10.0])
    for j, C in enumerate((0.01, 10.0)):
        np.testing.assert_allclose(both.coef[:, j], fit_probes(X, Y[:, j], C=C).coef[:, 0], rtol=1e-3, atol=1e-4)


def test_padding_with_constant_columns_until_n_is_below_d_changes_nothing() -> None:
    X, Y = problem(60, 20, 2)
    wide = np.hstack([X, np.zeros((60, 80))])  # the dual route
    a, b = fit_probes(X, Y, C=0.5), fit_probes(wide, Y, C=0.5)
    np.testing.assert_allclose(b.coef[:20], a.coef, atol=1e-4)
    np.testing.assert_allclose(b.coef[20:], 0, atol=1e-12)


@pytest.mark.parametrize("shape", [(120, 15), (60, 150)])
def test_validated_predictions_do_not_change_when_a_view_is_scaled_moved_or_rotated(shape: tuple[int, int]) -> None:
    X, Y = problem(*shape, k=3)
    Q = np.linalg.qr(np.random.default_rng(3).standard_normal((shape[1], shape[1])))[0]
    reference = fit_probes(X, Y)
    for other, scale in ((1e3 * X, 1e3), (X + 5, 1), (X @ Q, 1)):
        probes = fit_probes(other, Y)
        np.testing.assert_allclose(probes.C * scale**2, reference.C, rtol=1e-6)
        np.testing.assert_allclose(probes.predict_proba(other), reference.predict_proba(X), atol=2e-3)


def test_validation_shrinks_noise_and_trusts_signal() -> None:
    rng = np.random.default_rng(4)
    X = rng.standard_normal((300, 600))
    X[:, 0] *= 30
    Y = np.stack([X[:, 0] > 0, rng.random(300) < 0.5], axis=1).astype(float)
    probes = fit_probes(X, Y)
    assert probes.C[0] > 10 * probes.C[1]
    assert abs(cosine(probes.coef[:, 0], np.eye(600)[0], rows=X)) > 0.95


def test_a_planted_direction_is_recovered() -> None:
    rng = np.random.default_rng(5)
    X, w = rng.standard_normal((4000, 20)), rng.standard_normal(20)
    y = (X @ w + 0.3 * rng.logistic(size=4000) > 0.2).astype(float)
    assert cosine(fit_probes(X, y).coef[:, 0], w) > 0.995


def test_classes_of_digits_are_columns_one_against_the_rest() -> None:
    X, digit = load_digits(return_X_y=True)
    train = np.arange(len(X)) % 3 > 0
    probes = fit_probes(X[train], digit[train, None] == np.arange(10), C=1e-3)
    ours = probes.decision_function(X[~train]).argmax(axis=1)
    peer = OneVsRestClassifier(LogisticRegression(C=1e-3, solver="newton-cholesky")).fit(X[train], digit[train])
    assert (ours == peer.predict(X[~train])).mean() > 0.998
    assert (ours == digit[~train]).mean() > 0.93


def test_single_precision_gives_the_same_probes() -> None:
    X, Y = problem(200, 400, 2)
    a, b = fit_probes(X, Y, C=0.1), fit_probes(X.astype(np.float32), Y, C=0.1)
    assert min(cosine(a.coef[:, j], b.coef[:, j]) for j in range(2)) > 0.99999


def test_an_attribute_of_one_class_and_a_bad_strength_are_refused() -> None:
    X, Y = problem(30, 3, 2)
    with pytest.raises(ValueError, match="attribute 1"):
        fit_probes(X, np.column_stack([Y[:, 0], np.ones(30)]))
    for C in (0.0, -1.0, np.nan, [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="C must be positive"):
            fit_probes(X, Y, C=C)
    with pytest.raises(ValueError, match="all rows of X are equal"):
        fit_probes(np.ones((30, 3)), Y)
    with pytest.raises(ValueError, match="fitted on 3"):
        fit_probes(X, Y, C=1.0).predict_proba(np.zeros((2, 4)))


def test_the_papers_model_gives_back_its_directions_and_the_best_rules_accuracy() -> None:
    truth, fresh = (simulate_une(n, view_dims=(310,), n_attributes=3, sample=s) for s, n in enumerate((6000, 20_000)))
    probes = fit_probes(truth.views[0], truth.attributes)
    best = truth.directions(0)
    found = [cosine(probes.coef[:, j], best[:, j], rows=truth.views[0]) for j in range(3)]
    assert min(found) >= 0.98
    right = ((probes.decision_function(fresh.views[0]) > 0) == (fresh.attributes > 0)).mean(axis=0)
    np.testing.assert_allclose(right, truth.bayes_accuracy(0), atol=0.015)


def test_separable_labels_at_a_weak_penalty_reach_the_optimum_too() -> None:
    """Where nearly all rows are certain, the curvature that preconditions is nearly gone."""
    rng = np.random.default_rng(6)
    X = rng.standard_normal((200, 30))
    y = (X @ rng.standard_normal(30) > 0).astype(float)
    ours = fit_probes(X, y, C=1e4)
    peer = LogisticRegression(C=1e4, solver="newton-cholesky", tol=1e-12, max_iter=500).fit(X, y)
    excess = objective(X, y, 1e4, ours.coef[:, 0], ours.intercept[0]) - objective(
        X, y, 1e4, peer.coef_[0], peer.intercept_[0]
    )
    assert excess <= 1e-6 and cosine(ours.coef[:, 0], peer.coef_[0]) >= 0.9999


def test_what_a_reader_must_know_is_said() -> None:
    X, Y = problem(60, 80, 1)
    rare = (np.arange(60) < 3).astype(float)
    said = fit_probes(np.column_stack([X, np.ones((60, 2))]), np.column_stack([Y, rare])).to_dict()["caveats"]
    for words in ("fewer rows (60) than dimensions (82)", "2 constant columns", "attribute 1 has 3 rows"):
        assert sum(words in sentence for sentence in said) == 1
    assert fit_probes(X[:, :5], Y, C=1.0).to_dict()["caveats"] == []
