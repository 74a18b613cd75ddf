"""Ratios of stitching and alignment to their peers, in one process and one thread, in seconds of processor time.

    python -m benchmarks.bench_alignment            # a minute or two
    python -m benchmarks.bench_alignment --small    # seconds

The peers of CKA and mutual neighbours are the functions of platonic-rep (Huh et al. 2024), which cannot be installed,
in plain torch: kernels of n x n with a matrix product for the unbiased HSIC; similarities, a full sort (its way) or
topk, and masks of n x n. Our CKA brings its jackknife. The peers of stitching are scikit-learn's Ridge for every
target, strength and fold, and its RidgeCV.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV

from benchmarks.ratios import WIDTH, Row, show, timed
from noisezoo.analysis.core.halves import assign_folds
from noisezoo.analysis.relations.alignment import alignment
from noisezoo.analysis.relations.cka import LinearKernel, unbiased_cka
from noisezoo.analysis.relations.neighbours import nearest, overlap
from noisezoo.analysis.relations.ridge import cut, regress
from noisezoo.analysis.relations.stitch import stitch_many

Singles = NDArray[np.float32]
RIDGES = [1e-3, 1e-2, 1e-1, 1.0, 10.0]


def views(n: int, d: int, count: int) -> list[Singles]:
    """Noisy rotations of one Gaussian."""
    rng = np.random.default_rng(0)
    S = rng.standard_normal((n, d))
    maps = (rng.standard_normal((d, d)) / np.sqrt(d) for _ in range(count))
    return [(S @ A + rng.standard_normal((n, d))).astype(np.float32) for A in maps]


def hsic_unbiased(K: torch.Tensor, L: torch.Tensor) -> torch.Tensor:
    """Song et al. (2012), equation 5, with the product of kernels formed."""
    m = K.shape[0]
    K, L = K.clone().fill_diagonal_(0), L.clone().fill_diagonal_(0)
    value = (K * L.T).sum() + K.sum() * L.sum() / ((m - 1) * (m - 2)) - 2 * (K @ L).sum() / (m - 2)
    return value / (m * (m - 3))


def plain_cka(X: torch.Tensor, Y: torch.Tensor) -> float:
    """Unbiased CKA of two sets of features."""
    K, L = X @ X.T, Y @ Y.T
    return float(hsic_unbiased(K, L) / torch.sqrt(hsic_unbiased(K, K) * hsic_unbiased(L, L)))


def plain_mutual_knn(X: torch.Tensor, Y: torch.Tensor, k: int, *, sort: bool) -> float:
    """Share of mutual neighbours, through masks."""
    n, masks = len(X), []
    for A in (X, Y):
        A = torch.nn.functional.normalize(A, dim=-1)
        S = (A @ A.T).fill_diagonal_(-1e8)
        found = S.argsort(dim=1, descending=True)[:, :k] if sort else S.topk(k, dim=1).indices
        mask = torch.zeros(n, n)
        mask[torch.arange(n)[:, None], found] = 1.0
        masks.append(mask)
    return float(((masks[0] * masks[1]).sum(dim=1) / k).mean())


def ours_cka(X: Singles, Y: Singles) -> float:
    """From raw rows to the value, jackknife included."""
    kernels = (A - A.mean(axis=0) for A in (X, Y))
    return unbiased_cka(*(LinearKernel(A / np.sqrt(np.square(A).sum() / len(A))) for A in kernels))[0]


def measures(n: int, d: int, k: int = 10) -> Iterator[Row | str]:
    """CKA and mutual neighbours of one pair, then all of `alignment`."""
    X, Y = views(n, d, 2)
    tensors = torch.from_numpy(X), torch.from_numpy(Y)
    seconds, value = timed(lambda: ours_cka(X, Y))
    peer, expected = timed(lambda: plain_cka(*(A - A.mean(0) for A in tensors)), repeats=1)
    yield Row(f"unbiased CKA, n = {n}, d = {d}", seconds, peer, f"within {abs(value - expected):.0e}")
    seconds, share = timed(lambda: overlap(nearest(X, k), nearest(Y, k)).mean())
    for name, sort in (("a full sort", True), ("topk", False)):
        plain = partial(plain_mutual_knn, *tensors, k, sort=sort)
        peer, expected = timed(plain, repeats=1 if sort else 3)
        yield Row(f"mutual {k}-NN, against {name}", seconds, peer, f"within {abs(share - expected):.0e}")
    seconds, found = timed(lambda: alignment(X, Y, max_rows=None), repeats=1)
    yield f"{'all four measures with intervals and nulls':<{WIDTH}} {seconds:9.3f} s  CKA {found.cka}"


def stitching(n: int, d: int, targets: int, n_folds: int = 5) -> Iterator[Row]:
    """Held-out R2 of every target at every strength."""
    X, *others = views(n, d, 1 + targets)
    named = {str(j): Y for j, Y in enumerate(others)}
    folds = assign_folds(n, n_folds, seed=42)

    def held_out_only() -> list[NDArray[np.float64]]:
        source = cut(X, folds)
        return [regress(source, Y).errors(np.array(RIDGES)) for Y in others]

    same, _ = timed(held_out_only, repeats=2)
    settings: dict[str, Any] = {"ridge": RIDGES, "n_folds": n_folds, "n_permutations": 0}
    seconds, found = timed(lambda: stitch_many(X, named, **settings), repeats=2)
    peer, expected = timed(lambda: [_ridge_loop(X, Y, folds) for Y in others], repeats=1)
    error = max(np.abs(found[name].path - path).max() for name, path in zip(named, expected, strict=True))
    what = f"{targets} targets x {len(RIDGES)} ridges, n = {n}, d = e = {d}"
    yield Row(f"held-out R2, {what}, Ridge", same, peer, f"R2 within {error:.0e}")
    yield Row("  and intervals, retrieval and the maps", seconds, peer, "")
    peer, _ = timed(lambda: [_ridge_cv(X, Y, folds) for Y in others], repeats=1)
    yield Row(f"held-out R2, {what}, RidgeCV", same, peer, "which chooses by leaving one out")
    yield Row("  and intervals, retrieval and the maps", seconds, peer, "")


def _ridge_loop(X: Singles, Y: Singles, folds: NDArray[np.intp]) -> NDArray[np.float64]:
    errors, spread = np.zeros(len(RIDGES)), 0.0
    for f in range(folds.max() + 1):
        train = folds != f
        unit = np.square(X[train] - X[train].mean(axis=0)).sum() / X.shape[1]
        for j, ridge in enumerate(RIDGES):
            predicted = Ridge(alpha=ridge * unit).fit(X[train], Y[train]).predict(X[~train])
            errors[j] += np.square(Y[~train] - predicted).sum(dtype=np.float64)
        spread += np.square(Y[~train] - Y[train].mean(axis=0)).sum(dtype=np.float64)
    return np.asarray(1 - errors / spread)


def _ridge_cv(X: Singles, Y: Singles, folds: NDArray[np.intp]) -> list[float]:
    scores = []
    for f in range(folds.max() + 1):
        train = folds != f
        unit = np.square(X[train] - X[train].mean(axis=0)).sum() / X.shape[1]
        fitted = RidgeCV(ridges=np.array(RIDGES) * unit).fit(X[train], Y[train])
        scores.append(float(np.square(Y[~train] - fitted.predict(X[~train])).sum()))
    return scores


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller sizes, a few seconds")
    options = parser.parse_args()
    n, d, targets = (1000, 128, 3) if options.small else (5000, 500, 7)
    torch.set_num_threads(1)
    show([measures(n, d), stitching(n, d, targets)])


if __name__ == "__main__":
    main()
