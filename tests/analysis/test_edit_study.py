"""Edits through a world whose pictures are its noise: every change has a closed form."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from noisezoo.analysis.core.intervals import Interval
from noisezoo.analysis.edits.directions import MAKERS
from noisezoo.analysis.edits.edit import fit_norm, keep_norm
from noisezoo.analysis.edits.effect import Effect
from noisezoo.analysis.edits.experiment import (
    ALL_OTHERS,
    AT_NORM,
    NOISE,
    ORTHOGONAL,
    OVERLAY,
    Experiment,
    fit_space,
)
from noisezoo.analysis.edits.measures import MEASURES
from noisezoo.analysis.edits.result import (
    MEAN,
    EditStudy,
    entanglement_differences,
    entanglement_matrix,
    study_edits,
)
from noisezoo.analysis.studies.edit import edits_work
from noisezoo.pca import fit_pca

Floats = NDArray[np.float64]
NAMES = ("a", "b", "c")


def flat(images: Floats) -> Floats:
    return images.reshape(len(images), -1)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """Rows of 48 dimensions; b leans on a; the judge encoder embeds the noise itself."""
    rng = np.random.default_rng(0)
    W = np.eye(3, 48)
    W[1, 0] = 0.8
    X = rng.standard_normal((900, 48))
    Y = (X @ W.T + 0.3 * rng.standard_normal((900, 3)) > 0).astype(int)
    space = fit_space(X, Y, np.arange(900) < 800)
    return Experiment(
        NAMES, space, space, space, (3, 4, 4), lambda Z: Z.reshape(-1, 3, 4, 4), flat, (0.0, 2.0, 4.0), n_permutations=4
    )


@pytest.fixture(scope="module")
def edits(experiment: Experiment) -> EditStudy:
    faces = {name: 800 + np.arange(20 * i, 20 * i + 30) for i, name in enumerate(NAMES)}
    return study_edits(experiment, faces)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_matrix_is_the_step_times_the_readers_normals(kind: str, experiment: Experiment, edits: EditStudy) -> None:
    found, space, reader = edits.entanglement(kind, NOISE, 4.0), experiment.made["noise"], experiment.readers[0]
    scale = np.std(reader.probes.decision_function(experiment.noise.X[experiment.parts[1]]), axis=0)
    for i, name in enumerate(NAMES):
        v = space.directions(kind)[:, i]
        v = v / np.linalg.norm(v)
        step = 4 * np.std(space.train @ v) * v
        np.testing.assert_allclose(found.matrix[i], step @ reader.probes.coef / scale, rtol=1e-6, atol=1e-9)
        wanted = np.abs(np.delete(found.matrix[i], i)).mean() / found.matrix[i, i]
        assert found.entanglement[NAMES.index(name)].estimate == pytest.approx(wanted)


def test_directions_and_readers_are_fitted_on_disjoint_rows_and_identities_are_never_cut(
    experiment: Experiment,
) -> None:
    groups = np.arange(900) // 3 * 7
    grouped = replace(experiment, groups=groups, n_splits=3)
    made, read, halves = grouped.parts
    assert sorted([*made, *read]) == list(range(800))
    for rows, others in ((made, read), *halves):
        assert not set(groups[rows]) & set(groups[others])
    for a, b in halves:
        assert sorted([*a, *b]) == sorted(read)
        assert abs(len(a) - len(b)) <= 6


@pytest.mark.parametrize("kind", MAKERS)
def test_taking_out_all_other_probes_leaves_their_reading_where_it_was(
    kind: str, experiment: Experiment, edits: EditStudy
) -> None:
    plain, after = (edits.entanglement(kind, variant, 4.0) for variant in (NOISE, ALL_OTHERS))
    off = ~np.eye(3, dtype=bool)
    # Readers are fitted on other rows than the probes that were taken out: they agree up to sampling.
    assert np.abs(after.matrix[off]).max() < 0.5 < 1.5 < np.abs(plain.matrix[off]).max()
    made = next(s for s in edits.strips if (s.attribute, s.kind, s.variant) == ("a", kind, ALL_OTHERS))
    steps = made.images[2].reshape(30, -1) - made.images[0].reshape(30, -1)
    moved = steps @ experiment.made["noise"].probes.coef
    assert np.abs(moved[:, 1:]).max() < 1e-6 < moved[:, 0].min()
    assert (np.diag(after.matrix) > 1).all()
    removed = edits.removed(kind, ALL_OTHERS, 4.0)
    assert removed["a"].high < -0.1
    assert removed["a"].estimate == pytest.approx(after.entanglement[0].estimate - plain.entanglement[0].estimate)
    assert removed[MEAN].estimate == pytest.approx(np.mean([removed[name].estimate for name in NAMES]))


def test_directions_of_shuffled_labels_are_a_null_that_the_edits_stand_out_of(edits: EditStudy) -> None:
    found = edits.entanglement("probe", NOISE, 4.0)
    rows = {(row["edited"], row["measured"]): row for row in found.records() if row["measure"] == "change"}
    for name in NAMES:
        row = rows[name, name]
        assert row["p_value"] < 0.05
        assert row["estimate"] > row["null_high"] and row["low"] > row["null"]
    assert not found.to_dict()["caveats"]


def test_every_measure_of_every_strip_has_its_interval_and_its_null(edits: EditStudy) -> None:
    frame = edits.to_frame()
    assert set(frame["measure"]) == set(MEASURES)
    assert set(frame["variant"]) == {NOISE, ORTHOGONAL, ALL_OTHERS, AT_NORM, OVERLAY}
    assert len(frame) == 3 * len(MAKERS) * 5 * 3 * len(MEASURES)
    assert frame[["estimate", "low", "high", "null", "null_low", "null_high"]].notna().all().all()
    assert (frame["low"] <= frame["estimate"] + 1e-12).all() and (frame["estimate"] <= frame["high"] + 1e-12).all()
    unedited = frame[(frame["strength"] == 0) & (frame["measure"] == "identity")]
    np.testing.assert_allclose(unedited["estimate"], 1)


def test_the_distance_from_the_norm_is_the_closed_form_and_bringing_back_undoes_it(edits: EditStudy) -> None:
    frame = edits.to_frame().set_index(["attribute", "kind", "variant", "strength", "measure"])["estimate"]
    # Norms are about sqrt(48) with standard deviation 1/sqrt(2); a face that moves by 4 in one direction gains 16.
    gained = (np.sqrt(48 + 16) - np.sqrt(48)) / np.sqrt(0.5)
    before, after = (frame["c", "probe", NOISE, strength, "norm"] for strength in (0.0, 4.0))
    assert after - before == pytest.approx(gained, abs=0.6)
    kept = [frame["c", "probe", AT_NORM, strength, "norm"] for strength in (0.0, 4.0)]
    assert kept[1] == pytest.approx(kept[0], abs=1e-9)
    assert frame["c", "probe", NOISE, 0.0, "radius"] == pytest.approx(1, abs=0.05)


def test_identity_fades_with_strength_and_its_chance_is_that_of_two_faces(experiment: Experiment) -> None:
    strip = experiment.strips("c", np.arange(800, 830))[0]
    cosines = [row["identity"]["estimate"] for row in strip.records]
    assert cosines == sorted(cosines, reverse=True) and cosines[0] == pytest.approx(1)
    assert abs(strip.records[0]["identity_chance"]) < 0.05
    assert strip.records[0]["retrieved"]["estimate"] == 1 and strip.records[0]["retrieved"]["low"] < 1


def test_a_space_on_a_basis_edits_within_its_span_and_reads_as_its_scores_do(experiment: Experiment) -> None:
    X, Y, train = experiment.noise.X, experiment.noise.Y, np.arange(900) < 800
    basis = fit_pca(X[train], 10)
    space = fit_space(X, Y, train, basis=basis)
    for kind in MAKERS:
        W = space.directions(kind)
        np.testing.assert_allclose(basis.components.T @ (basis.components @ W), W, atol=1e-5 * np.abs(W).max())


def test_what_cannot_be_studied_is_refused(experiment: Experiment, edits: EditStudy) -> None:
    held_out = np.arange(800, 805)
    with pytest.raises(ValueError, match="no variant sideways"):
        experiment.strips("a", held_out, variants=["sideways"])
    with pytest.raises(ValueError, match="faces of 2 identities"):
        experiment.strips("a", held_out[:1])
    with pytest.raises(ValueError, match="identities that are trained on"):
        experiment.strips("a", np.arange(5))
    with pytest.raises(ValueError, match="kind must be one of"):
        experiment.strips("a", held_out, kinds=["svm"])
    with pytest.raises(ValueError, match="holds no edit of kind 'probe', variant 'noise' at strength 3"):
        edits.entanglement("probe", NOISE, 3.0)
    with pytest.raises(ValueError, match="strengths must begin with 0"):
        replace(experiment, strengths=(1.0, 2.0)).strips("a", held_out)
    other = fit_space(experiment.noise.X, experiment.noise.Y, np.arange(900) < 700)
    with pytest.raises(ValueError, match="judge and noise have different labels or training rows"):
        replace(experiment, judge=other)
    with pytest.raises(ValueError, match="2 names were given for 3 attributes"):
        replace(experiment, names=("a", "b"))
    with pytest.raises(ValueError, match="mask of the 900 rows"):
        fit_space(experiment.noise.X, experiment.noise.Y, np.arange(5) < 3)


def test_an_attribute_that_hardly_anybody_has_is_left_out_with_its_reason(experiment: Experiment) -> None:
    Y = experiment.noise.Y.copy()
    Y[:, 1] = np.arange(900) == 3
    rare = replace(
        experiment, **{name: replace(getattr(experiment, name), Y=Y) for name in ("noise", "pixels", "judge")}
    )
    assert rare.measured == ("a", "c")
    assert "identities of a class" in rare.refused["b"]
    found = study_edits(rare, {"c": np.arange(800, 820)}, kinds=["probe"], variants=[NOISE])
    assert found.to_dict()["refused"].keys() == {"b"}
    assert found.entanglement("probe", NOISE, 4.0).matrix.shape == (1, 2)
    with pytest.raises(ValueError, match="cannot edit 'b': 0 identities of a class"):
        rare.strips("b", np.arange(800, 820))


def test_edits_that_mean_nothing_are_the_null_of_changes_however_many_there_are() -> None:
    rng = np.random.default_rng(0)
    changes = {name: rng.standard_normal((20, 3)) + 3 * np.eye(3)[i] for i, name in enumerate(NAMES)}
    null = {name: rng.standard_normal((20, 3)) for name in NAMES}
    found = entanglement_matrix(changes, NAMES, null=null)
    wanted = np.mean([table.mean(axis=0) for table in null.values()], axis=0)
    np.testing.assert_allclose([[cell.null.mean for cell in row] for row in found.changes], [wanted] * 3)
    assert found.mean == entanglement_matrix(changes, NAMES).mean, "directions are taken as given"
    assert found.changes[0][0].null.p_value < 0.05


def test_an_edit_that_the_judge_encoder_does_not_see_has_no_entanglement() -> None:
    changes = {"a": np.random.default_rng(0).standard_normal((20, 3)) * [0.1, 1, 1]}
    found = entanglement_matrix(changes, NAMES)
    assert np.isnan(found.entanglement[0].estimate) and np.isnan(found.mean.estimate)
    assert found.settings()["caveats"] == [
        "The judge encoder does not see the edit of a at this strength: its entanglement is not known."
    ]
    assert found.to_dict()["rows"][-1]["estimate"] is None


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("faces", [2, 3, 4, 12])
def test_intervals_of_few_faces_hold_the_mean_at_their_nominal_rate(faces: int) -> None:
    X = np.random.default_rng(1).standard_normal((faces, 2000))
    found = Effect.of(X, np.arange(faces), faces).intervals(0.95)
    assert 0.935 < np.mean([holds(interval, 0.0) for interval in found]) < 0.965


def test_intervals_of_rates_have_width_where_nothing_flips_and_hold_rare_flips() -> None:
    X = (np.random.default_rng(1).random((12, 2000)) < 0.05).astype(float)
    found = Effect.of(X, np.arange(12), 12).rate_intervals(0.95)
    assert min(interval.high - interval.low for interval in found) > 0.1
    assert np.mean([holds(interval, 0.05) for interval in found]) > 0.935


def test_faces_of_one_identity_count_as_one() -> None:
    rng = np.random.default_rng(2)
    units = np.repeat(np.arange(10), 4)
    held = [
        holds(
            Effect.of(rng.standard_normal((10, 1))[units] + 0.1 * rng.standard_normal((40, 1)), units, 10).intervals(
                0.95
            )[0],
            0,
        )
        for _ in range(1000)
    ]
    assert 0.93 < np.mean(held) < 0.97


def moved(stray: float, own: Floats, target: int, rng: np.random.Generator) -> Floats:
    """Changes (m, 3): 2 of the target on average, and of the others more in faces `own` (m, 1) that move easily."""
    table = stray * np.exp(0.5 * own) * np.ones(3)
    table[:, target] = 2 + 0.5 * rng.standard_normal(len(own))
    return table


def test_the_intervals_of_entanglement_and_of_its_paired_differences_hold_the_truth() -> None:
    held = {"one": 0, "mean": 0, "difference": 0}
    truth = np.exp(0.125) / 2  # of a stray change of 1
    faces = {"a": np.arange(25), "b": np.arange(10, 35)}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        own = rng.standard_normal((35, 1))
        before, after = ({n: moved(stray, own[rows], j, rng) for j, (n, rows) in enumerate(faces.items())}
                         for stray in (0.6, 0.2))  # fmt: skip
        found = entanglement_matrix(before, NAMES, faces=faces)
        held["one"] += holds(found.entanglement[0], 0.6 * truth)
        held["mean"] += holds(found.mean, 0.6 * truth)
        difference = entanglement_differences(after, before, NAMES)["a"]
        held["difference"] += holds(difference, -0.4 * truth)
    for name, count in held.items():
        assert 0.90 <= count / 300 <= 0.99, (name, count / 300)


def test_rows_at_their_norm_keep_their_direction_and_norms_without_spread_are_refused() -> None:
    rng = np.random.default_rng(2)
    Z, edited = rng.standard_normal((2, 5, 7))
    back = keep_norm(edited, Z)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), np.linalg.norm(Z, axis=1))
    np.testing.assert_allclose(np.linalg.norm(edited, axis=1)[:, None] * back,
                               np.linalg.norm(Z, axis=1)[:, None] * edited)  # fmt: skip
    with pytest.raises(ValueError, match="have one norm"):
        fit_norm(Z / np.linalg.norm(Z, axis=1, keepdims=True))
    with pytest.raises(ValueError, match="row 0 is zero after the edit"):
        keep_norm(np.zeros((1, 7)), Z[:1])


def test_the_norm_of_gaussian_rows_is_where_theory_has_it() -> None:
    norm = fit_norm(np.random.default_rng(3).standard_normal((4000, 400)).astype(np.float32))
    assert norm.mean == pytest.approx(np.sqrt(400), rel=0.002)
    assert norm.deviation == pytest.approx(np.sqrt(0.5), rel=0.05)
    assert norm.distance(np.full((1, 400), 1.1))[0] == pytest.approx(2 / np.sqrt(0.5), rel=0.1)


@cache
def tanh_world(seed: int, weight: float, *, n: int = 800, cluster: int = 1) -> EditStudy:
    """Pictures tanh(Z P) of noise Z, embedded as they are; labels follow one direction with a weight, or are coins."""
    rng = np.random.default_rng([seed, 77])
    Z, P = rng.standard_normal((n, 20)), rng.standard_normal((20, 48)) / np.sqrt(20)
    w = rng.standard_normal((20, 2)) / np.sqrt(20)
    Y = (weight * (Z @ w) + rng.logistic(size=(n, 2)) > 0).astype(int)
    groups = np.arange(n) // cluster
    Y = Y[groups * cluster]
    train = groups < groups.max() * 3 // 4
    pictures = np.tanh(Z @ P)
    spaces = [fit_space(V, Y, train) for V in (Z, pictures, pictures)]
    made = Experiment(("a", "b"), *spaces, (3, 4, 4), lambda z: np.tanh(z @ P).reshape(-1, 3, 4, 4), flat, (0.0, 2.0),
                      groups=groups, seed=seed)  # fmt: skip
    rows = rng.permutation(np.flatnonzero(~train & (Y[:, 0] == 0)))[:12]
    return study_edits(made, {"a": rows}, kinds=["probe"], variants=[NOISE, OVERLAY])


def targets(study: EditStudy) -> dict[str, dict[str, float]]:
    rows = (row for row in study.records() if row["strength"] == 2 and row["measure"] == "target")
    return {row["variant"]: row for row in rows}


@pytest.mark.parametrize("cluster", [1, 4])
def test_attributes_that_do_not_exist_are_not_edited(cluster: int) -> None:
    """Coin flips: 40 seeds here, 99.9 % of a binomial of 40 at 0.05; `slow` has 400."""
    missed = {NOISE: 0, OVERLAY: 0}
    for seed in range(40):
        rows = targets(tanh_world(seed, 0.0, cluster=cluster))
        for variant, row in rows.items():
            missed[variant] += not row["low"] <= 0 <= row["high"]
    assert max(missed.values()) <= 8, missed


def verdict(study: EditStudy) -> str:
    """What the scorecard says of "Edits work"."""
    strips = [{"variant": strip.variant, **row} for strip in study.strips for row in strip.records]
    (evidence,) = edits_work({"edits": {"noise": {"strips": strips, "unit": study.unit}}})
    return evidence.verdict


def test_the_scorecard_says_that_edits_work_where_they_do_and_next_to_never_where_there_is_nothing() -> None:
    """40 seeds of coin flips, 99.9 % of a binomial of 40 at 0.05 in each direction; and ten of an attribute."""
    said = [verdict(tanh_world(seed, 0.0)) for seed in range(40)]
    assert said.count("supported") <= 8 and said.count("not supported") <= 8
    assert [verdict(tanh_world(seed, 2.0)) for seed in range(10)].count("supported") >= 7


def test_an_attribute_that_is_there_is_edited_and_exceeds_directions_of_shuffled_labels() -> None:
    found = 0
    for seed in range(20):
        row = targets(tanh_world(seed, 2.0))[NOISE]
        found += row["low"] > row["null"] and row["p_value"] < 0.05
    assert found >= 16


def overlay_less_noise(seed: int) -> Interval:
    """Mean entanglement of a pixel overlay less that of edited noise, three attributes, a judge that sees the truth.

    Both views are the truth with noise of half its size, each with its own, so that edits of both go astray alike.
    """
    rng = np.random.default_rng([seed, 101])
    Z, astray, pixels_astray = rng.standard_normal((3, 640, 8)) * np.array([1, 0.5, 0.5])[:, None, None]
    Y = (Z[:, :3] + 0.3 * rng.standard_normal((640, 3)) > 0).astype(int)
    train = np.arange(640) % 4 > 0
    spaces = [fit_space(V, Y, train) for V in (Z + astray, (Z + pixels_astray) / 40, Z)]  # pictures end at -1 and 1
    made = Experiment(NAMES, *spaces, (1, 2, 4), lambda z: (z / 40).reshape(-1, 1, 2, 4), lambda x: 40 * flat(x),
                      (0.0, 2.0), n_permutations=20, seed=seed)  # fmt: skip
    faces = {name: np.flatnonzero(~train & (Y[:, j] == 0))[:40] for j, name in enumerate(NAMES)}
    study = study_edits(made, faces, kinds=["probe"], variants=[NOISE, OVERLAY])
    return study.removed("probe", OVERLAY, 2.0)[MEAN]


def test_neither_edits_nor_overlays_are_called_cleaner_where_they_go_astray_alike() -> None:
    """30 seeds, 99.9 % of a binomial at 0.025 in each direction. The power of the claim is in test_claims.py."""
    found = [overlay_less_noise(seed) for seed in range(30)]
    assert np.isfinite([(i.low, i.high) for i in found]).all()
    cleaner, less_clean = sum(i.low > 0 for i in found), sum(i.high < 0 for i in found)
    assert max(cleaner, less_clean) <= binom.ppf(0.999, 30, 0.025), (cleaner, less_clean)
