"""The eigenproblem of MAXVAR GCCA on a stacked covariance, on all rows and without each fold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, eigh, like, namespace, to_numpy
from noisezoo.analysis.relations.whitening import Array, Floats

_DENSE = 400  # columns up to which all eigenvectors cost less than an iteration


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """g = sum_i (x_i - mean_i) w_i / total has unit variance on the rows it was fitted on; w_i regresses g on x_i."""

    total: Floats  # (dim,) eigenvalues of sum_i X_i (X_i^T X_i + penalty)^-1 X_i^T: at most the number of views
    weights: Sequence[Array]  # [(d_i, dim)]
    means: Sequence[Array]  # [(d_i,)]

    def scores(self, views: Sequence[AnyArray]) -> Floats:
        """Each view's own estimate of g on rows [(n, d_i)], (views, n, dim)."""
        parts = zip(views, self.means, self.weights, strict=True)
        return np.stack([to_numpy((X - like(m, X)) @ like(W, X)).astype(np.float64) for X, m, W in parts])

    def combined(self, scores: Floats) -> Floats:
        """The shared coordinates g (n, dim) of scores (views, n, dim)."""
        return np.asarray(scores.sum(axis=0) / self.total)


def edges_of(blocks: Sequence[AnyArray]) -> list[int]:
    """Where matrices [(., m_i)] begin and end when they stand side by side."""
    return [int(edge) for edge in np.cumsum([0, *(B.shape[1] for B in blocks)])]


def slices_of(blocks: Sequence[AnyArray]) -> list[slice]:
    """Columns of each."""
    edges = edges_of(blocks)
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def solve(C: Array, means: Sequence[Array], roots: Sequence[Array], dim: int) -> Solution:
    """The leading `dim` of R^T C R: H = X R has the eigenvectors g of H H^T as its left singular vectors.

    Args:
        C: (m, m) covariance of views side by side.
        means: [(m_i,)] of the views.
        roots: [(m_i, r_i)] R_i R_i^T = (C_ii + penalty_i)^-1.
        dim: how many.
    """
    m = [len(mean) for mean in means]
    blocks = [slice(b - w, b) for b, w in zip(np.cumsum(m), m, strict=True)]
    values, Y = leading_eigenpairs(_congruence(C, blocks, roots), dim)
    Y *= np.sqrt(values) * np.sign(Y[np.abs(Y).argmax(axis=0), np.arange(dim)])
    weights = [R @ Y[b] for R, b in zip(roots, slices_of(roots), strict=True)]
    return Solution(values.astype(np.float64), weights, list(means))


def _congruence(C: Array, blocks: Sequence[slice], R: Sequence[Array]) -> Array:
    """R^T C R of a symmetric C (m, m) and a block-diagonal R [(m_i, r_i)], from one triangle of blocks."""
    cut = slices_of(R)
    K = np.empty((cut[-1].stop, cut[-1].stop), C.dtype)
    for j, b in enumerate(blocks):
        right = C[: b.stop, b] @ R[j]
        for i in range(j + 1):
            K[cut[i], cut[j]] = R[i].T @ right[blocks[i]]
            K[cut[j], cut[i]] = K[cut[i], cut[j]].T
    return K


def leading_eigenpairs(K: Array, dim: int) -> tuple[Array, Array]:
    """The largest eigenvalues (dim,) of a symmetric K (m, m), largest first, and their vectors (m, dim).

    float64 is exact to rounding; float32, for folds and permutations, to four digits.
    """
    m = len(K)
    values, vectors = _lanczos(K, dim) if m > max(_DENSE, 8 * dim) else (None, None)
    if values is None or vectors is None:
        values, vectors = eigh(K, dim)
    order = np.argsort(-values)
    return values[order], vectors[:, order]


def _lanczos(K: Array, dim: int) -> tuple[Array, Array] | tuple[None, None]:
    """A tenth of the work, or nothing where it does not converge or, in float64, missed a copy of an eigenvalue."""
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    exact = K.dtype == np.float64
    start = np.random.default_rng(len(K)).standard_normal(len(K)).astype(K.dtype)
    try:
        values, vectors = eigsh(K, k=dim, tol=1e-9 if exact else 1e-4, v0=start)
    except ArpackNoConvergence:
        return None, None
    return (values, vectors) if not exact or _none_missed(K, values, vectors) else (None, None)


def _none_missed(K: Array, values: Array, vectors: Array) -> bool:
    """Is no other eigenvalue above the least of `values`, so that least - (K - V values V^T) is positive definite."""
    from scipy.linalg import cholesky

    rest = (vectors * values) @ vectors.T - K
    rest[np.diag_indices(len(K))] += values.min() + 1e-8 * values.max()
    try:
        cholesky(rest, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        return False
    return True


@dataclass(frozen=True, slots=True, eq=False)
class FoldMoments:
    """Sums and products of rows by fold, so that every training set is a difference; views are cut at `blocks`."""

    counts: NDArray[np.intp]  # (folds,)
    sums: Array  # (folds, m)
    products: Array  # (folds, m, m)
    blocks: list[slice]

    @classmethod
    def of(cls, U: Sequence[AnyArray], folds: NDArray[np.intp]) -> "FoldMoments":
        """Of whitened rows U [(n, r_i)] float32 in folds (n,)."""
        counts, blocks = np.bincount(folds), slices_of(U)
        m = blocks[-1].stop
        sums, products = np.empty((len(counts), m), np.float32), np.empty((len(counts), m, m), np.float32)
        for fold in range(len(counts)):
            rows = like(np.flatnonzero(folds == fold), U[0])
            B = namespace(U[0]).concatenate([u[rows] for u in U], axis=1)
            sums[fold], products[fold] = to_numpy(B.sum(0)), to_numpy(B.T @ B)
        return cls(counts, sums, products, blocks)

    def take(self, subset: Sequence[int]) -> "FoldMoments":
        """Of some of the views."""
        columns = np.concatenate([np.arange(b.start, b.stop) for b in (self.blocks[i] for i in subset)])
        widths = [self.blocks[i].stop - self.blocks[i].start for i in subset]
        blocks = [slice(b - w, b) for b, w in zip(np.cumsum(widths), widths, strict=True)]
        return FoldMoments(self.counts, self.sums[:, columns], self.products[:, columns[:, None], columns], blocks)

    def training(self) -> Iterator[tuple[Array, list[Array]]]:
        """Covariance (m, m) and means [(m_i,)] of the rows outside each fold."""
        count, total, product = self.counts.sum(), self.sums.sum(axis=0), self.products.sum(axis=0)
        for n, s, p in zip(self.counts, self.sums, self.products, strict=True):
            mean = (total - s) / np.float32(count - n)
            yield (product - p) / np.float32(count - n) - np.outer(mean, mean), [mean[b] for b in self.blocks]
