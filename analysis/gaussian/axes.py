"""Leading principal axes, and the squared covariance, of rows that are read in blocks."""

from dataclasses import dataclass

import numpy as np

from noisezoo.analysis.core import AnyArray, Floats, Matrix, Rows, leading_eigenpairs, to_numpy

_GRAM = 2048  # the smaller side up to which its Gram matrix is affordable, and gives exact answers
_PASSES = 6
_SPARE = 20  # dimensions of the subspace beyond the axes that are wanted
_PANEL = 1 << 24
_ITERATED = f"the leading axes are of a subspace iteration of {_PASSES} passes, not of an eigendecomposition"


@dataclass(frozen=True, slots=True)
class Leading:
    """Centred scores on leading axes, and tr S^2 of the sample covariance S.

    `how` is a sentence where the axes are not the exact principal axes. Tests on them hold all the same: any axes that
    are a function of X^T X make the scores of Gaussian rows turn with the rows, and so uniform on the sphere.
    """

    scores: Floats  # (n, k)
    trace_of_square: float
    trace_spread: float  # standard error of trace_of_square; 0 where it is exact
    fourth: float  # tr S^4, of the leading axes at least
    how: str | None


def leading_axes(rows: Rows, mean: Floats, k: int, U: Matrix, P: Matrix, *, seed: int) -> Leading:
    """Leading k axes of rows (n, d) with a mean (d,): by the smaller Gram matrix, or where that is large by iteration.

    The iteration starts by `seed`, and needs unit directions U (d, m), uniform on the sphere, and the centred rows on
    them, P (m, n).
    """
    gram = _small_gram(rows, mean)
    if gram is None:
        return _by_subspace(rows, mean, k, U, P, seed)
    n, d = rows.shape
    values, vectors = leading_eigenpairs(gram, k)
    S2 = float(np.square(gram).sum()) / (n - 1) ** 2
    fourth = float(((values / (n - 1)) ** 4).sum())
    if n < d:
        return Leading(vectors * np.sqrt(values), S2, 0.0, fourth, None)
    products = [(to_numpy(block).astype(np.float64) - mean) @ vectors for _, block in rows.blocks()]
    return Leading(np.concatenate(products), S2, 0.0, fourth, None)


def _small_gram(rows: Rows, mean: Floats) -> Floats | None:
    """Gram matrix of the smaller side of the centred rows, in float64; None where that is large."""
    n, d = rows.shape
    if min(n, d) > _GRAM:
        return None
    G = np.zeros((min(n, d),) * 2)
    if d <= n:
        for _, block in rows.blocks():
            x = to_numpy(block).astype(np.float64) - mean
            G += x.T @ x
        return G
    for start, panel in rows.panels(max(1, _PANEL // n)):
        x = panel.astype(np.float64) - mean[start : start + len(panel), None]
        G += x.T @ x
    return G


def _by_subspace(rows: Rows, mean: Floats, k: int, U: Matrix, P: Matrix, seed: int) -> Leading:
    n, d = rows.shape
    Z = np.random.default_rng([seed, 102]).standard_normal((d, k + _SPARE))
    for _ in range(_PASSES):
        V = np.linalg.qr(Z)[0]
        Y, Z = _both_products(rows, mean, V)
    values, W = np.linalg.eigh(Y.T @ Y)
    fourth = float(((values / (n - 1)) ** 4).sum())
    return Leading(Y @ W[:, ::-1][:, :k], *_trace_of_square(V, Y, Z, U, P), fourth, _ITERATED)


def _both_products(rows: Rows, mean: Floats, V: Floats) -> tuple[Floats, Floats]:
    """X V and X^T X V of the centred rows, in one pass."""
    m, v = rows.place(mean), rows.place(V)
    Y, Z = np.empty((rows.shape[0], V.shape[1])), np.zeros(V.shape)
    for row, block in rows.blocks():
        x: AnyArray = block - m
        y = x @ v
        Y[row : row + len(block)] = to_numpy(y)
        Z += to_numpy(x.T @ y)
    return Y, Z


def _trace_of_square(V: Floats, Y: Floats, Z: Floats, U: Matrix, P: Matrix) -> tuple[float, float]:
    """Tr S^2 and its standard error, S = X^T X / (n - 1), from a subspace V (d, l) and random directions U (d, m).

    With T the projection off V, tr S^2 = |V'SV|^2 + 2 |TSV|^2 + |TST|^2. The first two are known from Y = X V and
    Z = X^T X V; the third is d^2 E (u'TSTv)^2 over independent uniform unit directions u and v: a U-statistic over
    pairs of directions, whose error is Hajek's. The part in V, which is most of it where few axes are strong, is exact.
    """
    n, (d, m) = len(Y), U.shape
    inside, across = float(np.square(V.T @ Z).sum()), float(np.square(Z).sum())
    off = P - (V.T @ U).T.astype(P.dtype) @ Y.T.astype(P.dtype)  # (m, n): X T u
    squares = np.square(off @ off.T, dtype=np.float64)
    np.fill_diagonal(squares, 0)
    means = squares.sum(axis=1) / (m - 1)
    outside = d**2 * means.mean()
    error = d**2 * 2 * means.std(ddof=1) / np.sqrt(m)
    return (2 * across - inside + outside) / (n - 1) ** 2, float(error) / (n - 1) ** 2
