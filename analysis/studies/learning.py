"""How readability grows with the number of images."""

from typing import Any

from noisezoo.analysis.controls import LearningCurve, learning_curve
from noisezoo.analysis.studies.data import Data
from noisezoo.analysis.studies.study import Analysis, Options, Study, side_by_side, tidy


class Learning(Study):
    """Learning curves of each noise view, its untrained twin, the pixels and the first encoder."""

    name = "learning"
    about = "learning curves"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, size, attribute and metric."""
        views = [*analysis.noise_and_twins, *analysis.of_family("pixels"), *analysis.encoders[:1]]
        part = data.part(options.effort.max_rows, options.seed)
        draws: Any = {"n_splits": options.effort.few_splits, "seed": options.seed}

        def learnt(view: str) -> LearningCurve:
            return learning_curve(part.features(view), part.Y, part.names, groups=part.groups, **draws)

        found = dict(zip(views, side_by_side(learnt, views), strict=True))
        rows = [row for view, curve in found.items() for row in tidy(curve.records(), view=view)]
        caveats = dict.fromkeys(sentence for curve in found.values() for sentence in curve.caveats)
        means = [row for row in rows if row["attribute"] == "mean"]
        analysis.results[self.name] = {"rows": means, "caveats": part.caveats(led=False) + list(caveats)}
        analysis.rows[self.name] = rows
