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

Array = NDArray[np.floating[Any]]
_OVERSHOOT = 0.5  # a step is too long when the slope at its end is this much of the first slope, uphill


@dataclass(frozen=True, slots=True)
class Spectrum:
    """T^T T = V diag(values) V^T, or nearly so; V is the identity where `axes` is None."""

    values: Array  # (r,)
    axes: Array | None = None  # (r, r)

    def solve(self, g: Array, c: Array) -> Array:
        """(c T^T T + 1)^-1 g for each column of g (r, k) and its c (k,)."""
        shrink = c * self.values[:, None] + 1  # (r, k)
        if self.axes is None:
            return np.asarray(g / shrink)
        return np.asarray(self.axes @ ((self.axes.T @ g.astype(self.axes.dtype, copy=False)) / shrink), dtype=g.dtype)


@dataclass(slots=True)
class _State:
    """Columns still being solved: weights w (r, k), intercepts b (k,), margins m (n, k) and the last direction."""

    w: Array
    b: Array
    C: Array  # (k,)
    side: Array  # (n, k) -1 or 1, the label
    m: Array  # (n, k) side * logit
    q: Array  # (n, k) sigma(-m): the probability that is missing from the true class
    dw: Array
    db: Array
    gw: Array
    gb: Array
    decrement: Array  # (k,) preconditioned squared gradient of the last iteration
    curvature: Array  # (n, k) q (1 - q)

    def take(self, columns: NDArray[Any]) -> "_State":
        return _State(*(getattr(self, name)[..., columns] for name in self.__slots__))


def minimise(
    T: Array,
    Y: Array,
    C: Array,
    start: tuple[Array, Array] | None = None,
    *,
    spectrum: Spectrum | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
) -> tuple[Array, Array]:
    """Minimise C sum_i (softplus(z_i) - y_i z_i) + |w|^2 / 2 over w and b, z = T w + b, for each column of Y.

    T (n, r) is centred; Y (n, k) is 0/1; C (k,) > 0 is scikit-learn's. Without the `spectrum` of T^T T, the columns of
    T must be nearly orthogonal. Stops a column when the Newton decrement bounds its objective within `tolerance` nats
    a row of the optimum, or at `max_iterations`.

    Returns:
        w (r, k) and b (k,) in T's dtype.
    """
    W, B = (array.astype(T.dtype) for array in (start if start is not None else _prior_only(T, Y)))
    spectrum = spectrum or Spectrum(np.einsum("ij,ij->j", T, T))
    s = _begin(T, Y, C, W, B)
    active = np.arange(Y.shape[1])
    for _ in range(max_iterations):
        done = _turn(T, spectrum, s, tolerance)
        if done.any():
            W[:, active[done]], B[active[done]] = s.w[:, done], s.b[done]
            active, s = active[~done], s.take(~done)
        if not active.size:
            break
        _step(T, s)
    W[:, active], B[active] = s.w, s.b
    return W, B


def _prior_only(T: Array, Y: Array) -> tuple[Array, Array]:
    rate = np.clip(Y.mean(axis=0), 0.5 / len(Y), 1 - 0.5 / len(Y))
    return np.zeros((T.shape[1], Y.shape[1])), np.log(rate / (1 - rate))


def _begin(T: Array, Y: Array, C: Array, W: Array, B: Array) -> _State:
    side = (2 * Y - 1).astype(T.dtype)
    m = side * (T @ W + B)
    q = _missing(m)
    zeros = np.zeros_like(W), np.zeros_like(B)
    return _State(W, B, C.astype(T.dtype), side, m, q, *zeros, *zeros, np.full_like(B, np.inf), q)


def _turn(T: Array, spectrum: Spectrum, s: _State, tolerance: float) -> NDArray[np.bool_]:
    """Set the next conjugate direction of every column in `s`; true where the column has converged."""
    s.curvature = s.q - s.q * s.q
    residual = s.side * s.q  # (n, k) y - p
    gw, gb = s.w - s.C * (T.T @ residual), -s.C * residual.sum(axis=0)
    weight = s.C * np.maximum(s.curvature.mean(axis=0), 1e-6)
    sw, sb = spectrum.solve(gw, weight), gb / (weight * len(T))  # preconditioned gradient
    decrement = _dot(gw, sw) + gb * sb
    beta = np.maximum((decrement - _dot(s.gw, sw) - s.gb * sb) / s.decrement, 0)  # Polak-Ribiere, or anew
    dw, db = beta * s.dw - sw, beta * s.db - sb
    uphill = _dot(gw, dw) + gb * db >= 0
    s.dw, s.db = np.where(uphill, -sw, dw), np.where(uphill, -sb, db)
    s.gw, s.gb, s.decrement = gw, gb, decrement
    converged: NDArray[np.bool_] = decrement <= 2 * tolerance * s.C * len(T)
    return converged


def _step(T: Array, s: _State) -> None:
    """Move every column along its direction: Newton's step on the line, cut back where it overshoots.

    On the line the objective is convex, so that its slope alone tells how far to go. Near the optimum the slope keeps
    digits that differences of the objective have lost.
    """
    dm = s.side * (T @ s.dw + s.db)
    slope = _dot(s.gw, s.dw) + s.gb * s.db
    dw2, wdw = _dot(s.dw, s.dw), _dot(s.w, s.dw)
    t = -slope / (s.C * np.einsum("ik,ik,ik->k", s.curvature, dm, dm) + dw2)
    for _ in range(30):
        m = s.m + t * dm
        q = _missing(m)
        end = wdw + t * dw2 - s.C * _dot(q, dm)
        long = end > -_OVERSHOOT * slope
        if not long.any():
            break
        t = np.where(long, t * np.maximum(slope / (slope - end), 0.1), t)  # the secant's zero
    s.w, s.b, s.m, s.q = s.w + t * s.dw, s.b + t * s.db, m, q


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(np.einsum("ik,ik->k", a, b))


def _missing(m: Array) -> Array:
    """sigma(-m) without overflow, to full relative precision."""
    e = np.exp(-np.abs(m))
    return np.asarray(np.where(m < 0, 1, e) / (1 + e))


def log_losses(z: Array, Y: Array) -> Array:
    """softplus(z) - y z, the log-loss of logits in nats, of z's shape."""
    return np.asarray(np.maximum(z, 0) - Y * z + np.log1p(np.exp(-np.abs(z))))
