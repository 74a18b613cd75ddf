"""How fast units were committed: over the time in which processes were at work, whatever lay between their runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np


@dataclass(frozen=True)
class Done:
    """What a valid marker says of a unit's work.

    Attributes:
        rows: Images committed.
        refused: Images refused.
        started: When its work began, in seconds of the epoch by the clock of its host.
        seconds: What it took, by a clock that never jumps.
        attempt: The log of the process that committed it; empty where the marker names none.
        host: That process's host; empty likewise.
        bytes: Of its part.
    """

    rows: int
    refused: int
    started: float
    seconds: float
    attempt: str = ""
    host: str = ""
    bytes: int = 0

    @property
    def images(self) -> int:
        """Images that the unit is done with."""
        return self.rows + self.refused


@dataclass(frozen=True)
class Pace:
    """Work over a span of time.

    Attributes:
        images: Images done; of a unit that began before the span, its share.
        busy: Seconds of all processes together.
        span: Seconds in which at least one process was at work.
    """

    images: float = 0.0
    busy: float = 0.0
    span: float = 0.0

    @property
    def images_per_second(self) -> float | None:
        """Images over the span; None before the first unit."""
        return self.images / self.span if self.span > 0 else None

    @property
    def seconds_per_image(self) -> float | None:
        """Of one process."""
        return self.busy / self.images if self.images > 0 else None

    @property
    def processes(self) -> float:
        """At work at a time, on average."""
        return self.busy / self.span if self.span > 0 else 0.0


def pace(units: Sequence[Done], window: float = inf) -> Pace:
    """The pace of these units, over the last `window` seconds of work.

    A night between two runs counts for nothing: time is counted only where a unit was in work.
    """
    if not units:
        return Pace()
    starts, seconds, images = np.array([(unit.started, unit.seconds, unit.images) for unit in units]).T  # (n,) each
    order = np.argsort(starts)
    starts, seconds, images = starts[order], np.maximum(seconds[order], 1e-9), images[order]
    latest = np.maximum.accumulate(starts + seconds)
    gaps = np.concatenate([[0.0], np.maximum(starts[1:] - latest[:-1], 0.0)])
    starts = starts - starts[0] - gaps.cumsum()  # on the clock that stands still while nobody works
    total = float((starts + seconds).max())
    span = min(window, total)
    share = np.clip((starts + seconds - np.maximum(starts, total - span)) / seconds, 0.0, 1.0)
    return Pace(float(images @ share), float(seconds @ share), span)
