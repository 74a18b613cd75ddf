"""How Gaussian every view is, in full size (Table 1 of the paper, and what its projections cannot see)."""

from typing import Any

from noisezoo.analysis.controls import planted_power
from noisezoo.analysis.gaussian import gaussianity, paper_gaussianity
from noisezoo.analysis.studies.data import Data, Json
from noisezoo.analysis.studies.study import Analysis, Options, Study, side_by_side, tidy

ENOUGH = 250
"""Rows that the paper tested."""
REPLICATES = 10


class Gaussianity(Study):
    """Every family of tests on every view, the paper's own test, and for models what the tests could have found."""

    name = "gaussianity"
    about = "is every view Gaussian, with calibration"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Results by view; the paper's own test and the power of all tests under `paper` and `power`."""
        found = side_by_side(lambda view: gaussianity(data.stored(view), seed=options.seed), data.views)
        analysis.gaussianity |= zip(data.views, found, strict=True)
        analysis.results[self.name] = {
            view: {**result.to_dict(), "sentence": result.sentence()} for view, result in analysis.gaussianity.items()
        }
        rows = {view: result.records() for view, result in analysis.gaussianity.items()}
        analysis.rows[self.name] = [row for view, records in rows.items() for row in tidy(records, view=view)]
        if len(data) >= ENOUGH:
            self._as_the_paper(data, analysis, options)
        self._power(data, analysis, options)

    def _as_the_paper(self, data: Data, analysis: Analysis, options: Options) -> None:
        found = side_by_side(lambda view: paper_gaussianity(data.stored(view), seed=options.seed), data.views)
        for view, result in zip(data.views, found, strict=True):
            analysis.results[self.name][view]["paper"] = result.to_dict()
            analysis.rows.setdefault("paper_gaussianity", []).extend(tidy(result.records(), view=view))

    def _power(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Of noise and the first encoder: others share their sizes, and a table takes seconds."""
        views = [*analysis.names("noise"), *analysis.encoders[:1]]
        replicates = min(REPLICATES, options.effort.n_permutations)
        draws: Any = {"n_replicates": replicates, "seed": options.seed}
        found = side_by_side(lambda view: planted_power(data.stored(view), **draws), views)
        for view, table in zip(views, found, strict=True):
            power: Json = {**table.to_dict(), "sentence": table.sentence()}
            analysis.results[self.name][view]["power"] = power
            analysis.rows.setdefault("power", []).extend(tidy(table.records(), view=view))
