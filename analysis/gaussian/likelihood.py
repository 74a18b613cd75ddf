"""How likely each row is under the Gaussian law of the others: whitened norms, and rows that no such law would give."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    AnyArray,
    Draws,
    Floats,
    Interval,
    Resampling,
    Result,
    as_matrix,
    assign_folds,
    interval_of_rate,
    principal_frame,
    to_numpy,
)

_MOST_AXES = 100


@dataclass(frozen=True, eq=False)
class RowLikelihood(Result):
    """Every row under a Gaussian law that was fitted without it.

    `p_values` are uniform for Gaussian rows, exactly: a row is compared with a mean and covariance of other rows, on
    axes of yet others, by Hotelling's law. Rows are called outliers by Benjamini and Yekutieli's false discovery rate.
    """

    log_likelihood: Floats  # (n,) natural, of the leading axes
    norm: Floats  # (n,) whitened, over the square root of the number of axes: about 1
    p_values: Floats  # (n,) of as large a norm or larger
    outlier: NDArray[np.bool_]  # (n,)
    share: Interval  # of rows with p <= 0.05, which is 0.05 for Gaussian rows
    n: int
    axes: int
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a row."""
        columns = zip(*(c.tolist() for c in (self.log_likelihood, self.norm, self.p_values, self.outlier)), strict=True)
        names = ("row", "log_likelihood", "norm", "p_value", "outlier")
        return [dict(zip(names, (row, *values), strict=True)) for row, values in enumerate(columns)]


def row_likelihood(
    X: AnyArray,
    *,
    axes: int = 50,
    groups: ArrayLike | None = None,
    n_folds: int = 5,
    false_discovery_rate: float = 0.05,
    confidence: float = 0.95,
    seed: int = 42,
) -> RowLikelihood:
    """Gaussian log-likelihood and whitened norm of each row of X (n, d), n >= 60, on leading principal axes.

    For every fold, a third of the other rows gives the leading axes and the rest, m rows, mean and covariance S on
    them. For a Gaussian row x, D^2 = (x - mean) S^-1 (x - mean)^T has m (m - k) D^2 / ((m^2 - 1) k) ~ F(k, m - k)
    (Hotelling 1931), whatever n, d and the covariance, as the axes are independent of x and of S.

    X is an array or torch tensor. There are at most a quarter as many `axes` as rows that S is of. Outliers have the
    `false_discovery_rate`. `groups`, which do not straddle axes and covariance either, and the draws are as in `Draws`.

    Raises:
        ValueError: fewer than 60 rows, or what `as_matrix` and `assign_folds` refuse.
    """
    from scipy.stats import f as fisher, false_discovery_control

    draws = Draws(n_folds=n_folds, confidence=confidence, seed=seed)
    rows = as_matrix(X, min_rows=60)
    n, drawn = len(rows), Resampling.of(len(rows), groups, draws)
    folds = drawn.folds
    thirds = assign_folds(n, 3, seed=seed + 1, groups=groups)
    fewest = min(int(((folds != f) & (thirds > 0)).sum()) for f in range(n_folds))
    k = max(1, min(axes, _MOST_AXES, rows.shape[1], fewest // 4))
    density, squares, p = np.empty(n), np.empty(n), np.empty(n)
    for fold in range(n_folds):
        test, other = folds == fold, folds != fold
        scores = _scores(rows, rows[other & (thirds == 0)], k)
        fitted = scores[other & (thirds > 0)]
        m, own = fitted.shape
        centred, S = scores[test] - fitted.mean(axis=0), np.atleast_2d(np.cov(fitted.T))
        squares[test] = np.einsum("ij,ij->i", centred, np.linalg.solve(S, centred.T).T)
        density[test] = -(own * np.log(2 * np.pi) + np.linalg.slogdet(S)[1] + squares[test]) / 2
        p[test] = fisher.sf(squares[test] * m * (m - own) / ((m**2 - 1) * own), own, m - own)
    outlier = false_discovery_control(p, method="by") <= false_discovery_rate
    share = interval_of_rate((p <= 0.05).astype(np.float64), drawn.units, confidence)
    return RowLikelihood(density, np.sqrt(squares / k), p, outlier, share, n, k, draws)


def _scores(rows: NDArray[Any], some: NDArray[Any], k: int) -> Floats:
    """All rows on the k leading principal axes of some of them."""
    frame = principal_frame(some, leading=k)
    axes = frame.lift(np.eye(len(to_numpy(frame.eigenvalues))))
    return np.asarray((rows - frame.mean) @ (axes / np.linalg.norm(axes, axis=0)), np.float64)
