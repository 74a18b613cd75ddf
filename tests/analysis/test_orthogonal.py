import numpy as np
import pytest

from noisezoo.analysis import cosine, orthogonalize


@pytest.mark.parametrize("m", [1, 3])
def test_nothing_of_the_others_is_left_and_the_length_stays(m: int) -> None:
    rng = np.random.default_rng(0)
    v, A = rng.standard_normal(20), rng.standard_normal((m, 20))
    w = orthogonalize(v, A if m > 1 else A[0])
    np.testing.assert_allclose(A @ w, 0, atol=1e-12)
    assert np.linalg.norm(w) == pytest.approx(np.linalg.norm(v))


def test_it_is_the_least_squares_residual_up_to_length() -> None:
    rng = np.random.default_rng(1)
    v, A = rng.standard_normal(20), rng.standard_normal((4, 20))
    residual = v - A.T @ np.linalg.lstsq(A.T, v, rcond=None)[0]
    np.testing.assert_allclose(orthogonalize(v, A), residual / np.linalg.norm(residual) * np.linalg.norm(v), atol=1e-12)


def test_dependent_rows_count_once() -> None:
    rng = np.random.default_rng(2)
    v, a = rng.standard_normal(10), rng.standard_normal(10)
    np.testing.assert_allclose(orthogonalize(v, np.stack([a, -1e6 * a])), orthogonalize(v, a), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_direction_inside_the_span_is_refused(dtype: type[np.float32 | np.float64]) -> None:
    A = np.random.default_rng(3).standard_normal((3, 30)).astype(dtype)
    with pytest.raises(ValueError, match="lies in the span of against"):
        orthogonalize(A[0] - 2 * A[2], A)


def test_zero_directions_and_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="direction is zero"):
        orthogonalize(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="row 1 of against is zero"):
        orthogonalize(np.ones(3), np.array([[1.0, 0, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match="3 coordinates and against has 4"):
        orthogonalize(np.ones(3), np.ones(4))


def test_the_weighted_cosine_is_the_correlation_of_the_logits() -> None:
    rng = np.random.default_rng(4)
    X = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6)) + 5
    a, b = rng.standard_normal((2, 6))
    correlation = np.corrcoef(X @ a, X @ b)[0, 1]
    assert cosine(a, b, np.cov(X.T)) == pytest.approx(correlation)
    assert cosine(a, b, rows=X) == pytest.approx(correlation)


def test_without_a_covariance_it_is_euclidean() -> None:
    assert cosine([1.0, 0.0], [1.0, 1.0]) == pytest.approx(np.sqrt(0.5))


def test_a_direction_along_which_nothing_varies_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing varies"):
        cosine([1.0, 0.0], [0.0, 1.0], np.diag([1.0, 0.0]))
