"""What several trainings of one model tell: of other images, and of other trainings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from noisezoo.analysis import Draws, ProbeTable, over_trainings, probe_table
from noisezoo.analysis.core.halves import Estimate, Resampling
from noisezoo.analysis.probes.trainings import _over_both, between_trainings
from noisezoo.analysis.report import report
from noisezoo.analysis.studies.run import analyze
from noisezoo.builder.__main__ import run
from noisezoo.errors import UsageError
from noisezoo.zoo import TESTBED
from tests.analysis.planted_report import Page
from tests.builder.building import digits_recipe

Floats = NDArray[np.float64]
TRUTH = 0.1


def measured(scores: Floats, seed: int) -> Estimate:
    """Means of scores (n, trainings) as an estimate: on all rows and on the halves of 16 splits."""
    n = len(scores)
    plan = Resampling(np.arange(n) % 5, np.arange(n), Draws(n_splits=16, seed=seed))
    scored = []
    for rows in plan.parts:
        mean = scores[rows].mean(axis=0)
        scored.append((mean, (scores[rows] - mean) / len(rows)))
    return Estimate.of(scored, plan.parts, plan.units)


def scores_of(rng: np.random.Generator, trainings: int, spread: float, shared: float, own: float) -> Floats:
    """Rows of a paired difference: a truth, what each training adds, what each image adds to all and to each."""
    n = 60
    of_training = spread * rng.standard_normal(trainings)
    of_image = shared * rng.standard_normal((n, 1)) * np.sqrt(n)
    return TRUTH + of_training + of_image + own * np.sqrt(n) * rng.standard_normal((n, trainings))


@pytest.mark.parametrize(("trainings", "spread", "shared", "own", "most"), [
    (3, 0.1, 0.02, 0.02, 0.7), (5, 0.06, 0.02, 0.0, 0.85), (5, 0.03, 0.03, 0.03, 0.93), (5, 0.0, 0.03, 0.03, 0.99),
    (8, 0.03, 0.0, 0.02, 0.8),
])  # fmt: skip
def test_the_interval_over_both_holds_the_truth_at_its_rate_whatever_varies(
    trainings: int, spread: float, shared: float, own: float, most: float
) -> None:
    rng, draws = np.random.default_rng(trainings), 500
    held = np.zeros((draws, 2))
    for k in range(draws):
        found = _over_both(measured(scores_of(rng, trainings, spread, shared, own), k), 0.95)
        held[k] = [i.low <= TRUTH <= i.high for i in (found.over_images, found.over_both)]
    over_images, over_both = held.mean(axis=0)
    assert 0.92 <= over_both <= 0.99
    assert over_images <= most, "taking the trainings as given, it holds the truth less often, the more they differ"


def test_the_spread_between_trainings_is_found_without_what_images_add_to_it() -> None:
    rng = np.random.default_rng(0)
    found = [_over_both(measured(scores_of(rng, 6, 0.1, 0.02, 0.03), k), 0.95).spread ** 2 for k in range(300)]
    assert np.mean(found) == pytest.approx(0.1**2, rel=0.1)
    assert between_trainings(np.full(4, 0.3), np.full(4, 0.01), 0.01) == 0.0


def tables(seeds: int, gain: float) -> tuple[list[ProbeTable], list[ProbeTable], Floats]:
    """Trained views that read a latent better than untrained ones by more or less, one size a training."""
    rng = np.random.default_rng(1)
    latent = rng.standard_normal((300, 6))
    Y = (latent[:, :2] + 0.3 * rng.standard_normal((300, 2)) > 0).astype(float)
    trained = [latent + gain * (s + 1) * rng.standard_normal(latent.shape) for s in range(seeds)]
    untrained = [latent + 3.0 * rng.standard_normal(latent.shape) for _ in range(seeds)]
    return *([probe_table(X, Y, ["a", "b"]) for X in side] for side in (trained, untrained)), Y  # type: ignore[return-value]


def test_trainings_that_differ_give_a_wider_interval_and_the_mean_of_their_differences() -> None:
    trained, untrained, _ = tables(4, 0.5)
    found = over_trainings(trained, untrained)
    means = [a.mean["balanced_accuracy"].estimate - b.mean["balanced_accuracy"].estimate
             for a, b in zip(trained, untrained, strict=True)]  # fmt: skip
    mean = found.by_attribute["mean"]
    both, images = mean.over_both, mean.over_images
    assert both.estimate == pytest.approx(np.mean(means)) and [i.estimate for i in mean.each] == pytest.approx(means)
    assert both.low < images.low and images.high < both.high and mean.spread > 0
    assert [row["attribute"] for row in found.records()] == ["a", "b", "mean"]


def test_too_few_trainings_and_other_rows_are_refused() -> None:
    trained, untrained, _ = tables(3, 0.5)
    with pytest.raises(ValueError, match="2 trained and 2 untrained tables: give 3 or more of each"):
        over_trainings(trained[:2], untrained[:2])
    with pytest.raises(ValueError, match="3 trained and 2 untrained"):
        over_trainings(trained, untrained[:2])
    with pytest.raises(ValueError, match="metric must be one of"):
        over_trainings(trained, untrained, metric="f1")
    rng = np.random.default_rng(2)
    other = probe_table(rng.standard_normal((300, 6)), rng.integers(0, 2, (300, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="differ in labels"):
        over_trainings([*trained[:2], other], untrained)


VIEWS = tuple(f"digits-ddpm-seed{seed}{twin}" for seed in (7, 8, 9) for twin in ("", "-untrained"))
FOLDERS = {view: str(TESTBED / "digits-ddpm") for view in VIEWS if "untrained" not in view}


def test_a_report_of_several_trainings_says_what_each_interval_covers(tmp_path: Path) -> None:
    assert run(digits_recipe(VIEWS, limit=60, folders=FOLDERS, slice_rows=60), tmp_path / "digits")
    made = analyze(tmp_path / "digits", studies=["trainings"])
    (row,) = made.results["trainings"]["rows"]
    of_training = [d["estimate"] for d in made.results["differences"] if d["role"] == "untrained"]
    assert (row["view"], row["n_trainings"]) == ("digits-ddpm", 3) and len(of_training) == 3
    assert row["estimate"] == pytest.approx(np.mean(of_training))
    assert row["low"] <= row["low_over_images"] < row["high_over_images"] <= row["high"]
    covers = {row["claim"]: row["covers"] for row in made.rows["scorecard"] if row["view"]}
    assert (
        covers["Other trainings learn it"] == "images and trainings" and covers["What is read was learnt"] == "images"
    )
    report.write_report({"digits": made}, tmp_path / "report", title="Three trainings")
    page = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert "Other trainings" in {head.text for head in page.root.all("h3")}
    assert "the section Other trainings does, for digits-ddpm" in " ".join(page.root.text.split())


def test_another_training_starts_from_its_own_seed_and_needs_its_folder() -> None:
    rows = {row.name: row for row in digits_recipe(VIEWS, folders=FOLDERS).zoo_rows()}
    assert {row.folder for row in rows.values()} == {TESTBED / "digits-ddpm"}
    assert rows["digits-ddpm-seed7-untrained"].start_seed == 7 and rows["digits-ddpm-seed7"].start_seed is None
    assert rows["digits-ddpm-seed8"].baseline == "digits-ddpm-seed8-untrained"
    with pytest.raises(
        UsageError, match="view digits-ddpm-seed7 is of another training: give the folder of its weights"
    ):
        digits_recipe(VIEWS[:2])
    for name in ("digits-dppm-seed7", "pixels-8-seed7", "digits-ddpm-untrained-seed7"):
        with pytest.raises(UsageError, match="has no view"):
            digits_recipe((name,))


def test_the_docs_tell_what_was_measured_over_trainings() -> None:
    root = Path(__file__).parents[2]
    said = (root / "docs" / "model.md").read_text(encoding="utf-8").replace("+", "")
    table = pd.read_csv(root / "benchmarks" / "trainings.csv").set_index("model")
    for model, rows in table.groupby("model"):
        single, (mean,) = rows[rows["training"] != "all"], rows[rows["training"] == "all"].to_dict("records")
        measured = [mean[f"{end}_over_{what}"] for what in ("images", "both") for end in ("low", "high")]
        low, high, low_over_both, high_over_both = (f"{100 * value:.1f}" for value in measured)
        assert len(single) >= 5 and np.mean(single["trained_minus_untrained"]) == pytest.approx(
            mean["trained_minus_untrained"], abs=1e-4
        )
        estimate = f"{100 * mean['trained_minus_untrained']:.1f}"
        assert (
            f"| `{model}` | {len(single)} | {mean['steps']} | {mean['images']} | {estimate} "
            f"| {low} to {high} | {low_over_both} to {high_over_both} | {100 * mean['spread']:.1f} |"
        ) in said
