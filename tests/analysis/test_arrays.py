import numpy as np
import pytest
import torch

from noisezoo.analysis.core.arrays import as_array, largest, like, namespace, to_numpy


def test_a_tensor_has_torchs_names_and_all_else_numpys() -> None:
    assert namespace(torch.zeros(2)) is torch
    assert namespace(np.zeros(2)) is np
    assert namespace([1.0]) is np


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.float64),
    ],
)
def test_a_tensor_keeps_its_precision_and_half_becomes_single(given: torch.dtype, expected: torch.dtype) -> None:
    assert as_array(torch.ones((3, 2), dtype=given)).dtype == expected


def test_a_float_tensor_passes_without_a_copy_and_leaves_its_graph() -> None:
    tensor = torch.ones((3, 2), requires_grad=True)
    passed = as_array(tensor)
    assert passed.data_ptr() == tensor.data_ptr() and not passed.requires_grad


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (torch.tensor([[1.0, float("nan")], [0.0, 1.0]]), "X holds 1 NaN or infinite values, the first at row 0"),
        (torch.zeros(3), "X must be a matrix"),
        (torch.zeros((1, 4)), "X needs at least 2 rows"),
        (torch.zeros((2, 2), dtype=torch.complex64), "X must hold real numbers"),
    ],
)
def test_tensors_are_refused_in_the_same_words_as_arrays(tensor: torch.Tensor, complaint: str) -> None:
    for X in (tensor, tensor.numpy()):
        with pytest.raises(ValueError, match=complaint):
            as_array(X)


def test_arrays_return_from_torch_as_they_went() -> None:
    A = np.random.default_rng(0).standard_normal((3, 4)).T
    np.testing.assert_array_equal(to_numpy(like(A, torch.zeros(1))), A)


def test_the_largest_of_each_row_are_those_of_a_full_sort() -> None:
    S = np.random.default_rng(1).standard_normal((6, 9))
    expected = np.sort(np.argsort(-S, axis=1)[:, :3], axis=1)
    for A in (S, torch.from_numpy(S)):
        np.testing.assert_array_equal(np.sort(to_numpy(largest(A, 3)), axis=1), expected)
