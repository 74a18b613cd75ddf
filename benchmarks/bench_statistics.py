"""Ratios of normality tests and of the bootstrap to their peers, in one process and one thread.

    python -m benchmarks.bench_statistics            # half a minute
    python -m benchmarks.bench_statistics --small    # seconds

Every pair of times is printed with the check that both sides computed the same thing.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.ratios import Row, show, timed
from noisezoo.analysis import anderson_darling, bootstrap_means, dagostino_pearson, resample_counts, shapiro_wilk

Floats = NDArray[np.float64]


def normality(n: int, m: int, measured: int) -> Iterator[Row]:
    """Ours on all m columns; scipy's loop on `measured` of them, its time scaled to m."""
    Z = np.random.default_rng(0).standard_normal((n, m))
    peers: dict[str, tuple[Callable[[Floats], Any], Callable[[Floats], Any]]] = {
        "Anderson-Darling": (anderson_darling, _scipy_anderson_darling),
        "D'Agostino-Pearson": (dagostino_pearson, stats.normaltest),
        "Shapiro-Wilk": (shapiro_wilk, stats.shapiro),
    }
    for name, (ours, peer) in peers.items():
        seconds, (statistic, _) = timed(partial(ours, Z))
        loop, results = timed(partial(_over, peer, Z[:, :measured].T), repeats=1)
        expected = [result.statistic for result in results]
        error = float(np.abs(statistic[:measured] - expected).max())
        what = f"{name}, n={n} x {m}, scipy on {measured}, scaled"
        yield Row(what, seconds, loop * m / measured, f"statistics within {error:.0e}")


def _scipy_anderson_darling(z: Floats) -> Any:
    return stats.anderson(z, "norm", method="interpolate")


def _over(run: Callable[[Floats], Any], samples: Floats) -> list[Any]:
    return [run(z) for z in samples]


def bootstrap(n: int, m: int, n_boot: int) -> Iterator[Row]:
    """n_boot resamples of m accuracies."""
    correct = (np.random.default_rng(2).random((n, m)) < 0.8).astype(float)
    seconds, ours = timed(lambda: bootstrap_means(correct, resample_counts(n, n_boot)))

    def loop() -> Floats:
        rng = np.random.default_rng(42)
        return np.array([correct[rng.integers(n, size=n)].mean(axis=0) for _ in range(n_boot)])

    peer_seconds, expected = timed(loop, repeats=1)
    error = float(np.abs(ours - expected).max())  # one stream of draws: the same resamples
    yield Row(f"bootstrap, {n_boot} resamples of {n} x {m}", seconds, peer_seconds, f"replicates within {error:.0e}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller sizes, a few seconds")
    options = parser.parse_args()
    columns, measured, rows = (2000, 200, 500) if options.small else (10000, 1000, 2000)
    many, few = normality(250, columns, measured), normality(5000, columns // 10, measured // 10)
    show([many, few, bootstrap(rows, 320, 1000), bootstrap(4 * rows, 320, 1000)])


if __name__ == "__main__":
    main()
