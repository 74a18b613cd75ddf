"""The stages of a view's work (encode, network, ...): what each takes of the clock, and what of it fits the memory."""

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from noisezoo.errors import NoiseZooError

T = TypeVar("T")
MEMORY_FAULTS = ("out of memory", "can't allocate memory")
"""What the messages of a GPU's and of the CPU's allocator say."""


class Stages:
    """Runs one view's stages over batches.

    Attributes:
        sizes: Stage -> how many images go through it at once: the recipe's batch size, until that did not fit.
    """

    def __init__(self, view: str, batch_size: int) -> None:
        self.view, self.batch_size = view, batch_size
        self.sizes: dict[str, int] = {}
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
        """Wall seconds of each stage since this was last asked."""
        taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken

    def run(self, stage: str, function: Callable[[slice], T], n: int) -> list[T]:
        """`function` over 0..n in parts that fit the memory; its results, in order.

        Where a part does not fit it is halved, again and again, and later batches are cut to the size that did.

        Raises:
            NoiseZooError: One image alone does not fit.
        """
        done: list[T] = []
        start = 0
        self.sizes.setdefault(stage, self.batch_size)
        while start < n:
            part = slice(start, min(n, start + self.sizes[stage]))
            try:
                with self.timed(stage):
                    done.append(function(part))
                start = part.stop
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = " ".join(str(error).split())[:200]
            self._halve(stage, part.stop - part.start, reason)  # only here are the failed attempt's tensors gone
        return done

    def _halve(self, stage: str, tried: int, reason: str) -> None:
        if tried == 1:
            raise NoiseZooError(
                f"view {self.view}: one image does not fit into memory ({stage}: {reason}); use --set dtype=bfloat16, "
                "--set vae_tiling=true or --set vae_slicing=true, or a device with more memory"
            )
        self.sizes[stage] = tried // 2
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on whatever device."""
    return isinstance(error, MemoryError) or any(fault in str(error).lower() for fault in MEMORY_FAULTS)
