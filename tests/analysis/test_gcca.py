from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import block_diag, eigh

from noisezoo.analysis.controls.simulation import simulate_une
from noisezoo.analysis.relations.gcca import SharedSpace, gcca
from noisezoo.analysis.relations.maxvar import Maxvar, adjusted_p_values, permute_views

Floats = NDArray[np.float64]


def planted(n: int = 200, dims: tuple[int, ...] = (8, 12, 10), **settings: Any) -> list[Any]:
    return list(simulate_une(n, shared_dim=3, view_dims=dims, n_attributes=1, **settings).views)


def stacked(views: list[Any], ridge: float) -> tuple[Floats, Floats, list[Floats]]:
    centred = [X.astype(np.float64) - X.astype(np.float64).mean(axis=0) for X in views]
    H = np.hstack(centred)
    own = [X.T @ X + ridge * np.trace(X.T @ X) / X.shape[1] * np.eye(X.shape[1]) for X in centred]
    return H, block_diag(*own), centred


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize("dims", [(8, 12, 10), (150, 160, 170)])
def test_eigenvalues_and_weights_are_the_textbook_generalised_eigenproblems(
    dims: tuple[int, ...], ridge: float
) -> None:
    views = planted(500, dims)
    space = gcca(views, 5, ridge=ridge)
    H, own, _ = stacked(views, ridge)
    values, vectors = eigh(H.T @ H, own)
    np.testing.assert_allclose(space.eigenvalues, values[::-1][:5] / 3, rtol=1e-9)
    found, expected = np.concatenate(space.weights), vectors[:, ::-1][:, :5]
    ratio = found / expected
    np.testing.assert_allclose(ratio, np.broadcast_to(np.median(ratio, axis=0), ratio.shape), rtol=1e-3)


def test_shared_variables_are_eigenvectors_of_the_sum_of_projections_with_unit_variance() -> None:
    views = planted()
    space = gcca(views, 4, ridge=0.0)
    projections = sum(X @ np.linalg.pinv(X) for X in stacked(views, 0.0)[2])
    np.testing.assert_allclose(projections @ space.shared, 3 * space.shared * space.eigenvalues, atol=1e-8)
    np.testing.assert_allclose(space.shared.T @ space.shared / 200, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(space.transform(views), space.shared, atol=1e-10)


def test_a_views_weights_are_its_ridge_regression_of_the_shared_variables() -> None:
    views = planted()
    space = gcca(views, 4, ridge=0.2)
    for X, W in zip(stacked(views, 0.2)[2], space.weights, strict=True):
        ridge = 0.2 * np.trace(X.T @ X) / X.shape[1] * np.eye(X.shape[1])
        np.testing.assert_allclose(W, np.linalg.solve(X.T @ X + ridge, X.T @ space.shared), atol=1e-9)


def test_views_wider_than_their_rows_give_the_same_as_the_problem_in_rows() -> None:
    views = planted(60, (80, 20, 100))
    space = gcca(views, 4, ridge=0.3)
    operator = np.zeros((60, 60))
    for X in stacked(views, 0.3)[2]:
        K = X @ X.T
        operator += np.linalg.solve(K + 0.3 * np.trace(K) / X.shape[1] * np.eye(60), K)
    np.testing.assert_allclose(space.eigenvalues, np.linalg.eigvalsh(operator)[::-1][:4] / 3, rtol=1e-8)
    assert [W.shape for W in space.weights] == [(80, 4), (20, 4), (100, 4)]
    np.testing.assert_allclose(space.transform(views), space.shared, atol=1e-5)  # the frame's rows are float32


def test_eigenvalues_are_cca_zoos() -> None:
    linear = pytest.importorskip("cca_zoo.linear")
    views = [X.astype(np.float64) for X in planted()]
    Z = linear.GCCA(n_components=4).fit(views).transform(views)
    peers = np.mean([(z**2).sum(axis=0) for z in Z], axis=0) / 199
    np.testing.assert_allclose(gcca(views, 4).eigenvalues, peers, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_scaling_and_moving_a_view_changes_nothing(ridge: float) -> None:
    a, b, c = planted()
    one, other = gcca([a, b, c], 3, ridge=ridge), gcca([a, b * 1000 + 7, c], 3, ridge=ridge)
    np.testing.assert_allclose(other.eigenvalues, one.eigenvalues, rtol=1e-4)
    np.testing.assert_allclose(other.held_out_values, one.held_out_values, atol=1e-3)


def test_repeated_and_constant_columns_change_nothing_without_a_ridge() -> None:
    a, b, c = planted()
    doubled = np.hstack([a, a[:, :3], np.ones((200, 1), np.float32)])
    space = gcca([doubled, b, c], 3)
    np.testing.assert_allclose(space.eigenvalues, gcca([a, b, c], 3).eigenvalues, rtol=1e-6)
    assert any("view 0 has 1 constant columns" in said for said in space.settings()["caveats"])


def test_equal_eigenvalues_are_all_found() -> None:
    X = np.random.default_rng(0).standard_normal((700, 150))
    space = gcca([X, X, X], 20)
    np.testing.assert_allclose(space.eigenvalues, 1, rtol=1e-9)
    np.testing.assert_allclose(space.shared.T @ space.shared / 700, np.eye(20), atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_solution_has_the_leading_eigenpairs_also_where_one_is_repeated(dtype: type[np.floating[Any]]) -> None:
    """Two views whose cross-covariance has the singular values of the second argument: eigenvalues are 1 + those."""
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.standard_normal((300, 300)))[0] for _ in range(2))
    values = np.concatenate([[0.9, 0.8, 0.8, 0.8, 0.7], np.linspace(0.6, 0, 295)])
    C = np.block([[np.eye(300), (left * values) @ right], [right.T @ (left * values).T, np.eye(300)]]).astype(dtype)
    problem = Maxvar([slice(0, 300), slice(300, 600)], [np.ones(300)] * 2, [300, 300], 0.0, 8)
    found = problem.solve(C, np.zeros(600, dtype))
    rtol = 1e-3 if dtype is np.float32 else 1e-9
    np.testing.assert_allclose(found.total, 1 + values[:8], rtol=rtol)
    W = np.concatenate(found.weights)
    np.testing.assert_allclose(C @ W, W * found.total, atol=20 * rtol)


def plain_held_out(views: list[Any], space: SharedSpace, ridge: float) -> Floats:
    total = np.zeros(len(space.eigenvalues))
    for fold in range(space.draws.n_folds):
        test = space.sample.rows.folds == fold
        fit = gcca([X[~test] for X in views], total.size, ridge=ridge)
        Z = [X[test].astype(float) @ W for X, W in zip(views, fit.weights, strict=True)]
        pairs = [(i, j) for i in range(len(Z)) for j in range(i)]
        for k in range(total.size):
            total[k] += test.mean() * np.mean([np.corrcoef(Z[i][:, k], Z[j][:, k])[0, 1] for i, j in pairs])
    return total


@pytest.mark.parametrize(("dims", "ridge"), [((8, 12, 10), 0.0), ((8, 12, 10), 0.2), ((250, 30, 10), 0.2)])
def test_held_out_values_are_correlations_of_views_on_rows_that_were_not_fitted(
    dims: tuple[int, ...], ridge: float
) -> None:
    views = planted(200, dims)
    space = gcca(views, 3, ridge=ridge)
    np.testing.assert_allclose(space.held_out_values, plain_held_out(views, space, ridge), atol=1e-3)
    np.testing.assert_allclose(space.held_out_eigenvalues, (1 + 2 * space.held_out_values) / 3)


def test_independent_views_look_shared_in_sample_and_not_out_of_it() -> None:
    views = planted(200, (40, 40, 40), control="independent")
    space = gcca(views, 4, n_permutations=19)
    assert space.eigenvalues[0] > 0.6
    assert np.abs(space.held_out_values).max() < 0.15
    assert space.n_shared == 0
    assert np.quantile(space.null, 0.05) < space.held_out_values[0] < space.null.max()


def test_the_number_of_shared_dimensions_is_the_planted_one() -> None:
    space = gcca(planted(600, (20, 20, 20), noise=3.0), 6, n_permutations=39)
    assert space.n_shared == 3
    rows = space.records()
    assert [row["p_value"] <= 0.05 for row in rows] == [True] * 3 + [False] * 3
    assert all(row["low"] <= row["estimate"] <= row["high"] for row in rows)
    assert all(row["null_low"] <= row["null"] <= row["null_high"] for row in rows)
    assert space.to_dict()["n_shared"] == 3


def test_the_same_seed_gives_the_same_numbers() -> None:
    views = planted()
    a, b = (gcca(views, 3, n_permutations=3, n_splits=2).to_dict() for _ in range(2))
    assert a == b


def test_no_row_has_a_part_in_its_own_out_of_fold_coordinates() -> None:
    views = planted(300)
    space = gcca(views, 3, ridge=0.05)
    row, *others = np.flatnonzero(space.sample.rows.folds == 0)
    moved = [X.copy() for X in views]
    for X in moved:
        X[row] *= 20
    after = gcca(moved, 3, ridge=0.05)
    a, b = after.out_of_fold[others], space.out_of_fold[others]
    np.testing.assert_allclose(a @ a.T, b @ b.T, atol=1e-3)  # axes are known up to sign
    assert np.abs(after.transform(views) - space.shared).max() > 0.01


def test_out_of_fold_coordinates_of_different_folds_have_the_same_axes() -> None:
    data = simulate_une(2000, shared_dim=3, view_dims=(10, 10, 10))
    G = gcca(data.views, 3).out_of_fold
    everywhere = np.linalg.lstsq(G, data.S)[0]
    residual = data.S - G @ everywhere
    assert (residual.var(axis=0) < 0.15).all()


def test_permuted_views_give_every_group_the_rows_of_one_group_whatever_its_size() -> None:
    groups = np.array([0, 0, 1, 2, 2, 3, 4, 4, 4, 5])
    ids = np.arange(10.0)
    seen = set()
    for seed in range(20):
        both = np.stack([ids, ids], axis=1)
        first, second = permute_views(both, [slice(0, 1), slice(1, 2)], groups, np.random.default_rng(seed)).T
        np.testing.assert_array_equal(first, ids)
        order = second.astype(int)
        for group in np.unique(groups):
            came = order[groups == group]
            assert len(set(groups[came])) == 1
            assert len(set(came)) == min(len(came), (groups == groups[came[0]]).sum())
        assert len({groups[order[groups == group][0]] for group in np.unique(groups)}) == 6
        seen.add(tuple(order))
    assert len(seen) > 15


def test_identities_never_straddle_folds() -> None:
    groups = np.repeat(np.arange(50), 4)
    space = gcca(planted(), 2, groups=groups, n_permutations=3, n_splits=3)
    assert all(len(set(space.sample.rows.folds[groups == g])) == 1 for g in range(50))
    assert np.isfinite([i.low for i in space.held_out]).all()


def test_adjusted_p_values_count_the_largest_null_value() -> None:
    null = np.array([[0.1, 0.4], [0.3, 0.2], [0.0, 0.1]])
    np.testing.assert_allclose(adjusted_p_values(np.array([0.35, 0.05]), null), [2 / 4, 1.0])


def test_halves_too_small_to_fit_leave_intervals_empty_and_say_so() -> None:
    space = gcca(planted(150, (70, 70, 70)), 2, n_permutations=0)
    assert np.isfinite(space.held_out[0].estimate) and np.isnan(space.held_out[0].low)
    assert any("no interval" in said for said in space.settings()["caveats"])
    assert space.to_dict()["rows"][0]["p_value"] is None


@pytest.mark.parametrize(("n", "dims"), [(200, (8, 12, 10)), (80, (100, 12, 10))])
def test_tensors_give_the_same_numbers(n: int, dims: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    views = planted(n, dims)
    a, b = (gcca(v, 3, ridge=0.1, n_permutations=3, n_splits=2) for v in (views, [torch.from_numpy(X) for X in views]))
    np.testing.assert_allclose(b.eigenvalues, a.eigenvalues, atol=1e-4)
    np.testing.assert_allclose(b.shared, a.shared, atol=1e-4)
    np.testing.assert_allclose(b.out_of_fold @ b.out_of_fold.T, a.out_of_fold @ a.out_of_fold.T, atol=1e-4)
    np.testing.assert_allclose(b.null, a.null, atol=1e-4)
    np.testing.assert_allclose(b.transform([torch.from_numpy(X) for X in views]), a.transform(views), atol=1e-4)


ROWS = np.random.default_rng(2).standard_normal((40, 6))


@pytest.mark.parametrize(
    ("views", "dim", "settings", "said"),
    [
        ([ROWS], 1, {}, "at least two views"),
        ([ROWS, ROWS[:30]], 1, {}, "view 0 has 40 rows and view 1 has 30"),
        ([ROWS, np.full((40, 3), np.nan)], 1, {}, "view 1 holds 120 NaN"),
        ([ROWS, ROWS[:, :5]], 1, {"ids": [range(40), range(1, 41)]}, "views 0 and 1 hold different images in 40 rows"),
        ([ROWS, ROWS[:, :5]], 1, {"ids": [range(40)]}, "ids must be 2 sequences of 40"),
        ([ROWS[:6], ROWS[:6]], 1, {"n_folds": 2}, "view 0 has 6 columns and 6 rows.*give a ridge"),
        ([ROWS, np.hstack([ROWS] * 6)], 1, {}, "view 1 has 36 columns and 40 rows"),
        ([np.hstack([ROWS] * 4)] * 2, 1, {}, "meet in 40 rows whatever they hold.*give a ridge"),
        ([ROWS, ROWS], 7, {}, "dim must lie between 1 and 6"),
        ([ROWS, ROWS], 0, {}, "dim must lie between 1 and 6"),
        ([ROWS, np.ones((40, 3))], 1, {}, "all rows of view 1 are equal"),
        ([ROWS, ROWS], 1, {"ridge": -1.0}, "ridge must be 0 or more"),
        ([ROWS, ROWS], 1, {"n_permutations": -1}, "n_permutations must be a whole number, 0 or more"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(
    views: list[Any], dim: int, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        gcca(views, dim, **settings)


def test_arrays_and_tensors_are_not_mixed() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="all views as numpy arrays or all as tensors"):
        gcca([ROWS, torch.from_numpy(ROWS)], 1)


def test_other_views_than_fitted_cannot_be_transformed() -> None:
    space = gcca([ROWS, ROWS[:, :5]], 1)
    with pytest.raises(ValueError, match="3 views were given and 2 fitted"):
        space.transform([ROWS] * 3)
    with pytest.raises(ValueError, match="view 1 has 6 columns and 5 were fitted"):
        space.transform([ROWS, ROWS])


def identities(seed: int, shared: float, people: int = 60) -> tuple[list[Any], Any]:
    """Three views of clusters of 1 to 9 rows, which share three variables of identity or nothing."""
    rng = np.random.default_rng([seed, 50])
    groups = np.repeat(np.arange(people), rng.integers(1, 10, people))
    S = rng.standard_normal((people, 3))
    views = []
    for _ in range(3):
        own = rng.standard_normal((people, 6))
        own[:, :3] = shared * S + np.sqrt(1 - shared**2) * own[:, :3]
        views.append(own[groups] + 0.3 * rng.standard_normal((len(groups), 6)))
    return views, groups


def test_identities_of_unequal_size_share_what_they_share_and_nothing_else_at_the_nominal_rate() -> None:
    """40 seeds of nothing: 99.9 % of a binomial of 40 at 0.05 is 8; `slow` has 200."""
    rejected = 0
    for seed in range(40):
        views, groups = identities(seed, 0.0)
        rejected += gcca(views, 2, ridge=0.01, groups=groups, n_permutations=39, seed=seed).p_values[0] <= 0.05
    assert rejected <= 8
    views, groups = identities(0, 0.95)
    assert gcca(views, 4, ridge=0.01, groups=groups, n_permutations=39).n_shared == 3


@pytest.mark.parametrize("seed", range(8))
def test_a_column_that_varies_in_one_fold_only_is_of_no_use_elsewhere_and_no_error(seed: int) -> None:
    rng = np.random.default_rng([seed, 60])
    views = [X.astype(np.float64) for X in planted(seed=seed)]
    plain = gcca(views, 3, n_permutations=3)
    rare = np.zeros((200, 1))
    rare[np.flatnonzero(plain.sample.rows.folds == 2)[:5]] = rng.standard_normal((5, 1))
    with_rare = gcca([np.hstack([views[0], rare]), *views[1:]], 3, n_permutations=3)
    np.testing.assert_allclose(with_rare.held_out_values, plain.held_out_values, atol=0.02)
    assert np.isfinite(with_rare.null).all()
