import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm

from noisezoo.analysis.controls.conditional import conditional_value
from noisezoo.analysis.probes.table import probe_table

Floats = NDArray[np.float64]
VIEWS = ("pixels", "noise")
QUICK = {"views": VIEWS, "n_permutations": 0, "n_splits": 6}


def latents(n: int, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    u, v = rng.standard_normal((n, 1)), rng.standard_normal((n, 1))
    return u, v, (u + v + rng.standard_normal((n, 1)) > 0).astype(float)


def padded(x: Floats, d: int, level: float, seed: int) -> Floats:
    """A view: x along one direction, `level` of noise along d others."""
    return np.hstack([x, level * np.random.default_rng(seed).standard_normal((len(x), d))])


def test_what_each_view_adds_is_what_the_law_says() -> None:
    """P(right) of the sign of a part of a Gaussian sum: 1/2 + arcsin(correlation) / pi."""
    u, v, Y = latents(6000)
    found = conditional_value(u, v, Y, ["Smiling"], **QUICK)
    one, both = (0.5 + np.arcsin(np.sqrt(share)) / np.pi for share in (1 / 3, 2 / 3))
    measured = found.intervals["balanced_accuracy"]
    for what, expected in (("pixels", one), ("noise", one), ("both", both), ("noise given pixels", both - one)):
        assert measured[what][0].estimate == pytest.approx(expected, abs=0.015)
        assert measured[what][0].low <= expected <= measured[what][0].high
    z = np.random.default_rng(1).standard_normal((200_000, 2))
    entropy = [-np.mean(p * np.log(p) + (1 - p) * np.log(1 - p)) for p in
               (norm.cdf(z[:, 0] / np.sqrt(2)), norm.cdf(z.sum(axis=1)))]  # fmt: skip
    assert found.intervals["log_loss"]["noise given pixels"][0].estimate == pytest.approx(
        entropy[1] - entropy[0], abs=0.02
    )


def test_a_linear_copy_adds_nothing_and_does_not_score_below_nothing() -> None:
    """A residual of the copy would be rounding, or what shared folds leave of it: below chance."""
    held, estimates = [], []
    for seed in range(5):
        u, v, Y = latents(200, seed)
        A = padded(u + v, 15, 0.5, seed)
        B = A @ np.random.default_rng(7).standard_normal((16, 16))
        added = conditional_value(A, B, Y, ["Smiling"], **QUICK, seed=seed).intervals["balanced_accuracy"]
        interval = added["noise given pixels"][0]
        held.append(interval.low <= 0 <= interval.high)
        estimates.append(interval.estimate)
    assert np.mean(held) >= 4 / 5 and abs(np.mean(estimates)) < 0.015


def test_intervals_hold_what_a_view_adds_on_average_though_most_folds_choose_the_other_alone() -> None:
    found = []
    for seed in range(40):
        u, v, Y = latents(200, seed)
        A = padded(u + v, 5, 0.5, seed)
        B = 0.5 * A + np.random.default_rng([seed, 1]).standard_normal(A.shape)
        result = conditional_value(A, B, Y, ["Smiling"], **QUICK, seed=seed)
        interval = result.intervals["balanced_accuracy"]["noise given pixels"][0]
        found.append((interval.low, interval.estimate, interval.high, result.share.max()))
    low, estimates, high, share = np.transpose(found)
    assert np.mean(share == 0) > 0.3, "pixels alone in every fold: nothing is added, but might have been"
    assert np.mean(low < high) >= 0.95
    held = np.mean((low <= estimates.mean()) & (estimates.mean() <= high))
    assert held >= 0.88  # 0.95 less what 40 studies leave open


def test_a_view_of_noise_drowns_nothing_where_a_plain_joint_probe_would() -> None:
    u, _, Y = latents(400)
    A, B = padded(u, 5, 0.3, 0), 50 * np.random.default_rng(1).standard_normal((400, 300))
    found = conditional_value(A, B, Y, ["Smiling"], **QUICK).intervals["auc"]
    plain = probe_table(np.hstack([A, B]), Y, ["Smiling"], n_permutations=0, n_splits=2).mean["auc"].estimate
    assert plain < found["pixels"][0].estimate - 0.05
    assert found["noise given pixels"][0].estimate > -0.01


def test_scaling_a_view_changes_nothing() -> None:
    u, v, Y = latents(200)
    A, B = padded(u, 5, 0.5, 0), padded(v, 5, 0.5, 1)
    a, b = (conditional_value(A, scale * B, Y, ["Smiling"], **QUICK) for scale in (1.0, 1e4))
    np.testing.assert_array_equal(a.share, b.share)
    assert a.intervals["auc"]["both"][0].estimate == pytest.approx(b.intervals["auc"]["both"][0].estimate, abs=1e-4)


def test_alone_is_the_probe_table() -> None:
    u, v, Y = latents(300)
    A, B = padded(u, 8, 0.5, 0), padded(v, 8, 0.5, 1)
    found = conditional_value(A, B, Y, ["Smiling"], **QUICK)
    for name, X in zip(VIEWS, (A, B), strict=True):
        table = probe_table(X, Y, ["Smiling"], n_permutations=0, n_splits=6)
        ours = found.intervals["auc"][name][0]
        assert (ours.low, ours.estimate, ours.high) == pytest.approx(
            (table.intervals["auc"][0].low, table.intervals["auc"][0].estimate, table.intervals["auc"][0].high),
            abs=2e-3,
        )


def test_shuffled_rows_add_nothing_and_records_say_what_is_what() -> None:
    u, v, Y = latents(300)
    groups = np.repeat(np.arange(150), 2)
    found = conditional_value(u, v, np.hstack([Y, Y * 0]), ["Smiling", "Bald"], views=VIEWS, groups=groups, n_splits=4)
    assert found.refused["Bald"].startswith("one class only")
    rows = json.loads(json.dumps(found.to_dict(), allow_nan=False))["rows"]
    added = [row for row in rows if "given" in row["what"]]
    assert {row["what"] for row in added} == {"noise given pixels", "pixels given noise"}
    assert all(abs(row["null"]) < 0.03 for row in added if row["metric"] != "log_loss")
    assert all(row["null"] is None for row in rows if "given" not in row["what"])


def test_views_of_different_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="A has 5 rows and B has 6"):
        conditional_value(np.ones((5, 2)), np.ones((6, 2)), np.ones(5), ["Smiling"])


def test_views_add_nothing_to_labels_of_identities_that_neither_holds() -> None:
    """60 people of 1 to 6 rows: 99.9 % of a binomial at 0.05 for the greatest of 19 shuffles, and of misses of zero."""
    above, missed, seeds = 0, 0, 10
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 58])
        groups = np.repeat(np.arange(60), rng.integers(1, 7, 60))
        A, B = (rng.standard_normal((60, 3))[groups] + 0.3 * rng.standard_normal((len(groups), 3)) for _ in range(2))
        Y = (rng.random((60, 1)) < 0.5).astype(float)[groups]
        found = conditional_value(A, B, Y, ["Coin"], groups=groups, n_permutations=19, n_splits=4, n_folds=3, seed=seed)
        interval, null = found.intervals["auc"]["B given A"][0], found.null["auc"]["B given A"][:, 0]
        above += interval.estimate > null.max()
        missed += not interval.low <= 0 <= interval.high
    assert max(above, missed) <= binom.ppf(0.999, seeds, 0.05), (above, missed)
