"""What listing and freezing a folder of small pictures costs, against a plain walk of it.

    python -m benchmarks.bench_sources            # 20,000 files, seconds
    python -m benchmarks.bench_sources --files 2000

The peer is the least that anything can do which sees every file once: `os.walk` and a `stat` of each. A build's first
unit begins when `prepare` returns: its manifest then holds each picture's hash, and no later process lists the folder.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from benchmarks.ratios import Row, show
from noisezoo.builder.engine.build import prepare
from noisezoo.builder.recipe import make_recipe
from noisezoo.builder.sources.imagefolder import ImageFolder

ALLOWED = 5.0
"""Times the walk within which the first unit must begin."""
FOLDERS = 20


def make_folder(root: Path, files: int) -> None:
    """Write JPEG files of 8 pixels a side, each with a comment of its own, in class folders."""
    for k in range(files):
        folder = root / f"class {k % FOLDERS:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), k % 256).save(folder / f"{k:06d}.jpg", comment=str(k).encode())


def walk(root: Path) -> int:
    """Number of files, each looked at once."""
    paths = (os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
    return sum(os.stat(path).st_size > 0 for path in paths)


def elapsed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and the result: waiting for the file system counts."""
    started = time.perf_counter()
    result = run()
    return time.perf_counter() - started, result


def rows(root: Path, repeats: int = 5) -> Iterator[Row]:
    """The listing alone, then all that comes before the first unit; the best of several runs, taken turn by turn."""
    recipe = make_recipe({
        "name": "tiny", "source": {"name": f"imagefolder:{root / 'photos'}"}, "views": ["pixels-8"],
    })  # fmt: skip
    listed: list[tuple[float, Any]] = []
    frozen: list[tuple[float, Any]] = []
    walked: list[tuple[float, Any]] = []
    for k in range(repeats):
        walked.append(elapsed(lambda: walk(root / "photos")))
        listed.append(elapsed(lambda: ImageFolder(str(root / "photos")).scan()))
        frozen.append(elapsed(lambda k=k: prepare(recipe, root / f"out{k}")))  # type: ignore[misc]
    peer, count = min(walked)
    for what, runs, number in (
        ("list a folder", listed, lambda table: len(table)),
        ("list, hash and freeze it: the first unit begins", frozen, lambda build: len(build.manifest)),
    ):
        ours, found = min(runs, key=lambda run: run[0])
        agreement = f"{number(found):,} of {count:,} files; {ours / peer:.1f} times the walk, {ALLOWED:g} allowed"
        yield Row(f"{what}, {count:,} files", ours, peer, agreement)


def main() -> None:
    """Print the rows; exit with 1 where the first unit begins too late."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    with TemporaryDirectory() as folder:
        make_folder(Path(folder) / "photos", parser.parse_args().files)
        found = list(rows(Path(folder)))
    show([found])
    sys.exit(found[-1].ours > ALLOWED * found[-1].peer)


if __name__ == "__main__":
    main()
