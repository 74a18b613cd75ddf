"""Transfer with fixed probes and the paper's shared spaces, on planted views."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from noisezoo.analysis.relations import fixed_transfer, gcca, paper_spaces, stitch

N, NAMES = 500, ["x", "y", "z"]
RNG = np.random.default_rng(0)
S = RNG.standard_normal((N, 20))
Y = (S[:, :3] > [0, 0.3, 0.6]).astype(float)
TRAIN = np.arange(N) % 5 > 0


def seen(seed: int, private: int = 10, width: int = 60) -> np.ndarray:
    """A view: a linear map of the shared S and of noise of its own."""
    rng = np.random.default_rng(seed)
    return np.hstack([S, rng.standard_normal((N, private))]) @ rng.standard_normal((20 + private, width))


VIEWS = {name: seen(k + 1) for k, name in enumerate(("a", "b", "c"))}
KINDS = dict.fromkeys(VIEWS, "noise")


def test_stitched_rows_are_measured_as_by_hand_and_by_the_encoder_s_own_probes() -> None:
    found = fixed_transfer(VIEWS["a"], VIEWS["b"], Y, NAMES, train=TRAIN)
    rows = {row["metric"]: row for row in found.records()}
    predicted, target = stitch(VIEWS["a"][TRAIN], VIEWS["b"][TRAIN]).predict(VIEWS["a"][~TRAIN]), VIEWS["b"][~TRAIN]
    norms = np.linalg.norm(predicted, axis=1) * np.linalg.norm(target, axis=1)
    assert rows["mse"]["estimate"] == pytest.approx(((predicted - target) ** 2).mean())
    assert rows["cosine"]["estimate"] == pytest.approx(np.mean((predicted * target).sum(axis=1) / norms))
    assert rows["drop"]["estimate"] == pytest.approx(rows["own"]["estimate"] - rows["stitched"]["estimate"])
    assert rows["own"]["estimate"] > 0.85 and rows["drop"]["low"] < 0.1
    assert rows["cosine"]["null_high"] < rows["cosine"]["low"] and rows["drop"]["null_low"] > rows["drop"]["high"]


def test_nothing_is_carried_from_a_view_that_knows_nothing() -> None:
    found = fixed_transfer(RNG.standard_normal((N, 40)), VIEWS["b"], Y, NAMES, train=TRAIN)
    rows = {row["metric"]: row for row in found.records()}
    assert rows["drop"]["low"] > 0.1 and abs(rows["cosine"]["estimate"]) < 0.2


@pytest.fixture(scope="module")
def spaces() -> list[dict[str, object]]:
    subsets = {"P": "ab", "Q": "bc", "absent": ("a", "nowhere")}
    return paper_spaces(VIEWS, Y, NAMES, kinds=KINDS, train=TRAIN, subsets=subsets, dims=(8, 16, 32)).records()


def test_accuracy_in_a_space_is_that_of_scikit_learn_on_its_coordinates(
    spaces: list[dict[str, object]],
) -> None:
    found = {(row["space"], row["dim"]): row for row in spaces if row["metric"] == "accuracy"}
    assert {space for space, _ in found} == {"a", "b", "c", "P", "Q"}
    from sklearn.decomposition import PCA

    T = PCA(16).fit(VIEWS["a"][TRAIN])
    scaled = StandardScaler().fit(T.transform(VIEWS["a"][TRAIN]))
    scores = [scaled.transform(T.transform(VIEWS["a"][rows])) for rows in (TRAIN, ~TRAIN)]
    peers = [LogisticRegression().fit(scores[0], Y[TRAIN, j]).score(scores[1], Y[~TRAIN, j]) for j in range(3)]
    assert found["a", 16]["estimate"] == pytest.approx(np.mean(peers), abs=0.01)
    assert found["P", 16]["estimate"] > found["P", 16]["null"] + 0.1  # type: ignore[operator]


def test_neighbourhoods_agree_by_spearman_over_a_null_that_shares_a_view(spaces: list[dict[str, object]]) -> None:
    rows = {row["dim"]: row for row in spaces if row["metric"] == "spearman"}
    assert set(rows) == {8, 16}, "views of rank 30 have no 32 dimensions"
    for row in rows.values():
        assert row["low"] > row["null_high"] and row["space"] == "P" and row["against"] == "Q"  # type: ignore[operator]


def test_the_agreement_is_scipy_s_and_fewer_dimensions_are_the_first_of_more() -> None:
    from noisezoo.analysis.relations.paper_spaces import _ranks

    A, B = (RNG.standard_normal((30, 6)) for _ in range(2))
    ours = np.einsum("ij,ij->i", _ranks(A), _ranks(B))
    cosines = [(U @ U.T) for U in (X / np.linalg.norm(X, axis=1, keepdims=True) for X in (A, B))]
    theirs = [spearmanr(np.delete(cosines[0][i], i), np.delete(cosines[1][i], i)).statistic for i in range(30)]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    few, many = (gcca([VIEWS["a"], VIEWS["b"]], dim, ridge=0.1, n_permutations=0).shared for dim in (4, 12))
    np.testing.assert_allclose(few, many[:, :4], atol=1e-8)


def test_subsets_without_their_views_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no subset has all of its views here: a, b, c"):
        paper_spaces(VIEWS, Y, NAMES, kinds=KINDS, train=TRAIN)
