import numpy as np
import pytest

from noisezoo.analysis.core.intervals import interval_of_rate, null_of_draws, null_of_rates, wilson


def test_a_null_of_draws_is_students_and_says_nothing_below_two() -> None:
    draws = np.random.default_rng(0).standard_normal((4000, 11))
    p_values = np.array([null_of_draws(row[0], row[1:]).p_value for row in draws])
    assert [np.mean(p_values <= level) for level in (0.01, 0.05, 0.5)] == pytest.approx([0.01, 0.05, 0.5], abs=0.02)
    assert np.isnan(null_of_draws(1.0, np.array([0.5])).p_value)


def test_draws_that_are_all_equal_tell_ranks_only() -> None:
    assert null_of_draws(1.0, np.array([0.5, 0.5])).p_value == pytest.approx(1 / 3)
    assert null_of_draws(0.5, np.array([0.5, 0.5])).p_value == 1


@pytest.mark.parametrize(("rate", "least"), [(0.05, 0.01), (0.25, 0.035)])  # few hits leave few levels to reject at
def test_rates_are_rejected_no_more_often_than_nominal_and_stay_in_bounds(rate: float, least: float) -> None:
    drawn = np.random.default_rng(1).binomial(60, rate, (4000, 21)) / 60
    nulls = [null_of_rates(row[0], row[1:]) for row in drawn]
    assert least <= np.mean([null.p_value <= 0.05 for null in nulls]) <= 0.06
    assert min(null.low for null in nulls) >= 0


def test_the_interval_of_independent_hits_is_wilsons_and_copies_do_not_narrow_it() -> None:
    hits = (np.arange(50) < 20).astype(float)
    found = interval_of_rate(hits, np.arange(50), 0.95)
    assert (found.low, found.high) == pytest.approx([float(end) for end in wilson(20, 50)])
    copied = interval_of_rate(np.repeat(hits, 3), np.repeat(np.arange(50), 3), 0.95)
    assert copied.low <= found.low and copied.high >= found.high
    assert (copied.low, copied.high) == pytest.approx((found.low, found.high), abs=0.01)  # Student's instead of normal
    assert interval_of_rate(np.ones(50), np.arange(50), 0.95).low == pytest.approx(float(wilson(50, 50)[0]))
