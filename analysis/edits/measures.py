"""What the judge encoder sees of edited pictures, and where the edited noise lies, face by face and then on average."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import Measured
from noisezoo.analysis.probes import Probes, fit_probes
from .edit import Norm, norms
from .effect import Effect, Units

Floats = NDArray[np.floating]
Images = NDArray[np.floating]
Embed = Callable[[Images], Floats]
"""Pictures (b, 3, h, w) in [-1, 1] -> the judge encoder's embeddings (b, e)."""
UNIT = "standard deviations of the judge encoder's logit"


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Probes of k attributes on the judge encoder's embeddings, and the deviations of their logits on its own rows."""

    probes: Probes
    scale: Floats  # (k,) unit of a change of each logit

    @classmethod
    def fit(cls, E: Floats, Y: NDArray[Any], units: Units, C: ArrayLike | None = None) -> "Reader":
        """On embeddings E (n, e) with labels Y (n, k) of identities (n,), by which C is validated when None."""
        probes = fit_probes(E, Y, C=C, groups=units)
        return cls(probes, np.asarray((E @ probes.coef.astype(E.dtype)).std(axis=0, dtype=np.float64)))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Faces edited at every strength, the first of which is 0, as one reader sees them."""

    edited: Floats  # (strengths, faces, d) rows of the medium: noise, or pixels
    embedded: Floats  # (strengths, faces, e)
    reader: Reader
    logits: Floats  # (strengths, faces, k)
    likeness: Floats  # (strengths, faces, faces) cosine of each face, edited, with each face, unedited

    @classmethod
    def by(cls, reader: Reader, edited: Floats, embedded: Floats) -> "Seen":
        """What a reader makes of rows and of the embeddings of their pictures."""
        unit = embedded / np.linalg.norm(embedded, axis=2, keepdims=True)
        return cls(edited, embedded, reader, np.empty(0), unit @ unit[0].T).again(reader)

    def again(self, reader: Reader) -> "Seen":
        """The same pictures by another reader."""
        of_rows = reader.probes.decision_function(self.embedded.reshape(-1, self.embedded.shape[-1]))
        return replace(self, reader=reader, logits=of_rows.reshape(*self.embedded.shape[:2], -1))

    @property
    def changes(self) -> Floats:
        """Logits less those of the unedited picture, each in its own unit: (strengths, faces, k)."""
        return np.asarray((self.logits - self.logits[:1]) / self.reader.scale)


def _judged(seen: Seen, target: int, norm: Norm) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(seen.logits[:, :, target]))


def _others(table: NDArray[Any], target: int) -> Floats:
    """Mean over the attributes that were not edited; 0 where there is none: (strengths, faces)."""
    others = np.delete(table, target, axis=2)
    return np.asarray(others.sum(axis=2) / max(others.shape[2], 1))


def _retrieved(seen: Seen, target: int, norm: Norm) -> Floats:
    return np.asarray(seen.likeness.argmax(axis=2) == np.arange(seen.likeness.shape[1]), np.float64)


MEASURES: Mapping[str, Callable[[Seen, int, Norm], Floats]] = MappingProxyType(
    {
        "judged": _judged,  # probability of the edited attribute
        "target": lambda seen, target, norm: seen.changes[:, :, target],  # change of its logit
        # share of the other attributes that flip, and mean |change| of their logits
        "collateral": lambda seen, target, norm: _others((seen.logits > 0) != (seen.logits[:1] > 0), target),
        "stray": lambda seen, target, norm: _others(np.abs(seen.changes), target),
        # cosine of the embedding with the unedited picture's, and whether that is the nearest of all
        "identity": lambda seen, target, norm: np.diagonal(seen.likeness, axis1=1, axis2=2),
        "retrieved": _retrieved,
        "norm": lambda seen, target, norm: norm.distance(seen.edited),  # in deviations from the unedited rows' mean
        "radius": lambda seen, target, norm: norms(seen.edited) / np.sqrt(seen.edited.shape[2]),  # |z| / sqrt(d)
    }
)
"""Name -> a reading (strengths, faces) of what was seen, for the column of the edited attribute."""
RATES, SHARES = ("collateral", "retrieved"), ("judged",)
"""Measures that count, and those that lie between 0 and 1 otherwise."""


def with_interval(name: str, effect: Effect, confidence: float) -> list[Measured]:
    """A measure at every strength with its interval and null."""
    if name in RATES:
        return effect.measured(confidence, effect.rate_intervals(confidence))
    return effect.measured(confidence, effect.intervals(confidence, least=0, most=1) if name in SHARES else None)


def levels(seen: Seen) -> list[dict[str, float]]:
    """What a strength's measures are held against: cosine of two faces, chance of retrieval, and the norm's ratio."""
    faces, length = seen.likeness.shape[1], norms(seen.edited)
    chance = float(seen.likeness[0][~np.eye(faces, dtype=np.bool_)].mean())
    ratios = (length / length[0]).mean(axis=1)
    return [{"identity_chance": chance, "retrieved_chance": 1 / faces, "norm_ratio": float(ratio)} for ratio in ratios]
