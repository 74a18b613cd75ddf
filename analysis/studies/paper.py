"""What the paper did, as it did it: for comparison with its tables, not because it is enough."""

from itertools import product

import numpy as np

from noisezoo.analysis.probes import CLASSIFIERS, PaperProbes, paper_probes
from noisezoo.analysis.studies.data import Data
from noisezoo.analysis.studies.study import Analysis, Options, Study, register_study, spread


@register_study
class Paper(Study):
    """Table 2: PCA to 500 or 310, standard scaling, both classifiers, test rows of the dataset's own splits."""

    name = "paper"
    about = "the paper's own probes"
    place = 60
    on_request = True
    template = "templates/paper.html.j2"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, classifier, attribute and score."""
        kinds = {view["name"]: view["kind"] for view in analysis.views}

        def probed(view: str, classifier: str) -> PaperProbes:
            return paper_probes(
                data.features(view).astype(np.float32, copy=False), data.Y, data.names, train=data.train,
                kind=kinds[view], classifier=classifier, groups=data.groups, seed=options.seed,
            )  # fmt: skip

        analysis.record(self.name, spread(probed, product(data.views, CLASSIFIERS)), ("view", "classifier"))
        analysis.rows["paper_probes"] = analysis.rows.pop(self.name)
