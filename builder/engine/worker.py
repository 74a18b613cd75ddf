"""One process's work: take tasks, group by group, compute their units, commit. It needs nothing from its siblings."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noisezoo.builder.models import naming
from noisezoo.builder.sources import SPARE_ROWS, Source
from noisezoo.builder.views import (
    PIECE,
    Slice,
    Values,
    Work,
    ahead,
    choose_arithmetic,
    choose_sizes,
    cut,
    device_memory,
    groups,
    is_out_of_memory,
    make_computer,
    weights_of,
)
from noisezoo.errors import NoiseZooError
from noisezoo.files import write_tensors
from .build import ARITHMETIC, Build, Unit
from .commit import commit, device_name
from .leases import HEARTBEAT_SECONDS, PAUSE, Lease, Monitor, once
from .log import Log
from .preemption import reraise_pending, stop_requested
from .queue import Queue
from .scheduler import Task

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image

    from noisezoo.builder.recipe import Settings
    from noisezoo.builder.views import Computer
    from noisezoo.zoo import View

READERS = 8
"""At most this many threads read, unless the recipe says otherwise."""


@dataclass(frozen=True)
class Piece:
    """A few pictures of a unit: what one thread prepares at a time."""

    task: Task
    unit: Unit
    work: Work
    batch: range
    rows: range
    wanted: bool  # False where another view of the task encodes these pictures
    first: bool  # whether the unit is the first of its task
    last: bool

    def prepare(self) -> Values:
        """Read, decode and preprocess; any thread may."""
        return self.work.prepare(self.rows) if self.wanted else {}


def work(build: Build, log: Log) -> int:
    """Compute every unit that is pending and that no living process owns; returns how many were committed here.

    Views that share decoded pictures or an autoencoder are worked on together, slice by slice. One group comes after
    another, so that a model is loaded once. A process that finds no open task leaves when it knows that one process
    stays: the monitor, which takes over what the others may leave.
    """
    source = build.source
    done, checked, pause = 0, False, PAUSE
    pool = reading_threads(build.recipe.settings)
    with pool, Queue(build) as queue, Monitor(queue.leases, queue.store) as monitor:
        group: _Group | None = None
        while not stop_requested():
            build.refuse_outgrown()
            name = queue.enter()
            if name is not None:
                if group is None or group.name != name:
                    group = _Group(name, queue, source, pool, log)
                done, pause = done + group.work(), PAUSE
            elif queue.living and (monitor.acquire() or not monitor.has_other()):
                time.sleep(pause)
                pause = min(2 * pause, HEARTBEAT_SECONDS)
            elif done or checked:
                break
            else:  # every marker exists although the caller found units pending: check the markers once
                checked = True
                queue.check()
        if not queue.living and not stop_requested():  # after a stop request the listing may be out of date
            queue.clean_up()
    return done


def reading_threads(settings: "Settings") -> ThreadPoolExecutor:
    """Threads that read ahead of the network: this process's share of the cores, or what the recipe says."""
    import torch

    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    count = settings.readers or max(1, min(READERS, cores))
    # torch's number of threads belongs to the thread that sets it, and changes sums
    return ThreadPoolExecutor(count, "reader", initializer=torch.set_num_threads, initargs=(settings.threads,))


class _Group:
    """Views that share work, in one process, with their models loaded together."""

    def __init__(self, name: str, queue: Queue, source: Source, pool: ThreadPoolExecutor, log: Log) -> None:
        self.name, self.queue, self.source, self.pool, self.log = name, queue, source, pool, log
        self.build = queue.build
        self.computers: dict[str, Computer] = {}

    def work(self) -> int:
        """Acquire, compute, commit, until nothing of the group is open; returns how many units were committed."""
        values: Values = {}
        committed, started, owned = 0, 0.0, None
        one_batch = len(cut(range(self.build.recipe.settings.batch_size), PIECE))
        with closing(ahead(self.pool, Piece.prepare, self._pieces(), one_batch)) as stream:
            for piece, prepared in stream:
                if piece.rows.start == 0:
                    if stop_requested():
                        break
                    if piece.first:
                        owned = piece.task if self.queue.acquire(piece.task) else None
                    started = time.time()
                if piece.task != owned:
                    continue
                with self.log.about(view=piece.unit.view.name, slice=piece.unit.number):
                    values = self._add(piece, prepared, values)
                    if piece.rows.stop == len(piece.unit.rows):
                        reraise_pending()
                        commit(piece.unit, piece.work, started, self.log)
                        committed += 1
                if piece.rows.stop == len(piece.unit.rows) and piece.last:
                    self.queue.release(piece.task)
        return committed

    def _add(self, piece: Piece, prepared: "Future[Values]", values: Values) -> Values:
        """Add a piece to the values of its batch, and compute the batch once it is whole; what is still to compute."""
        with piece.work.computer.stages.timed("read"):
            values = values | prepared.result()
        if piece.rows.stop < piece.batch.stop:
            return values
        piece.work.add(piece.batch, values)
        self.queue.heartbeat()
        return {}

    def _pieces(self) -> Iterator[Piece]:
        """All pieces of the proposed tasks, in order; a task is acquired only when its first piece's turn comes.

        So what is read ahead keeps no other process from a task. For the same reason models are loaded before.
        """
        while not stop_requested() and (task := self.queue.next()) is not None:
            units = self.queue.pending(task)
            if not units:
                self.queue.acquire(task)  # another process has done it: this counts as a loss
                continue
            part = self._slice(units[0])
            for unit in units:
                work = Work(self._computer(unit), part)
                for batch in work.batches:
                    wanted = part.promise(work.computer.encoding, batch)
                    for rows in cut(batch, PIECE):
                        yield Piece(task, unit, work, batch, rows, wanted, unit is units[0], unit is units[-1])

    def _slice(self, unit: Unit) -> Slice:
        rows, manifest = slice(unit.rows.start, unit.rows.stop), self.build.manifest
        column, keys, hashes = self.build.recipe.settings.prompt_column, manifest.keys[rows], manifest.hashes[rows]
        labels = None if column is None else manifest.table.column(column)[rows].to_pylist()
        prompts = None if labels is None else ["" if label is None else str(label) for label in labels]

        def read(piece: range) -> "list[Image | Exception]":
            return self.source.images(keys[piece.start : piece.stop], hashes[piece.start : piece.stop])

        return Slice(unit.ids, read, prompts)

    def _computer(self, unit: Unit) -> "Computer":
        name = unit.view.name
        if name not in self.computers:
            self.computers[name] = load_computer(self.build, self.source, unit, self.log)
        return self.computers[name]


def load_computer(build: Build, source: Source, unit: Unit, log: Log) -> "Computer":
    """The view's computer with its model loaded and, where it needs one, its fit."""
    started, settings = time.perf_counter(), build.recipe.settings_of(unit.view.name)
    if unit.view.repo:
        from accelerate import PartialState

        settings = settings_for(build, unit.view, PartialState().device)
    computer = make_computer(unit.view, settings)
    with naming(unit.view), naming_shortage(unit.view.name):
        computer.load()
    computer.stages.sizes |= batch_sizes(build, computer)
    if computer.learns:
        computer.fitted = _fit(build, source, computer)
    log.write("loaded", view=unit.view.name, seconds=round(time.perf_counter() - started, 3))
    return computer


@contextmanager
def naming_shortage(view: str) -> Iterator[None]:
    """Turn an error of memory into a NoiseZooError that names the view whose model is loaded, and the device."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        message = f"view {view}: its model does not fit into the memory of {device_name()}"
        raise NoiseZooError(message) from error


def settings_for(build: Build, view: "View", device: "torch.device") -> "Settings":
    """The recipe's settings, and what they leave open of a view's arithmetic.

    On a GPU the build's first process at the view chooses it for all of them, as rows' bits depend on it.
    """
    settings = build.recipe.settings_of(view.name)
    if device.type != "cuda":
        return settings.model_copy(update=choose_arithmetic(view, settings, accelerated=False))

    def choose() -> dict[str, Any]:
        return choose_arithmetic(view, settings, accelerated=True, images=len(build.manifest), device=device)

    return settings.model_copy(update=build.first(f"{ARITHMETIC}/{view.name}.json", choose))


def batch_sizes(build: Build, computer: "Computer") -> dict[str, int]:
    """Stage -> images at once on an accelerator, chosen by the build's first process at the view for all of them.

    On a GPU a row's last bits depend on the size of its batch. On a CPU the recipe's batch size is used: empty then.
    """
    if (memory := device_memory(computer.device)) is None:
        return {}
    view, settings = computer.view, computer.settings

    def choose() -> dict[str, int]:
        weights = weights_of(next(group for group in groups(build.views) if view in group), settings)
        return choose_sizes(view, settings, memory=memory, weights=weights, slice_rows=build.recipe.slice_rows)

    return build.first(f"batches/{view.name}.json", choose)


def _fit(build: Build, source: Source, computer: "Computer") -> "dict[str, np.ndarray]":
    """What a view has learned; learned now by one process, under a lease, where none has."""
    from safetensors.numpy import load_file

    path, store = build.sample / "fits" / f"{computer.view.name}.safetensors", build.store

    def write() -> None:
        store.clean_up(path.parent, path.name)
        with store.committed(path) as temporary:
            write_tensors(temporary, computer.fit(fitting_images(build, source)))

    lease = Lease(build.leases / f"fit-{path.stem}.json", store)
    return once(lease, lambda: None if store.size(path) is None else load_file(store.fetch(path)), write)


def fitting_images(build: Build, source: Source) -> "Iterator[Image]":
    """The readable images that a view may learn its fit from, `SPARE_ROWS` at most.

    Images that the recipe's limit leaves out of the dataset, so that all of the dataset's rows are alike to the fit;
    or the first split (`train`, where there is one), where that is more.
    """
    spare, first = build.source_facts["spare"], next(iter(build.manifest.splits.values()))
    rows = slice(first.start, min(first.stop, first.start + SPARE_ROWS))
    own = build.manifest.keys[rows]
    keys, hashes = (own, build.manifest.hashes[rows]) if len(own) > len(spare) else (spare, None)
    for start in range(0, len(keys), 64):
        part = slice(start, start + 64)
        images = source.images(keys[part], None if hashes is None else hashes[part])
        yield from (image for image in images if not isinstance(image, Exception))
