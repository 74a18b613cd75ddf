"""How Gaussian are the rows of a matrix: families of tests, each with its calibration on true Gaussian rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import AnyArray, Blocks, Floats, Rows, as_rows, one_of_each, refuse_settings, units_of
from .families import FAMILIES, PAPER, PROJECTIONS, UNIVARIATE, spreads_over_rows
from .result import GaussianityResult, corrected
from .sample import Sample

Nulls = Mapping[str, Floats]
_MAX_AXES = 50


def gaussianity(
    X: AnyArray | Blocks,
    *,
    n_projections: int = 1000,
    n_samples: int | None = None,
    alpha: float = 0.05,
    seed: int = 42,
    n_null: int | None = None,
    families: Sequence[str] = tuple(FAMILIES),
    groups: ArrayLike | None = None,
) -> GaussianityResult:
    """Test the rows of X (n, d), n >= 20, against the multivariate Gaussian law.

    Families: by the tests of Anderson and Darling, D'Agostino and Pearson, and Epps and Pulley random unit projections
    (the paper's Table 1, which is blind in high dimension: by the central limit theorem nearly every projection of
    independent non-Gaussian coordinates is Gaussian), coordinates and leading principal axes (standardised scores of a
    Gaussian are uniform on a sphere, so that univariate tests hold as they are); the norm ratio
    var(|x|^2) / (2 tr S^2), Mardia's kurtosis (1970) on the leading axes, and his skewness and the BHEP test on the
    first ten.

    Time is linear in n, and X is only ever read by blocks of rows and panels of columns; beside it this holds a few
    float32 matrices of n x n_projections. Where both sides of X exceed 2048 the leading axes are of a subspace
    iteration, and tr S^2 is read off the projections with a standard error that the norm's range includes.

    Args:
        X: An array or torch tensor of any real dtype (half precisions are tested as float32), or `Blocks`.
        n_projections: number of directions, uniform on the sphere.
        n_samples: rows to use, drawn without replacement; the paper used 250. None: all of them.
        alpha: level of every univariate test that is accepted or not, and of all words together: the probability that
            anything departs in Gaussian rows (see `GaussianityRow`).
        seed: decides directions, rows and null replicates.
        n_null: null replicates; None: 1 / alpha - 1, the fewest that can reject at alpha. The skewness and the BHEP
            test, cheap as they are, get ten times as many.
        families: names of the families to run.
        groups: (n,) identities. Every test takes rows as independent, so that one row of each group is tested, drawn by
            the seed: a caveat says so.

    Raises:
        ValueError: fewer than 20 rows or groups, a level outside (0, 1), no projection or replicate, `n_samples`
            outside [20, n], an unknown family, no column that varies, NaN or infinite values, or not a matrix of real
            numbers.
    """
    refuse_settings(alpha=alpha, n_projections=n_projections, n_null=n_null, seed=seed)
    n_null = ceil(round(1 / alpha, 9)) - 1 if n_null is None else n_null
    sample = sample_of(X, n_projections=n_projections, seed=seed, n_samples=n_samples, groups=groups)
    return examine(sample, null_replicates(sample, families, n_null, alpha), n_null, alpha)


def paper_gaussianity(
    X: AnyArray | Blocks,
    *,
    n_samples: int = 250,
    n_projections: int = 1000,
    alpha: float = 0.05,
    seed: int = 42,
    n_null: int | None = None,
    groups: ArrayLike | None = None,
) -> GaussianityResult:
    """Table 1 of the UNE paper, as it was done: `n_samples` rows of X (n, d), random projections, two tests at alpha.

    What the paper lacks is beside every rate: Wilson's interval over directions, and the rate of a true Gaussian of
    the same n, d and covariance (0.949 for Anderson-Darling, 0.947 for D'Agostino-Pearson and 0.913 for both, at
    n = 250), and how far the rate swings from rows to rows (`spread`). Arguments as in `gaussianity`.

    Raises:
        ValueError: as `gaussianity`.
    """
    refuse_settings(alpha=alpha, n_projections=n_projections, n_null=n_null, seed=seed)
    n_null = ceil(round(1 / alpha, 9)) - 1 if n_null is None else n_null
    sample = sample_of(X, n_projections=n_projections, seed=seed, n_samples=n_samples, groups=groups)
    found = examine(sample, null_replicates(sample, [PROJECTIONS], n_null, alpha), n_null, alpha)
    spread = spreads_over_rows(sample.projected.some, alpha, seed)
    rows = [replace(row, spread=spread[row.test]) for row in found.rows if row.test in PAPER]
    return replace(found, rows=corrected(rows, alpha))


def sample_of(
    X: AnyArray | Blocks,
    *,
    n_projections: int,
    seed: int,
    n_samples: int | None = None,
    groups: ArrayLike | None = None,
) -> Sample:
    """The rows of X, or `n_samples` of them, or one of each group, under test; the rest as in `gaussianity`."""
    index = _chosen(rows := as_rows(X, min_rows=20), n_samples, seed, groups)
    rows = rows if index is None else as_rows(rows.take(index))
    n, d = rows.shape
    return Sample(rows, n_projections, max(1, min(_MAX_AXES, d, n // 10)), seed, independent=groups is None)


def null_replicates(sample: Sample, families: Sequence[str], n_null: int, alpha: float) -> Nulls:
    """What each of `families` measures on Gaussian rows of the sample's size and covariance.

    Raises:
        ValueError: a family that does not exist.
    """
    unknown = [name for name in families if name not in FAMILIES]
    if unknown or not families:
        raise ValueError(f"families must be some of {', '.join(FAMILIES)}, not {list(families)}")
    return {name: FAMILIES[name].null(sample, n_null, alpha) for name in families}


def examine(sample: Sample, nulls: Nulls, n_null: int, alpha: float) -> GaussianityResult:
    """The families that have null replicates, on a sample."""
    found = [row for name, null in nulls.items() for row in FAMILIES[name].rows(sample, null, alpha)]
    p_values = {
        (name, test): p for name, both in sample.p_values.items() for test, p in zip(UNIVARIATE, both, strict=True)
    }
    return GaussianityResult(
        rows=corrected(found, alpha),
        p_values=p_values,
        n=sample.rows.shape[0],
        d=sample.rows.shape[1],
        n_projections=sample.n_projections,
        n_axes=sample.led.scores.shape[1] if sample.led else 0,
        n_null=n_null,
        constant_coordinates=int(sample.moments.constant.sum()),
        repeated_rows=sample.moments.repeated,
        caveats=tuple(_caveats(sample)),
        alpha=alpha,
        seed=sample.seed,
    )


def _chosen(rows: Rows, n_samples: int | None, seed: int, groups: ArrayLike | None) -> NDArray[np.intp] | None:
    n = rows.shape[0]
    if groups is None and n_samples is None:
        return None
    those = np.arange(n) if groups is None else one_of_each(units_of(n, groups), seed)
    what = "rows of X" if groups is None else "groups of rows of X"
    if len(those) < 20:
        raise ValueError(f"{len(those)} {what} are too few: one row of each is tested, and tests need 20")
    if n_samples is not None and not 20 <= n_samples <= len(those):
        raise ValueError(f"n_samples must lie between 20 and the {len(those)} {what}, not {n_samples}")
    return np.sort(np.random.default_rng([seed, 0]).permutation(those)[:n_samples])


def _caveats(sample: Sample) -> Iterator[str]:
    (n, d), moments = sample.rows.shape, sample.moments
    if not sample.independent:
        yield f"one row of each of the groups was tested, {n} rows, as rows of one group are not independent"
    if moments.repeated:
        yield f"{moments.repeated} of {n} rows repeat an earlier row: every test takes rows as independent; drop them"
    if moments.constant.any():
        yield f"{int(moments.constant.sum())} of {d} coordinates are constant and were left out"
    if n <= d:
        yield f"{n} rows in {d} dimensions: jointly, only leading axes and norms can be tested"
    if sample.led and sample.led.how:
        yield sample.led.how
    yield "p-values of dagostino-pearson are too small far out: no Bonferroni or false-discovery count rests on them"
