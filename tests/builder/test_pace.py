"""How fast units were committed, whatever lay between the runs and whatever the clocks did."""

import numpy as np
import pytest

from noisezoo.builder.launch.status import UNIT, pace

NIGHT = 12 * 3600.0


def done(*units: tuple[int, int, float, float]) -> np.ndarray:
    """Units by (images committed, images refused, start, seconds)."""
    return np.array([(True, *unit, 0, 0) for unit in units], UNIT)


def span_of(intervals: list[tuple[float, float]], step: float = 0.01) -> float:
    """Length of the union of intervals, by counting grid points in any of them."""
    grid = np.arange(min(a for a, _ in intervals), max(b for _, b in intervals), step) + step / 2
    return float(sum(any(a <= t < b for a, b in intervals) for t in grid) * step)


def test_pace_counts_the_time_in_which_anybody_worked() -> None:
    rng = np.random.default_rng(0)
    spans = [(float(a), float(a + d)) for a, d in zip(rng.uniform(0, 60, 12), rng.uniform(0.5, 6, 12), strict=True)]
    found = pace(done(*((5, 1, a, b - a) for a, b in spans)))
    assert found.span == pytest.approx(span_of(spans), abs=0.2)
    assert found.busy == pytest.approx(sum(b - a for a, b in spans))
    assert found.images_per_second == pytest.approx(12 * 6 / found.span)


def test_a_night_between_two_runs_slows_nothing_and_the_recent_pace_is_the_last_run_s() -> None:
    evening = [(10, 0, 100.0 * i, 100.0) for i in range(9)]
    morning = [(10, 0, NIGHT + 10.0 * i, 10.0) for i in range(10)]
    assert pace(done(*evening, *morning)).images_per_second == pytest.approx(190 / 1000)
    assert pace(done(*morning, *evening), window=50).images_per_second == pytest.approx(1.0)
    half = pace(done(*evening, *morning), window=150)  # of the evening's last unit, a half
    assert (half.images, half.span) == (pytest.approx(105), 150)
    assert pace(done()).images_per_second is None


def test_a_clock_that_ran_backwards_gives_no_negative_pace() -> None:
    assert (pace(done((4, 0, 50.0, -3.0), (4, 0, 10.0, 2.0))).images_per_second or 0) > 0
