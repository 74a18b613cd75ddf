"""Images a second on a GPU: inversion and embedding the plain way and ours, at full size with random weights.

    python -m benchmarks.gpu                        # the whole table on a GPU, 8 minutes at most
    python -m benchmarks.gpu --smoke                # 90 seconds: every network class at full size, two steps
    python -m benchmarks.gpu --write                # and benchmarks/gpu-DEVICE.json, whatever the clock left undone
    python -m benchmarks.gpu --models sd15 vit
    python -m benchmarks.gpu --small                # on a CPU too: that the script works, no speeds

The plain way is the loop that a first user writes: diffusers' network, DDIMInverseScheduler and classifier-free
guidance at 3.5 with empty prompts as a doubled batch (or open_clip's `encode_image`), in float32 under torch's own
defaults, and with `torch_dtype`. Ours is `Inverter` (or `Encoder`) in half precision with the switches of a build, as
it stands at its best batch, and compiled at the batches that are named. Times are of the first 5 of 50 steps (2 in
float32), scaled; the relative error is of all 50, the worst image of two, against the plain way in float32. All start
from the same weights, which are random: the error says what half precision costs there, and must be seen again on
trained ones.

Every job is a process of its own, so that one that dies or is late costs its rows alone. All that compile start
together; once they have compiled, one job at a time is on the device, the most wanted first.
"""

import argparse
import json
import os
import queue
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch

from benchmarks.gpu_jobs import Bench, Fact, Row, ceiling, full, prepared, run, tried

RATIO, ERROR, UTILISATION = 3.0, 1e-2, 0.55
"""The goals: times the plain way in the same dtype, at this relative error; share of the measured ceiling."""
BESIDE = 2
"""Processes at once, of which one is on the device and the other imports what it needs."""
PREPARED_SECONDS = 120.0
"""Those that have not compiled by then are taken as they are."""
CEILING_SECONDS = 20.0
"""Kept free at the end for the second look at the ceiling."""
Jobs = dict[str, Callable[[Bench], Iterable[Any]]]


@dataclass
class Session:
    """Jobs under one clock, and what they have found."""

    small: bool
    deadline: float
    rows: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def work(self, jobs: Jobs, began: float, prepared: Jobs | None = None) -> None:
        """Run the jobs, one at a time on the device, and stop what is left when time is up.

        Before that, the prepared ones start all at once, and nobody is timed until each has come to its first result.
        """
        context, first = get_context("spawn"), dict(prepared or {})
        results, waiting = context.Queue(), [*first, *jobs]
        alive: dict[str, Any] = {}
        turns: dict[str, Any] = {}
        unready, limit, on_device = set(first), time.monotonic() + PREPARED_SECONDS, ""
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            while (waiting or alive) and time.monotonic() < self.deadline:
                is_ready = not unready & {*alive, *waiting} or time.monotonic() > limit
                if is_ready and alive and on_device not in alive:
                    on_device = next(iter(alive))  # the one that started first
                    turns[on_device].set()
                room = is_ready and len(alive.keys() - first) < BESIDE
                if waiting and (waiting[0] in first or room):
                    label = waiting.pop(0)
                    job, turns[label] = first.get(label) or jobs[label], context.Event()
                    given = (job, label, self.small, turns[label], Path(folder), results)
                    alive[label] = context.Process(target=run, args=given, daemon=False)
                    alive[label].start()
                try:
                    label, found = results.get(timeout=0.5)
                except queue.Empty:
                    alive = {label: process for label, process in alive.items() if process.is_alive()}
                    continue
                unready.discard(label)
                if found is None:
                    alive.pop(label, None)
                else:
                    self.keep(found, began, label)
            for process in (process for process in alive.values() if process.is_alive()):
                with suppress(ProcessLookupError):  # it has not come to be a group
                    os.killpg(process.pid or 0, signal.SIGKILL)
                process.kill()
        for label in [*alive, *waiting]:
            self.facts[f"left out: {label}"] = "time is up"

    def keep(self, found: Row | Fact, began: float, label: str) -> None:
        """Print a result, and remember it."""
        if isinstance(found, Row):
            self.rows.append(found)
            print(f"{time.monotonic() - began:6.0f} s  {line(found, self.rows, self.facts)}", flush=True)
        else:
            self.facts[found.what + (" (again)" if label.endswith("again") else "")] = found.value
            print(f"{time.monotonic() - began:6.0f} s  {found.what}: {found.value}", flush=True)


def plain_rate(row: Row, rows: list[Row], dtype: str) -> float | None:
    """Of the plain way in `dtype`, for the same model."""
    return next((each.rate for each in rows if each.model == row.model and each.way == f"plain, {dtype}"), None)


def dtype_of(row: Row) -> str:
    """The dtype that a way's label names."""
    return next((part for part in row.way.split(", ") if part in ("float32", "float16", "bfloat16")), "float32")


def line(row: Row, rows: list[Row], facts: dict[str, Any]) -> str:
    """A row of the table."""
    ratios = [plain_rate(row, rows, dtype) for dtype in ("float32", dtype_of(row))]
    against = " | ".join("-" if rate is None else f"{row.rate / rate:.2f}" for rate in ratios)
    share = row.tflops / facts.get("ceiling bfloat16", float("nan"))
    error = "-" if row.error is None else f"{row.error:.1e}"
    memory = "-" if row.memory is None else f"{row.memory:.1f}"
    return (
        f"| {row.model} | {row.way} | {row.batch} | {row.forwards} | {row.rate:.3g} | {against} | {error} "
        f"| {row.tflops:.3g} | {share:.1%} | {memory} | {row.setup:.0f} |"
    )


def table(session: Session) -> str:
    """Markdown."""
    head = (
        "| model | way | batch | forwards an image | images/s | times plain float32 | times plain, same dtype "
        "| relative error | TFLOP/s | of ceiling | peak GiB | first run, s |"
    )
    order = sorted(session.rows, key=lambda row: row.model)
    return "\n".join([head, "|:--|:--|" + "--:|" * 10, *(line(row, session.rows, session.facts) for row in order)])


def verdict(session: Session) -> Iterator[str]:
    """Whether the goals hold, for the fastest of our ways whose result is near enough."""
    for model in dict.fromkeys(row.model for row in session.rows):
        ours = [row for row in session.rows if row.model == model and row.way.startswith("ours")]
        best = max((row for row in ours if (row.error or 0) <= ERROR), key=lambda row: row.rate, default=None)
        rate = best and plain_rate(best, session.rows, dtype_of(best))
        if best is None or rate is None:
            continue
        share = best.tflops / session.facts.get("ceiling bfloat16", float("nan"))
        yield (
            f"{model}, {best.way}: {RATIO:g} times the plain way in the same dtype at an error of at most {ERROR} "
            f"{'holds' if best.rate >= RATIO * rate else 'DOES NOT HOLD'} ({best.rate / rate:.2f}, {best.error:.1e}); "
            f"{UTILISATION:.0%} of the ceiling {'holds' if share >= UTILISATION else 'DOES NOT HOLD'} ({share:.1%})"
        )


def about() -> dict[str, Any]:
    """The device and the software."""
    gpu = torch.cuda.is_available()
    asked = "driver_version,clocks.sm,clocks.max.sm,power.draw,memory.total"
    look = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
    switches = {"products": torch.backends.cuda.matmul.allow_tf32, "convolutions": torch.backends.cudnn.allow_tf32}
    return {
        "device": torch.cuda.get_device_name() if gpu else "CPU", "date": date.today().isoformat(),
        "torch": torch.__version__, "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None, "diffusers": diffusers.__version__,
        "tf32 by default": switches,
        asked: subprocess.run(look, capture_output=True, text=True).stdout.strip() if gpu else None,
    }  # fmt: skip


def write(session: Session, device: dict[str, Any]) -> None:
    """Replace the table of this device."""
    name = "-".join("".join(c if c.isalnum() else " " for c in device["device"].lower()).split())
    content = {**device, "facts": session.facts, "rows": [asdict(row) for row in session.rows]}
    Path(__file__).with_name(f"gpu-{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """The command line."""
    names = ["sd15", "sdxl", "dit", "vit"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny networks of the same classes")
    parser.add_argument("--smoke", action="store_true", help="every network class, two steps, no table")
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--minutes", type=float, help="after which everything stops; 8 by default, 1.5 of --smoke")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.minutes = options.minutes or (1.5 if options.smoke else 8.0)
    if not (options.small or torch.cuda.is_available()):
        parser.error("no GPU here: add --small")
    if options.write and (options.small or options.smoke or not torch.cuda.is_available()):
        parser.error("--write is for a GPU at full size")
    return options


def main() -> None:
    """Measure, print, and write where asked."""
    options, began = parse(), time.monotonic()
    end = began + 60 * options.minutes - 5
    session, device = Session(options.small, end), about()
    print(json.dumps(device, indent=1), flush=True)
    if options.smoke:
        session.work(tried(), began)
        return
    session.work({"ceiling": ceiling}, began)
    session.deadline = end - CEILING_SECONDS
    session.work(full(options.models), began, prepared(options.models))
    session.deadline = end
    session.work({"ceiling again": ceiling}, began)
    if options.write:
        write(session, device)
    if session.rows:
        print("\n" + table(session) + "\n")
        print(*(["the goals are for full size"] if options.small else verdict(session)), sep="\n\n")


if __name__ == "__main__":
    main()
