"""How readability grows with the number of images."""

from typing import Any

from noisezoo.analysis.controls import learning_curve
from .claims import METRIC, Json
from .data import Data, spread
from .study import Analysis, Options, Page, Requirement, Study, register_study


def _views(analysis: Analysis) -> list[str]:
    return [*analysis.noise_and_likes, *analysis.encoders[:1]]


@register_study
class Learning(Study):
    """Learning curves of each noise view, its untrained twin, the pixels and the first encoder."""

    name = "learning"
    about = "learning curves"
    place = 50
    requires = (Requirement("a noise view, a `pixels` view or an encoder", _views),)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, size, attribute and metric."""
        part = data.part(options.effort.max_rows, options.seed)
        draws: Any = {"n_splits": options.effort.few_splits, "seed": options.seed, "groups": part.groups}
        found = spread(lambda view: learning_curve(part.features(view), part.Y, part.names, **draws), _views(analysis))
        analysis.record(self.name, found, ["view"], caveats=part.caveats(led=False))

    def exhibit(self, page: Page) -> Json:
        """Mean balanced accuracy by training rows, where there are two sizes at least."""
        rows = [row for row in page.rows(self.name) if row["metric"] == METRIC and row["estimate"] is not None]
        if len({row["size"] for row in rows}) < 2:
            return {"chart": None}
        alt = "learning curves; mean balanced accuracy by training images"
        return {"chart": page.curves(self.name, "Mean balanced accuracy, %", rows, "size", alt=alt, scale=100, level=50,
                                     xlabel="training images of a probe", logarithmic=True)}  # fmt: skip
