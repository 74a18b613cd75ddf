import json

import numpy as np
import pytest
from scipy import stats

from noisezoo.analysis import Interval, bootstrap_means, mean_intervals, paired_differences, resample_counts, wilson


def test_wilson_equals_scipy_for_every_count() -> None:
    low, high = wilson(np.arange(21), 20)
    for k in range(21):
        expected = stats.binomtest(k, 20).proportion_ci(method="wilson")
        assert (low[k], high[k]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_refuses_impossible_counts() -> None:
    for k, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="at least one trial"):
            wilson(k, n)


def test_counts_are_multinomial() -> None:
    counts = resample_counts(50, 4000, seed=1)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.08)
    assert counts.var(axis=0).mean() == pytest.approx(49 / 50, rel=0.02)


def test_the_matrix_product_equals_an_explicit_loop_over_resamples() -> None:
    rng = np.random.default_rng(0)
    S = rng.standard_normal((60, 5))
    drawn = np.random.default_rng(7).integers(60, size=(100, 60))
    loop = np.array([S[rows].mean(axis=0) for rows in drawn])
    np.testing.assert_allclose(bootstrap_means(S, resample_counts(60, 100, seed=7)), loop, atol=1e-12)


def test_the_bootstrap_of_a_mean_has_the_textbook_standard_error() -> None:
    S = np.random.default_rng(2).standard_normal((500, 3))
    replicates = bootstrap_means(S, resample_counts(500, 4000))
    assert replicates.std(axis=0) == pytest.approx(S.std(axis=0) / np.sqrt(500), rel=0.05)


def test_groups_are_drawn_whole_and_widen_the_interval_as_clusters_must() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(100), 5)
    counts = resample_counts(500, 50, groups=groups).reshape(50, 100, 5)
    assert (counts == counts[:, :, :1]).all()
    scores = np.repeat(rng.standard_normal(100), 5)[:, None]  # five copies carry no more than one
    together, apart = mean_intervals(scores, groups=groups)[0], mean_intervals(scores)[0]
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.12)


def test_intervals_hold_a_planted_mean_at_their_rate() -> None:
    rng = np.random.default_rng(4)
    scores = (rng.random((300, 400)) < 0.8).astype(float)  # 400 simulations of an accuracy of 0.8
    held = np.mean([interval.low <= 0.8 <= interval.high for interval in mean_intervals(scores)])
    assert 0.92 <= held <= 0.975


def test_a_paired_difference_is_narrower_than_an_unpaired_one_where_views_agree() -> None:
    rng = np.random.default_rng(5)
    shared = rng.standard_normal((400, 1))
    a, b = shared + 0.2 * rng.standard_normal((400, 1)), shared + 0.2 * rng.standard_normal((400, 1)) - 0.1
    paired = paired_differences(a, b)[0]
    unpaired = np.hypot(*[i.high - i.low for i in (*mean_intervals(a), *mean_intervals(b))])
    assert paired.high - paired.low < 0.35 * unpaired
    assert paired.low < 0.1 < paired.high


def test_scores_of_different_rows_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="one shape"):
        paired_differences(np.zeros((3, 1)), np.zeros((4, 1)))


def test_an_interval_is_plain_json_with_none_for_what_is_not_finite() -> None:
    assert json.dumps(Interval(0.5, float("nan"), 1.0).to_dict()) == '{"estimate": 0.5, "low": null, "high": 1.0}'


def test_the_same_seed_gives_the_same_interval() -> None:
    S = np.random.default_rng(6).standard_normal((40, 2))
    assert mean_intervals(S, seed=3) == mean_intervals(S, seed=3) != mean_intervals(S, seed=4)
