"""Schemes against a reference, and conditioned against unconditional: what was planted between views."""

import numpy as np
import pytest
from numpy.typing import NDArray

from noisezoo.analysis import ProbeTable, compare, gaussianity, probe_table
from noisezoo.analysis.controls.variants import compare_variants, difference_of_differences

Floats = NDArray[np.float64]
NAMES = ["Smiling", "Bald"]
METRIC = "balanced_accuracy"


def view(latent: Floats, noise: float, seed: int) -> Floats:
    return latent + noise * np.random.default_rng(seed).standard_normal(latent.shape)


def tables(seed: int, noises: dict[str, float], n: int = 400, n_splits: int = 16) -> dict[str, ProbeTable]:
    latent = np.random.default_rng([seed, 0]).standard_normal((n, 8))
    Y = (latent[:, :2] > 0).astype(float)
    return {name: probe_table(view(latent, noise, 10 * seed + i), Y, NAMES, n_permutations=0, n_splits=n_splits)
            for i, (name, noise) in enumerate(noises.items())}  # fmt: skip


@pytest.fixture(scope="module")
def schemes() -> dict[str, ProbeTable]:
    return tables(1, {"ddim-50": 1.0, "heun-50": 0.3, "ddim-20": 1.0})


def test_each_variant_is_compared_with_the_reference_in_pairs(schemes: dict[str, ProbeTable]) -> None:
    found = compare_variants(schemes, "ddim-50", metrics=(METRIC,))
    means = {row["variant"]: row for row in found.records() if row["of"] == "mean"}
    assert set(means) == {"heun-50", "ddim-20"}
    assert means["heun-50"]["low"] > 0
    assert means["ddim-20"]["low"] < 0 < means["ddim-20"]["high"]
    expected = compare(schemes["heun-50"], schemes["ddim-50"], metrics=(METRIC,)).mean[METRIC]
    assert means["heun-50"]["estimate"] == expected.estimate


def test_acceptances_are_subtracted_with_newcombes_interval(schemes: dict[str, ProbeTable]) -> None:
    rng = np.random.default_rng(2)
    X = {"ddim-50": rng.standard_normal((300, 20)), "heun-50": rng.standard_exponential((300, 3))}
    tests = {name: gaussianity(rows, n_projections=100) for name, rows in X.items()}
    rows = [r for r in compare_variants(schemes, "ddim-50", gaussianity=tests).records() if r["figure"] == "acceptance"]
    found = {row["of"]: row for row in rows}["projections, anderson-darling"]
    a, b = (tests[name].row("projections", "anderson-darling") for name in ("heun-50", "ddim-50"))
    assert found["estimate"] == pytest.approx(a.acceptance - b.acceptance)
    assert found["low"] == pytest.approx(found["estimate"] - np.hypot(a.acceptance - a.low, b.high - b.acceptance))
    assert found["high"] < -0.3


def test_training_that_adds_more_to_the_conditioned_model_is_seen() -> None:
    t = tables(3, {"sd": 0.2, "sd-untrained": 1.5, "ddpm": 1.0, "ddpm-untrained": 1.5})
    found = difference_of_differences((t["sd"], t["sd-untrained"]), (t["ddpm"], t["ddpm-untrained"]), metrics=(METRIC,))
    one = compare(t["sd"], t["sd-untrained"], metrics=(METRIC,)).mean[METRIC].estimate
    two = compare(t["ddpm"], t["ddpm-untrained"], metrics=(METRIC,)).mean[METRIC].estimate
    assert found.mean[METRIC].low > 0
    assert found.mean[METRIC].estimate == pytest.approx(one - two)


def test_equal_gains_differ_by_nothing_at_the_nominal_rate() -> None:
    held = []
    for seed in range(16):
        t = list(tables(100 + seed, {"a": 0.5, "b": 1.5, "c": 0.5, "d": 1.5}, n=120, n_splits=6).values())
        interval = difference_of_differences((t[0], t[1]), (t[2], t[3]), metrics=(METRIC,)).mean[METRIC]
        held.append(interval.low <= 0 <= interval.high)
    assert sum(held) >= 13  # of 16 intervals of 95 %: fewer in one of 140


def test_tables_that_cannot_be_compared_are_refused(schemes: dict[str, ProbeTable]) -> None:
    with pytest.raises(ValueError, match="the reference 'edict' is not among the variants"):
        compare_variants(schemes, "edict")
    others = tables(2, {"x": 1.0}, n=300)
    with pytest.raises(ValueError, match="the two tables differ in"):
        compare_variants({**schemes, **others}, "ddim-50")
    with pytest.raises(ValueError, match="the two tables differ in"):
        difference_of_differences((schemes["ddim-50"], others["x"]), (schemes["ddim-50"], schemes["heun-50"]))
