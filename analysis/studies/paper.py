"""What the paper did, as it did it: for comparison with its tables, not because it is enough."""

import numpy as np

from noisezoo.analysis.probes import PaperProbes, paper_probes
from noisezoo.analysis.studies.data import Data
from noisezoo.analysis.studies.study import Analysis, Options, Study, side_by_side, tidy


class Paper(Study):
    """Table 2: PCA to 500 or 310, scikit-learn's defaults, test rows of the dataset's own splits."""

    name = "paper"
    about = "the paper's own probes"

    def wanted(self, options: Options) -> bool:
        """Only where asked for."""
        return options.paper

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, attribute and score."""
        kinds = {view["name"]: view["kind"] for view in analysis.views}

        def probed(view: str) -> PaperProbes:
            return paper_probes(
                data.features(view).astype(np.float32, copy=False), data.Y, data.names, train=data.train,
                kind=kinds[view], groups=data.groups, seed=options.seed,
            )  # fmt: skip

        found = dict(zip(data.views, side_by_side(probed, data.views), strict=True))
        rows = [row for view, one in found.items() for row in tidy(one.records(), view=view)]
        caveats = dict.fromkeys(sentence for one in found.values() for sentence in one.caveats)
        analysis.results[self.name] = {"rows": rows, "caveats": list(caveats)}
        analysis.rows["paper_probes"] = rows
