"""Ratios of GCCA to its peers, in one process and one thread, in seconds of processor time.

    python benchmarks/bench_gcca.py            # half a minute
    python benchmarks/bench_gcca.py --small    # seconds

The peers are cca-zoo's GCCA, where it is installed, and the textbook, one generalised eigenproblem for scipy. The check
is the largest difference of eigenvalues. The last lines give the cost of what no peer gives: held-out values, their
intervals, and one permutation of the null.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, eigh
from threadpoolctl import threadpool_limits

from noisezoo.analysis.maxvar import gcca
from noisezoo.analysis.simulation import simulate_une

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; `agreement` is the check, in words and numbers."""

    what: str
    ours: float
    peer: float
    agreement: str

    def __str__(self) -> str:
        return f"{self.what:<58} {self.ours:9.3f} s {self.peer:9.3f} s {self.peer / self.ours:8.1f}x  {self.agreement}"


def timed(run: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Least processor time of several runs, in seconds, and the last result."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        best = min(best, time.process_time() - start)
    return best, result


def against_peers(views: list[NDArray[np.float32]], dim: int, ridge: float) -> Iterator[Row]:
    """Fits alone: eigenvalues, weights and shared variables."""
    seconds, space = timed(lambda: gcca(views, dim, ridge=ridge))
    n, doubles = len(views[0]), [X.astype(np.float64) for X in views]
    sizes = f"{len(views)} x {views[0].shape[1]}, n = {n}, ridge {ridge:g}"
    peer, values = timed(lambda: _textbook(doubles, dim, ridge), repeats=1)
    yield Row(f"GCCA {sizes}, scipy eigh", seconds, peer, _agreement(space.eigenvalues, values))
    if not ridge:  # cca-zoo shrinks towards the identity, which is not free of scale
        peer, values = timed(lambda: _cca_zoo(doubles, dim), repeats=2)
        yield Row(f"GCCA {sizes}, cca-zoo", seconds, peer, _agreement(space.eigenvalues, values))


def _agreement(ours: Floats, theirs: Floats) -> str:
    return f"eigenvalues within {np.abs(ours - theirs).max():.0e}"


def _textbook(views: list[Floats], dim: int, ridge: float) -> Floats:
    centred = [X - X.mean(axis=0) for X in views]
    H = np.hstack(centred)
    own = [X.T @ X for X in centred]
    ridged = [S + ridge * np.trace(S) / len(S) * np.eye(len(S)) for S in own]
    m = H.shape[1]
    values = eigh(H.T @ H, block_diag(*ridged), subset_by_index=[m - dim, m - 1])[0]
    return np.asarray(values[::-1] / len(views))


def _cca_zoo(views: list[Floats], dim: int) -> Floats:
    """The fit; eigenvalues from its scores, which it regresses on each view."""
    try:
        from cca_zoo.linear import GCCA
    except ImportError:
        return np.full(dim, np.nan)
    scores = GCCA(n_components=dim).fit(views).transform(views)
    return np.asarray(np.mean([(Z**2).sum(axis=0) for Z in scores], axis=0) / (len(views[0]) - 1))


def inference(views: list[NDArray[np.float32]], dim: int) -> Iterator[str]:
    """Seconds of what comes with a fit on demand."""
    runs = {
        "held-out values, 5 folds": lambda s: s.held_out_values,
        "with intervals from 16 splits in halves": lambda s: s.held_out,
        "null, a permutation": lambda s: s.null,
    }
    for what, run in runs.items():
        space = gcca(views, dim, n_permutations=1)
        yield f"{what:<58} {timed(lambda run=run, space=space: run(space), repeats=1)[0]:9.3f} s"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller sizes, a few seconds")
    options = parser.parse_args()
    n, d, dim = (1000, 100, 16) if options.small else (4000, 500, 32)
    print(f"{'':<58} {'ours':>11} {'peer':>11} {'ratio':>9}  agreement")
    with threadpool_limits(1):
        for control in (None, "independent"):
            views = simulate_une(n, view_dims=(d,) * 4, control=control).views
            print("views that share" if control is None else "independent views")
            for ridge in (0.0, 0.1):
                for row in against_peers(views, dim, ridge):
                    print(row, flush=True)
        for line in inference(views, dim):
            print(line, flush=True)


if __name__ == "__main__":
    main()
