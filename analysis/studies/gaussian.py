"""How Gaussian every view is, in full size (Table 1 of the paper, and what its projections cannot see)."""

from noisezoo.analysis.data import Data
from noisezoo.analysis.multinormality import gaussianity
from noisezoo.analysis.studies.base import Analysis, Options, Study, side_by_side, tidy


class Gaussianity(Study):
    """Every family of tests on every view."""

    name = "gaussianity"
    about = "is every view Gaussian, with calibration and power"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Results by view."""
        found = side_by_side(lambda view: gaussianity(data.stored(view), seed=options.seed), data.views)
        named = dict(zip(data.views, found, strict=True))
        analysis.results[self.name] = {view: result.to_dict() for view, result in named.items()}
        analysis.rows[self.name] = [row for view, result in named.items() for row in tidy(result.records(), view=view)]
