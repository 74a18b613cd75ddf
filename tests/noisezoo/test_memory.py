"""Memory does not grow with the number of rows: peaks of processes that do one thing each."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import product
from math import prod
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from datasets import Features, Value
from PIL import Image

from noisezoo import schema
from noisezoo.builder.dataset import layout as published
from noisezoo.builder.dataset.finish import finish
from noisezoo.builder.engine.build import Build, open_build, prepare
from noisezoo.builder.engine.log import Log
from noisezoo.builder.recipe import make_recipe
from noisezoo.builder.sources.source import SOURCES, Source
from tests.builder.building import in_child

SHAPE = (4, 128, 128)
"""Of one row: 128 KiB, so that few rows weigh much beside the libraries."""
importing: Any = import_module("noisezoo.builder.dataset.import_arrays")
BLANKS = {"blanks": "tests.noisezoo.test_memory:Blanks"}
ROOT = Path(__file__).parents[2]
CHILD = "from tests.noisezoo.test_memory import peaks; peaks({!r}, {!r})"
STATUS = Path("/proc/self/status")
STAGES = ("write", "publish", "import")
PLAIN = {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_MMAP_THRESHOLD_": "65536"}
"""What is freed goes back at once: allocators that keep some for later make a peak vary by a fifth from run to run."""


class Blanks(Source):
    """Any number of blank pictures of one pixel."""

    license = "cc0-1.0"

    def __init__(self, rows: str) -> None:
        self._ids = [f"{i:07d}" for i in range(int(rows))]

    def scan(self) -> pa.Table:
        return pa.table({"image_id": self._ids, "key": self._ids, "even": [i % 2 == 0 for i in range(len(self._ids))]})

    def label_features(self) -> Features:
        return Features({"even": Value("bool")})

    def content(self, key: str) -> bytes:
        return b"\0"

    def decode(self, content: bytes) -> Image.Image:
        return Image.frombytes("L", (1, 1), content)


def write_parts(root: Path, rows: int, shape: tuple[int, ...], slice_rows: int) -> Build:
    """All parts of a build of random rows, as a build writes them."""
    from noisezoo.builder.engine.worker import work

    row = {"name": "planted", "kind": "control", "family": "random", "repo": "", "resolution": 1, "shape": shape,
           "license": "cc0-1.0", "gflops": 0.0, "about": "random rows"}  # fmt: skip
    settings = {"reconstruct": 0, "batch_size": slice_rows, "readers": 1}
    recipe = make_recipe({"name": "memory", "source": {"name": f"blanks:{rows}"}, "rows": [row], "views": ["planted"],
                          "settings": settings, "slice_rows": slice_rows, "pca_dims": 16})  # fmt: skip
    with patch.dict(SOURCES, BLANKS):
        build = prepare(recipe, root)
        work(build, Log(build.state / "logs"))
    return build


def import_rows(root: Path, rows: int, shape: tuple[int, ...], block: int) -> None:
    """A published file of random rows, written block by block, made a dataset."""
    file = root.with_name(f"{root.name}-theirs") / "noises_sdxl.npy"
    file.parent.mkdir()
    mapped = np.lib.format.open_memmap(file, "w+", np.float16, (rows, *shape))  # type: ignore[no-untyped-call]
    del mapped
    for start in range(0, rows, block):
        part = np.load(file, mmap_mode="r+")
        part[start : start + block] = np.random.default_rng(start).standard_normal((block, *shape))
    importing.import_arrays(file.parent, Blanks(str(rows)), root / "imported", name="blanks", split="all", pca_dims=16,
                            shard_rows=block)  # fmt: skip


def do(stage: str, root: Path, rows: int, shape: tuple[int, ...] = SHAPE, block: int = 16) -> None:
    """Do one stage of a build of `rows` rows in `root`, `block` rows at a time, and print the peak in kB.

    Row groups, blocks and the rows of the fit have caps of their own, beyond a test's sizes: they are brought below.
    """
    stages: dict[str, Callable[[], object]] = {
        "write": partial(write_parts, root, rows, shape, block),
        "publish": lambda: finish(open_build(root)),
        "import": partial(import_rows, root, rows, shape, block),
    }
    caps = [
        patch.multiple(published, PCA_ROWS=block, CHUNK=block), patch.object(importing, "CHUNK", block),
        patch.object(schema, "NOISE_ROWS_PER_GROUP", block),
    ]  # fmt: skip
    with caps[0], caps[1], caps[2]:
        stages[stage]()
    # not getrusage's maxrss: that begins at what the parent held when it started this process
    print(re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[0], flush=True)


def peaks(root: str, rows: tuple[int, ...]) -> None:
    """Print the peak of a process for each stage and number of rows; all are forked from one that has the libraries."""
    import_module("torch")
    for stage, n in product(STAGES, rows):
        assert in_child(partial(do, stage, Path(root) / str(n), n), seconds=300) == 0


@pytest.mark.skipif("VmHWM" not in (STATUS.read_text() if STATUS.exists() else ""), reason="no peak of its own to read")
def test_peak_memory_of_each_stage_stays_within_a_tenth_at_four_times_the_rows(
    tmp_path: Path,
) -> None:
    few, many = 128, 512
    added = (many - few) * prod(SHAPE) * 2 / 2**20  # 48 MiB: beside the libraries' 430, ten percent would hide it
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | PLAIN | {"PYTHONPATH": path}
    code = CHILD.format(str(tmp_path), (few, many))
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = np.array([int(line) for line in run.stdout.split()]).reshape(len(STAGES), 2) / 1024
    for stage, (small, large) in zip(STAGES, found, strict=True):
        assert large - small <= min(small, added) / 10, f"{stage}: {small:.0f} MiB at {few} rows, {large:.0f} at {many}"
