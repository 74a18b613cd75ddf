"""L2 logistic regression of many binary labels at once: preconditioned nonlinear conjugate gradients.

Every column is its own problem and takes its own steps; the columns share the two matrix products of an iteration.
The spread of sigma (1 - sigma) over rows changes the Hessian little, so that C mean(sigma (1 - sigma)) T^T T + 1 is a
preconditioner close to Newton's. The step along a direction costs no matrix product, because logits are linear in it;
with a Newton step there, conjugate gradients need no more iterations than L-BFGS does and keep no history.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import AnyArray, beside, like, namespace, to_numpy

Array = NDArray[np.floating[Any]]
_OVERSHOOT = 0.5  # a step is too long when the slope at its end is this much of the first slope, uphill


@dataclass(slots=True)
class _State:
    """Columns still being solved: weights w (r, k), intercepts b (k,), margins m (n, k) and the last direction."""

    w: AnyArray
    b: AnyArray
    C: AnyArray  # (k,)
    side: AnyArray  # (n, k) -1 or 1, the label
    m: AnyArray  # (n, k) side * logit
    q: AnyArray  # (n, k) sigma(-m): the probability that is missing from the true class
    dw: AnyArray
    db: AnyArray
    gw: AnyArray
    gb: AnyArray
    decrement: AnyArray  # (k,) preconditioned squared gradient of the last iteration

    def take(self, columns: NDArray[np.intp]) -> "_State":
        at = like(columns, self.w)
        return _State(*(getattr(self, name)[..., at] for name in self.__slots__))


def minimise(
    T: AnyArray,
    Y: Array,
    C: Array,
    start: tuple[Array, Array] | None = None,
    *,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
) -> tuple[Array, Array]:
    """Minimise C sum_i (softplus(z_i) - y_i z_i) + |w|^2 / 2 over w and b, z = T w + b, for each column of Y.

    T (n, r) is centred, with nearly orthogonal columns, numpy or torch; Y (n, k) is 0/1; C (k,) > 0 is scikit-learn's.
    Stops a column when the Newton decrement bounds its objective within `tolerance` nats a row of the optimum, or at
    `max_iterations`.

    Returns:
        w (r, k) and b (k,), numpy, in T's precision.
    """
    s = _begin(T, Y, C, *(_prior_only(T, Y) if start is None else start))
    W, B = (to_numpy(array).copy() for array in (s.w, s.b))
    squares = namespace(T).einsum("ij,ij->j", T, T)[:, None]  # (r, 1) diagonal of T^T T
    active = np.arange(Y.shape[1])
    for _ in range(max_iterations):
        done = to_numpy(_turn(T, squares, s, tolerance))
        if done.any():
            finished, left = s.take(np.flatnonzero(done)), s.take(np.flatnonzero(~done))
            W[:, active[done]], B[active[done]] = to_numpy(finished.w), to_numpy(finished.b)
            active, s = active[~done], left
        if not active.size:
            break
        _step(T, s)
    W[:, active], B[active] = to_numpy(s.w), to_numpy(s.b)
    return W, B


def _prior_only(T: AnyArray, Y: Array) -> tuple[Array, Array]:
    rate = np.clip(Y.mean(axis=0), 0.5 / len(Y), 1 - 0.5 / len(Y))
    return np.zeros((T.shape[1], Y.shape[1])), np.log(rate / (1 - rate))


def _begin(T: AnyArray, Y: Array, C: Array, W: Array, B: Array) -> _State:
    xp = namespace(T)
    side, w, b = (beside(array, T) for array in (2 * Y - 1, W, B))
    m = side * (T @ w + b)
    q = _missing(m)
    zeros = xp.zeros_like(w), xp.zeros_like(b)
    return _State(w, b, beside(C, T), side, m, q, *zeros, *zeros, xp.full_like(b, float("inf")))


def _turn(T: AnyArray, squares: AnyArray, s: _State, tolerance: float) -> AnyArray:
    """Set the next conjugate direction of every column in `s`; true where the column has converged."""
    xp = namespace(T)
    residual = s.side * s.q  # (n, k) y - p
    gw, gb = s.w - s.C * (T.T @ residual), -s.C * residual.sum(0)
    weight = s.C * (s.q - s.q * s.q).mean(0).clip(1e-6, None)
    sw, sb = gw / (weight * squares + 1), gb / (weight * len(T))  # preconditioned gradient
    decrement = _dot(gw, sw) + gb * sb
    beta = ((decrement - _dot(s.gw, sw) - s.gb * sb) / s.decrement).clip(0, None)  # Polak-Ribiere, or anew
    dw, db = beta * s.dw - sw, beta * s.db - sb
    uphill = _dot(gw, dw) + gb * db >= 0
    s.dw, s.db = xp.where(uphill, -sw, dw), xp.where(uphill, -sb, db)
    s.gw, s.gb, s.decrement = gw, gb, decrement
    return decrement <= 2 * tolerance * s.C * len(T)


def _step(T: AnyArray, s: _State) -> None:
    """Move every column along its direction: Newton's step on the line, cut back where it overshoots.

    On the line the objective is convex, so that its slope alone tells how far to go. Near the optimum the slope keeps
    digits that differences of the objective have lost.
    """
    xp = namespace(T)
    dm = s.side * (T @ s.dw + s.db)
    slope = _dot(s.gw, s.dw) + s.gb * s.db
    dw2, wdw = _dot(s.dw, s.dw), _dot(s.w, s.dw)
    t = -slope / (s.C * xp.einsum("ik,ik,ik->k", s.q - s.q * s.q, dm, dm) + dw2)
    for _ in range(30):
        m = s.m + t * dm
        q = _missing(m)
        end = wdw + t * dw2 - s.C * _dot(q, dm)
        long = end > -_OVERSHOOT * slope
        if not bool(long.any()):
            break
        t = xp.where(long, t * (slope / (slope - end)).clip(0.1, None), t)  # the secant's zero
    s.w, s.b, s.m, s.q = s.w + t * s.dw, s.b + t * s.db, m, q


def _dot(a: AnyArray, b: AnyArray) -> AnyArray:
    return namespace(a).einsum("ik,ik->k", a, b)


def _missing(m: AnyArray) -> AnyArray:
    """sigma(-m) without overflow, to full relative precision."""
    xp = namespace(m)
    e = xp.exp(-xp.abs(m))
    return xp.where(m < 0, 1, e) / (1 + e)


def log_losses(z: Array, Y: Array) -> Array:
    """softplus(z) - y z, the log-loss of logits in nats, of z's shape."""
    return np.asarray(np.maximum(z, 0) - Y * z + np.log1p(np.exp(-np.abs(z))))
