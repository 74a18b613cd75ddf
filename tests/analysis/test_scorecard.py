"""What the scorecard says of planted results: the verdict follows the interval, and no evidence decides nothing."""

from typing import Any

import pytest
from rich.console import Console

from noisezoo.analysis.controls.spurious import REDUCED
from noisezoo.analysis.studies import claims
from noisezoo.analysis.studies.study import Analysis, all_studies
from noisezoo.commands.analyze import show_scorecard

CLAIMS = [claim for study in all_studies().values() for claim in study.claims]

VIEWS = [
    {"name": "ldm", "kind": "noise", "untrained": False, "baseline": "ldm-untrained", "clip_conditioned": False},
    {"name": "clip", "kind": "embedding", "untrained": False, "baseline": None, "clip_conditioned": None},
    {"name": "ldm-untrained", "kind": "control", "untrained": True, "baseline": None, "clip_conditioned": None},
]


def scorecard(results: dict[str, Any]) -> list[dict[str, Any]]:
    return claims.scorecard(CLAIMS, results)


def interval(estimate: float, low: float, high: float, **others: Any) -> dict[str, Any]:
    return {"estimate": estimate, "low": low, "high": high, **others}


def verdicts(claim: str, **results: Any) -> list[str]:
    return [row["verdict"] for row in scorecard({"views": VIEWS, **results}) if row["claim"] == claim]


def test_without_any_study_every_claim_has_one_row_that_decides_nothing() -> None:
    rows = scorecard({"views": VIEWS})
    assert [row["claim"] for row in rows] == [claim.name for claim in CLAIMS]
    assert {row["verdict"] for row in rows} == {"not decidable"}
    assert {row["shown"] for row in rows} == {"no evidence"}


def test_the_terminal_says_what_an_interval_covers_beside_images_in_eighty_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {**interval(0.02, 0.01, 0.03), "view": "ldm-celebahq-256", "n_trainings": 3}
    views = [{**VIEWS[0], "name": "ldm-celebahq-256"}]
    difference = {**row, "control": "ldm-untrained", "role": "untrained"}
    found = scorecard({"views": views, "trainings": {"rows": [row]}, "differences": [difference]})
    show_scorecard(Analysis({"scorecard": found}), Console(width=80))
    said = " ".join(line for line in capsys.readouterr().out.splitlines() if len(line) <= 80)
    assert "Other trainings learn it" in said and "(over images and" in said and "trainings)" in said
    assert said.count("(over ") == 1 and "an interval over images, unless its claim says" in said
    assert "ldm-celebahq-256" in said


def test_claims_have_names_of_their_own() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.05, "supported"), (-0.01, 0.05, "not decidable"), (-0.05, -0.01, "not supported"),
     (None, None, "not decidable")],
)  # fmt: skip
def test_trained_minus_untrained_decides_whether_it_was_learnt(
    low: float | None, high: float | None, verdict: str
) -> None:
    found = {"view": "ldm", "control": "ldm-untrained", "role": "untrained", "estimate": 0.02, "low": low, "high": high}
    assert verdicts("What is read was learnt", differences=[found]) == [verdict]
    assert verdicts("It needs no CLIP", differences=[found]) == [verdict]


def test_readability_is_held_against_chance_and_not_against_zero() -> None:
    def probes(low: float) -> dict[str, Any]:
        row = {"attribute": "mean", "metric": "balanced_accuracy", **interval(0.52, low, 0.6)}
        return {"ldm": {"rows": [row]}}

    assert verdicts("Attributes are linear in noise", probes=probes(0.45)) == ["not decidable"]
    assert verdicts("Attributes are linear in noise", probes=probes(0.51)) == ["supported"]


def gaussian_tests(p: float, power: float) -> dict[str, Any]:
    row = {"family": "norm", "test": "variance ratio", "p_value": p, "p_corrected": p, "departs": p < 0.05}
    found = [{"alternative": a, "low": power} for a in ("laplace", "shell")]
    return {"ldm": {"rows": [row] * 4, "power": {"rows": found}}}


def test_a_departure_after_correction_speaks_against_gaussian_noise() -> None:
    assert verdicts("Noise is Gaussian", gaussianity=gaussian_tests(0.001, 0.9)) == ["not supported"]
    assert verdicts("Noise is Gaussian", gaussianity=gaussian_tests(0.06, 0.9)) == ["not decidable"]


def test_no_departure_says_no_more_than_that_none_of_the_kinds_tried_was_seen() -> None:
    without = {"ldm": {"rows": gaussian_tests(0.5, 0.9)["ldm"]["rows"]}}
    would, might = "each planted one would have been found", "planted ones may be missed"
    for tests, power in ((gaussian_tests(0.5, 0.9), would), (gaussian_tests(0.5, 0.3), might), (without, might)):
        (row,) = [
            row for row in scorecard({"views": VIEWS, "gaussianity": tests}) if row["claim"] == "Noise is Gaussian"
        ]
        assert row["verdict"] == "not decidable"
        assert row["shown"] == f"no departure of the kinds tried (corrected p = 0.500); {power}"


@pytest.mark.parametrize(
    ("acceptance", "null_low", "verdict"),
    [(0.93, 0.935, "supported"), (0.93, 0.85, "not decidable"), (0.86, 0.935, "not supported")],
)
def test_near_gaussian_is_within_five_points_of_a_gaussian_s_acceptance(
    acceptance: float, null_low: float, verdict: str
) -> None:
    row = {"test": "anderson-darling", "acceptance": acceptance, "null": 0.95, "null_low": null_low, "null_high": 0.96}
    found = {"ldm": {"rows": gaussian_tests(0.5, 0.9)["ldm"]["rows"], "paper": {"rows": [row]}}}
    assert verdicts("Noise is near-Gaussian", gaussianity=found) == [verdict]


def test_identical_rows_are_called_identical() -> None:
    views = [{**view, "digest": "same" if str(view["name"]).startswith("ldm") else "other"} for view in VIEWS]
    found = {"view": "ldm", "control": "ldm-untrained", "role": "untrained", **interval(0.0, 0.0, 0.0)}
    (row,) = [r for r in scorecard({"views": views, "differences": [found]}) if r["claim"] == "What is read was learnt"]
    assert (row["verdict"], row["shown"]) == ("not decidable", "identical rows")


def test_stitching_is_held_against_the_untrained_network_with_both_intervals() -> None:
    def stitched(source: str, low: float, high: float) -> dict[str, Any]:
        return {"source": source, "target": "clip", "alpha": "validated", "measure": "r2",
                **interval((low + high) / 2, low, high)}  # fmt: skip

    apart = {"rows": [stitched("ldm", 0.5, 0.6), stitched("ldm-untrained", 0.2, 0.3)]}
    near = {"rows": [stitched("ldm", 0.5, 0.6), stitched("ldm-untrained", 0.45, 0.55)]}
    assert verdicts("Noise maps to embeddings", stitching=apart) == ["supported"]
    assert verdicts("Noise maps to embeddings", stitching=near) == ["not decidable"]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.4, "supported"), (-0.1, 0.2, "not decidable"), (-0.4, -0.1, "not supported")],
)
def test_orthogonalising_is_judged_by_the_fall_of_the_absolute_shift(low: float, high: float, verdict: str) -> None:
    row = {"view": "ldm", "kind": "probe", "asked": "edit", "treatment": REDUCED, **interval(low, low, high)}
    found = {"attribute": "A", "planted": "B", "rows": [row, {**row, "asked": "reading"}]}
    assert verdicts("Orthogonalising disentangles", spurious=found) == [verdict]
