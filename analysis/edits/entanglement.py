"""What an edit of one attribute does to all the others: the matrix (edited attribute x measured attribute)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisezoo.analysis.core import Draws, Floats, Interval, Measured, Result, as_matrix
from noisezoo.analysis.edits.effect import Effect, average
from noisezoo.analysis.edits.measures import UNIT

Changes = Mapping[str, ArrayLike]
"""Edited attribute -> the judge encoder's logits of every attribute, edited less unedited, of its faces: (m, k)."""
MEAN = "mean"
_NAN = float("nan")
_UNKNOWN = Interval(_NAN, _NAN, _NAN)


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
    draws = [_as_changes(name, table, names).mean(axis=0) for name, table in (null or {}).items()]
    found = _effects(changes, names, faces, np.reshape(draws, (len(draws), len(names))))
    return entangle(*found, names, unit=unit, draws=Draws(confidence=confidence))


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
    for name in before:
        m, other = len(np.asarray(after[name])), len(np.asarray(before[name]))
        if m != other:
            raise ValueError(f"{m} faces of {name!r} after and {other} before cannot be paired")
    rows = {name: np.arange(len(np.asarray(table))) for name, table in before.items()}
    a, b = (_effects(tables, names, rows, np.empty((0, len(names)))) for tables in (after, before))
    return differences(a, b, names, confidence)


Effects = tuple[Mapping[str, Effect], Mapping[str, Effect]]
"""Edited attribute -> its change of every attribute (k,), and -> the mean |change| of the others (1,)."""


def entangle(
    changes: Mapping[str, Effect], stray: Mapping[str, Effect], names: Sequence[str], *, unit: str = UNIT, draws: Draws
) -> Entanglement:
    """The matrix of effects of edits, and what goes astray."""
    ratios = _ratios((changes, stray), names, draws.confidence)
    lost = ", ".join(name for name in changes if name not in ratios)
    return Entanglement(
        edited=tuple(changes),
        names=tuple(names),
        changes=tuple(tuple(effect.measured(draws.confidence)) for effect in changes.values()),
        entanglement=tuple(_interval(ratios.get(name), draws.confidence) for name in changes),
        mean=_interval(average(list(ratios.values())) if ratios else None, draws.confidence),
        faces={name: int(effect.present.sum()) for name, effect in changes.items()},
        unit=unit,
        draws=draws,
        caveats=(f"The judge encoder does not see the edit of {lost} at this strength: its entanglement is not known.",)
        if lost
        else (),
    )


def differences(after: Effects, before: Effects, names: Sequence[str], confidence: float) -> dict[str, Interval]:
    """Entanglement after less before, of each edit and of the mean over those that are seen in both."""
    a, b = (_ratios(effects, names, confidence) for effects in (after, before))
    both = {name: a[name] - b[name] for name in before[0] if name in a and name in b}
    found = {name: _interval(both.get(name), confidence) for name in before[0]}
    return found | {MEAN: _interval(average(list(both.values())) if both else None, confidence)}


def _ratios(effects: Effects, names: Sequence[str], confidence: float) -> dict[str, Effect]:
    """Stray change over the target's, of the edits that the judge encoder sees."""
    changes, stray = effects
    targets = {name: effect.take([list(names).index(name)]) for name, effect in changes.items()}
    return {name: stray[name].over(t) for name, t in targets.items() if t.intervals(confidence)[0].low > 0}


def _interval(effect: Effect | None, confidence: float) -> Interval:
    return _UNKNOWN if effect is None else effect.intervals(confidence)[0]


def _effects(changes: Changes, names: Sequence[str], faces: Mapping[str, ArrayLike] | None, null: Floats) -> Effects:
    tables = {name: _as_changes(name, table, names) for name, table in changes.items()}
    ids = [
        np.asarray(faces[name]) if faces else np.array([f"{name} {i}" for i in range(len(table))])
        for name, table in tables.items()
    ]
    unique, unit = np.unique(np.concatenate(ids), return_inverse=True)
    units = np.split(unit, np.cumsum([len(each) for each in ids])[:-1])
    found, stray = {}, {}
    for (name, table), rows in zip(tables.items(), units, strict=True):
        others = np.abs(np.delete(table, list(names).index(name), axis=1))
        mean = others.sum(axis=1, keepdims=True) / max(others.shape[1], 1)
        found[name] = Effect.of(table, rows, len(unique), null=null)
        stray[name] = Effect.of(mean, rows, len(unique))
    return found, stray


def _as_changes(name: str, table: ArrayLike, names: Sequence[str]) -> Floats:
    if name not in names:
        raise ValueError(f"{name!r} is edited and not among the measured attributes: {', '.join(names)}")
    changes = as_matrix(table, f"changes under the edit of {name!r}")
    if changes.shape[1] != len(names):
        raise ValueError(
            f"changes under the edit of {name!r} have {changes.shape[1]} columns for {len(names)} attributes"
        )
    return changes.astype(np.float64)
