"""What the ratio benchmarks share: how a run is timed, and a comparison as one line."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

WIDTH = 70


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: seconds of ours and of the peer's, and `agreement`, the check, in words and numbers."""

    what: str
    ours: float
    peer: float
    agreement: str

    def __str__(self) -> str:
        seconds = f"{self.ours:9.3f} s {self.peer:9.3f} s {self.peer / self.ours:8.1f}x"
        return f"{self.what:<{WIDTH}} {seconds}  {self.agreement}"


def timed(run: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Least processor time of several runs, in seconds, and the last result: others may share the machine."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        best = min(best, time.process_time() - start)
    return best, result


def show(tables: Iterable[Iterable[Row | str]]) -> None:
    """Print tables row by row as they are measured, on one thread."""
    print(f"{'':<{WIDTH}} {'ours':>11} {'peer':>11} {'ratio':>9}  agreement")
    with threadpool_limits(1):
        for table in tables:
            for row in table:
                print(row, flush=True)
