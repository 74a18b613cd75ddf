"""How alike the geometry of every two views is."""

from noisezoo.analysis.data import Data
from noisezoo.analysis.similarity import alignment_matrix
from noisezoo.analysis.studies.base import Analysis, Options, Study


class Alignment(Study):
    """Unbiased CKA, mutual neighbours, held-out SVCCA and Procrustes of every pair of views, each with its null."""

    name = "alignment"
    about = "how alike the geometry of every two views is"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by pair and measure."""
        if len(data.views) < 2:
            return
        views = {view: data.features(view) for view in data.views}
        found = alignment_matrix(views, groups=data.groups, seed=options.seed)
        analysis.results[self.name] = found.to_dict()
        analysis.rows[self.name] = found.records()
