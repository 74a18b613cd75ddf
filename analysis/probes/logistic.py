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
    """Columns still being solved, all (..., k): weights and the last direction, each with the intercept as last row."""

    W: AnyArray  # (r + 1, k)
    C: AnyArray  # (k,)
    side: AnyArray  # (n, k) -1 or 1, the label
    m: AnyArray  # (n, k) side * logit
    q: AnyArray  # (n, k) sigma(-m): the probability that is missing from the true class
    D: AnyArray  # (r + 1, k) direction
    G: AnyArray  # (r + 1, k) gradient
    decrement: AnyArray  # (k,) preconditioned squared gradient of the last iteration

    def take(self, columns: NDArray[np.intp]) -> "_State":
        at = like(columns, self.W)
        return _State(*(getattr(self, name)[..., at] for name in self.__slots__))


def minimise(
    T: AnyArray,
    Y: Array,
    C: Array,
    start: tuple[Array, Array] | None = None,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> tuple[Array, Array]:
    """Minimise C sum_i (softplus(z_i) - y_i z_i) + |w|^2 / 2 over w and b, z = T w + b, for each column of Y.

    T (n, r) is centred, with nearly orthogonal columns, numpy or torch; Y (n, k) is 0/1; C (k,) > 0 is scikit-learn's.
    Stops a column when the Newton decrement bounds its objective within `tolerance` nats a row of the optimum, by
    default as near as held-out scores can tell, or at `max_iterations`.

    Returns:
        w (r, k) and b (k,), numpy, in T's precision.
    """
    xp, (n, r), k = namespace(T), T.shape, Y.shape[1]
    rate = np.clip(Y.mean(axis=0), 0.5 / n, 1 - 0.5 / n)
    W, side = (beside(A, T) for A in (np.vstack(start or (np.zeros((r, k)), np.log(rate / (1 - rate)))), 2 * Y - 1))
    m, zeros = side * _logits(T, W), xp.zeros_like(W)
    s = _State(W, beside(C, T), side, m, _missing(m), zeros, zeros, xp.full_like(W[0], float("inf")))
    squares = xp.concatenate([xp.einsum("ij,ij->j", T, T), xp.full_like(T[0, :1], n)])[:, None]  # of T's columns, and 1
    found, active = to_numpy(W).copy(), np.arange(k)
    for _ in range(max_iterations):
        done = to_numpy(_turn(T, squares, s, tolerance))
        if done.any():
            found[:, active] = to_numpy(s.W)
            active, s = active[~done], s.take(np.flatnonzero(~done))
        if not active.size:
            break
        _step(T, s)
    found[:, active] = to_numpy(s.W)
    return found[:-1], found[-1]


def _logits(T: AnyArray, W: AnyArray) -> AnyArray:
    return T @ W[:-1] + W[-1]


def _turn(T: AnyArray, squares: AnyArray, s: _State, tolerance: float) -> AnyArray:
    """Set the next conjugate direction of every column in `s`; true where the column has converged."""
    xp = namespace(T)
    residual = s.side * s.q  # (n, k) y - p
    G = -s.C * xp.concatenate([T.T @ residual, residual.sum(0)[None]])
    curvature = s.C * (s.q - s.q * s.q).mean(0).clip(1e-6, None) * squares
    G[:-1] += s.W[:-1]  # the intercept is free
    curvature[:-1] += 1
    S = G / curvature  # preconditioned gradient
    decrement = _dot(G, S)
    beta = ((decrement - _dot(s.G, S)) / s.decrement).clip(0, None)  # Polak-Ribiere, or anew
    D = beta * s.D - S
    s.D, s.G, s.decrement = xp.where(_dot(G, D) >= 0, -S, D), G, decrement
    return decrement <= 2 * tolerance * s.C * len(T)


def _step(T: AnyArray, s: _State) -> None:
    """Move every column along its direction: Newton's step on the line, cut back where it overshoots.

    On the line the objective is convex, so that its slope alone tells how far to go. Near the optimum the slope keeps
    digits that differences of the objective have lost.
    """
    xp = namespace(T)
    dm, slope = s.side * _logits(T, s.D), _dot(s.G, s.D)
    dw2, wdw = _dot(s.D[:-1], s.D[:-1]), _dot(s.W[:-1], s.D[:-1])
    t = -slope / (s.C * xp.einsum("ik,ik,ik->k", s.q - s.q * s.q, dm, dm) + dw2)
    for _ in range(30):
        m = s.m + t * dm
        q = _missing(m)
        end = wdw + t * dw2 - s.C * _dot(q, dm)
        long = end > -_OVERSHOOT * slope
        if not bool(long.any()):
            break
        t = xp.where(long, t * (slope / (slope - end)).clip(0.1, None), t)  # the secant's zero
    s.W, s.m, s.q = s.W + t * s.D, m, q


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
