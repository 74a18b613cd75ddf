import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import balanced_accuracy_score

from noisezoo.analysis.controls.simulation import simulate_une
from noisezoo.analysis.core.halves import assign_folds
from noisezoo.analysis.probes.metrics import METRICS
from noisezoo.analysis.relations.ridge import cut, regress
from noisezoo.analysis.relations.stitch import RIDGES, stitch, stitch_many
from noisezoo.analysis.relations.transfer import transfer

Floats = NDArray[np.float64]


def pair(n: int, d: int, e: int, seed: int = 0, noise: float = 1.0) -> tuple[Floats, Floats]:
    """Two noisy projections of four shared Gaussians: one law of rows at every seed."""
    A, B = np.random.default_rng(1).standard_normal((4, d)), np.random.default_rng(2).standard_normal((4, e))
    rng = np.random.default_rng([seed, 10])
    S = rng.standard_normal((n, 4))
    return S @ A + noise * rng.standard_normal((n, d)) + 3, S @ B + noise * rng.standard_normal((n, e)) - 2


def unit(X: Floats) -> float:
    """The paper's scale: |X|_F^2 / d, centred."""
    return float(np.square(X - X.mean(axis=0)).sum() / X.shape[1])


@pytest.mark.parametrize("shape", [(120, 15, 6), (40, 90, 6), (40, 40, 3)], ids=["primal", "dual", "square"])
@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_the_map_is_scikit_learns_ridge_at_the_papers_strength(shape: tuple[int, int, int], ridge: float) -> None:
    X, Y = pair(*shape)
    ours, peer = stitch(X, Y, ridge=ridge, n_permutations=0), Ridge(alpha=ridge * unit(X)).fit(X, Y)
    np.testing.assert_allclose(ours.coef, peer.coef_.T, atol=1e-5 * np.abs(peer.coef_).max())
    np.testing.assert_allclose(ours.predict(X[:7]), peer.predict(X[:7]), atol=1e-6)


@pytest.mark.parametrize("shape", [(100, 12, 5), (40, 70, 5)], ids=["primal", "dual"])
def test_held_out_values_are_those_of_a_loop_over_scikit_learn(shape: tuple[int, int, int]) -> None:
    X, Y = pair(*shape)
    folds, predicted, centre = assign_folds(len(X), 5, seed=42), np.empty_like(Y), np.empty_like(Y)
    for f in range(5):
        train = folds != f
        predicted[~train] = Ridge(alpha=0.1 * unit(X[train])).fit(X[train], Y[train]).predict(X[~train])
        centre[~train] = Y[train].mean(axis=0)
    ours = stitch(X, Y, ridge=0.1, n_permutations=0)
    expected = 1 - np.square(Y - predicted) / np.square(Y - centre).sum()
    assert ours.r2.estimate == pytest.approx(expected.sum() - expected.size + 1, abs=1e-9)
    by_column = 1 - np.square(Y - predicted).sum(axis=0) / np.square(Y - centre).sum(axis=0)
    np.testing.assert_allclose(ours.r2_per_dimension, by_column, atol=1e-9)
    found = 0
    for f in range(5):  # retrieval at 5, by a plain sort of cosines
        a, b = (predicted - centre)[folds == f], (Y - centre)[folds == f]
        S = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
        found += sum(i in np.argsort(-row)[:5] for i, row in enumerate(S))
    assert ours.retrieval[5].estimate == pytest.approx(found / len(X))


def test_every_strength_has_the_error_of_its_own_predictions() -> None:
    X, Y = pair(60, 8, 4)
    folds = assign_folds(60, 3)
    errors = regress(cut(X, folds), Y).errors(RIDGES)
    for s in (0, 9, 18):
        for f in range(3):
            train = folds != f
            peer = Ridge(alpha=RIDGES[s] * unit(X[train])).fit(X[train], Y[train])
            assert errors[s, f] == pytest.approx(np.square(Y[~train] - peer.predict(X[~train])).sum(), rel=1e-8)


def test_the_validated_strength_is_near_what_leave_one_out_chooses() -> None:
    X, Y = pair(150, 40, 6, noise=3.0)
    peer = RidgeCV(alphas=RIDGES * unit(X)).fit(X - X.mean(axis=0), Y - Y.mean(axis=0))
    assert abs(np.log10(stitch(X, Y, n_permutations=0).ridge * unit(X) / peer.alpha_)) <= 0.51


def test_a_folds_own_targets_do_not_choose_its_strength() -> None:
    X, Y = pair(60, 8, 4)
    folds = assign_folds(60, 5, seed=42)
    spoilt = Y.copy()
    spoilt[folds == 2] = 1e3 * np.random.default_rng(0).standard_normal(spoilt[folds == 2].shape)
    source = cut(X, folds)
    before, after = (regress(source, T).errors(RIDGES) for T in (Y, spoilt))
    assert not np.allclose(before[:, 2], after[:, 2])
    own_left_out = np.delete(regress(source, Y).errors(RIDGES), 2, axis=1).sum(axis=1)
    assert stitch(X, Y, n_permutations=0).fold_ridges[2] == RIDGES[own_left_out.argmin()]


def test_nothing_changes_when_the_source_is_scaled_rotated_or_moved() -> None:
    X, Y = pair(80, 10, 5)
    Q = np.linalg.qr(np.random.default_rng(3).standard_normal((10, 10)))[0]
    plain, changed = stitch(X, Y), stitch(1e4 * X @ Q + 7, Y)
    for a, b in zip(plain.records(), changed.records(), strict=True):
        assert {k: v for k, v in a.items() if k != "measure"} == pytest.approx(
            {k: v for k, v in b.items() if k != "measure"}, abs=1e-6
        )
    assert plain.ridge == changed.ridge


def test_several_targets_at_once_are_what_each_is_alone() -> None:
    X, Y = pair(80, 10, 5)
    together = stitch_many(X, {"first": Y[:, :2], "second": Y}, n_permutations=3)
    assert together["second"].records() == stitch(X, Y, n_permutations=3).records()
    assert together["first"].coef.shape == (10, 2)


def test_a_noiseless_linear_map_is_recovered_whole() -> None:
    X = np.random.default_rng(4).standard_normal((100, 8))
    W = np.random.default_rng(5).standard_normal((8, 6))
    found = stitch(X, X @ W + 1)
    assert found.r2.estimate > 0.999999
    assert found.retrieval[1].estimate == 1
    assert found.r2.null.p_value < 1e-6
    np.testing.assert_allclose(found.coef, W, atol=1e-4)


def test_where_nothing_is_shared_r2_is_zero_and_retrieval_is_k_in_n() -> None:
    rejected, retrieved, r2 = np.zeros(4), [], []
    for seed in range(200):
        rng = np.random.default_rng([seed, 20])
        found = stitch(rng.standard_normal((60, 5)), rng.standard_normal((60, 4)), seed=seed, n_folds=3)
        rejected += [row["p_value"] <= 0.05 for row in found.records()]
        retrieved.append([interval.estimate for interval in found.retrieval.values()])
        assert abs(found.r2.estimate) < 0.25
        r2.append((found.r2.low, found.r2.estimate, found.r2.high))
    assert found.chance == {1: 1 / 20, 5: 5 / 20, 10: 10 / 20}
    np.testing.assert_allclose(np.mean(retrieved, axis=0), list(found.chance.values()), atol=0.015)
    assert (rejected <= 19).all() and (rejected >= 3).all()  # 99.8 % of a binomial of 200 at 0.05
    low, estimates, high = np.transpose(r2)
    assert np.mean((low <= estimates.mean()) & (estimates.mean() <= high)) >= 0.93


def test_the_null_widens_an_interval_only_where_a_strength_was_chosen() -> None:
    rng = np.random.default_rng(20)
    X, Y = rng.standard_normal((60, 5)), rng.standard_normal((60, 4))
    widths = {ridge: [r2.high - r2.low for r2 in (stitch(X, Y, ridge=ridge, n_permutations=p).r2 for p in (0, 2))]
              for ridge in (None, 1.0)}  # fmt: skip
    assert widths[1.0][0] == widths[1.0][1]
    assert widths[None][0] < widths[None][1]


def test_intervals_hold_what_the_procedure_gives_on_average() -> None:
    found = [stitch(*pair(150, 12, 6, seed), n_permutations=0, seed=seed).records() for seed in range(300)]
    for j in range(3):
        estimates, low, high = (np.array([rows[j][key] for rows in found]) for key in ("estimate", "low", "high"))
        held = np.mean((low <= estimates.mean()) & (estimates.mean() <= high))
        assert 0.915 <= held <= 0.98, found[0][j]["measure"]  # 0.95 less what 300 studies leave open


def test_a_training_row_moves_the_error_as_its_influence_says() -> None:
    X, Y = pair(60, 6, 3)
    folds, row = assign_folds(60, 3), 11

    def error(weight: float) -> float:
        total = 0.0
        for fold in {0, 1, 2} - {folds[row]}:
            test, train = folds == fold, folds != fold
            w = np.where(np.arange(60) == row, weight, 1.0)[train]
            centre_x, centre_y = X[train].mean(axis=0), Y[train].mean(axis=0)  # as they are at weight one
            Xc, Yc = X[train] - centre_x, Y[train] - centre_y
            W = np.linalg.solve(Xc.T @ (w[:, None] * Xc) + 0.3 * unit(X[train]) * np.eye(6), Xc.T @ (w[:, None] * Yc))
            total += np.square(Y[test] - centre_y - (X[test] - centre_x) @ W).sum()
        return total

    influence = regress(cut(X, folds), Y).training_influence(np.full(3, 0.3))
    assert influence[row] == pytest.approx((error(1.001) - error(0.999)) / 0.002, rel=1e-5)


def test_groups_share_folds_and_widen_the_interval() -> None:
    X, Y = pair(60, 8, 4)
    copies, groups = np.repeat(np.arange(60), 4), np.repeat(np.arange(60), 4)
    together, apart = (stitch(X[copies], Y[copies], n_permutations=0, groups=g) for g in (groups, None))
    assert together.r2.high - together.r2.low > 1.5 * (apart.r2.high - apart.r2.low)
    assert together.r2.estimate < apart.r2.estimate  # copies across folds leak
    assert any("exact copy in another fold" in sentence for sentence in apart.caveats)


def test_a_tensor_gives_what_the_array_gives() -> None:
    for shape in ((80, 10, 5), (30, 50, 5)):
        X, Y = (view.astype(np.float32) for view in pair(*shape))
        plain, tensors = stitch(X, Y), stitch(torch.from_numpy(X), torch.from_numpy(Y))
        for a, b in zip(plain.records(), tensors.records(), strict=True):
            assert [*a.values()][1:] == pytest.approx([*b.values()][1:], abs=1e-4)
        np.testing.assert_allclose(plain.coef, tensors.coef, atol=1e-4)


def test_the_same_seed_gives_the_same_numbers_and_plain_json() -> None:
    X, Y = pair(60, 8, 4)
    assert stitch(X, Y, seed=1).to_dict() == stitch(X, Y, seed=1).to_dict() != stitch(X, Y, seed=2).to_dict()
    assert json.loads(json.dumps(stitch(X, Y).to_dict()))["rows"][0]["measure"] == "r2"


def test_bad_input_is_refused_by_name() -> None:
    X, Y = pair(40, 5, 3)
    for views, settings, complaint in (
        ((X, Y[:30]), {}, "X has 40 rows and Y has 30"),
        ((X * 0, Y), {}, "all rows of X are equal"),
        ((X, Y * 0 + 1), {}, "all rows of Y are equal"),
        ((X, Y), {"ridge": 0.0}, "ridge must be positive"),
        ((X, Y), {"ridge": [1.0, np.nan]}, "ridge must be positive"),
        ((np.where(X > 4, np.nan, X), Y), {}, "X holds .* NaN"),
        ((X[:, 0], Y), {}, "X must be a matrix"),
        ((X, Y), {"n_folds": 41}, "n_folds must lie between"),
    ):
        with pytest.raises(ValueError, match=complaint):
            stitch(*views, **settings)
    with pytest.raises(ValueError, match="X has 4 columns and the map was fitted on 5"):
        stitch(X, Y, n_permutations=0).predict(X[:, :4])


def test_constant_columns_count_for_nothing_and_are_said() -> None:
    X, Y = pair(60, 5, 3)
    padded = stitch(np.hstack([X, np.ones((60, 1))]), np.hstack([Y, np.zeros((60, 1))]), ridge=5 / 6, n_permutations=0)
    plain = stitch(X, Y, ridge=1.0 * 5 / 6 * 5 / 6, n_permutations=0)  # |X|^2 / d has one column more
    assert plain.r2.estimate == pytest.approx(padded.r2.estimate)
    assert np.isnan(padded.r2_per_dimension[3])
    assert sum("constant columns" in sentence for sentence in padded.caveats) == 2


def test_probes_work_on_stitched_rows_where_views_share_what_they_read() -> None:
    planted = simulate_une(500, view_dims=(30, 24), shared_dim=4, noise=0.3, n_attributes=3)
    table = transfer(planted.views[0], planted.views[1], planted.attributes, planted.names)
    mean = table.mean_stitched["balanced_accuracy"]
    assert mean.low > 0.75 and mean.null.p_value < 1e-3
    assert abs(mean.null.mean - 0.5) < 0.05
    assert mean.estimate <= table.mean_own["balanced_accuracy"].high
    alone = simulate_une(500, view_dims=(30, 24), shared_dim=4, noise=0.3, n_attributes=3, control="independent")
    independent = transfer(alone.views[0], alone.views[1], alone.attributes, alone.names)
    assert independent.mean_stitched["auc"].low < 0.55


def test_transferred_accuracies_are_those_of_plain_out_of_fold_predictions() -> None:
    X, Y = pair(160, 6, 5, noise=0.2)
    label = (Y @ np.random.default_rng(6).standard_normal(5) > -2).astype(float)
    table = transfer(X, Y, label, ["a"], n_permutations=0)
    folds, decided = assign_folds(160, 5, seed=42), np.empty(160)
    for f in range(5):  # least squares stands in for both the map and the probe
        train = folds != f
        carried = Ridge(alpha=1e-3 * unit(X[train])).fit(X[train], Y[train]).predict(X[~train])
        decided[~train] = Ridge(alpha=1e-3).fit(Y[train], label[train]).predict(carried) > label[train].mean()
    expected = balanced_accuracy_score(label, decided)
    assert table.stitched["balanced_accuracy"][0].estimate == pytest.approx(expected, abs=0.05)
    assert table.own["balanced_accuracy"][0].low > 0.85


def test_labels_that_mean_nothing_transfer_at_chance_at_the_nominal_rate() -> None:
    rejected = 0
    for seed in range(200):
        rng = np.random.default_rng([seed, 30])
        X, labels = rng.standard_normal((60, 4)), rng.random((60, 1)) < 0.5
        table = transfer(
            X, X @ rng.standard_normal((4, 3)), labels, ["a"], n_folds=2, n_splits=1, n_permutations=3, seed=seed
        )
        rejected += table.stitched["balanced_accuracy"][0].null.p_value <= 0.05
    assert 3 <= rejected <= 19


def test_an_attribute_that_cannot_be_probed_is_refused_with_its_reason() -> None:
    X, Y = pair(60, 5, 3)
    labels = np.column_stack([Y[:, 0] > -2, np.arange(60) < 3]).astype(float)
    table = transfer(X, Y, labels, ["good", "rare"], n_permutations=0)
    assert table.names == ("good",)
    assert "3 positives" in table.refused["rare"]


def identities(seed: int) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Two views of 50 identities of 2 to 9 rows, which share nothing."""
    rng = np.random.default_rng([seed, 40])
    groups = np.repeat(np.arange(50), rng.integers(2, 10, 50))
    X, Y = (rng.standard_normal((50, d))[groups] + 0.3 * rng.standard_normal((len(groups), d)) for d in (6, 5))
    return X, Y, groups


def test_identities_that_share_nothing_are_stitched_and_transferred_at_the_nominal_rate_only() -> None:
    """60 seeds here: 99.9 % of a binomial of 60 at 0.05 is 10; `slow` has 200."""
    stitched, transferred = np.zeros(4), np.zeros(len(METRICS))
    for seed in range(60):
        X, Y, groups = identities(seed)
        stitched += [row["p_value"] <= 0.05 for row in stitch(X, Y, groups=groups, seed=seed).records()]
        label = (np.random.default_rng(seed).random(50) < 0.5).astype(float)[groups]
        found = transfer(X, X[:, :4], label, ["a"], groups=groups, seed=seed, n_splits=1)
        transferred += [measured[0].null.p_value <= 0.05 for measured in found.stitched.values()]
    assert (stitched <= 10).all() and (transferred <= 10).all(), (stitched, transferred)


def test_no_interval_of_r2_exceeds_one() -> None:
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((12, 40)), rng.standard_normal((12, 1)) ** 5
    assert stitch(X, Y, ridge=[1e-6, 1e3], n_folds=4, n_permutations=8).r2.high <= 1
