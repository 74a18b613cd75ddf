"""Edits of several attributes side by side: every kind of direction and variant, held against shuffled labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Interval, Result
from noisezoo.analysis.edits.directions import MAKERS
from noisezoo.analysis.edits.entanglement import Entanglement, entanglement_matrix, leak_differences
from noisezoo.analysis.edits.experiment import NOISE, SHUFFLED, VARIANTS, Floats, Strip, Study
from noisezoo.analysis.edits.measures import CONFIDENCE, MEASURES


@dataclass(frozen=True, slots=True, eq=False)
class EditStudy(Result):
    """Edits of several attributes, in every kind and variant asked for, on faces that lack the attribute.

    Each measure of `edit_measures.MEASURES` has its interval over faces, given the directions and the judge; its
    `null` is the same measure of the edit along a direction of shuffled labels (kind, faces and strength alike).
    """

    names: tuple[str, ...]
    strips: tuple[Strip, ...]
    unit: str  # of the changes of logits: target, stray, and the entanglement matrix
    confidence: float
    seed: int

    def settings(self) -> dict[str, Any]:
        """Faces of each attribute, unit, confidence and seed."""
        faces = {strip.attribute: len(strip.rows) for strip in self.strips}
        return {"faces": faces, "unit": self.unit, "confidence": self.confidence, "seed": self.seed}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a strip, strength and measure."""
        null = {
            (s.attribute, s.kind, row["strength"]): row
            for s in self.strips
            if s.variant == SHUFFLED
            for row in s.records
        }
        return [
            {
                "attribute": strip.attribute,
                "kind": strip.kind,
                "variant": strip.variant,
                "against": ", ".join(strip.against),
                "strength": row["strength"],
                "measure": name,
                **row[name],
                **_as_null(null.get((strip.attribute, strip.kind, row["strength"]), {}).get(name)),
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
        null = self._changes(kind, SHUFFLED, strength)
        rows = {strip.attribute: strip.rows for strip in self.strips}
        changes = self._asked(kind, variant, strength)
        return entanglement_matrix(
            changes, self.names, null=null, faces=rows, unit=self.unit, confidence=self.confidence, seed=self.seed
        )

    def removed(self, kind: str, variant: str, strength: float) -> dict[str, Interval]:
        """Leak of each attribute's edit in a variant less that of the plain edit, paired over faces.

        Raises:
            ValueError: as `entanglement`.
        """
        after, before = (self._asked(kind, v, strength) for v in (variant, NOISE))
        return leak_differences(after, before, self.names, confidence=self.confidence, seed=self.seed)

    def _asked(self, kind: str, variant: str, strength: float) -> dict[str, Floats]:
        changes = self._changes(kind, variant, strength)
        if not changes:
            raise ValueError(f"the study holds no edit of kind {kind!r}, variant {variant!r} at strength {strength:g}")
        return changes

    def _changes(self, kind: str, variant: str, strength: float) -> dict[str, Floats]:
        return {
            strip.attribute: strip.changes[strip.strengths.index(strength)]
            for strip in self.strips
            if (strip.kind, strip.variant) == (kind, variant) and strength in strip.strengths
        }


def _as_null(interval: Mapping[str, Any] | None) -> dict[str, Any]:
    ends = interval or {}
    names = {"estimate": "null", "low": "null_low", "high": "null_high"}
    return {new: ends.get(old, float("nan")) for old, new in names.items()}


def study_edits(
    study: Study,
    faces: Mapping[str, NDArray[np.intp]],
    *,
    kinds: Sequence[str] = tuple(MAKERS),
    variants: Sequence[str] = tuple(VARIANTS),
) -> EditStudy:
    """Edit each attribute of `faces` (attribute -> rows that lack it) in every kind and variant, and measure.

    Pictures through the model: for each attribute, rows x (1 + kinds x variants through noise x (strengths - 1)).

    Raises:
        ValueError: as `Study.strips`.
    """
    strips = [s for name, rows in faces.items() for s in study.strips(name, rows, kinds=kinds, variants=variants)]
    return EditStudy(tuple(study.names), tuple(strips), study.unit, CONFIDENCE, study.seed)
