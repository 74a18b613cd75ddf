"""A cluster on paper: processes that load, draw, compute, commit and die, and a shared folder that answers in turn.

The processes choose by `noisezoo.builder.engine.scheduler`, as those of a build do; here only time passes otherwise.
"""

import heapq
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from benchmarks.schedule_plan import Folder, Outcome, Plan
from noisezoo.builder.engine.leases import HEARTBEAT_SECONDS, MISSED_SCANS, MissedScans
from noisezoo.builder.engine.scheduler import Scheduler, Task, image_work, point_of
from noisezoo.builder.views.slices import groups
from noisezoo.zoo import View, get

TFLOPS = 495.0  # of one process: an H100 at half of its bf16 peak
GIGABYTES = {"flux-dev": 34.0, "sd3-medium": 16.0, "sdxl": 7.0, "sd21": 2.6, "sd15": 2.1}
"""Of weights in bfloat16 with the text encoders, where they are not small."""


@dataclass
class Group:
    """Views that one process loads together, and what became of their tasks."""

    views: int
    work: float  # seconds of one task at speed 1
    load: float
    open: np.ndarray  # (n,) bool
    done: np.ndarray  # (n,) bool
    leases: dict[int, "Process"] = field(default_factory=dict)


@dataclass
class Process:
    """One process of the launch."""

    number: int
    speed: float
    born: float
    dies: float
    task: Task | None = None
    since: float = 0.0
    busy: float = 0.0
    loading: float = 0.0
    loads: int = 0
    left: float | None = None  # when it went, of its own will or not
    looks: int = 0  # that it has seen
    delay: float = 0.0  # of what it asked of the folder, not yet waited for


class _Scheduler(Scheduler):
    """One process's, on the folder: answers are of now, their delay is waited for after."""

    def __init__(self, cluster: "Cluster", process: Process) -> None:
        super().__init__(cluster.work, point_of(f"{cluster.plan.seed}-{process.number}"))
        self.cluster, self.process = cluster, process

    def list_open(self) -> Mapping[str, np.ndarray]:
        """One process lists for all; who comes meanwhile waits for it."""
        cluster, process = self.cluster, self.process
        if cluster.look_at <= cluster.now and cluster.looks == process.looks:
            cluster.open = {name: group.open.copy() for name, group in cluster.groups.items()}
            for group in cluster.groups.values():
                cluster.list(process, 2 * group.views * int(group.done.sum()) + len(group.leases), group.views + 1)
            cluster.ask(process, 8, created=1, size=20_000.0)
            cluster.looks, cluster.look_at = cluster.looks + 1, cluster.now + process.delay
        process.delay = max(process.delay, cluster.look_at - cluster.now)
        cluster.ask(process, 3, size=20_000.0)
        process.looks = cluster.looks
        return cluster.open

    def try_acquire(self, task: Task) -> bool:
        cluster, process = self.cluster, self.process
        group = cluster.groups[task.group]
        free = task.number not in group.leases
        cluster.ask(process, 4 + group.views * free, created=1 + free, size=300.0)
        if not group.open[task.number]:
            cluster.conflicts += 1
            cluster.ask(process, int(free))
            return False
        group.open[task.number] = False
        group.leases[task.number] = process
        process.task, process.since = task, cluster.now
        return True


class Cluster:
    """Processes and folder, moved from event to event."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.now, self.conflicts = plan, 0.0, 0
        self.open, self.looks, self.look_at = dict[str, np.ndarray](), 0, 0.0
        self.random = np.random.default_rng(plan.seed)
        self.folder = Folder(plan)
        self.groups = {group[0].name: _group(plan, group) for group in groups([get(name) for name in plan.views])}
        self.work = {name: group.work for name, group in self.groups.items()}
        self.processes: list[Process] = []
        self.monitor: Process | None = None
        self.left = sum(len(group.open) for group in self.groups.values())
        self.finished, self.wasted, self.most_lost = 0.0, 0.0, 0
        self._events: list[tuple[float, int, Generator[float, None, None], Process | None]] = []
        self._tie = count()

    def run(self) -> Outcome:
        """Until the last task is done, or nobody is left."""
        for _ in range(self.plan.processes):
            self._start(0.0)
        self._after(HEARTBEAT_SECONDS, self._monitor(), None)
        while self._events and self.left:
            self.now, _, steps, process = heapq.heappop(self._events)
            if process is not None and process.left is not None:
                continue
            if process is not None and self.now >= process.dies:
                self._die(process)
                continue
            delay = next(steps, None)
            if delay is not None:
                self._after(delay, steps, process)
            elif process is not None:
                process.left = self.now
        return self._outcome()

    def ask(self, process: Process, operations: int, created: int = 0, size: float = 0.0) -> None:
        """Let a process wait for the folder."""
        process.delay += self.folder.ask(self.now, operations, created, size)

    def list(self, process: Process, entries: int, folders: int) -> None:
        """The same for a listing of so many names."""
        self.folder.listings += folders
        self.ask(process, folders + entries // self.plan.entries, size=40.0 * entries)

    def _start(self, at: float, speed: float | None = None) -> None:
        if speed is None:
            speed = np.exp(self.random.normal(0.0, self.plan.sigma)) / (1 + (self.random.random() < self.plan.slow))
        life = self.random.exponential(3600.0 / self.plan.deaths) if self.plan.deaths else np.inf
        process = Process(len(self.processes), float(speed), at, at + life)
        self.processes.append(process)
        begin = self.plan.begin * self.random.uniform(0.5, 1.5) + (self.plan.restarts or 0.0) * (at > 0)
        process.loading += begin
        self._after(at - self.now + begin, self._work(process), process)

    def _after(self, delay: float, steps: Generator[float, None, None], process: Process | None) -> None:
        at = self.now + delay
        heapq.heappush(self._events, (min(at, process.dies) if process else at, next(self._tie), steps, process))

    def _work(self, process: Process) -> Generator[float, None, None]:
        """What the build's worker does, in seconds."""
        scheduler = _Scheduler(self, process)
        before = None
        while True:
            name = scheduler.enter()
            yield self._delay(process)
            if name is None:
                if not self._lingers(process):
                    return
                yield HEARTBEAT_SECONDS
                continue
            group = self.groups[name]
            if name != before:
                process.loading, process.loads = process.loading + group.load, process.loads + 1
                yield group.load
            before = name
            yield from self._group(process, scheduler, group)

    def _group(self, process: Process, scheduler: Scheduler, group: Group) -> Generator[float, None, None]:
        task = scheduler.next()
        while task is not None:
            yield self._delay(process)
            won, ahead = scheduler.acquire(task), scheduler.next()
            yield self._delay(process)
            if won:
                yield group.work / process.speed
                self.ask(process, 16 * group.views, created=2 * group.views, size=1500.0 * group.views)
                yield self._delay(process)
                self._commit(process, task, group)
                yield self._delay(process)
            task = ahead

    def _delay(self, process: Process) -> float:
        delay, process.delay = process.delay, 0.0
        return delay

    def _commit(self, process: Process, task: Task, group: Group) -> None:
        self.ask(process, 1)
        process.busy += group.work / process.speed
        process.task = None
        if group.leases.get(task.number) is process:
            del group.leases[task.number]
        group.done[task.number] = True
        self.left -= 1
        self.finished = self.now

    def _lingers(self, process: Process) -> bool:
        """Whether to wait for what others hold, rather than leave."""
        self.monitor = self.monitor or process
        held = any(group.leases for group in self.groups.values())
        return held and (self.plan.linger == "all" or (self.plan.linger == "monitor" and self.monitor is process))

    def _monitor(self) -> Generator[float, None, None]:
        """The monitor's scans; a dead monitor's successor is found as a dead owner is."""
        scans: MissedScans[tuple[str, int]] = MissedScans()
        while True:
            if self.monitor is None or self.monitor.left is not None:
                yield HEARTBEAT_SECONDS * MISSED_SCANS
                living = [process for process in self.processes if process.left is None and process.born <= self.now]
                self.monitor, scans = (living[0] if living else None), MissedScans()
            held = {(name, n): who for name, group in self.groups.items() for n, who in group.leases.items()}
            self.folder.ask(self.now, 2 * len(held) + len(self.groups))
            beats = {key: -holder.number if holder.left is not None else self.now for key, holder in held.items()}
            for name, number in scans.expired(beats) if self.monitor else ():
                del self.groups[name].leases[number]
                self.groups[name].open[number] = True
            self.folder.ask(self.now, 2 * sum(p.left is None for p in self.processes))  # everyone's heartbeats
            if not any(process.left is None for process in self.processes):
                return
            yield HEARTBEAT_SECONDS

    def _die(self, process: Process) -> None:
        """It alone dies and its successor comes, or the launcher restarts them all."""
        group = [process] if self.plan.restarts is None else [p for p in self.processes if p.left is None]
        lost = [each for each in group if each.task is not None]
        self.most_lost = max(self.most_lost, len(lost))
        for each in group:
            each.left = each.dies = self.now
        for each in lost:
            self.wasted += (self.now - each.since) * each.speed
            if self.plan.restarts is not None and each.task is not None:
                del self.groups[each.task.group].leases[each.task.number]
                self.groups[each.task.group].open[each.task.number] = True
        for each in group:
            if self.plan.restarts is not None:
                self._start(self.now, each.speed)
            elif self.plan.requeue is not None:
                self._start(self.now + self.random.exponential(self.plan.requeue))

    def _outcome(self) -> Outcome:
        work = sum(group.work * len(group.done) for group in self.groups.values())
        born = [process for process in self.processes if process.born < self.finished]
        present = sum(min(process.dies, self.finished) - process.born for process in born)
        loading = sum(process.loading for process in born)
        return Outcome(
            makespan=np.inf if self.left else self.finished, ideal=self._ideal(work),
            idle=1 - (sum(process.busy for process in born) + loading + self.wasted) / present,
            loading=loading / present, lost=self.wasted / work, most_lost=self.most_lost,
            dead=sum(process.dies <= self.finished for process in born), missing=self.left, conflicts=self.conflicts,
            loads=sum(process.loads for process in born) / len(born), folder=self.folder,
        )  # fmt: skip

    def _ideal(self, work: float) -> float:
        """When the living, as they come and die, have done the work, if none of them ever idles or loads."""
        changes = sorted(
            [(process.born, process.speed) for process in self.processes]
            + [(process.dies, -process.speed) for process in self.processes if process.dies < np.inf]
        )
        done, speed, before = 0.0, 0.0, 0.0
        for at, change in changes:
            if speed > 0 and done + speed * (at - before) >= work:
                break
            done, speed, before = done + speed * (at - before), speed + change, at
        return before + (work - done) / speed if speed > 0 else np.inf


def _group(plan: Plan, views: list[View]) -> Group:
    tasks = -(-plan.images // plan.rows)
    work = sum(image_work(view, plan.steps) for view in views) * plan.rows / (TFLOPS * 1000)
    gigabytes = sum(GIGABYTES.get(view.name, 0.6) for view in views if view.repo)
    return Group(len(views), work, plan.load + gigabytes / plan.read, np.ones(tasks, bool), np.zeros(tasks, bool))


def simulate(plan: Plan) -> Outcome:
    """Run a plan to its end."""
    return Cluster(plan).run()
