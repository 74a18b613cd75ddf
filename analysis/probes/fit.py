"""Linear probes: L2 logistic regression of binary attributes on the rows of a view."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import (
    AnyArray,
    Floats,
    Result,
    as_array,
    as_labels,
    as_matrix,
    assign_folds,
    caveats,
    refuse_one_class,
    refuse_settings,
    single,
    to_numpy,
    units_of,
    units_with,
)
from .logistic import minimise
from .path import scaled_frame, search_path

_NEAR, _TOLERANCE = 1e-8, 1e-9  # nats a row, of the fit in single and in double precision


@dataclass(frozen=True, slots=True, eq=False)
class Probes(Result):
    """Fitted probes in X's own coordinates: logits are X @ coef + intercept."""

    coef: Floats  # (d, k)
    intercept: Floats  # (k,)
    C: Floats  # (k,) scikit-learn's, for X as given
    caveats: tuple[str, ...] = ()

    def decision_function(self, X: ArrayLike) -> Floats:
        """Logits (n, k) of rows X (n, d); ValueError when d is not the one that was fitted."""
        rows = as_matrix(X, "X", min_rows=1)
        if rows.shape[1] != len(self.coef):
            raise ValueError(f"X has {rows.shape[1]} columns and the probes were fitted on {len(self.coef)}")
        return np.asarray(rows @ self.coef + self.intercept)

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probability of each attribute (n, k) for rows X (n, d); ValueError as in `decision_function`."""
        from scipy.special import expit

        return np.asarray(expit(self.decision_function(X)))

    def settings(self) -> dict[str, Any]:
        """Sizes and caveats."""
        return Result.settings(self) | {"d": self.coef.shape[0], "k": self.coef.shape[1]}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary an attribute: its strength, intercept and norm."""
        norms = np.linalg.norm(self.coef, axis=0)
        rows = zip(self.C, self.intercept, norms, strict=True)
        return [{"attribute": k, "C": C, "intercept": b, "norm": norm} for k, (C, b, norm) in enumerate(rows)]


def fit_probes(
    X: AnyArray,
    Y: ArrayLike,
    *,
    C: ArrayLike | None = None,
    n_folds: int = 5,
    seed: int = 42,
    groups: ArrayLike | None = None,
) -> Probes:
    """Fit one logistic probe for each column of Y (n, k) of zeros and ones on X (n, d), numpy or torch.

    Minimises scikit-learn's objective, C sum_i log-loss_i + |w|^2 / 2 with a free intercept, for all attributes at
    once. It is invariant to rotation, so it is solved on principal scores, in min(n - 1, d) dimensions, and carried
    back; X is never standardised by coordinate. Classes of a multi-class label are columns, one against the rest.

    Args:
        X: rows, float32 or float64.
        Y: attributes; a vector (n,) is one attribute.
        C: one strength or one for each attribute (k,). None: the C of least held-out log-loss over `n_folds` folds,
            for each attribute, among half decades of C times X's total variance (the prior variance of a logit)
            from 1e-2 to 1e5. So the choice, and the predictions, do not change when X is scaled.
        n_folds: folds that choose C.
        seed: decides the folds.
        groups: (n,) rows of one group share a fold.

    Raises:
        ValueError: an attribute with one class only, C not positive, or what `as_matrix` and `as_labels` refuse.
    """
    refuse_settings(seed=seed)
    X = as_array(X)
    labels = as_labels(Y, rows=len(X))
    refuse_one_class(labels)
    T, scale, frame = scaled_frame(X)
    if C is not None:
        strength, said = _strengths(C, labels.shape[1]) * scale**2, caveats(to_numpy(X))
    else:
        folds = assign_folds(len(X), n_folds, seed=seed, groups=groups)
        strength = search_path(single(T), labels, folds).best_strength()
        fewest = units_with(units_of(len(X), groups), labels).min(axis=0)
        said = caveats(to_numpy(X), folds) + tuple(
            f"attribute {j} has {fewest[j]} rows or groups of its rarer class: C was chosen by {n_folds} folds that "
            f"need {2 * n_folds}; do not trust its direction"
            for j in np.flatnonzero(fewest < 2 * n_folds)
        )
    # Most iterations in single precision; then double precision decides when the optimum is reached.
    start = minimise(single(T), labels, strength, tolerance=_NEAR)
    w, b = minimise(T, labels, strength, start, tolerance=_TOLERANCE)
    coef = frame.lift(np.asarray(w, np.float64)) / scale
    return Probes(coef, np.asarray(b - frame.mean @ coef, np.float64), strength / scale**2, said)


def _strengths(C: ArrayLike, k: int) -> Floats:
    strengths = np.asarray(C, dtype=np.float64)
    if strengths.shape not in ((), (k,)) or not (np.isfinite(strengths) & (strengths > 0)).all():
        raise ValueError(f"C must be positive, one number or one for each of the {k} attributes, not {C!r}")
    return np.broadcast_to(strengths, (k,))
