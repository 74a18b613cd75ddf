"""How good out-of-fold logits are: one number an attribute, and how much of it hangs on each row.

The influence of a row is the derivative of the metric by the row's weight, given the probes: influences sum to zero and
their squares to the metric's variance over rows that are scored (DeLong et al. 1988, for the AUC).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.intervals import Floats

Scores = tuple[Floats, Floats]  # (k,) values and (n, k) influences


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Logits of every row from probes that never saw its fold."""

    logits: NDArray[np.floating[Any]]  # (n, k)
    prior: Floats  # (n, k) logit of the attribute's rate among the rows the probe was fitted on
    labels: Floats  # (n, k)
    folds: NDArray[np.intp]  # (n,)

    @classmethod
    def of(cls, logits: NDArray[np.floating[Any]], Y: Floats, folds: NDArray[np.intp]) -> "OutOfFold":
        """Logits (n, k) with the priors that follow from labels Y (n, k) and folds (n,)."""
        rates = np.stack([Y[folds != f].mean(axis=0) for f in range(int(folds.max()) + 1)])  # (folds, k)
        rates = np.clip(rates, 0.5 / len(Y), 1 - 0.5 / len(Y))  # a shuffled copy or a half-sample may miss a class
        return cls(logits, np.log(rates / (1 - rates))[folds], Y, folds)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Is each row (n, k) on the right side of the training prior."""
        return np.asarray((self.logits > self.prior) == (self.labels > 0))

    def take(self, columns: NDArray[np.intp]) -> "OutOfFold":
        """The same rows with some of the attributes."""
        return OutOfFold(self.logits[:, columns], self.prior[:, columns], self.labels[:, columns], self.folds)


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


def _contests(z: NDArray[Any], y: Floats) -> tuple[Floats, Floats]:
    """Pairs of opposite classes that each row is in, and those where the positive ranks higher: both (m, k)."""
    from scipy.stats import rankdata

    ranks, positives = rankdata(z, axis=0), y.sum(axis=0)
    among_positives, among_negatives = (rankdata(np.where(y == c, z, np.inf), axis=0) for c in (1, 0))
    won = np.where(y > 0, ranks - among_positives, positives - (ranks - among_negatives))
    return won, np.where(y > 0, len(y) - positives, positives)


def _rate(hit: NDArray[np.bool_], among: Floats) -> Scores:
    rate = _ratio((hit * among).sum(axis=0), among.sum(axis=0))
    return rate, _ratio(among * (hit - rate), among.sum(axis=0))


def _ratio(a: Floats, b: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(a / b)


METRICS: dict[str, Callable[[OutOfFold], Scores]] = {
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "auc": auc,
}
