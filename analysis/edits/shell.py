"""The shell that Gaussian noise lies on: |z| is sqrt(d) and varies by 1 / sqrt(2), however large d is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Matrix, as_matrix

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shell:
    """Where the norms of a view's rows lie: about `radius`, with standard deviation `spread`, in `d` dimensions.

    Measured on rows, because inverted noise does not have unit variance (plain DDIM: 0.7 to 0.97).
    """

    radius: float
    spread: float
    d: int

    def distance(self, Z: Matrix) -> Floats:
        """How far rows Z (..., d) lie outside the shell, in standard deviations of the norm: (...)."""
        return np.asarray((norms(Z) - self.radius) / self.spread)

    def relative(self, Z: Matrix) -> Floats:
        """|z| / sqrt(d) of rows Z (..., d): 1 on the shell of standard Gaussian noise, (...)."""
        return np.asarray(norms(Z) / np.sqrt(self.d))


def fit_shell(X: Matrix, name: str = "X") -> Shell:
    """The shell of rows X (n, d).

    Raises:
        ValueError: rows that all have one norm, which leaves no unit to measure a distance in, or what `as_matrix`
            refuses.
    """
    rows = as_matrix(X, name)
    length = norms(rows)
    spread = float(length.std(ddof=1))
    if spread <= np.finfo(rows.dtype).eps * length.mean():
        raise ValueError(f"all rows of {name} have one norm: distances from their shell have no unit")
    return Shell(float(length.mean()), spread, rows.shape[1])


def norms(Z: Matrix) -> Floats:
    """|z| of rows Z (..., d), summed in float64: (...)."""
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", Z, Z, dtype=np.float64)))


def to_shell(edited: Matrix, Z: Matrix) -> Matrix:
    """Edited rows (n, d) brought back to the norms that rows Z (n, d) had before.

    Raises:
        ValueError: an edited row of zeros, which has no direction.
    """
    length = norms(edited)
    if not length.all():
        raise ValueError(f"row {int(np.argmin(length))} is zero after the edit: it cannot be brought back to a norm")
    return np.asarray(edited * (norms(Z) / length)[..., None].astype(edited.dtype))
