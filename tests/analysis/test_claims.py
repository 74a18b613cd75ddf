"""Every claim of the scorecard: it is seldom decided where there is nothing to decide, and mostly where there is."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from noisezoo.analysis.gaussian import paper_gaussianity
from noisezoo.analysis.studies.study import all_studies
from tests.analysis import claims as planted
from tests.analysis.claims import verdicts

Scenario = Callable[[int], dict[str, Any]]
SUPPORTED, AGAINST = "supported", "not supported"
SHORT, LONG = 10, 160
SCENARIOS: dict[str, Scenario] = {
    "Gaussian rows": planted.gaussian,
    "heavy tails": partial(planted.gaussian, law="heavy"),
    "a bimodal coordinate": partial(planted.gaussian, law="bimodal"),
    "no attribute": partial(planted.probes, noise=0.0, twin=0.0),
    "attributes in both networks": partial(planted.probes, noise=1.0, twin=1.0),
    "attributes by training": partial(planted.probes, noise=2.0, twin=0.3),
    "noise as its latent": partial(planted.beside_latent, noise=1.0, image=1.0),
    "noise beyond its latent": partial(planted.beside_latent, noise=2.0, image=0.3),
    "nothing beyond the untrained network": partial(planted.added, noise=1.0, twin=1.0),
    "much beyond the untrained network": partial(planted.added, noise=3.0, twin=0.0),
    "profiles of their own": partial(planted.profiles, follows=False),
    "one profile": partial(planted.profiles, follows=True),
    "stitched alike": partial(planted.related, study="stitching", noise=1.0, twin=1.0),
    "stitched by training": partial(planted.related, study="stitching", noise=3.0, twin=0.2),
    "few pairs alike": partial(planted.related, study="pairs", noise=1.0, twin=1.0),
    "few pairs by training": partial(planted.related, study="pairs", noise=3.0, twin=0.2),
    "objectives alike": partial(planted.related, study="objectives", noise=1.0, twin=1.0),
    "objectives by training": partial(planted.related, study="objectives", noise=3.0, twin=0.2),
    "near the ceiling alike": partial(planted.related, study="ceiling", noise=1.0, twin=1.0),
    "near the ceiling by training": partial(planted.related, study="ceiling", noise=3.0, twin=0.2),
    "trainings alike": partial(planted.trained_again, noise=1.0, twin=1.0),
    "trainings that learn": partial(planted.trained_again, noise=2.0, twin=0.3),
    "given alike": partial(planted.beyond, noise=1.5, twin=1.5),
    "given by training": partial(planted.beyond, noise=3.0, twin=0.0),
    "nothing shared": partial(planted.related, study="shared", noise=0.0, twin=0.0),
    "shared alike": partial(planted.related, study="shared", noise=1.5, twin=1.5),
    "shared by training": partial(planted.related, study="shared", noise=3.0, twin=0.0),
    "attributes that are not tied": partial(planted.tied, phi=0.0),
    "attributes that are tied": partial(planted.tied, phi=0.7),
    "edits of coin flips": partial(planted.edits, there=False),
    "leaks alike": partial(planted.leaks, mixed=False),
    "pixels that mix": partial(planted.leaks, mixed=True),
    "edits of the noise": partial(planted.edits, there=True),
}
BOTH = (SUPPORTED, AGAINST)
CASES: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    # claim: a scenario, the verdicts that would be false in it, a scenario that decides, how
    "Noise is near-Gaussian": ("Gaussian rows", (AGAINST,), "heavy tails", AGAINST),
    "Noise is Gaussian": ("Gaussian rows", BOTH, "heavy tails", AGAINST),
    "Embeddings are near-Gaussian": ("Gaussian rows", (AGAINST,), "heavy tails", AGAINST),
    "Embeddings are Gaussian": ("Gaussian rows", BOTH, "heavy tails", AGAINST),
    "Attributes are linear in noise": ("no attribute", BOTH, "attributes in both networks", SUPPORTED),
    "What is read was learnt": ("attributes in both networks", BOTH, "attributes by training", SUPPORTED),
    "It needs no CLIP": ("attributes in both networks", BOTH, "attributes by training", SUPPORTED),
    "What is read is not the image's share of x_T": ("noise as its latent", BOTH, "noise beyond its latent", SUPPORTED),
    "It is not in the picture": (
        "nothing beyond the untrained network", BOTH, "much beyond the untrained network", SUPPORTED),
    "The initial noise holds them": ("no attribute", BOTH, "attributes in both networks", SUPPORTED),
    "Inversion adds none": ("attributes in both networks", BOTH, "attributes by training", AGAINST),
    "Noise follows encoders": ("profiles of their own", BOTH, "one profile", SUPPORTED),
    "Noise maps to embeddings": ("stitched alike", BOTH, "stitched by training", SUPPORTED),
    "Few pairs suffice": ("few pairs alike", BOTH, "few pairs by training", SUPPORTED),
    "Noise nears the ceiling of an encoder": (
        "near the ceiling alike", BOTH, "near the ceiling by training", SUPPORTED),
    "Other trainings learn it": ("trainings alike", BOTH, "trainings that learn", SUPPORTED),
    "Training adds whatever the objective": ("objectives alike", BOTH, "objectives by training", SUPPORTED),
    "Shared beyond the picture": ("given alike", BOTH, "given by training", SUPPORTED),
    "One space is shared": ("nothing shared", (SUPPORTED,), "shared by training", SUPPORTED),
    "What is shared was learnt": ("shared alike", BOTH, "shared by training", SUPPORTED),
    "Neighbours agree": ("shared alike", BOTH, "shared by training", SUPPORTED),
    "Edits work": ("edits of coin flips", BOTH, "edits of the noise", SUPPORTED),
    "Edits are clean": ("leaks alike", BOTH, "pixels that mix", SUPPORTED),
    "Orthogonalising disentangles": ("attributes that are not tied", BOTH, "attributes that are tied", SUPPORTED),
}  # fmt: skip

POWER = 0.8
"""Share of the datasets of the scenario that decides in which a claim must be decided.

Ten datasets let a claim pass that is decided in half of them once in 18 times, and one that is falsely decided in 40 %
of them once in 3 times, in 60 % once in 18: the short form sees what is broken, the long form (`slow`) small changes.

Of many datasets (160 of Gaussian rows and of attributes in both networks, 120 of coin flips, 100 of leaks alike, 80 of
ties and of what is in the picture, 60 of profiles and stitching, 40 of shared spaces) these were given, in %:

| claim | falsely supported | falsely not | supported, or not, where it should be |
|---|---|---|---|
| noise, embeddings are near-Gaussian | any | 3, 3 | 100, 100 |
| noise, embeddings are Gaussian | 0, 0 | 4, 3 | 100, 100 |
| attributes are linear in noise | 7 | 5 | 100 |
| what is read was learnt; it needs no CLIP | 1 | 3 | 100 |
| it is not in the picture | 0 | 0 | 96 |
| noise follows encoders | 0 | 2 | all of the short form |
| noise maps to embeddings | 0 | 0 | 100 |
| one space is shared | 0 | any | 100 |
| what is shared was learnt; neighbours agree | 0; 0 | 0, 3; 0 | 100; 100 |
| edits work | 0, 1 | 0, 2 | 100 |
| edits are clean | 0 | 0 | 100 |
| orthogonalising disentangles, class means | 1 | 0 | 96 |

Of 65 datasets of every other claim again (60 of Gaussian rows, with Epps and Pulley's test), all were within the bands
of these tests. Rows of a t of 5 degrees of freedom were called near-Gaussian in none of 60, of Laplace in none (8
dimensions) and 2 (24 dimensions). Of the claims that the table lacks:

| claim | falsely supported | falsely not | supported, or not, where it should be |
|---|---|---|---|
| what is read is not the image's share of x_T | 2 | 2 | 100 |
| few pairs suffice; shared beyond the picture | 0; 0 | 0; 0 | 100; 100 |
| the initial noise holds them | 5 | 5 | 100 |
| inversion adds none | 2 | 5 | 100 |
"""
"""What is planted where a claim must be decided, at these sizes.

A view of strength s holds s times a random map of the latent, of variance about s^2 a column, and noise of variance 1.
All views hold one map, turned, so that views of one strength can be read equally well.
An attribute is the sign of one coordinate of the latent, to which a standard deviation of 0.3 is added.

- Near-Gaussian, Gaussian (300 rows, 8 dimensions): rows of a t of 3 degrees of freedom, two axes 6 and 5 times as wide.
- Linear in noise (160 rows, 3 attributes): noise of strength 1. Learnt, without CLIP: 2, the untrained network 0.3.
- Not in the picture (160 rows, 3 attributes): noise of strength 3, pixels 0.7, the untrained network 0.
- Follows encoders (200 rows, 10 attributes): each read through noise of 0.3 to 3 standard deviations, the same order in
  noise and encoder and the reverse in pixels.
- Maps to embeddings (160 rows, 24 dimensions, a latent of 10): noise of strength 3, the untrained network 0.2,
  encoders 2.
- Few pairs (the same sizes, 64 of the pairs): as for maps.
- Beyond the picture (160 rows, 12 dimensions, a latent of 6): noise of strength 3, the untrained network 0, pixels 0.7,
  the encoder 2.
- Near the ceiling, whatever the objective (the sizes of maps): noise of strength 3, the untrained network 0.2, encoders
  and the encoder's copy 2. Other trainings (160 rows, 3 attributes): three of strength 2, before training 0.3.
- One space, learnt, neighbours (the same sizes): noise of strength 3, the untrained network 0, encoders 2.
- Edits work (640 rows, 8 dimensions): the attribute is the sign of one coordinate of the noise, without error.
- Edits are clean (1,600 rows, 8 dimensions): pixels are the truth turned at random, axes stretched by 1 to 4; noise is
  the truth.
- Orthogonalising disentangles (960 rows, 8 dimensions): two attributes tied in the training rows with phi of 0.7, that
  move the rows by 2 and by 6 standard deviations; by class means.
"""

DEAR = {
    "Noise is near-Gaussian": 5,
    "Noise is Gaussian": 5,
    "Embeddings are near-Gaussian": 5,
    "Embeddings are Gaussian": 5,
    "Noise follows encoders": 5,
    "Noise maps to embeddings": 5,
    "It is not in the picture": 5,
    "Edits are clean": 5,
    "Shared beyond the picture": 5,
    "Few pairs suffice": 3,
    "Other trainings learn it": 3,
    "One space is shared": 3,
    "What is shared was learnt": 3,
    "Neighbours agree": 3,
}
"""Datasets in the short form, of claims whose study takes seconds."""
PIECE = {"Orthogonalising disentangles": 1, "What is read is not the image's share of x_T": 1}
"""Number of the evidence that is looked at, where it is not the first: class means turn more than probes."""


@cache
def results(scenario: str, seed: int) -> dict[str, Any]:
    return SCENARIOS[scenario](seed)


def rate(claim: str, scenario: str, verdict: str, seeds: int) -> tuple[int, int]:
    """How many of the datasets of a scenario have a verdict of a claim, by one piece of its evidence."""
    found = [verdicts(claim, results(scenario, seed)) for seed in range(seeds)]
    given = [each[PIECE.get(claim, 0)] for each in found if each]
    return sum(each == verdict for each in given), len(given)


def check(claim: str, seeds: int) -> None:
    nothing, false, something, true = CASES[claim]
    for verdict in false:
        hits, given = rate(claim, nothing, verdict, seeds)
        assert given == seeds and hits <= binom.ppf(0.995, seeds, 0.05), f"{verdict} {hits} times of {seeds}"
    hits, _ = rate(claim, something, true, seeds)
    assert hits >= POWER * seeds, f"{true} {hits} times of {seeds}"


def test_every_claim_has_its_case() -> None:
    claims = {claim.name for study in all_studies().values() for claim in study.claims}
    assert set(CASES) == claims


@pytest.mark.parametrize("claim", CASES)
def test_a_claim_is_seldom_decided_by_nothing_and_mostly_by_something(claim: str) -> None:
    check(claim, DEAR.get(claim, SHORT))


@pytest.mark.slow
@pytest.mark.parametrize("claim", CASES)
def test_the_rates_hold_over_many_datasets(claim: str) -> None:
    check(claim, LONG)


FAR: dict[str, Callable[[np.random.Generator], Any]] = {
    "t5 coordinates": lambda rng: rng.standard_t(5, (300, planted.D)),
    "t5 rows": lambda rng: rng.standard_normal((300, planted.D)) / np.sqrt(rng.chisquare(5, (300, 1)) / 5),
    "Laplace coordinates": lambda rng: rng.laplace(size=(300, planted.D)),
    "Laplace coordinates, 24": lambda rng: rng.laplace(size=(300, 24)),
}


@pytest.mark.parametrize("law", FAR)
def test_rows_far_from_gaussian_are_seldom_called_near_gaussian(law: str) -> None:
    """In 8 dimensions 22 to 80 points fewer projections of these laws are accepted than of Gaussian rows, in 24 six.

    With the width of Gaussian rows alone Anderson-Darling called 15 % of 60 datasets of the last near.
    """
    claims = {"noise": "Noise is near-Gaussian", "embedding": "Embeddings are near-Gaussian"}
    near = dict.fromkeys(claims, 0)
    for seed in range(SHORT):
        paper = paper_gaussianity(FAR[law](np.random.default_rng([seed, 11])), seed=seed).to_dict()
        for kind, claim in claims.items():
            views = [{"name": kind, "kind": kind, "untrained": False}]
            said = verdicts(claim, {"views": views, "gaussianity": {kind: {"paper": paper}}})
            assert len(said) == 2  # Anderson-Darling and D'Agostino-Pearson
            near[kind] += SUPPORTED in said
    assert max(near.values()) <= binom.ppf(0.995, SHORT, 0.05), near
