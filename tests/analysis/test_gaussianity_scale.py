from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from noisezoo.analysis.core import blocks as _blocks
from noisezoo.analysis.core.blocks import Blocks, as_rows
from noisezoo.analysis.gaussian import axes as _axes, sample as _sample
from noisezoo.analysis.gaussian.axes import leading_axes
from noisezoo.analysis.gaussian.gaussianity import gaussianity
from noisezoo.analysis.gaussian.univariate import anderson_darling, dagostino_pearson

Floats = NDArray[np.float64]
NUMBERS = ["acceptance", "null", "value", "p_value", "bonferroni"]


class Stream:
    """Rows of X in blocks of uneven height, float16, read as often as asked."""

    def __init__(self, X: NDArray[np.floating], shape: tuple[int, int] | None = None) -> None:
        self.X, self.shape, self.reads = X, shape or X.shape, 0

    def __iter__(self) -> Iterator[NDArray[np.floating]]:
        self.reads += 1
        return iter(np.array_split(self.X, [1, 10, 90]))


@pytest.fixture
def data() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    decaying = rng.standard_normal((300, 90)) * np.linspace(5, 1, 90) + 3
    return decaying.astype(np.float16).astype(np.float32)


def test_a_stream_of_blocks_gives_what_the_array_gives(data: NDArray[np.float32]) -> None:
    stream = Stream(data.astype(np.float16))
    assert isinstance(stream, Blocks)
    a, b = gaussianity(data, n_projections=50), gaussianity(stream, n_projections=50)
    np.testing.assert_allclose(a.to_frame()[NUMBERS], b.to_frame()[NUMBERS], rtol=1e-5)
    np.testing.assert_allclose(a.p_values["coordinates", "anderson-darling"],
                               b.p_values["coordinates", "anderson-darling"], rtol=1e-6)  # fmt: skip
    sampled = gaussianity(data, n_samples=100, families=["norm"]), gaussianity(stream, n_samples=100, families=["norm"])
    assert sampled[0].rows[0].value == pytest.approx(sampled[1].rows[0].value, rel=1e-5)


def test_small_blocks_and_panels_change_nothing(data: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gaussianity(data, n_projections=50).to_frame()[NUMBERS]
    monkeypatch.setattr(_blocks, "_BLOCK", 90 * 7)
    monkeypatch.setattr(_sample, "_PANEL", 300 * 11)
    monkeypatch.setattr(_axes, "_PANEL", 300 * 11)
    np.testing.assert_allclose(gaussianity(data, n_projections=50).to_frame()[NUMBERS], whole, rtol=1e-5)


def test_half_precision_is_tested_without_loss(data: NDArray[np.float32]) -> None:
    a, b = (gaussianity(x, n_projections=50).to_dict() for x in (data, data.astype(np.float16)))
    assert a == b


def test_a_torch_tensor_gives_the_same_numbers(data: NDArray[np.float32]) -> None:
    a, b = (gaussianity(x, n_projections=50, families=["projections", "norm"]) for x in (data, torch.from_numpy(data)))
    for key, p in a.p_values.items():
        np.testing.assert_allclose(b.p_values[key], p, atol=1e-4)
    np.testing.assert_allclose(a.to_frame()[NUMBERS], b.to_frame()[NUMBERS], rtol=1e-4)
    for test in (anderson_darling, dagostino_pearson):
        np.testing.assert_allclose(test(torch.from_numpy(data))[1], test(data)[1], atol=1e-4)


def leading(X: Floats, k: int = 6, m: int = 400, seed: int = 0) -> _axes.Leading:
    U = np.random.default_rng([seed, 9]).standard_normal((X.shape[1], m))
    U /= np.linalg.norm(U, axis=0)
    mean = X.mean(axis=0)
    return leading_axes(as_rows(X), mean, k, U, ((X - mean) @ U).T, seed=seed)


@pytest.mark.parametrize("shape", [(200, 80), (80, 200)])
def test_the_subspace_route_finds_the_axes_and_tr_s2_of_the_gram_route(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.random.default_rng(1).standard_normal(shape) * np.r_[20, 15, 12, 9, 7, 5, np.ones(shape[1] - 6)]
    exact = leading(X)
    S = np.cov(X.T)
    assert exact.trace_of_square == pytest.approx((S**2).sum(), rel=1e-10) and exact.trace_spread == 0
    monkeypatch.setattr(_axes, "_GRAM", 10)
    found = leading(X)
    assert "subspace iteration" in (found.how or "")
    cosines = np.abs((found.scores * exact.scores).sum(0)) / np.linalg.norm(found.scores, axis=0)
    np.testing.assert_allclose(cosines, np.linalg.norm(exact.scores, axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.scores.T @ found.scores, np.diag((exact.scores**2).sum(0)), atol=1e-6 * 2e5)
    assert found.trace_of_square == pytest.approx(exact.trace_of_square, rel=1e-3)  # the strong axes are exact


def test_tr_s2_from_projections_is_unbiased_with_the_error_it_states(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(2).standard_normal((120, 150)) * np.linspace(2, 1, 150)
    exact = leading(X).trace_of_square
    monkeypatch.setattr(_axes, "_GRAM", 10)
    monkeypatch.setattr(_axes, "_PASSES", 1)  # the subspace is arbitrary: the identity must hold for any
    runs = [leading(X, m=60, seed=seed) for seed in range(150)]
    values, spreads = np.array([run.trace_of_square for run in runs]), np.array([run.trace_spread for run in runs])
    assert values.mean() == pytest.approx(exact, abs=4 * values.std() / np.sqrt(150))
    assert spreads.mean() == pytest.approx(values.std(), rel=0.4) and spreads.mean() < 0.1 * exact


def test_gaussian_rows_keep_their_level_on_the_subspace_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_axes, "_GRAM", 10)
    rng, wrong = np.random.default_rng(3), {"norm": 0, "mardia kurtosis": 0}
    for seed in range(200):
        result = gaussianity(rng.standard_normal((60, 40)), n_projections=2, families=list(wrong), seed=seed)
        for row in result.rows:
            wrong[row.family] += row.departs
    assert all(2 <= count <= 21 for count in wrong.values()), wrong  # binomial 0.05, 0.999 each side


@pytest.mark.parametrize("row", [0, 9, 200])
def test_nan_in_any_block_is_named_by_its_row(data: NDArray[np.float32], row: int) -> None:
    data[row, 17] = np.nan
    with pytest.raises(ValueError, match=f"first at row {row}, column 17"):
        gaussianity(Stream(data))


def test_blocks_that_contradict_their_shape_are_refused(data: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="says it has 400 rows and its blocks gave 300"):
        gaussianity(Stream(data, (400, 90)))
    with pytest.raises(ValueError, match=r"not \(b, 91\)"):
        gaussianity(Stream(data, (300, 91)))
    with pytest.raises(ValueError, match="at least 20 rows"):
        gaussianity(Stream(data, (5, 90)))
