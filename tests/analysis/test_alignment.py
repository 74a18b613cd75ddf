import json
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial import procrustes
from scipy.stats import hypergeom
from sklearn.cross_decomposition import CCA
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors

from noisezoo.analysis.controls.neighbour_curve import neighbour_curve
from noisezoo.analysis.core.intervals import null_of_draws, null_of_moments, null_of_ranks, null_of_rates
from noisezoo.analysis.relations.alignment import MEASURES, Alignment, alignment, alignment_matrix
from noisezoo.analysis.relations.cka import LinearKernel, cka_null, unbiased_cka, unbiased_hsic
from noisezoo.analysis.relations.neighbours import among, nearest, overlap, reordered
from noisezoo.analysis.relations.svcca import PROCRUSTES, SVCCA, canonical_maps, held_out, leading_scores, rotation_maps

Floats = NDArray[np.float64]


def pair(n: int, d: int, e: int, seed: int = 0, noise: float = 1.0) -> tuple[Floats, Floats]:
    """Two noisy projections of four shared Gaussians: one law of rows at every seed."""
    A, B = np.random.default_rng(1).standard_normal((4, d)), np.random.default_rng(2).standard_normal((4, e))
    rng = np.random.default_rng([seed, 10])
    S = rng.standard_normal((n, 4))
    return S @ A + noise * rng.standard_normal((n, d)), S @ B + noise * rng.standard_normal((n, e))


def population_cka(d: int, e: int, noise: float) -> float:
    """Of `pair`, from its covariances."""
    A, B = np.random.default_rng(1).standard_normal((4, d)), np.random.default_rng(2).standard_normal((4, e))
    own = [np.square(M.T @ M + noise**2 * np.eye(M.shape[1])).sum() for M in (A, B)]
    return float(np.square(A.T @ B).sum() / np.sqrt(own[0] * own[1]))


def kernel(X: Floats) -> LinearKernel:
    return LinearKernel.of(X, np.arange(len(X)))


def naive_hsic(K: Floats, L: Floats) -> float:
    """Song et al. (2012), equation 5, as it stands."""
    n, one = len(K), np.ones(len(K))
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    trace, sums, cross = np.trace(K @ L), (one @ K @ one) * (one @ L @ one), one @ K @ L @ one
    return float((trace + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * cross) / (n * (n - 3)))


def naive_cka(X: Floats, Y: Floats) -> float:
    K, L = X @ X.T, Y @ Y.T
    return float(naive_hsic(K, L) / np.sqrt(naive_hsic(K, K) * naive_hsic(L, L)))


def test_hsic_is_the_average_over_all_quadruples_of_rows() -> None:
    """Song et al. (2012), theorem 3: h over every ordered choice of four different rows."""
    X, Y = pair(7, 2, 3)
    K, L = X @ X.T, Y @ Y.T
    total = count = 0.0
    for four in combinations(range(7), 4):
        for s in four:
            for t, u in ((t, u) for t in four for u in four if len({s, t, u}) == 3):
                v = (set(four) - {s, t, u}).pop()
                total, count = total + K[s, t] * (L[s, t] + L[u, v] - 2 * L[s, u]), count + 1
    assert naive_hsic(K, L) == pytest.approx(total / count)
    norms = [np.square(A - A.mean(axis=0)).sum(axis=1).mean() for A in (X, Y)]
    assert unbiased_hsic(kernel(X), kernel(Y))[0] * norms[0] * norms[1] == pytest.approx(total / count)


@pytest.mark.parametrize("shape", [(60, 5, 8), (30, 70, 50), (40, 3, 400)], ids=["features", "kernels", "mixed"])
def test_cka_equals_the_papers_formula_by_either_route(shape: tuple[int, int, int]) -> None:
    X, Y = pair(*shape)
    value, influence = unbiased_cka(kernel(X), kernel(Y))
    assert value == pytest.approx(naive_cka(X, Y), abs=1e-12)
    without = np.array([naive_cka(np.delete(X, i, axis=0), np.delete(Y, i, axis=0)) for i in range(len(X))])
    n = len(X)
    assert (influence**2).sum() == pytest.approx((n - 1) / n * np.square(without - without.mean()).sum())
    singles = kernel(X.astype(np.float32)), kernel(Y.astype(np.float32))
    assert unbiased_cka(*singles)[0] == pytest.approx(value, abs=1e-6)


def test_independent_gaussians_are_at_zero_where_the_biased_cka_is_a_third() -> None:
    X, Y = np.random.default_rng(0).standard_normal((2, 1000, 512))
    Xc, Yc = X - X.mean(axis=0), Y - Y.mean(axis=0)
    norms = [np.linalg.norm(A.T @ A) for A in (Xc, Yc)]
    assert np.linalg.norm(Xc.T @ Yc) ** 2 / (norms[0] * norms[1]) == pytest.approx(0.34, abs=0.01)
    assert abs(unbiased_cka(kernel(X), kernel(Y))[0]) < 3 * np.sqrt(2 / (1000 * 997))


def test_the_closed_form_null_is_what_permutations_give() -> None:
    X, Y = pair(40, 3, 6)
    k, hsic = kernel(X), unbiased_hsic(kernel(X), kernel(X))[0]
    rng = np.random.default_rng(0)
    other = kernel(Y)
    shuffled = [unbiased_hsic(k, kernel(other.X[rng.permutation(40)]))[0] for _ in range(3000)]
    draws = np.array(shuffled) / np.sqrt(hsic * other.hsic[0])
    spread, skewness = cka_null(k, other)
    assert draws.mean() == pytest.approx(0, abs=4 * spread / np.sqrt(3000))
    assert draws.std() == pytest.approx(spread, rel=0.05)
    assert np.mean((draws / spread) ** 3) == pytest.approx(skewness, rel=0.3)
    null = null_of_moments(float(np.quantile(draws, 0.95)), spread, skewness)
    assert null.p_value == pytest.approx(0.05, abs=0.015)
    assert null.high == pytest.approx(np.quantile(draws, 0.975), rel=0.15)


def test_ckas_interval_holds_the_population_value() -> None:
    held = 0
    for seed in range(600):
        X, Y = pair(200, 6, 9, seed)
        value, influence = unbiased_cka(kernel(X), kernel(Y))
        held += int(abs(value - population_cka(6, 9, 1.0)) <= 1.972 * np.sqrt(influence @ influence))
    assert 0.93 <= held / 600 <= 0.97


def test_neighbours_are_scikit_learns_by_cosine() -> None:
    for X in pair(80, 5, 20):
        peer = NearestNeighbors(n_neighbors=8, metric="cosine").fit(X).kneighbors(return_distance=False)
        np.testing.assert_array_equal(nearest(X, 8), peer)


def test_mutual_neighbours_are_those_of_a_plain_loop() -> None:
    X, Y = pair(60, 5, 4)
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    U, V = (A / np.linalg.norm(A, axis=1, keepdims=True) for A in (X, Y))
    shares = []
    for i in range(60):
        near = [set(sorted((j for j in range(60) if j != i), key=lambda j: -A[i] @ A[j])[:7]) for A in (U, V)]  # noqa: B023
        shares.append(len(near[0] & near[1]) / 7)
    np.testing.assert_allclose(overlap(nearest(X, 7), nearest(Y, 7)), shares)
    assert alignment(X, Y, k=7, n_permutations=0).mutual_knn.estimate == pytest.approx(np.mean(shares))


def test_neighbours_within_a_half_are_those_of_the_half_alone() -> None:
    X = pair(100, 5, 4)[0]
    kept = np.flatnonzero(np.random.default_rng(0).random(100) < 0.5)
    np.testing.assert_array_equal(among(nearest(X, 60), kept, 4), nearest(X[kept], 4))
    lonely = among(nearest(X, 4), kept, 4)  # few of the four are kept: -1 stands for the rest and never counts
    assert 0 < (lonely < 0).mean() < 1
    assert overlap(lonely, lonely).mean() == pytest.approx((lonely >= 0).mean())


def test_reordered_neighbours_are_those_of_reordered_rows_and_agree_by_chance() -> None:
    X, Y = pair(50, 5, 4)
    rng, draws = np.random.default_rng(1), []
    for _ in range(400):
        order = rng.permutation(50)
        moved = reordered(nearest(Y, 5), order)
        if len(draws) < 3:
            np.testing.assert_array_equal(moved, nearest(Y[order], 5))
        draws.append(overlap(nearest(X, 5), moved).mean())
    assert np.mean(draws) == pytest.approx(5 / 49, abs=0.005)


def test_canonical_directions_are_scikit_learns() -> None:
    X, Y = pair(200, 6, 5)
    T, U = X - X.mean(axis=0), Y - Y.mean(axis=0)
    left, right = canonical_maps(T, U)
    peer = CCA(n_components=3, scale=False, max_iter=5000, tol=1e-10).fit(T, U)
    for j, (a, b) in enumerate(zip(*(scores.T for scores in peer.transform(T, U)), strict=True)):
        ours = np.corrcoef(T @ left[:, j], U @ right[:, j])[0, 1]
        assert ours == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)


def test_the_rotation_is_scipys_procrustes() -> None:
    X, Y = (A - A.mean(axis=0) for A in pair(60, 4, 4))
    left, right = rotation_maps(X, Y)
    cosine = np.sum((X @ left) * (Y @ right)) / np.linalg.norm(X) / np.linalg.norm(Y)
    assert 1 - cosine**2 == pytest.approx(procrustes(X, Y)[2])


@pytest.mark.parametrize("measure", [SVCCA, PROCRUSTES], ids=["svcca", "procrustes"])
def test_held_out_measures_are_zero_where_in_sample_ones_are_large(measure: tuple) -> None:  # type: ignore[type-arg]
    T, U = np.random.default_rng(0).standard_normal((2, 300, 60))
    folds = np.arange(300) % 5
    assert abs(held_out(measure, T, U, folds)[0]) < 0.05
    fit, score = measure
    left, right = fit(T, U)
    assert score(T @ left, U @ right, np.zeros(300, dtype=int))[0] > 0.3


def test_leading_scores_keep_the_inner_products_by_either_route() -> None:
    for n, d in ((60, 9), (9, 60)):
        X = np.random.default_rng(0).standard_normal((n, d))
        X -= X.mean(axis=0)
        scores, share = leading_scores(X, 1.0, 100)
        np.testing.assert_allclose(scores @ scores.T, X @ X.T, atol=1e-8)
        assert share == pytest.approx(1)
        few, share = leading_scores(X, 0.5, 100)
        assert np.square(few).sum() / np.square(X).sum() == pytest.approx(share)
        assert 0.5 <= share < 0.5 + np.square(few[:, -1]).sum() / np.square(X).sum()


def test_a_rotated_scaled_view_is_the_same_view() -> None:
    X = pair(150, 12, 5)[0]
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((12, 12)))[0]
    for row in alignment(X, 3 * X @ Q).records():
        assert row["estimate"] == pytest.approx(1, abs=1e-6)
        assert row["low"] > 0.999 and row["p_value"] < 1e-6


def test_scale_rotation_and_movement_change_nothing() -> None:
    X, Y = pair(120, 8, 6)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    plain, changed, moved = alignment(X, Y), alignment(1e-5 * X, 1e4 * Y @ Q), alignment(X + 5, Y)
    for measure in MEASURES:
        assert float(getattr(changed, measure)) == pytest.approx(float(getattr(plain, measure)), abs=1e-9)
        assert float(getattr(moved, measure)) == pytest.approx(float(getattr(plain, measure)), abs=1e-9)


def studies(count: int, noise: float) -> list[Alignment]:
    settings = {"k": 5, "n_folds": 3, "n_splits": 8, "n_permutations": 0}
    return [alignment(*pair(80, 6, 5, seed, noise), seed=seed, **settings) for seed in range(count)]


def test_independent_views_are_aligned_at_the_nominal_rate_only() -> None:
    rejected, total = np.zeros(4), np.zeros(4)
    for seed in range(200):
        rng = np.random.default_rng([seed, 20])
        X, Y = rng.standard_normal((60, 6)), rng.standard_normal((60, 5))
        found = alignment(X, Y, k=5, seed=seed, n_folds=3, n_splits=1, n_permutations=10)
        rejected += [row["p_value"] <= 0.05 for row in found.records()]
        total += [row["estimate"] for row in found.records()]
    assert (rejected >= 3).all() and (rejected <= 19).all()  # 99.8 % of a binomial of 200 at 0.05
    np.testing.assert_allclose(total / 200, [0, 5 / 59, 0, 0], atol=0.03)


def test_intervals_hold_what_the_procedure_gives_on_average() -> None:
    found = [study.records() for study in studies(200, 1.0)]
    for j, measure in enumerate(MEASURES):
        estimates, low, high = (np.array([rows[j][key] for rows in found]) for key in ("estimate", "low", "high"))
        held = np.mean((low <= estimates.mean()) & (estimates.mean() <= high))
        assert 0.905 <= held <= 0.99, measure  # 0.95 less what 200 studies leave open


def test_more_noise_means_less_alignment_by_every_measure() -> None:
    levels = [[float(getattr(studies(1, noise)[0], m)) for m in MEASURES] for noise in (0.1, 1, 4)]
    assert (np.diff(levels, axis=0) < 0).all()


def test_every_pair_of_a_matrix_is_what_the_pair_is_alone() -> None:
    X, Y = pair(80, 6, 5)
    views = {"a": X, "b": Y, "c": np.random.default_rng(5).standard_normal((80, 4))}
    together = alignment_matrix(views, n_permutations=3)
    alone = alignment(X, Y, n_permutations=3)
    assert together.pairs["a", "b"].records() == alone.records()
    assert [(row["a"], row["b"]) for row in together.records()[::4]] == [("a", "b"), ("a", "c"), ("b", "c")]
    M = together.matrix("cka")
    assert (M == M.T).all() and M[0, 1] == alone.cka.estimate and (np.diag(M) == 1).all()
    assert json.loads(json.dumps(together.to_dict()))["k"] == 10


def test_a_tensor_gives_what_the_array_gives() -> None:
    for shape in ((80, 6, 5), (50, 70, 60)):
        X, Y = (view.astype(np.float32) for view in pair(*shape))
        plain, tensors = alignment(X, Y), alignment(torch.from_numpy(X), torch.from_numpy(Y))
        for a, b in zip(plain.records(), tensors.records(), strict=True):
            assert [*a.values()][1:] == pytest.approx([*b.values()][1:], abs=1e-4)


def test_more_rows_than_max_rows_are_sampled_by_the_seed_and_said() -> None:
    X, Y = pair(200, 6, 5)
    small = alignment(X, Y, max_rows=80, n_permutations=0)
    assert (small.n, small.rows) == (80, 200)
    assert any("a random 80 of 200 rows" in sentence for sentence in small.caveats)
    assert small.to_dict() == alignment(X, Y, max_rows=80, n_permutations=0).to_dict()
    assert small.cka != alignment(X, Y, max_rows=80, n_permutations=0, seed=1).cka


def test_groups_count_as_one_in_intervals() -> None:
    X, Y = pair(60, 6, 5)
    rng = np.random.default_rng(0)
    near = [np.repeat(view, 3, axis=0) + 0.01 * rng.standard_normal((180, view.shape[1])) for view in (X, Y)]
    groups = np.repeat(np.arange(60), 3)
    together, apart = (alignment(*near, groups=g, n_permutations=0) for g in (groups, None))
    for measure in ("cka", "svcca", "procrustes"):
        wide, narrow = getattr(together, measure), getattr(apart, measure)
        assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)


def test_bad_input_is_refused_by_name() -> None:
    X, Y = pair(60, 5, 4)
    for views, settings, complaint in (
        ((X, Y[:50]), {}, "X has 60 rows and Y has 50"),
        ((X[:10], Y[:10]), {}, "X needs at least 20 rows"),
        ((X, 0 * Y + 3), {}, "all rows of Y are equal"),
        ((np.where(X > 2, np.inf, X), Y), {}, "X holds .* NaN or infinite"),
        ((X, Y), {"k": 15}, "k must lie between 1 and a quarter of the 60 rows"),
        ((X, Y), {"groups": np.arange(90)}, r"groups must be one label a row, \(60,\)"),
        ((X, Y), {"confidence": 95}, "confidence must lie between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=complaint):
            alignment(*views, **settings)
    with pytest.raises(ValueError, match="two views or more"):
        alignment_matrix({"X": X})


def test_copies_constant_columns_and_too_few_rows_are_said() -> None:
    X, Y = pair(40, 90, 5)
    X[7], Y[:, 2] = X[8], 1.0
    said = " / ".join(alignment(X, Y, k=5, n_permutations=0).caveats)
    for sentence in ("1 rows of X are copies", "Y has 1 constant", "X has fewer rows (40) than dimensions (90)"):
        assert sentence in said
    assert "leading 4 axes of X" in said


def identities(seed: int, people: int, least: int, most: int, own: float = 0.3) -> tuple[Floats, Floats, NDArray]:  # type: ignore[type-arg]
    """Two views of clusters, one an identity, which share nothing: rows are their identity's place and a little."""
    rng = np.random.default_rng([seed, 40])
    groups = np.repeat(np.arange(people), rng.integers(least, most + 1, people))
    X, Y = (rng.standard_normal((people, d))[groups] + own * rng.standard_normal((len(groups), d)) for d in (6, 5))
    return X, Y, groups


def test_hsic_under_identities_is_the_average_over_quadruples_of_different_ones_and_so_without_each() -> None:
    X, Y, groups = identities(0, 7, 1, 3)

    def naive(X: Floats, Y: Floats, groups: NDArray) -> float:  # type: ignore[type-arg]
        K, L, rows = X @ X.T, Y @ Y.T, [np.flatnonzero(groups == g) for g in np.unique(groups)]
        A = [(K * L)[np.ix_(g, h)].mean() for g, h in permutations(rows, 2)]
        C = [np.mean([K[i, h].mean() * L[i, m].mean() for i in g]) for g, h, m in permutations(rows, 3)]
        Q = [K[np.ix_(g, h)].mean() * L[np.ix_(m, o)].mean() for g, h, m, o in permutations(rows, 4)]
        return float(np.mean(A) - 2 * np.mean(C) + np.mean(Q))

    k, l = LinearKernel.of(X, groups), LinearKernel.of(Y, groups)  # noqa: E741
    scale = [np.linalg.norm(A[1] - A[0]) / np.linalg.norm(kernel.X[1] - kernel.X[0]) for A, kernel in ((X, k), (Y, l))]
    value, without = unbiased_hsic(k, l)
    factor = (scale[0] * scale[1]) ** 2
    assert value * factor == pytest.approx(naive(X, Y, groups))
    for g in range(7):
        kept = groups != g
        assert without[g] * factor == pytest.approx(naive(X[kept], Y[kept], groups[kept]))


def test_rows_of_one_identity_are_never_neighbours() -> None:
    X, _, groups = identities(1, 12, 2, 6)
    found = nearest(X, 8, groups)
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    for i, row in enumerate(found):
        others = np.flatnonzero(groups != groups[i])
        np.testing.assert_array_equal(row, others[np.argsort(-U[others] @ U[i], kind="stable")][:8])
    few = nearest(X, len(X) - 2, groups)
    assert (few == -1).any() and overlap(few, few).min() < 1


@pytest.mark.parametrize(("people", "least", "most"), [(40, 5, 20), (60, 3, 3)])
def test_identities_that_share_nothing_are_aligned_at_the_nominal_rate_only(people: int, least: int, most: int) -> None:
    """40 seeds here: 99.9 % of a binomial of 40 at 0.05 is 8; `slow` has 200."""
    rejected = np.zeros(4)
    for seed in range(40):
        X, Y, groups = identities(seed, people, least, most)
        found = alignment(X, Y, groups=groups, seed=seed, n_splits=1, n_permutations=10)
        rejected += [row["p_value"] <= 0.05 for row in found.records()]
    assert (rejected <= 8).all(), rejected


def test_one_row_an_identity_is_no_identity_at_all() -> None:
    X, Y = pair(80, 6, 5)
    assert alignment(X, Y, groups=np.arange(80) * 3).to_dict() == alignment(X, Y).to_dict()


def test_identities_that_share_are_found() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), rng.integers(2, 9, 40))
    S = rng.standard_normal((40, 6))[groups] + 0.5 * rng.standard_normal((len(groups), 6))
    X, Y = S + 0.2 * rng.standard_normal(S.shape), S[:, ::-1] + 0.2 * rng.standard_normal(S.shape)
    assert max(row["p_value"] for row in alignment(X, Y, groups=groups).records()) < 1e-3


def test_neighbours_far_from_the_origin_are_those_near_it_also_in_single_precision() -> None:
    X, Y = pair(300, 6, 5)
    near = float(alignment(X, Y, n_permutations=0).mutual_knn)
    far = alignment((X + 1e4).astype(np.float32), (Y + 1e4).astype(np.float32), n_permutations=0)
    assert float(far.mutual_knn) == pytest.approx(near, abs=0.01)


def test_ties_that_rounding_cannot_part_are_said() -> None:
    grid = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2)
    said = " / ".join(alignment(grid, np.random.default_rng(0).standard_normal((64, 2)), k=5, n_permutations=0).caveats)
    assert "rows of X have a last neighbour that is as near as the next" in said and "of Y have a last" not in said


def test_single_and_double_precision_tensors_go_together() -> None:
    X, Y = pair(80, 6, 5)
    mixed = alignment(torch.from_numpy(X.astype(np.float32)), torch.from_numpy(Y), n_permutations=2)
    plain = alignment(X.astype(np.float32).astype(np.float64), Y, n_permutations=2)
    for a, b in zip(mixed.records(), plain.records(), strict=True):
        assert [*a.values()][1:] == pytest.approx([*b.values()][1:], abs=1e-9)


def distance_correlation(X: Floats, Y: Floats) -> float:
    """Of centred RBF kernels of scikit-learn: a similarity that is none of ours, 1 of a view with itself."""
    K, L = (rbf_kernel(A, gamma=1 / A.shape[1]) for A in (X, Y))
    K, L = (A - A.mean(axis=0) - A.mean(axis=1, keepdims=True) + A.mean() for A in (K, L))
    return float((K * L).sum() / np.linalg.norm(K) / np.linalg.norm(L))


def first_correlation(X: Floats, Y: Floats) -> float:
    """Squared correlation of the first columns: its law is known."""
    return float(np.corrcoef(X[:, 0], Y[:, 0])[0, 1] ** 2)


def test_any_measure_gets_its_value_and_the_interval_of_a_squared_correlation() -> None:
    held, few = [], {"max_axes": 1, "n_folds": 2, "n_permutations": 2}
    for seed in range(60):
        rng = np.random.default_rng([seed, 70])
        x, e = rng.standard_normal((2, 200, 1))
        X, Y = np.hstack([x, rng.standard_normal((200, 2))]), np.hstack([0.6 * x + 0.8 * e, x])
        found = alignment_matrix({"a": X, "b": Y}, measures={"r2": first_correlation}, seed=seed, **few)
        (measured,) = found.pairs["a", "b"].others.values()
        assert measured.estimate == pytest.approx(first_correlation(X, Y))
        held.append(measured.low <= 0.36 <= measured.high)
    assert 0.86 <= np.mean(held) <= 1.0  # 0.95 of 60: 99.9 %
    assert found.matrix("r2")[0, 1] == measured.estimate


def test_a_package_function_finds_what_is_shared_and_calls_independent_views_at_the_nominal_rate() -> None:
    settings = {"measures": {"rbf": distance_correlation}, "n_splits": 1, "n_folds": 2, "k": 5}
    X, Y = pair(80, 6, 5)
    (found,) = alignment(X, Y, n_permutations=39, **settings).records()[4:]
    assert found["measure"] == "rbf" and found["p_value"] == 1 / 40
    assert 0 < found["calibrated"] < found["estimate"]
    same = alignment(X, X, n_permutations=19, **settings).others["rbf"]
    assert same.calibrated().estimate == pytest.approx(1)
    rejected = 0
    for seed in range(60):
        X, Y = np.random.default_rng([seed, 71]).standard_normal((2, 40, 3))
        rejected += alignment(X, Y, n_permutations=19, seed=seed, **settings).others["rbf"].calibrated().estimate > 0
    assert rejected <= 10  # 99.9 % of a binomial of 60 at 0.05


def test_a_callers_measure_permutes_identities_whole_and_halves_them_whole() -> None:
    X, Y, groups = identities(2, 40, 3, 3)
    measured = {}
    for name, g in (("groups", groups), ("rows", None)):
        found = alignment(X, Y, measures={"r2": first_correlation}, groups=g, n_permutations=40, k=5)
        measured[name] = found.others["r2"]
    assert measured["groups"].null.tau > 1.5 * measured["rows"].null.tau
    widths = [m.high - m.low for m in measured.values()]
    assert widths[0] > 1.2 * widths[1]


def test_a_measure_that_gives_no_number_or_takes_our_name_is_refused() -> None:
    X, Y = pair(60, 5, 4)
    with pytest.raises(ValueError, match="'mine' gave nan on 60 rows"):
        alignment(X, Y, measures={"mine": lambda X, Y: float("nan")})
    with pytest.raises(ValueError, match="other names than ours, not 'cka'"):
        alignment(X, Y, measures={"cka": first_correlation})


def test_above_tau_is_where_the_p_value_is_small_under_every_law() -> None:
    draws = np.random.default_rng(0).beta(2, 20, 59)
    laws = [lambda v: null_of_draws(v, draws), lambda v: null_of_rates(v, draws), lambda v: null_of_ranks(v, draws),
            lambda v: null_of_moments(v, 0.05, 0.8)]  # fmt: skip
    for law in laws:
        tau = law(0.1).tau
        assert law(tau - 1e-9).p_value > 0.05 >= law(tau + 1e-9).p_value
    assert np.isnan(null_of_ranks(0.5, draws[:18]).tau)
    assert null_of_ranks(2.0, draws[:19]).p_value == pytest.approx(0.05)


def test_mutual_neighbours_over_n_fall_where_the_fine_geometry_differs_and_stay_where_it_does_not() -> None:
    rng = np.random.default_rng(5)
    S, coarse = rng.standard_normal((800, 4)), rng.standard_normal((8, 4))[rng.integers(0, 8, 800)] * 5
    views = {"a": S, "same": S @ np.linalg.qr(rng.standard_normal((4, 4)))[0],
             "b": coarse + rng.standard_normal((800, 4)), "c": coarse + rng.standard_normal((800, 4))}  # fmt: skip
    rows = neighbour_curve(views, n_splits=4, n_permutations=6).records()
    of = {(row["a"], row["b"], row["size"]): row for row in rows}
    assert {size for *_, size in of} == {100, 200, 400, 800}
    assert all(of["a", "same", size]["estimate"] == pytest.approx(1) for size in (100, 800))
    cluster = [of["b", "c", size] for size in (100, 200, 400, 800)]
    assert (np.diff([row["estimate"] for row in cluster]) < 0).all()
    assert all(row["low"] <= row["estimate"] <= row["high"] and row["p_value"] < 1e-3 for row in cluster)
    assert all(row["null"] == pytest.approx(row["chance"], rel=0.25) for row in rows)
    with pytest.raises(ValueError, match="at most the 800 images"):
        neighbour_curve(views, sizes=[100, 900])


def test_images_that_two_views_agree_on_are_found_and_no_more_than_the_rate_of_others() -> None:
    rng = np.random.default_rng(6)
    X, Y = rng.standard_normal((2, 400, 5))
    Y[:200] = X[:200] @ np.linalg.qr(rng.standard_normal((5, 5)))[0]
    X[:200, 0] += 12  # the images that agree are their own neighbours
    Y[:200, 0] += 12
    images = alignment(X, Y, n_permutations=0, n_splits=1).images()
    agrees = np.array([row["agrees"] for row in images])
    assert [row["row"] for row in images] == list(range(400))
    assert agrees[:200].mean() > 0.8 and agrees[200:].mean() <= 0.1
    assert images[0]["p_value"] == pytest.approx(hypergeom.sf(round(10 * images[0]["in_common"]) - 1, 399, 10, 10))
    X, Y = rng.standard_normal((2, 400, 5))
    p = np.array([row["p_value"] for row in alignment(X, Y, n_permutations=0, n_splits=1).images()])
    assert (p <= 0.05).mean() <= 0.08 and not any(row["agrees"] for row in alignment(X, Y, n_permutations=0).images())
