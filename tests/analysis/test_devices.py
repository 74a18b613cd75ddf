"""The same call on torch's arrays, wherever they are, gives the same numbers, and computes where they are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from noisezoo.analysis import (
    alignment,
    conditional_value,
    fit_probes,
    gcca,
    learning_curve,
    paper_probes,
    probe_table,
    stitch,
    transfer,
)
from noisezoo.analysis.controls.simulation import simulate_une
from noisezoo.analysis.core.arrays import as_matrix
from noisezoo.analysis.probes import fit, path
from noisezoo.analysis.probes.logistic import minimise

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
N = 160
PLANTED = simulate_une(N, view_dims=(12, 9), n_attributes=3, seed=3)
X, Z = (np.asarray(view, np.float32) for view in PLANTED.views)
WIDE = np.random.default_rng(0).standard_normal((N, 12)).astype(np.float32) @ np.random.default_rng(1).standard_normal(
    (12, 200)
).astype(np.float32) + np.random.default_rng(2).standard_normal((N, 200)).astype(np.float32)
Y, NAMES = PLANTED.attributes, ["a", "b", "c"]
FEW: dict[str, Any] = {"n_splits": 3, "n_permutations": 2}
STUDIES: dict[str, Callable[[Any, Any], Any]] = {
    "fit_probes": lambda X, Z: fit_probes(X, Y),
    "fit_probes at C": lambda X, Z: fit_probes(X, Y, C=0.5),
    "probe_table": lambda X, Z: probe_table(X, Y, NAMES, **FEW),
    "learning_curve": lambda X, Z: learning_curve(X, Y, NAMES, sizes=[64, 128], **FEW),
    "conditional_value": lambda X, Z: conditional_value(X, Z, Y, NAMES, n_splits=2, n_permutations=1),
    "transfer": lambda X, Z: transfer(X, Z, Y, NAMES, **FEW),
    "stitch": lambda X, Z: stitch(X, Z, n_permutations=2),
    "alignment": lambda X, Z: alignment(X, Z, **FEW),
    "gcca": lambda X, Z: gcca([X, Z], 3, ridge=0.1, **FEW),
    "paper_probes": lambda X, Z: paper_probes(X, Y, NAMES, train=np.arange(N) < 100, kind="noise"),
}


def numbers(value: Any) -> Any:
    """The numbers of a result, in order."""
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers(each)]
    if isinstance(value, list | tuple):
        return [number for each in value for number in numbers(each)]
    return [float(value)] if isinstance(value, float | np.floating) else []


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("first", [X, WIDE], ids=["n > d", "n < d"])
@pytest.mark.parametrize("name", STUDIES)
def test_a_tensor_gives_the_numbers_of_the_array(name: str, first: Any, device: str) -> None:
    expected = numbers(STUDIES[name](first, Z).records())
    found = numbers(STUDIES[name](*(torch.from_numpy(view).to(device) for view in (first, Z))).records())
    assert len(found) == len(expected) > 2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("C", [None, 1.0])
def test_probes_are_solved_where_the_rows_are(monkeypatch: pytest.MonkeyPatch, C: float | None) -> None:
    solved: list[type] = []

    def watched(T: Any, *arguments: Any, **settings: Any) -> Any:
        solved.append(type(T))
        return minimise(T, *arguments, **settings)

    for module in (path, fit):
        monkeypatch.setattr(module, "minimise", watched)
    fit_probes(torch.from_numpy(X), Y, C=C)
    assert set(solved) == {torch.Tensor}


def test_the_logits_of_a_fit_are_those_of_the_array_beyond_the_rows_that_were_fitted() -> None:
    ours, same = fit_probes(torch.from_numpy(WIDE), Y), fit_probes(WIDE, Y)
    np.testing.assert_allclose(ours.coef, same.coef, atol=1e-4 * np.abs(same.coef).max())
    np.testing.assert_allclose(ours.decision_function(WIDE[:9] + 1), same.decision_function(WIDE[:9] + 1), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_computes_in_numpy_takes_a_tensor_from_its_device(dtype: torch.dtype) -> None:
    tensor = torch.ones((3, 2), dtype=dtype, requires_grad=True)
    matrix = as_matrix(tensor)
    assert matrix.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    np.testing.assert_array_equal(matrix, 1)
