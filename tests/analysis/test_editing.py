import numpy as np
import pytest

from noisezoo.analysis.edits.edit import make_edit, most_entangled, orthogonal_edit
from noisezoo.analysis.edits.experiment import NOISE, ORTHOGONAL, OVERLAY, Experiment, fit_space
from noisezoo.analysis.probes.fit import Probes, fit_probes

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows X (600, 12), attributes Y (600, 3) that are signs of known directions W (3, 12); b leans on a."""
    rng = np.random.default_rng(0)
    W = np.eye(3, 12)
    W[1, 0] = 0.8
    X = rng.standard_normal((600, 12))
    return X, (X @ W.T > 0).astype(int), W


@pytest.fixture(scope="module")
def probes(planted: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Probes:
    return fit_probes(planted[0], planted[1])


def test_an_edit_points_along_the_planted_direction_and_moves_by_projected_standard_deviations(
    planted: tuple[np.ndarray, np.ndarray, np.ndarray], probes: Probes
) -> None:
    X, _, W = planted
    edit = make_edit("c", NAMES, probes, X)
    assert np.linalg.norm(edit.normal) == pytest.approx(1)
    assert edit.normal @ W[2] > 0.98
    moved = (edit.apply(X, 3.0) - X) @ edit.normal
    np.testing.assert_allclose(moved, 3 * np.std(X @ edit.normal), rtol=1e-6)
    np.testing.assert_array_equal(edit.apply(X, 0.0), X)


def test_the_most_entangled_attribute_is_the_one_planted_to_be(
    planted: tuple[np.ndarray, np.ndarray, np.ndarray], probes: Probes
) -> None:
    name, correlation = most_entangled("a", NAMES, probes, planted[0])
    assert name == "b"
    assert correlation == pytest.approx(0.8 / np.hypot(1, 0.8), abs=0.08)


def test_an_orthogonalised_edit_leaves_the_other_attributes_logit_where_it_was(
    planted: tuple[np.ndarray, np.ndarray, np.ndarray], probes: Probes
) -> None:
    X, _, _ = planted
    a, b = (make_edit(name, NAMES, probes, X) for name in "ab")
    edited = orthogonal_edit(a, [b], X).apply(X, 4.0)
    before, after = probes.decision_function(X), probes.decision_function(edited)
    np.testing.assert_allclose(after[:, 1], before[:, 1], atol=1e-6 * np.abs(before).max())
    assert (after[:, 0] > before[:, 0] + 1).all()
    plain = probes.decision_function(a.apply(X, 4.0))
    assert (plain[:, 1] > before[:, 1] + 1).all()  # without it, b is dragged along


def experiment(planted: tuple[np.ndarray, np.ndarray, np.ndarray], seen: list[int] | None = None) -> Experiment:
    """A world whose pictures are its noise, so that the truth of every edit is known."""
    X, Y, _ = planted
    space = fit_space(X, Y, np.arange(len(X)) < 400)

    def generate(rows: np.ndarray) -> np.ndarray:
        if seen is not None:
            seen.append(len(rows))
        return rows.reshape(-1, 3, 2, 2)

    return Experiment(
        NAMES,
        space,
        space,
        space,
        (3, 2, 2),
        generate,
        lambda images: images.reshape(len(images), -1),
        n_permutations=3,
    )


def test_an_experiment_gives_the_overlay_beside_both_edits_and_the_judge_encoder_sees_the_target_rise(
    planted: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    rows = 400 + np.flatnonzero(planted[1][400:, 0] == 0)[:20]
    strips = experiment(planted).strips("a", rows)
    assert [strip.variant for strip in strips] == [NOISE, ORTHOGONAL, OVERLAY]
    assert strips[1].against == ("b",)
    for strip in strips[:2]:
        judged = [record["judged"]["estimate"] for record in strip.records]
        assert judged == sorted(judged) and judged[0] < 0.2 and judged[-1] > 0.9
        assert strip.images.shape == (4, 20, 3, 2, 2)
        assert strip.records[0]["collateral"]["estimate"] == 0
        assert strip.records[0]["norm_ratio"] == 1


def test_orthogonalising_against_the_entangled_attribute_lowers_the_collateral(
    planted: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    rows = 400 + np.flatnonzero(planted[1][400:, 0] == 0)[:60]
    plain, orthogonal, _ = experiment(planted).strips("a", rows)
    at_most = [strip.records[-1]["collateral"]["estimate"] for strip in (plain, orthogonal)]
    assert at_most[1] < 0.5 * at_most[0]


def test_the_unedited_pictures_are_made_once_for_all_edits(planted: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    seen: list[int] = []
    experiment(planted, seen).strips("a", np.arange(400, 410))
    assert sorted(seen) == [10, *[3 * 10] * 5]  # both edits of noise, and three directions of shuffled labels
