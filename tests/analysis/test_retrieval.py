import numpy as np
import pytest
import torch

from noisezoo.analysis.relations.retrieval import chance, galleries, hits


def test_a_prediction_that_is_its_target_is_found_first() -> None:
    targets = np.random.default_rng(0).standard_normal((30, 4))
    assert (hits(targets * 5, targets, [np.arange(30)], (1, 5)) == 1).all()


def test_hits_are_those_of_a_plain_sort_by_cosine() -> None:
    rng = np.random.default_rng(1)
    targets = rng.standard_normal((40, 3))
    predicted = targets + 2 * rng.standard_normal((40, 3))
    among = [np.arange(0, 40, 2), np.arange(1, 40, 2)]
    found = hits(predicted, targets, among, (1, 3))
    for rows in among:
        for place, row in enumerate(rows):
            cosines = targets[rows] @ predicted[row] / np.linalg.norm(targets[rows], axis=1)
            rank = list(np.argsort(-cosines)).index(place)
            assert tuple(found[row]) == (rank < 1, rank < 3)


def test_no_prediction_at_all_scores_exactly_chance() -> None:
    targets = np.random.default_rng(2).standard_normal((25, 3))
    among = [np.arange(10), np.arange(10, 25)]
    found = hits(np.zeros((25, 3)), targets, among, (1, 5, 12))
    np.testing.assert_allclose(found.mean(axis=0), chance(among, (1, 5, 12)))
    np.testing.assert_allclose(chance(among, (1, 5, 12)), [2 / 25, 10 / 25, (10 + 12) / 25])


def test_galleries_split_each_fold_evenly_and_hold_every_row_once() -> None:
    rows = [np.arange(7), np.arange(7, 30)]
    cut = galleries(rows, 10, np.random.default_rng(0))
    assert sorted(map(len, cut)) == [7, 7, 8, 8]
    assert sorted(np.concatenate(cut)) == list(range(30))
    assert all(set(part) <= set(rows[0]) or set(part) <= set(rows[1]) for part in cut)


def test_tensors_are_ranked_as_arrays_are() -> None:
    rng = np.random.default_rng(3)
    predicted, targets = rng.standard_normal((2, 20, 4))
    among = [np.arange(20)]
    plain = hits(predicted, targets, among, (1, 5))
    np.testing.assert_array_equal(plain, hits(torch.from_numpy(predicted), torch.from_numpy(targets), among, (1, 5)))
    assert 0 < plain[:, 1].mean() < 1
    assert plain.mean(axis=0) == pytest.approx([0.05, 0.25], abs=0.2)
