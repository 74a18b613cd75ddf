"""What results say of a claim: supported, not supported, or not decidable.

Every piece of evidence is an interval on a scale whose zero divides the two answers: above it supports the claim, below
it speaks against it, and an interval that holds zero decides nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Json = dict[str, Any]
SUPPORTED, AGAINST, OPEN = "supported", "not supported", "not decidable"
VERDICTS = {1: SUPPORTED, -1: AGAINST, 0: OPEN}
MEAN, METRIC, UNTRAINED = "mean", "balanced_accuracy", "untrained"
ENDS = ("estimate", "low", "high")
SHOWN = ("view", "what", "against", "verdict", *ENDS, "unit", "covers", "shown")
POINTS: Mapping[str, Any] = {"unit": "points", "scale": 100.0}


@dataclass(frozen=True)
class Evidence:
    """One interval for one view: `what` it is of, in `unit`, and what the view is held `against`."""

    view: str
    what: str
    against: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    scale: float = 1.0
    decided: int | None = None
    """The verdict where it does not follow from the interval's place about zero."""
    words: str | None = None
    """What is shown where that is not the interval."""
    covers: str = "images"
    """What the interval would hold for, were it drawn again: other images; or other trainings too."""

    @classmethod
    def of(cls, view: str, what: str, against: str, row: Mapping[str, Any], **others: Any) -> "Evidence":
        """With the interval of a row."""
        return cls(view, what, against, *(row[end] for end in ENDS), **others)

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
        places = 1 if self.scale > 1 else 3
        centre, low, high = (f"{self.scale * value:+.{places}f}" for value in (self.estimate, self.low, self.high))
        return f"{centre} [{low}, {high}] {self.unit}".strip()


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: its statement, where the paper makes it, and how results speak to it."""

    name: str
    statement: str
    where: str
    evidence: Callable[[Json], Iterable[Evidence]]


def scorecard(claims: Iterable[Claim], results: Mapping[str, Any]) -> list[Json]:
    """One row for each claim and piece of evidence, as plain values; a claim without evidence has one row that says so.

    Args:
        claims: Of all studies.
        results: By the names of studies; a study that did not run leaves its claims undecided.
    """
    return [row for claim in claims for row in _rows(claim, dict(results))]


def _rows(claim: Claim, results: Json) -> Iterator[Json]:
    nothing = Evidence("", "the dataset lacks the views or the study that could tell", "", words="no evidence")
    for e in list(claim.evidence(results)) or [nothing]:
        if are_identical(results["views"], e.view, e.against):
            e = replace(e, decided=0, words="identical rows")
        yield {
            **{"claim": claim.name, "statement": claim.statement, "where": claim.where},
            **{key: getattr(e, key) for key in SHOWN},
        }


def direction(low: float | None, high: float | None) -> int:
    """1 where the interval lies above 0, -1 below, 0 where nothing is decided: it holds 0, or an end is not known."""
    return 0 if low is None or high is None else (low > 0) - (high < 0)


def are_identical(views: Iterable[Mapping[str, Any]], first: str, second: str) -> bool:
    """Whether two views hold the same rows, bit for bit."""
    digests = {view["name"]: view.get("digest") for view in views}
    return digests.get(first) is not None and digests.get(first) == digests.get(second)


def over(row: Mapping[str, Any], level: float | None) -> Json:
    """A row's interval, less a level."""
    return {end: None if row[end] is None or level is None else row[end] - level for end in ENDS}


def less(a: Mapping[str, Any], b: Mapping[str, Any]) -> Json:
    """The difference of two estimates, their intervals taken as they stand: too wide where the two err together."""
    if None in (*(a[end] for end in ENDS), *(b[end] for end in ENDS)):
        return dict.fromkeys(ENDS)
    return {"estimate": a["estimate"] - b["estimate"], "low": a["low"] - b["high"], "high": a["high"] - b["low"]}


def rows_of(results: Json, study: str, **having: Any) -> list[Json]:
    """Rows of a study's results that have these values; none where it did not run."""
    return [row for row in results.get(study, {}).get("rows", ()) if having.items() <= row.items()]


def beyond_twins(
    rows: Callable[[Json], Iterable[Json]], what: str, *, view: str = "view", **unit: Any
) -> Callable[[Json], Iterator[Evidence]]:
    """Evidence of noise views' rows, less those of the same network before training.

    Args:
        rows: Of the results.
        what: What a row is of, made of its columns: the same for a view and its twin.
        view: The column that names the view.
        unit: As in `Evidence`.
    """

    def evidence(results: Json) -> Iterator[Evidence]:
        twins = {v["name"]: v["baseline"] for v in results["views"] if v["kind"] == "noise"}
        named = {(row[view], what.format(**row)): row for row in rows(results)}
        for (name, words), row in named.items():
            if (twin := (twins.get(name), words)) in named:
                yield Evidence.of(name, words, twins[name], less(row, named[twin]), **unit)

    return evidence


def noise_views(results: Json) -> list[str]:
    """Names of the noise views."""
    return [view["name"] for view in results["views"] if view["kind"] == "noise"]


def encoder_views(results: Json) -> list[str]:
    """Names of the trained encoders."""
    return [view["name"] for view in results["views"] if view["kind"] == "embedding" and not view["untrained"]]
