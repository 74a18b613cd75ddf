"""R2 by groups of targets: means of what stitching finds, a planted difference, and none where groups are alike."""

import numpy as np
import pytest

from noisezoo.analysis import r2_by_group, stitch

Views = dict[str, np.ndarray]  # type: ignore[type-arg]
GROUPS = {"a": "one", "b": "one", "c": "two"}


def planted(n: int, far: float, seed: int) -> tuple[np.ndarray, np.ndarray, Views]:  # type: ignore[type-arg]
    """X = S + N, a baseline of S + 2 M, and targets S + E, but the last `far` S + E."""
    rng = np.random.default_rng([seed, 94])
    S, N, M, *E = rng.standard_normal((6, n, 3))
    return S + N, S + 2 * M, {name: (far if name == "c" else 1) * S + E[k] for k, name in enumerate(GROUPS)}


def test_means_gains_and_differences_are_those_of_stitching() -> None:
    X, B, targets = planted(150, 2.0, 1)
    rows = r2_by_group(X, targets, GROUPS, baseline=B, n_splits=1, n_permutations=0).records()
    of = {name: [stitch(A, Y, n_permutations=0).r2.estimate for A in (X, B)] for name, Y in targets.items()}
    one, two = (np.mean([of["a"], of["b"]], axis=0), np.array(of["c"]))
    expected = [one[0], two[0], one[1], two[1], one[0] - one[1], two[0] - two[1]]
    expected.append(expected[4] - expected[5])
    assert [row["estimate"] for row in rows] == pytest.approx(expected, abs=1e-6)
    named = [(row["group"], row["against"], row["targets"]) for row in rows]
    assert named[-3:] == [("one", "", 2), ("two", "", 1), ("one", "two", 0)]
    alone = r2_by_group(X, targets, GROUPS, n_splits=1, n_permutations=0).records()
    assert [row["estimate"] for row in alone] == pytest.approx([one[0], two[0], one[0] - two[0]], abs=1e-6)


def test_a_planted_difference_is_held() -> None:
    """R2 of s S + E by S + c N is s^2 / (s^2 + 1) over 1 + c^2."""
    X, B, targets = planted(3000, 2.0, 0)
    rows = r2_by_group(X, targets, GROUPS, baseline=B, n_splits=6).records()
    gains = [0.5 * (1 / 2 - 1 / 5), 0.8 * (1 / 2 - 1 / 5)]
    for row, truth in zip(rows[4:], [*gains, gains[0] - gains[1]], strict=True):
        assert row["estimate"] == pytest.approx(truth, abs=0.03) and row["low"] < truth < row["high"]
    assert rows[0]["p_value"] < 1e-3 and abs(rows[0]["null"]) < 0.01


@pytest.mark.parametrize("people", [False, True])
def test_groups_that_are_alike_differ_at_the_nominal_rate(people: bool) -> None:
    """40 seeds: 99.9 % of a binomial of 40 at 0.05 is 8."""
    missed = 0
    for seed in range(40):
        X, B, targets = planted(90, 1.0, seed)
        groups = np.repeat(np.arange(90), 2) if people else None
        if people:
            X, B, targets = np.repeat(X, 2, 0), np.repeat(B, 2, 0), {k: np.repeat(Y, 2, 0) for k, Y in targets.items()}
        row = r2_by_group(X, targets, GROUPS, baseline=B, groups=groups, n_folds=3, n_splits=6, n_permutations=0,
                          seed=seed).records()[-1]  # fmt: skip
        missed += not row["low"] <= 0 <= row["high"]
    assert missed <= 8


def test_bad_input_is_refused() -> None:
    X, B, targets = planted(60, 1.0, 2)
    with pytest.raises(ValueError, match="at least one target"):
        r2_by_group(X, {}, {})
    with pytest.raises(ValueError, match="X has 60 rows and the baseline has 30"):
        r2_by_group(X, targets, GROUPS, baseline=B[:30])
