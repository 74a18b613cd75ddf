"""Our probes against scikit-learn's, in one process and one thread, and what a whole probe table costs.

    python benchmarks/bench_probes.py            # a minute
    python benchmarks/bench_probes.py --small    # seconds
    python benchmarks/bench_probes.py --saga     # minutes: also the paper's solver
    python benchmarks/bench_probes.py --table    # minutes: a probe table of 24,000 x 500 and of half its rows

A peer is timed on a few attributes and scaled to all: it fits them one by one. Every ratio is printed with the excess
of our objective over the peer's, in nats a row, and over newton-cholesky's where there are more rows than columns.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from noisezoo.analysis import cosine, fit_probes, probe_table

Floats = NDArray[np.float64]
ATTRIBUTES = 40
MEASURED = {"saga": 2, "lbfgs": 4, "newton-cholesky": 2}
"""Attributes that a peer is timed on."""


@dataclass(frozen=True, slots=True)
class Case:
    """A problem of the paper's kind: d is 500 principal components, or a raw embedding."""

    name: str
    n: int
    d: int
    least: dict[str, float]  # solver -> ratio that is promised


CASES = (
    Case("principal components", 8000, 500, {"saga": 200, "lbfgs": 20}),
    Case("raw embedding", 6000, 2048, {"saga": 60, "lbfgs": 5}),
)
SMALL = (Case("principal components, small", 2000, 100, {}), Case("raw embedding, small", 1500, 400, {}))


def problem(n: int, d: int, k: int = ATTRIBUTES) -> tuple[Floats, Floats]:
    """Correlated rows (n, d), each column as far from white as a random mixing makes it, and noisy labels (n, k)."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / np.sqrt(d)
    scores = X @ rng.standard_normal((d, k)) / np.sqrt(d) + rng.standard_normal((n, k))
    return X, (scores > np.linspace(0, 1.5, k)).astype(float)


def timed(run: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Least processor time of several runs, in seconds, and the last result: others may share the machine."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        best = min(best, time.process_time() - start)
    return best, result


def compare(case: Case, solvers: list[str], C: float = 1.0) -> None:
    """Print our time at scikit-learn's default C, and the ratio to each solver."""
    X, Y = problem(case.n, case.d)
    seconds, ours = timed(lambda: fit_probes(X, Y, C=C), repeats=3)
    print(f"{case.name}: {ATTRIBUTES} probes, {case.n} x {case.d}, C = {C:g}: ours {seconds:.3f} s")
    for solver in solvers:
        some = [*range(0, ATTRIBUTES, ATTRIBUTES // MEASURED[solver])]
        spent, fitted = timed(lambda solver=solver, some=some: [_peer(X, Y[:, j], C, solver) for j in some])  # type: ignore[misc]
        ratio = spent * ATTRIBUTES / len(some) / seconds
        excess = max(_excess(X, Y[:, j], C, ours, j, peer) for j, peer in zip(some, fitted, strict=True))
        likeness = min(cosine(ours.coef[:, j], peer.coef_[0]) for j, peer in zip(some, fitted, strict=True))
        promised = f"of {case.least[solver]:g}x" if solver in case.least else ""
        agreement = f"objective {excess:+.1e} nats a row, cosine {likeness:.6f}"
        print(f"  {solver:<16} {spent / len(some):8.2f} s each {ratio:8.1f}x {promised:<8} {agreement}", flush=True)


def _peer(X: Floats, y: Floats, C: float, solver: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # saga's ConvergenceWarning: its objective says the same in numbers
        return LogisticRegression(C=C, solver=solver, max_iter=1000).fit(X, y)


def _excess(X: Floats, y: Floats, C: float, ours: Any, j: int, peer: Any) -> float:
    return _objective(X, y, C, ours.coef[:, j], ours.intercept[j]) - _objective(
        X, y, C, peer.coef_[0], float(peer.intercept_[0])
    )


def _objective(X: Floats, y: Floats, C: float, w: Floats, b: float) -> float:
    z = X @ w + b
    return float(-np.mean(y * log_expit(z) + (1 - y) * log_expit(-z)) + w @ w / (2 * C * len(y)))


def table(n: int, d: int = 500) -> float:
    """Processor time of a whole default probe table, in seconds."""
    X, Y = problem(n, d)
    return timed(lambda: probe_table(X.astype(np.float32), Y, [f"attribute {j}" for j in range(ATTRIBUTES)]))[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller sizes, seconds")
    parser.add_argument("--saga", action="store_true", help="also scikit-learn's saga, the paper's solver: minutes")
    parser.add_argument("--table", action="store_true", help="also whole probe tables: minutes")
    options = parser.parse_args()
    solvers = ["lbfgs", "newton-cholesky"] + ["saga"] * options.saga
    with threadpool_limits(1):
        for case in SMALL if options.small else CASES:
            compare(case, solvers)
        for n in (12_000, 24_000) if options.table else ():
            print(f"probe table, {n} x 500, {ATTRIBUTES} attributes: {table(n):.1f} s", flush=True)


if __name__ == "__main__":
    main()
