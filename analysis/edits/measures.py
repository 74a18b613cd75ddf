"""What a judge sees of edited pictures, and where the edited noise lies, face by face and then on average."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Interval, mean_intervals, wilson
from noisezoo.analysis.edits.entanglement import few_rows_confidence
from noisezoo.analysis.edits.shell import Shell, norms
from noisezoo.analysis.probes import Probes

Floats = NDArray[np.floating]
Images = NDArray[np.floating]
Embed = Callable[[Images], Floats]
"""Pictures (b, 3, h, w) in [-1, 1] -> the judge's embeddings (b, e)."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Seen:
    """What the judge makes of pictures at every strength, the first of which is unedited."""

    likeness: Floats  # (strengths, faces, faces) cosine of each face, edited, with each face, unedited
    logits: Floats  # (strengths, faces, k)
    scale: Floats  # (k,) unit of a change of each logit

    @property
    def changes(self) -> Floats:
        """Logits less those of the unedited picture, each in its own unit: (strengths, faces, k)."""
        return np.asarray((self.logits - self.logits[:1]) / self.scale)


def look(images: Images, embed: Embed, judge: Probes, scale: Floats | None = None) -> Seen:
    """Embed pictures (strengths, faces, 3, h, w) with the judge, and read its probes; `scale` (k,) as in `Seen`."""
    rows = np.stack([embed(pictures) for pictures in images])  # (strengths, faces, e)
    unit = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    logits = np.stack([judge.decision_function(each) for each in rows])
    return Seen(unit @ unit[0].T, logits, np.ones(logits.shape[2]) if scale is None else scale)


def _judged(seen: Seen, target: int) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(seen.logits[:, :, target]))


def _target(seen: Seen, target: int) -> Floats:
    return np.asarray(seen.changes[:, :, target])


def _others(table: NDArray[Any], target: int) -> Floats:
    """Mean over the attributes that were not edited; 0 where there is none: (strengths, faces)."""
    others = np.delete(table, target, axis=2)
    return np.asarray(others.sum(axis=2) / max(others.shape[2], 1))


def _collateral(seen: Seen, target: int) -> Floats:
    return _others((seen.logits > 0) != (seen.logits[:1] > 0), target)


def _stray(seen: Seen, target: int) -> Floats:
    return _others(np.abs(seen.changes), target)


def _identity(seen: Seen, target: int) -> Floats:
    return np.diagonal(seen.likeness, axis1=1, axis2=2)


_READ: Mapping[str, Callable[[Seen, int], Floats]] = MappingProxyType(
    {
        "judged": _judged,  # probability of the edited attribute
        "target": _target,  # change of its logit
        "collateral": _collateral,  # share of the other attributes that flip
        "stray": _stray,  # mean |change| of their logits
        "identity": _identity,  # cosine of the embedding with the unedited picture's
    }
)
MEASURES = (*_READ, "retrieved", "shell", "radius")
"""Those, and: share of faces nearest to their own unedited picture; distance of the edited rows from the shell of the
unedited, in standard deviations of the norm; |z| / sqrt(d)."""


def measure(seen: Seen, target: int, edited: Floats, shell: Shell, *, seed: int = 42) -> list[dict[str, Any]]:
    """One dictionary a strength: each of `MEASURES` with its interval over faces, and what it is to be held against.

    Args:
        seen: what the judge saw.
        target: column of the edited attribute.
        edited: (strengths, faces, d) edited rows, the first unedited.
        shell: of unedited rows, in the medium that was edited (noise; pixels for an overlay).
        seed: of the resamples.

    Returns:
        Also `identity_chance`, the mean cosine of two different unedited faces, and `norm_ratio`.
    """
    scores = {name: read(seen, target) for name, read in _READ.items()}
    scores |= {"shell": shell.distance(edited), "radius": shell.relative(edited)}
    columns: dict[str, list[Interval]] = {name: _means(table, seed) for name, table in scores.items()}
    columns["retrieved"] = _retrieved(seen)
    faces = seen.likeness.shape[1]
    length, others = norms(edited), ~np.eye(faces, dtype=np.bool_)
    fixed = {"identity_chance": float(seen.likeness[0][others].mean()), "retrieved_chance": 1 / faces}
    return [
        {
            **{name: columns[name][i].to_dict() for name in MEASURES},
            **fixed,
            "norm_ratio": float((length[i] / length[0]).mean()),
        }
        for i in range(len(edited))
    ]


def _means(table: Floats, seed: int) -> list[Interval]:
    """Of each strength over faces, from (strengths, faces)."""
    return mean_intervals(table.T, seed=seed, confidence=few_rows_confidence(table.shape[1], CONFIDENCE))


def _retrieved(seen: Seen) -> list[Interval]:
    faces = seen.likeness.shape[1]
    own = (seen.likeness.argmax(axis=2) == np.arange(faces)).sum(axis=1)  # (strengths,)
    low, high = wilson(own, faces, CONFIDENCE)
    return [Interval(*map(float, ends)) for ends in zip(own / faces, low, high, strict=True)]
