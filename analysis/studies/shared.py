"""What views share: latent intersections of noise and encoders, beside those of controls and encoders (Figure 6)."""

from collections.abc import Iterator
from typing import Any

from noisezoo.analysis.figures import curves, lines
from noisezoo.analysis.relations import Intersections, intersections, shared_probes
from .claims import MEAN, POINTS, Claim, Evidence, Json, beyond_twins, noise_views, over
from .data import Data
from .study import IMAGES, Analysis, Options, Page, Requirement, Study, register_study, spread, tidy

ROWS, AXES, DIM, RIDGE = 2000, 100, 10, 0.1
"""At most so many rows and leading axes of a view, as neighbours cost their square; dimensions sought; ridge."""
ENCODERS = 2
LEAST_DRAWS = 19
"""Draws of a null that can reject at 5 %."""


def shares_a_space(results: Json) -> Iterator[Evidence]:
    """First held-out canonical value of noise and encoder, over the upper end of its null."""
    for (view, encoder), row in _first_values(results).items():
        if None not in (row["null_high"], row["estimate"]) and view in noise_views(results):
            what = f"first shared dimension with {encoder} ({row['n_shared']} shared)"
            yield Evidence.of(view, what, "permuted rows", over(row, row["null_high"]))


def shares_more_than_untrained(results: Json) -> Iterator[Evidence]:
    """The same, less that of the network before training."""
    return beyond_twins(results, _first_values(results), "first shared dimension with {}")


def _first_values(results: Json) -> dict[tuple[str, str], Json]:
    """Rows of the first dimension of every space of two views."""
    rows = [row for row in results.get("shared", {}).get("values", ()) if row["dimension"] == 0]
    return {(pair[0], pair[1]): row for row in rows if len(pair := row["subset"].split(" + ")) == 2}


def neighbours_agree(results: Json) -> Iterator[Evidence]:
    """Neighbours in common between a noise view's spaces with two encoders, less those of the network before training.

    Over permuted rows the encoders' own likeness would already be an agreement, whatever the noise holds.
    """
    return beyond_twins(results, dict(_agreement(results)), "neighbours, {}", **POINTS)


def _agreement(results: Json) -> Iterator[tuple[tuple[str, str], Json]]:
    """(view, its two encoders) and the row, for pairs of intersections with one view in common."""
    for row in results.get("shared", {}).get("agreement", ()):
        first, second = row["first"].split(" + "), row["second"].split(" + ")
        if len(first) == len(second) == 2 and first[0] == second[0]:
            yield (first[0], f"{first[1]} against {second[1]}"), row


@register_study
class SharedSpace(Study):
    """GCCA of every noise view (and its controls) with encoders: held-out values, shared dimensions, neighbours."""

    name = "shared"
    about = "the spaces that views share"
    place = 90
    template = "templates/shared.html.j2"
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
        part = data.part(min(ROWS, options.effort.max_rows), options.seed, AXES)
        views = list(spread(part.leading, names).values())
        found = intersections(
            views, min(DIM, *(X.shape[1] for X in views)), names=names,
            subsets=[[names.index(view) for view in subset] for subset in subsets], ridge=RIDGE, groups=part.groups,
            n_permutations=max(LEAST_DRAWS, options.effort.n_permutations), n_splits=options.effort.n_splits,
            seed=options.seed,
        )  # fmt: skip
        values = [row for label, space in _labelled(found, names).items()
                  for row in tidy(space.records(), subset=label, n_shared=space.n_shared)]  # fmt: skip
        probed = {label: shared_probes(space, part.Y, part.names) for label, space in _labelled(found, names).items()}
        probes = [row for label, table in probed.items() for row in tidy(table.records(), subset=label)]
        agreement = found.records()
        caveats = [*part.caveats(led=False), f"at most {AXES} leading axes of a view"]
        means = [row for row in probes if row["attribute"] == MEAN]
        analysis.results[self.name] = {**found.settings(), "ridge": RIDGE, "values": values, "agreement": agreement,
                                       "probes": means, "caveats": caveats}  # fmt: skip
        analysis.rows |= {"shared_values": values, "shared_agreement": agreement, "shared_probes": probes}

    def exhibit(self, page: Page) -> Json:
        """Held-out canonical values by dimension, a figure an encoder: noise, its untrained twin and the picture."""
        rows = [{**row, "pair": row["subset"].split(" + "), "at": row["dimension"] + 1, "n": page.n(self.name)}
                for row in page.results[self.name]["values"]]  # fmt: skip
        encoders = dict.fromkeys(row["pair"][1] for row in rows if len(row["pair"]) == 2)
        with_it = {name: [(r["pair"][0], r) for r in rows if r["pair"][1:] == [name]] for name in encoders}
        agreement = [{**row, "view": view, "encoders": encoders} for (view, encoders), row in _agreement(page.results)]
        return {"charts": [_canonical(page, encoder, found) for encoder, found in with_it.items()],
                "agreement": agreement}  # fmt: skip


def _canonical(page: Page, encoder: str, rows: list[tuple[str, Json]]) -> Any:
    top = max(row["null_high"] or 0.0 for _, row in rows)
    title = f"Held-out correlation of shared dimensions with {encoder}"
    return curves(f"shared-{encoder}", f"{page.name}: {title}; null at most {top:.2f}",
                  lines(page.facts, rows, x="at"), title=title, level=top,
                  xlabel="shared dimension; grey line: upper end of the largest null")  # fmt: skip


def _subsets(analysis: Analysis) -> tuple[list[str], list[tuple[str, ...]]]:
    """The views taken, and which of them make a space: each noise view and each of its likes with each encoder."""
    encoders, noise = analysis.encoders[:ENCODERS], analysis.names("noise")
    others = [*analysis.noise_and_likes, *analysis.of_family("random")]
    subsets: list[tuple[str, ...]] = [(other, encoder) for other in others for encoder in encoders]
    joint = [tuple(encoders), tuple(noise), (*noise, *encoders)]
    subsets += [s for s in dict.fromkeys(joint) if len(s) > 1 and s not in subsets]
    return [*others, *encoders], subsets


def _labelled(found: Intersections, names: list[str]) -> dict[str, Any]:
    return {" + ".join(names[i] for i in subset): space for subset, space in found.spaces.items()}
