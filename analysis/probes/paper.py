"""The probes of the paper's Table 2: PCA, standard scaling, scikit-learn's defaults, one split of the rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Draws,
    Floats,
    Frame,
    Interval,
    Matrix,
    Result,
    Units,
    as_labels,
    as_matrix,
    caveats,
    constant_columns,
    interval_of_difference,
    interval_of_influences,
    interval_of_share,
    null_columns,
    principal_frame,
    units_of,
)
from .fit import Probes
from .logistic import minimise
from .metrics import OutOfFold, accuracy, auc

DIMENSIONS = {"noise": 500, "embedding": 310, "control": 500}
"""Principal components by kind of view: the paper's for generative models and encoders; controls as the noise."""
PAPER_C = 1.0
SOLVERS = ("full", "randomized")


def _logistic(T: Floats, Y: Floats) -> tuple[Floats, Floats]:
    """The optimum of scikit-learn's LogisticRegression() with any solver."""
    w, b = minimise(T, Y, np.full(Y.shape[1], PAPER_C), tolerance=1e-9)
    return np.asarray(w, np.float64), np.asarray(b, np.float64)


def _lda(T: Floats, Y: Floats) -> tuple[Floats, Floats]:
    """Difference of the class means w, and the log of the ratio of rates less w at the middle between them."""
    positives, negatives = Y.sum(axis=0), (1 - Y).sum(axis=0)
    of_positives, of_negatives = T.T @ Y / positives, T.T @ (1 - Y) / negatives  # (r, k)
    w = of_positives - of_negatives
    return w, np.log(positives / negatives) - np.einsum("rk,rk->k", w, of_positives + of_negatives) / 2


CLASSIFIERS: Mapping[str, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {"logistic": _logistic, "lda": _lda}
"""Name -> standardised scores (n, r) and labels (n, k) to weights (r, k) and intercepts (k,) of logits."""


@dataclass(frozen=True, slots=True, eq=False)
class PaperProbes(Result):
    """What `paper_probes` found: accuracies and areas under the curve on the test rows, beside the majority rule.

    Intervals are over test rows (or groups), given the fitted probes: another training set is not in them. That is
    how the paper's figures were made; `probe_table` counts the training too.
    """

    names: tuple[str, ...]  # (k,) attributes that were probed
    refused: Mapping[str, str]  # attribute -> why it was not
    scores: Mapping[str, tuple[Interval, ...]]  # "accuracy", "auc", "majority", "gain" over majority -> (k,)
    mean: Mapping[str, Interval]  # the same -> mean over attributes
    null: Floats  # (permutations, k) accuracy of probes fitted on shuffled labels
    probes: Probes  # in X's own coordinates
    classifier: str
    solver: str
    kind: str
    n_components: int
    n_train: int
    n_test: int
    draws: Draws
    caveats: tuple[str, ...]
    C: float = PAPER_C

    def records(self) -> list[dict[str, Any]]:
        """One dictionary an attribute and score, then one a score for the mean over attributes."""
        rows = [(name, what, found[j], self.null[:, j]) for j, name in enumerate(self.names)
                for what, found in self.scores.items()]  # fmt: skip
        rows += [("mean", what, interval, self.null.mean(axis=1)) for what, interval in self.mean.items()]
        nulls = [null_columns(null if what == "accuracy" else np.empty(0)) for _, what, _, null in rows]
        return [{"attribute": name, "metric": what, **interval.to_dict(), **null}
                for (name, what, interval, _), null in zip(rows, nulls, strict=True)]  # fmt: skip


def paper_probes(
    X: ArrayLike, Y: ArrayLike, names: Sequence[str], *, train: ArrayLike, kind: str, classifier: str = "logistic",
    solver: str = "full", groups: ArrayLike | None = None, n_permutations: int = 3, confidence: float = 0.95,
    seed: int = 42,
) -> PaperProbes:  # fmt: skip
    """Reproduce the paper's Table 2 on one view: linear probes on the standardised principal components of X (n, d).

    The components are the training rows' leading 500, or 310 for encoders, each divided by its standard deviation on
    the training rows, as in the paper and its release. "logistic" is the optimum that scikit-learn's
    LogisticRegression() approaches with any solver (C = 1, a free intercept); "lda" is the release's difference of
    class means with the log prior. Both answer yes where the logit exceeds 0. The majority rule answers each
    attribute's commoner training class.

    Args:
        X: rows, float32 or float64.
        Y: (n, k) attributes, zeros and ones.
        names: (k,) their names.
        train: (n,) true for rows to fit on; the others are the test rows.
        kind: of the view, a key of DIMENSIONS.
        classifier: a key of CLASSIFIERS.
        solver: of the components: exact, or scikit-learn's randomized one (Halko 2011), which the release's scale makes
            its default choose; seeded here.
        groups: (n,) identities: rows of one count together in intervals. One on both sides of `train` is a caveat.
        n_permutations: shuffled copies of the training labels, attributes together; 0 leaves the null NaN.
        confidence: of the intervals: Wilson's for shares, Agresti and Min's for gains, Student's over rows or groups
            for means over attributes. With test rows of one group they have no ends (NaN), and a caveat says so.
        seed: of permutations.

    Returns:
        The scores; an attribute with one class among the training rows is in `.refused` with its reason. The area
        under the curve is NaN for an attribute with one class among the test rows.

    Raises:
        ValueError: an unknown kind or classifier, a mask that leaves fewer than two training rows or no test row,
            equal training rows, every attribute refused, or what `as_matrix` and `as_labels` refuse.
    """
    choices = (("kind", kind, DIMENSIONS), ("classifier", classifier, CLASSIFIERS), ("solver", solver, SOLVERS))
    for what, value, known in choices:
        if value not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}, not {value!r}")
    draws = Draws(n_permutations=n_permutations, confidence=confidence, seed=seed)
    X = as_matrix(X)
    labels, mask, units = as_labels(Y, rows=len(X), names=names), as_mask(train, len(X)), units_of(len(X), groups)
    kept = np.setdiff1d(np.arange(len(names)), constant_columns(labels[mask]))
    if not len(kept):
        raise ValueError(
            f"no attribute has both classes among the {mask.sum()} training rows: there is nothing to probe"
        )
    Y_train, Y_test, rng = labels[mask][:, kept], labels[~mask][:, kept], np.random.default_rng([seed, 1])
    copies = [Y_train, *(Y_train[rng.permutation(len(Y_train))] for _ in range(n_permutations))]
    frame = _randomized(X[mask], DIMENSIONS[kind], seed) if solver == "randomized" else None
    frame = frame or principal_frame(X[mask], leading=DIMENSIONS[kind])
    fitted, n_components = _fit(frame, np.hstack(copies), CLASSIFIERS[classifier])
    answers = fitted.decision_function(X[~mask]).reshape(len(Y_test), 1 + n_permutations, -1)
    scores, mean = _scores(answers[:, 0], Y_test, Y_train.mean(axis=0), units[~mask], confidence)
    k, reason = len(kept), f"one class only among the {len(Y_train)} training rows"
    return PaperProbes(
        names=tuple(names[j] for j in kept),
        refused={name: reason for j, name in enumerate(names) if j not in kept},
        scores=scores,
        mean=mean,
        null=((answers[:, 1:] > 0) == (Y_test > 0)[:, None]).mean(axis=0),
        probes=Probes(fitted.coef[:, :k], fitted.intercept[:k], fitted.C[:k]),
        classifier=classifier,
        solver=solver,
        kind=kind,
        n_components=n_components,
        n_train=len(Y_train),
        n_test=len(Y_test),
        draws=draws,
        caveats=_caveats(X, mask, units, n_components, DIMENSIONS[kind]),
    )


def as_mask(train: ArrayLike, n: int) -> NDArray[np.bool_]:
    """A split of n rows: true for training rows.

    Raises:
        ValueError: Not a mask of n booleans, or fewer than two training rows or no test row.
    """
    mask = np.asarray(train)
    if mask.shape != (n,) or mask.dtype != np.bool_:
        raise ValueError(f"train must be a mask of {n} booleans, not {mask.dtype} of shape {mask.shape}")
    if mask.sum() < 2 or mask.all():
        raise ValueError(f"train must leave two rows to fit on and one to test on; it holds {mask.sum()} of {n}")
    return mask


def _randomized(X: Matrix, n_components: int, seed: int) -> Frame:
    """The leading components of X (n, d) by scikit-learn's randomized solver."""
    from sklearn.decomposition import PCA

    fitted = PCA(min(n_components, len(X) - 1, X.shape[1]), svd_solver="randomized", random_state=seed).fit(X)
    centred, axes = X - fitted.mean_, fitted.components_.T.astype(np.float64)
    return Frame(fitted.mean_.astype(np.float64), centred @ axes, fitted.singular_values_**2, centred, axes)


def _fit(frame: Frame, Y: Floats, fit: Callable[[Floats, Floats], tuple[Floats, Floats]]) -> tuple[Probes, int]:
    """Probes of Y (n, k) on principal components, in the coordinates they were found in, and their number."""
    sd = np.sqrt(frame.eigenvalues / len(Y))[:, None]  # (r, 1)
    w, b = fit(frame.scores / sd.T, Y)
    coef = frame.lift(w / sd)
    return Probes(coef, b - frame.mean @ coef, np.full(len(b), PAPER_C)), frame.scores.shape[1]


def _scores(
    logits: Floats, Y: Floats, rates: Floats, units: Units, confidence: float
) -> tuple[dict[str, tuple[Interval, ...]], dict[str, Interval]]:
    """Every score of each attribute, and its mean, from logits (n, k) and the training rows' rates (k,).

    Shares have intervals by their influences, the gain by the answers that are right more, or less, than the
    majority's. A mean is over the attributes that have a value.
    """
    once = np.zeros(len(Y), np.intp)
    probe, rule = (OutOfFold(z, np.zeros_like(Y), Y, once, once > 0) for z in (logits, np.zeros_like(Y) + rates - 0.5))
    found = {"accuracy": accuracy(probe), "auc": auc(probe), "majority": accuracy(rule)}
    found["gain"] = tuple(a - b for a, b in zip(found["accuracy"], found["majority"], strict=True))  # type: ignore[assignment]
    each: dict[str, tuple[Interval, ...]] = {}
    mean: dict[str, Interval] = {}
    for what, (values, influences) in found.items():
        of_share = what != "gain"
        each[what] = tuple(
            interval_of_share(float(value), i, units, confidence) if of_share
            else interval_of_difference(i * len(i) + value, units, confidence)
            for value, i in zip(values, influences.T, strict=True)
        )  # fmt: skip
        known = np.isfinite(values) if np.isfinite(values).any() else np.ones(len(values), dtype=np.bool_)
        total = influences[:, known].mean(axis=1)
        mean[what] = interval_of_influences(float(values[known].mean()), total, units, confidence)
    return each, mean


def _caveats(
    X: Matrix, mask: NDArray[np.bool_], units: Units, n_components: int, wanted: int
) -> tuple[str, ...]:  # fmt: skip
    both = len(np.intersect1d(units[mask], units[~mask]))
    few = f"{n_components} principal components instead of the paper's {wanted}: there are no more"
    astride = f"{both} groups lie on both sides of the split, so that probes are scored on whom they were fitted on"
    alone = "all test rows are of one group: no interval can be given"
    said = {few: n_components < wanted, astride: both > 0, alone: len(np.unique(units[~mask])) < 2}
    return caveats(X, mask.astype(np.intp)) + tuple(sentence for sentence, holds in said.items() if holds)
