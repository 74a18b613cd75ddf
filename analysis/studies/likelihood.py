"""How likely each image is in each view, under the Gaussian law of the others."""

from typing import Any

from noisezoo.analysis.gaussian import RowLikelihood, row_likelihood
from noisezoo.schema import ID
from .claims import Json
from .data import Data, spread
from .study import Analysis, Options, Page, Requirement, Study, independent_rows, register_study

WORST = 3
LEAST = 60


@register_study
class Likelihood(Study):
    """Gaussian log-likelihood of every image in every view, with outliers."""

    name = "likelihood"
    about = "how likely each image is under a Gaussian law"
    place = 15
    requires = (Requirement("60 images, or identities", lambda analysis: independent_rows(analysis) >= LEAST),)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view; every image's column is in the table."""
        draws: Any = {"groups": data.groups, "seed": options.seed}
        found = spread(lambda view: row_likelihood(data.features(view), **draws), data.views)
        tables = {view: [{ID: data.ids[row["row"]], "view": view, **row} for row in one.records()]
                  for view, one in found.items()}  # fmt: skip
        analysis.rows[self.name] = sum(tables.values(), [])
        analysis.results[self.name] = {"rows": [_summary(view, one, tables[view]) for view, one in found.items()]}

    def exhibit(self, page: Page) -> Json:
        """The summary of every view."""
        return {"likelihoods": page.rows(self.name)}


def _summary(view: str, found: RowLikelihood, rows: list[Json]) -> Json:
    least = sorted(rows, key=lambda row: row["p_value"])[:WORST]
    said: dict[str, Any] = {"view": view, "n": found.n, "axes": found.axes, **found.share.to_dict()}
    return {**said, "outliers": int(found.outlier.sum()), "least": [row[ID] for row in least]}
