"""What verifying costs: its time against hashing and reading the same files, and its memory as rows grow.

    python -m benchmarks.bench_verify            # about a minute
    python -m benchmarks.bench_verify --small    # seconds

The dataset is a synthetic one of the published layout: one noise view, its PCA in `paired`, one encoder, labels. The
peer does what any check of a dataset must: SHA-256 of every file and `pyarrow.parquet.read_table` of every Parquet.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.finish import seal
from noisezoo.builder.dataset.layout import write_config
from noisezoo.builder.recipe import Settings
from noisezoo.files import sha256_of
from noisezoo.record import LABELS, RECIPE, REFUSALS, Section
from noisezoo.schema import ID, SPLIT, to_table, view_features
from noisezoo.zoo import View

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

RATIO, GROWTH = 1.5, 1.10
BLOCK, FITTED = 256, 512
VIEWS = {"noise": (4, 64, 64), "encoder": (768,)}


def make_dataset(root: Path, rows: int, shard_rows: int) -> None:
    """Write `rows` images of two views and labels, and seal them: ids, then arrays drawn block by block."""
    from datasets import Features, Value

    rows_of_zoo = [View(n, "control", "random", "", 64, s, "MIT", 0.0, "drawn") for n, s in VIEWS.items()]
    views = [{**asdict(row), "shape": list(row.shape), "dtype": row.dtype} for row in rows_of_zoo]
    settings = Settings(reconstruct=0).model_dump(mode="json")
    splits = {
        "train": FITTED,
        "test": rows - FITTED,
    }  # a small first split: the basis, which is fitted on it, is soon had
    section = Section(
        source="drawn", title="drawn", prefix="", license="mit", license_name="", sensitive=False, scanned=rows,
        refused=0, removed=0, splits=splits, views=tuple(views), settings=settings,
        software={"noisezoo": "0.1.0"}, devices=("cpu",), pca_dims=64, shard_rows=shard_rows,
    )  # fmt: skip
    labels = Features({ID: Value("string"), SPLIT: Value("string"), "label": Value("bool")})
    write_config(root, section, LABELS, labels, partial(_labels, splits, labels))
    for name, shape in VIEWS.items():
        features = view_features(name, shape, _dtype(shape), ("latent_mean", "latent_std") if name == "noise" else ())
        write_config(root, section, name, features, partial(_arrays, splits, name, features))
    (root / REFUSALS).write_text("")
    (root / RECIPE).write_text("{}\n")
    seal(root, (section,))


def _dtype(shape: tuple[int, ...]) -> str:
    return "float16" if len(shape) == 3 else "float32"


def _ids(split: str, start: int, stop: int) -> list[str]:
    return [f"{split}-{row:09d}" for row in range(start, stop)]


def _labels(splits: dict[str, int], features: "Features", split: str) -> "Iterator[pa.Table]":
    for start in range(0, splits[split], BLOCK):
        n = min(BLOCK, splits[split] - start)
        yield to_table(features, {ID: _ids(split, start, start + n), SPLIT: [split] * n, "label": [True] * n})


def _arrays(splits: dict[str, int], name: str, features: "Features", split: str) -> "Iterator[pa.Table]":
    rng, shape = np.random.default_rng(0), VIEWS[name]
    for start in range(0, splits[split], BLOCK):
        n = min(BLOCK, splits[split] - start)
        array = rng.standard_normal((n, *shape), dtype=np.float32).astype(_dtype(shape))
        quality = {column: np.zeros(n, np.float32) for column in ("latent_mean", "latent_std")}
        yield to_table(features, {ID: _ids(split, start, start + n), name: array, **quality})


def hash_and_read(root: Path) -> None:
    """The peer."""
    import pyarrow.parquet as pq

    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        sha256_of(path)
        if path.suffix == ".parquet":
            pq.read_table(path)


def timed(run: Callable[[], object], repeats: int) -> float:
    """Least wall time of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def checked(root: Path) -> None:
    """Verify, and make sure that there was something to verify and nothing wrong with it."""
    report = verify(root)
    report.raise_if_bad()
    assert report.rows


def own_peak() -> int:
    """Peak resident bytes of this process (Linux); getrusage's would be the parent's where that had more."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def peak_of_verifying(root: Path) -> int:
    """Peak resident bytes of a process that verifies and does nothing else."""
    done = subprocess.run([sys.executable, __file__, "--peak", str(root)], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def main() -> None:
    """Print the ratio and the growth, each with its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds instead of a minute")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak is not None:
        checked(options.peak)
        print(own_peak())
        return
    rows = 1024 if options.small else 2048
    with TemporaryDirectory() as folder:
        small, large = Path(folder) / "small", Path(folder) / "large"
        for root, count in ((small, rows), (large, 4 * rows)):
            make_dataset(root, count, shard_rows=1024)
        checked(small)  # imports
        ours, peer = (timed(lambda run=run: run(large), 3) for run in (checked, hash_and_read))  # type: ignore[misc]
        size = sum(path.stat().st_size for path in large.rglob("*") if path.is_file())
        print(f"{4 * rows} rows, {size / 1e6:.0f} MB: verify {ours:.2f} s, sha256 and read_table {peer:.2f} s")
        print(f"ratio {ours / peer:.2f} (at most {RATIO})")
        peaks = [peak_of_verifying(root) for root in (small, large)]
        print(f"peak at {rows} rows {peaks[0] / 1e6:.0f} MB, at {4 * rows} rows {peaks[1] / 1e6:.0f} MB")
        print(f"growth {peaks[1] / peaks[0]:.3f} (at most {GROWTH})")


if __name__ == "__main__":
    main()
