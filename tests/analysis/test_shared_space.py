from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from noisezoo.analysis.controls.simulation import simulate_une
from noisezoo.analysis.relations.gcca import gcca
from noisezoo.analysis.relations.intersections import intersections, shared_neighbours, shared_probes

SHAPE: dict[str, Any] = {"shared_dim": 4, "view_dims": (10,) * 4, "n_attributes": 3}
FEW: dict[str, Any] = {"n_permutations": 9, "n_splits": 4}


def test_probes_of_the_shared_space_have_its_folds_and_beat_chance() -> None:
    data = simulate_une(600, **SHAPE)
    groups = np.repeat(np.arange(300), 2)
    space = gcca(data.views, 4, groups=groups, n_folds=4, seed=7)
    table = shared_probes(space, data.attributes, data.names, n_splits=2)
    np.testing.assert_array_equal(table.out_of_fold.folds, space.sample.rows.folds)
    assert table.mean["balanced_accuracy"].estimate > 0.8


def test_probes_of_attributes_that_no_view_shows_stay_at_chance() -> None:
    data = simulate_une(2000, control="independent", **SHAPE)
    table = shared_probes(gcca(data.views, 4), data.attributes, data.names, n_splits=8)
    assert abs(table.mean["balanced_accuracy"].estimate - 0.5) < 0.03


def test_neighbours_are_the_nearest_by_cosine_out_of_fold() -> None:
    space = gcca(simulate_une(150, **SHAPE).views, 4)
    distances = cdist(space.out_of_fold, space.out_of_fold, "cosine")
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(shared_neighbours(space, 5), np.argsort(distances, axis=1)[:, :5])


def test_neighbours_agree_across_disjoint_intersections_of_views_that_share() -> None:
    data = simulate_une(400, **SHAPE)
    found = intersections(data.views, 4, names="abcd", subsets=[(0, 1), (2, 3)], **FEW)
    (row,) = found.records()
    assert (row["first"], row["second"], row["views_in_common"]) == ("a + b", "c + d", 0)
    near = [shared_neighbours(space, 10) for space in found.spaces.values()]
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)])
    assert row["estimate"] == pytest.approx(overlap)
    assert row["low"] < row["estimate"] < row["high"]
    assert row["null_high"] < 0.06 < row["low"] and row["p_value"] == 0.1
    assert row["null"] == pytest.approx(10 / 399, abs=0.01)


def test_a_view_in_common_is_no_evidence_that_anything_is_shared() -> None:
    data = simulate_une(300, control="independent", **{**SHAPE, "view_dims": (6,) * 3})
    found = intersections(data.views, 4, subsets=[(0, 1), (0, 2)], **{**FEW, "n_permutations": 39})
    (row,) = found.records()
    assert row["views_in_common"] == 1
    assert row["null"] > 1.15 * 10 / 299  # the private noise of view 0 is in both
    assert row["p_value"] > 0.05


def test_rows_of_all_subsets_name_every_pair_once_and_give_plain_values() -> None:
    data = simulate_une(200, **{**SHAPE, "view_dims": (8, 9, 10)})
    found = intersections(data.views, 3, **FEW)
    plain = found.to_dict()
    assert plain["subsets"] == ["0 + 1", "0 + 2", "1 + 2", "0 + 1 + 2"]
    assert len({(row["first"], row["second"]) for row in plain["rows"]}) == 6
    assert plain == intersections(data.views, 3, **FEW).to_dict()


def test_intersections_without_room_for_halves_or_a_null_say_none() -> None:
    data = simulate_une(110, **{**SHAPE, "view_dims": (45, 45, 45)})
    found = intersections(data.views, 3, n_permutations=0)
    assert all(row["low"] is None and row["p_value"] is None for row in found.to_dict()["rows"])


VIEWS = simulate_une(60, **SHAPE).views


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"subsets": [(0, 1), (0, 4)]}, r"different views of 0 to 3, not \(0, 4\)"),
        ({"subsets": [(0, 1), (2,)]}, r"two or more different views of 0 to 3, not \(2,\)"),
        ({"subsets": [(0, 1)]}, "2 to 64 different subsets of views, not 1"),
        ({"subsets": [(0, 1), (0, 1)]}, "different subsets"),
        ({"k": 60}, "k must lie between 1 and 59"),
        ({"names": "ab"}, "2 names were given for 4 views"),
    ],
)
def test_what_makes_no_intersections_is_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        intersections(VIEWS, 2, **settings)


def test_tensors_give_the_same_intersections() -> None:
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(X) for X in VIEWS]
    a, b = (intersections(v, 2, subsets=[(0, 1), (2, 3)], k=5, **FEW) for v in (VIEWS, tensors))
    assert [i.estimate for i in b.agreement.values()] == pytest.approx(
        [i.estimate for i in a.agreement.values()], abs=1e-4
    )
