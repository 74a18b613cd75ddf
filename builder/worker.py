"""One process's work: draw slices, group by group, compute their units, commit. It needs nothing from its siblings."""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.builder.build import Build, Unit
from noisezoo.builder.claims import Claim, claimed
from noisezoo.builder.commit import commit
from noisezoo.builder.compute import make_computer
from noisezoo.builder.compute.base import Prepared, Work
from noisezoo.builder.log import Log
from noisezoo.builder.manifest import spare_keys
from noisezoo.builder.slices import PIECE, Slice, ahead, cut, groups
from noisezoo.builder.sources import Source, open_source

if TYPE_CHECKING:
    from PIL.Image import Image

    from noisezoo import zoo
    from noisezoo.builder.compute.base import Computer
    from noisezoo.builder.recipe import Settings

FIT_ROWS = 1000
"""At most this many images decide a fit, so that its cost does not grow with the dataset."""

READERS = 8
"""At most this many threads read, unless the recipe says otherwise."""


@dataclass
class Job:
    """A claimed unit in work."""

    unit: Unit
    work: Work
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
    def ends_batch(self) -> bool:
        """Whether the batch can be computed after it."""
        return self.piece.stop == self.batch.stop

    @property
    def ends_unit(self) -> bool:
        """Whether the unit can be committed after it."""
        return self.piece.stop == len(self.job.unit.rows)


class Claims:
    """The claims that this process holds: given back as units are committed, and all of them however it ends."""

    def __init__(self) -> None:
        self._held: dict[Path, tuple[Claim, ExitStack]] = {}

    def __enter__(self) -> "Claims":
        return self

    def __exit__(self, *_: object) -> None:
        for path in list(self._held):
            self.release(path)

    def take(self, unit: Unit) -> bool:
        """Claim a unit of which work is left; False where there is none, or another process is at it."""
        stack = ExitStack()
        claim = stack.enter_context(claimed(unit.claim_path))
        if claim is None or unit.marker() is not None:
            stack.close()
            return False
        self._held[unit.claim_path] = claim, stack
        return True

    def release(self, path: Path) -> None:
        """Give one claim back."""
        self._held.pop(path)[1].close()

    def touch(self) -> None:
        """Show a sign of life on all of them."""
        for claim, _ in self._held.values():
            claim.touch()


def work(build: Build, log: Log) -> int:
    """Compute every unit that is pending and that no living process holds; returns how many were committed here.

    Views that share decoded pictures or an autoencoder are worked on together, slice by slice; one group comes after
    another, so that a model is loaded once, and a process that finds nothing left of one group goes on to the next.
    """
    source = open_source(build.recipe.source.name, build.recipe.source.options)
    with reading_threads(build.recipe.settings) as pool:
        return sum(_Group(build, views, source, pool, log).work() for views in groups(build.views))


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
        self, build: Build, views: "Sequence[zoo.View]", source: Source, pool: ThreadPoolExecutor, log: Log
    ) -> None:
        self.build, self.views, self.source, self.pool, self.log = build, views, source, pool, log
        self.computers: dict[str, Computer] = {}
        self.claims = Claims()

    def work(self) -> int:
        """Draw, compute, commit; how many units were committed."""
        committed_here = 0
        one_batch = len(cut(range(self.build.recipe.settings.batch_size), PIECE))
        with self.claims, closing(ahead(self.pool, Task.prepare, self._tasks(), one_batch)) as tasks:
            for task, prepared in tasks:
                self._advance(task, prepared)
                committed_here += task.ends_unit
        return committed_here

    def _advance(self, task: Task, prepared: "Future[Prepared]") -> None:
        """Take in what a thread prepared, compute a batch that is whole, commit a unit that is."""
        job = task.job
        job.started = job.started or time.time()
        with job.computer.stages.timed("read"):
            job.pieces.append(prepared.result())
        if task.ends_batch:
            job.work.add(task.batch, job.pieces)
            job.pieces = []
            self.claims.touch()
        if task.ends_unit:
            commit(job.unit, job.work, job.started, self.log)
            self.claims.release(job.unit.claim_path)

    def _tasks(self) -> Iterator[Task]:
        """All that is left to do, in order; units are claimed, and models loaded, as it is drawn."""
        for units in pending_slices(self.build, self.views):
            part: Slice | None = None
            for unit in [unit for unit in units if self.claims.take(unit)]:
                part = part or self._slice(unit)
                job = Job(unit, Work(self._computer(unit), part))
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


def pending_slices(build: Build, views: "Sequence[zoo.View]") -> Iterator[list[Unit]]:
    """Slice by slice, the units of these views that are left."""
    for units in zip(*(build.units(view) for view in views), strict=True):
        pending = [unit for unit in units if unit.marker() is None]
        if pending:
            yield pending


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
