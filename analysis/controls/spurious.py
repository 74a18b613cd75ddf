"""A planted spurious correlation: how much of what is learnt of one attribute is another, and what removes it.

Two attributes A and B are tied in the training rows and independent in the test rows. From the training rows comes a
direction v of A. From the test rows come two vectors K_A and K_B, and the shift is the ratio (K_B v) / (K_A v): how
much of B there is in v for each unit of A. What K is, is what is asked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Draws,
    Floats,
    Interval,
    Matrix,
    Result,
    as_labels,
    as_matrix,
    null_columns,
    refuse_one_class,
    refuse_settings,
    units_of,
)
from noisezoo.analysis.edits import MAKERS, PROBE, directions_on, orthogonalize, strengths_on

Rows = NDArray[np.intp]


class _Labelled(NamedTuple):
    X: Matrix  # (n, d)
    Y: Floats  # (n, 2) A and B
    unit: Rows  # (n,) number of the independent unit a row belongs to

    def take(self, units: NDArray[np.bool_]) -> "_Labelled":
        rows = units[self.unit]
        return _Labelled(self.X[rows], self.Y[rows], self.unit[rows])


def _effects(test: _Labelled, readers: Floats) -> Floats:
    """What having A, and having B, does to a row, the other held: least squares of rows on both labels, (2, d)."""
    design = test.Y - test.Y.mean(axis=0)
    hat = np.linalg.solve(design.T @ design, design.T)  # (2, n)
    return np.asarray(hat.astype(test.X.dtype) @ test.X, dtype=np.float64)


def _readers(test: _Labelled, readers: Floats) -> Floats:
    """Readers of A and of B that were never shown the correlation, in standard deviations of their logits: (2, d)."""
    return np.asarray((readers / (test.X @ readers.astype(test.X.dtype)).std(axis=0, dtype=np.float64)).T)


ASKED: Mapping[str, Callable[[_Labelled, Floats], Floats]] = MappingProxyType({"reading": _effects, "edit": _readers})
"""Of v as a reader of A: how much B turns it, over A. Of v as an edit of A: how much it moves B, over A."""


TREATMENTS: Mapping[str, Callable[[Floats, Floats], Floats]] = MappingProxyType(
    {"plain": lambda V, reader: V, "orthogonalised": lambda V, reader: np.asarray(orthogonalize(V, reader))}
)
"""Direction of A (d,) and reader of B (d,), both of the training rows -> direction (d,)."""
REMOVED, REDUCED = "orthogonalised less plain", "plain less orthogonalised, absolute"


@dataclass(frozen=True, slots=True, eq=False)
class SpuriousShift(Result):
    """Shifts of each kind of direction: as it is, with the training rows' reader of B taken out, and their difference.

    Taking it out can overshoot, to a shift of the other sign: where A and B correlate, what reads B has learnt A too.

    Intervals are for the whole procedure, training rows and test rows both drawn anew: contrasts of random halves of
    either, (m_1 - m_2) / 2, have its variance, and the two add. The `null` is what the same procedure gives where no
    correlation was planted: directions of one half of the test rows, asked of the other; mean, least and greatest. It
    is not 0 where A and B overlap in the rows themselves.

    No shift is given (NaN, and a caveat) where a direction of A does not hold A in every half, and none of an edit
    where a reader of B that is fitted on one half of the test rows does not read B in the other half: a reader of
    nothing is an arbitrary direction, of the same length in half of the rows as in all, so that halves do not tell how
    far it strays.
    """

    attribute: str  # A
    planted: str  # B
    rows: tuple[dict[str, Any], ...]
    phi: float  # correlation of A and B in the training rows
    phi_test: float
    n: int
    n_test: int
    draws: Draws
    caveats: tuple[str, ...]

    def shift(self, kind: str, asked: str, treatment: str) -> Interval:
        """One row's interval; KeyError where there is none."""
        row = {(row["kind"], row["asked"], row["treatment"]): row for row in self.rows}[kind, asked, treatment]
        return Interval(row["estimate"], row["low"], row["high"])


def spurious_shift(
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike,
    Y_test: ArrayLike,
    *,
    names: tuple[str, str] = ("A", "B"),
    kinds: Sequence[str] = tuple(MAKERS),
    reader: str = PROBE,
    groups: ArrayLike | None = None,
    groups_test: ArrayLike | None = None,
    n_splits: int = 8,
    confidence: float = 0.95,
    seed: int = 42,
) -> SpuriousShift:
    """How much of B a direction of A holds after training where they correlate, before and after orthogonalisation.

    Args:
        X: (n, d) training rows, where A and B correlate.
        Y: (n, 2) their labels of A and of B.
        X_test: (m, d) rows where they do not: other rows, or counterfactual partners (every face with A and B each
            present and absent, in one group), with which effects are mean differences within faces.
        Y_test: (m, 2) their labels.
        names: of A and B.
        kinds: of `directions.MAKERS`.
        reader: the kind that reads: what is taken out of a direction, and what an edit is judged by.
        groups: (n,) identities of the training rows: halves keep them whole.
        groups_test: (m,) of the test rows; faces, where there are partners.
        n_splits: random halves, also the degrees of freedom of the intervals.
        confidence: of the intervals.
        seed: of the halves.

    Raises:
        ValueError: rows of different widths, labels that are not two columns, A and B equal or opposite in the test
            rows, an unknown kind, or halves and rows that the directions' makers refuse.
    """
    refuse_settings(n_splits=n_splits, confidence=confidence, seed=seed)
    train, test = _labelled(X, Y, groups, "X"), _labelled(X_test, Y_test, groups_test, "X_test")
    if train.X.shape[1] != test.X.shape[1]:
        raise ValueError(f"X has {train.X.shape[1]} columns and X_test has {test.X.shape[1]}: one view in both")
    if n_splits < 2:
        raise ValueError(f"n_splits must be at least 2, not {n_splits}")
    phi, phi_test = (float(np.corrcoef(*each.Y.T)[0, 1]) for each in (train, test))
    if not abs(phi_test) < 1 - 1e-9:
        raise ValueError(f"{names[0]} and {names[1]} cannot be told apart in the test rows: take rows that have each")
    sides = [[each, *_halves(each, n_splits, seed)] for each in (train, test)]
    made = {kind: [_directions(side, kind) for side in sides] for kind in dict.fromkeys((reader, *kinds))}
    readers = made[reader]
    asked = {what: [ask(*each) for each in zip(sides[1], readers[1], strict=True)] for what, ask in ASKED.items()}
    reads_b = _reads_b(asked["reading"][1:], readers[1][1:])
    rows = [
        {"attribute": names[0], "planted": names[1], "kind": kind, "asked": what, **row}
        for kind in kinds
        for what, K in asked.items()
        for row in _intervals(_shifts(made[kind], readers, K), confidence, what != "edit" or reads_b)
    ]
    return SpuriousShift(
        *names, tuple(rows), phi, phi_test, len(train.X), len(test.X),
        Draws(n_splits=n_splits, confidence=confidence, seed=seed),
        tuple(_caveats(names, phi_test, len(test.X), reads_b, rows)),
    )  # fmt: skip


def _reads_b(effects: Sequence[Floats], readers: Sequence[Floats]) -> bool:
    """Whether the reader of B (d, 2) of each half of the test rows finds what B does (2, d) in the other half."""
    return all(float(effects[i ^ 1][1] @ reader[:, 1]) > 0 for i, reader in enumerate(readers))


def _caveats(
    names: tuple[str, str], phi: float, n: int, reads_b: bool, rows: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    a, b = names
    if abs(phi) > 3 / np.sqrt(n):
        yield f"{a} and {b} are correlated in the test rows as well (phi {phi:+.2f}): take balanced ones."
    for kind in dict.fromkeys(row["kind"] for row in rows if row["asked"] == "reading" and np.isnan(row["estimate"])):
        yield f"The {kind} direction of {a} does not hold {a} in every half: no shift is given."
    if not reads_b:
        yield f"{b} is not read in every half of the test rows: no shift of an edit is given."


def _labelled(X: ArrayLike, Y: ArrayLike, groups: ArrayLike | None, name: str) -> _Labelled:
    rows = as_matrix(X, name)
    labels = as_labels(Y, f"labels of {name}", rows=len(rows))
    if labels.shape[1] != 2:
        raise ValueError(f"labels of {name} must be two columns, A and B, not {labels.shape[1]}")
    refuse_one_class(labels)
    return _Labelled(rows, labels, units_of(len(rows), groups))


def _halves(data: _Labelled, n_splits: int, seed: int) -> list[_Labelled]:
    """Both halves of the units of each split, in turn: 2 n_splits of them."""
    rng = np.random.default_rng([seed, 7])
    units = int(data.unit.max()) + 1
    splits = [rng.permutation(units) < units // 2 for _ in range(n_splits)]
    return [data.take(side) for half in splits for side in (half, ~half)]


def _directions(side: Sequence[_Labelled], kind: str) -> list[Floats]:
    """Directions of A and B (d, 2) of all rows and of their halves, which keep the strengths that all rows chose."""
    C = strengths_on(side[0].X, side[0].Y, kind, side[0].unit)
    return [directions_on(each.X, each.Y, kind, C=C) for each in side]


def _shifts(made: Sequence[list[Floats]], readers: Sequence[list[Floats]], K: Sequence[Floats]) -> dict[str, Floats]:
    """Shifts under each treatment, their difference, and by how much the absolute shift falls.

    Each is of all rows, training halves, test halves, then clean halves, (1 + 6 n_splits,): halves come in twos, and a
    clean direction is asked of the other half than it was made on. `made` and `readers` hold `_directions` of the
    training rows and of the test rows. All NaN where any of these directions of A has none of A: a ratio to about
    nothing would be a number without a meaning.
    """
    found = {}
    for name, treat in TREATMENTS.items():
        train, test = ([treat(v[:, 0], reader[:, 1]) for v, reader in zip(*side, strict=True)]
                       for side in zip(made, readers, strict=True))  # fmt: skip
        pairs = [*((v, K[0]) for v in train), *((train[0], k) for k in K[1:])]
        pairs += [(v, K[1 + (i ^ 1)]) for i, v in enumerate(test[1:])]
        A, B = np.array([k @ v for v, k in pairs]).T
        found[name] = np.divide(B, A, out=np.full_like(A, np.nan), where=np.all(A > 0))
    plain, orthogonalised = found.values()
    return {**found, REMOVED: orthogonalised - plain, REDUCED: np.abs(plain) - np.abs(orthogonalised)}


def _intervals(values: Mapping[str, Floats], confidence: float, known: bool) -> list[dict[str, Any]]:
    from scipy.special import stdtrit

    rows = []
    for treatment, given in values.items():
        each = given if known else np.full_like(given, np.nan)
        train, test, clean = each[1:].reshape(3, -1, 2)
        variance = sum(float(((side[:, 0] - side[:, 1]) ** 2).mean() / 4) for side in (train, test))
        half = stdtrit(len(train), (1 + confidence) / 2) * np.sqrt(variance)
        ends = {"estimate": float(each[0]), "low": float(each[0] - half), "high": float(each[0] + half)}
        rows.append({"treatment": treatment, **ends, **null_columns(clean)})
    return rows
