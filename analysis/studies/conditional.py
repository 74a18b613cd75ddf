"""What the noise adds to the picture itself, and the picture to it."""

from collections.abc import Iterable
from typing import Any

from noisezoo.analysis.controls import ConditionalValue, conditional_value
from .claims import METRIC, POINTS, Claim, Json, beyond_twins, rows_of
from .data import Data, spread
from .study import NOISE, PICTURE, Analysis, Options, Page, Study, register_study

MAX_ROWS = 3000
"""Images at most: every pair is fitted at every share of the variance."""


def added(rows: Iterable[Json]) -> list[Json]:
    """Rows of what a view adds to its control."""
    return [row for row in rows
            if (row["metric"], row["what"]) == (METRIC, f"{row['view']} given {row['control']}")]  # fmt: skip


adds_to_pixels = beyond_twins(
    lambda results: added(rows_of(results, "conditional")), "mean balanced accuracy added to {control}", **POINTS
)


@register_study
class Conditional(Study):
    """Each noise view (and its untrained twin) beside the pixels and beside the autoencoder's latent."""

    name = "conditional"
    about = "what noise adds to pixels and to the VAE latent"
    place = 40
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
        draws: Any = {**options.few_draws, "n_permutations": min(1, options.effort.n_permutations)}

        def both(*pair: str) -> ConditionalValue:
            A, B = map(part.leading, pair)
            return conditional_value(A, B, part.Y, part.names, views=pair, groups=part.groups, **draws)  # type: ignore[arg-type]

        pairs = [(control, view) for view in analysis.noise_and_twins for control in analysis.pictures]
        analysis.record(self.name, spread(both, pairs), ("control", "view"), caveats=part.caveats())

    def exhibit(self, page: Page) -> Json:
        """What each noise view adds to each of its controls."""
        ends = ("the picture alone reads better", "noise adds")
        rows = added(page.rows(self.name))
        return {"chart": page.dots(self.name, "what noise adds", rows, "{view} to {control}", ends=ends)}
