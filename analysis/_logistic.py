"""L2 logistic regression of many binary labels at once: preconditioned nonlinear conjugate gradients.

Every column is its own problem and takes its own steps; the columns share the two matrix products of an iteration.
On a principal frame the Hessian is nearly diagonal, so that its diagonal is a preconditioner close to Newton's. The
step along a direction costs no matrix product, because logits are linear in it; with a Newton step there, conjugate
gradients need no more iterations than L-BFGS does and keep no history.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
_ARMIJO = 1e-4


@dataclass(slots=True)
class _State:
    """Columns still being solved: weights w (r, k), intercepts b (k,), logits z (n, k) and the last direction."""

    w: Array
    b: Array
    z: Array
    dw: Array
    db: Array
    gw: Array
    gb: Array
    decrement: Array  # (k,) preconditioned squared gradient of the last iteration
    curvature: Array  # (n, k) sigma (1 - sigma) at z

    def take(self, columns: NDArray[Any]) -> "_State":
        return _State(*(getattr(self, name)[..., columns] for name in self.__slots__))


def minimise(
    T: Array,
    Y: Array,
    C: Array,
    start: tuple[Array, Array] | None = None,
    *,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
) -> tuple[Array, Array]:
    """Minimise C sum_i (softplus(z_i) - y_i z_i) + |w|^2 / 2 over w and b, z = T w + b, for each column of Y.

    T (n, r) has nearly orthogonal columns; Y (n, k) is 0/1; C (k,) > 0 is scikit-learn's. Stops a column when the
    Newton decrement bounds its objective within `tolerance` nats a row of the optimum, or at `max_iterations`.

    Returns:
        w (r, k) and b (k,) in T's dtype.
    """
    dtype = T.dtype
    Y, C = Y.astype(dtype, copy=False), C.astype(dtype, copy=False)
    W, B = (array.copy() for array in start) if start is not None else _prior_only(T, Y)
    power = np.einsum("ij,ij->j", T, T)[:, None]  # (r, 1) diagonal of T^T T
    zeros = np.zeros_like(W), np.zeros_like(B)
    z = T @ W + B
    state = _State(W.copy(), B.copy(), z, *zeros, *zeros, np.full_like(B, np.inf), z)
    active = np.arange(Y.shape[1])
    for _ in range(max_iterations):
        done = _turn(T, Y[:, active], C[active], power, state, tolerance)
        if done.any():
            W[:, active[done]], B[active[done]] = state.w[:, done], state.b[done]
            active, state = active[~done], state.take(~done)
        if not active.size:
            break
        _step(T, Y[:, active], C[active], state)
    W[:, active], B[active] = state.w, state.b
    return W, B


def _prior_only(T: Array, Y: Array) -> tuple[Array, Array]:
    rate = np.clip(Y.mean(axis=0), 0.5 / len(Y), 1 - 0.5 / len(Y))
    return np.zeros((T.shape[1], Y.shape[1]), T.dtype), np.log(rate / (1 - rate)).astype(T.dtype)


def _turn(T: Array, Y: Array, C: Array, power: Array, s: _State, tolerance: float) -> NDArray[np.bool_]:
    """Set the next conjugate direction of every column in `s`; true where the column has converged."""
    p, s.curvature = _sigmoid(s.z)
    residual = C * (p - Y)  # (n, k)
    gw, gb = T.T @ residual + s.w, residual.sum(axis=0)
    weight = np.maximum(s.curvature.mean(axis=0), 1e-6)
    sw, sb = gw / (C * weight * power + 1), gb / (C * weight * len(T))  # preconditioned gradient
    decrement = np.einsum("jk,jk->k", gw, sw) + gb * sb
    change = decrement - np.einsum("jk,jk->k", s.gw, sw) - s.gb * sb
    beta = np.maximum(change / s.decrement, 0)  # Polak-Ribiere, restarted where negative
    dw, db = beta * s.dw - sw, beta * s.db - sb
    uphill = np.einsum("jk,jk->k", gw, dw) + gb * db >= 0
    s.dw, s.db = np.where(uphill, -sw, dw), np.where(uphill, -sb, db)
    s.gw, s.gb, s.decrement = gw, gb, decrement
    converged: NDArray[np.bool_] = decrement <= 2 * tolerance * C * len(T)
    return converged


def _step(T: Array, Y: Array, C: Array, s: _State) -> None:
    """Move every column along its direction: Newton's step on the line, halved until it descends enough."""
    dz = T @ s.dw + s.db
    slope = np.einsum("jk,jk->k", s.gw, s.dw) + s.gb * s.db
    dw2, wdw = np.einsum("jk,jk->k", s.dw, s.dw), np.einsum("jk,jk->k", s.w, s.dw)
    t = -slope / (C * np.einsum("ik,ik,ik->k", s.curvature, dz, dz) + dw2)
    before = _loss(s.z, Y)
    slack = 8 * np.finfo(T.dtype).eps * C * np.abs(before)
    for _ in range(30):
        penalty = t * wdw + t * t * dw2 / 2
        rise = C * (_loss(s.z + t * dz, Y) - before) + penalty - _ARMIJO * t * slope
        short = ~(rise <= slack)
        if not short.any():
            break
        t = np.where(short, t / 2, t)
    s.w, s.b, s.z = s.w + t * s.dw, s.b + t * s.db, s.z + t * dz


def _sigmoid(z: Array) -> tuple[Array, Array]:
    """sigma(z) and sigma(z) (1 - sigma(z)), without overflow."""
    e = np.exp(-np.abs(z))
    small = e / (1 + e)
    return np.where(z >= 0, 1 - small, small), small * (1 - small)


def log_losses(z: Array, Y: Array) -> Array:
    """softplus(z) - y z, the log-loss of logits in nats, of z's shape."""
    return np.asarray(np.maximum(z, 0) - Y * z + np.log1p(np.exp(-np.abs(z))))


def _loss(z: Array, Y: Array) -> Array:
    return np.asarray(log_losses(z, Y).sum(axis=0))
