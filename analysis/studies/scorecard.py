"""What each claim of the paper comes to on one dataset: supported, not supported, or not decidable at this n."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisezoo.analysis.studies import evidence as by
from noisezoo.analysis.studies.evidence import OPEN, Evidence, Json


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: its statement, where the paper makes it, and how results speak to it."""

    name: str
    statement: str
    where: str
    evidence: Callable[[Json], Iterable[Evidence]]


def scorecard(results: Mapping[str, Any]) -> list[Json]:
    """One row for each claim and piece of evidence, as plain values; a claim without evidence has one row that says so.

    Args:
        results: Of an analysis, by the names of its studies; a study that did not run leaves its claims undecided.
    """
    return [row for claim in CLAIMS for row in _rows(claim, dict(results))]


def _rows(claim: Claim, results: Json) -> Iterator[Json]:
    said = {"claim": claim.name, "statement": claim.statement, "where": claim.where}
    found = list(claim.evidence(results))
    for e in found:
        numbers = {key: getattr(e, key) for key in ("estimate", "low", "high")}
        yield {**said, "view": e.view, "what": e.what, "against": e.against, "verdict": e.verdict, **numbers,
               "unit": e.unit, "shown": e.shown}  # fmt: skip
    if not found:
        nothing = dict.fromkeys(("estimate", "low", "high"))
        yield {**said, "view": "", "what": "the dataset lacks the views or the study that could tell", "against": "",
               "verdict": OPEN, **nothing, "unit": "", "shown": "no evidence"}  # fmt: skip


CLAIMS: Sequence[Claim] = (
    Claim("Noise is near-Gaussian", "as the paper tested it", "Table 1", by.passes_the_papers_test("noise")),
    Claim("Noise is Gaussian", "by every test, all rows", "Table 1, objection", by.is_gaussian("noise")),
    Claim("Embeddings are near-Gaussian", "as the paper tested it", "Table 1", by.passes_the_papers_test("embedding")),
    Claim("Embeddings are Gaussian", "by every test, all rows", "Table 1, objection", by.is_gaussian("embedding")),
    Claim("Attributes are linear in noise", "probes read them better than chance", "Table 2", by.is_readable),
    Claim("What is read was learnt", "more than before training", "Table 2, objection", by.is_learnt),
    Claim("It needs no CLIP", "learnt without CLIP's text", "objection", by.is_learnt_without_clip),
    Claim("It is not in the picture", "noise tells what pixels do not", "Table 2, objection", by.adds_to_pixels),
    Claim("Noise follows encoders", "accuracies correlate, beyond controls", "Figure 3", by.follows_encoders),
    Claim("Noise maps to embeddings", "ridge, more than before training", "stitching", by.maps_to_embeddings),
    Claim("One space is shared", "a common dimension, held out", "Figure 6", by.shares_a_space),
    Claim(
        "What is shared was learnt", "more than before training", "Figure 6, objection", by.shares_more_than_untrained
    ),
    Claim("Neighbours agree", "across latent intersections", "Figure 6", by.neighbours_agree),
    Claim("Edits work", "a probe's normal moves its attribute", "Figures 4, 5", by.edits_work),
    Claim("Edits are clean", "less leaks than by a pixel overlay", "objection", by.edits_are_clean),
    Claim("Orthogonalising disentangles", "an attribute is taken out", "Figure 5", by.orthogonalising_disentangles),
)
