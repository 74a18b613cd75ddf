"""Ratios of our storage to its peers, in one process; peak memory in processes of their own.

    python -m benchmarks.bench_storage            # minutes
    python -m benchmarks.bench_storage --small    # about a minute

Every figure is printed with its goal. Both sides of a pair are timed in turns, the least of each counts.
"""

import argparse
import json
import operator
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

_HOME = tempfile.TemporaryDirectory(prefix="noisezoo-bench-")
_SWITCHES = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_XET")
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HOME": _HOME.name, **dict.fromkeys(_SWITCHES, "1")}  # read at import

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from datasets import Dataset, Features, load_dataset  # noqa: E402

import noisezoo  # noqa: E402
from noisezoo.builder.dataset.finish import finish  # noqa: E402
from noisezoo.schema import ID, to_table, view_features, write_parquet  # noqa: E402
from tests.hub_server import HubServer  # noqa: E402
from tests.noisezoo.test_memory import peak, write_parts  # noqa: E402

NOISE, NAME, SLICE = (4, 64, 64), "noise", 64
COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}
STAGES = ("written, synced and reread as parts", "published from parts, with PCA and card")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, and what it should be."""

    what: str
    ours: str
    peer: str
    ratio: float
    goal: str = ""

    def __str__(self) -> str:
        return f"{self.what:<66} {self.ours:>12} {self.peer:>12} {self.ratio:8.3f}  {self.goal:>8}  {self._verdict()}"

    def _verdict(self) -> str:
        if not self.goal:
            return ""
        side, bound = self.goal.split()
        return "met" if COMPARE[side](self.ratio, float(bound)) else "MISSED"


def least(runs: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Least wall seconds of each of several functions, run in turns: what else the machine does falls on all alike."""
    best = [float("inf")] * len(runs)
    for _ in range(repeats):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def planted(n: int) -> tuple[list[str], np.ndarray]:
    """Ids, and noise as it is stored: (n, 4, 64, 64) float16."""
    return [f"{i:07d}" for i in range(n)], np.random.default_rng(0).standard_normal((n, *NOISE)).astype(np.float16)


def write_ours(path: Path, features: Features, ids: list[str], X: np.ndarray) -> None:
    """Our writer alone, slice by slice as parts arrive."""
    slices = (slice(i, i + SLICE) for i in range(0, len(X), SLICE))
    write_parquet(path, features, (to_table(features, {ID: ids[s], NAME: X[s]}) for s in slices))


def write_theirs(path: Path, features: Features, ids: list[str], X: np.ndarray) -> None:
    """`Dataset.from_generator` and `to_parquet`, into a cache that has seen nothing."""

    def rows() -> Iterator[dict[str, Any]]:
        for image_id, x in zip(ids, X, strict=True):
            yield {ID: image_id, NAME: x}

    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        Dataset.from_generator(rows, features=features, cache_dir=cache).to_parquet(path)


def writing(folder: Path, n: int, repeats: int) -> Iterator[Row]:
    """Rows a second and size, for the same rows."""
    (ids, X), features = planted(n), view_features(NAME, NOISE, "float16")
    ours, theirs = folder / "ours.parquet", folder / "theirs.parquet"
    mine, other = least(
        [lambda: write_ours(ours, features, ids, X), lambda: write_theirs(theirs, features, ids, X)], repeats
    )
    what = f"{n} x 4x64x64 float16"
    rate, peer_rate = f"{n / mine:.0f} rows/s", f"{n / other:.0f} rows/s"
    yield Row(f"write_parquet, {what}, from_generator and to_parquet", rate, peer_rate, other / mine, ">= 2")
    sizes = [path.stat().st_size for path in (ours, theirs)]
    yield Row("  size of the file", *(f"{size / 1e6:.1f} MB" for size in sizes), sizes[0] / sizes[1], "<= 0.98")
    yield from _published(folder, n, other)


def _published(folder: Path, n: int, other: float) -> Iterator[Row]:
    """A build's way: parts written, forced to disk, reread and hashed; then published with card, PCA and record."""
    build = write_parts(folder / "build", n, NOISE, SLICE)
    events = [json.loads(line) for path in (build.state / "logs").iterdir() for line in path.read_text().splitlines()]
    start = time.perf_counter()
    finish(build)
    seconds = sum(event.get("write_seconds", 0.0) for event in events), time.perf_counter() - start
    for what, ours in zip(STAGES, seconds, strict=True):
        yield Row(f"  {what}, by the same peer", f"{n / ours:.0f} rows/s", f"{n / other:.0f} rows/s", other / ours)


def matrices(folder: Path, n: int, repeats: int) -> Iterator[Row]:
    """A full column of a prepared dataset, against `np.load` of the same bytes and against `dataset[:]`."""
    (ids, X), features = planted(n), view_features(NAME, NOISE, "float16")
    path, raw = folder / "column.parquet", folder / "column.npy"
    write_ours(path, features, ids, X)
    np.save(raw, X)
    rows = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(folder / "cache"))
    assert np.array_equal(noisezoo.matrix(rows, NAME, None), X.reshape(n, -1))
    runs = [lambda: noisezoo.matrix(rows, NAME, None), lambda: np.load(raw), lambda: rows[:][NAME]]
    ours, load, listed = least(runs[:2], 10 * repeats) + least(runs[2:], 1)
    formatted = rows.with_format("numpy")
    arrays = least([lambda: formatted[:][NAME]], repeats)[0]
    size, mine = f"matrix of {X.nbytes / 1e6:.0f} MB as stored", f"{ours * 1e3:.2f} ms"
    yield Row(f"{size}, np.load", mine, f"{load * 1e3:.1f} ms", ours / load, "<= 1.5")
    yield Row(f"{size}, dataset[:][column]", mine, f"{listed * 1e3:.0f} ms", listed / ours, ">= 10")
    yield Row(f"{size}, the same in numpy format", mine, f"{arrays * 1e3:.0f} ms", arrays / ours, ">= 10")


def streams(folder: Path, repeats: int) -> Iterator[Row]:
    """One stream of labels and a view, whose ids are checked, against the plain streams of the two configs."""
    build = str(folder / "build")

    def ours(form: str | None) -> int:
        rows = noisezoo.load(build, views=["planted"], streaming=True).with_format(form)
        return sum(1 for _ in rows)

    def plain(form: str | None) -> int:
        configs = (load_dataset(build, config, streaming=True).values() for config in ("labels", "planted"))
        return sum(1 for splits in configs for rows in splits for _ in rows.with_format(form)) // 2

    for what, form in (("lists", None), ("numpy arrays", "numpy")):
        n = ours(form)
        assert n == plain(form)
        mine, other = least([partial(ours, form), partial(plain, form)], repeats)
        label = f"stream of labels and one view as {what}, the configs' plain streams"
        yield Row(label, f"{n / mine:.0f} rows/s", f"{n / other:.0f} rows/s", mine / other, "<= 1.5")


CARD = """---
configs:
{}
---
"""
LOAD = "from noisezoo.loading import load_config, open_place; load_config(open_place('me/data'), 'view-3')"


def moved(folder: Path, n: int) -> Iterator[Row]:
    """Bytes that leave a Hub when one view of eight is loaded, against those of that view's files."""
    ids, _ = planted(n)
    data = folder / "hub"
    for k in range(8):
        name = f"view-{k}"
        (data / name).mkdir(parents=True)
        X = np.random.default_rng(k).standard_normal((n, 4, 16, 16)).astype(np.float16)
        features = view_features(NAME, X.shape[1:], "float16")
        write_ours(data / name / "train-00000-of-00001.parquet", features, ids, X)
    path = "view-{0}/train-00000-of-00001.parquet"
    entry = f"- {{{{config_name: view-{{0}}, data_files: [{{{{split: train, path: [{path}]}}}}]}}}}"
    (data / "README.md").write_text(CARD.format("\n".join(entry.format(k) for k in range(8))))
    with HubServer() as server:
        upload = "from huggingface_hub import HfApi; a = HfApi(); a.create_repo('me/data', repo_type='dataset'); "
        server.run(f"{upload}a.upload_folder(repo_id='me/data', folder_path={str(data)!r}, repo_type='dataset')", data)
        server.seen.clear()
        server.run(LOAD, folder / "home")
        sent = server.downloaded()
    wanted = (data / "view-3" / "train-00000-of-00001.parquet").stat().st_size
    moved_bytes = sum(size for path, size in sent.items() if path.endswith(".parquet"))
    yield Row("bytes of Parquet sent for one view of eight, that view's", str(moved_bytes), str(wanted),
              moved_bytes / wanted, "<= 1")  # fmt: skip


def memory(folder: Path, sizes: dict[str, tuple[tuple[int, ...], int]]) -> Iterator[Row]:
    """Peaks of processes that write, and that publish, n and 4n rows; `sizes`: shape of a row, and n."""
    for what, (shape, n) in sizes.items():
        for stage in ("write", "publish"):
            few, many = (peak(stage, folder / f"{what}-{rows}", rows, shape) for rows in (n, 4 * n))
            label = f"peak memory, {stage}, {what}: {4 * n} rows, {n} rows"
            yield Row(label, f"{many:.0f} MiB", f"{few:.0f} MiB", many / few, "<= 1.10")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller sizes, about a minute")
    small = parser.parse_args().small
    pa.set_cpu_count(1)
    n, repeats = (512, 3) if small else (2048, 5)
    sizes = {"large rows": ((4, 128, 128), n // 4)} | ({} if small else {"tiny rows": ((1, 2, 2), 25_000)})
    print(f"{'':<66} {'ours':>12} {'peer':>12} {'ratio':>8}  {'goal':>8}")
    with tempfile.TemporaryDirectory(dir=_HOME.name) as name:
        folder = Path(name)
        tables = [writing(folder, n, repeats), streams(folder, repeats), matrices(folder, n, repeats),
                  moved(folder, n), memory(folder, sizes)]  # fmt: skip
        for table in tables:
            for row in table:
                print(row, flush=True)


if __name__ == "__main__":
    main()
