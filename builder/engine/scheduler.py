"""Who draws what next, and who is taken for dead: choices alone, so that build and simulation run the same code.

What is drawn is a lot: one slice of the manifest in all views of one group, whose models are loaded together. Every
process stands at a point of its own and sees the groups as one line, each about as long as its open work. Where its
point falls is its group: each process loads few models, and nobody asks the others. Inside the group it goes on from
lot to lot until it meets another's, and then jumps to its next point.
"""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from noisezoo.costs import cost_of

if TYPE_CHECKING:
    from noisezoo.zoo import View

K = TypeVar("K", bound=Hashable)

GOLDEN = (5**0.5 - 1) / 2
"""Steps of this share of a line leave its points evenly spread, however many they are."""

TILT = 2.0
"""Open work counts 1 + TILT times over where lots are longest, in proportion where shorter: the long are not last."""

FLOOR = 0.01
"""A group's least share of the line: what is little work to a GPU is reading and writing all the same."""

BEAT = 10.0
"""Seconds between two signs of life of a claim, and between two looks of the keeper at all claims."""

LOOKS = 6
"""A claim that shows no sign of life in so many looks after its first is a dead process's."""

LOSSES = 4
"""After so many lots in a row that others were faster to claim, the folder is looked at again."""

OVERHEAD = 0.05
"""GFLOP-equivalent of reading and writing one row, so that views without a network count for something."""


@dataclass(frozen=True, order=True)
class Lot:
    """One slice of one group's views: what a process claims at once."""

    group: str
    number: int


class Store(Protocol):
    """Where lots are drawn from: a folder, or the model of one."""

    def look(self) -> Mapping[str, np.ndarray]:
        """Group -> which of its lots are neither done nor claimed, (n,) bool, by a look newer than the last asked for.

        It may be out of date by the time it is answered.
        """

    def claim(self, lot: Lot) -> bool:
        """Claim a lot for this process alone; False where another holds it or nothing of it is left."""


def spread(name: str) -> float:
    """A process's point in [0, 1), from what tells it from all others."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


def image_work(view: "View", steps: int) -> float:
    """Work of one image in one view, in GFLOP."""
    return OVERHEAD + cost_of(view, 1, steps).gflops


class Draw:
    """One process's draws from a store.

    `enter` chooses a group; then, until `next` finds nothing more in it, every lot that `next` proposes is to be
    `take`n before it is worked on. A proposal costs nothing to drop: what was read for it is all that is lost.
    """

    def __init__(self, store: Store, work: Mapping[str, float], point: float) -> None:
        """`work`: group -> work of one of its lots, positive, in any unit; `point`: the process's own, in [0, 1)."""
        self.store, self.work = store, dict(work)
        self.group: str | None = None
        self._point, self._onward, self._losses = point, -1, 0  # -1: jump
        self._open = {group: np.zeros(0, bool) for group in self.work}
        self._proposed: set[Lot] = set()

    def enter(self) -> str | None:
        """The group to work on next: the one before while lots of it are open; None where no lot is open at all."""
        if not any(lots.any() for lots in self._open.values()):
            self._look()
        if self.group is None or not self._open[self.group].any():
            lengths = self._lengths()
            if not lengths.any():
                return None
            line = lengths.cumsum() / lengths.sum()
            self.group = list(self.work)[int(np.searchsorted(line, self._next_point(), side="right"))]
            self._onward = -1
        return self.group

    def next(self) -> Lot | None:
        """The lot to try next, by what was last looked up; None where nothing of the group is open."""
        assert self.group is not None, "enter a group first"
        if self._losses >= LOSSES or not self._open[self.group].any():
            self._look()
        lots = self._open[self.group]
        if not lots.any():
            return None
        goes_on = 0 <= self._onward < len(lots) and lots[self._onward]
        lot = Lot(self.group, self._onward if goes_on else self._jump(lots))
        self._onward = lot.number + 1
        lots[lot.number] = False
        self._proposed.add(lot)
        return lot

    def take(self, lot: Lot) -> bool:
        """Claim a proposed lot; where others are faster again and again, what is known is out of date."""
        self._proposed.discard(lot)
        won = self.store.claim(lot)
        self._losses = 0 if won else self._losses + 1
        return won

    def _lengths(self) -> np.ndarray:
        """Of the groups on the line, (groups,): their open work, more the longer their lots are."""
        work = np.array(list(self.work.values()))
        left = work * [lots.sum() for lots in self._open.values()]
        longest = work[left > 0].max(initial=work.min())
        lengths: np.ndarray = (left + FLOOR * left.sum() * (left > 0)) * (1 + TILT * work / longest)
        return lengths

    def _look(self) -> None:
        self._open = {group: lots.copy() for group, lots in self.store.look().items()}
        for lot in self._proposed:
            self._open[lot.group][lot.number] = False
        self._losses = 0

    def _jump(self, lots: np.ndarray) -> int:
        found = np.flatnonzero(lots)
        return int(found[int(self._next_point() * len(found))])

    def _next_point(self) -> float:
        point, self._point = self._point, (self._point + GOLDEN) % 1.0
        return point


class Looks(Generic[K]):
    """Tells the dead by looks at their signs of life.

    Looks are counted, not seconds: no clock is compared with another host's or with a file server's, a clock that
    jumps changes nothing, and while the file system stands still no look ends.
    """

    def __init__(self) -> None:
        self._seen: dict[K, tuple[Hashable, int]] = {}

    def dead(self, signs: Mapping[K, Hashable]) -> list[K]:
        """Look once: claim -> what its holder changes at every beat. Those unchanged in the last `LOOKS` looks."""
        before = self._seen
        self._seen = {
            key: (sign, before[key][1] + 1 if key in before and before[key][0] == sign else 0)
            for key, sign in signs.items()
        }
        return [key for key, (_, looks) in self._seen.items() if looks >= LOOKS]
