"""What inversion leaves of the picture in the noise."""

from typing import Any

from noisezoo.analysis.controls import noise_structure
from .data import Data, spread
from .study import NOISE, PIXELS, Analysis, Options, Study, register_study

SMALLEST = 4
"""Positions along either side of a grid of noise that has smooth places and textured ones."""


@register_study
class Structure(Study):
    """What inversion leaves of the picture in each noise view and its untrained twin, against iid noise."""

    name = "structure"
    about = "what is left of the picture in the noise"
    place = 100
    methods = "Structure within each noise was measured against iid Gaussian noise of the same shape."
    weight = 0.5
    requires = (NOISE, PIXELS)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view and statistic, of views whose rows are large enough grids."""
        pictures = analysis.of_family("pixels")[0]
        images = data.matrix(pictures).reshape(-1, *data.shape(pictures))

        shapes: Any = {view: data.shape(view) for view in analysis.noise_and_twins}
        large = [view for view, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) >= SMALLEST]
        caveats = [f"{view} has no grid of {SMALLEST} x {SMALLEST}" for view in shapes if view not in large]
        draws: Any = {"groups": data.groups, "seed": options.seed}
        found = spread(lambda view: noise_structure(data.stored(view), images, shapes[view], **draws), large)
        analysis.record(self.name, found, ["view"], caveats=caveats)
