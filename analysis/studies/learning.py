"""How readability grows with the number of images."""

from typing import Any

from noisezoo.analysis.controls import LearningCurve, learning_curve
from noisezoo.analysis.figures import curves, lines
from .claims import METRIC, Json
from .data import Data
from .study import Analysis, Options, Page, Requirement, Study, register_study, spread


def _views(analysis: Analysis) -> list[str]:
    return [*analysis.noise_and_likes, *analysis.encoders[:1]]


@register_study
class Learning(Study):
    """Learning curves of each noise view, its untrained twin, the pixels and the first encoder."""

    name = "learning"
    about = "learning curves"
    place = 50
    template = "templates/learning.html.j2"
    requires = (Requirement("a noise view, a `pixels` view or an encoder", _views),)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, size, attribute and metric."""
        part = data.part(options.effort.max_rows, options.seed)
        draws: Any = {"n_splits": options.effort.few_splits, "seed": options.seed}

        def learnt(view: str) -> LearningCurve:
            return learning_curve(part.features(view), part.Y, part.names, groups=part.groups, **draws)

        analysis.record(self.name, spread(learnt, _views(analysis)), ["view"], caveats=part.caveats(led=False))

    def exhibit(self, page: Page) -> Json:
        """Mean balanced accuracy by training rows, where there are two sizes at least."""
        rows = [row for row in page.rows(self.name) if row["metric"] == METRIC and row["estimate"] is not None]
        if len({row["size"] for row in rows}) < 2:
            return {"chart": None}
        drawn = lines(page.facts, [(row["view"], row) for row in rows], x="size", scale=100)
        alt = f"{page.name}: learning curves; mean balanced accuracy by training images"
        chart = curves(self.name, alt, drawn, title="Mean balanced accuracy, %", xlabel="training images of a probe",
                       logarithmic=True, level=50)  # fmt: skip
        return {"chart": chart}
