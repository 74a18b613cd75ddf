"""The build's folder as what lots are drawn from: listings say what is open, claims who has it."""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo import zoo
from noisezoo.builder.engine.build import Build, Unit, names
from noisezoo.builder.engine.leases import Claim, claimed, claims_in, file_system_time, is_stale
from noisezoo.builder.engine.scheduler import Lot, image_work
from noisezoo.builder.views import groups, shared
from noisezoo.files import TEMPORARY, read_json, sweep

SHARED_FROM = 2000
"""Units from which one process lists the folder for all, and the others read what it found."""

PAUSES = [0.01 * 1.5**k for k in range(16)]
"""Seconds between asking for what another is listing; after all of them (13 s) it is listed here as well."""


class Folder:
    """The lots of a build, by its files (a `noisezoo.builder.engine.scheduler.Store`).

    Attributes:
        views: Group -> its views, in the recipe's order.
        work: Group -> GFLOP of one of its lots.
        claims: The folder of the claims.
        living: Lots that living processes held at the last look.
    """

    def __init__(self, build: Build) -> None:
        self.build, self.claims, self.living = build, build.state / "claims", 0
        self.views: dict[str, list[zoo.View]] = {shared(views[0]): views for views in groups(build.views)}
        steps, rows = build.recipe.settings.num_inference_steps, build.recipe.slice_rows
        self.work = {name: rows * sum(image_work(v, steps) for v in views) for name, views in self.views.items()}
        self._units = {view.name: build.units(view) for view in build.views}
        self._held: dict[Lot, tuple[Claim, ExitStack]] = {}
        self._proposed: dict[Lot, list[Unit]] = {}
        self._token = ""

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *_: object) -> None:
        """Give back all that is held, however it ends."""
        for lot in list(self._held):
            self.release(lot)

    def pending(self, lot: Lot) -> list[Unit]:
        """The lot's units that no valid marker vouches for; what `claim` will insist on."""
        units = [self._units[view.name][lot.number] for view in self.views[lot.group]]
        self._proposed[lot] = [unit for unit in units if unit.marker() is None]
        return self._proposed[lot]

    def claim(self, lot: Lot) -> bool:
        """Claim a lot; False where another has it, or has done some of it since `pending` was asked."""
        before, stack = self._proposed.pop(lot), ExitStack()
        claim = stack.enter_context(claimed(self._claim_path(lot)))
        if claim is None or not before or self.pending(lot) != before:
            stack.close()
            return False
        self._held[lot] = claim, stack
        return True

    def release(self, lot: Lot) -> None:
        """Give a lot back."""
        self._held.pop(lot)[1].close()

    def touch(self) -> None:
        """Show a sign of life on all that is held."""
        for claim, _ in self._held.values():
            claim.touch()

    def look(self) -> Mapping[str, np.ndarray]:
        """Open lots of all groups, by a look newer than the last; in a large build by whoever looks for all."""
        if sum(map(len, self._units.values())) < SHARED_FROM:
            return self._list()
        views = sorted((name, *(view.name for view in views)) for name, views in self.views.items())
        path = self.claims / f"open-{hashlib.sha256(json.dumps(views).encode()).hexdigest()[:12]}.map"
        for pause in PAUSES:
            found = read_json(path)
            if found is not None and found["token"] != self._token:
                return self._read(found)
            with claimed(path.with_suffix(".look")) as claim:
                if claim is not None:
                    return self._read(self._write(path))
            time.sleep(pause)
        return self._list()

    def _write(self, path: Path) -> dict[str, Any]:
        lots = {group: np.packbits(lots).tobytes().hex() for group, lots in self._list().items()}
        found = {"token": uuid.uuid4().hex, "living": self.living, "open": lots}
        sweep(path.parent, path.name)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
        aside.write_text(json.dumps(found))
        os.replace(aside, path)  # not forced to disk, as the next look will do as well
        return found

    def _read(self, found: dict[str, Any]) -> dict[str, np.ndarray]:
        self._token, self.living = found["token"], found["living"]
        n = {group: len(self._units[views[0].name]) for group, views in self.views.items()}
        bits = {group: np.frombuffer(bytes.fromhex(lots), np.uint8) for group, lots in found["open"].items()}
        return {group: np.unpackbits(bits[group], count=n[group]).astype(bool) for group in self.views}

    def _list(self) -> dict[str, np.ndarray]:
        self.living, now, opened = 0, file_system_time(self.claims), {}
        for group in self.views:
            claimed_lots = self._claimed(
                group
            )  # before the markers: what is given back in between is then seen as done
            opened[group] = self._undone(group)
            held = np.intersect1d(claimed_lots, np.flatnonzero(opened[group]))
            living = [n for n in held if not is_stale(self._claim_path(Lot(group, int(n))), now)]
            opened[group][living] = False
            self.living += len(living)
        return opened

    def _undone(self, group: str) -> np.ndarray:
        """(n,) bool. Lots with a unit whose part or marker is not listed."""
        views = self.views[group]
        done = np.zeros((len(views), len(self._units[views[0].name])), bool)
        for row, view in zip(done, views, strict=True):
            found = names(self.build.state / "parts" / view.name)
            row[np.intersect1d(_numbers(found, ".json", len(row)), _numbers(found, ".parquet", len(row)))] = True
        return np.asarray(~done.all(axis=0))

    def _claimed(self, group: str) -> np.ndarray:
        lots = len(self._units[self.views[group][0].name])
        return _numbers(names(self.claims / group), ".json", lots)

    def check(self) -> None:
        """Withdraw the markers that do not hold, so that their units are open; of several at once, one does it."""
        path = self.claims / "check.json"
        with claimed(path) as claim:
            for unit in self.build.pending() if claim is not None else ():
                self._withdraw(unit)
        while claim is None and path.exists() and not is_stale(path):
            time.sleep(PAUSES[8])

    def _withdraw(self, unit: Unit) -> None:
        with claimed(unit.claim_path) as claim:  # nobody may be about to replace it
            if claim is not None and unit.marker() is None:
                unit.marker_path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what the dead left where nobody works any more: temporaries, of claims and of parts, and claims."""
        parts = {units[0].part.parent for units in self._units.values() if units}
        for folder in (self.claims, *(self.claims / group for group in self.views), *sorted(parts)):
            sweep(folder)
        for path in claims_in(self.claims):
            if is_stale(path):
                path.unlink(missing_ok=True)

    def _claim_path(self, lot: Lot) -> Path:
        return self._units[self.views[lot.group][0].name][lot.number].claim_path


def _numbers(found: Iterable[str], suffix: str, n: int) -> np.ndarray:
    """Of the files of units 0..n with this suffix, (files,) int."""
    stems = [name.removesuffix(suffix) for name in found if name.endswith(suffix)]
    return np.array([number for stem in stems if stem.isdecimal() and (number := int(stem)) < n], int)
