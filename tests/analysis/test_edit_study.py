"""Edits through a world whose pictures are its noise: every change has a closed form."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from noisezoo.analysis.core.intervals import mean_intervals
from noisezoo.analysis.edits.directions import MAKERS
from noisezoo.analysis.edits.entanglement import entanglement_matrix, few_rows_confidence, leak_differences
from noisezoo.analysis.edits.experiment import (
    ALL_OTHERS,
    NOISE,
    ON_SHELL,
    ORTHOGONAL,
    OVERLAY,
    SHUFFLED,
    Study,
    fit_space,
)
from noisezoo.analysis.edits.measures import MEASURES
from noisezoo.analysis.edits.result import EditStudy, study_edits
from noisezoo.analysis.edits.shell import fit_shell, to_shell
from noisezoo.pca import fit_pca

Floats = NDArray[np.float64]
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def study() -> Study:
    """Rows of 48 dimensions; b leans on a; the judge reads the noise itself."""
    rng = np.random.default_rng(0)
    W = np.eye(3, 48)
    W[1, 0] = 0.8
    X = rng.standard_normal((900, 48))
    Y = (X @ W.T + 0.3 * rng.standard_normal((900, 3)) > 0).astype(int)
    space = fit_space(X, Y, np.arange(900) < 800)
    flat = lambda images: images.reshape(len(images), -1)  # noqa: E731
    return Study(NAMES, space, space, space.probes, (3, 4, 4), lambda Z: Z.reshape(-1, 3, 4, 4), flat, (0.0, 2.0, 4.0))


@pytest.fixture(scope="module")
def edits(study: Study) -> EditStudy:
    faces = {name: 800 + np.arange(20 * i, 20 * i + 30) for i, name in enumerate(NAMES)}
    return study_edits(study, faces)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_matrix_is_the_step_times_the_judges_normals(kind: str, study: Study, edits: EditStudy) -> None:
    found = edits.entanglement(kind, NOISE, 4.0)
    for i, name in enumerate(NAMES):
        v = study.noise.directions(kind)[:, i]
        v = v / np.linalg.norm(v)
        step = 4 * np.std(study.noise.train @ v) * v
        np.testing.assert_allclose(found.matrix[i], step @ study.judge.coef, rtol=1e-6, atol=1e-9)
        wanted = np.abs(np.delete(found.matrix[i], i)).mean() / found.matrix[i, i]
        assert found.leak[NAMES.index(name)].estimate == pytest.approx(wanted)


def test_changes_can_be_had_in_standard_deviations_of_the_judges_logits(study: Study, edits: EditStudy) -> None:
    scaled = study_edits(replace(study, judge_scale=study.noise.logit_scale), {"a": np.arange(800, 830)},
                         kinds=["probe"], variants=[NOISE])  # fmt: skip
    scale = np.std(study.judge.decision_function(study.noise.train), axis=0)
    found = scaled.entanglement("probe", NOISE, 4.0)
    assert found.matrix[0] == pytest.approx(edits.entanglement("probe", NOISE, 4.0).matrix[0] / scale)
    assert found.matrix[0, 0] == pytest.approx(4)  # an edit of 4 standard deviations along the judge's own probe
    assert (edits.unit, scaled.unit) == ("log-odds", "standard deviations of the judge's logit")


@pytest.mark.parametrize("kind", MAKERS)
def test_taking_out_all_other_probes_leaves_their_reading_where_it_was(kind: str, edits: EditStudy) -> None:
    plain, after = (edits.entanglement(kind, variant, 4.0) for variant in (NOISE, ALL_OTHERS))
    off = ~np.eye(3, dtype=bool)
    assert np.abs(after.matrix[off]).max() < 1e-6 < np.abs(plain.matrix[off]).max()
    assert (np.diag(after.matrix) > 1).all()
    removed = edits.removed(kind, ALL_OTHERS, 4.0)
    assert removed["a"].high < -0.1
    assert removed["a"].estimate == pytest.approx(-plain.leak[0].estimate)


def test_directions_of_shuffled_labels_are_a_null_that_the_edits_stand_out_of(edits: EditStudy) -> None:
    found = edits.entanglement("probe", NOISE, 4.0)
    rows = {(row["edited"], row["measured"]): row for row in found.records() if row["measure"] != "leak"}
    for name in NAMES:
        row = rows[name, name]
        assert row["p_value"] == pytest.approx(1 / 4)  # the least that three nulls allow
        assert row["low"] > row["null_high"]
    assert not found.to_dict()["caveats"]


def test_every_measure_of_every_strip_has_its_interval_and_its_null(edits: EditStudy) -> None:
    frame = edits.to_frame()
    assert set(frame["measure"]) == set(MEASURES)
    assert set(frame["variant"]) == {NOISE, ORTHOGONAL, ALL_OTHERS, ON_SHELL, OVERLAY, SHUFFLED}
    assert len(frame) == 3 * len(MAKERS) * 6 * 3 * len(MEASURES)
    assert frame[["estimate", "low", "high", "null", "null_low", "null_high"]].notna().all().all()
    assert (frame["low"] <= frame["estimate"] + 1e-12).all() and (frame["estimate"] <= frame["high"] + 1e-12).all()
    unedited = frame[(frame["strength"] == 0) & (frame["measure"] == "identity")]
    np.testing.assert_allclose(unedited["estimate"], 1)


def test_the_distance_from_the_shell_is_the_closed_form_and_bringing_back_undoes_it(edits: EditStudy) -> None:
    frame = edits.to_frame().set_index(["attribute", "kind", "variant", "strength", "measure"])["estimate"]
    # Norms are about sqrt(48) with standard deviation 1/sqrt(2); a face that moves by 4 in one direction gains 16.
    gained = (np.sqrt(48 + 16) - np.sqrt(48)) / np.sqrt(0.5)
    before, after = (frame["c", "probe", NOISE, strength, "shell"] for strength in (0.0, 4.0))
    assert after - before == pytest.approx(gained, abs=0.6)
    kept = [frame["c", "probe", ON_SHELL, strength, "shell"] for strength in (0.0, 4.0)]
    assert kept[1] == pytest.approx(kept[0], abs=1e-9)
    assert frame["c", "probe", NOISE, 0.0, "radius"] == pytest.approx(1, abs=0.05)


def test_identity_fades_with_strength_and_its_chance_is_that_of_two_faces(study: Study) -> None:
    strip = study.strips("c", np.arange(800, 830))[0]
    cosines = [row["identity"]["estimate"] for row in strip.records]
    assert cosines == sorted(cosines, reverse=True) and cosines[0] == pytest.approx(1)
    assert abs(strip.records[0]["identity_chance"]) < 0.05
    assert strip.records[0]["retrieved"]["estimate"] == 1 and strip.records[0]["retrieved"]["low"] < 1


def test_a_space_on_a_basis_edits_within_its_span_and_reads_as_its_scores_do(study: Study) -> None:
    X, train = study.noise.X, np.arange(900) < 800
    assert study.noise.labels is not None
    Y = np.concatenate([study.noise.labels, study.noise.labels[:100]])
    basis = fit_pca(X[train], 10)
    space = fit_space(X, Y, train, basis=basis)
    for kind in MAKERS:
        W = space.directions(kind)
        np.testing.assert_allclose(basis.components.T @ (basis.components @ W), W, atol=1e-5 * np.abs(W).max())


def test_what_cannot_be_studied_is_refused(study: Study, edits: EditStudy) -> None:
    with pytest.raises(ValueError, match="no variant sideways"):
        study.strips("a", np.arange(5), variants=["sideways"])
    with pytest.raises(ValueError, match="at least 2 faces"):
        study.strips("a", np.arange(1))
    with pytest.raises(ValueError, match="kind must be one of"):
        study.strips("a", np.arange(5), kinds=["svm"])
    with pytest.raises(ValueError, match="holds no edit of kind 'probe', variant 'noise' at strength 3"):
        edits.entanglement("probe", NOISE, 3.0)
    with pytest.raises(ValueError, match="strengths must begin with 0"):
        replace(study, strengths=(1.0, 2.0)).strips("a", np.arange(5))


def test_an_edit_that_the_judge_does_not_see_has_no_leak() -> None:
    changes = {"a": np.random.default_rng(0).standard_normal((20, 3)) * [0.1, 1, 1]}
    found = entanglement_matrix(changes, NAMES)
    assert np.isnan(found.leak[0].estimate) and np.isnan(found.mean_leak.estimate)
    assert found.settings()["caveats"] == [
        "The judge does not see the edit of a at this strength: its leak is not known."
    ]
    assert found.to_dict()["rows"][-1]["estimate"] is None


def test_intervals_of_few_faces_hold_the_mean_at_their_nominal_rate_where_plain_percentiles_do_not() -> None:
    X = np.random.default_rng(1).standard_normal((12, 4000))
    plain, allowed = (mean_intervals(X, confidence=level) for level in (0.95, few_rows_confidence(12)))
    held = [np.mean([i.low <= 0 <= i.high for i in intervals]) for intervals in (plain, allowed)]
    assert held[0] < 0.925
    assert 0.935 < held[1] < 0.965


def moved(stray: float, own: Floats, target: int, rng: np.random.Generator) -> Floats:
    """Changes (m, 3): 2 of the target on average, and of the others more in faces `own` (m, 1) that move easily."""
    table = stray * np.exp(0.5 * own) * np.ones(3)
    table[:, target] = 2 + 0.5 * rng.standard_normal(len(own))
    return table


def test_the_intervals_of_leaks_and_of_their_paired_differences_hold_the_truth() -> None:
    held = {"leak": 0, "mean": 0, "difference": 0}
    truth = np.exp(0.125) / 2  # of a stray change of 1
    faces = {"a": np.arange(25), "b": np.arange(10, 35)}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        own = rng.standard_normal((35, 1))
        before, after = ({n: moved(stray, own[rows], j, rng) for j, (n, rows) in enumerate(faces.items())}
                         for stray in (0.6, 0.2))  # fmt: skip
        found = entanglement_matrix(before, NAMES, faces=faces, n_boot=300)
        held["leak"] += found.leak[0].low <= 0.6 * truth <= found.leak[0].high
        held["mean"] += found.mean_leak.low <= 0.6 * truth <= found.mean_leak.high
        difference = leak_differences(after, before, NAMES, n_boot=300)["a"]
        held["difference"] += difference.low <= -0.4 * truth <= difference.high
    for name, count in held.items():
        assert 0.90 <= count / 300 <= 0.99, (name, count / 300)


def test_rows_brought_to_a_shell_keep_their_direction_and_a_shell_without_width_is_refused() -> None:
    rng = np.random.default_rng(2)
    Z, edited = rng.standard_normal((2, 5, 7))
    back = to_shell(edited, Z)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), np.linalg.norm(Z, axis=1))
    np.testing.assert_allclose(np.linalg.norm(edited, axis=1)[:, None] * back,
                               np.linalg.norm(Z, axis=1)[:, None] * edited)  # fmt: skip
    with pytest.raises(ValueError, match="have one norm"):
        fit_shell(Z / np.linalg.norm(Z, axis=1, keepdims=True))
    with pytest.raises(ValueError, match="row 0 is zero after the edit"):
        to_shell(np.zeros((1, 7)), Z[:1])


def test_the_shell_of_gaussian_rows_is_where_theory_has_it() -> None:
    shell = fit_shell(np.random.default_rng(3).standard_normal((4000, 400)).astype(np.float32))
    assert shell.radius == pytest.approx(np.sqrt(400), rel=0.002)
    assert shell.spread == pytest.approx(np.sqrt(0.5), rel=0.05)
    assert shell.distance(np.full((1, 400), 1.1))[0] == pytest.approx(2 / np.sqrt(0.5), rel=0.1)
