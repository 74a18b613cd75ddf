"""Is it CLIP's text: what training adds to conditioned models, against unconditional ones."""

from collections.abc import Iterator

from noisezoo.analysis.controls import difference_of_differences
from noisezoo.analysis.figures import dots, hue
from noisezoo.analysis.probes import Comparison
from .claims import METRIC, Json
from .data import Data
from .study import Analysis, Options, Page, Requirement, Study, register_study


@register_study
class Conditioning(Study):
    """Trained minus untrained of every CLIP-conditioned noise view, minus the same of every unconditional one."""

    name = "conditioning"
    about = "CLIP-conditioned against unconditional models"
    place = 110
    needs = ("probes",)
    template = "templates/conditioning.html.j2"
    weight = 0.1
    requires = (
        Requirement(
            "models with and without CLIP's text, with their untrained views", lambda analysis: any(_pairs(analysis))
        ),
    )

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by pair, attribute and metric."""
        found: dict[tuple[str, ...], Comparison] = {}
        for pair in _pairs(analysis):
            a, b = ((analysis.tables[v["name"]], analysis.tables[v["baseline"]]) for v in pair)
            if set(a[0].names) & set(a[1].names) & set(b[0].names) & set(b[1].names):
                found[pair[0]["name"], pair[1]["name"]] = difference_of_differences(a, b, metrics=(METRIC,))
        analysis.record(self.name, found, ("conditioned", "unconditional"))

    def exhibit(self, page: Page) -> Json:
        """Trained minus untrained, conditioned minus unconditional."""
        rows = [(f"{row['conditioned']} minus {row['unconditional']}", row, hue(page.facts[row["conditioned"]]))
                for row in page.rows(self.name)]  # fmt: skip
        ends = ("training adds less with CLIP's text", "training adds more with CLIP's text")
        return {"chart": dots(self.name, f"{page.name}: conditioned minus unconditional", rows, ends=ends)}


def _pairs(analysis: Analysis) -> Iterator[tuple[Json, Json]]:
    here = {view["name"] for view in analysis.views}
    noise = [view for view in analysis.noise if view["baseline"] in here]
    for conditioned in (view for view in noise if view["clip_conditioned"] is True):
        yield from ((conditioned, view) for view in noise if view["clip_conditioned"] is False)
