"""How alike can two views be, given two pictures of one thing: the noise ceiling of what noise and encoder share."""

from collections.abc import Iterator

from noisezoo.analysis.controls import Ceiling as Shared, share_of_ceiling
from noisezoo.analysis.figures import dots, hue
from .claims import Claim, Evidence, Json, beyond_twins
from .data import Data
from .study import NOISE, Analysis, Options, Page, Requirement, Study, independent_rows, register_study, spread

ROWS, AXES, LEAST = 2000, 100, 40
"""Images and leading axes at most, and images, or identities, at least: half of them train maps."""
COPY = Requirement("an encoder and its view of augmented pictures (ENCODER-flip or ENCODER-crop), 40 images",
                   lambda analysis: _copied(analysis) and independent_rows(analysis) >= LEAST)  # fmt: skip


def _copied(analysis: Analysis) -> dict[str, str]:
    """Encoder -> its view of augmented pictures."""
    return {view: copy for view, copy in analysis.copies.items() if view in analysis.encoders}


def comes_nearer_the_ceiling(results: Json) -> Iterator[Evidence]:
    """Share of the ceiling of an encoder's R2 that noise reaches, less that of the same network before training."""
    rows = {(row["view"], row["encoder"]): row for row in results.get("ceiling", {}).get("rows", ())
            if (row["what"], row["measure"]) == ("share", "r2")}  # fmt: skip
    return beyond_twins(results, rows, "share of the ceiling of {}")


@register_study
class Ceiling(Study):
    """Each noise view, its untrained twin and the picture with each encoder that has a view of augmented pictures."""

    name = "ceiling"
    about = "how alike two views of one picture can be"
    place = 82
    template = "templates/ceiling.html.j2"
    requires = (NOISE, COPY)
    claims = (Claim("Noise nears the ceiling of an encoder", "R2 of ridge as a share, more than before training",
                    "stitching, objection", comes_nearer_the_ceiling),)  # fmt: skip
    methods = (
        "As a noise ceiling, an encoder's embeddings of mirrored or cropped pictures were mapped to those of the "
        "pictures themselves; what noise views reach is given as a share of it, with half-sample intervals."
    )

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, encoder, what (`found`, `ceiling`, `share`) and measure."""
        part = data.part(min(ROWS, options.effort.max_rows), options.seed, AXES)
        copies = _copied(analysis)

        def shared(view: str, encoder: str) -> Shared:
            three = map(part.leading, (view, encoder, copies[encoder]))
            return share_of_ceiling(*three, groups=part.groups, **options.few_draws)

        views = dict.fromkeys((*analysis.noise_and_twins, *analysis.of_family("pixels")))
        items = [(view, encoder) for encoder in copies for view in views]
        analysis.record(self.name, spread(shared, items), ("view", "encoder"), caveats=part.caveats(), copies=copies)

    def exhibit(self, page: Page) -> Json:
        """Shares of each encoder's ceiling by view, and a table of the ceilings."""
        rows, copies = page.rows(self.name), page.results[self.name]["copies"]
        shares = {(r["view"], r["encoder"], r["measure"]): r for r in rows if r["what"] == "share"}
        drawn = [
            (f"{view}, of {copies[encoder]}", r, hue(page.facts[view]))
            for (view, encoder, measure), r in shares.items()
            if measure == "r2"
        ]
        chart = dots(self.name, f"{page.name}: R² as a share of the ceiling", drawn, unit="% of the ceiling",
                     ends=("nothing", "all that the copy says"))  # fmt: skip
        ceilings = {(r["encoder"], r["measure"]): r for r in rows if r["what"] == "ceiling"}
        return {"chart": chart, "copies": copies, "ceilings": ceilings, "shares": shares}
