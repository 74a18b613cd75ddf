"""One process's work: draw lots, group by group, compute their units, commit. It needs nothing from its siblings."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from noisezoo.builder.engine import preemption as stopping
from noisezoo.builder.engine.build import Build, Unit
from noisezoo.builder.engine.commit import commit
from noisezoo.builder.engine.log import Log
from noisezoo.builder.engine.monitor import Keeper
from noisezoo.builder.engine.queue import Folder
from noisezoo.builder.engine.scheduler import BEAT, Draw, Lot, spread
from noisezoo.builder.sources import Source, open_source, spare_keys
from noisezoo.builder.views import PIECE, Prepared, Slice, Work, ahead, cut, make_computer

if TYPE_CHECKING:
    from PIL.Image import Image

    from noisezoo.builder.recipe import Settings
    from noisezoo.builder.views import Computer

FIT_ROWS = 1000
"""At most this many images decide a fit, so that its cost does not grow with the dataset."""

PAUSE = 0.05
"""Seconds after which the keeper looks again for what others have left; twice as long each time."""

READERS = 8
"""At most this many threads read, unless the recipe says otherwise."""


@dataclass
class Job:
    """A unit in work, or read for it."""

    lot: Lot
    unit: Unit
    work: Work
    first: bool  # of its lot
    last: bool
    started: float = 0.0
    pieces: list[Prepared] = field(default_factory=list)

    @property
    def computer(self) -> "Computer":
        """The unit's view's."""
        return self.work.computer


@dataclass(frozen=True)
class Task:
    """A few pictures of a batch of a job: what one thread prepares at a time."""

    job: Job
    batch: range
    piece: range
    wanted: bool  # not where another view of the slice encodes the batch before this one

    def prepare(self) -> Prepared:
        """Read, decode and preprocess; any thread may."""
        return self.job.work.prepare(self.piece) if self.wanted else Prepared({}, [])

    @property
    def begins_unit(self) -> bool:
        """Whether it is the first of its unit."""
        return self.piece.start == 0

    @property
    def begins_lot(self) -> bool:
        """Whether the lot is to be claimed before it."""
        return self.begins_unit and self.job.first

    @property
    def ends_batch(self) -> bool:
        """Whether the batch can be computed after it."""
        return self.piece.stop == self.batch.stop

    @property
    def ends_unit(self) -> bool:
        """Whether the unit can be committed after it."""
        return self.piece.stop == len(self.job.unit.rows)


def work(build: Build, log: Log) -> int:
    """Compute every unit that is pending and that no living process holds; returns how many were committed here.

    Views that share decoded pictures or an autoencoder are worked on together, slice by slice: a lot. One group comes
    after another, so that a model is loaded once. A process that finds nothing open leaves, once it knows that one
    stays: the keeper, while others are at work, to take over what they leave.
    """
    source = open_source(build.recipe.source.name, build.recipe.source.options)
    done, checked = 0, False
    with reading_threads(build.recipe.settings) as pool, Folder(build) as folder, Keeper(folder.claims) as keeper:
        draw = Draw(folder, folder.work, spread(f"{socket.gethostname()} {os.getpid()} {time.time_ns()}"))
        group: _Group | None = None
        pause = PAUSE
        while not stopping.asked():
            name = draw.enter()
            if name is not None:
                if group is None or group.name != name:
                    group = _Group(build, name, folder, source, pool, log)
                done, pause = done + group.work(draw), PAUSE
            elif folder.living and (keeper.keeps() or not keeper.is_kept()):  # one stays for what others have in work
                time.sleep(pause)
                pause = min(2 * pause, BEAT)
            elif done or checked:
                break
            else:  # whoever called found something pending, where all is listed as done
                checked = True
                folder.check()
        if not folder.living and not stopping.asked():  # who is told to stop has not looked since others began more
            folder.tidy()
    return done


def reading_threads(settings: "Settings") -> ThreadPoolExecutor:
    """Threads that read ahead of the network: this process's share of the cores, or what the recipe says."""
    import torch

    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    count = settings.readers or max(1, min(READERS, cores))
    # the number of threads of arithmetic is a thread's own, and changes sums
    return ThreadPoolExecutor(count, "reader", initializer=torch.set_num_threads, initargs=(settings.threads,))


class _Group:
    """Views that share work, in one process, with their models loaded together."""

    def __init__(
        self, build: Build, name: str, folder: Folder, source: Source, pool: ThreadPoolExecutor, log: Log
    ) -> None:
        self.build, self.name, self.folder, self.source, self.pool, self.log = build, name, folder, source, pool, log
        self.computers: dict[str, Computer] = {}

    def work(self, draw: Draw) -> int:
        """Take, compute, commit, until nothing of the group is open; how many units were committed."""
        committed_here, held = 0, None
        one_batch = len(cut(range(self.build.recipe.settings.batch_size), PIECE))
        with closing(ahead(self.pool, Task.prepare, self._tasks(draw), one_batch)) as tasks:
            for task, prepared in tasks:
                if task.begins_unit and stopping.asked():
                    break
                if task.begins_lot:
                    held = task.job.lot if draw.take(task.job.lot) else None
                if task.job.lot == held:
                    self._advance(task, prepared)
                    committed_here += task.ends_unit
        return committed_here

    def _advance(self, task: Task, prepared: "Future[Prepared]") -> None:
        """Take in what a thread prepared, compute a batch that is whole, commit a unit that is."""
        job = task.job
        with self.log.about(view=job.unit.view.name, slice=job.unit.number):
            job.started = job.started or time.time()
            with job.computer.stages.timed("read"):
                job.pieces.append(prepared.result())
            if task.ends_batch:
                job.work.add(task.batch, job.pieces)
                job.pieces = []
                self.folder.touch()
            if task.ends_unit:
                stopping.obey()
                commit(job.unit, job.work, job.started, self.log)
        if task.ends_unit and job.last:
            self.folder.release(job.lot)

    def _tasks(self, draw: Draw) -> Iterator[Task]:
        """All of the lots that are proposed, in order; a lot is claimed only as its first task's turn comes.

        What is read ahead is thus in nobody's way. Models are loaded before a lot is claimed, for the same reason.
        """
        while not stopping.asked() and (lot := draw.next()) is not None:
            units = self.folder.pending(lot)
            if not units:
                draw.take(lot)  # others have done it: a loss
                continue
            part = self._slice(units[0])
            for unit in units:
                first, last = unit is units[0], unit is units[-1]
                job = Job(lot, unit, Work(self._computer(unit), part), first, last)
                for batch in job.work.batches:
                    wanted = part.promise(job.computer.encoding, batch)
                    yield from (Task(job, batch, piece, wanted) for piece in cut(batch, PIECE))

    def _slice(self, unit: Unit) -> Slice:
        rows, manifest = slice(unit.rows.start, unit.rows.stop), self.build.manifest
        column, keys = self.build.recipe.settings.prompt_column, manifest.keys[rows]
        labels = None if column is None else manifest.table.column(column)[rows].to_pylist()
        prompts = None if labels is None else [_text(label) for label in labels]
        return Slice(unit.ids, lambda piece: self.source.images(keys[piece.start : piece.stop]), prompts)

    def _computer(self, unit: Unit) -> "Computer":
        name = unit.view.name
        if name not in self.computers:
            self.computers[name] = load_computer(self.build, self.source, unit, self.log)
        return self.computers[name]


def _text(label: object) -> str:
    """A label as a prompt; no label is the empty prompt."""
    return "" if label is None else str(label)


def load_computer(build: Build, source: Source, unit: Unit, log: Log) -> "Computer":
    """The view's computer with its model loaded and, where it needs one, its fit."""
    started = time.perf_counter()
    computer = make_computer(unit.view, build.recipe.settings)
    computer.load()
    computer.fit(lambda: fitting_images(build, source), build.state / "fits" / f"{unit.view.name}.safetensors")
    log.write("loaded", view=unit.view.name, seconds=round(time.perf_counter() - started, 3))
    return computer


def fitting_images(build: Build, source: Source) -> "Iterator[Image]":
    """The readable images that a view may learn its fit from, `FIT_ROWS` at most.

    Images that the recipe's limit leaves out of the dataset, so that all of the dataset's rows are alike to the fit;
    or the first split (`train`, where there is one), where that is more.
    """
    spare = spare_keys(source.scan(), build.recipe.source, FIT_ROWS, source.stratify)
    first = next(iter(build.manifest.splits.values()))
    own = build.manifest.keys[first.start : min(first.stop, first.start + FIT_ROWS)]
    keys = max(spare, own, key=len)
    for start in range(0, len(keys), 64):
        yield from (image for image in source.images(keys[start : start + 64]) if not isinstance(image, Exception))
