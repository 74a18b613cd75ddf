"""Planted correlations: closed forms of the shift, coverage of its intervals, and drawn faces."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from noisezoo.analysis.controls.spurious import REMOVED, SpuriousShift, spurious_shift
from noisezoo.analysis.studies.data import Data, Part
from noisezoo.analysis.studies.spurious import Spurious
from noisezoo.analysis.studies.study import Analysis, Effort, Options
from noisezoo.builder.sources.faces.factors import Correlation, face_factors, toggled
from noisezoo.builder.sources.faces.render import render

Floats = NDArray[np.float64]
KINDS = ("class means", "lda")
D = 12
EFFECTS = np.eye(2, D) * 2  # A and B each move a coordinate of its own


def tied(n: int, phi: float, rng: np.random.Generator) -> Floats:
    """Labels (n, 2), each one half, with correlation phi."""
    a = rng.random(n) < 0.5
    b = np.where(rng.random(n) < abs(phi), a if phi > 0 else ~a, rng.random(n) < 0.5)
    return np.stack([a, b], axis=1).astype(float)


def rows(Y: Floats, rng: np.random.Generator) -> Floats:
    return Y @ EFFECTS + rng.standard_normal((len(Y), D))


class Faces(Data):
    """A dataset of one view in memory, two thirds of it for training."""

    def __init__(self, Y: Floats) -> None:
        self.X = rows(Y, np.random.default_rng(0)).astype(np.float32)
        self.Y, self.names, self.views = Y.astype(np.int8), ["Hat", "Glasses"], ["noise"]
        self.train, self.groups = np.arange(len(Y)) % 3 > 0, None

    def __len__(self) -> int:
        return len(self.X)

    def features(self, view: str) -> NDArray[np.float32]:
        return self.X

    def part(self, max_rows: int, seed: int, most_axes: int | None = None) -> Part:
        return Part(self, max_rows, seed, most_axes)


def studied(Y: Floats, max_rows: int) -> dict[str, Any]:
    view = {"name": "noise", "kind": "noise", "family": "diffusers", "untrained": False, "baseline": None}
    analysis = Analysis({"dataset": {"recipe": None}, "views": [view]}, {})
    Spurious().run(Faces(Y), analysis, Options(effort=Effort(max_rows=max_rows)))
    return dict(analysis.results["spurious"])


def planted(phi: float, seed: int, n: int = 400, **settings: object) -> SpuriousShift:
    rng = np.random.default_rng(seed)
    Y, Y_test = tied(n, phi, rng), tied(n, 0.0, rng)
    settings = {"reader": "lda", **settings}
    return spurious_shift(rows(Y, rng), Y, rows(Y_test, rng), Y_test, seed=seed, **settings)  # type: ignore[arg-type]


def test_class_means_shift_by_phi_when_both_attributes_move_rows_alike() -> None:
    # The means of A differ by effect_A + phi effect_B, and effects are as long as each other and orthogonal.
    for phi in (0.6, -0.4):
        found = planted(phi, 0, n=4000, kinds=("class means",), n_splits=2)
        assert found.shift("class means", "reading", "plain").estimate == pytest.approx(phi, abs=0.1)
        assert found.phi == pytest.approx(phi, abs=0.05)


def test_fishers_direction_is_hardly_shifted_because_it_divides_by_what_correlates_within_classes() -> None:
    found = planted(0.6, 1, n=4000, kinds=KINDS, n_splits=2)
    lda, means = (abs(found.shift(kind, "reading", "plain").estimate) for kind in ("lda", "class means"))
    assert lda < 0.6 * means


def test_orthogonalising_takes_the_shift_away_and_past_zero_where_the_reader_of_b_has_learnt_a() -> None:
    found = planted(0.6, 2, n=1500, kinds=("class means",), reader="probe", n_splits=4)
    for asked in ("reading", "edit"):
        plain, after, removed = (
            found.shift("class means", asked, treatment) for treatment in ("plain", "orthogonalised", REMOVED)
        )
        assert plain.low > 0.3
        assert -plain.estimate < after.estimate < 0
        assert removed.high < 0 and removed.estimate == pytest.approx(after.estimate - plain.estimate)


def test_intervals_hold_the_planted_shift_at_their_nominal_rate_and_the_null_stays_at_zero() -> None:
    held, null = [], []
    for seed in range(200):
        found = planted(0.5, 1000 + seed, n=300, kinds=("class means",))
        interval = found.shift("class means", "reading", "plain")
        held.append(interval.low <= 0.5 <= interval.high)
        null.append(found.records()[0]["null"])
    assert 0.91 <= np.mean(held) <= 0.99
    assert abs(np.mean(null)) < 0.02


def test_a_correlation_in_the_test_rows_is_a_caveat_and_a_perfect_one_is_refused() -> None:
    rng = np.random.default_rng(4)
    Y, Y_test = tied(300, 0.5, rng), tied(300, 0.5, rng)
    X, X_test = rows(Y, rng), rows(Y_test, rng)
    found = spurious_shift(X, Y, X_test, Y_test, names=("Smiling", "Bald"), kinds=("class means",))
    assert "Smiling and Bald are correlated in the test rows as well" in found.to_dict()["caveats"][0]
    same = np.repeat(Y_test[:, :1], 2, axis=1)
    with pytest.raises(ValueError, match="A and B cannot be told apart in the test rows"):
        spurious_shift(X, Y, X_test, same)
    with pytest.raises(ValueError, match="must be two columns"):
        spurious_shift(X, Y[:, :1], X_test, Y_test)
    with pytest.raises(ValueError, match="one view in both"):
        spurious_shift(X[:, :5], Y, X_test, Y_test)


def test_a_direction_that_holds_nothing_of_its_attribute_gives_no_shift_but_a_caveat() -> None:
    rng = np.random.default_rng(5)
    Y, Y_test = tied(300, 0.5, rng), tied(300, 0.0, rng)
    noise = rng.standard_normal((2, 300, D))
    found = spurious_shift(noise[0], Y, noise[1], Y_test, kinds=("class means",), reader="lda")
    assert np.isnan(found.shift("class means", "reading", "plain").estimate)
    assert "does not hold A in every half" in found.to_dict()["caveats"][0]
    assert found.to_dict()["rows"][0]["estimate"] is None


FIRST, SECOND, SIDE, PARTNERS = "Eyeglasses", "Wearing_Hat", 12, 80


@pytest.fixture(scope="module")
def faces() -> dict[float, SpuriousShift]:
    """Pixels of drawn faces, trained where glasses come with hats or do not, asked of counterfactual partners."""
    test = face_factors(range(10_000, 10_000 + PARTNERS))
    partners = [toggled(toggled(test, FIRST, a), SECOND, b) for a in (False, True) for b in (False, True)]
    X_test, Y_test = (np.concatenate(each) for each in zip(*map(drawn, partners), strict=True))
    found = {}
    for phi in (0.0, 0.7):
        X, Y = drawn(face_factors(range(500), correlations=[Correlation(FIRST, SECOND, phi)]))
        found[phi] = spurious_shift(X, Y, X_test, Y_test, names=(FIRST, SECOND), kinds=("class means",), n_splits=4,
                                    groups_test=np.tile(np.arange(PARTNERS), 4))  # fmt: skip
    return found


def drawn(factors: dict[str, NDArray[np.generic]]) -> tuple[NDArray[np.float32], Floats]:
    pictures = render(factors, SIDE).reshape(len(factors[FIRST]), -1)
    return (pictures / 127.5 - 1).astype(np.float32), np.stack([factors[FIRST], factors[SECOND]], axis=1).astype(float)


def test_adding_glasses_learnt_where_they_come_with_hats_adds_hats(faces: dict[float, SpuriousShift]) -> None:
    free, with_hats = (faces[phi].shift("class means", "edit", "plain") for phi in (0.0, 0.7))
    assert faces[0.7].phi > 0.6 and abs(faces[0.0].phi) < 0.1 and faces[0.7].phi_test == pytest.approx(0)
    assert with_hats.low > free.high and free.low < 0.02 < with_hats.low


def test_orthogonalising_takes_the_hats_out_of_the_glasses(faces: dict[float, SpuriousShift]) -> None:
    plain, after, removed = (
        faces[0.7].shift("class means", "edit", treatment) for treatment in ("plain", "orthogonalised", REMOVED)
    )
    assert removed.high < 0
    assert abs(after.estimate) < 0.5 * plain.estimate


def test_the_study_trains_on_no_more_images_than_asked_and_says_so() -> None:
    Y = tied(900, 0.6, np.random.default_rng(1))
    whole, some = studied(Y, 900), studied(Y, 300)
    assert (whole["n"], whole["caveats"]) == (600, [])
    assert 150 < some["n"] < 250 and some["n_test"] == whole["n_test"]
    assert some["caveats"] == [f"trained on {some['n']} of 600 images of the training split"]


def test_the_study_says_where_the_images_it_trains_on_hold_too_few_of_an_attribute() -> None:
    Y = tied(900, 0.6, np.random.default_rng(1))
    Y[1::3, 0], Y[2::3, 0] = 0, 0
    Y[1:16:3, 0] = 1
    found = studied(Y, 900)
    assert found["rows"] == []
    assert found["caveats"] == ["fewer than 10 training rows with Hat and Glasses each present and absent"]


def people(seed: int) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """60 identities of 1 to 6 rows (n, 6): A moves the first coordinate by 3, and B is a coin of the identity."""
    rng = np.random.default_rng([seed, 57])
    groups = np.repeat(np.arange(60), rng.integers(1, 7, 60))
    Y = (rng.random((60, 2)) < 0.5).astype(float)[groups]
    X = rng.standard_normal((60, 6))[groups] + 0.3 * rng.standard_normal((len(groups), 6))
    return X + 3 * Y[:, :1] * np.eye(1, 6), Y, groups


def test_an_attribute_of_identities_that_is_not_in_the_rows_shifts_neither_the_reading_nor_the_edit_of_another() -> (
    None
):
    """100 seeds, 99.9 % of a binomial at 0.05; with rows taken for independent, 29 % of intervals miss zero.

    A reader of what is not there is an arbitrary direction. Where it had to be taken for a reader, the intervals of
    edits missed zero in 9 to 17 % of 150 seeds; of 300 others a shift was given in 16, and 2 of those missed zero.
    """
    missed, seeds, unread = {"reading": 0, "edit": 0}, 100, 0
    for seed in range(seeds):
        (X, Y, groups), (X_test, Y_test, groups_test) = people(2 * seed), people(2 * seed + 1)
        found = spurious_shift(X, Y, X_test, Y_test, kinds=("class means",), reader="lda", groups=groups,
                               groups_test=groups_test, seed=seed)  # fmt: skip
        unread += found.caveats == ("B is not read in every half of the test rows: no shift of an edit is given.",)
        for asked in missed:
            shift = found.shift("class means", asked, "plain")
            missed[asked] += shift.low > 0 or shift.high < 0
            assert asked == "edit" or np.isfinite(shift.estimate)
    assert max(missed.values()) <= binom.ppf(0.999, seeds, 0.05), missed
    assert unread > 0.8 * seeds


def test_an_attribute_that_moves_rows_by_a_deviation_or_less_is_read_in_every_half() -> None:
    """Of 400 rows; where B moves them by 0.3 deviations half of 60 studies give a shift, by 0.5 57 of them."""
    rng = np.random.default_rng(7)
    effects = np.diag([2.0, 0.8]) @ np.eye(2, D)
    Y, Y_test = tied(400, 0.5, rng), tied(400, 0.0, rng)
    X, X_test = (labels @ effects + rng.standard_normal((400, D)) for labels in (Y, Y_test))
    found = spurious_shift(X, Y, X_test, Y_test, kinds=("class means",), reader="lda")
    assert np.isfinite(found.shift("class means", "edit", "plain").estimate) and not found.caveats
