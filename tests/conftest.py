"""What all tests share: no network, caches of their own, one thread, and small built datasets to look at."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test imports `datasets` or `huggingface_hub`, which read these once.
_CACHE = Path(tempfile.mkdtemp(prefix="noisezoo-tests-"))
os.environ |= {
    "HF_HOME": str(_CACHE), "HF_HUB_CACHE": str(_CACHE / "hub"), "HF_DATASETS_CACHE": str(_CACHE / "datasets"),
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1",
}  # fmt: skip

# What is compared with was computed on a CPU. `NOISEZOO_TEST_GPUS=0` shows GPU 0 to the tests that are about GPUs.
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("NOISEZOO_TEST_GPUS", "")

# A shell's background job begins with SIGINT ignored, and so would every program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the caches away."""
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(autouse=True)
def zoo_rows() -> Iterator[None]:
    """Take away the rows that a test, or a recipe that it read, has added to the zoo."""
    from noisezoo import zoo

    rows, before = zoo.ROWS, dict(zoo.ROWS)
    yield
    rows.clear()
    rows.update(before)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset of 40 digits, in a folder called `noisezoo`; for looking at, not for changing."""
    from noisezoo.builder.__main__ import run
    from tests.builder.building import digits_recipe

    folder = tmp_path_factory.mktemp("built") / "noisezoo"
    assert run(digits_recipe(), folder)
    return folder


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Iterator[Path]:
    """The same dataset, for changing."""
    folder = tmp_path / "noisezoo"
    shutil.copytree(built, folder)
    yield folder
