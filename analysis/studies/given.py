"""What noise and encoder share given the picture: the confound in one number."""

from collections.abc import Iterator

from noisezoo.analysis.controls import Given as Partial, PartialCCA, partial_cca, shared_given
from noisezoo.analysis.figures import dots, hue
from .claims import MEAN, Claim, Evidence, Json, beyond_twins
from .data import Data
from .study import (
    ENCODER,
    NOISE,
    PICTURE,
    Analysis,
    Options,
    Page,
    Study,
    independent_rows,
    register_study,
    spread,
)  # fmt: skip

ROWS, AXES, ENCODERS = 2000, 100, 1
"""Images and leading axes at most, as each map is fitted beside the picture in several shares."""
LEAST = 40
"""Images, or identities, from which canonical correlations are of a view's two leading axes or more."""


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
        """`given`: rows by view, encoder, given view and measure; `partial_cca`: and by pair of directions."""
        part = data.part(min(ROWS, options.effort.max_rows), options.seed, AXES)

        def partial(*names: str) -> Partial:
            return shared_given(*map(part.leading, names), groups=part.groups, **options.few_draws)

        def correlated(*names: str) -> PartialCCA:
            return partial_cca(*map(part.leading, names), groups=part.groups, **options.few_draws)

        items = [(view, encoder, picture) for picture in analysis.pictures
                 for encoder in analysis.encoders[:ENCODERS] for view in analysis.noise_and_twins]  # fmt: skip
        analysis.record(self.name, spread(partial, items), ("view", "encoder", "given"), caveats=part.caveats())
        if independent_rows(analysis) >= LEAST:
            analysis.record("partial_cca", spread(correlated, items), ("view", "encoder", "given"))

    def exhibit(self, page: Page) -> Json:
        """Partial R2 by pair of views; what the picture predicts alone; canonical correlations without and given it."""
        rows = page.rows(self.name)
        drawn = [(f"{r['view']}, given {r['given']}", r, hue(page.facts[r["view"]]))
                 for r in rows if r["measure"] == "partial r2"]  # fmt: skip
        alone = {(r["encoder"], r["given"]): r for r in rows if r["measure"] == "r2 given"}
        chart = dots(self.name, f"{page.name}: partial R² given the picture", drawn, unit="points of R²",
                     ends=("less than the picture", "noise adds"))  # fmt: skip
        means: dict[tuple[str, str], dict[str, Json]] = {}
        for row in page.rows("partial_cca"):
            if row["pair"] == MEAN:
                means.setdefault((row["view"], row["given"]), {})[row["measure"].split()[0]] = row
        return {"chart": chart, "alone": list(alone.values()), "correlations": means}
