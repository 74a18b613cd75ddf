import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from noisezoo.analysis.controls.learning_curves import _arrival, learning_curve
from noisezoo.analysis.probes.crossvalidation import Design
from noisezoo.analysis.probes.metrics import METRICS
from noisezoo.analysis.probes.table import probe_table

Floats = NDArray[np.float64]
NAMES = ["Smiling", "Bangs"]


def view(n: int, d: int, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    scores = X @ np.random.default_rng(99).standard_normal((d, 2)) / np.sqrt(d) + 0.3 * rng.standard_normal((n, 2))
    return X, (scores > [0, 0.8]).astype(float)


def test_the_last_point_is_the_probe_table() -> None:
    X, Y = view(300, 60)
    curve, table = learning_curve(X, Y, NAMES), probe_table(X, Y, NAMES, n_permutations=1)
    assert curve.sizes == (60, 120, 240)
    last = curve.points[-1]
    for metric in ("balanced_accuracy", "auc"):
        assert last.intervals[metric] == (*table.intervals[metric], table.mean[metric])
        np.testing.assert_allclose(last.null[metric][:, :2], table.null[metric])


def test_more_rows_teach_more_until_there_is_no_more_to_learn() -> None:
    X, Y = view(800, 40)
    mean = [point.rise["auc"][-1] for point in learning_curve(X, Y, NAMES, sizes=[50, 200]).points]
    assert np.isnan(mean[0].estimate) and mean[1].low > 0.02
    X = X[:, :1] + 0.5 * np.random.default_rng(1).standard_normal((800, 1))  # one direction: a few rows tell all
    Y = (X[:, :1] + 0.5 * np.random.default_rng(2).standard_normal((800, 1)) > 0).astype(float)
    rise = learning_curve(X, Y, ["Left"], sizes=[160, 640]).points[1].rise["auc"][0]
    assert abs(rise.estimate) < 0.005 and rise.low <= 0.001


def test_samples_are_nested_take_groups_whole_and_the_same_share_of_every_fold() -> None:
    X, Y = view(400, 3)
    groups = np.repeat(np.arange(100), 4)
    design = Design.of(400, Y, NAMES, groups, n_folds=5, n_splits=2, seed=3)
    arrival = _arrival(design)
    assert (arrival == np.repeat(arrival[::4], 4)).all()
    for share in (0.25, 0.5, 1.0):
        counts = np.bincount(design.folds[arrival < share], minlength=5)
        assert (np.abs(counts - share * np.bincount(design.folds)) <= 4).all()


def test_shuffled_labels_stay_at_chance_at_every_size() -> None:
    X, Y = view(400, 30)
    curve = learning_curve(X, Y, NAMES, sizes=[80, 320], n_permutations=4, n_splits=2)
    for point in curve.points:
        assert abs(point.null["auc"].mean() - 0.5) < 0.05


def test_intervals_of_a_small_sample_hold_what_other_samples_of_that_size_give() -> None:
    """Scoring many rows does not make probes of few rows certain: the training stays in the interval."""
    found = []
    for seed in range(14):
        X, Y = view(200, 10, seed)
        curve = learning_curve(X, Y, NAMES, sizes=[40], n_permutations=0, n_splits=8, seed=seed)
        found.append(curve.points[0].intervals["auc"][-1])
    estimates = np.array([interval.estimate for interval in found])
    held = np.mean([i.low <= estimates.mean() <= i.high for i in found])
    reach = np.sqrt(np.mean([((i.high - i.low) / 2) ** 2 for i in found])) / 2.31
    assert held >= 0.8 and 0.7 < reach / estimates.std(ddof=1) < 1.8


def test_an_attribute_too_rare_for_the_smallest_sample_is_refused_by_name_everywhere() -> None:
    X, Y = view(300, 10)
    rare = np.arange(300) % 20 == 0
    curve = learning_curve(X, np.column_stack([Y, rare, Y[:, 0] * 0]), [*NAMES, "Bald", "Hat"], sizes=[60, 240])
    assert curve.names == tuple(NAMES)
    assert "positives" in curve.refused["Bald"] and "one class only" in curve.refused["Hat"]
    rows = json.loads(json.dumps(curve.to_dict(), allow_nan=False))["rows"]
    assert len(rows) == 2 * 3 * len(METRICS) and {row["attribute"] for row in rows} == {*NAMES, "mean"}


def test_impossible_sizes_are_refused() -> None:
    X, Y = view(100, 5)
    for sizes in ([], [1, 50], [40, 81]):
        with pytest.raises(ValueError, match="sizes must lie between 2 and the 80"):
            learning_curve(X, Y, NAMES, sizes=sizes)


def test_a_curve_of_refused_attributes_alone_is_empty_and_says_why() -> None:
    X, Y = view(100, 5)
    curve = learning_curve(X, Y[:, :1] * 0, ["Hat"], sizes=[40, 80])
    assert curve.names == () and "one class only" in curve.refused["Hat"]
    rows = json.loads(json.dumps(curve.to_dict(), allow_nan=False))["rows"]
    assert {(row["attribute"], row["estimate"], row["null"]) for row in rows} == {("mean", None, None)}


def test_labels_of_identities_that_have_nothing_to_do_with_the_view_stay_at_chance() -> None:
    """60 people of 1 to 6 rows: 40 seeds, 99.9 % of a binomial at 0.05 for the greatest of 19 shuffles, and of misses.

    With every row taken for a person of its own, more than a third lie above all shuffles.
    """
    above, missed = np.zeros((2, 2))
    for seed in range(40):
        rng = np.random.default_rng([seed, 57])
        groups = np.repeat(np.arange(60), rng.integers(1, 7, 60))
        X = rng.standard_normal((60, 3))[groups] + 0.3 * rng.standard_normal((len(groups), 3))
        Y = (rng.random((60, 1)) < 0.5).astype(float)[groups]
        curve = learning_curve(X, Y, ["Coin"], groups=groups, n_permutations=19, n_splits=4, n_folds=3, sizes=[120],
                               seed=seed)  # fmt: skip
        for j, metric in enumerate(("auc", "balanced_accuracy")):
            interval, null = curve.points[0].intervals[metric][0], curve.points[0].null[metric][:, 0]
            above[j] += interval.estimate > null.max()
            missed[j] += not interval.low <= 0.5 <= interval.high
    assert max(*above, *missed) <= binom.ppf(0.999, 40, 0.05), (above, missed)
