"""The sampling error of a whole cross-validation, training included, from half-samples.

Resampling only the rows that are scored treats the fitted probes as given. It leaves out that other rows would have
fitted other probes, and that two rows of different folds each stand in the other's training set and err together. Here
the rows are split in two halves at random, s times, and the whole cross-validation runs on each. The halves of a split
are disjoint, hence independent, so that half their difference has about the variance of the estimate from all rows:

    v = mean over splits of (m_A - m_B)^2 / 4.

This is the half-sample variance of McCarthy (1969), a delete-d jackknife with d = n/2 (Shao and Wu 1989, Annals of
Statistics 17). Small deletions would not do: an accuracy is a step function of the weights, for which a jackknife needs
d to grow with n. Deleting one group of 20 gave standard errors 1.7 to 2 times too wide in simulation.

A half learns less than all rows do, which errs towards wide. Strengths C stay as chosen on all rows; they are
prior variances of a logit, and mean the same at any number of rows.
"""

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis._logistic import Array
from noisezoo.analysis._metrics import METRICS, OutOfFold
from noisezoo.analysis._path import fit_without_each_fold, held_out_logits
from noisezoo.analysis.intervals import Floats, units_of


def half_samples(
    folds: NDArray[np.intp], n_splits: int, *, seed: int, groups: NDArray[np.generic] | None = None
) -> NDArray[np.bool_]:
    """Rows of the first half in each split, (n_splits, n): half the rows, or groups, of every fold (n,).

    Depends on its arguments only, so that views of the same rows are halved alike and differences are paired.

    Raises:
        ValueError: so few groups that a half could hold one fold only, and nothing to fit its probes on.
    """
    units = units_of(len(folds), groups)
    fold_of_unit = folds[np.unique(units, return_index=True)[1]]
    if np.sum(np.bincount(fold_of_unit) >= 2) < 2:
        raise ValueError(
            f"{len(fold_of_unit)} independent rows or groups in {folds.max() + 1} folds are too few for an interval: "
            "two folds must hold two or more each; use fewer folds or smaller groups"
        )
    rng = np.random.default_rng([seed, 2])
    halves = np.empty((n_splits, len(fold_of_unit)), dtype=np.bool_)
    for half in halves:
        half[np.lexsort((rng.random(half.size), fold_of_unit))] = np.arange(half.size) % 2 == 0
    return halves[:, units]


def half_contrasts(
    T: Array, Y: Floats, folds: NDArray[np.intp], C: Floats, halves: NDArray[np.bool_]
) -> dict[str, Floats]:
    """(m_A - m_B) / 2 of every metric m, split and attribute: metric -> (n_splits, k).

    Args:
        T: (n, r) scaled principal scores; `fit_without_each_fold` says more.
        Y: (n, k) labels.
        folds: (n,) the same on a half as on the whole.
        C: (folds, k) strengths.
        halves: (n_splits, n) as `half_samples` gives them.

    Returns:
        Contrasts; NaN where a half holds one class only.
    """
    whole = fit_without_each_fold(T, Y, folds, C)

    def scores(rows: NDArray[np.bool_]) -> Floats:
        t, y, fold = T[rows], Y[rows], folds[rows]
        o = OutOfFold.of(held_out_logits(t, fold, fit_without_each_fold(t, y, fold, C, whole)), y, fold)
        return np.stack([run(o) for run in METRICS.values()])  # (metrics, k)

    contrasts = np.array([(scores(half) - scores(~half)) / 2 for half in halves])  # (n_splits, metrics, k)
    return {metric: contrasts[:, m] for m, metric in enumerate(METRICS)}
