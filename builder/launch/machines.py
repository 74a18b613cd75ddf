"""How fast a device does the zoo's work: a table of GPUs by their makers' peaks, and a measurement of this CPU."""

import csv
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from statistics import mean, median
from typing import TYPE_CHECKING

from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

TABLE = files("noisezoo.builder.launch") / "gpus.csv"
CPU, HERE = "cpu", "here"
PARTIAL = {"LAPTOP", "MIG", "MAX"}
"""Words in the name of a device that is only like the card it is named after: a laptop's, or a slice of a card."""
SHARE = 0.4
"""Share of its dense peak that a GPU reaches on large networks in large batches; small ones reach less."""
ROW_SECONDS, PIXEL_SECONDS, UNIT_SECONDS = 2e-4, 1e-8, 0.006
"""Seconds on one core to read an image, to resize one pixel of it, and to commit a unit to a local disk."""
METRIC_SECONDS, GPU_METRIC_SECONDS = 5e-7, 1e-9
"""Seconds to measure a pixel of a regenerated picture: on one core; on a GPU, of whose memory it moves some 2 kB."""
GPU_READERS = 8
"""Threads that read ahead of a GPU."""
PASS_SECONDS = 2e-3
"""Seconds of a pass of one batch on a CPU beside its arithmetic: some hundred operations are called one by one."""
DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""Files by which programs reach a GPU: without one of them torch, whose import takes seconds, finds none."""
CHANNELS, SIDE, BATCH, DEPTH, REPEATS = 64, 16, 16, 8, 9
"""The network that measures a CPU."""


@dataclass(frozen=True)
class Machine:
    """What one process's device does; work is `passes`, GFLOP, rows and units, and their seconds add up."""

    name: str  # as in the table, or `cpu`
    about: str  # in words
    network: float  # GFLOP a second of the networks, in the recipe's dtype
    autoencoder: float  # GFLOP a second of autoencoders, which stay float32
    pass_seconds: float  # seconds of a pass of one batch, beside its arithmetic
    readers: int  # threads that read ahead of it, on cores of their own
    memory: float | None  # the device's own, in bytes; None for a CPU, whose memory is the host's

    def read_seconds(self, images: int, resolution: int) -> float:
        """Seconds to read so many images for a view of that size, in pixels a side."""
        return images * (ROW_SECONDS + PIXEL_SECONDS * resolution**2) / self.readers

    @property
    def is_cpu(self) -> bool:
        """Whether the device is the host itself."""
        return self.memory is None

    def metric_seconds(self, images: float, resolution: int) -> float:
        """Seconds to compare so many regenerated pictures of that size, in pixels a side, with the given ones."""
        return images * resolution**2 * (METRIC_SECONDS if self.is_cpu else GPU_METRIC_SECONDS)


@cache
def _table() -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in csv.DictReader(TABLE.read_text().splitlines())}


def names() -> list[str]:
    """What `machine` knows."""
    return [*_table(), CPU, HERE]


def machine(name: str, *, dtype: str | None = None, threads: int = 1, processes: int = 1) -> Machine:
    """A device by name; `cpu` is this machine's, measured in about a second, and `here` is its GPU if it has one.

    Args:
        name: One of `names()`.
        dtype: The networks'; None: what each view takes there, counted as half precision.
        threads: CPU threads of one process.
        processes: How many compute beside one another on this CPU.

    Raises:
        UsageError: No such device, this machine's GPU is not in the table, or the device has no such dtype.
    """
    if name == HERE:
        return this_machine(dtype=dtype, threads=threads, processes=processes)
    if name == CPU:
        return calibrate(threads, processes)
    if name not in _table():
        raise UsageError(f"unknown device {name!r}; choose one of: {', '.join(names())}")
    row = _table()[name]
    if dtype == "bfloat16" and row["bfloat16"] == "no":
        raise UsageError(f"{row['about']} does not compute in bfloat16: choose --set dtype=float16 or float32")
    column = {"float32": "float32_tflops", "tf32": "tf32_tflops"}.get(dtype or "", "half_tflops")
    peak = float(row[column])
    return Machine(
        name, row["about"], SHARE * peak * 1e3, SHARE * float(row["tf32_tflops"]) * 1e3, 0.0,
        GPU_READERS, float(row["memory_gb"]) * 1e9,
    )  # fmt: skip


def gpu_count() -> int:
    """GPUs of this machine, as torch counts them."""
    if "torch" not in sys.modules and not any(map(os.path.exists, DRIVERS)):
        return 0
    import torch

    return torch.cuda.device_count()


def this_machine(*, dtype: str | None, threads: int, processes: int) -> Machine:
    """The device that a build runs on here: the GPU, with its own memory, or else the CPU.

    Raises:
        UsageError: The GPU is not in the table.
    """
    if not gpu_count():
        return calibrate(threads, processes)
    import torch

    device = torch.cuda.get_device_name()
    name = nearest(device)
    if name is None:
        raise UsageError(f"{device} is not in the table of GPUs, so its speed is unknown; --gpu NAME plans for another")
    memory = float(torch.cuda.get_device_properties(0).total_memory)
    return replace(machine(name, dtype=dtype), about=device, memory=memory)


def nearest(device: str) -> str | None:
    """The row whose words are all in the device's name, of several the one with most; None where there is none."""
    words = set(re.sub(r"[^A-Z0-9]+", " ", device.upper()).split())
    known = {name: row["words"].split() for name, row in _table().items() if words >= set(row["words"].split())}
    return max(known, key=lambda name: len(known[name]), default=None) if not words & PARTIAL else None


def calibrate(threads: int = 1, processes: int = 1) -> Machine:
    """Measure this CPU: convolutions as small networks have them, by so many processes' worth of threads at a time."""
    with ThreadPoolExecutor(processes) as pool:
        gflops = BATCH * DEPTH * 2 * 9 * CHANNELS**2 * SIDE**2 / 1e9  # a multiply-add counts two
        rate = gflops / mean(pool.map(_measure, [threads] * processes))
    about = f"this CPU, {threads} thread{'s' * (threads > 1)} a process, {rate:.0f} GFLOP/s each measured"
    return Machine(CPU, about, rate, rate, PASS_SECONDS, 1, None)


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
