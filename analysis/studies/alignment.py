"""How alike the geometry of every two views is."""

from typing import Any

from noisezoo.analysis.relations import alignment_matrix
from noisezoo.analysis.studies.data import Data
from noisezoo.analysis.studies.study import Analysis, Options, Study

ROWS, SPLITS = 3000, 8
"""At most so many, as neighbours cost their square, in every half of every split."""


class Alignment(Study):
    """Unbiased CKA, mutual neighbours, held-out SVCCA and Procrustes of every pair of views, each with its null."""

    name = "alignment"
    about = "how alike the geometry of every two views is"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by pair and measure."""
        if len(data.views) < 2:
            return
        part, effort = data.part(options.effort.max_rows, options.seed), options.effort
        views = {view: part.leading(view) for view in part.views}
        draws: Any = {"n_splits": min(SPLITS, effort.n_splits), "n_permutations": effort.n_permutations}
        found = alignment_matrix(views, groups=part.groups, max_rows=ROWS, seed=options.seed, **draws)
        result = found.to_dict()
        analysis.results[self.name] = {**result, "caveats": part.caveats() + result["caveats"]}
        analysis.rows[self.name] = found.records()
