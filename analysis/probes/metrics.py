"""How good out-of-fold logits are: one number an attribute, and how much of it hangs on each row.

The influence of a row is the derivative of the metric by the row's weight, given the probes: influences sum to zero and
their squares to the metric's variance over rows that are scored (DeLong et al. 1988, for the AUC).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Floats
from .logistic import log_losses

Scores = tuple[Floats, Floats]  # (k,) values and (n, k) influences


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Logits of every row from probes that never saw its fold."""

    logits: NDArray[np.floating[Any]]  # (n, k)
    prior: Floats  # (n, k) logit of the attribute's rate, or its mean, among the rows the probe was fitted on
    labels: Floats  # (n, k)
    folds: NDArray[np.intp]  # (n,)
    kept: NDArray[np.bool_]  # (n,) rows that probes may have been fitted on
    binary: bool = True  # labels are zeros and ones

    @classmethod
    def of(
        cls,
        logits: NDArray[np.floating[Any]],
        Y: Floats,
        folds: NDArray[np.intp],
        kept: NDArray[np.bool_] | None = None,
        binary: bool = True,
    ) -> "OutOfFold":
        """Logits (n, k) with the priors that follow from labels Y (n, k) of `kept` rows (None: all) and folds (n,)."""
        kept = np.ones(len(Y), dtype=np.bool_) if kept is None else kept
        rates = np.stack([Y[kept & (folds != f)].mean(axis=0) for f in range(int(folds.max()) + 1)])  # (folds, k)
        if binary:
            rates = np.clip(rates, 0.5 / len(Y), 1 - 0.5 / len(Y))  # a shuffled copy or a half-sample may miss a class
            rates = np.log(rates / (1 - rates))
        return cls(logits, rates[folds], Y, folds, kept, binary)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Is each row (n, k) on the right side of the training prior."""
        return np.asarray((self.logits > self.prior) == (self.labels > 0))

    def take(self, columns: NDArray[np.intp]) -> "OutOfFold":
        """The same rows with some of the attributes."""
        return replace(
            self, logits=self.logits[:, columns], prior=self.prior[:, columns], labels=self.labels[:, columns]
        )

    def part(self, rows: NDArray[np.bool_], logits: NDArray[np.floating[Any]]) -> "OutOfFold":
        """Some of the rows as a study of their own, with the logits (m, k) that it gave."""
        return OutOfFold.of(logits, self.labels[rows], self.folds[rows], self.kept[rows], self.binary)


def accuracy(o: OutOfFold) -> Scores:
    """Share of rows on the right side of probability one half: (k,), with influences (n, k)."""
    return _rate((o.logits > 0) == (o.labels > 0), np.ones_like(o.labels))


def balanced_accuracy(o: OutOfFold) -> Scores:
    """Mean of the two class-conditional accuracies, deciding at the training prior: chance is 1/2 at any rarity.

    A row is called positive when its probability exceeds the rate seen in training, the rule that maximises balanced
    accuracy for calibrated probabilities. At one half, a rare attribute would stand at 1/2 however well it is ranked.
    Returns (k,), NaN where a class has no row, with influences (n, k).
    """
    sensitivity, of_positives = _rate(o.correct, o.labels)
    specificity, of_negatives = _rate(o.correct, 1 - o.labels)
    return (sensitivity + specificity) / 2, (of_positives + of_negatives) / 2


def auc(o: OutOfFold) -> Scores:
    """Chance that a positive row outranks a negative row of the same fold; ties count one half (Mann and Whitney 1947).

    Pairs within a fold only: logits of different folds come from different probes and do not share a scale.
    Returns (k,), NaN where no fold has rows of both classes, with influences (n, k).
    """
    won, pairs = np.zeros_like(o.labels), np.zeros_like(o.labels)  # of each row, as either side
    for f in np.unique(o.folds):
        rows = o.folds == f
        won[rows], pairs[rows] = _contests(o.logits[rows], o.labels[rows])
    area = _ratio(won.sum(axis=0), pairs.sum(axis=0))
    return area, _ratio(won - area * pairs, pairs.sum(axis=0) / 2)


def auprc(o: OutOfFold) -> Scores:
    """Area under the curve of precision and recall (average precision), within folds; chance is the positive rate.

    The mean, over positive rows, of the precision among the rows of the fold that rank as high or higher.
    Returns (k,), NaN where there is no positive row, with influences (n, k).
    """
    precision, spill = np.zeros_like(o.labels), np.zeros_like(o.labels)
    for f in np.unique(o.folds):
        rows = o.folds == f
        precision[rows], spill[rows] = _precisions(o.logits[rows], o.labels[rows])
    positives = o.labels.sum(axis=0)
    area = _ratio((o.labels * precision).sum(axis=0), positives)
    return area, _ratio(o.labels * (precision - area) + spill, positives)


def r2(o: OutOfFold) -> Scores:
    """Share of the variance of continuous labels, about the training rows' mean, that predictions explain.

    Returns (k,), at most 1, with influences (n, k).
    """
    errors, spreads = (o.labels - o.logits) ** 2, (o.labels - o.prior) ** 2
    lost = _ratio(errors.sum(axis=0), spreads.sum(axis=0))
    return 1 - lost, _ratio(lost * spreads - errors, spreads.sum(axis=0))


def log_loss(o: OutOfFold) -> Scores:
    """Mean log-loss in nats a row, lower is better: (k,), with influences (n, k)."""
    losses = log_losses(o.logits.astype(np.float64), o.labels)
    mean = losses.mean(axis=0)
    return mean, (losses - mean) / len(losses)


def _ranks(z: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How many rows of scores (m, k) are less than each row, and how many no more."""
    from scipy.stats import rankdata

    first, last = (rankdata(z, method, axis=0).astype(np.intp) for method in ("min", "max"))
    return first - 1, last


def _below(z: NDArray[Any], values: Floats, index: NDArray[np.intp]) -> Floats:
    """Sums of values (m, k) over as many rows as `index` (m, k) says, those of least scores (m, k)."""
    ordered = np.take_along_axis(values, z.argsort(axis=0), axis=0)
    return np.take_along_axis(np.vstack([np.zeros_like(values[:1]), ordered.cumsum(axis=0)]), index, axis=0)


def _contests(z: NDArray[Any], y: Floats) -> tuple[Floats, Floats]:
    """Pairs of opposite classes where the positive ranks higher, and all that each row is in: both (m, k)."""
    first, last = _ranks(z)
    positives = y.sum(axis=0)
    positives_below = (_below(z, y, first) + _below(z, y, last)) / 2
    negatives_below = (first + last) / 2 - positives_below
    return np.where(y > 0, negatives_below, positives - positives_below), np.where(y > 0, len(y) - positives, positives)


def _precisions(z: NDArray[Any], y: Floats) -> tuple[Floats, Floats]:
    """Precision at each row's rank, and how the positives' precisions change by each row's weight, both (m, k)."""
    first, last = _ranks(z)
    above = len(z) - first  # rows that score as much or more
    precision = (y.sum(axis=0) - _below(z, y, first)) / above
    return precision, y * _below(z, y / above, last) - _below(z, y * precision / above, last)


def _rate(hit: NDArray[np.bool_], among: Floats) -> Scores:
    rate = _ratio((hit * among).sum(axis=0), among.sum(axis=0))
    return rate, _ratio(among * (hit - rate), among.sum(axis=0))


def _ratio(a: Floats, b: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(a / b)


Metric = Callable[[OutOfFold], Scores]
METRICS: dict[str, Metric] = {
    "balanced_accuracy": balanced_accuracy, "accuracy": accuracy, "auc": auc, "auprc": auprc
}  # fmt: skip
SCORES: dict[str, Metric] = {**METRICS, "log_loss": log_loss}
"""What two views are compared by: the shares of METRICS, and a loss that counts confidence too."""
EVERY: dict[str, Metric] = {**SCORES, "r2": r2}
