"""What an edit of one attribute does to all the others: the matrix (edited attribute x measured attribute)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Counts,
    Interval,
    Result,
    as_matrix,
    bootstrap_means,
    mean_intervals,
    resample_counts,
    to_intervals,
)

Floats = NDArray[np.float64]
Changes = Mapping[str, ArrayLike]
"""Edited attribute -> the judge's logits of every attribute, edited less unedited, of its faces: (m, k)."""
_NAN = float("nan")
_UNKNOWN = Interval(_NAN, _NAN, _NAN)


@dataclass(frozen=True, slots=True, eq=False)
class Entanglement(Result):
    """Mean change of every attribute under the edit of each, and how much of an edit goes astray.

    `leak` is the mean over faces and other attributes of |change|, over the mean change of the edited attribute: 0 for
    an edit that moves nothing else. It is not known (NaN) where the edited attribute's own interval does not lie above
    0, for then there is no edit to speak of; `settings()["caveats"]` names those. Intervals are bootstrap over faces,
    given the directions and the judge.
    """

    edited: tuple[str, ...]  # (a,)
    names: tuple[str, ...]  # (k,)
    effects: tuple[tuple[Interval, ...], ...]  # (a, k)
    null: Floats  # (nulls, k) mean changes under edits that mean nothing; nulls may be 0
    leak: tuple[Interval, ...]  # (a,)
    mean_leak: Interval
    faces: tuple[int, ...]  # (a,)
    unit: str
    n_boot: int
    confidence: float
    seed: int

    @property
    def matrix(self) -> Floats:
        """Mean changes (a, k)."""
        return np.array([[cell.estimate for cell in row] for row in self.effects])

    def settings(self) -> dict[str, Any]:
        """Faces, unit, resamples, confidence, seed and caveats."""
        keys = ("unit", "n_boot", "confidence", "seed")
        faces = dict(zip(self.edited, self.faces, strict=True))
        return {"faces": faces, **{key: getattr(self, key) for key in keys}, "caveats": self._caveats()}

    def _caveats(self) -> list[str]:
        lost = [name for name, leak in zip(self.edited, self.leak, strict=True) if np.isnan(leak.estimate)]
        if not lost:
            return []
        return [f"The judge does not see the edit of {', '.join(lost)} at this strength: its leak is not known."]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a cell of the matrix, then one a leak, then the mean leak."""
        cells = [
            {"edited": name, "measured": measured, "measure": "change", **self._cell(i, j)}
            for i, name in enumerate(self.edited)
            for j, measured in enumerate(self.names)
        ]
        leaks = [*zip(self.edited, self.leak, strict=True), ("mean", self.mean_leak)]
        no_null = dict.fromkeys(("null", "null_low", "null_high", "p_value"), _NAN)
        rows = [{"edited": name, "measured": "others", "measure": "leak", **leak.to_dict()} for name, leak in leaks]
        return cells + [{**row, **no_null} for row in rows]

    def _cell(self, i: int, j: int) -> dict[str, Any]:
        """A mean change beside its null; the p-value is Monte Carlo, two-sided, never below 1 / (1 + nulls)."""
        effect, null = self.effects[i][j], self.null[:, j]
        if not null.size:
            return {**effect.to_dict(), **dict.fromkeys(("null", "null_low", "null_high", "p_value"), _NAN)}
        p_value = (1 + (np.abs(null) >= abs(effect.estimate)).sum()) / (1 + null.size)
        ends = {"null": null.mean(), "null_low": null.min(), "null_high": null.max(), "p_value": p_value}
        return {**effect.to_dict(), **{key: float(value) for key, value in ends.items()}}


def entanglement_matrix(
    changes: Changes,
    names: Sequence[str],
    *,
    null: Changes | None = None,
    faces: Mapping[str, ArrayLike] | None = None,
    unit: str = "log-odds",
    n_boot: int = 1000,
    confidence: float = 0.95,
    seed: int = 42,
) -> Entanglement:
    """Mean change of each of k attributes under the edit of each of some, with bootstrap intervals over faces.

    Args:
        changes: edited attribute -> (m, k) changes of the judge's logits, a row a face; m may differ.
        names: (k,) measured attributes, the edited ones among them.
        null: the same for edits that mean nothing, such as those along directions of shuffled labels.
        faces: edited attribute -> (m,) which faces its rows are, where edits share faces: the mean leak's resamples
            are of faces. None: no two edits share one.
        unit: what the changes are in, for the record.
        n_boot: resamples of faces.
        confidence: of the intervals, which allow for few faces (`few_rows_confidence`).
        seed: of the resamples.

    Raises:
        ValueError: an edited attribute that is not measured, fewer than 2 faces, or columns that are not `names`.
    """
    tables = {name: _as_changes(name, table, names) for name, table in changes.items()}
    nulls = [_as_changes(name, table, names).mean(axis=0) for name, table in (null or {}).items()]
    effects, leaks, stray = [], [], {}
    for name, table in tables.items():
        level, target = few_rows_confidence(len(table), confidence), list(names).index(name)
        effects.append(tuple(mean_intervals(table, n_boot=n_boot, seed=seed, confidence=level)))
        both = _stray_and_target(table, target)
        seen = effects[-1][target].low > 0
        leaks.append(_leak_interval(both, level, n_boot, seed) if seen else _UNKNOWN)
        stray.update({name: both} if seen else {})
    return Entanglement(
        edited=tuple(tables),
        names=tuple(names),
        effects=tuple(effects),
        null=np.array(nulls).reshape(-1, len(names)),
        leak=tuple(leaks),
        mean_leak=_mean_leak(stray, faces, confidence, n_boot, seed),
        faces=tuple(len(table) for table in tables.values()),
        unit=unit,
        n_boot=n_boot,
        confidence=confidence,
        seed=seed,
    )


def leak_differences(
    after: Changes,
    before: Changes,
    names: Sequence[str],
    *,
    n_boot: int = 1000,
    confidence: float = 0.95,
    seed: int = 42,
) -> dict[str, Interval]:
    """Leak of each attribute's edit after a treatment (such as orthogonalisation) less before, paired over faces.

    Negative where the treatment removes entanglement. Arguments as in `entanglement_matrix`; the same faces in both.

    Returns:
        Edited attribute -> interval; all NaN where the judge sees no edit, before or after.

    Raises:
        ValueError: as `entanglement_matrix`, or faces that differ in number.
    """
    found = {}
    for name in before:
        tables = [_as_changes(name, table[name], names) for table in (after, before)]
        if len(tables[0]) != len(tables[1]):
            raise ValueError(f"{len(tables[0])} faces of {name!r} after and {len(tables[1])} before cannot be paired")
        level, target = few_rows_confidence(len(tables[0]), confidence), list(names).index(name)
        means = [mean_intervals(t[:, [target]], n_boot=n_boot, seed=seed, confidence=level)[0] for t in tables]
        counts = resample_counts(len(tables[0]), n_boot, seed=seed)
        a, b = (_leaks(_stray_and_target(table, target), counts) for table in tables)
        seen = all(mean.low > 0 for mean in means)
        found[name] = to_intervals([a[0] - b[0]], (a[1] - b[1])[:, None], level)[0] if seen else _UNKNOWN
    return found


def few_rows_confidence(m: int, confidence: float = 0.95) -> float:
    """The level at which a percentile interval of a mean of m rows is as wide as Student's.

    The plain percentile interval is too narrow by sqrt((m - 1) / m) and by Student's t (Hesterberg 2015, The American
    Statistician 69, section 5.3): at m = 12 its 95 % hold about 91 %.
    """
    from scipy.special import ndtr, stdtrit

    reach = stdtrit(m - 1, (1 + confidence) / 2) * np.sqrt(m / (m - 1))
    return float(2 * ndtr(reach) - 1)


def _stray_and_target(table: Floats, target: int) -> Floats:
    """Of each face, the mean |change| of the other attributes and the change of the target: (m, 2)."""
    others = np.abs(np.delete(table, target, axis=1))
    stray = others.mean(axis=1) if others.shape[1] else np.zeros(len(table))
    return np.stack([stray, table[:, target]], axis=1)


def _leaks(both: Floats, counts: Counts) -> tuple[float, Floats]:
    """Mean stray change over mean change of the target: on all faces, and in resamples of them (n_boot,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = bootstrap_means(both, counts)
        return float(np.divide(*both.mean(axis=0))), resampled[:, 0] / resampled[:, 1]


def _leak_interval(both: Floats, level: float, n_boot: int, seed: int) -> Interval:
    estimate, replicates = _leaks(both, resample_counts(len(both), n_boot, seed=seed))
    return to_intervals([estimate], replicates[:, None], level)[0]


def _mean_leak(
    stray: Mapping[str, Floats], faces: Mapping[str, ArrayLike] | None, confidence: float, n_boot: int, seed: int
) -> Interval:
    """Of the edits that the judge sees, over resamples of all their faces."""
    if not stray:
        return _UNKNOWN
    ids = [np.asarray(faces[name]) if faces else np.array([f"{name} {i}" for i in range(len(both))])
           for name, both in stray.items()]  # fmt: skip
    unique, face = np.unique(np.concatenate(ids), return_inverse=True)
    counts = resample_counts(len(unique), n_boot, seed=seed)
    ends = np.cumsum([len(each) for each in ids])[:-1]
    found = [_leaks(both, counts[:, rows]) for both, rows in zip(stray.values(), np.split(face, ends), strict=True)]
    replicates = np.mean([resampled for _, resampled in found], axis=0)
    level = few_rows_confidence(min(map(len, stray.values())), confidence)
    return to_intervals([float(np.mean([leak for leak, _ in found]))], replicates[:, None], level)[0]


def _as_changes(name: str, table: ArrayLike, names: Sequence[str]) -> Floats:
    if name not in names:
        raise ValueError(f"{name!r} is edited and not among the measured attributes: {', '.join(names)}")
    changes = as_matrix(table, f"changes under the edit of {name!r}")
    if changes.shape[1] != len(names):
        raise ValueError(
            f"changes under the edit of {name!r} have {changes.shape[1]} columns for {len(names)} attributes"
        )
    return changes.astype(np.float64)
