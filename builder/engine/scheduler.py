"""The scheduler: which task a process takes next, decided alone, so that a build and its simulation run the same code.

A task is one slice of the manifest in all views of one group, whose models are loaded together. Every process stands
at a point of its own in [0, 1) and sees the groups as one line, each about as long as its open work. The group at its
point is its group: each process loads few models, and no process asks another. Inside the group it goes on from task
to task until it meets another process's, and then jumps to its next point.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.costs import cost_of

if TYPE_CHECKING:
    from noisezoo.zoo import View

GOLDEN = (5**0.5 - 1) / 2
"""Steps of this share of a line leave its points evenly spread, however many they are."""

TILT = 2.0
"""The group with the longest tasks counts 1 + TILT times on the line, shorter ones less: long tasks are not last."""

FLOOR = 0.01
"""A group's least share of the line: what is little work to a GPU is reading and writing all the same."""

LOSSES = 4
"""After so many tasks in a row that other processes acquired first, the open tasks are listed again."""

OVERHEAD = 0.05
"""GFLOP-equivalent of reading and writing one row, so that views without a network count for something."""


@dataclass(frozen=True, order=True)
class Task:
    """One slice of one group's views: what a process acquires at once."""

    group: str
    number: int


class Scheduler(ABC):
    """One process's choices among open tasks; subclasses know where tasks and leases are.

    `enter` chooses a group. Then `next` proposes tasks of it until nothing more is open, and each must be acquired
    (`acquire`) before it is worked on. A proposal costs nothing to drop: only what was read for it is lost.

    Attributes:
        group: The group at work; None before the first.
        work: Group -> work of one of its tasks, positive, in any unit.
    """

    def __init__(self, work: Mapping[str, float], point: float) -> None:
        """`point`: the process's own, in [0, 1) (see `point_of`)."""
        self.work = dict(work)
        self.group: str | None = None
        self._point, self._following, self._losses = point, -1, 0  # -1: jump
        self._open = {group: np.zeros(0, bool) for group in self.work}
        self._proposed: set[Task] = set()

    @abstractmethod
    def list_open(self) -> Mapping[str, np.ndarray]:
        """Group -> which of its tasks are neither done nor owned, (n,) bool, by a newer listing than the last answer.

        It may be out of date by the time it is answered.
        """

    @abstractmethod
    def try_acquire(self, task: Task) -> bool:
        """Acquire a task for this process; False where another process owns it or nothing of it is left."""

    def enter(self) -> str | None:
        """The group to work on next: the one before while tasks of it are open; None where no task is open at all."""
        if not any(tasks.any() for tasks in self._open.values()):
            self._refresh()
        if self.group is None or not self._open[self.group].any():
            lengths = self._lengths()
            if not lengths.any():
                return None
            line = lengths.cumsum() / lengths.sum()
            self.group = list(self.work)[int(np.searchsorted(line, self._next_point(), side="right"))]
            self._following = -1
        return self.group

    def next(self) -> Task | None:
        """The task to try next, by the last listing; None where nothing of the group is open."""
        assert self.group is not None, "enter a group first"
        if self._losses >= LOSSES or not self._open[self.group].any():
            self._refresh()
        tasks = self._open[self.group]
        if not tasks.any():
            return None
        goes_on = 0 <= self._following < len(tasks) and tasks[self._following]
        task = Task(self.group, self._following if goes_on else self._jump(tasks))
        self._following = task.number + 1
        tasks[task.number] = False
        self._proposed.add(task)
        return task

    def acquire(self, task: Task) -> bool:
        """Acquire a proposed task; where others are first again and again, the listing is out of date."""
        self._proposed.discard(task)
        acquired = self.try_acquire(task)
        self._losses = 0 if acquired else self._losses + 1
        return acquired

    def _lengths(self) -> np.ndarray:
        """Lengths of the groups on the line, (groups,): their open work, more the longer their tasks are."""
        work = np.array(list(self.work.values()))
        left = work * [tasks.sum() for tasks in self._open.values()]
        longest = work[left > 0].max(initial=work.min())
        lengths: np.ndarray = (left + FLOOR * left.sum() * (left > 0)) * (1 + TILT * work / longest)
        return lengths

    def _refresh(self) -> None:
        self._open = {group: tasks.copy() for group, tasks in self.list_open().items()}
        for task in self._proposed:
            self._open[task.group][task.number] = False
        self._losses = 0

    def _jump(self, tasks: np.ndarray) -> int:
        found = np.flatnonzero(tasks)
        return int(found[int(self._next_point() * len(found))])

    def _next_point(self) -> float:
        point, self._point = self._point, (self._point + GOLDEN) % 1.0
        return point


def point_of(name: str) -> float:
    """A process's point in [0, 1), from a name that no other process has."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


def image_work(view: "View", steps: int) -> float:
    """Work of one image in one view, in GFLOP."""
    return OVERHEAD + cost_of(view, 1, steps).gflops
