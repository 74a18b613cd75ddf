"""The factors' distribution: stated rates, independence, and correlations exactly where they are planted."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from noisezoo.builder.sources.faces import FIRST_TRAINING_FACE, Faces
from noisezoo.builder.sources.faces.factors import ATTRIBUTES, NUISANCES, Correlation, Factors, face_factors, toggled
from noisezoo.builder.sources.source import open_source
from noisezoo.errors import UsageError

N = 4000
PAIRS = list(combinations(ATTRIBUTES, 2))


@pytest.fixture(scope="module")
def factors() -> Factors:
    return face_factors(range(N))


def phi(factors: Factors, first: str, second: str) -> float:
    return float(np.corrcoef(factors[first], factors[second])[0, 1])


def bonferroni(tests: int) -> float:
    """How large |r| sqrt(n) may be by chance in this many tests together, at 1 %."""
    return float(stats.norm.isf(0.01 / 2 / tests)) / N**0.5


def test_attributes_have_their_stated_rates(factors: Factors) -> None:
    p = [stats.binomtest(int(factors[name].sum()), N, rate).pvalue for name, rate in ATTRIBUTES.items()]
    assert min(p) > 0.01 / len(ATTRIBUTES)


def test_nuisances_are_uniform_over_their_ranges(factors: Factors) -> None:
    p = [stats.kstest(factors[name], "uniform", (low, high - low)).pvalue for name, (low, high) in NUISANCES.items()]
    assert min(p) > 0.01 / len(NUISANCES)


def test_attributes_are_pairwise_independent(factors: Factors) -> None:
    assert max(abs(phi(factors, *pair)) for pair in PAIRS) < bonferroni(len(PAIRS))


def test_attributes_are_independent_of_every_nuisance(factors: Factors) -> None:
    pairs = [(a, b) for a in ATTRIBUTES for b in NUISANCES]
    assert max(abs(phi(factors, *pair)) for pair in pairs) < bonferroni(len(pairs))


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ("Smiling", "Eyeglasses", 0.6),
        ("Eyeglasses", "Smiling", -0.4),
        ("Bald", "Wearing_Hat", 0.8),
        ("Bangs", "Bald", 0.0),
    ],
)
def test_a_planted_correlation_is_reached_and_no_other_pair_is_touched(first: str, second: str, wanted: float) -> None:
    planted = face_factors(range(N), correlations=[Correlation(first, second, wanted)])
    assert abs(phi(planted, first, second) - wanted) < 4 / N**0.5
    others = [pair for pair in PAIRS if set(pair) != {first, second}]
    assert max(abs(phi(planted, *pair)) for pair in others) < bonferroni(len(others))
    rates = [stats.binomtest(int(planted[name].sum()), N, ATTRIBUTES[name]).pvalue for name in (first, second)]
    assert min(rates) > 1e-3


def test_planting_a_correlation_changes_the_second_attribute_alone(factors: Factors) -> None:
    planted = face_factors(range(N), correlations=[Correlation("Smiling", "Bangs", 0.5)])
    assert [name for name in factors if not np.array_equal(planted[name], factors[name])] == ["Bangs"]


def test_two_planted_correlations_of_different_attributes_are_both_reached() -> None:
    both = [Correlation("Smiling", "Bangs", 0.5), Correlation("Mustache", "Big_Nose", 0.4)]
    planted = face_factors(range(N), correlations=both)
    assert abs(phi(planted, "Smiling", "Bangs") - 0.5) < 4 / N**0.5
    assert abs(phi(planted, "Mustache", "Big_Nose") - 0.4) < 4 / N**0.5


@pytest.mark.parametrize("other", [("Smiling", "Bald"), ("Bald", "Bangs"), ("Bangs", "Bald")])
def test_an_attribute_in_two_planted_correlations_is_refused(other: tuple[str, str]) -> None:
    # A chain would correlate pairs that nobody named, and a second leader would undo the first.
    with pytest.raises(UsageError, match="in two correlations"):
        face_factors([0], correlations=[Correlation("Smiling", "Bangs", 0.5), Correlation(*other, 0.3)])


def test_an_unreachable_correlation_is_refused_with_its_limit() -> None:
    p, q = ATTRIBUTES["Smiling"], ATTRIBUTES["Wearing_Hat"]
    limit = (min(p, q) - p * q) / (p * (1 - p) * q * (1 - q)) ** 0.5
    face_factors([0], correlations=[Correlation("Smiling", "Wearing_Hat", limit - 1e-9)])
    with pytest.raises(UsageError, match=f"the limit is {limit:.2f}"):
        face_factors([0], correlations=[Correlation("Smiling", "Wearing_Hat", limit + 0.01)])


@pytest.mark.parametrize("pair", [("Smiling", "Old"), ("Smiling", "Smiling")])
def test_a_correlation_of_no_two_attributes_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="Old|cannot have correlation"):
        face_factors([0], correlations=[Correlation(*pair, 0.2)])


def test_toggling_an_attribute_that_does_not_exist_is_refused_by_name(factors: Factors) -> None:
    with pytest.raises(UsageError, match="no attribute 'Old'"):
        toggled(factors, "Old")


def test_the_source_s_labels_are_the_true_factors(factors: Factors) -> None:
    table = Faces(count=50).scan()
    assert table.column("image_id").to_pylist()[7] == "faces-000000007"
    assert table.column("Smiling").to_pylist() == factors["Smiling"][:50].tolist()
    assert table.column("factor_roll").to_pylist() == factors["roll"][:50].tolist()
    assert set(Faces().label_features()) == set(table.column_names) - {"image_id", "key"}


def test_the_source_refuses_faces_that_trained_the_testbed() -> None:
    Faces(first=FIRST_TRAINING_FACE - 5, count=5)
    with pytest.raises(UsageError, match=f"stay below {FIRST_TRAINING_FACE}"):
        Faces(first=FIRST_TRAINING_FACE - 5, count=6)
    with pytest.raises(UsageError):
        Faces(first=-1, count=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 4}, "show nothing"), ({"colour": 1}, "colour"), ({"correlations": [{"first": "Smiling"}]}, "second")],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source("faces", options)
