import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
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
