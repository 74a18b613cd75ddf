"""The whole default analysis on a planted dataset of eight views, three of d = 16,384: time and memory by rows.

Each size runs in a process of its own, so that its peak memory is its own. Beside all that is resident stands what is
not a mapped file's page, which the system takes back when memory is short:

    python -m benchmarks.bench_analysis --rows 24000    # a quarter of an hour on two cores, 6 GB of disk
    python -m benchmarks.bench_analysis                 # minutes
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.planted_dataset import write_planted

Measured = tuple[float, list[float], dict[str, float]]


@contextmanager
def watched() -> Iterator[list[float]]:
    """Peaks of this process during the block, in GB: resident, and without pages of mapped files."""
    peaks, over = [0.0, 0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            now = psutil.Process().memory_info()
            peaks[:] = max(peaks[0], now.rss / 1e9), max(peaks[1], (now.rss - now.shared) / 1e9)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def analysed(folder: Path, out: Path, results: "multiprocessing.Queue[Measured]") -> None:
    """Analyse and report in a process of its own: seconds, peaks of memory, and seconds by study."""
    from noisezoo.analysis.report.report import write_report
    from noisezoo.analysis.studies import Options, analyze

    steps: list[tuple[str, float]] = []
    started = time.perf_counter()
    with watched() as peaks:
        analysis = analyze(folder, Options(step=lambda text: steps.append((text, time.perf_counter()))))
        steps.append(("report", time.perf_counter()))
        write_report({folder.name: analysis}, out, title="planted")
    ended = time.perf_counter()
    ends = [begun for _, begun in steps[1:]] + [ended]
    spans = {text: end - begun for (text, begun), end in zip(steps, ends, strict=True)}
    results.put((ended - started, peaks, spans))


def main() -> None:
    """Print a line a size, and the ratio to the first per row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[3000, 6000])
    parser.add_argument("--keep", type=Path, help="where the planted datasets stay, to be used again")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        for n in options.rows:
            folder = (options.keep or Path(scratch)) / f"planted-{n}"
            if not (folder / "noisezoo.json").exists():
                write_planted(folder, n)
            queue = spawn.Queue()
            process = spawn.Process(target=analysed, args=(folder, Path(scratch) / "report", queue))
            process.start()
            seconds, (resident, own), spans = queue.get()
            process.join()
            memory = f"peak {resident:.2f} GB resident, {own:.2f} GB of its own"
            print(f"{n:>7} rows: {seconds:7.1f} s, {1e3 * seconds / n:6.2f} ms a row, {memory}", flush=True)
            for text, span in spans.items():
                print(f"        {span:7.1f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
