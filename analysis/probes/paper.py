"""The probes of the paper's Table 2, as it ran them: PCA, scikit-learn's defaults, one split into training and test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Draws,
    Floats,
    Interval,
    Matrix,
    Result,
    as_labels,
    as_matrix,
    caveats,
    constant_columns,
    mean_intervals,
    principal_frame,
    units_of,
    wilson,
)
from noisezoo.analysis.probes.fit import Probes, fit_probes

DIMENSIONS = {"noise": 500, "embedding": 310, "control": 500}
"""Principal components by kind of view: the paper's for generative models and encoders; controls as the noise."""
PAPER_C = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class PaperProbes(Result):
    """What `paper_probes` found: accuracies on the test rows, beside the majority rule's.

    Intervals are over test rows (or groups), given the fitted probes: another training set is not in them. That is
    how the paper's figures were made; `probe_table` counts the training too.
    """

    names: tuple[str, ...]  # (k,) attributes that were probed
    refused: Mapping[str, str]  # attribute -> why it was not
    scores: Mapping[str, tuple[Interval, ...]]  # "accuracy", "majority" and "gain", their difference -> (k,)
    mean: Mapping[str, Interval]  # the same -> mean over attributes
    null: Floats  # (permutations, k) accuracy of probes fitted on shuffled labels
    probes: Probes  # in X's own coordinates
    kind: str
    n_components: int
    n_train: int
    n_test: int
    draws: Draws
    caveats: tuple[str, ...]

    def settings(self) -> dict[str, Any]:
        """Kind, sizes, the strength, refusals and caveats."""
        return Result.settings(self) | {"C": PAPER_C}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary an attribute and score, then one a score for the mean over attributes."""
        rows = [(name, what, self.scores[what][j], self.null[:, j]) for j, name in enumerate(self.names)
                for what in self.scores]  # fmt: skip
        rows += [("mean", what, interval, self.null.mean(axis=1)) for what, interval in self.mean.items()]
        return [_record(*row) for row in rows]


def _record(attribute: str, metric: str, interval: Interval, null: Floats) -> dict[str, Any]:
    known = null.size and metric == "accuracy"
    ends = (null.mean(), null.min(), null.max()) if known else (float("nan"),) * 3
    told = dict(zip(("null", "null_low", "null_high"), map(float, ends), strict=True))
    return {"attribute": attribute, "metric": metric, **interval.to_dict(), **told}


def paper_probes(
    X: ArrayLike,
    Y: ArrayLike,
    names: Sequence[str],
    *,
    train: ArrayLike,
    kind: str,
    groups: ArrayLike | None = None,
    n_permutations: int = 3,
    confidence: float = 0.95,
    seed: int = 42,
) -> PaperProbes:
    """Reproduce the paper's Table 2 on one view: accuracy of logistic probes on the principal components of X (n, d).

    The components are the training rows' leading 500, or 310 for encoders, centred and not whitened; the probes
    are the optimum that scikit-learn's LogisticRegression() approaches with any solver: C = 1, a free intercept,
    positive where the probability exceeds one half. The majority rule answers each attribute's commoner training class.

    Args:
        X: rows, float32 or float64.
        Y: (n, k) attributes, zeros and ones.
        names: (k,) their names.
        train: (n,) true for rows to fit on; the others are the test rows.
        kind: of the view, a key of DIMENSIONS.
        groups: (n,) identities that the intervals resample whole. One on both sides of `train` is a caveat.
        n_permutations: shuffled copies of the training labels, attributes together; 0 leaves the null NaN.
        confidence: of the intervals, by the bootstrap over test rows or groups.
        seed: of resamples and permutations.

    Returns:
        The scores; an attribute with one class among the training rows is in `.refused` with its reason.

    Raises:
        ValueError: an unknown kind, a mask that leaves fewer than two training rows or no test row, equal training
            rows, every attribute refused, or what `as_matrix` and `as_labels` refuse.
    """
    if kind not in DIMENSIONS:
        raise ValueError(f"kind must be one of {', '.join(DIMENSIONS)}, not {kind!r}")
    X = as_matrix(X)
    labels, mask = as_labels(Y, rows=len(X), names=names), _as_mask(train, len(X))
    units = None if groups is None else np.asarray(groups)
    refused = _refusals(labels[mask], names)
    probed = np.array([name not in refused for name in names], dtype=np.bool_)
    Y_train, Y_test = labels[mask][:, probed], labels[~mask][:, probed]
    rng = np.random.default_rng([seed, 1])
    shuffled = [Y_train[rng.permutation(len(Y_train))] for _ in range(n_permutations)]
    fitted, n_components = _fit(X[mask], np.hstack([Y_train, *shuffled]), DIMENSIONS[kind])
    answers = (fitted.decision_function(X[~mask]) > 0).reshape(len(Y_test), 1 + n_permutations, -1)
    right = (answers == (Y_test > 0)[:, None]).astype(np.float64)  # (n_test, 1 + permutations, k)
    majority = (Y_test == (Y_train.mean(axis=0) > 0.5)).astype(np.float64)
    scores = _score(right[:, 0], majority, None if units is None else units[~mask], confidence, seed)
    return PaperProbes(
        names=tuple(name for name in names if name not in refused),
        refused=refused,
        scores={what: intervals[:-1] for what, intervals in scores.items()},
        mean={what: intervals[-1] for what, intervals in scores.items()},
        null=right[:, 1:].mean(axis=0),
        probes=fitted.take(slice(Y_train.shape[1])),
        kind=kind,
        n_components=n_components,
        n_train=len(Y_train),
        n_test=len(Y_test),
        draws=Draws(n_permutations=n_permutations, confidence=confidence, seed=seed),
        caveats=_caveats(X, mask, units, n_components, DIMENSIONS[kind]),
    )


def _refusals(Y: Floats, names: Sequence[str]) -> dict[str, str]:
    constant = {names[j] for j in constant_columns(Y)}
    if len(constant) == len(names):
        raise ValueError(f"no attribute has both classes among the {len(Y)} training rows: there is nothing to probe")
    return {name: f"one class only among the {len(Y)} training rows" for name in names if name in constant}


def _as_mask(train: ArrayLike, n: int) -> NDArray[np.bool_]:
    mask = np.asarray(train)
    if mask.shape != (n,) or mask.dtype != np.bool_:
        raise ValueError(f"train must be a mask of {n} booleans, not {mask.dtype} of shape {mask.shape}")
    if mask.sum() < 2 or mask.all():
        raise ValueError(f"train must leave two rows to fit on and one to test on; it holds {mask.sum()} of {n}")
    return mask


def _fit(X: Matrix, Y: Floats, n_components: int) -> tuple[Probes, int]:
    """Probes of Y (n, k) on the leading components of X (n, d), in X's coordinates, and the number of components."""
    frame = principal_frame(X, leading=n_components)
    found = fit_probes(frame.scores, Y, C=PAPER_C)
    coef = frame.lift(found.coef)
    return Probes(coef, found.intercept - frame.mean @ coef, found.C), frame.scores.shape[1]


def _score(
    right: Floats, majority: Floats, groups: NDArray[Any] | None, confidence: float, seed: int
) -> dict[str, tuple[Interval, ...]]:
    """Intervals of each attribute, then of their mean, for hits (n, k) of the probes and of the majority rule."""
    hits = {"accuracy": right, "majority": majority, "gain": right - majority}
    k = right.shape[1]
    columns = np.hstack([np.column_stack([hit, hit.mean(axis=1)]) for hit in hits.values()])
    found = mean_intervals(columns, groups=groups, confidence=confidence, seed=seed)
    scores = {what: found[i * (k + 1) : (i + 1) * (k + 1)] for i, what in enumerate(hits)}
    for what in ("accuracy", "majority"):
        scores[what][:k] = _rates(hits[what], groups, confidence)
    return {what: tuple(intervals) for what, intervals in scores.items()}


def _rates(hits: Floats, groups: NDArray[Any] | None, confidence: float) -> list[Interval]:
    """Wilson's intervals of rates (n, k), at the number of rows that, drawn singly, would know as much as the groups.

    A bootstrap knows no error where all rows are right.
    """
    rate, units = hits.mean(axis=0), units_of(len(hits), groups)
    totals = np.zeros((units.max() + 1, hits.shape[1]))
    np.add.at(totals, units, hits - rate)
    single, clustered = len(hits) * rate * (1 - rate), (totals**2).sum(axis=0)
    effective = np.where(
        single * clustered > 0, len(hits) * single / np.where(clustered > 0, clustered, 1), len(totals)
    )
    low, high = wilson(np.clip(rate * effective, 0, effective), effective, confidence)
    return [Interval(*map(float, ends)) for ends in zip(rate, low, high, strict=True)]


def _caveats(
    X: Matrix, mask: NDArray[np.bool_], groups: NDArray[Any] | None, n_components: int, wanted: int
) -> tuple[str, ...]:
    both = 0 if groups is None else len(np.intersect1d(groups[mask], groups[~mask]))
    found = {
        f"{n_components} principal components instead of the paper's {wanted}: there are no more": (
            n_components < wanted
        ),
        f"{both} groups lie on both sides of the split, so that probes are scored on who they were fitted on": both > 0,
    }
    return caveats(X, mask.astype(np.intp)) + tuple(sentence for sentence, holds in found.items() if holds)
