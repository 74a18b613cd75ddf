"""Linear edits: move a row along a direction, in units of how much the rows vary along it; and where its norm lies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Matrix, as_matrix
from noisezoo.analysis.probes import Probes
from .vectors import cosine, orthogonalize

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Edit:
    """A unit direction `normal` (d,) for an attribute, and `scale`, the rows' standard deviation along it.

    `against` names the attributes whose directions were taken out of it.
    """

    attribute: str
    normal: Floats
    scale: float
    against: tuple[str, ...] = ()

    def apply(self, Z: Floats, strength: float) -> Floats:
        """Rows Z (n, d) moved by `strength` projected standard deviations; 0 leaves them as they are."""
        return Z + np.asarray(strength * self.scale * self.normal, dtype=Z.dtype)


def edit_along(attribute: str, direction: Floats, X: Floats) -> Edit:
    """The edit along a direction (d,) of whatever length, scaled by the rows X (n, d).

    Raises:
        ValueError: a direction of zero, or one along which the rows do not vary: its strength has no unit.
    """
    length = float(np.linalg.norm(direction))
    normal = np.asarray(direction, dtype=np.float64) / (length or 1.0)
    scale = float((X @ normal.astype(X.dtype)).std(dtype=np.float64))  # no second copy of X in another dtype
    if not length or not scale:
        raise ValueError(f"the rows do not vary along the direction of {attribute!r}: an edit has no unit of strength")
    return Edit(attribute, normal, scale)


def make_edit(attribute: str, names: Sequence[str], probes: Probes, X: Floats) -> Edit:
    """The edit along the attribute's probe normal, scaled by the rows X (n, d) (the paper's section on editing)."""
    return edit_along(attribute, probes.coef[:, list(names).index(attribute)], X)


def orthogonal_edit(edit: Edit, others: Sequence[Edit], X: Floats) -> Edit:
    """The same edit with the other attributes' directions taken out, rescaled to its own spread over X (n, d).

    Moving a row by v leaves the logit x w + b of another attribute where it is if and only if v w = 0: so the others
    should be *readers*, the normals of probes, whatever kind of direction the edit itself is. With none, the edit.

    Raises:
        ValueError: the edit's direction lies in the span of the others'.
    """
    if not others:
        return edit
    normal = orthogonalize(edit.normal, np.stack([other.normal for other in others]))
    against = (*edit.against, *(other.attribute for other in others))
    return replace(edit_along(edit.attribute, normal, X), against=against)


def most_entangled(attribute: str, names: Sequence[str], probes: Probes, X: Floats) -> tuple[str, float]:
    """The attribute whose logits correlate most with this one's over rows X (n, d), and that correlation.

    Covariance-weighted cosine: the Euclidean one misleads where the rows' covariance is far from the identity.

    Raises:
        ValueError: there is no other attribute.
    """
    if len(names) < 2:
        raise ValueError(f"there is no attribute beside {attribute!r} that it could be entangled with")
    w = dict(zip(names, probes.coef.T, strict=True))
    others = {name: cosine(w[attribute], w[name], rows=X) for name in names if name != attribute}
    return max(others.items(), key=lambda item: abs(item[1]))


@dataclass(frozen=True, slots=True)
class Norm:
    """Where the norms |z| of a view's rows lie: those of a Gaussian near sqrt(d), with deviation 1 / sqrt(2).

    Measured on rows, because inverted noise does not have unit variance (plain DDIM: 0.7 to 0.97).
    """

    mean: float
    deviation: float

    def distance(self, Z: Matrix) -> Floats:
        """How far the norms of rows Z (..., d) lie above the mean, in standard deviations of the norm: (...)."""
        return np.asarray((norms(Z) - self.mean) / self.deviation)


def fit_norm(X: Matrix, name: str = "X") -> Norm:
    """Mean and standard deviation of the norms of rows X (n, d).

    Raises:
        ValueError: rows that all have one norm, which leaves no unit to measure a distance in, or what `as_matrix`
            refuses.
    """
    rows = as_matrix(X, name)
    length = norms(rows)
    deviation = float(length.std(ddof=1))
    if deviation <= np.finfo(rows.dtype).eps * length.mean():
        raise ValueError(f"all rows of {name} have one norm: distances from it have no unit")
    return Norm(float(length.mean()), deviation)


def norms(Z: Matrix) -> Floats:
    """|z| of rows Z (..., d), summed in float64: (...)."""
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", Z, Z, dtype=np.float64)))


def keep_norm(edited: Matrix, Z: Matrix) -> Matrix:
    """Edited rows (n, d) at the norms that rows Z (n, d) had before.

    Raises:
        ValueError: an edited row of zeros, which has no direction.
    """
    length = norms(edited)
    if not length.all():
        raise ValueError(f"row {int(np.argmin(length))} is zero after the edit: it cannot be brought back to a norm")
    return np.asarray(edited * (norms(Z) / length)[..., None].astype(edited.dtype))
