from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import Ridge

from noisezoo.analysis import ProbeTable, compare, probe_table, regression_table
from noisezoo.analysis.probes.metrics import OutOfFold, r2
from noisezoo.analysis.report.report import write_report
from noisezoo.analysis.studies.data import numbers
from noisezoo.analysis.studies.run import analyze
from noisezoo.analysis.studies.study import QUICK, Options
from noisezoo.builder.__main__ import run
from tests.analysis.planted_report import Page
from tests.builder.building import recipe_of

Floats = NDArray[np.float64]
NAMES = ["age", "gaze"]


def view(n: int, d: int, seed: int, noise: float = 0.5) -> tuple[Floats, Floats]:
    """Rows of one law at every seed."""
    weights, rng = np.random.default_rng(99).standard_normal((d, 2)) / np.sqrt(d), np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.linspace(2, 0.5, d)
    Y = X @ weights + noise * rng.standard_normal((n, 2))
    return X, Y * [10.0, 1e-3] + [1e5, 3.0]  # a far mean, and a small scale


@pytest.fixture(scope="module")
def table() -> ProbeTable:
    X, Y = view(300, 20, 0)
    return regression_table(X, Y, NAMES, n_splits=6)


def test_predictions_are_scikit_learns_ridge_at_the_strength_that_other_folds_chose(table: ProbeTable) -> None:
    X, Y = view(300, 20, 0)
    o = table.out_of_fold
    for j in range(2):
        lost = total = 0.0
        for f in range(5):
            train, test = o.folds != f, o.folds == f
            peer = Ridge(alpha=1 / table.C[f, j], solver="cholesky").fit(X[train], Y[train, j])
            ours = o.logits[test, j] * Y[:, j].std() + Y[:, j].mean()
            np.testing.assert_allclose(ours, peer.predict(X[test]), atol=2e-3 * Y[:, j].std())
            lost += ((Y[test, j] - peer.predict(X[test])) ** 2).sum()
            total += ((Y[test, j] - Y[train, j].mean()) ** 2).sum()
        assert table.intervals["r2"][j].estimate == pytest.approx(1 - lost / total, abs=1e-4)


def test_the_chosen_strength_is_of_least_error_on_the_other_folds() -> None:
    X, Y = view(120, 60, 1, noise=2.0)
    chosen = regression_table(X, Y, NAMES, n_splits=2, n_permutations=0)
    o = chosen.out_of_fold
    for f in range(5):

        def error(C: float, f: int = f) -> float:
            rest = [g for g in range(5) if g != f]
            fits = {g: Ridge(alpha=1 / C).fit(X[o.folds != g], Y[o.folds != g, 0]) for g in rest}
            return float(sum(((fits[g].predict(X[o.folds == g]) - Y[o.folds == g, 0]) ** 2).sum() for g in rest))

        C = chosen.C[f, 0]
        assert error(C) <= min(error(C * 10), error(C / 10)) * (1 + 1e-9)


def test_an_influence_of_r2_is_its_change_when_a_row_counts_more() -> None:
    rng = np.random.default_rng(1)
    labels, folds = rng.standard_normal((300, 2)), rng.integers(3, size=300)
    o = OutOfFold.of(labels + rng.standard_normal((300, 2)), labels, folds, binary=False)
    copies = np.r_[np.repeat(np.arange(300), 50), 9]
    heavier = OutOfFold(o.logits[copies], o.prior[copies], labels[copies], folds[copies], o.kept[copies], False)
    np.testing.assert_allclose(r2(o)[1][9], (r2(heavier)[0] - r2(o)[0]) * 50, rtol=0.02, atol=1e-7)


def test_intervals_hold_the_expected_r2_and_labels_of_nothing_have_none() -> None:
    held, found = np.zeros(2), 0
    truth = np.mean([regression_table(*view(150, 8, s), NAMES, n_splits=2, n_permutations=0).mean["r2"].estimate
                     for s in range(1000, 1060)])  # fmt: skip
    for seed in range(40):
        X, Y = view(150, 8, seed)
        wide = regression_table(X, Y, NAMES, n_splits=8, n_permutations=5, seed=seed)
        held[0] += wide.mean["r2"].low <= truth <= wide.mean["r2"].high
        nothing = regression_table(np.random.default_rng([seed, 77]).standard_normal((150, 8)), Y, NAMES, n_splits=8,
                                   n_permutations=7, seed=seed)  # fmt: skip
        held[1] += nothing.mean["r2"].low <= 0.01
        found += sum(row["p_value"] <= 0.05 for row in nothing.records()[:2])
    assert (held >= stats.binom.ppf(0.001, 40, 0.95)).all()
    assert found <= stats.binom.ppf(0.999, 80, 0.05)


def test_labels_of_people_that_nothing_tells_are_not_found_with_their_groups() -> None:
    found = {True: 0, False: 0}
    for seed in range(25):
        rng = np.random.default_rng([seed, 4])
        groups = np.repeat(np.arange(60), rng.integers(1, 7, 60))
        X = rng.standard_normal((60, 30))[groups] + 0.1 * rng.standard_normal((len(groups), 30))
        Y = rng.standard_normal((60, 2))[groups]
        for grouped, units in ((True, groups), (False, None)):
            table = regression_table(X, Y, NAMES, groups=units, n_splits=2, n_permutations=7, seed=seed)
            found[grouped] += sum(row["p_value"] <= 0.05 for row in table.records()[:2])
    assert found[True] <= stats.binom.ppf(0.999, 50, 0.05) and found[False] == 50


def test_tables_of_two_views_are_compared_in_pairs(table: ProbeTable) -> None:
    X, Y = view(300, 20, 0)
    noisy = regression_table(X + 2 * np.random.default_rng(5).standard_normal(X.shape), Y, NAMES, n_splits=6)
    difference = compare(table, noisy, metrics=("r2",))
    assert difference.mean["r2"].low > 0
    rows = {(row["attribute"], row["metric"]): row for row in table.records()}
    assert rows["age", "r2"]["p_value"] < 0.01 and np.isnan(rows["age", "r2"]["positive_rate"])


def test_a_tensor_gives_the_numbers_of_the_array(table: ProbeTable) -> None:
    X, Y = view(300, 20, 0)
    same = regression_table(torch.from_numpy(X), torch.from_numpy(Y), NAMES, n_splits=6)
    for a, b in zip(same.records(), table.records(), strict=True):
        assert a["estimate"] == pytest.approx(b["estimate"], abs=1e-5)


def test_labels_that_cannot_be_regressed_are_refused() -> None:
    X, Y = view(60, 5, 0)
    Y[:, 1] = 3.0
    found = regression_table(X, Y, NAMES, n_splits=2)
    assert found.names == ("age",) and found.refused == {"gaze": "all 60 rows are 3"}
    Y[4, 0] = np.nan
    with pytest.raises(ValueError, match="Y holds 1 NaN or infinite values, the first at row 4, column 0"):
        regression_table(X, Y, NAMES)
    with pytest.raises(ValueError, match="must hold 0 and 1 only"):
        probe_table(X, view(60, 5, 0)[1], NAMES)


def test_labels_that_are_numbers_are_those_that_name_nobody() -> None:
    rows = {"image_id": ["a", "b"], "kind": [0, 1], "Even": [True, False], "age": [41, None], "pose": [0.1, 0.2],
            "celeb_id": [7, 9]}  # fmt: skip
    kinds = {"image_id": Value("string"), "kind": ClassLabel(names=["p", "q"]), "Even": Value("bool")}
    features = Features({**kinds, "age": Value("int64"), "pose": Value("float32"), "celeb_id": Value("int64")})
    names, values = numbers(Dataset.from_dict(rows, features), but="celeb_id")
    assert names == ["age", "pose"]
    np.testing.assert_allclose(values, [[41, 0.1], [np.nan, 0.2]])


def test_the_study_reads_the_factors_of_drawn_faces_and_holds_noise_against_its_controls(tmp_path: Path) -> None:
    views = ("digits-ddpm", "digits-ddpm-untrained", "pixels-8", "random-64")
    recipe = recipe_of("faces", views, None, options={"count": 120}, slice_rows=64, settings={"batch_size": 64})
    assert run(recipe, tmp_path / "faces")
    made = analyze(tmp_path / "faces", options=Options(effort=QUICK), studies=["regression"])
    found = made.results["regression"]
    rows = {(row["view"], row["attribute"]): row for row in found["rows"]}
    assert {label for _, label in rows} == {"mean", *made.results["dataset"]["factors"]} and found["refused"] == {}
    tilt = rows["pixels-8", "factor_roll"]
    assert tilt["low"] > 0.3 and tilt["p_value"] < 1e-4 and abs(tilt["null"]) < 0.2
    assert abs(rows["random-64", "mean"]["estimate"]) < 0.02
    held = {(d["view"], d["control"]): d for d in found["differences"]}
    assert [control for _, control in held] == ["digits-ddpm-untrained", "pixels-8", "random-64"]
    assert held["digits-ddpm", "random-64"]["low"] > 0
    page = Page(write_report({"faces": made}, tmp_path / "page", title="Faces").read_text()).root
    (table,) = [each for each in page.all("table") if "R² out of fold" in each.text]
    assert len(table.all("tr")) == 2 + len({label for _, label in rows})
    assert (tmp_path / "page/tables/regression.csv").is_file()
