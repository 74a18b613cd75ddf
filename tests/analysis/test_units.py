"""What may be permuted and resampled where rows come in groups."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from noisezoo.analysis.core.units import one_of_each, resample_counts, shuffled, units_of, units_with

Rows = NDArray[np.intp]


def people(rng: np.random.Generator, count: int, least: int = 1, most: int = 6) -> Rows:
    """Rows of people with different numbers of pictures, in no order."""
    return rng.permutation(np.repeat(np.arange(count), rng.integers(least, most + 1, count)))


def first_order(units: Rows, seed: int = 0) -> Rows:
    return next(shuffled(units, 1, np.random.default_rng(seed)))


def test_rows_that_are_their_own_units_are_permuted() -> None:
    order = first_order(np.arange(50))
    np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert (order != np.arange(50)).sum() > 40


def test_groups_of_equal_size_change_places_whole() -> None:
    units = np.random.default_rng(1).permutation(np.repeat(np.arange(12), 4))
    order = first_order(units)
    np.testing.assert_array_equal(np.sort(order), np.arange(48))
    assert len({(int(a), int(b)) for a, b in zip(units, units[order], strict=True)}) == 12


def test_groups_of_any_size_change_places_and_each_group_is_given_once() -> None:
    units = people(np.random.default_rng(2), 40)
    order = first_order(units)
    pairs = {(int(a), int(b)) for a, b in zip(units, units[order], strict=True)}
    assert len(pairs) == 40 and {b for _, b in pairs} == set(range(40))
    assert sum(a != b for a, b in pairs) > 30
    size = np.bincount(units)
    for own, given in pairs:  # every row of the smaller group is there, and as often as any other
        counts = np.bincount(order[units == own])[np.flatnonzero(units == given)[0] :]
        used = counts[counts > 0]
        assert len(used) == min(size[own], size[given]) and used.max() - used.min() <= 1


def test_orders_are_uniform_over_groups() -> None:
    units = np.repeat(np.arange(4), [1, 2, 3, 4])
    given = np.array([units[order][[0, 1, 3, 6]] for order in shuffled(units, 4000, np.random.default_rng(3))])
    for place in given.T:
        assert stats.chisquare(np.bincount(place, minlength=4)).pvalue > 1e-3


Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], float]


def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return abs(float(np.corrcoef(x, y)[0, 1]))


LAWS: dict[str, Callable[[np.random.Generator, Rows], NDArray[np.float64]]] = {
    "the identity's own value": lambda rng, units: rng.standard_normal(units.max() + 1)[units],
    "the identity's value and the picture's": lambda rng, units: (
        rng.standard_normal(units.max() + 1)[units] + rng.standard_normal(len(units))
    ),
    "heavy tails": lambda rng, units: rng.standard_t(3, units.max() + 1)[units] + 0.3 * rng.standard_t(3, len(units)),
    "a rare label of the identity": lambda rng, units: (rng.random(units.max() + 1) < 0.2)[units].astype(float),
}


def rejections(law: str, seeds: range, by_rows: bool = False) -> int:
    """How often two unrelated columns of one law correlate at p <= 0.05, by a permutation test."""
    count = 0
    for seed in seeds:
        rng = np.random.default_rng([seed, 77])
        units = people(rng, 40)
        x, y = LAWS[law](rng, units), LAWS[law](rng, units)
        if not (x.std() and y.std()):
            continue
        orders = list(shuffled(np.arange(len(units)) if by_rows else units, 39, rng))
        null = [correlation(x, y[order]) for order in orders if y[order].std() > 0]
        count += (1 + sum(value >= correlation(x, y) for value in null)) / (1 + len(null)) <= 0.05
    return int(count)


@pytest.mark.parametrize("law", LAWS)
def test_unrelated_columns_of_people_are_related_no_more_often_than_nominal(law: str) -> None:
    assert rejections(law, range(200)) <= stats.binom.ppf(0.999, 200, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_unrelated_columns_of_people_are_related_at_their_rate(law: str) -> None:
    count = rejections(law, range(1000, 4000))
    print(f"{law}: {count / 3000:.3f}")
    assert stats.binom.ppf(0.0005, 3000, 0.02) <= count <= stats.binom.ppf(0.9995, 3000, 0.055)


def test_shuffled_rows_would_find_people_related_to_chance() -> None:
    assert rejections("the identity's own value", range(100), by_rows=True) > 15


def test_what_pictures_share_is_found_whatever_the_sizes_of_groups() -> None:
    found = 0
    for seed in range(30):
        rng = np.random.default_rng([seed, 5])
        units = people(rng, 40)
        x = rng.standard_normal(41)[units] + rng.standard_normal(len(units))
        y = x + rng.standard_normal(len(units))
        null = [correlation(x, y[order]) for order in shuffled(units, 39, rng)]
        found += correlation(x, y) > max(null)
    assert found == 30


def test_one_row_of_each_unit_is_drawn_at_random() -> None:
    units = people(np.random.default_rng(4), 30)
    rows = one_of_each(units, seed=0)
    np.testing.assert_array_equal(np.sort(units[rows]), np.arange(30))
    assert (np.diff(rows) > 0).all()
    other = one_of_each(units, seed=1)
    assert 0 < np.sum(np.isin(other, rows)) < 30
    np.testing.assert_array_equal(one_of_each(units, seed=1), other)


def test_classes_are_counted_in_units_and_mixed_units_count_for_both() -> None:
    units = np.array([0, 0, 1, 1, 2, 3])
    Y = np.array([[1.0, 1], [1, 0], [0, 0], [0, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(units_with(units, Y), [[3, 3], [1, 2]])
    np.testing.assert_array_equal(units_with(units[2:], Y[2:]), [[3, 2], [0, 1]])


def test_units_of_labels_of_any_type_are_numbered_and_resampled_whole() -> None:
    for groups in (["b", "a", "b"], [7, -1, 7], np.array([2.5, 0.5, 2.5]), pd.Series(["b", "a", "b"]),
                   pd.array([7, 3, 7], dtype="Int64"), pd.Categorical(["b", "a", "b"])):  # fmt: skip
        np.testing.assert_array_equal(units_of(3, groups), [1, 0, 1])  # type: ignore[arg-type]
        counts = resample_counts(3, 20, groups=groups)  # type: ignore[arg-type]
        np.testing.assert_array_equal(counts[:, 0], counts[:, 2])
    np.testing.assert_array_equal(units_of(3, None), [0, 1, 2])


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([1, 2], r"one label a row, \(3,\), not of shape \(2,\)"),
        ([1, 2, 3, 4], r"one label a row, \(3,\), not of shape \(4,\)"),
        ([[1], [2], [3]], "one label a row"),
        ([1.0, np.nan, np.nan], "no label for 2 rows, the first row 1"),
        (["a", None, "b"], "no label for 1 rows, the first row 1"),
        (pd.array([1, None, 2], dtype="Int64"), "no label for 1 rows"),
        (pd.Series(["a", pd.NA, "b"], dtype="string"), "no label for 1 rows"),
        (np.ma.masked_array([1, 2, 3], [False, False, True]), "no label for 1 rows, the first row 2"),
        (np.array(["2026-01-01", "NaT", "2026-01-02"], dtype="datetime64[D]"), "no label for 1 rows"),
        (np.array([1, "a", 2], dtype=object), "labels of one type"),
    ],
)
def test_groups_that_do_not_name_every_row_are_refused(groups: object, says: str) -> None:
    for use in (lambda: units_of(3, groups), lambda: resample_counts(3, groups=groups)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=says):
            use()
