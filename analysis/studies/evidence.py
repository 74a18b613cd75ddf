"""What results say of the paper's claims: one function a claim, which gives a piece of evidence for each view.

Every piece is an interval on a scale whose zero divides the two answers: above it supports the claim, below it speaks
against it, and an interval that holds zero decides nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from noisezoo.analysis.studies.verdicts import direction

Json = dict[str, Any]
SUPPORTED, AGAINST, OPEN = "supported", "not supported", "not decidable"
VERDICTS = {1: SUPPORTED, -1: AGAINST, 0: OPEN}
MEAN, METRIC, UNTRAINED = "mean", "balanced_accuracy", "untrained"
ALPHA, MARGIN = 0.05, 0.05
"""Level after correction, and how far below a true Gaussian's acceptance still counts as near."""


@dataclass(frozen=True)
class Evidence:
    """One interval for one view: `what` it is of, in `unit`, and what the view is held `against`."""

    view: str
    what: str
    against: str
    estimate: float | None
    low: float | None
    high: float | None
    unit: str = ""
    scale: float = 1.0
    decided: int | None = None
    """The verdict where it does not follow from the interval's place about zero."""
    words: str | None = None
    """What is shown where that is not the interval."""

    @property
    def verdict(self) -> str:
        """In words."""
        return VERDICTS[direction(self.low, self.high) if self.decided is None else self.decided]

    @property
    def shown(self) -> str:
        """The interval as it is read."""
        if self.words is not None:
            return self.words
        if self.estimate is None or self.low is None or self.high is None:
            return "no interval"
        numbers = (f"{self.scale * value:+.{1 if self.scale > 1 else 3}f}" for value in (self.low, self.high))
        centre = f"{self.scale * self.estimate:+.{1 if self.scale > 1 else 3}f}"
        return f"{centre} [{', '.join(numbers)}] {self.unit}".strip()


def _difference(view: str, what: str, against: str, row: Mapping[str, Any], **unit: Any) -> Evidence:
    return Evidence(view, what, against, row["estimate"], row["low"], row["high"], **unit)


POINTS: Mapping[str, Any] = {"unit": "points", "scale": 100.0}


def passes_the_papers_test(kind: str) -> Callable[[Json], Iterator[Evidence]]:
    """Share of projections accepted, as the paper tested it, over 5 points less than a true Gaussian's share."""

    def evidence(results: Json) -> Iterator[Evidence]:
        for view, found in _tested(results, kind):
            for row in (row for row in found.get("paper", {}).get("rows", ()) if row["test"] != "both"):
                floor = row["null"] - MARGIN
                shifted = {k: row[v] - floor for k, v in (("estimate", "acceptance"), ("low", "low"), ("high", "high"))}
                words = "{acceptance:.1%} [{low:.1%}, {high:.1%}], a Gaussian {null:.1%}".format(**row)
                yield _difference(view, f"accepted, {row['test']}", "a Gaussian's less 5 points", shifted, words=words)

    return evidence


def is_gaussian(kind: str) -> Callable[[Json], Iterator[Evidence]]:
    """Any departure that survives correction for the number of tests; without one, whether it would have been found."""

    def evidence(results: Json) -> Iterator[Evidence]:
        for view, found in _tested(results, kind):
            p, row = min((_smallest(row), k) for k, row in enumerate(found["rows"]))
            adjusted, worst = min(1.0, p * len(found["rows"])), found["rows"][row]
            what = f"all {len(found['rows'])} tests; the strongest departure: {worst['family']}, {worst['test']}"
            decided = -1 if adjusted < ALPHA else int(_would_be_found(found))
            words = f"p {'< 0.001' if adjusted < 1e-3 else f'= {adjusted:.3f}'}, corrected"
            yield Evidence(view, what, "Gaussian rows", None, None, None, decided=decided, words=words)

    return evidence


def _tested(results: Json, kind: str) -> Iterator[tuple[str, Json]]:
    kinds = {v["name"]: v["kind"] for v in results["views"] if not v["untrained"]}
    return ((view, found) for view, found in results.get("gaussianity", {}).items() if kinds.get(view) == kind)


def _smallest(row: Json) -> float:
    """Of a row's p-values: Monte Carlo ones cannot be small, and Bonferroni's holds where the tail does."""
    known = [p for p in (row["p_value"], row["bonferroni"]) if p is not None]
    return float(min(known, default=1.0))


def _would_be_found(found: Json) -> bool:
    """Whether every planted alternative is found by some family more often than not, by its interval."""
    rows = [row for row in found.get("power", {}).get("rows", ()) if row["alternative"] != "none"]
    alternatives = {row["alternative"] for row in rows}
    return bool(rows) and all(any(r["low"] > 0.5 for r in rows if r["alternative"] == a) for a in alternatives)


def is_readable(results: Json) -> Iterator[Evidence]:
    """Mean balanced accuracy of the noise's probes over chance."""
    for view in _noise(results):
        rows = results.get("probes", {}).get(view, {}).get("rows", [])
        row = next((r for r in rows if (r["attribute"], r["metric"]) == (MEAN, METRIC)), None)
        if row and row["estimate"] is not None:
            shifted = {k: None if row[k] is None else row[k] - 0.5 for k in ("estimate", "low", "high")}
            yield _difference(view, "mean balanced accuracy", "chance", shifted, **POINTS)


def is_learnt(results: Json) -> Iterator[Evidence]:
    """Trained minus untrained."""
    for d in results.get("differences", []):
        if d["role"] == UNTRAINED and d["view"] in _noise(results):
            yield _difference(d["view"], "mean balanced accuracy", d["control"], d, **POINTS)


def adds_to_pixels(results: Json) -> Iterator[Evidence]:
    """What the noise adds to probes of the picture, less what its network adds before training."""
    rows = {(row["view"], row["control"]): row for row in results.get("conditional", {}).get("rows", ())
            if (row["metric"], row["what"]) == (METRIC, f"{row['view']} given {row['control']}")}  # fmt: skip
    twins = {v["name"]: v["baseline"] for v in results["views"] if v["kind"] == "noise"}
    for (view, control), row in rows.items():
        if view in twins and (twins[view], control) in rows:
            what = f"mean balanced accuracy added to {control}"
            yield _difference(view, what, twins[view], _unpaired(row, rows[twins[view], control]), **POINTS)


def follows_encoders(results: Json) -> Iterator[Evidence]:
    """Correlation of accuracies with an encoder's, minus the same of each control."""
    for row in results.get("profile", {}).get("rows", []):
        if row["kind"] == "difference":
            yield _difference(row["view"], f"correlation with {row['reference']}", row["control"], row)


def maps_to_embeddings(results: Json) -> Iterator[Evidence]:
    """Held-out R2 into encoders, less that of the same network before training."""
    rows = {(r["source"], r["target"]): r for r in results.get("stitching", {}).get("rows", ())
            if r["measure"] == "r2" and r["alpha"] == "validated"}  # fmt: skip
    twins = {v["name"]: v["baseline"] for v in results["views"] if v["kind"] == "noise"}
    for view, target in ((view, target) for view in twins for target in _encoders(results)):
        if (view, target) in rows and (twins[view], target) in rows:
            minus = _unpaired(rows[view, target], rows[twins[view], target])
            yield _difference(view, f"R2 of ridge into {target}", twins[view], minus)


def shares_a_space(results: Json) -> Iterator[Evidence]:
    """First held-out canonical value of noise and encoder, over the upper end of its null."""
    for subset, row in _first_values(results).items():
        if None not in (row["null_high"], row["estimate"]) and subset[0] in _noise(results) and len(subset) == 2:
            over = {k: None if row[k] is None else row[k] - row["null_high"] for k in ("estimate", "low", "high")}
            what = f"first shared dimension with {subset[1]} ({row['n_shared']} shared)"
            yield _difference(subset[0], what, "permuted rows", over)


def shares_more_than_untrained(results: Json) -> Iterator[Evidence]:
    """The same, less that of the network before training."""
    twins = {v["name"]: v["baseline"] for v in results["views"] if v["kind"] == "noise"}
    values = _first_values(results)
    for subset, row in values.items():
        twin = (twins.get(subset[0]), *subset[1:])
        if len(subset) == 2 and twin in values:
            yield _difference(subset[0], f"first shared dimension with {subset[1]}", str(twin[0]),
                              _unpaired(row, values[twin]))  # fmt: skip


def _first_values(results: Json) -> dict[tuple[Any, ...], Json]:
    rows = results.get("shared", {}).get("values", ())
    return {tuple(row["subset"].split(" + ")): row for row in rows if row["dimension"] == 0}


def neighbours_agree(results: Json) -> Iterator[Evidence]:
    """Neighbours in common between one noise view's space with one encoder and with another, over the null."""
    for row in results.get("shared", {}).get("agreement", ()):
        first, second = row["first"].split(" + "), row["second"].split(" + ")
        alike = len(first) == len(second) == 2 and first[0] == second[0] and first[0] in _noise(results)
        if alike and {first[1], second[1]} <= set(_encoders(results)):
            over = {k: None if row[k] is None else row[k] - row["null_high"] for k in ("estimate", "low", "high")}
            yield _difference(first[0], f"neighbours, {first[1]} against {second[1]}", "permuted rows", over, **POINTS)


def is_learnt_without_clip(results: Json) -> Iterator[Evidence]:
    """Trained minus untrained of models that never saw CLIP's text."""
    free = {v["name"] for v in results["views"] if v["kind"] == "noise" and v["clip_conditioned"] is False}
    yield from (e for e in is_learnt(results) if e.view in free)


def edits_work(results: Json) -> Iterator[Evidence]:
    """Change of the edited attribute, as another view sees it."""
    for view, record in results.get("edits", {}).items():
        strips = [strip for strip in record.get("strips", ()) if strip["variant"] == "noise"]
        last = {strip["attribute"]: strip for strip in strips}  # strengths rise
        for attribute, strip in last.items():
            what = f"{attribute} at strength {strip['strength']:g}, standard deviations of the judge"
            yield _difference(view, what, "unedited", strip["target"])


def edits_are_clean(results: Json) -> Iterator[Evidence]:
    """Leak of a pixel overlay into other attributes, less that of the edited noise."""
    for view, record in results.get("edits", {}).items():
        leaks = {(row["kind"], row["variant"]): row for row in record.get("entanglement", ()) if "attribute" not in row}
        for kind in dict.fromkeys(kind for kind, _ in leaks):
            overlay, noise = leaks.get((kind, "pixel overlay")), leaks.get((kind, "noise"))
            if overlay and noise and None not in (*overlay.values(), *noise.values()):
                yield _difference(view, f"leak into other attributes, {kind}", "a pixel overlay's leak",
                                  _unpaired(overlay, noise))  # fmt: skip


def orthogonalising_disentangles(results: Json) -> Iterator[Evidence]:
    """Whether a shift by a correlated attribute, where there is one, is no longer told from none once that is out."""
    found = results.get("spurious", {})
    rows = {(r["view"], r["kind"], r["asked"], r["treatment"]): r for r in found.get("rows", ())}
    for (view, kind, asked, treatment), row in rows.items():
        if view in _noise(results) and (asked, treatment) == ("edit", "plain"):
            after = rows[view, kind, asked, "orthogonalised"]
            is_there, is_left = (direction(r["low"], r["high"]) != 0 for r in (row, after))
            words = " to ".join(map(_short, (row, after)))
            what = f"{found['planted']} moved by an edit of {found['attribute']}, {kind}"
            decided = 0 if not is_there else -1 if is_left else 1
            yield _difference(view, what, "plain to orthogonalised", after, decided=decided, words=words)


def _short(row: Json) -> str:
    return "no interval" if row["low"] is None else "{estimate:+.2f} [{low:+.2f}, {high:+.2f}]".format(**row)


def _unpaired(a: Json, b: Json) -> Json:
    """The difference of two estimates, their intervals taken as they stand: too wide where the two err together."""
    if None in (a["low"], a["high"], b["low"], b["high"]):
        return {"estimate": None, "low": None, "high": None}
    return {"estimate": a["estimate"] - b["estimate"], "low": a["low"] - b["high"], "high": a["high"] - b["low"]}


def _encoders(results: Json) -> list[str]:
    return [view["name"] for view in results["views"] if view["kind"] == "embedding" and not view["untrained"]]


def _noise(results: Json) -> list[str]:
    return [view["name"] for view in results["views"] if view["kind"] == "noise"]
