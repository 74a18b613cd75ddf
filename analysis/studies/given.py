"""What noise and encoder share given the picture: the confound in one number."""

from itertools import product

from noisezoo.analysis.controls import partial_cca, shared_given
from .claims import MEAN, Claim, Json, beyond_twins, rows_of
from .data import Data
from .study import ENCODER, NOISE, PICTURE, Analysis, Options, Page, Study, independent_rows, register_study, small_part

KEYS = ("view", "encoder", "given")
LEAST = 40
"""Images, or identities, from which canonical correlations are of a view's two leading axes or more."""

shares_more_than_the_picture = beyond_twins(
    lambda results: rows_of(results, "given", measure="partial r2"), "partial R2 of {encoder} given {given}"
)


@register_study
class Given(Study):
    """Each noise view and its untrained twin with each encoder, given the pixels and given the autoencoder's latent."""

    name = "given"
    about = "what noise and encoder share given the picture"
    place = 85
    requires = (NOISE, ENCODER, PICTURE)
    claims = (Claim("Shared beyond the picture", "partial R2, more than before training", "stitching, objection",
                    shares_more_than_the_picture),)  # fmt: skip

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`given`: rows by view, encoder, given view and measure; `partial_cca`: and by pair of directions."""
        part = small_part(data, options)
        turned = product(analysis.pictures, analysis.encoders[:1], analysis.noise_and_twins)
        items = [(view, encoder, picture) for picture, encoder, view in turned]
        found = part.spread(shared_given, items, **options.few_draws)
        analysis.record(self.name, found, KEYS, caveats=part.caveats())
        if independent_rows(analysis) >= LEAST:
            analysis.record("partial_cca", part.spread(partial_cca, items, **options.few_draws), KEYS)

    def exhibit(self, page: Page) -> Json:
        """Partial R2 by pair of views; what the picture predicts alone; canonical correlations without and given it."""
        rows = page.rows(self.name)
        drawn = [row for row in rows if row["measure"] == "partial r2"]
        alone = {(r["encoder"], r["given"]): r for r in rows if r["measure"] == "r2 given"}
        chart = page.dots(self.name, "partial R² given the picture", drawn, "{view}, given {given}",
                          unit="points of R²", ends=("less than the picture", "noise adds"))  # fmt: skip
        means: dict[tuple[str, str], dict[str, Json]] = {}
        for row in page.rows("partial_cca"):
            if row["pair"] == MEAN:
                means.setdefault((row["view"], row["given"]), {})[row["measure"].split()[0]] = row
        return {"chart": chart, "alone": list(alone.values()), "correlations": means}
