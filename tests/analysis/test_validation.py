import numpy as np
import pytest

from noisezoo.analysis.core.arrays import as_labels, as_matrix, refuse_one_class


def test_floats_pass_without_a_copy_and_half_floats_become_single() -> None:
    for dtype in (np.float32, np.float64):
        X = np.ones((3, 2), dtype)
        assert as_matrix(X) is X or np.shares_memory(as_matrix(X), X)
    assert as_matrix(np.ones((3, 2), np.float16)).dtype == np.float32
    assert as_matrix(np.ones((3, 2), np.uint8)).dtype == np.float64


def test_nan_is_counted_and_the_first_one_named() -> None:
    X = np.zeros((5, 4))
    X[2, 3], X[4, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match="noise holds 2 NaN or infinite values, the first at row 2, column 3"):
        as_matrix(X, "noise")


def test_opposite_infinities_do_not_hide_each_other() -> None:
    with pytest.raises(ValueError, match="2 NaN or infinite"):
        as_matrix([[np.inf, 1.0], [-np.inf, 1.0]])


def test_values_whose_sum_overflows_are_finite_all_the_same() -> None:
    assert as_matrix(np.full((2, 2), 1e308)).shape == (2, 2)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((4, 3, 2)), r"reshape it to \(n, -1\)"),
        (np.zeros(4), "must be a matrix"),
        (np.zeros((1, 3)), "at least 2 rows"),
        (np.zeros((3, 0)), "one column"),
        (np.array([["a", "b"], ["c", "d"]]), "real numbers"),
        (np.zeros((3, 2), complex), "real numbers"),
    ],
)
def test_what_is_no_matrix_is_refused_with_the_reason(bad: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        as_matrix(bad)  # type: ignore[arg-type]


def test_labels_other_than_zero_and_one_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'Smiling' holds -1"):
        as_labels([[0, 1], [1, -1]], names=["Bald", "Smiling"])


def test_a_vector_of_labels_is_one_attribute_and_booleans_are_labels() -> None:
    assert as_labels(np.array([True, False])).tolist() == [[1.0], [0.0]]


def test_labels_must_match_rows_and_names() -> None:
    with pytest.raises(ValueError, match="2 rows and the data has 3"):
        as_labels([[0], [1]], rows=3)
    with pytest.raises(ValueError, match="as many different names"):
        as_labels([[0, 1], [1, 0]], names=["a", "a"])


def test_an_attribute_of_one_class_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'Bald'"):
        refuse_one_class(as_labels([[0, 1], [1, 1]]), ["Smiling", "Bald"])
