"""The paper's tests on fresh rows, against scipy one projection at a time; and the law of Marchenko and Pastur."""

import numpy as np
import pytest
from scipy import stats

from noisezoo.analysis.gaussian import bimodal, fresh_projections, marchenko_pastur_share


def rates(found: object) -> dict[str, float]:
    return {row["test"]: row["estimate"] for row in found.records()}  # type: ignore[attr-defined]


def test_true_gaussian_rows_are_accepted_as_often_as_scipy_accepts_them() -> None:
    rng = np.random.default_rng(0)
    found = fresh_projections(rng.standard_normal((1500, 40)) @ rng.standard_normal((40, 40)), n_projections=2000)
    samples = rng.standard_normal((250, 2000))
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(FutureWarning)
        quiet.filter(UserWarning)
        results = [stats.anderson(column) for column in samples.T]
    today = np.mean([r.statistic < r.critical_values[2] for r in results])
    then = np.mean([r.statistic < 0.775 for r in results])  # 0.787 / (1 + 4 / 250 - 25 / 250^2)
    peers = {
        "anderson-darling": then, "anderson-darling, today's": today,
        "dagostino-pearson": np.mean(stats.normaltest(samples).pvalue >= 0.05),
        "shapiro-wilk": np.mean([stats.shapiro(column).pvalue >= 0.05 for column in samples.T]),
    }  # fmt: skip
    for row in found.records():
        assert row["estimate"] == pytest.approx(peers[row["test"]], abs=0.02)
        assert row["low"] < row["estimate"] < row["high"] and abs(row["estimate"] - row["null"]) < 0.02
    assert then > today, "scipy's critical values of that time were higher"


def test_two_humps_are_rejected_and_half_precision_changes_nothing_much() -> None:
    humps = rates(fresh_projections(bimodal(1000, 60), n_projections=600))
    assert max(humps.values()) < 0.3
    X = np.random.default_rng(1).standard_normal((400, 50))
    full, half = (rates(fresh_projections(A, n_projections=400)) for A in (X.astype(np.float32), X.astype(np.float16)))
    assert all(abs(full[test] - half[test]) < 0.03 for test in full)


def test_each_projection_has_rows_of_its_own() -> None:
    X = np.zeros((1000, 3))
    X[:, 0] = np.random.default_rng(2).standard_normal(1000)  # every projection is this one, up to its scale
    tests = {row["test"]: row for row in fresh_projections(X, n_projections=500).records()}
    assert 0.5 < tests["anderson-darling"]["estimate"] < 1, "the same 250 rows would pass always or never"


def test_fewer_rows_than_a_projection_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="n_samples must lie between 20 and the 100 rows"):
        fresh_projections(np.random.default_rng(0).standard_normal((100, 5)))


@pytest.mark.parametrize(("n", "d", "k"), [(2000, 300, 30), (300, 1500, 40), (400, 400, 100), (100, 50, 50)])
def test_independent_rows_hold_what_marchenko_and_pastur_say(n: int, d: int, k: int) -> None:
    X = np.random.default_rng(3).standard_normal((n, d))
    values = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2
    assert values[:k].sum() / values.sum() == pytest.approx(marchenko_pastur_share(n, d, k), abs=0.004)


def test_the_release_s_own_size_gives_the_figure_of_its_note() -> None:
    assert marchenko_pastur_share(130_216, 16_384, 500) == pytest.approx(0.0534, abs=5e-5)
