"""How good out-of-fold logits are: one number an attribute."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.intervals import Floats


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


def accuracy(o: OutOfFold) -> Floats:
    """Share of rows on the right side of probability one half: (k,)."""
    return np.asarray(((o.logits > 0) == (o.labels > 0)).mean(axis=0))


def balanced_accuracy(o: OutOfFold) -> Floats:
    """Mean of the two class-conditional accuracies, deciding at the training prior: chance is 1/2 at any rarity.

    A row is called positive when its probability exceeds the rate seen in training, the rule that maximises balanced
    accuracy for calibrated probabilities. At one half, a rare attribute would stand at 1/2 however well it is ranked.
    Returns (k,), NaN where a class has no row.
    """
    correct, negatives = o.correct, 1 - o.labels
    sensitivity = _ratio((correct * o.labels).sum(axis=0), o.labels.sum(axis=0))
    specificity = _ratio((correct * negatives).sum(axis=0), negatives.sum(axis=0))
    return (sensitivity + specificity) / 2


def auc(o: OutOfFold) -> Floats:
    """Chance that a positive row outranks a negative row of the same fold; ties count one half (Mann and Whitney 1947).

    Pairs within a fold only: logits of different folds come from different probes and do not share a scale.
    Returns (k,), NaN where no fold has rows of both classes.
    """
    from scipy.stats import rankdata

    won, pairs = np.zeros(o.labels.shape[1]), np.zeros(o.labels.shape[1])
    for f in np.unique(o.folds):
        y = o.labels[o.folds == f]
        positives = y.sum(axis=0)
        won += (y * rankdata(o.logits[o.folds == f], axis=0)).sum(axis=0) - positives * (positives + 1) / 2
        pairs += positives * (len(y) - positives)
    return _ratio(won, pairs)


def _ratio(a: Floats, b: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(a / b)


METRICS: dict[str, Callable[[OutOfFold], Floats]] = {
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "auc": auc,
}
