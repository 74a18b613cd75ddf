"""How alike the geometry of every two views is."""

from typing import Any

from noisezoo.analysis.figures import matrix
from noisezoo.analysis.relations import alignment_matrix
from noisezoo.analysis.studies.claims import Json
from noisezoo.analysis.studies.data import Data
from noisezoo.analysis.studies.study import TWO_VIEWS, Analysis, Options, Page, Study, register_study

ROWS, SPLITS = 3000, 8
"""At most so many, as neighbours cost their square, in every half of every split."""
MEASURES = {"cka": "Unbiased CKA", "mutual_knn": "Mutual nearest neighbours", "svcca": "SVCCA, held out",
            "procrustes": "Procrustes, held out"}  # fmt: skip


@register_study
class Alignment(Study):
    """Unbiased CKA, mutual neighbours, held-out SVCCA and Procrustes of every pair of views, each with its null."""

    name = "alignment"
    about = "how alike the geometry of every two views is"
    place = 80
    template = "templates/alignment.html.j2"
    requires = (TWO_VIEWS,)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by pair and measure."""
        part, effort = data.part(options.effort.max_rows, options.seed), options.effort
        views = {view: part.leading(view) for view in part.views}
        draws: Any = {"n_splits": min(SPLITS, effort.n_splits), "n_permutations": effort.n_permutations}
        found = alignment_matrix(views, groups=part.groups, max_rows=ROWS, seed=options.seed, **draws)
        analysis.record(self.name, {(): found}, caveats=part.caveats())

    def exhibit(self, page: Page) -> Json:
        """A matrix a measure, both ways round."""
        both = [(row["measure"], *pair, row["estimate"]) for row in page.rows(self.name)
                for pair in ((row["a"], row["b"]), (row["b"], row["a"]))]  # fmt: skip
        found = [matrix(f"{page.name}: {title}", [cell[1:] for cell in both if cell[0] == measure], page.facts,
                        title=title) for measure, title in MEASURES.items()]  # fmt: skip
        return {"alignments": [chart for chart in found if chart]}
