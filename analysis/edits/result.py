"""Edits of several attributes side by side: every kind of direction and variant, held against shuffled labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Draws, Interval, Result
from noisezoo.analysis.edits.directions import MAKERS
from noisezoo.analysis.edits.entanglement import Effects, Entanglement, differences, entangle
from noisezoo.analysis.edits.experiment import NOISE, VARIANTS, Experiment, Strip
from noisezoo.analysis.edits.measures import MEASURES, UNIT


@dataclass(frozen=True, eq=False)
class EditStudy(Result):
    """Edits of several attributes, in every kind and variant asked for, on faces that lack the attribute.

    Each of `measures.MEASURES` has an interval over identities, readers and directions (`effect.Effect`). Its `null` is
    the same measure of edits along directions of shuffled labels, in the same medium and at the same strength. An edit
    works where its `target` exceeds that null.
    """

    names: tuple[str, ...]  # attributes that are edited and read
    refused: Mapping[str, str]  # attribute -> why it is not
    strips: tuple[Strip, ...] = field(repr=False)
    faces: Mapping[str, int]  # attribute -> faces that were edited
    unit: str  # of the changes of logits: target, stray, and the entanglement matrix
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a strip, strength and measure."""
        return [
            {
                "attribute": strip.attribute,
                "kind": strip.kind,
                "variant": strip.variant,
                "against": ", ".join(strip.against),
                "strength": row["strength"],
                "measure": name,
                **row[name],
            }
            for strip in self.strips
            for row in strip.records
            for name in MEASURES
        ]

    def entanglement(self, kind: str, variant: str, strength: float) -> Entanglement:
        """The matrix (edited x measured attribute) of one kind and variant at one strength.

        Raises:
            ValueError: no such kind, variant or strength in the study.
        """
        return entangle(*self._effects(kind, variant, strength), self.names, unit=self.unit, draws=self.draws)

    def removed(self, kind: str, variant: str, strength: float) -> dict[str, Interval]:
        """Entanglement of each edit in a variant less that of the plain edit of noise, and the mean of those.

        Paired over faces, readers and shuffled labels; the mean is over attributes that are seen in both.

        Raises:
            ValueError: as `entanglement`.
        """
        after, before = (self._effects(kind, v, strength) for v in (variant, NOISE))
        return differences(after, before, self.names, self.draws.confidence)

    def _effects(self, kind: str, variant: str, strength: float) -> Effects:
        strips = [s for s in self.strips if (s.kind, s.variant) == (kind, variant) and strength in s.strengths]
        if not strips:
            raise ValueError(f"the study holds no edit of kind {kind!r}, variant {variant!r} at strength {strength:g}")
        at = {s.attribute: s.strengths.index(strength) for s in strips}
        changes = {s.attribute: s.changes[at[s.attribute]] for s in strips}
        return changes, {s.attribute: s.stray[at[s.attribute]] for s in strips}


def study_edits(
    experiment: Experiment,
    faces: Mapping[str, NDArray[np.intp]],
    *,
    kinds: Sequence[str] = tuple(MAKERS),
    variants: Sequence[str] = tuple(VARIANTS),
) -> EditStudy:
    """Edit each attribute of `faces` (attribute -> held-out rows that lack it) in every kind and variant, and measure.

    Pictures through the model, for each attribute: rows x (1 + kinds x (variants through noise + permutations) x
    (strengths - 1)).

    Raises:
        ValueError: as `Experiment.strips`.
    """
    strips = [s for name, rows in faces.items() for s in experiment.strips(name, rows, kinds=kinds, variants=variants)]
    e = experiment
    return EditStudy(
        names=e.measured,
        refused=e.refused,
        strips=tuple(strips),
        faces={name: len(rows) for name, rows in faces.items()},
        unit=UNIT,
        draws=Draws(0, e.n_splits, e.n_permutations, confidence=e.confidence, seed=e.seed),
    )
