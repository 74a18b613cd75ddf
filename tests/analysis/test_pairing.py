"""How many pairs stitching needs, and that nothing but what is not Gaussian finds partners without pairs."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from noisezoo.analysis.controls.pairing_curve import pairing_curve
from noisezoo.analysis.controls.simulation import simulate_une
from noisezoo.analysis.controls.unpaired import METHODS, match_unpaired

pytestmark = pytest.mark.filterwarnings("ignore:FastICA did not converge")
FEW = {"n_splits": 3, "n_permutations": 3}


def linear(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Y is a fixed linear map of X in noise; labels are signs of the map's first columns."""
    rng, M = np.random.default_rng([seed, 80]), np.random.default_rng(1).standard_normal((12, 6)) / np.sqrt(12)
    X = rng.standard_normal((n, 12))
    clean = X @ M
    return X, clean + noise * rng.standard_normal(clean.shape), (clean[:, :2] > 0).astype(float)


def test_with_all_pairs_the_r2_is_the_maps_and_with_few_it_is_scikit_learns_on_as_few() -> None:
    X, Y, labels = linear(900, 0.5)
    rows = pairing_curve(X, Y, labels, sizes=[16, 64, 600], **FEW).records()
    of = {(row["pairs"], row["measure"]): row for row in rows}
    M = np.random.default_rng(1).standard_normal((12, 6)) / np.sqrt(12)
    truth = 1 - 6 * 0.25 / (np.square(M).sum() + 6 * 0.25)
    assert of[600, "r2"]["estimate"] == pytest.approx(truth, abs=0.03)
    rng, reached = np.random.default_rng(3), []
    for _ in range(40):  # a ridge that knows its best strength, on 16 pairs
        rows_ = rng.permutation(900)
        train, test = rows_[:16], rows_[300:]
        spread = np.square(Y[test] - Y[train].mean(axis=0)).sum()
        fits = [Ridge(alpha=a).fit(X[train], Y[train]) for a in 10.0 ** np.arange(-1, 3)]
        reached.append([1 - np.square(Y[test] - fit.predict(X[test])).sum() / spread for fit in fits])
    best = np.mean(reached, axis=0).max()
    assert best - 0.25 < of[16, "r2"]["estimate"] < best + 0.15
    for measure in ("r2", "retrieval@1", "retrieval@10", "transfer"):
        values = [of[size, measure]["estimate"] for size in (16, 64, 600)]
        assert values == sorted(values) and of[600, measure]["p_value"] < 0.01
        assert all(of[size, measure]["low"] <= of[size, measure]["estimate"] <= of[size, measure]["high"]
                   for size in (16, 64, 600))  # fmt: skip


def test_views_that_share_nothing_stay_at_chance_at_every_number_of_pairs() -> None:
    rejected = []
    for seed in range(12):
        rng = np.random.default_rng([seed, 81])
        X, Y, labels = rng.standard_normal((150, 6)), rng.standard_normal((150, 5)), rng.random((150, 2)) < 0.5
        rows = pairing_curve(X, Y, labels, sizes=[16, 100], n_splits=1, n_permutations=8, seed=seed).records()
        rejected += [row["p_value"] <= 0.05 for row in rows]
        for row in rows:
            assert row["measure"] == "r2" or row["estimate"] == pytest.approx(row["chance"], abs=0.15)
    assert np.mean(rejected) <= 0.15  # 96 at 0.05, in eights that go together


def test_people_never_straddle_and_what_cannot_be_asked_is_refused() -> None:
    X, Y, labels = linear(240, 0.5)
    groups = np.repeat(np.arange(60), 4)
    rows = pairing_curve(X, Y, labels, sizes=[32], groups=groups, **FEW).records()
    assert all(np.isfinite([row["estimate"], row["low"], row["null"]]).all() for row in rows)
    with pytest.raises(ValueError, match="sizes must lie between 8 and the 160 pairs"):
        pairing_curve(X, Y, sizes=[4])
    with pytest.raises(ValueError, match="sizes must lie between 8 and the 160 pairs"):
        pairing_curve(X, Y, sizes=[200])
    with pytest.raises(ValueError, match="X has 240 rows and Y has 100"):
        pairing_curve(X, Y[:100])
    with pytest.raises(ValueError, match="methods must be some of moments"):
        match_unpaired(X, Y, methods=["wishes"])


def skewed(gaussian: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Two invertible maps of three independent variables, skewed or Gaussian, in a little noise."""
    rng = np.random.default_rng([seed, 82])
    S = rng.standard_normal((300, 3)) if gaussian else rng.exponential(size=(300, 3)) ** [1.0, 1.5, 2.2]
    S, maps = S / S.std(axis=0), rng.standard_normal((2, 3, 3))
    X, Y = (S @ M + 0.02 * rng.standard_normal(S.shape) for M in maps)
    return X, Y


def test_independent_components_find_partners_of_skewed_views_and_not_of_gaussian_ones() -> None:
    """In few axes rows that are pairs share their sample's skewness too, which the Gaussian rows show."""
    settings = {"methods": ["independent components"], "n_permutations": 9}
    ranks = {
        law: [match_unpaired(*skewed(law, seed), **settings, seed=seed).rank["independent components"]
              for seed in range(5)] for law in (True, False)
    }  # fmt: skip
    found, gaussian = ([rank.estimate for rank in ranks[law]] for law in (False, True))
    assert np.mean(found) > 0.9 and np.mean(found) > np.mean([rank.null.mean for rank in ranks[False]]) + 0.15
    assert np.mean(gaussian) == pytest.approx(np.mean([rank.null.mean for rank in ranks[True]]), abs=0.2)
    assert all(0 <= rank.low <= rank.estimate <= rank.high <= 1 for rank in ranks[False])


@pytest.mark.parametrize("method", METHODS)
def test_no_method_finds_partners_in_the_papers_gaussian_model(method: str) -> None:
    """Two views of one Gaussian: ridge of all pairs predicts them, and without pairs nothing does.

    Five populations: 99.8 % of a binomial of 5 at 0.05 is 2.
    """
    if method == "gromov-wasserstein":
        pytest.importorskip("ot")
    settings = {"methods": [method], "n_permutations": 19, "max_rows": 60, "axes": 5}
    ranks, first = [], []
    for seed in range(5):
        X, Y = simulate_une(300, shared_dim=6, view_dims=(20, 20), noise=0.1, seed=seed).views
        found = match_unpaired(X, Y, **settings, seed=seed)
        ranks.append(found.rank[method])
        first.append(found.first[method].estimate)
    assert pairing_curve(X, Y, sizes=[200], n_splits=1, n_permutations=2).points[200, "r2"].estimate > 0.7
    assert sum(rank.null.p_value <= 0.05 for rank in ranks) <= 2
    assert np.mean([rank.estimate for rank in ranks]) < 0.65 and np.mean(first) < 0.1


def test_a_rotated_view_with_structure_is_found_by_its_distances() -> None:
    pytest.importorskip("ot")
    rng = np.random.default_rng(4)
    X = rng.exponential(size=(120, 3)) ** [1.0, 1.5, 2.0]
    Y = X @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    found = match_unpaired(X, Y, methods=["gromov-wasserstein"], n_permutations=2)
    assert found.rank["gromov-wasserstein"].estimate > 0.9
