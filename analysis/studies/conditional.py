"""What the noise adds to the picture itself, and the picture to it."""

from collections.abc import Iterable, Iterator
from typing import Any

from noisezoo.analysis.controls import ConditionalValue, conditional_value
from noisezoo.analysis.figures import dots, hue
from .claims import METRIC, POINTS, Claim, Evidence, Json, beyond_twins
from .data import Data
from .study import NOISE, PICTURE, Analysis, Options, Page, Study, register_study, spread

MAX_ROWS = 3000
"""Images at most: every pair is fitted at every share of the variance."""


def added(rows: Iterable[Json]) -> list[Json]:
    """Rows of what a view adds to its control."""
    return [row for row in rows
            if (row["metric"], row["what"]) == (METRIC, f"{row['view']} given {row['control']}")]  # fmt: skip


def adds_to_pixels(results: Json) -> Iterator[Evidence]:
    """What the noise adds to probes of the picture, less what its network adds before training."""
    rows = {(row["view"], row["control"]): row for row in added(results.get("conditional", {}).get("rows", ()))}
    return beyond_twins(results, rows, "mean balanced accuracy added to {}", **POINTS)


@register_study
class Conditional(Study):
    """Each noise view (and its untrained twin) beside the pixels and beside the autoencoder's latent."""

    name = "conditional"
    about = "what noise adds to pixels and to the VAE latent"
    place = 40
    template = "templates/conditional.html.j2"
    methods = (
        "What noise adds to the picture is the balanced accuracy of probes of both together less that of probes "
        "of the picture alone."
    )
    weight = 4.0
    requires = (NOISE, PICTURE)
    claims = (
        Claim("It is not in the picture", "noise tells what pixels do not", "Table 2, objection", adds_to_pixels),
    )

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by control and view: `what` is either alone, both, or one given the other."""
        part = data.part(min(MAX_ROWS, options.effort.max_rows), options.seed)
        draws: Any = {"n_splits": options.effort.few_splits, "seed": options.seed,
                      "n_permutations": min(1, options.effort.n_permutations)}  # fmt: skip

        def both(*pair: str) -> ConditionalValue:
            A, B = map(part.leading, pair)
            return conditional_value(A, B, part.Y, part.names, views=pair, groups=part.groups, **draws)  # type: ignore[arg-type]

        pairs = [(control, view) for view in analysis.noise_and_twins for control in analysis.pictures]
        analysis.record(self.name, spread(both, pairs), ("control", "view"), caveats=part.caveats())

    def exhibit(self, page: Page) -> Json:
        """What each noise view adds to each of its controls."""
        rows = [(f"{row['view']} to {row['control']}", row, hue(page.facts[row["view"]]))
                for row in added(page.rows(self.name))]  # fmt: skip
        ends = ("the picture alone reads better", "noise adds")
        return {"chart": dots(self.name, f"{page.name}: what noise adds", rows, ends=ends)}
