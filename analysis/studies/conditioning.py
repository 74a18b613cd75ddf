"""Is it CLIP's text: what training adds to conditioned models, against unconditional ones."""

from itertools import product

from noisezoo.analysis.controls import difference_of_differences
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
    weight = 0.1
    requires = (
        Requirement("models with and without CLIP's text, with their untrained views", lambda found: _pairs(found)),
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
        rows = [{**row, "view": row["conditioned"]} for row in page.rows(self.name)]
        ends = ("training adds less with CLIP's text", "training adds more with CLIP's text")
        label = "{conditioned} minus {unconditional}"
        return {"chart": page.dots(self.name, "conditioned minus unconditional", rows, label, ends=ends)}


def _pairs(analysis: Analysis) -> list[tuple[Json, Json]]:
    here = {view["name"] for view in analysis.views}
    noise = [view for view in analysis.noise if view["baseline"] in here]
    with_text, without = ([view for view in noise if view["clip_conditioned"] is way] for way in (True, False))
    return list(product(with_text, without))
