import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from noisezoo import analysis
from noisezoo.analysis.core.arrays import as_labels, as_matrix, refuse_one_class
from noisezoo.analysis.core.blocks import as_rows
from noisezoo.analysis.core.result import refuse_settings

X = np.random.default_rng(0).standard_normal((80, 3)) + 0.5
Y = (np.arange(80) % 2).astype(float)[:, None]


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


def test_pandas_nullable_numbers_are_numbers_and_na_is_named() -> None:
    frame = pd.DataFrame({"a": pd.array([1, 2, 3], dtype="Int64"), "b": pd.array([0.5, 1, 2], dtype="Float64")})
    np.testing.assert_array_equal(as_matrix(frame), [[1, 0.5], [2, 1], [3, 2]])
    frame.loc[1, "a"] = pd.NA
    with pytest.raises(ValueError, match="X holds 1 NaN or infinite values, the first at row 1, column 0"):
        as_matrix(frame)
    labels = pd.array([True, False, True], dtype="boolean")
    np.testing.assert_array_equal(as_labels(labels), [[1], [0], [1]])
    with pytest.raises(ValueError, match="real numbers, not object"):
        as_matrix(pd.DataFrame({"a": ["1", "2"], "b": [1, 2]}))


def test_masked_values_are_refused_and_a_mask_of_nothing_passes() -> None:
    X = np.ma.masked_array(np.ones((4, 2)), mask=np.zeros((4, 2)))
    np.testing.assert_array_equal(as_matrix(X), 1)
    X[2, 1] = np.ma.masked
    for use in (lambda: as_matrix(X, "noise"), lambda: as_labels(X, "noise"), lambda: as_rows(X, "noise"),
                lambda: as_labels(X[:, 1], "noise")):  # fmt: skip
        with pytest.raises(ValueError, match="noise is masked in 1 rows, the first row 2"):
            use()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.int8])
def test_labels_of_any_tensor_are_labels(dtype: torch.dtype) -> None:
    labels = torch.tensor([1, 0, 1]).to(dtype)
    np.testing.assert_array_equal(as_labels(labels), [[1], [0], [1]])
    np.testing.assert_array_equal(as_labels(labels[:, None]), [[1], [0], [1]])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"confidence": 95}, "confidence must lie between 0 and 1"),
        ({"confidence": 1.0}, "confidence must lie"),
        ({"alpha": 0}, "alpha must lie between 0 and 1, such as 0.05, not 0"),
        ({"n_projections": 0}, "n_projections must be a whole number, 1 or more"),
        ({"n_folds": 1}, "n_folds must be"),
        ({"n_folds": 5.0}, "n_folds must be"),
        ({"n_permutations": -1}, "n_permutations must be"),
        ({"n_splits": True}, "n_splits must be"),
        ({"seed": None, "alpha": np.float32(2)}, "alpha must"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_name(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        refuse_settings(**settings)
    refuse_settings(confidence=np.float64(0.9), alpha=0.05, n_folds=np.int64(3), n_permutations=0, n_null=None, seed=0)


DOORS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "probe_table": (analysis.probe_table, (X, Y, ["a"])),
    "regression_table": (analysis.regression_table, (X, Y, ["a"])),
    "conditional_value": (analysis.conditional_value, (X, X, Y, ["a"])),
    "learning_curve": (analysis.learning_curve, (X, Y, ["a"])),
    "transfer": (analysis.transfer, (X, X, Y, ["a"])),
    "stitch": (analysis.stitch, (X, X)),
    "alignment": (analysis.alignment, (X, X)),
    "gcca": (analysis.gcca, ([X, X], 1)),
    "gaussianity": (analysis.gaussianity, (X,)),
    "paper_gaussianity": (analysis.paper_gaussianity, (X,)),
    "planted_power": (analysis.planted_power, (X,)),
    "mean_intervals": (analysis.mean_intervals, (X,)),
}
WRONG: dict[str, Any] = {
    "confidence": 95, "n_permutations": -1, "seed": -1, "alpha": 0, "n_projections": 0, "n_boot": 0
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_settings_and_masks_and_groups_that_mean_nothing(door: str) -> None:
    function, given = DOORS[door]
    takes = inspect.signature(function).parameters
    tried = {name: value for name, value in WRONG.items() if name in takes and (door, name) != ("stitch", "alpha")}
    assert tried
    for name, value in tried.items():
        with pytest.raises(ValueError, match=f"{name} must"):
            function(*given, **{name: value})
    for groups in (np.arange(79), np.r_[np.full(2, np.nan), np.arange(78)]) if "groups" in takes else ():
        with pytest.raises(ValueError, match="groups must be one label a row|groups has no label for 2 rows"):
            function(*given, groups=groups)
    masked = np.ma.masked_array(X, mask=X > 2)
    with pytest.raises(ValueError, match="masked in"):
        function([masked, X] if isinstance(given[0], list) else masked, *given[1:])
