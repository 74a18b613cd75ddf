"""Confounds as differences: schemes and numbers of steps against a reference, and conditioned against unconditional."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisezoo.analysis.core import Interval, Result
from noisezoo.analysis.gaussian import GaussianityResult
from noisezoo.analysis.probes import METRICS, Comparison, ProbeTable, compare, contrast


@dataclass(frozen=True, slots=True, eq=False)
class Variants(Result):
    """What other inversions of the same images give, each minus the reference."""

    reference: str
    variants: tuple[str, ...]
    comparisons: Mapping[str, Comparison]  # variant -> probes, paired over images
    acceptances: Mapping[str, Mapping[str, Interval]]  # variant -> family and test

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a variant and figure; a null of 0, for the reference's own difference from itself."""
        probes = [
            {"variant": variant, "reference": self.reference, "figure": row["metric"], "of": row["attribute"],
             **{key: row[key] for key in ("estimate", "low", "high")}}
            for variant, comparison in self.comparisons.items() for row in comparison.records()
        ]  # fmt: skip
        accepted = [
            {"variant": variant, "reference": self.reference, "figure": "acceptance", "of": test, **interval.to_dict()}
            for variant, found in self.acceptances.items() for test, interval in found.items()
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

    `tables` are variant -> probes of the same images with the same seed, by `metrics`; `gaussianity` variant -> the
    tests of its rows, where acceptances are wanted.

    Raises:
        ValueError: a reference that is not among the variants, or tables that `compare` refuses.
    """
    for what in filter(None, (tables, gaussianity)):
        if reference not in what:
            raise ValueError(f"the reference {reference!r} is not among the variants {', '.join(what)}")
    others = [name for name in tables if name != reference]
    comparisons = {name: compare(tables[name], tables[reference], metrics=metrics) for name in others}
    tests = gaussianity or {}
    accepted = {name: _acceptances(tests[name], tests[reference]) for name in tests if name != reference}
    return Variants(reference, tuple(comparisons), comparisons, accepted)


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

    Each is a pair: probes, by `metrics`, of a model's noise, and of its untrained twin's.

    Raises:
        ValueError: tables of different rows, folds or labels, or with no attribute in common.
    """
    return contrast((conditioned[0], unconditional[1]), (conditioned[1], unconditional[0]), metrics)


def _acceptances(found: GaussianityResult, reference: GaussianityResult) -> dict[str, Interval]:
    """Differences of the shares that both have, with the roots of the squares of what each one's interval reaches."""
    of_b = {(row.family, row.test): row for row in reference.rows if np.isfinite(row.acceptance)}
    differences = {}
    for a in found.rows:
        b = of_b.get((a.family, a.test))
        if b is not None and np.isfinite(a.acceptance):
            value = a.acceptance - b.acceptance
            low = np.hypot(a.acceptance - a.low, b.high - b.acceptance)
            high = np.hypot(a.high - a.acceptance, b.acceptance - b.low)
            differences[f"{a.family}, {a.test}"] = Interval(value, float(value - low), float(value + high))
    return differences
