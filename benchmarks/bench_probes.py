"""Our probes against scikit-learn's, in one process and one thread, and what a whole probe table costs.

    python -m benchmarks.bench_probes            # a minute
    python -m benchmarks.bench_probes --small    # seconds
    python -m benchmarks.bench_probes --saga     # minutes: also the paper's solver
    python -m benchmarks.bench_probes --table    # minutes: a probe table of 24,000 x 500 and of half its rows

A peer is timed on a few attributes and scaled to all: it fits them one by one. Every ratio is printed with the excess
of our objective over the peer's, in nats a row, and over newton-cholesky's where there are more rows than columns.
"""

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit
from sklearn.linear_model import LogisticRegression

from benchmarks.ratios import Row, show, timed
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


def compare(case: Case, solvers: list[str], C: float = 1.0) -> Iterator[Row | str]:
    """Ours at scikit-learn's default C against each solver."""
    X, Y = problem(case.n, case.d)
    seconds, ours = timed(lambda: fit_probes(X, Y, C=C))
    yield f"{case.name}: {ATTRIBUTES} probes, {case.n} x {case.d}, C = {C:g}"
    for solver in solvers:
        some = [*range(0, ATTRIBUTES, ATTRIBUTES // MEASURED[solver])]
        spent, fitted = timed(partial(_peers, X, Y[:, some], C, solver), repeats=1)
        excess = max(_excess(X, Y[:, j], C, ours, j, peer) for j, peer in zip(some, fitted, strict=True))
        likeness = min(cosine(ours.coef[:, j], peer.coef_[0]) for j, peer in zip(some, fitted, strict=True))
        promised = f" (at least {case.least[solver]:g}x)" if solver in case.least else ""
        agreement = f"objective {excess:+.1e} nats a row, cosine {likeness:.6f}"
        yield Row(f"  {solver}{promised}", seconds, spent * ATTRIBUTES / len(some), agreement)


def _peers(X: Floats, Y: Floats, C: float, solver: str) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # saga's ConvergenceWarning: its objective says the same in numbers
        return [LogisticRegression(C=C, solver=solver, max_iter=1000).fit(X, y) for y in Y.T]


def _excess(X: Floats, y: Floats, C: float, ours: Any, j: int, peer: Any) -> float:
    return _objective(X, y, C, ours.coef[:, j], ours.intercept[j]) - _objective(
        X, y, C, peer.coef_[0], float(peer.intercept_[0])
    )


def _objective(X: Floats, y: Floats, C: float, w: Floats, b: float) -> float:
    z = X @ w + b
    return float(-np.mean(y * log_expit(z) + (1 - y) * log_expit(-z)) + w @ w / (2 * C * len(y)))


def probe_tables(d: int = 500) -> Iterator[str]:
    """Processor time of whole default probe tables."""
    for n in (12_000, 24_000):
        X, Y = problem(n, d)
        names = [f"attribute {j}" for j in range(ATTRIBUTES)]
        spent, _ = timed(partial(probe_table, X.astype(np.float32), Y, names), repeats=1)
        yield f"probe table, {n} x {d}, {ATTRIBUTES} attributes: {spent:.1f} s"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller sizes, seconds")
    parser.add_argument("--saga", action="store_true", help="also scikit-learn's saga, the paper's solver: minutes")
    parser.add_argument("--table", action="store_true", help="also whole probe tables: minutes")
    options = parser.parse_args()
    solvers = ["lbfgs", "newton-cholesky"] + ["saga"] * options.saga
    tables = [compare(case, solvers) for case in (SMALL if options.small else CASES)]
    show([*tables, *([probe_tables()] if options.table else [])])


if __name__ == "__main__":
    main()
