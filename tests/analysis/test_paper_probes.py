import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from noisezoo.analysis.core.intervals import wilson
from noisezoo.analysis.probes.paper import DIMENSIONS, paper_probes

Floats = NDArray[np.float64]
NAMES = ["Smiling", "Male", "Bald"]


def view(n: int, d: int, seed: int = 0) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Rows with a falling spectrum and a far mean, attributes from common to rare, and two thirds to train on."""
    rng = np.random.default_rng(seed)
    S = rng.standard_normal((n, d))
    scores = S[:, :20] @ rng.standard_normal((20, 3)) / np.sqrt(20) + 0.5 * rng.standard_normal((n, 3))
    return S * np.arange(1, d + 1) ** -0.4 + 3, (scores > [0, 0.4, 1.2]).astype(float), np.arange(n) % 3 > 0


@pytest.mark.parametrize(("kind", "shape"), [("embedding", (900, 400)), ("noise", (300, 700)), ("noise", (300, 40))])
def test_accuracies_are_those_of_pca_and_scikit_learns_default_probe(kind: str, shape: tuple[int, int]) -> None:
    X, Y, train = view(*shape)
    found = paper_probes(X, Y, NAMES, train=train, kind=kind)
    components = min(DIMENSIONS[kind], train.sum() - 1, shape[1])
    assert found.n_components == components
    for j in range(3):
        probe = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=500)
        peer = make_pipeline(PCA(components, svd_solver="full"), StandardScaler(), probe).fit(X[train], Y[train, j])
        ours = found.probes.predict_proba(X[~train])[:, j]
        np.testing.assert_allclose(ours, peer.predict_proba(X[~train])[:, 1], atol=1e-3)
        assert found.scores["accuracy"][j].estimate == pytest.approx(peer.score(X[~train], Y[~train, j]), abs=1e-9)
        majority = DummyClassifier().fit(X[train], Y[train, j]).score(X[~train], Y[~train, j])
        assert found.scores["majority"][j].estimate == pytest.approx(majority)


def test_rates_of_single_rows_have_wilsons_intervals_and_means_add_up() -> None:
    X, Y, train = view(600, 30)
    found = paper_probes(X, Y, NAMES, train=train, kind="noise")
    accuracy, majority, gain = (found.scores[what][0] for what in ("accuracy", "majority", "gain"))
    np.testing.assert_allclose([accuracy.low, accuracy.high], wilson(accuracy.estimate * 200, 200))
    assert gain.estimate == pytest.approx(accuracy.estimate - majority.estimate)
    assert found.mean["gain"].estimate == pytest.approx(np.mean([g.estimate for g in found.scores["gain"]]))
    assert gain.low > 0


def test_copies_of_a_row_in_one_group_narrow_nothing() -> None:
    X, Y, train = view(300, 20)
    once = paper_probes(X, Y, NAMES, train=train, kind="noise").scores
    X4, Y4, train4 = (np.repeat(a, 4, axis=0) for a in (X, Y, train))
    four = paper_probes(X4, Y4, NAMES, train=train4, kind="noise", groups=np.repeat(np.arange(300), 4)).scores
    for what, tolerance in (("accuracy", 0.05), ("gain", 0.2)):
        width = [np.mean([i.high - i.low for i in scores[what]]) for scores in (once, four)]
        assert width[1] / width[0] == pytest.approx(1, abs=tolerance)


def test_shuffled_training_labels_tell_no_more_than_the_majority() -> None:
    X, Y, train = view(900, 20)
    found = paper_probes(X, Y, NAMES, train=train, kind="noise", n_permutations=8)
    majority = [interval.estimate for interval in found.scores["majority"]]
    assert (found.null.mean(axis=0) <= np.array(majority) + 0.03).all()
    frame = found.to_frame().set_index(["attribute", "metric"])
    assert frame.loc[("Smiling", "accuracy"), "null_high"] < frame.loc[("Smiling", "accuracy"), "low"]


def test_a_perfect_score_still_has_an_error() -> None:
    X = np.r_[np.full((60, 2), -1.0), np.full((60, 2), 1.0)] + 0.01 * np.random.default_rng(0).standard_normal((120, 2))
    y = np.arange(120) >= 60
    found = paper_probes(X, y, ["Side"], train=np.arange(120) % 2 == 0, kind="noise")
    accuracy = found.scores["accuracy"][0]
    assert accuracy.estimate == accuracy.high == 1 and 0.9 < accuracy.low < 0.95


def test_what_cannot_be_scored_is_refused_by_name() -> None:
    X, Y, train = view(60, 25)
    Y[train, 2] = 0
    found = paper_probes(X, Y, NAMES, train=train, kind="noise")
    assert found.names == ("Smiling", "Male") and "40 training rows" in found.refused["Bald"]
    for wrong, why in ((train.astype(int), "mask of 60 booleans"), (train | True, "leave two rows")):
        with pytest.raises(ValueError, match=why):
            paper_probes(X, Y, NAMES, train=wrong, kind="noise")
    with pytest.raises(ValueError, match="kind must be one of noise, embedding, control"):
        paper_probes(X, Y, NAMES, train=train, kind="encoder")
    with pytest.raises(ValueError, match="no attribute has both classes"):
        paper_probes(X, Y * 0, NAMES, train=train, kind="noise")


def test_identities_and_pictures_on_both_sides_of_the_split_are_told() -> None:
    X, Y, train = view(90, 30)
    X[1] = X[0]
    said = paper_probes(X, Y, NAMES, train=train, kind="noise", groups=np.arange(90) // 2).to_dict()["caveats"]
    assert any("2 rows of X have an exact copy" in sentence for sentence in said)
    assert any("groups lie on both sides" in sentence for sentence in said)
    assert any("30 principal components instead of the paper's 500" in sentence for sentence in said)


def test_the_area_under_the_curve_is_scikit_learns_with_delongs_error() -> None:
    X, Y, train = view(600, 30)
    found = paper_probes(X, Y, NAMES, train=train, kind="noise")
    logits = found.probes.decision_function(X[~train])
    for j in range(3):
        area = found.scores["auc"][j]
        assert area.estimate == pytest.approx(roc_auc_score(Y[~train, j], logits[:, j]))
        assert area.low < area.estimate < area.high <= 1
    drawn = np.random.default_rng(0).integers(200, size=(400, 200))
    areas = [roc_auc_score(Y[~train, 0][rows], logits[rows, 0]) for rows in drawn]
    width = found.scores["auc"][0].high - found.scores["auc"][0].low
    assert width == pytest.approx(2 * 1.96 * np.std(areas), rel=0.15)


def test_the_class_mean_classifier_is_lda_with_an_identity_covariance() -> None:
    X, Y, train = view(600, 30)
    found = paper_probes(X, Y, NAMES, train=train, kind="noise", classifier="lda")
    scaled = make_pipeline(PCA(30, svd_solver="full"), StandardScaler()).fit(X[train])
    T = scaled.transform(X)
    for j in range(3):
        y, means = Y[train, j], [T[train][Y[train, j] == c].mean(axis=0) for c in (0, 1)]
        prior = np.log(y.mean() / (1 - y.mean()))
        expected = (((T - means[0]) ** 2).sum(axis=1) - ((T - means[1]) ** 2).sum(axis=1)) / 2 + prior
        np.testing.assert_allclose(found.probes.decision_function(X)[:, j], expected, atol=1e-8)
    assert found.settings()["classifier"] == "lda"
    peer = LinearDiscriminantAnalysis().fit(T[train], Y[train, 0]).score(T[~train], Y[~train, 0])
    assert abs(found.scores["accuracy"][0].estimate - peer) < 0.1


def test_one_test_identity_has_no_interval_and_a_caveat() -> None:
    X, Y, train = view(90, 25)
    found = paper_probes(X, Y, NAMES, train=train, kind="noise", groups=np.where(train, np.arange(90), -1))
    for what in ("accuracy", "auc", "majority", "gain"):
        for interval in (*found.scores[what], found.mean[what]):
            assert np.isfinite(interval.estimate) and np.isnan([interval.low, interval.high]).all()
    assert any("of one group" in sentence for sentence in found.caveats)


@pytest.mark.parametrize("people", [2, 3, 5, 12, 40])
def test_accuracies_over_few_test_identities_are_held(people: int) -> None:
    """Labels of identities, half of them positive, that nothing tells: every probe is right half of the time."""
    held = np.zeros(4)
    for seed in range(150):
        rng = np.random.default_rng([seed, people])
        groups = np.repeat(np.arange(20 + people), rng.integers(1, 7, 20 + people))
        train, X = groups < 20, rng.standard_normal((len(groups), 5))
        Y = (rng.random((20 + people, 3)) < 0.5)[groups].astype(float)
        Y[:2] = [[0, 0, 0], [1, 1, 1]]
        found = paper_probes(X, Y, NAMES, train=train, kind="noise", groups=groups, n_permutations=0)
        intervals = (found.scores["accuracy"][0], found.mean["accuracy"], found.scores["gain"][0], found.mean["gain"])
        truth = (0.5, 0.5, 0.0, 0.0)
        held += [not (i.low > t or i.high < t) for i, t in zip(intervals, truth, strict=True)]
    assert (held >= stats.binom.ppf(0.001, 150, [0.93, 0.90, 0.93, 0.90])).all(), held / 150
