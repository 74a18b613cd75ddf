"""Edits of several attributes side by side, and what an edit of one does to all the others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import Draws, Floats, Interval, Measured, Result, as_matrix
from .directions import MAKERS
from .effect import Effect, average
from .experiment import NOISE, VARIANTS, Experiment, Strip
from .measures import MEASURES, UNIT

Changes = Mapping[str, ArrayLike]
"""Edited attribute -> the judge encoder's logits of every attribute, edited less unedited, of its faces: (m, k)."""
Effects = tuple[Mapping[str, Effect], Mapping[str, Effect]]
"""Edited attribute -> its change of every attribute (k,), and -> the mean |change| of the others (1,)."""
MEAN = "mean"
_NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Entanglement(Result):
    """Mean change of every attribute under the edit of each, and how much of an edit goes astray.

    The entanglement of an edit is the mean over faces and other attributes of |change|, over the mean change of the
    edited attribute: 0 for an edit that moves nothing else. It is not known (NaN) where the edited attribute's own
    interval does not lie above 0, for then there is no edit to speak of; `caveats` name those.
    """

    edited: tuple[str, ...]  # (a,)
    names: tuple[str, ...]  # (k,)
    changes: tuple[tuple[Measured, ...], ...]  # (a, k)
    entanglement: tuple[Interval, ...]  # (a,)
    mean: Interval
    faces: Mapping[str, int]
    unit: str
    draws: Draws
    caveats: tuple[str, ...]

    @property
    def matrix(self) -> Floats:
        """Mean changes (a, k)."""
        return np.array([[cell.estimate for cell in row] for row in self.changes])

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a cell of the matrix, then one an edit's entanglement, then their mean."""
        cells = [
            {"edited": name, "measured": measured, **cell.row("change")}
            for name, row in zip(self.edited, self.changes, strict=True)
            for measured, cell in zip(self.names, row, strict=True)
        ]
        of_edits = [*zip(self.edited, self.entanglement, strict=True), (MEAN, self.mean)]
        rest = {"measured": "others", "measure": "entanglement"}
        no_null = dict.fromkeys(("null", "null_low", "null_high", "p_value"), _NAN)
        return cells + [{"edited": name, **rest, **found.to_dict(), **no_null} for name, found in of_edits]


def entanglement_matrix(
    changes: Changes,
    names: Sequence[str],
    *,
    null: Changes | None = None,
    faces: Mapping[str, ArrayLike] | None = None,
    unit: str = "log-odds",
    confidence: float = 0.95,
) -> Entanglement:
    """Mean change of each of k attributes under the edit of each of some, with Student's intervals over faces.

    They take directions and probes as given; `EditStudy.entanglement` does not.

    Args:
        changes: edited attribute -> (m, k) changes of the judge encoder's logits, a row a face; m may differ.
        names: (k,) measured attributes, the edited ones among them.
        null: the same for edits that mean nothing, such as those along directions of shuffled labels.
        faces: edited attribute -> (m,) which faces its rows are, where edits share faces. None: no two edits do.
        unit: what the changes are in, for the record.
        confidence: of the intervals.

    Raises:
        ValueError: an edited attribute that is not measured, fewer than 2 faces, or columns that are not `names`.
    """
    return _entangled(_effects(changes, names, faces, null or {}), names, unit, Draws(confidence=confidence))


def entanglement_differences(
    after: Changes, before: Changes, names: Sequence[str], *, confidence: float = 0.95
) -> dict[str, Interval]:
    """Entanglement of each edit after a treatment (such as orthogonalisation) less before, paired over faces.

    Negative where the treatment removes entanglement. Arguments as in `entanglement_matrix`; the same faces in both.

    Returns:
        Edited attribute -> interval, and their mean; NaN where the judge encoder sees no edit, before or after.

    Raises:
        ValueError: as `entanglement_matrix`, or faces that differ in number.
    """
    rows = {name: np.arange(len(np.asarray(table))) for name, table in before.items()}
    for name, faces in rows.items():
        if (m := len(np.asarray(after[name]))) != len(faces):
            raise ValueError(f"{m} faces of {name!r} after and {len(faces)} before cannot be paired")
    a, b = (_effects(tables, names, rows, {}) for tables in (after, before))
    return _differences(a, b, names, confidence)


def _effects(changes: Changes, names: Sequence[str], faces: Mapping[str, ArrayLike] | None, null: Changes) -> Effects:
    tables = {name: _as_changes(name, table, names) for name, table in changes.items()}
    draws = [_as_changes(name, table, names).mean(axis=0) for name, table in null.items()]
    ids = [np.asarray(faces[name]) if faces else np.array([f"{name} {i}" for i in range(len(table))])
           for name, table in tables.items()]  # fmt: skip
    unique, unit = np.unique(np.concatenate(ids), return_inverse=True)
    units = np.split(unit, np.cumsum([len(each) for each in ids])[:-1])
    found, stray = {}, {}
    for (name, table), rows in zip(tables.items(), units, strict=True):
        others = np.abs(np.delete(table, list(names).index(name), axis=1))
        found[name] = Effect.of(table, rows, len(unique), null=draws, share=0.0)  # the directions are taken as given
        mean = others.sum(axis=1, keepdims=True) / max(others.shape[1], 1)
        stray[name] = Effect.of(mean, rows, len(unique), null=[np.zeros(1)] * len(draws))  # the null is of changes
    return found, stray


def _as_changes(name: str, table: ArrayLike, names: Sequence[str]) -> Floats:
    if name not in names:
        raise ValueError(f"{name!r} is edited and not among the measured attributes: {', '.join(names)}")
    what = f"changes under the edit of {name!r}"
    changes = as_matrix(table, what).astype(np.float64)
    if changes.shape[1] != len(names):
        raise ValueError(f"{what} have {changes.shape[1]} columns for {len(names)} attributes")
    return changes


def _entangled(effects: Effects, names: Sequence[str], unit: str, draws: Draws) -> Entanglement:
    """The matrix of effects of edits, and what goes astray."""
    changes, ratios = effects[0], _ratios(effects, names, draws.confidence)
    astray = _with_mean(ratios, changes, draws.confidence)
    lost = ", ".join(name for name in changes if name not in ratios)
    said = f"The judge encoder does not see the edit of {lost} at this strength: its entanglement is not known."
    return Entanglement(
        edited=tuple(changes),
        names=tuple(names),
        changes=tuple(tuple(effect.measured(draws.confidence)) for effect in changes.values()),
        entanglement=tuple(astray[name] for name in changes),
        mean=astray[MEAN],
        faces={name: int(effect.present.sum()) for name, effect in changes.items()},
        unit=unit,
        draws=draws,
        caveats=(said,) if lost else (),
    )


def _differences(after: Effects, before: Effects, names: Sequence[str], confidence: float) -> dict[str, Interval]:
    """Entanglement after less before, of each edit and of the mean over those that are seen in both."""
    a, b = (_ratios(effects, names, confidence) for effects in (after, before))
    return _with_mean({name: a[name] - b[name] for name in a if name in b}, before[0], confidence)


def _ratios(effects: Effects, names: Sequence[str], confidence: float) -> dict[str, Effect]:
    """Stray change over the target's, of the edits that the judge encoder sees."""
    changes, stray = effects
    targets = {name: effect.take([list(names).index(name)]) for name, effect in changes.items()}
    return {name: stray[name].over(t) for name, t in targets.items() if t.intervals(confidence)[0].low > 0}


def _with_mean(effects: Mapping[str, Effect], names: Iterable[str], confidence: float) -> dict[str, Interval]:
    """The interval of each effect and of their mean; NaN for names that have none."""
    known = {**effects, **({MEAN: average(list(effects.values()))} if effects else {})}
    unknown = dict.fromkeys((*names, MEAN), Interval(_NAN, _NAN, _NAN))
    return unknown | {name: effect.intervals(confidence)[0] for name, effect in known.items()}


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
            {"attribute": strip.attribute, "kind": strip.kind, "variant": strip.variant,
             "against": ", ".join(strip.against), "strength": row["strength"], "measure": name, **row[name]}
            for strip in self.strips for row in strip.records for name in MEASURES
        ]  # fmt: skip

    def entanglement(self, kind: str, variant: str, strength: float) -> Entanglement:
        """The matrix (edited x measured attribute) of one kind and variant at one strength.

        Raises:
            ValueError: no such kind, variant or strength in the study.
        """
        return _entangled(self._effects(kind, variant, strength), self.names, self.unit, self.draws)

    def removed(self, kind: str, variant: str, strength: float) -> dict[str, Interval]:
        """Entanglement of each edit in a variant less that of the plain edit of noise, and the mean of those.

        Paired over faces, readers and shuffled labels; the mean is over attributes that are seen in both.

        Raises:
            ValueError: as `entanglement`.
        """
        after, before = (self._effects(kind, v, strength) for v in (variant, NOISE))
        return _differences(after, before, self.names, self.draws.confidence)

    def _effects(self, kind: str, variant: str, strength: float) -> Effects:
        strips = [s for s in self.strips if (s.kind, s.variant) == (kind, variant) and strength in s.strengths]
        if not strips:
            raise ValueError(f"the study holds no edit of kind {kind!r}, variant {variant!r} at strength {strength:g}")
        at = {s.attribute: (s, s.strengths.index(strength)) for s in strips}
        return {a: s.changes[i] for a, (s, i) in at.items()}, {a: s.stray[i] for a, (s, i) in at.items()}


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
    e = experiment
    strips = [s for name, rows in faces.items() for s in e.strips(name, rows, kinds=kinds, variants=variants)]
    draws = Draws(0, e.n_splits, e.n_permutations, confidence=e.confidence, seed=e.seed)
    return EditStudy(e.measured, e.refused, tuple(strips), {name: len(faces[name]) for name in faces}, UNIT, draws)
