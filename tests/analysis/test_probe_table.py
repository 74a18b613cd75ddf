import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, roc_auc_score

from noisezoo.analysis import Interval, ProbeTable, compare, probe_difference, probe_table
from noisezoo.analysis.core.halves import assign_folds, half_samples
from noisezoo.analysis.probes.metrics import METRICS, OutOfFold, accuracy, auc, auprc, balanced_accuracy

Floats = NDArray[np.float64]
NAMES = ["Smiling", "Bald", "Bangs", "Eyeglasses"]


def views(n: int, d: int, seed: int, noise: tuple[float, ...]) -> tuple[list[Floats], Floats]:
    """Views of one latent, each with its own noise, and attributes of the latent: one law of rows at every seed."""
    weights = np.random.default_rng(99).standard_normal((d, 4)) / np.sqrt(d)
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, d))
    Y = (latent @ weights > [0, 0, 0.5, 1.0]).astype(float)
    return [latent + level * rng.standard_normal((n, d)) for level in noise], Y


@pytest.fixture(scope="module")
def pair() -> tuple[ProbeTable, ProbeTable]:
    (a, b), Y = views(500, 40, 0, (0.3, 1.0))
    return probe_table(a, Y, NAMES), probe_table(b, Y, NAMES)


def random_out_of_fold(seed: int, n: int = 60) -> OutOfFold:
    rng = np.random.default_rng(seed)
    logits = np.round(rng.standard_normal((n, 2)), 1)  # ties
    prior, labels = rng.standard_normal((n, 2)) / 5, (rng.random((n, 2)) < 0.4).astype(float)
    return OutOfFold(logits, prior, labels, rng.integers(3, size=n), np.ones(n, dtype=np.bool_))


def test_metrics_equal_scikit_learn() -> None:
    o = random_out_of_fold(0)
    one_fold = OutOfFold(o.logits, o.prior, o.labels, np.zeros(60, dtype=np.intp), o.kept)
    for j in range(2):
        y, z = o.labels[:, j], o.logits[:, j]
        assert balanced_accuracy(o)[0][j] == pytest.approx(balanced_accuracy_score(y, z > o.prior[:, j]))
        assert accuracy(o)[0][j] == pytest.approx(accuracy_score(y, z > 0))
        assert auc(one_fold)[0][j] == pytest.approx(roc_auc_score(y, z))
        assert auprc(one_fold)[0][j] == pytest.approx(average_precision_score(y, z))
        folds = [(o.labels[o.folds == f, j], o.logits[o.folds == f, j]) for f in range(3)]
        assert auprc(o)[0][j] == pytest.approx(
            sum(y.sum() * average_precision_score(y, z) for y, z in folds) / sum(y.sum() for y, _ in folds)
        )


@pytest.mark.parametrize("metric", METRICS)
def test_an_influence_is_the_change_of_the_metric_when_a_row_counts_more(metric: str) -> None:
    o, row, times = random_out_of_fold(1, n=400), 7, 40
    copies = np.r_[np.repeat(np.arange(400), times), row]  # the row weighs 1 + 1 / times
    heavier = OutOfFold(o.logits[copies], o.prior[copies], o.labels[copies], o.folds[copies], o.kept[copies])
    change = (METRICS[metric](heavier)[0] - METRICS[metric](o)[0]) * times
    np.testing.assert_allclose(METRICS[metric](o)[1][row], change, rtol=0.02, atol=1e-6)


def test_auc_counts_pairs_within_folds_only() -> None:
    o = random_out_of_fold(2)
    won = pairs = 0.0
    for f in range(3):
        rows = o.folds == f
        positive, negative = (o.logits[rows & (o.labels[:, 0] == y), 0] for y in (1, 0))
        difference = positive[:, None] - negative
        won, pairs = won + (difference > 0).sum() + (difference == 0).sum() / 2, pairs + difference.size
    assert auc(o)[0][0] == pytest.approx(won / pairs)


def test_planted_attributes_are_found_and_their_nulls_are_chance(pair: tuple[ProbeTable, ProbeTable]) -> None:
    table = pair[0]
    for name in NAMES:
        assert table.interval(name).low > 0.75
    for metric in ("balanced_accuracy", "auc"):
        assert abs(table.null[metric].mean() - 0.5) < 0.03


def test_shuffled_labels_give_chance_within_their_intervals() -> None:
    held, centre = [], []
    for seed in range(12):
        (X,), Y = views(200, 300, seed, (0.5,))
        Y = Y[np.random.default_rng(seed).permutation(200)]
        table = probe_table(X, Y, NAMES, n_permutations=0, seed=seed)
        held += [i.low <= 0.5 <= i.high for metric in ("balanced_accuracy", "auc") for i in table.intervals[metric]]
        centre.append(table.mean["balanced_accuracy"].estimate)
    assert np.mean(held) > 0.87  # 96 intervals, nominal 0.95
    assert abs(np.mean(centre) - 0.5) < 0.02


def test_rare_attributes_stand_above_chance_where_the_majority_rule_would_hide_them() -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((800, 10))
    Y = (X[:, :1] + 0.7 * rng.standard_normal((800, 1)) > 2.0).astype(float)  # about 5 %
    table = probe_table(X, Y, ["Bald"])
    assert table.interval("Bald").low > 0.75
    assert table.interval("Bald", "accuracy").estimate < table.to_frame()["majority_rate"][0] + 0.03


def test_the_paired_difference_sees_the_planted_order(pair: tuple[ProbeTable, ProbeTable]) -> None:
    a, b = pair
    difference = probe_difference(a, b)
    assert difference.low > 0
    assert difference.estimate == pytest.approx(
        a.mean["balanced_accuracy"].estimate - b.mean["balanced_accuracy"].estimate
    )


def test_a_view_does_not_differ_from_itself(pair: tuple[ProbeTable, ProbeTable]) -> None:
    difference = probe_difference(pair[0], pair[0])
    assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)


def coverage(intervals: list[Interval], expected: float) -> float:
    return float(np.mean([i.low <= expected <= i.high for i in intervals]))


@pytest.fixture(scope="module")
def studies() -> dict[str, list[Interval]]:
    """Mean intervals of two views and of their difference in 40 studies with nothing but a law of rows in common."""
    found: dict[str, list[Interval]] = {"a": [], "b": [], "difference": []}
    for seed in range(40):
        (a, b), Y = views(300, 60, seed, (0.6, 1.0))
        tables = [probe_table(X, Y, NAMES, n_permutations=0, n_splits=12, seed=seed) for X in (a, b)]
        intervals = [*(t.mean["balanced_accuracy"] for t in tables), probe_difference(*tables)]
        for key, interval in zip(found, intervals, strict=True):
            found[key].append(interval)
    return found


@pytest.mark.parametrize("of", ["a", "b", "difference"])
def test_intervals_hold_what_the_whole_procedure_gives_on_average(studies: dict[str, list[Interval]], of: str) -> None:
    estimates = np.array([interval.estimate for interval in studies[of]])
    reach = np.array([(interval.high - interval.low) / 2 for interval in studies[of]])
    assert 0.88 <= coverage(studies[of], estimates.mean())  # nominal 0.95, two standard errors 0.07
    standard_error = np.sqrt((reach**2).mean()) / stats.t.ppf(0.975, 12)
    assert 0.85 <= standard_error / estimates.std(ddof=1) <= 1.4  # 40 studies know their spread to 11 %


def test_a_paired_difference_is_narrower_than_an_unpaired_one(studies: dict[str, list[Interval]]) -> None:
    a, b, difference = (np.mean([i.high - i.low for i in studies[of]]) for of in ("a", "b", "difference"))
    assert difference < 0.95 * np.hypot(a, b)


def test_the_difference_of_equally_good_views_covers_zero_at_its_rate() -> None:
    held = []
    for seed in range(20):
        (a, b), Y = views(150, 12, 100 + seed, (0.6, 0.6))
        held.append(probe_difference(*[probe_table(X, Y, NAMES, n_permutations=0) for X in (a, b)]))
    assert coverage(held, 0.0) >= 0.85  # nominal 0.95, two standard errors 0.1


def test_scoring_rows_alone_would_leave_the_training_out(pair: tuple[ProbeTable, ProbeTable]) -> None:
    e = pair[1].estimate("balanced_accuracy", NAMES).mean()
    given_probes = np.sqrt((e.influence[0] ** 2).sum(axis=0))
    assert np.sqrt(e.variance())[0] > 1.1 * given_probes[0]


def test_halves_take_half_of_every_fold_and_never_split_a_group() -> None:
    groups = np.repeat(np.arange(100), 4)
    folds = assign_folds(400, 5, groups=groups)
    halves = half_samples(folds, 6, seed=3, groups=groups)
    assert (halves == np.repeat(halves[:, ::4], 4, axis=1)).all()
    assert (np.abs([np.bincount(folds[half]) - 40 for half in halves]) <= 4).all()
    assert len({half.tobytes() for half in halves}) == 6


def test_groups_widen_the_interval_as_clusters_must() -> None:
    """Five copies of every row carry no more than one, and a group for each says so."""
    (X,), Y = views(150, 10, 9, (1.0,))
    groups = np.repeat(np.arange(150), 5)
    X5, Y5 = np.repeat(X, 5, axis=0), np.repeat(Y, 5, axis=0)
    once = probe_table(X, Y, NAMES, n_permutations=0, n_splits=40).mean["accuracy"]
    copied = probe_table(X5, Y5, NAMES, groups=groups, n_permutations=0, n_splits=40).mean["accuracy"]
    assert (copied.high - copied.low) / (once.high - once.low) == pytest.approx(1, abs=0.3)


def test_too_few_groups_for_an_interval_are_refused() -> None:
    folds = np.array([0, 1, 1, 1, 2])
    with pytest.raises(ValueError, match="too few for an interval"):
        half_samples(folds, 2, seed=0)
    with pytest.raises(ValueError, match="n_splits must be a whole number, 1 or more"):
        half_samples(folds, 0, seed=0)


def test_comparison_rows_are_every_attribute_and_the_mean(pair: tuple[ProbeTable, ProbeTable]) -> None:
    comparison = compare(*pair)
    assert comparison.names == tuple(NAMES)
    assert set(comparison.to_frame()["attribute"]) == {*NAMES, "mean"}
    headline = probe_difference(*pair, metric="auc")
    assert comparison.mean["auc"] == headline


def test_folds_depend_on_rows_and_seed_and_not_on_the_view(pair: tuple[ProbeTable, ProbeTable]) -> None:
    a, b = pair
    np.testing.assert_array_equal(a.out_of_fold.folds, b.out_of_fold.folds)
    assert sorted(np.bincount(a.out_of_fold.folds)) == [100] * 5


def test_tables_of_different_rows_cannot_be_compared(pair: tuple[ProbeTable, ProbeTable]) -> None:
    (X,), Y = views(500, 40, 0, (0.3,))
    with pytest.raises(ValueError, match="differ in labels"):
        compare(pair[0], probe_table(X, Y[::-1], NAMES, n_permutations=0))
    with pytest.raises(ValueError, match="differ in folds"):
        compare(pair[0], probe_table(X, Y, NAMES, n_permutations=0, seed=1))
    with pytest.raises(ValueError, match="differ in half-samples"):
        compare(pair[0], probe_table(X, Y, NAMES, n_permutations=0, n_splits=4))
    with pytest.raises(ValueError, match="no attribute in common"):
        compare(pair[0], probe_table(X, Y[:, :1], ["Hat"], n_permutations=0))
    with pytest.raises(ValueError, match="metric must be one of"):
        probe_difference(*pair, metric="f1")


def test_groups_never_straddle_folds_and_folds_stay_near_equal() -> None:
    groups = np.random.default_rng(4).integers(150, size=1000)
    folds = assign_folds(1000, 5, groups=groups)
    assert all(len(set(folds[groups == g])) == 1 for g in np.unique(groups))
    assert np.bincount(folds).min() > 150


def test_identities_that_carry_the_label_do_not_leak_when_groups_are_given() -> None:
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(60), 5)
    X = rng.standard_normal((60, 200))[groups] + 0.1 * rng.standard_normal((300, 200))  # a face for each identity
    Y = (rng.random((60, 1)) < 0.5)[groups].astype(float)  # a label for each identity, unrelated to the face
    leaking, kept = probe_table(X, Y, ["Young"]), probe_table(X, Y, ["Young"], groups=groups)
    assert leaking.interval("Young").low > 0.9
    assert kept.interval("Young").low < 0.5


def test_impossible_folds_are_refused() -> None:
    for n_folds, groups in ((1, None), (11, None), (3, np.zeros(10))):
        with pytest.raises(ValueError, match="n_folds must lie between 2"):
            assign_folds(10, n_folds, groups=groups)


def test_attributes_that_cannot_be_probed_are_refused_by_name_with_the_reason() -> None:
    (X,), Y = views(100, 5, 6, (0.5,))
    rare, grouped = np.arange(100) < 9, np.arange(100) < 20
    labels = np.column_stack([Y[:, 0], np.ones(100), rare, grouped])
    groups = np.r_[np.zeros(20), np.arange(1, 81)]
    table = probe_table(X, labels, ["Smiling", "Bald", "Bangs", "Hat"])
    assert table.names == ("Smiling", "Hat")
    assert table.refused["Bald"] == "one class only: all 100 rows are 1"
    assert table.refused["Bangs"] == "9 positives and 91 negatives: 5 folds need 10 of each"
    with pytest.raises(KeyError, match="one class only"):
        table.interval("Bald")
    grouped_table = probe_table(X, labels, ["Smiling", "Bald", "Bangs", "Hat"], groups=groups)
    assert grouped_table.names == ("Smiling",)
    assert grouped_table.refused["Hat"] == "positives in 1 and negatives in 80 of 81 groups: 5 folds need 10 of each"


def test_a_class_that_lies_in_one_fold_is_refused() -> None:
    (X,), _ = views(100, 5, 6, (0.5,))
    groups = np.repeat(np.arange(25), 4)
    alone = np.isin(groups, np.unique(groups[assign_folds(100, 2, groups=groups) == 1])[:5])
    table = probe_table(X, alone[:, None], ["Hat"], n_folds=2, groups=groups)
    assert table.refused["Hat"].startswith("all positives lie in one fold")


def test_a_table_with_every_attribute_refused_has_no_numbers() -> None:
    (X,), _ = views(50, 5, 7, (0.5,))
    table = probe_table(X, np.ones((50, 1)), ["Bald"])
    assert table.names == () and table.to_dict()["rows"][0]["estimate"] is None


def test_results_are_json_and_the_same_every_time(pair: tuple[ProbeTable, ProbeTable]) -> None:
    (X, _), Y = views(500, 40, 0, (0.3, 1.0))
    again = probe_table(X, Y, NAMES)
    assert json.dumps(again.to_dict(), allow_nan=False) == json.dumps(pair[0].to_dict(), allow_nan=False)
    assert len(again.to_frame()) == len(METRICS) * (len(NAMES) + 1)


def test_predictions_do_not_change_when_the_view_is_scaled() -> None:
    (X,), Y = views(150, 200, 8, (0.5,))
    a, b = (probe_table(scale * X, Y, NAMES, n_permutations=0) for scale in (1, 1e-4))
    np.testing.assert_allclose(a.out_of_fold.logits, b.out_of_fold.logits, atol=1e-3)
    np.testing.assert_allclose(a.C, b.C * 1e-8, rtol=1e-6)


def test_rows_with_a_copy_in_another_fold_are_counted_until_a_group_keeps_them_together() -> None:
    (X,), Y = views(200, 6, 10, (0.5,))
    copied = np.arange(200) % 20 == 0
    X2, Y2 = np.vstack([X, X[copied]]), np.vstack([Y, Y[copied]])
    groups = np.r_[np.arange(200), np.flatnonzero(copied)]
    folds = assign_folds(210, 5)
    apart = sum(2 for i, j in enumerate(np.flatnonzero(copied)) if folds[200 + i] != folds[j])
    said = probe_table(X2, Y2, NAMES, n_permutations=0, n_splits=2).settings()["caveats"]
    assert said[0].startswith(f"{apart} rows of X have an exact copy in another fold") and len(said) == 1
    assert probe_table(X2, Y2, NAMES, groups=groups, n_permutations=0, n_splits=2).settings()["caveats"] == []


def test_a_comparison_hands_on_what_either_table_warns_of() -> None:
    (a, b), Y = views(100, 120, 11, (0.5, 1.0))
    tables = [probe_table(X, Y, NAMES, n_permutations=0, n_splits=2) for X in (a[:, :20], b)]
    assert [s for s in compare(*tables).to_dict()["caveats"] if "fewer rows (100) than dimensions (120)" in s]


def people(seed: int, count: int, dims: int = 6) -> tuple[Floats, NDArray[np.intp], np.random.Generator]:
    """Rows of people with one to six pictures, alike among themselves."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(count), rng.integers(1, 7, count))
    rows = rng.standard_normal((count, dims))[groups] + 0.7 * rng.standard_normal((len(groups), dims))
    return rows, groups, rng


def null_study(seeds: range, rate: float, identities: int) -> tuple[Floats, Floats]:
    """Attributes of identities that nothing tells: share of p-values <= 0.05, and of intervals that hold chance."""
    found, held = np.zeros(2), np.zeros(2)
    for seed in seeds:
        X, groups, rng = people(seed, identities)
        labels = np.zeros((identities, 4))
        for column in labels.T:  # as many positive identities in every seed: at least what is not refused
            column[rng.choice(identities, max(10, round(rate * identities)), replace=False)] = 1
        table = probe_table(X, labels[groups], list("abcd"), groups=groups, n_splits=8, n_permutations=7, seed=seed)
        frame = table.to_frame().set_index(["attribute", "metric"])
        for i, metric in enumerate(("balanced_accuracy", "auc")):
            rows = frame.loc[[(name, metric) for name in table.names]]
            found[i] += (rows["p_value"] <= 0.05).mean() / len(seeds)
            held[i] += ((rows["low"] <= 0.5) & (rows["high"] >= 0.5)).mean() / len(seeds)
    return found, held


def test_attributes_of_people_that_nothing_tells_are_not_found() -> None:
    found, held = null_study(range(12), 0.2, 60)
    assert (found <= stats.binom.ppf(0.999, 48, 0.05) / 48).all(), found
    assert (held >= stats.binom.ppf(0.001, 48, 0.95) / 48).all(), held


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "identities"), [(0.17, 60), (0.5, 60), (0.1, 120), (0.3, 200)])
def test_attributes_of_people_that_nothing_tells_keep_their_level(rate: float, identities: int) -> None:
    found, held = null_study(range(500, 600), rate, identities)
    print(f"rate {rate}, {identities} identities: p <= 0.05 in {found.round(3)}, 0.5 held in {held.round(3)}")
    assert (found <= stats.binom.ppf(0.999, 400, 0.05) / 400).all()
    assert (held >= stats.binom.ppf(0.001, 400, 0.93) / 400).all()


def test_rare_classes_are_counted_in_identities() -> None:
    X, groups, _ = people(0, 60)
    few, enough = np.isin(groups, [3, 7]), np.isin(groups, np.arange(10))
    table = probe_table(X, np.column_stack([few, enough]), ["two", "ten"], groups=groups, n_splits=2)
    assert table.names == ("ten",)
    assert table.refused["two"] == "positives in 2 and negatives in 58 of 60 groups: 5 folds need 10 of each"
    assert few.sum() >= 2 and probe_table(X, few[:, None], ["two"], n_folds=2, n_splits=2).names in {("two",), ()}


def test_p_values_are_small_for_what_is_there(pair: tuple[ProbeTable, ProbeTable]) -> None:
    frame = pair[0].to_frame().set_index(["attribute", "metric"])
    for name in [*NAMES, "mean"]:
        assert frame.loc[(name, "balanced_accuracy"), "p_value"] < 0.01
        assert 0 <= frame.loc[(name, "auprc"), "p_value"] < 0.05
