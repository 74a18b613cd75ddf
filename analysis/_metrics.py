"""How good out-of-fold logits are, under any weighting of the rows.

A metric takes counts (b, n), how often each row stands in each of b resamples, and gives (b, k). The plain value is
the metric at counts of one, so that an estimate and its bootstrap replicates are one formula.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.intervals import Counts, Floats, bootstrap_ratios

_BLOCK = 1 << 22  # counts in a block of resamples


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Logits of every row from probes that never saw its fold."""

    logits: NDArray[np.floating[Any]]  # (n, k)
    prior: Floats  # (n, k) logit of the attribute's rate among the rows the probe was fitted on
    labels: Floats  # (n, k)
    folds: NDArray[np.intp]  # (n,)

    def take(self, columns: NDArray[np.intp]) -> "OutOfFold":
        """The same rows with some of the attributes."""
        return OutOfFold(self.logits[:, columns], self.prior[:, columns], self.labels[:, columns], self.folds)


def accuracy(o: OutOfFold, counts: Counts) -> Floats:
    """Share of rows on the right side of probability one half."""
    correct = (o.logits > 0) == (o.labels > 0)
    return bootstrap_ratios(correct.astype(np.float64), np.ones_like(o.labels), counts)


def balanced_accuracy(o: OutOfFold, counts: Counts) -> Floats:
    """Mean of the two class-conditional accuracies, deciding at the training prior: chance is 1/2 at any rarity.

    A row is called positive when its probability exceeds the rate seen in training, the rule that maximises balanced
    accuracy for calibrated probabilities. At one half, a rare attribute would stand at 1/2 however well it is ranked.
    """
    correct = ((o.logits > o.prior) == (o.labels > 0)).astype(np.float64)
    k = correct.shape[1]
    classes = np.hstack([o.labels, 1 - o.labels])  # (n, 2k)
    rates = bootstrap_ratios(np.hstack([correct, correct]) * classes, classes, counts)
    return np.asarray((rates[:, :k] + rates[:, k:]) / 2)


def auc(o: OutOfFold, counts: Counts) -> Floats:
    """Chance that a positive row outranks a negative row of the same fold; ties count one half.

    Pairs within a fold only: logits of different folds come from different probes and do not share a scale.
    """
    ranks = [_Ranks.of(o.logits[:, j], o.labels[:, j], o.folds) for j in range(o.labels.shape[1])]
    blocks = np.array_split(counts, max(1, counts.size // _BLOCK))
    columns = [np.concatenate([rank.auc(block.T) for block in blocks]) for rank in ranks]
    return np.array(columns).reshape(len(ranks), len(counts)).T


@dataclass(frozen=True, slots=True)
class _Ranks:
    """Rows in order of fold and logit, and for each positive row the stretches of rows it is compared with."""

    order: NDArray[np.intp]  # (n,)
    positive: NDArray[np.intp]  # (p,) places in `order`
    negative: NDArray[np.float32]  # (n, 1) in `order`
    start: NDArray[np.intp]  # (p,) of the fold
    left: NDArray[np.intp]  # (p,) first place with the same logit
    right: NDArray[np.intp]  # (p,) one past the last such place
    end: NDArray[np.intp]  # (p,) one past the fold

    @classmethod
    def of(cls, logits: NDArray[Any], labels: Floats, folds: NDArray[np.intp]) -> "_Ranks":
        order = np.lexsort((logits, folds))
        fold, z, y = folds[order], logits[order], labels[order]
        positive = np.flatnonzero(y > 0)
        new_fold = np.r_[True, fold[1:] != fold[:-1], True]
        new_value = np.r_[True, (fold[1:] != fold[:-1]) | (z[1:] != z[:-1]), True]
        stretches = [_stretch(new, positive) for new in (new_fold, new_value)]
        (start, end), (left, right) = stretches
        return cls(order, positive, (1 - y)[:, None].astype(np.float32), start, left, right, end)

    def auc(self, counts: NDArray[np.float32]) -> Floats:
        """AUC (b,) under counts (n, b)."""
        drawn = counts[self.order]
        negatives = np.zeros((len(drawn) + 1, drawn.shape[1]), dtype=np.float32)  # before each place
        np.cumsum(drawn * self.negative, axis=0, out=negatives[1:])
        positives = drawn[self.positive]
        won = (negatives[self.left] + negatives[self.right]) / 2 - negatives[self.start]
        pairs = negatives[self.end] - negatives[self.start]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(_dot(positives, won) / _dot(positives, pairs))


def _stretch(new: NDArray[np.bool_], places: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    edges = np.flatnonzero(new)
    index = np.searchsorted(edges, places, side="right")
    return edges[index - 1], edges[index]


def _dot(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    return np.asarray(np.einsum("pb,pb->b", a, b, dtype=np.float64))


METRICS: dict[str, Callable[[OutOfFold, Counts], Floats]] = {
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "auc": auc,
}


def unit_counts(n: int) -> Counts:
    """Every row once: the counts of the plain estimate, (1, n)."""
    return np.ones((1, n), dtype=np.float32)
