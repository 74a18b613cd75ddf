import numpy as np
import pytest
from scipy import stats

from noisezoo.analysis.gaussian.false_discovery import benjamini_hochberg, benjamini_yekutieli

PROCEDURES = {"bh": benjamini_hochberg, "by": benjamini_yekutieli}


@pytest.mark.parametrize("method", PROCEDURES)
@pytest.mark.parametrize("planted", [0, 3, 40, 200])
def test_rejections_are_those_of_scipys_adjusted_p_values(method: str, planted: int) -> None:
    rng = np.random.default_rng(planted)
    p = rng.random(200)
    p[:planted] **= 6
    p[5] = p[6]  # a tie
    for q in (0.01, 0.05, 0.3):
        expected = stats.false_discovery_control(p, method=method) <= q
        np.testing.assert_array_equal(PROCEDURES[method](p, q), expected)


def test_a_true_null_is_rejected_at_most_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((400, 1))
    p = stats.norm.sf(0.7 * shared + np.sqrt(1 - 0.49) * rng.standard_normal((400, 50)))  # positively dependent
    for method in PROCEDURES.values():
        wrong = sum(method(row, 0.1).any() for row in p)
        assert wrong <= stats.binom.ppf(0.999, 400, 0.1)


@pytest.mark.parametrize(
    ("p", "q", "says"), [([], 0.05, "at least one"), ([0.5, np.nan], 0.05, "NaN"), ([0.5], 0, "q")]
)
def test_what_is_no_p_value_is_refused(p: list[float], q: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        benjamini_yekutieli(p, q)
