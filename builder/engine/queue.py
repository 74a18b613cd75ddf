"""The queue of a build's tasks, by its folder: listings say which tasks are open, leases which process has them."""

import hashlib
import json
import os
import socket
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo import zoo
from noisezoo.builder.views import groups, shared
from .build import Build, Unit, listed_units, publishing_lease
from .leases import PAUSE, Lease, leases_in
from .scheduler import Scheduler, Task, image_work, point_of

SHARED_FROM = 2000
"""From so many units on, one process lists the folder for all, and the others read what it found."""

PAUSES = [0.01 * 1.5**k for k in range(16)]
"""Seconds between two looks for another process's listing; after all of them (13 s) this process lists as well."""


class Queue(Scheduler):
    """The tasks of a build, as one process draws them.

    Attributes:
        views: Group -> its views, in the recipe's order.
        leases: The folder of the leases.
        living: Number of tasks that living processes owned at the last listing.
    """

    def __init__(self, build: Build) -> None:
        self.build, self.store, self.leases, self.living = build, build.store, build.leases, 0
        self.views: dict[str, list[zoo.View]] = {shared(views[0]): views for views in groups(build.views)}
        rows, steps = build.recipe.slice_rows, build.steps
        work = {name: rows * sum(image_work(v, steps[v.name]) for v in views) for name, views in self.views.items()}
        super().__init__(work, point_of(f"{socket.gethostname()} {os.getpid()} {time.time_ns()}"))
        self._units = {view.name: build.units(view) for view in build.views}
        self._owned: dict[Task, tuple[Lease, ExitStack]] = {}
        self._read_for: dict[Task, list[Unit]] = {}
        self._token = ""

    def __enter__(self) -> "Queue":
        return self

    def __exit__(self, *_: object) -> None:
        """Release all leases, however the block ends."""
        for task in list(self._owned):
            self.release(task)

    def pending(self, task: Task) -> list[Unit]:
        """The task's units without a valid marker; `acquire` succeeds only while they are the same."""
        units = [self._units[view.name][task.number] for view in self.views[task.group]]
        self._read_for[task] = [unit for unit in units if unit.marker() is None]
        return self._read_for[task]

    def try_acquire(self, task: Task) -> bool:
        """Acquire a task; False where another process has it, or has done some of it since `pending`."""
        before, stack, lease = self._read_for.pop(task), ExitStack(), self._lease(task)
        if not stack.enter_context(lease.acquire()) or not before or self.pending(task) != before:
            stack.close()
            return False
        self._owned[task] = lease, stack
        return True

    def release(self, task: Task) -> None:
        """Release a task's lease."""
        self._owned.pop(task)[1].close()

    def heartbeat(self) -> None:
        """Send a heartbeat to all leases that this process owns."""
        for lease, _ in self._owned.values():
            lease.heartbeat()

    def list_open(self) -> dict[str, np.ndarray]:
        """Open tasks of all groups; in a large build, one process lists them for all."""
        if sum(map(len, self._units.values())) < SHARED_FROM:
            return self._list()
        views = sorted((name, *(view.name for view in views)) for name, views in self.views.items())
        path = self.leases / f"open-{hashlib.sha256(json.dumps(views).encode()).hexdigest()[:12]}.map"
        for pause in PAUSES:
            found = self.store.read_json(path)
            if found is not None and found["token"] != self._token:
                return self._read(found)
            with Lease(path.with_suffix(".scan"), self.store).acquire() as acquired:
                if acquired:
                    return self._read(self._write(path))
            time.sleep(pause)
        return self._list()

    def check(self) -> None:
        """Remove the markers that are not valid, so that their units are open; one of several processes does it."""
        lease = Lease(self.leases / "check.json", self.store)
        with lease.acquire() as acquired:
            for unit in self.build.pending() if acquired else ():
                with unit.lease.acquire() as owned:  # no other process may be about to replace the marker
                    if owned and unit.marker() is None:
                        self.store.remove(unit.marker_path)
        while not acquired and lease.last_heartbeat() is not None and not lease.is_expired():
            time.sleep(PAUSE)

    def clean_up(self) -> None:
        """Remove what dead processes left, where no process works any more: temporary files and leases.

        Not while one publishes: it reads parts, which it may be downloading into the folders of this machine.
        """
        with publishing_lease(self.store).acquire() as alone:
            if alone:
                self._clean_up()

    def _clean_up(self) -> None:
        parts = {units[0].part.parent for units in self._units.values() if units}
        for folder in (self.leases, *(self.leases / group for group in self.views), *sorted(parts)):
            self.store.clean_up(folder)
        for lease in leases_in(self.leases, self.store):
            if lease.is_expired():
                self.store.remove(lease.path)

    def _write(self, path: Path) -> dict[str, Any]:
        tasks = {group: np.packbits(tasks).tobytes().hex() for group, tasks in self._list().items()}
        found = {"token": uuid.uuid4().hex, "living": self.living, "open": tasks}
        self.store.clean_up(path.parent, path.name)
        self.store.write_json(path, found)
        return found

    def _read(self, found: dict[str, Any]) -> dict[str, np.ndarray]:
        self._token, self.living = found["token"], found["living"]
        bits = {group: np.frombuffer(bytes.fromhex(tasks), np.uint8) for group, tasks in found["open"].items()}
        return {group: np.unpackbits(bits[group], count=self._count(group)).astype(bool) for group in self.views}

    def _list(self) -> dict[str, np.ndarray]:
        self.living, now, opened = 0, self.store.time(self.leases), {}
        for group in self.views:
            owned = listed_units(self.store.names(self.leases / group), self._count(group), ".json")
            opened[group] = self._undone(group)  # after the leases: a task released in between is then seen as done
            owned = np.flatnonzero(owned & opened[group])
            living = [n for n in owned if not self._lease(Task(group, int(n))).is_expired(now)]
            opened[group][living] = False
            self.living += len(living)
        return opened

    def _undone(self, group: str) -> np.ndarray:
        """(n,) bool. Tasks with a unit whose part or marker is not listed."""
        folders, n = [self.build.state / "parts" / view.name for view in self.views[group]], self._count(group)
        found = [listed_units(self.store.names(folder), n, ".json", ".parquet") for folder in folders]
        return np.asarray(~np.all(found, axis=0))

    def _count(self, group: str) -> int:
        return len(self._units[self.views[group][0].name])

    def _lease(self, task: Task) -> Lease:
        return self._units[self.views[task.group][0].name][task.number].lease
