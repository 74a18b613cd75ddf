"""What is simulated of the scheduler, what it asks of a shared folder, and what comes of it."""

from dataclasses import dataclass, field

VIEWS = ("flux-dev", "sd3-medium", "sdxl", "sd21", "sd15", "ddpm-celebahq-256", "ldm-celebahq-256", "clip-vit-l14",
         "dinov2-vit-l14", "pixels")  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is simulated.

    Attributes:
        processes: Started at once.
        images: In the manifest.
        rows: Of a slice.
        views: Of the zoo.
        steps: Of an inversion.
        deaths: Share of processes that dies in an hour.
        requeue: Mean seconds until a dead process's successor starts; None where it has none.
        slow: Share of processes at half speed.
        sigma: Of the logarithm of all speeds.
        read: Gigabytes a second in which one process loads weights.
        begin: Seconds from a process's start until it can load (interpreter, imports, device).
        load: Seconds of a load beside reading.
        op: Seconds of one operation on the folder, at rest.
        ops: Operations a second that the folder's server does for all together.
        entries: Names that one operation lists.
        linger: Who waits while others hold what is left: "monitor", "all" or "none".
        restarts: A death restarts all processes, after so many seconds; None: nobody else notices.
        seed: Of all chance.
    """

    processes: int = 1024
    images: int = 202_599
    rows: int = 16
    views: tuple[str, ...] = VIEWS
    steps: int = 50
    deaths: float = 0.01
    requeue: float | None = 600.0
    slow: float = 0.05
    sigma: float = 0.05
    read: float = 2.0
    begin: float = 10.0
    load: float = 3.0
    op: float = 0.001
    ops: float = 20_000.0
    entries: int = 250
    linger: str = "monitor"
    restarts: float | None = None
    seed: int = 0


@dataclass
class Folder:
    """The shared folder: one server that does one operation after another."""

    plan: Plan
    operations: int = 0
    listings: int = 0
    created: int = 0
    bytes: float = 0.0
    waited: float = 0.0
    _free: float = 0.0
    _by_second: dict[int, int] = field(default_factory=dict)

    def ask(self, now: float, operations: int, created: int = 0, size: float = 0.0) -> float:
        """Seconds until so many operations are answered."""
        begin = max(now, self._free)
        self._free = begin + operations / self.plan.ops
        self.operations += operations
        self.created += created
        self.bytes += size
        self._by_second[int(begin)] = self._by_second.get(int(begin), 0) + operations
        self.waited = max(self.waited, begin - now)
        return self._free - now + operations * self.plan.op

    @property
    def peak(self) -> int:
        """Most operations begun in one second."""
        return max(self._by_second.values(), default=0)


@dataclass(frozen=True)
class Outcome:
    """What came of a plan.

    Attributes:
        makespan: Seconds until the last task is done; infinite where some never were.
        ideal: Seconds that the work takes at the speed of the living, none of them ever idle.
        idle: Share of the living's time that is neither computing nor starting and loading.
        loading: Share of it that is starting and loading.
        lost: Share of the work that died with its process or was done twice.
        most_lost: Lots that one death cost at most.
        dead: Processes that died.
        missing: Lots not done.
        conflicts: Lots that were proposed in vain.
        loads: Models' groups loaded by one process, on average.
        folder: What the folder bore.
    """

    makespan: float
    ideal: float
    idle: float
    loading: float
    lost: float
    most_lost: int
    dead: int
    missing: int
    conflicts: int
    loads: float
    folder: Folder

    @property
    def ratio(self) -> float:
        """Makespan over the ideal."""
        return self.makespan / self.ideal
