"""Images a second on a GPU: inversion and embedding the plain way and ours, at full size with random weights.

    python -m benchmarks.gpu                        # the whole table on a GPU, 10 minutes at most
    python -m benchmarks.gpu --write                # and benchmarks/gpu-DEVICE.json, after every row
    python -m benchmarks.gpu --models sd15 --modes max-autotune
    python -m benchmarks.gpu --small                # seconds, on a CPU too: that the script works, no speeds

The plain way is the loop that a first user writes: diffusers' network, DDIMInverseScheduler and classifier-free
guidance at 3.5 with empty prompts as a doubled batch (or open_clip's `encode_image`), in float32 under torch's own
defaults. Ours is `Inverter` (or `Encoder`) in half precision, as it stands and compiled into CUDA graphs; compiled
first is the fastest precision whose result is near enough, the other where time is left. Each at its best batch: the
sweep doubles it until memory is out or a doubling adds nothing. Times are of the first 3 of 50 steps, scaled; the
relative error is of all 50, the worst image of two, against the plain way. All start from the same weights, which are
random: the error says what half precision costs there, and must be seen again on trained ones.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from benchmarks.gpu_models import STEPS, TIMED_STEPS, Mode, Subject, Way, subjects

RATIO, ERROR, UTILISATION = 3.0, 1e-2, 0.55
"""The goals: times the plain way, at this relative error; share of the measured ceiling."""
GAIN = 1.03
"""A doubled batch that adds less ends the sweep."""
CHECKED, DOUBLINGS = 2, 6
DTYPES = ("bfloat16", "float16")


@dataclass(frozen=True)
class Row:
    """One way at its best batch.

    Attributes:
        rate: Images a second.
        tflops: Floating-point operations spent on them, in 10^12 a second.
        memory: Peak of the device's memory that the process holds, in GiB; None on a CPU.
        error: Relative to the plain way's result.
    """

    model: str
    way: str
    batch: int
    forwards: int
    rate: float
    ratio: float
    error: float
    tflops: float
    utilisation: float
    memory: float | None


@dataclass(frozen=True)
class Timing:
    """What a sweep finds at one batch."""

    batch: int
    rate: float
    memory: float | None


@dataclass
class Contest:
    """The ways of one subject against each other; what they are measured by comes from the plain one."""

    subject: Subject
    device: torch.device
    ceiling: float
    deadline: float

    def rows(self, modes: Sequence[str]) -> Iterator[Row]:
        """The plain way; ours in each precision; and ours compiled, for as long as the clock allows."""
        batches = [self.subject.least * 2**i for i in range(DOUBLINGS + 1)]
        plain, self.flops = self.subject.plain(self.device), self.subject.flops()
        best = self.sweep(plain, batches)
        self.expected, self.plain_rate = plain.whole(self.subject.inputs(CHECKED, self.device)), best.rate
        yield self.row("plain, float32", plain, best, 0.0)
        del plain
        loose: dict[str, Row] = {}
        for dtype in DTYPES:
            for row in self.ours(dtype, False, batches):
                loose[dtype] = row
                yield row
        order = sorted(loose, key=lambda dtype: (loose[dtype].error > ERROR, -loose[dtype].rate))
        # A compilation costs a minute, so it is made where the uncompiled network is fastest, and then beyond.
        for i, (factor, dtype, mode) in enumerate(product((1, 2), order, modes)):
            if i and time.monotonic() > self.deadline:
                print(f"{self.subject.name}, {dtype}, {mode}, batch times {factor}: left out, time is up", flush=True)
            else:
                yield from self.ours(dtype, mode, [factor * loose[dtype].batch])

    def ours(self, dtype: str, mode: Mode, batches: Sequence[int]) -> Iterator[Row]:
        """One row; none, and the reason in print, where the way fails: it must not cost the others a lent GPU."""
        release()
        try:
            way = self.subject.ours(self.device, dtype, mode)
            best = self.sweep(way, batches)
            count = best.batch if mode else CHECKED  # another batch would be compiled anew
            error = apart(way.whole(self.subject.inputs(count, self.device))[:CHECKED], self.expected)
            yield self.row(f"ours, {dtype}" + (f", {mode}" if mode else ""), way, best, error)
        except Exception as fault:
            print(f"{self.subject.name}, {dtype}, {mode}: {type(fault).__name__}: {str(fault)[:500]}", flush=True)

    def sweep(self, way: Way, batches: Sequence[int]) -> Timing:
        """The fastest of the batches, up to memory's end, the clock's, or the one that adds nothing."""
        found: list[Timing] = []
        for batch in batches:
            release()
            try:
                found.append(self.timing(way, self.subject.inputs(batch, self.device)))
            except RuntimeError as fault:  # out of memory also comes as an error of cuDNN's
                if not found:
                    raise
                print(f"{self.subject.name}: batch {batch} ends the sweep: {str(fault)[:100]}", flush=True)
                break
            saturated = len(found) > 1 and found[-1].rate < GAIN * found[-2].rate
            if saturated or time.monotonic() > self.deadline:
                break
        return max(found, key=lambda timing: timing.rate)

    def timing(self, way: Way, inputs: Tensor) -> Timing:
        """After a first run, in which kernels are chosen and compiled and graphs are recorded."""
        way.run(inputs)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        seconds = best_of(lambda: way.run(inputs), self.device) / way.share
        memory = torch.cuda.max_memory_reserved() / 2**30 if self.device.type == "cuda" else None
        return Timing(len(inputs), len(inputs) / seconds, memory)

    def row(self, label: str, way: Way, best: Timing, error: float) -> Row:
        """The sweep's best as the table has it."""
        tflops = best.rate * way.forwards * self.flops / 1e12
        return Row(self.subject.name, label, best.batch, way.forwards, best.rate, best.rate / self.plain_rate, error,
                   tflops, tflops / self.ceiling, best.memory)  # fmt: skip


def best_of(run: Callable[[], Any], device: torch.device, repeats: int = 3) -> float:
    """Least seconds of several runs."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measured_ceiling(device: torch.device, sizes: Iterable[int], products: int = 10) -> float:
    """The best TFLOP/s of square bfloat16 products of Gaussian matrices (of zeros, a GPU is faster)."""
    found = []
    for n in sizes:
        A, B = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))

        def run(A: Tensor = A, B: Tensor = B) -> None:
            for _ in range(products):
                A @ B

        run()
        found.append(products * 2 * n**3 / best_of(run, device, repeats=5) / 1e12)
    return max(found)


def apart(ours: Tensor, expected: Tensor) -> float:
    """The worst image's relative difference; infinite where ours is not finite."""
    difference = (ours.cpu() - expected.cpu()).flatten(1).norm(dim=1) / expected.cpu().flatten(1).norm(dim=1)
    return float(difference.nan_to_num(nan=float("inf")).max())


def release() -> None:
    """Let go of compiled code, its graphs and cached memory.

    A second batch size would otherwise be compiled for every size at once, which is slower.
    """
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = (
        "| model | way | batch | forwards an image | images/s | times plain | relative error | TFLOP/s | of ceiling |"
    )
    lines = [f"{head} peak GiB |", "|:--|:--|" + "--:|" * 8]
    return "\n".join([*lines, *map(line, rows)])


def line(row: Row) -> str:
    """A row of the table."""
    memory = "-" if row.memory is None else f"{row.memory:.1f}"
    return (
        f"| {row.model} | {row.way} | {row.batch} | {row.forwards} | {row.rate:.3g} | {row.ratio:.2f} "
        f"| {row.error:.1e} | {row.tflops:.3g} | {row.utilisation:.1%} | {memory} |"
    )


def verdict(rows: list[Row]) -> Iterator[str]:
    """Whether the goals hold, for the fastest of our ways whose result is near enough."""
    for model in dict.fromkeys(row.model for row in rows):
        ours = [row for row in rows if row.model == model and row.way.startswith("ours") and row.error <= ERROR]
        best = max(ours, key=lambda row: row.rate, default=None)
        if best is None:
            yield f"{model}: no way of ours is measured within a relative error of {ERROR}"
            continue
        fast, full = best.ratio >= RATIO, best.utilisation >= UTILISATION
        yield (
            f"{model}, {best.way}: {RATIO:g} times the plain way at a relative error of at most {ERROR} "
            f"{'holds' if fast else 'DOES NOT HOLD'} ({best.ratio:.2f}, {best.error:.1e}); {UTILISATION:.0%} of the "
            f"ceiling {'holds' if full else 'DOES NOT HOLD'} ({best.utilisation:.1%})"
        )


def write(about: dict[str, Any], rows: list[Row]) -> None:
    """Replace the table of this device."""
    name = "-".join("".join(c if c.isalnum() else " " for c in about["device"].lower()).split())
    path = Path(__file__).with_name(f"gpu-{name}.json")
    path.write_text(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """The command line."""
    names = list(subjects(small=True))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny networks of the same classes")
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--modes", nargs="*", help="torch.compile's modes; by default reduce-overhead, on a CPU none")
    parser.add_argument(
        "--minutes", type=float, help="after which only each model's first rows are begun; 8 by default"
    )
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.minutes = options.minutes or (0.2 if options.small else 8.0)
    if not (options.small or torch.cuda.is_available()):
        parser.error("no GPU here: add --small")
    if options.write and (options.small or not torch.cuda.is_available()):
        parser.error("--write is for a GPU at full size")
    return options


def main() -> None:
    """Measure, print, and write where asked."""
    options, began = parse(), time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    graphs = device.type == "cuda"
    modes = options.modes if options.modes is not None else ["reduce-overhead"] * graphs
    ceiling = measured_ceiling(device, (512,) if options.small else (4096, 8192, 16384))
    about = {
        "device": torch.cuda.get_device_name() if graphs else "CPU", "date": date.today().isoformat(),
        "torch": torch.__version__, "cuda": torch.version.cuda if graphs else None,
        "diffusers": diffusers.__version__, "ceiling_tflops": ceiling, "steps": STEPS, "timed_steps": TIMED_STEPS,
    }  # fmt: skip
    rows: list[Row] = []
    chosen = [subject for name, subject in subjects(options.small).items() if name in options.models]
    for done, subject in enumerate(chosen):
        left = began + 60 * options.minutes - time.monotonic()
        contest = Contest(subject, device, ceiling, time.monotonic() + left / (len(chosen) - done))
        for row in contest.rows(modes):
            rows.append(row)
            print(f"{time.monotonic() - began:6.0f} s  {line(row)}", flush=True)
            if options.write:
                write(about, rows)
    print(f"\n{about['device']}, {about['date']}, torch {about['torch']}, diffusers {about['diffusers']}; bfloat16 "
          f"matrix products at {ceiling:.3g} TFLOP/s; {STEPS} steps, {TIMED_STEPS} of them timed\n")  # fmt: skip
    print(table(rows), *(["the goals are for full size"] if options.small else verdict(rows)), sep="\n\n")


if __name__ == "__main__":
    main()
