import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, pearsonr

from noisezoo.analysis.controls.profile import (
    ProfileCorrelation,
    _gradient,
    _row,
    profile_correlation,
)
from noisezoo.analysis.core.halves import Estimate
from noisezoo.analysis.probes.table import ProbeTable, probe_table

Floats = NDArray[np.float64]
NAMES = [f"attribute {j}" for j in range(12)]
NONE = np.empty((0, 30), dtype=np.intp)
"""No permutation."""


@pytest.fixture(scope="module")
def tables() -> dict[str, ProbeTable]:
    """Attributes that two views find easy and hard alike, a control of another order, all on the same rows."""
    rng = np.random.default_rng(0)
    L = rng.standard_normal((700, 12))
    Y = (L + 0.2 * rng.standard_normal((700, 12)) > 0).astype(float)
    level = np.linspace(0.2, 3, 12)
    levels = {"noise": level, "clip": level, "pixels": rng.permutation(level)}
    views = {name: L + noise * rng.standard_normal((700, 12)) for name, noise in levels.items()}
    return {name: probe_table(X, Y, NAMES, n_permutations=0) for name, X in views.items()}


def test_the_correlation_is_pearsons_over_attributes(tables: dict[str, ProbeTable]) -> None:
    found = profile_correlation(tables["noise"], tables["clip"], {"pixels": tables["pixels"]})
    scores = {name: [i.estimate for i in t.intervals["balanced_accuracy"]] for name, t in tables.items()}
    peer = pearsonr(scores["noise"], scores["clip"])
    assert found.correlation.estimate == pytest.approx(peer.statistic)
    assert found.correlation.p_value == pytest.approx(1 / 10_001)
    assert found.controls["pixels"].estimate == pytest.approx(pearsonr(scores["pixels"], scores["clip"]).statistic)
    assert found.controls["pixels"].p_value == pytest.approx(
        pearsonr(scores["pixels"], scores["clip"]).pvalue, rel=0.2, abs=0.01
    )


def test_a_profile_that_follows_more_than_the_control_does_is_told_apart(tables: dict[str, ProbeTable]) -> None:
    found = profile_correlation(tables["noise"], tables["clip"], {"pixels": tables["pixels"]})
    difference = found.differences["pixels"]
    assert difference.over_both.low > 0
    assert found.correlation.over_images.low > 0.8
    itself = profile_correlation(tables["noise"], tables["clip"], {"again": tables["noise"]}).differences["again"]
    assert (itself.estimate, itself.over_both.low, itself.over_both.high) == (0, 0, 0)


def test_the_derivatives_are_those_of_the_correlation() -> None:
    p, q = np.random.default_rng(1).standard_normal((2, 9))
    r, by_p, by_q = _gradient(p, q)
    step = 1e-6 * np.eye(9)
    np.testing.assert_allclose(by_p, [(_gradient(p + s, q)[0] - r) / 1e-6 for s in step], atol=1e-5)
    np.testing.assert_allclose(by_q, [(_gradient(p, q + s)[0] - r) / 1e-6 for s in step], atol=1e-5)


def noisy(truth: Floats, sd: float, rng: np.random.Generator) -> Estimate:
    """An estimate of k scores with error `sd`, and half-sample contrasts of that error."""
    k, splits, units = len(truth), 16, 50
    value = np.vstack([truth, np.zeros((splits, k))]) + sd * rng.standard_normal((1 + splits, k))
    influence = sd / np.sqrt(units) * rng.choice([-1.0, 1.0], (1 + splits, units, k))
    return Estimate(value, influence.astype(np.float32))


def test_intervals_over_images_and_attributes_hold_the_correlation_of_the_population() -> None:
    rng = np.random.default_rng(2)
    rho, sigma = 0.7, 0.35
    held, below = [], []
    for _ in range(200):
        own = rng.standard_normal((3, 30))
        p, o, q = sigma * (np.sqrt(rho) * rng.standard_normal(30) + np.sqrt(1 - rho) * own)
        e_p, e_o, e_q = (noisy(truth, 0.1 * sigma, rng) for truth in (p, o, q))
        expected = rho / (1 + 0.01)  # attenuated by the error of the scores
        row = _row("", [e_p], e_q, NONE, 0.95)
        held.append(row.over_both.low <= expected <= row.over_both.high)
        difference = _row("", [e_p, e_o], e_q, NONE, 0.95)
        below.append(difference.over_both.low <= 0 <= difference.over_both.high)
    assert 0.92 <= np.mean(held) <= 0.99
    assert 0.92 <= np.mean(below) <= 0.99


def test_for_given_attributes_the_interval_counts_the_images_alone() -> None:
    rng = np.random.default_rng(3)
    p, q = rng.standard_normal((2, 30)) + rng.standard_normal(30)
    found = [_row("", [noisy(p, 0.2, rng)], noisy(q, 0.2, rng), NONE, 0.95) for _ in range(200)]
    centre = np.tanh(np.mean([np.arctanh(row.estimate) for row in found]))
    held = np.mean([row.over_images.low <= centre <= row.over_images.high for row in found])
    assert 0.91 <= held <= 0.99
    assert all(r.over_both.high - r.over_both.low > r.over_images.high - r.over_images.low for r in found)


def nearly_repeated(seed: int, shared: str, clusters: int = 6, each: int = 3) -> ProfileCorrelation:
    """Two views of 120 rows and 18 attributes: 6 latents, of each the sign three times, with 5 % of it flipped.

    Either view holds the latents in noise of 0.3 to 3 standard deviations, in an order of its own or the same one; or
    nothing.
    """
    rng = np.random.default_rng([seed, 31])
    L = rng.standard_normal((120, clusters))
    Y = (np.repeat(L, each, axis=1) > 0) ^ (rng.random((120, clusters * each)) < 0.05)
    hard = np.linspace(0.3, 3, clusters)
    orders = {"order": [hard] * 2, "no order": [rng.permutation(hard) for _ in range(2)]}.get(shared)
    noise = rng.standard_normal((2, *L.shape))
    views = [L + level * own for level, own in zip(orders, noise, strict=True)] if orders else noise
    tables = [probe_table(X, Y.astype(float), [f"{j}" for j in range(clusters * each)], n_permutations=0, n_splits=2,
                          seed=seed) for X in views]  # fmt: skip
    return profile_correlation(*tables, {}, n_permutations=499, seed=seed)


@pytest.mark.parametrize("shared", ["no order", "nothing"])
def test_attributes_that_nearly_repeat_each_other_do_not_make_profiles_agree(shared: str) -> None:
    """40 seeds, 99.9 % of a binomial at 0.05. Of 300 others 4 % and 5 %; each counted alone, of 40 28 and 20 %."""
    found = [nearly_repeated(seed, shared) for seed in range(40)]
    assert all(len(f.names) == 18 and "count as one" in f.caveats[-1] for f in found)
    agree = sum(f.correlation.p_value <= 0.05 for f in found)
    assert agree <= binom.ppf(0.999, 40, 0.05), agree


def test_profiles_that_agree_are_found_among_attributes_that_nearly_repeat_each_other() -> None:
    """Six latents read equally well by both views, from a noise of 0.3 to one of 3: in 33 of 40 other seeds."""
    assert sum(nearly_repeated(seed, "order").correlation.p_value <= 0.05 for seed in range(100, 115)) >= 9


def test_records_are_a_row_a_correlation_and_say_what_their_intervals_are_over(tables: dict[str, ProbeTable]) -> None:
    views = ("SD noise", "CLIP")
    found = profile_correlation(tables["noise"], tables["clip"], {"pixels": tables["pixels"]}, views=views)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [row["what"] for row in plain["rows"]] == [
        "SD noise with CLIP", "pixels with CLIP", "SD noise minus pixels, with CLIP"]  # fmt: skip
    assert "other attributes" in plain["intervals"]


def test_tables_that_cannot_be_compared_are_refused(tables: dict[str, ProbeTable]) -> None:
    rng = np.random.default_rng(4)
    X, Y = rng.standard_normal((200, 3)), (rng.random((200, 3)) < 0.5).astype(float)
    few = probe_table(X, Y, NAMES[:3], n_permutations=0, n_splits=2)
    with pytest.raises(ValueError, match="3 attributes in common"):
        profile_correlation(few, few, {})
    other = probe_table(rng.standard_normal((200, 3)), (rng.random((200, 12)) < 0.5).astype(float), NAMES)
    with pytest.raises(ValueError, match="differ in rows"):
        profile_correlation(tables["noise"], other, {})
    with pytest.raises(ValueError, match="metric must be one of"):
        profile_correlation(tables["noise"], tables["clip"], {}, metric="f1")
