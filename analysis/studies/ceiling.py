"""How alike can two views be, given two pictures of one thing: the noise ceiling of what noise and encoder share."""

from noisezoo.analysis.controls import share_of_ceiling
from .claims import Claim, Json, beyond_twins, rows_of
from .data import Data
from .study import NOISE, Analysis, Options, Page, Requirement, Study, independent_rows, register_study, small_part

LEAST = 40
"""Images, or identities: half of them train maps."""
COPY = Requirement("an encoder and its view of augmented pictures (ENCODER-flip or ENCODER-crop), 40 images",
                   lambda analysis: _copied(analysis) and independent_rows(analysis) >= LEAST)  # fmt: skip


def _copied(analysis: Analysis) -> dict[str, str]:
    """Encoder -> its first view of augmented pictures."""
    found = {view["copy_of"]: view["name"] for view in reversed(analysis.views) if view.get("copy_of")}
    return {encoder: found[encoder] for encoder in analysis.encoders if encoder in found}


comes_nearer_the_ceiling = beyond_twins(
    lambda results: rows_of(results, "ceiling", what="share", measure="r2"), "share of the ceiling of {encoder}"
)


@register_study
class Ceiling(Study):
    """Each noise view, its untrained twin and the picture with each encoder that has a view of augmented pictures."""

    name = "ceiling"
    about = "how alike two views of one picture can be"
    place = 82
    requires = (NOISE, COPY)
    claims = (Claim("Noise nears the ceiling of an encoder", "R2 of ridge as a share, more than before training",
                    "stitching, objection", comes_nearer_the_ceiling),)  # fmt: skip
    methods = (
        "As a noise ceiling, an encoder's embeddings of mirrored or cropped pictures were mapped to those of the "
        "pictures themselves; what noise views reach is given as a share of it, with half-sample intervals."
    )

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, encoder, what (`found`, `ceiling`, `share`) and measure."""
        part, copies = small_part(data, options), _copied(analysis)
        items = [(view, *pair) for pair in copies.items() for view in dict.fromkeys(analysis.noise_and_likes)]
        found = part.spread(share_of_ceiling, items, **options.few_draws)
        analysis.record(self.name, found, ("view", "encoder"), caveats=part.caveats(), copies=copies)

    def exhibit(self, page: Page) -> Json:
        """Shares of each encoder's ceiling by view, and a table of the ceilings."""
        copies = page.results[self.name]["copies"]
        rows = [{**row, "copy": copies[row["encoder"]]} for row in page.rows(self.name)]
        shares = {(r["view"], r["encoder"], r["measure"]): r for r in rows if r["what"] == "share"}
        drawn = [row for row in shares.values() if row["measure"] == "r2"]
        chart = page.dots(self.name, "R² as a share of the ceiling", drawn, "{view}, of {copy}",
                          unit="% of the ceiling", ends=("nothing", "all that the copy says"))  # fmt: skip
        ceilings = {(r["encoder"], r["measure"]): r for r in rows if r["what"] == "ceiling"}
        return {"chart": chart, "copies": copies, "ceilings": ceilings, "shares": shares}
