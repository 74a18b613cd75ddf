"""Linear edits: move a row along a probe's normal, in units of how much the rows vary along it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.orthogonal import cosine, orthogonalize
from noisezoo.analysis.probes import Probes

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


def make_edit(attribute: str, names: Sequence[str], probes: Probes, X: Floats) -> Edit:
    """The edit along the attribute's probe normal, scaled by the rows X (n, d) (the paper's section on editing)."""
    w = probes.coef[:, list(names).index(attribute)]
    normal = w / np.linalg.norm(w)
    return Edit(attribute, normal, float(np.std(X @ normal)))


def orthogonal_edit(edit: Edit, other: Edit, X: Floats) -> Edit:
    """The same edit with the other attribute's direction taken out, rescaled to its own spread over X (n, d).

    Raises:
        ValueError: The two directions are the same.
    """
    normal = orthogonalize(edit.normal, other.normal)
    return replace(edit, normal=normal, scale=float(np.std(X @ normal)), against=(*edit.against, other.attribute))


def most_entangled(attribute: str, names: Sequence[str], probes: Probes, X: Floats) -> tuple[str, float]:
    """The attribute whose logits correlate most with this one's over rows X (n, d), and that correlation.

    Covariance-weighted cosine: the Euclidean one misleads where the rows' covariance is far from the identity.
    """
    w = {name: probes.coef[:, j] for j, name in enumerate(names)}
    others = {name: cosine(w[attribute], w[name], rows=X) for name in names if name != attribute}
    name = max(others, key=lambda other: abs(others[other]))
    return name, others[name]
