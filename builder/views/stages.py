"""The stages of a view's work (encode, network, reconstruct): how many images at once, and seconds by the clock."""

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from noisezoo.errors import NoiseZooError

Result = TypeVar("Result", np.ndarray, dict[str, np.ndarray])

MEMORY_FAULTS = ("out of memory", "can't allocate memory")
"""What the messages of a GPU's and of the CPU's allocator say."""

LIBRARY_FAULTS = (
    "cublas_status_alloc_failed", "cublas_status_not_initialized", "cudnn_status_alloc_failed",
    "cudnn_status_internal_error", "cudnn_status_not_initialized", "cusolver_status_alloc_failed",
    "cusolver_status_internal_error", "cufft_alloc_failed", "unable to find an engine", "no valid engine configs",
)  # fmt: skip
"""What a GPU's libraries say where their workspace does not fit, but for other reasons too."""


@dataclass(frozen=True)
class Shortage:
    """A batch that did not fit into memory: stage, images tried and images from then on."""

    stage: str
    tried: int
    then: int
    reason: str


class Stages:
    """Runs one view's stages over batches.

    A row's numbers may depend on its batch's shape, on an accelerator even on its place in it. There every batch is
    therefore filled up to its stage's size, and each picture keeps its place whatever becomes of the others: one
    shape, for which a network is compiled once.

    Attributes:
        sizes: Stage -> images at once: as chosen before the work, or less after a shortage.
        filled: Whether batches are filled up: on accelerators. On a CPU a batch holds its pictures alone.
        shortages: Batches that did not fit since `take_shortages`.
    """

    def __init__(self, view: str, batch_size: int) -> None:
        self.view, self.batch_size, self.filled = view, batch_size, False
        self.sizes: dict[str, int] = {}
        self._shortages: list[Shortage] = []
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the block's wall seconds as the stage's."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += time.perf_counter() - started

    def take_seconds(self) -> dict[str, float]:
        """Wall seconds of each stage since the last call."""
        taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken

    def take_shortages(self) -> list[Shortage]:
        """Batches that did not fit since the last call."""
        taken, self._shortages = self._shortages, []
        return taken

    def run(self, stage: str, function: Callable[[np.ndarray], Result], places: np.ndarray) -> list[Result]:
        """`function` over pictures in batches that fit the memory; the results of the pictures there are, in order.

        A batch that does not fit is halved, again and again, and later batches are cut to the size that did.

        Args:
            stage: Name of the stage.
            function: Indices of pictures, (b,) int -> one row each, b in the first dimension.
            places: (n,) int. Index of each picture, or -1 in the place of one that there is not.

        Raises:
            NoiseZooError: One image alone does not fit.
        """
        done: list[Result] = []
        start = 0
        places = places if self.filled else places[places >= 0]
        self.sizes.setdefault(stage, self.batch_size)
        while start < len(places):
            part = places[start : start + self.sizes[stage]]
            there = np.flatnonzero(part >= 0)
            try:
                if len(there):
                    with self.timed(stage):
                        done.append(_rows(function(self._batch(part, stage)), there))
                start += len(part)
                continue
            except (RuntimeError, MemoryError) as error:
                tried = self.sizes[stage] if self.filled else len(part)
                if not is_shortage(error, tried):
                    raise
                reason = " ".join(str(error).split())[:200]
            self._halve(stage, tried, reason)  # outside `except`, as the traceback keeps the failed tensors alive
        return done

    def _batch(self, part: np.ndarray, stage: str) -> np.ndarray:
        """The part's pictures, each in its place; elsewhere, and up to the stage's size, the first of them again."""
        if not self.filled:
            return part
        batch = np.full(self.sizes[stage], part[part >= 0][0])
        batch[: len(part)] = np.where(part >= 0, part, batch[0])
        return batch

    def _halve(self, stage: str, tried: int, reason: str) -> None:
        if tried == 1:
            raise NoiseZooError(
                f"view {self.view}: one image does not fit into memory ({stage}: {reason}); use --set dtype=bfloat16, "
                "--set vae_tiling=true or --set vae_slicing=true, or a device with more memory"
            )
        self.sizes[stage] = tried // 2
        self._shortages.append(Shortage(stage, tried, tried // 2, reason))
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on whatever device."""
    return isinstance(error, MemoryError) or any(fault in str(error).lower() for fault in MEMORY_FAULTS)


def is_shortage(error: BaseException, batch: int) -> bool:
    """Whether a smaller batch may help: memory ran out, or a library failed as it does where memory ran out.

    A library's fault with one image alone is taken for what it says.
    """
    library = any(fault in str(error).lower() for fault in LIBRARY_FAULTS)
    return is_out_of_memory(error) or (batch > 1 and library)


def _rows(result: Any, rows: np.ndarray) -> Any:
    """Some rows of arrays; the arrays themselves where these are all rows."""
    if isinstance(result, dict):
        return {name: _rows(array, rows) for name, array in result.items()}
    return result if len(rows) == len(result) else result[rows]
