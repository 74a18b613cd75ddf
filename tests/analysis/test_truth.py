"""Known noise: errors of inversion in closed form, and what a judge's errors do to accuracies, by simulation."""

from typing import Any

import numpy as np
import pytest

from noisezoo.analysis.controls import corrected, inversion_error, share_of_signal
from noisezoo.analysis.core import Interval


def rates(rng: np.random.Generator, n: int = 1500, real: int = 400) -> tuple[Interval, dict[str, int], float, float]:
    """A probe right in 80 and 75 %, a judge in 90 and 85 %: accuracy on its labels, counts, calls, truth."""
    y = rng.random(n) < 0.35
    probe = np.where(y, rng.random(n) < 0.80, rng.random(n) < 0.25)
    judge = np.where(y, rng.random(n) < 0.90, rng.random(n) < 0.15)
    known = rng.random(real) < 0.5
    seen = np.where(known, rng.random(real) < 0.90, rng.random(real) < 0.15)
    counts = {"positives": int(known.sum()), "hits": int((known & seen).sum()),
              "negatives": int((~known).sum()), "rejections": int((~known & ~seen).sum())}  # fmt: skip
    hit, rejected = probe[judge].mean(), 1 - probe[~judge].mean()
    half = 1.96 / 2 * (hit * (1 - hit) / judge.sum() + rejected * (1 - rejected) / (~judge).sum()) ** 0.5
    centre = (hit + rejected) / 2
    return Interval(centre, centre - half, centre + half), counts, float(judge.mean()), (0.80 + 0.75) / 2


def test_a_judge_s_errors_are_undone_and_its_accuracy_is_in_the_interval() -> None:
    rng = np.random.default_rng(0)
    inside, raw, widths, estimates = [], [], [], []
    for seed in range(300):
        seen, counts, calls, truth = rates(rng)
        found = corrected([seen.estimate], seen, [counts], [calls], seed=seed)
        inside.append(found.low <= truth <= found.high)
        raw.append(seen.low <= truth <= seen.high)
        widths.append((found.high - found.low) / (seen.high - seen.low))
        estimates.append(found.estimate - truth)
    assert np.mean(raw) < 0.05, "the labels' errors must matter for this to mean anything"
    assert np.mean(inside) > 0.92
    assert abs(np.mean(estimates)) < 0.01
    assert np.median(widths) > 1.3


def test_a_judge_without_errors_changes_nothing_and_one_at_chance_leaves_nothing_known() -> None:
    seen = Interval(0.7, 0.65, 0.75)
    perfect = {"positives": 10**7, "hits": 10**7, "negatives": 10**7, "rejections": 10**7}
    found = corrected([0.7], seen, [perfect], [0.5])
    assert (found.estimate, found.low, found.high) == pytest.approx((0.7, 0.65, 0.75), abs=1e-4)
    blind = {"positives": 200, "hits": 104, "negatives": 200, "rejections": 100}
    assert np.isnan([*vars_of(corrected([0.7], seen, [blind], [0.5]))]).all()


def vars_of(interval: Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high


def test_the_mean_over_attributes_is_the_mean_of_the_corrected_ones() -> None:
    rng = np.random.default_rng(1)
    drawn = [rates(rng) for _ in range(4)]
    single = [corrected([seen.estimate], seen, [counts], [calls]).estimate for seen, counts, calls, _ in drawn]
    estimates, counts, calls = [d[0].estimate for d in drawn], [d[1] for d in drawn], [d[2] for d in drawn]
    mean = Interval(float(np.mean(estimates)), float(np.mean(estimates)) - 0.02, float(np.mean(estimates)) + 0.02)
    assert corrected(estimates, mean, counts, calls).estimate == pytest.approx(np.mean(single))


def test_a_share_s_interval_covers_that_of_paired_estimates() -> None:
    rng, covered = np.random.default_rng(2), []
    root = np.linalg.cholesky([[0.02**2, 0.6 * 0.02 * 0.015], [0.6 * 0.02 * 0.015, 0.015**2]])
    spreads = (0.02, 0.015, (0.02**2 + 0.015**2 - 2 * 0.6 * 0.02 * 0.015) ** 0.5)
    for _ in range(1000):
        a, b = np.array([0.68, 0.86]) + root @ rng.standard_normal(2)
        part, whole, difference = (Interval(x, x - 1.96 * s, x + 1.96 * s)
                                   for x, s in zip((a, b, a - b), spreads, strict=True))  # fmt: skip
        found = share_of_signal(part, whole, difference)
        covered.append(found.low <= 0.18 / 0.36 <= found.high)
    assert 0.93 < np.mean(covered) < 0.97
    assert np.isnan(share_of_signal(Interval(0.5, 0.4, 0.6), Interval(0.52, 0.49, 0.55), Interval(0, 0, 0)).estimate)


def test_errors_of_inversion_are_those_of_the_closed_forms() -> None:
    T = np.random.default_rng(3).standard_normal((50, 400))
    shrunk = inversion_error(0.6 * T, T)
    np.testing.assert_allclose(shrunk.rows, [[0.4, 1.0]] * 50, atol=1e-6)
    E = np.random.default_rng(4).standard_normal(T.shape)
    mixed = inversion_error(0.8 * T + 0.6 * E, T)  # |x - t| = |-0.2 t + 0.6 e|, and the cosine is 0.8
    records: dict[str, Any] = {row["measure"]: row for row in mixed.records()}
    assert records["cosine"]["low"] < 0.8 < records["cosine"]["high"]
    assert records["relative error"]["estimate"] == pytest.approx(0.4**0.5, abs=0.02)
    assert records["cosine"]["p05"] < records["cosine"]["median"] < records["cosine"]["p95"]


@pytest.mark.parametrize("other", [np.ones((3, 5)), np.zeros((4, 5))])
def test_noise_of_another_shape_or_of_zeros_is_refused(other: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be alike, and no row may be zero"):
        inversion_error(other, np.ones((4, 5)))
