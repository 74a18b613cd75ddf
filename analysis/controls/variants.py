"""Confounds as differences: schemes and numbers of steps against a reference, and conditioned against unconditional."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisezoo.analysis.core import Interval, Result
from noisezoo.analysis.gaussian import GaussianityResult, GaussianityRow
from noisezoo.analysis.probes import METRICS, Comparison, ProbeTable, compare, refuse_different_rows


@dataclass(frozen=True, slots=True, eq=False)
class Variants(Result):
    """What other inversions of the same images give, each minus the reference."""

    reference: str
    comparisons: Mapping[str, Comparison]  # variant -> probes, paired over images
    acceptances: Mapping[str, tuple[tuple[GaussianityRow, GaussianityRow], ...]]  # variant -> (its row, reference's)

    def settings(self) -> dict[str, Any]:
        """The reference, and what no interval can be given for."""
        return {"reference": self.reference, "variants": list(self.comparisons)}

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a variant and figure; a null of 0, for the reference's own difference from itself."""
        probes = [
            {"variant": variant, "reference": self.reference, "figure": row["metric"], "of": row["attribute"],
             **{key: row[key] for key in ("estimate", "low", "high")}}
            for variant, comparison in self.comparisons.items() for row in comparison.records()
        ]  # fmt: skip
        accepted = [
            {"variant": variant, "reference": self.reference, "figure": "acceptance", "of": f"{a.family}, {a.test}",
             **_acceptance_difference(a, b).to_dict()}
            for variant, pairs in self.acceptances.items() for a, b in pairs
        ]  # fmt: skip
        return probes + accepted


def compare_variants(
    tables: Mapping[str, ProbeTable],
    reference: str,
    *,
    gaussianity: Mapping[str, GaussianityResult] | None = None,
    metrics: tuple[str, ...] = tuple(METRICS),
) -> Variants:
    """Every variant of a view (schemes, numbers of steps) minus the `reference` one, for every headline figure.

    Probes are differences paired over images, as `compare` gives them. Acceptances have Newcombe's interval (1998,
    method 10), which takes the two shares of directions as independent: it is too wide where views, of one width and
    seed, are projected on the same directions. Families that are a census of coordinates or axes have no such
    interval, and theirs is NaN.

    Args:
        tables: variant -> probes of the same images, with the same seed.
        reference: the variant to subtract.
        gaussianity: variant -> the tests of its rows, where acceptances are wanted.
        metrics: of the probes.

    Raises:
        ValueError: a reference that is not among the variants, or tables that `compare` refuses.
    """
    for what in filter(None, (tables, gaussianity)):
        if reference not in what:
            raise ValueError(f"the reference {reference!r} is not among the variants {', '.join(what)}")
    others = [name for name in tables if name != reference]
    comparisons = {name: compare(tables[name], tables[reference], metrics=metrics) for name in others}
    tests = gaussianity or {}
    pairs = {name: _paired_rows(tests[name], tests[reference]) for name in tests if name != reference}
    return Variants(reference, comparisons, pairs)


def difference_of_differences(
    conditioned: tuple[ProbeTable, ProbeTable],
    unconditional: tuple[ProbeTable, ProbeTable],
    *,
    metrics: tuple[str, ...] = tuple(METRICS),
) -> Comparison:
    """(trained - untrained) of a CLIP-conditioned model minus (trained - untrained) of an unconditional one.

    Above 0, training adds more to the noise of the model that was conditioned on CLIP's text: some of its agreement
    with encoders may be inherited. All four tables are of the same images, with the same seed, and so the interval is
    paired over them, training included, as in `compare`.

    Args:
        conditioned: probes of its noise, and of its untrained twin's.
        unconditional: the same of the unconditional model.
        metrics: of the probes.

    Raises:
        ValueError: tables of different rows, folds or labels, or with no attribute in common.
    """
    tables = (*conditioned, *unconditional)
    names = tuple(name for name in tables[0].names if all(name in table.names for table in tables))
    if not names:
        raise ValueError("the four tables have no attribute in common: there is nothing to compare")
    for table in tables[1:]:
        refuse_different_rows(tables[0], table, names)
    a, confidence = tables[0], tables[0].draws.confidence
    of = {metric: [table.estimate(metric, names) for table in tables] for metric in metrics}
    twice = {metric: (e[0] - e[1]) - (e[2] - e[3]) for metric, e in of.items()}
    intervals = {m: tuple(e.intervals(confidence, least=-1.0)) for m, e in twice.items()}
    mean = {m: e.mean_interval(confidence, least=-1.0) for m, e in twice.items()}
    caveats = tuple(dict.fromkeys(caveat for table in tables for caveat in table.caveats))
    return Comparison(names, intervals, mean, a.n, a.draws, caveats)


def _paired_rows(a: GaussianityResult, b: GaussianityResult) -> tuple[tuple[GaussianityRow, GaussianityRow], ...]:
    of_b = {(row.family, row.test): row for row in b.rows}
    both = [(row, of_b[row.family, row.test]) for row in a.rows if (row.family, row.test) in of_b]
    return tuple((x, y) for x, y in both if np.isfinite([x.acceptance, y.acceptance]).all())


def _acceptance_difference(a: GaussianityRow, b: GaussianityRow) -> Interval:
    """Newcombe's: the roots of the squares of what each share's own interval reaches."""
    difference = a.acceptance - b.acceptance
    low = np.hypot(a.acceptance - a.low, b.high - b.acceptance)
    high = np.hypot(a.high - a.acceptance, b.acceptance - b.low)
    return Interval(difference, float(difference - low), float(difference + high))
