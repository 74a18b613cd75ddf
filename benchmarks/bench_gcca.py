"""Ratios of GCCA to its peers, in one process and one thread, in seconds of processor time.

    python -m benchmarks.bench_gcca            # half a minute
    python -m benchmarks.bench_gcca --small    # seconds

The peers are cca-zoo's GCCA, where it is installed, and the textbook, one generalised eigenproblem for scipy. The check
is the largest difference of eigenvalues. The last lines give the cost of what no peer gives: held-out values, their
intervals, and one permutation of the null.
"""

import argparse
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, eigh

from benchmarks.ratios import WIDTH, Row, show, timed
from noisezoo.analysis.controls.simulation import simulate_une
from noisezoo.analysis.relations.gcca import gcca

Floats = NDArray[np.float64]


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
        yield f"{what:<{WIDTH}} {timed(lambda run=run, space=space: run(space), repeats=1)[0]:9.3f} s"


def tables(n: int, d: int, dim: int) -> Iterator[Iterable[Row | str]]:
    """Of views that share and of independent ones, then the cost of inference."""
    for control in (None, "independent"):
        views = simulate_une(n, view_dims=(d,) * 4, control=control).views
        yield ["views that share" if control is None else "independent views"]
        yield from (against_peers(views, dim, ridge) for ridge in (0.0, 0.1))
    yield inference(views, dim)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller sizes, a few seconds")
    options = parser.parse_args()
    n, d, dim = (1000, 100, 16) if options.small else (4000, 500, 32)
    show(tables(n, d, dim))


if __name__ == "__main__":
    main()
