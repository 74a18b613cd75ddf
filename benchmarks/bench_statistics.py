"""Ratios of our statistics to their peers, in one process and one thread.

    python benchmarks/bench_statistics.py            # half a minute
    python benchmarks/bench_statistics.py --small    # seconds

Every pair of times is printed with the check that both sides computed the same thing.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import log_expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from noisezoo.analysis import anderson_darling, bootstrap_means, dagostino_pearson, fit_probes, resample_counts

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
    """Least wall time of several runs, in seconds, and the last result."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
    return best, result


def normality(n: int, m: int, measured: int) -> Iterator[Row]:
    """Ours on all m columns; scipy's loop on `measured` of them, its time scaled to m."""
    Z = np.random.default_rng(0).standard_normal((n, m))
    peers: dict[str, tuple[Callable[[Floats], Any], Callable[[Floats], Any]]] = {
        "Anderson-Darling": (anderson_darling, _scipy_anderson_darling),
        "D'Agostino-Pearson": (dagostino_pearson, stats.normaltest),
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


def probes(n: int, d: int, k: int, solver: str, C: float = 1e-2) -> Iterator[Row]:
    """All k attributes at a given C against one scikit-learn fit an attribute."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / np.sqrt(d)
    Y = ((X @ rng.standard_normal((d, k)) / np.sqrt(d) + rng.standard_normal((n, k))) > 0).astype(float)
    seconds, ours = timed(lambda: fit_probes(X, Y, C=C))
    peer_seconds, fitted = timed(
        lambda: [LogisticRegression(C=C, solver=solver, max_iter=5000).fit(X, y) for y in Y.T], repeats=1
    )
    worse = max(
        _objective(X, Y[:, j], C, ours.coef[:, j], ours.intercept[j])
        - _objective(X, Y[:, j], C, peer.coef_[0], float(peer.intercept_[0]))
        for j, peer in enumerate(fitted)
    )
    yield Row(
        f"{k} probes, {n} x {d}, scikit-learn {solver}", seconds, peer_seconds, f"objective {worse:+.0e} nats a row"
    )


def _objective(X: Floats, y: Floats, C: float, w: Floats, b: float) -> float:
    z = X @ w + b
    return float(-np.mean(y * log_expit(z) + (1 - y) * log_expit(-z)) + w @ w / (2 * C * len(y)))


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
    parser.add_argument(
        "--saga", action="store_true", help="also against scikit-learn's saga, the paper's solver: minutes"
    )
    options = parser.parse_args()
    columns, measured, rows = (2000, 200, 2000) if options.small else (10000, 1000, 8000)
    print(f"{'':<58} {'ours':>11} {'peer':>11} {'ratio':>9}  agreement")
    tables = [normality(250, columns, measured), normality(5000, columns // 10, measured // 10)]
    tables += [probes(rows, 500, k, "lbfgs") for k in (16, 40)] + [bootstrap(rows // 4, 320, 1000)]
    tables += [probes(rows, 500, 40, "saga")] if options.saga else []
    with threadpool_limits(1):
        for table in tables:
            for row in table:
                print(row, flush=True)


if __name__ == "__main__":
    main()
