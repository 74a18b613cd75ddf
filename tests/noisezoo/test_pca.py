"""The PCA against numpy's singular values and its own algebra."""

from pathlib import Path

import numpy as np
import pytest

from noisezoo.errors import NoiseZooError
from noisezoo.pca import Basis, constant_basis, fit_pca


def data(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Correlated rows far from the origin."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) * np.geomspace(3, 0.1, d)) @ np.linalg.qr(rng.normal(size=(d, d)))[0] + 5


@pytest.mark.parametrize(("n", "d"), [(60, 12), (12, 60), (20, 20)])
def test_components_are_orthonormal_and_explain_the_singular_values(n: int, d: int) -> None:
    X = data(n, d)
    basis = fit_pca(X, 10)
    np.testing.assert_allclose(basis.components @ basis.components.T, np.eye(10), atol=1e-5)
    variances = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2 / (n - 1)
    np.testing.assert_allclose(basis.explained_variance, variances[:10], rtol=1e-5)
    np.testing.assert_allclose(basis.transform(X).var(axis=0, ddof=1), variances[:10], rtol=1e-4)
    assert np.all(np.diff(basis.explained_variance) <= 0)


def test_both_sides_of_the_gram_matrix_give_the_same_basis() -> None:
    wide = data(30, 31)
    square = wide[:, :30]  # n = d takes one side, n > d the other
    tall = np.concatenate([square, square.mean(axis=0, keepdims=True)])
    np.testing.assert_allclose(fit_pca(square, 5).components, fit_pca(tall, 5).components, atol=1e-4)


def test_all_components_give_the_rows_back() -> None:
    X = data(12, 60)
    basis = fit_pca(X, 500)
    assert basis.components.shape == (11, 60), "n rows have no more than n - 1 directions of variance"
    np.testing.assert_allclose(basis.inverse(basis.transform(X)), X, atol=1e-4)


def test_a_direction_carried_back_moves_the_scores_by_itself() -> None:
    X = data(50, 9)
    basis = fit_pca(X, 4)
    direction = np.array([1.0, -2.0, 0.5, 3.0])
    moved = basis.transform(X + basis.carry_back(direction)) - basis.transform(X)
    np.testing.assert_allclose(moved, np.tile(direction, (50, 1)), atol=1e-4)
    assert basis.carry_back(np.eye(4)).shape == (4, 9)


def test_signs_do_not_depend_on_the_order_of_rows() -> None:
    X = data(40, 8)
    np.testing.assert_allclose(fit_pca(X, 5).components, fit_pca(X[::-1], 5).components, atol=1e-5)
    largest = np.abs(fit_pca(X, 5).components).argmax(axis=1)
    assert (fit_pca(X, 5).components[np.arange(5), largest] > 0).all()


def test_directions_without_variance_are_not_given() -> None:
    X = np.zeros((30, 6))
    X[:, :2] = data(30, 2)
    assert fit_pca(X, 6).components.shape == (2, 6)


@pytest.mark.parametrize("X", [np.ones((5, 3)), np.ones((1, 3))])
def test_rows_that_are_all_alike_are_refused(X: np.ndarray) -> None:
    with pytest.raises(NoiseZooError, match="all rows are alike"):
        fit_pca(X, 2)


def test_a_basis_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    basis = fit_pca(data(20, 5), 3)
    basis.save(tmp_path / "b.safetensors")
    again = Basis.read(tmp_path / "b.safetensors")
    assert all(np.array_equal(getattr(basis, name), getattr(again, name)) for name in vars(basis))
    assert {getattr(again, name).dtype for name in vars(again)} == {np.dtype(np.float32)}


def test_rows_that_are_all_alike_have_a_basis_that_loses_nothing() -> None:
    row = np.arange(5.0)
    basis = constant_basis(row)
    assert not basis.transform(np.stack([row, row])).any()
    assert basis.explained_variance.tolist() == [0.0]
    np.testing.assert_array_equal(basis.mean, row)
