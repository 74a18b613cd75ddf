"""What views share: latent intersections of noise and encoders, beside those of controls and encoders (Figure 6)."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from noisezoo.analysis.relations import intersections, shared_probes
from .claims import MEAN, POINTS, Claim, Evidence, Json, beyond_twins, noise_views, over
from .data import Data, spread
from .study import IMAGES, Analysis, Options, Page, Requirement, Study, register_study, small_part, tidy

DIM, RIDGE = 10, 0.1
"""Dimensions sought; ridge."""
ENCODERS = 2
LEAST_DRAWS = 19
"""Draws of a null that can reject at 5 %."""


def shares_a_space(results: Json) -> Iterator[Evidence]:
    """First held-out canonical value of noise and encoder, over the upper end of its null."""
    for row in _first_values(results):
        if None not in (row["null_high"], row["estimate"]) and row["view"] in noise_views(results):
            what = "first shared dimension with {encoder} ({n_shared} shared)".format(**row)
            yield Evidence.of(row["view"], what, "permuted rows", over(row, row["null_high"]))


def _first_values(results: Json) -> list[Json]:
    return [row for row in _with_an_encoder(results) if row["dimension"] == 0]


def _with_an_encoder(results: Json) -> list[Json]:
    """Values of every space of two views, the second of which is an encoder."""
    rows = [(row["subset"].split(" + "), row) for row in results.get("shared", {}).get("values", ())]
    return [{**row, "view": pair[0], "encoder": pair[1]} for pair, row in rows if len(pair) == 2]


def _agreement(results: Json) -> Iterator[Json]:
    """Neighbours that a view's intersections with two encoders have in common."""
    for row in results.get("shared", {}).get("agreement", ()):
        first, second = row["first"].split(" + "), row["second"].split(" + ")
        if len(first) == len(second) == 2 and first[0] == second[0]:
            yield {**row, "view": first[0], "encoders": f"{first[1]} against {second[1]}"}


shares_more_than_untrained = beyond_twins(_first_values, "first shared dimension with {encoder}")
# Over permuted rows the encoders' own likeness would already be an agreement, whatever the noise holds.
neighbours_agree = beyond_twins(_agreement, "neighbours, {encoders}", **POINTS)


@register_study
class SharedSpace(Study):
    """GCCA of every noise view (and its controls) with encoders: held-out values, shared dimensions, neighbours."""

    name = "shared"
    about = "the spaces that views share"
    place = 90
    methods = (
        "Shared spaces are those of MAXVAR generalised canonical correlation analysis with ridge; correlations "
        "are held out, and the number of shared dimensions is what a permutation null grants."
    )
    weight = 3.0
    requires = (
        Requirement(
            "views for two spaces: noise, a control and an encoder", lambda analysis: len(_subsets(analysis)[1]) > 1
        ),
        IMAGES,
    )
    claims = (
        Claim("One space is shared", "a common dimension, held out", "Figure 6", shares_a_space),
        Claim("What is shared was learnt", "more than before training", "Figure 6, objection",
              shares_more_than_untrained),
        Claim("Neighbours agree", "across intersections, more than before training", "Figure 6", neighbours_agree),
    )  # fmt: skip

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`values` by subset and dimension, `agreement` by two subsets, `probes` by subset."""
        names, subsets = _subsets(analysis)
        part = small_part(data, options)
        views = list(spread(part.leading, names).values())
        found = intersections(
            views, min(DIM, *(X.shape[1] for X in views)), names=names,
            subsets=[[names.index(view) for view in subset] for subset in subsets], ridge=RIDGE, groups=part.groups,
            n_permutations=max(LEAST_DRAWS, options.effort.n_permutations), n_splits=options.effort.n_splits,
            seed=options.seed,
        )  # fmt: skip
        values, probes, agreement = list[Json](), list[Json](), found.records()
        for subset, space in found.spaces.items():
            label = " + ".join(names[i] for i in subset)
            values += tidy(space.records(), subset=label, n_shared=space.n_shared)
            probes += tidy(shared_probes(space, part.Y, part.names).records(), subset=label)
        caveats = [*part.caveats(led=False), f"at most {part.most_axes} leading axes of a view"]
        means = [row for row in probes if row["attribute"] == MEAN]
        analysis.results[self.name] = {**found.settings(), "ridge": RIDGE, "values": values, "agreement": agreement,
                                       "probes": means, "caveats": caveats}  # fmt: skip
        analysis.rows |= {"shared_values": values, "shared_agreement": agreement, "shared_probes": probes}

    def exhibit(self, page: Page) -> Json:
        """Held-out canonical values by dimension, a figure an encoder: noise, its untrained twin and the picture."""
        by_encoder: dict[str, list[Json]] = {}
        for row in _with_an_encoder(page.results):
            at = {"at": row["dimension"] + 1, "n": page.n(self.name)}
            by_encoder.setdefault(row["encoder"], []).append({**row, **at})
        return {"charts": [_canonical(page, encoder, rows) for encoder, rows in by_encoder.items()],
                "agreement": list(_agreement(page.results))}  # fmt: skip


def _canonical(page: Page, encoder: str, rows: list[Json]) -> Any:
    top = max(row["null_high"] or 0.0 for row in rows)
    title = f"Held-out correlation of shared dimensions with {encoder}"
    return page.curves(f"shared-{encoder}", title, rows, "at", alt=f"{title}; null at most {top:.2f}", level=top,
                       xlabel="shared dimension; grey line: upper end of the largest null")  # fmt: skip


def _subsets(analysis: Analysis) -> tuple[list[str], list[tuple[str, ...]]]:
    """The views taken, and which of them make a space: each noise view and each of its likes with each encoder."""
    encoders, noise = analysis.encoders[:ENCODERS], analysis.names("noise")
    others = [*analysis.noise_and_likes, *analysis.of_family("random")]
    joint = [tuple(encoders), tuple(noise), (*noise, *encoders)]
    subsets = dict.fromkeys([*product(others, encoders), *(each for each in joint if len(each) > 1)])
    return [*others, *encoders], list(subsets)
