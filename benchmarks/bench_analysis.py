"""The whole default analysis on a planted dataset of eight views, three of d = 16,384: time and memory by rows.

Each size runs in a process of its own, so that its peak memory is its own:

    python -m benchmarks.bench_analysis --rows 24000    # a quarter of an hour on two cores, 6 GB of disk
    python -m benchmarks.bench_analysis                 # minutes
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.planted_dataset import write_planted


def analysed(folder: Path, out: Path, results: "multiprocessing.Queue[tuple[float, float, dict[str, float]]]") -> None:
    """Analyse and report in a process of its own: seconds, peak resident GiB, and seconds by study."""
    from noisezoo.analysis.report import write_report
    from noisezoo.analysis.run import analyze

    steps: list[tuple[str, float]] = []
    started = time.perf_counter()
    analysis = analyze(folder, step=lambda text: steps.append((text, time.perf_counter())))
    steps.append(("report", time.perf_counter()))
    write_report({folder.name: analysis}, out, title="planted")
    ended = time.perf_counter()
    ends = [begun for _, begun in steps[1:]] + [ended]
    spans = {text: end - begun for (text, begun), end in zip(steps, ends, strict=True)}
    results.put((ended - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, spans))


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
            seconds, peak, spans = queue.get()
            process.join()
            print(f"{n:>7} rows: {seconds:7.1f} s, {1e3 * seconds / n:6.2f} ms a row, peak {peak:5.2f} GiB", flush=True)
            for text, span in spans.items():
                print(f"        {span:7.1f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
