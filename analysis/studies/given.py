"""What noise and encoder share given the picture: the confound in one number."""

from collections.abc import Iterator
from typing import Any

from noisezoo.analysis.figures import dots, hue
from noisezoo.analysis.relations import Given as Partial, shared_given
from .claims import Claim, Evidence, Json, beyond_twins
from .data import Data
from .study import ENCODER, NOISE, PICTURE, Analysis, Options, Page, Study, register_study, spread

ROWS, AXES, ENCODERS = 2000, 100, 1
"""Images and leading axes at most, as each map is fitted beside the picture in several shares."""


def shares_more_than_the_picture(results: Json) -> Iterator[Evidence]:
    """Partial R2 of encoders by noise given the picture, less that of the same network before training."""
    rows = {(row["view"], f"{row['encoder']} given {row['given']}"): row
            for row in results.get("given", {}).get("rows", ()) if row["measure"] == "partial r2"}  # fmt: skip
    return beyond_twins(results, rows, "partial R2 of {}")


@register_study
class Given(Study):
    """Each noise view and its untrained twin with each encoder, given the pixels and given the autoencoder's latent."""

    name = "given"
    about = "what noise and encoder share given the picture"
    place = 85
    template = "templates/given.html.j2"
    requires = (NOISE, ENCODER, PICTURE)
    claims = (Claim("Shared beyond the picture", "partial R2, more than before training", "stitching, objection",
                    shares_more_than_the_picture),)  # fmt: skip

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, encoder, given view and measure."""
        part, effort = data.part(min(ROWS, options.effort.max_rows), options.seed, AXES), options.effort
        draws: Any = {"n_splits": effort.few_splits, "n_permutations": effort.n_permutations, "seed": options.seed}

        def partial(*names: str) -> Partial:
            return shared_given(*map(part.leading, names), groups=part.groups, **draws)

        items = [(view, encoder, picture) for picture in analysis.pictures
                 for encoder in analysis.encoders[:ENCODERS] for view in analysis.noise_and_twins]  # fmt: skip
        analysis.record(self.name, spread(partial, items), ("view", "encoder", "given"), caveats=part.caveats())

    def exhibit(self, page: Page) -> Json:
        """Partial R2 by pair, and a table with what the picture predicts alone."""
        rows = page.rows(self.name)
        drawn = [(f"{r['view']}, given {r['given']}", r, hue(page.facts[r["view"]]))
                 for r in rows if r["measure"] == "partial r2"]  # fmt: skip
        alone = {(r["encoder"], r["given"]): r for r in rows if r["measure"] == "r2 given"}
        chart = dots(f"{page.name}: partial R² given the picture", drawn, ends=("less than the picture", "noise adds"),
                     unit="points of R²")  # fmt: skip
        return {"chart": chart, "alone": list(alone.values())}
