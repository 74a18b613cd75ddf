"""How fast a device does the zoo's work: a table of GPUs by their makers' peaks, and a measurement of this CPU."""

import csv
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import mean, median
from typing import TYPE_CHECKING

from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

TABLE = files("noisezoo.builder.launch") / "gpus.csv"
CPU = "cpu"
SHARE = 0.4
"""Share of its dense peak that a GPU reaches on large networks in large batches; small ones reach less."""
ROW_SECONDS, PIXEL_SECONDS, UNIT_SECONDS = 2e-4, 1e-8, 0.006
"""On one core: to read a picture, to bring it to the view's size, a pixel, and to commit a unit to a local disk."""
GPU_READERS = 8
"""Threads that read ahead of a GPU."""
PASS_SECONDS = 2e-3
"""Of a pass of one batch on a CPU, beside its arithmetic: some hundred operations are called one by one."""
CHANNELS, SIDE, BATCH, DEPTH, REPEATS = 64, 16, 16, 8, 9
"""The network that measures a CPU."""


@dataclass(frozen=True)
class Machine:
    """What one process's device does; work is `passes`, GFLOP, rows and units, and their seconds add up.

    Attributes:
        name: As in the table, or `cpu`.
        about: In words.
        network: GFLOP a second of the networks, in the recipe's dtype.
        autoencoder: GFLOP a second of autoencoders, which stay float32.
        pass_seconds: Of one pass of one batch, beside its arithmetic.
        readers: Threads that read ahead of it, on cores of their own.
        memory: The device's own, in bytes; None for a CPU, whose memory is the host's.
    """

    name: str
    about: str
    network: float
    autoencoder: float
    pass_seconds: float
    readers: int
    memory: float | None

    def read_seconds(self, images: int, resolution: int) -> float:
        """Of reading so many pictures for a view of that size, in pixels a side."""
        return images * (ROW_SECONDS + PIXEL_SECONDS * resolution**2) / self.readers

    @property
    def is_cpu(self) -> bool:
        """Whether the device is the host itself."""
        return self.memory is None


@cache
def _table() -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in csv.DictReader(TABLE.read_text().splitlines())}


def names() -> list[str]:
    """What `machine` knows."""
    return [*_table(), CPU]


def machine(name: str, *, dtype: str = "float32", threads: int = 1, processes: int = 1) -> Machine:
    """A device by name; `cpu` is this machine, measured in about a second.

    Args:
        name: One of `names()`.
        dtype: The networks'.
        threads: Of one process on a CPU.
        processes: That compute beside one another on this CPU.

    Raises:
        UsageError: No such device.
    """
    if name == CPU:
        return calibrate(threads, processes)
    if name not in _table():
        raise UsageError(f"unknown device {name!r}; choose one of: {', '.join(names())}")
    row = _table()[name]
    peak = float(row["float32_tflops"] if dtype == "float32" else row["half_tflops"])
    return Machine(
        name, row["about"], SHARE * peak * 1e3, SHARE * float(row["tf32_tflops"]) * 1e3, 0.0,
        GPU_READERS, float(row["memory_gb"]) * 1e9,
    )  # fmt: skip


def this_machine(*, dtype: str, threads: int, processes: int) -> Machine:
    """The device that a build would run on here: the CPU, or a GPU that the table knows; the CPU for another."""
    import torch

    told = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    words = re.sub(r"[^A-Z0-9]+", " ", told.upper()).replace("RTX ", "RTX").split()
    known = [name for name in _table() if name.upper() in words]
    return machine(known[0] if known else CPU, dtype=dtype, threads=threads, processes=processes)


def calibrate(threads: int = 1, processes: int = 1) -> Machine:
    """Measure this CPU: convolutions as small networks have them, by so many processes' worth of threads at a time."""
    with ThreadPoolExecutor(processes) as pool:
        rate = _gflops() / mean(pool.map(_measure, [threads] * processes))
    about = f"this CPU, {threads} thread{'s' * (threads > 1)} a process, {rate:.0f} GFLOP/s each measured"
    return Machine(CPU, about, rate, rate, PASS_SECONDS, 1, None)


def _gflops() -> float:
    """Of one batch through the measured network: two for each multiply-add of its 3 x 3 convolutions."""
    return BATCH * DEPTH * 2 * 9 * CHANNELS**2 * SIDE**2 / 1e9


def _measure(threads: int) -> float:
    """Seconds of a pass of one batch: the median of a few."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)  # of this thread alone
    try:
        with torch.inference_mode():
            values = torch.linspace(-1, 1, BATCH * CHANNELS * SIDE**2).view(BATCH, CHANNELS, SIDE, SIDE)
            kernel = torch.linspace(-0.05, 0.05, CHANNELS**2 * 9).view(CHANNELS, CHANNELS, 3, 3)
            x, weight = (tensor.to(memory_format=torch.channels_last) for tensor in (values, kernel))
            _timed(x, weight)
            return median(_timed(x, weight) for _ in range(REPEATS))
    finally:
        torch.set_num_threads(before)


def _timed(x: "Tensor", weight: "Tensor") -> float:
    """Seconds of one pass: normalisation, activation and convolution, `DEPTH` times."""
    from torch.nn.functional import conv2d, group_norm, silu

    started = time.perf_counter()
    for _ in range(DEPTH):
        x = conv2d(silu(group_norm(x, 8)), weight, padding=1)
    return time.perf_counter() - started
