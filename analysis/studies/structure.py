"""What inversion leaves of the picture in the noise."""

from noisezoo.analysis.controls import NoiseStructure, noise_structure
from .data import Data
from .study import NOISE, PIXELS, Analysis, Options, Study, register_study, spread

SMALLEST = 4
"""Positions along either side of a grid of noise that has smooth places and textured ones."""


@register_study
class Structure(Study):
    """What inversion leaves of the picture in each noise view and its untrained twin, against iid noise."""

    name = "structure"
    about = "what is left of the picture in the noise"
    place = 100
    template = "templates/structure.html.j2"
    methods = "Structure within each noise was measured against iid Gaussian noise of the same shape."
    weight = 0.5
    requires = (NOISE, PIXELS)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view and statistic, of views whose rows are large enough grids."""
        pictures = analysis.of_family("pixels")[0]
        images = data.matrix(pictures).reshape(-1, *data.shape(pictures))

        def examined(view: str) -> NoiseStructure:
            c, h, w = data.shape(view)
            return noise_structure(data.stored(view), images, (c, h, w), groups=data.groups, seed=options.seed)

        shapes = {view: data.shape(view) for view in analysis.noise_and_twins}
        large = [view for view, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) >= SMALLEST]
        caveats = [f"{view} has no grid of {SMALLEST} x {SMALLEST}" for view in shapes if view not in large]
        analysis.record(self.name, spread(examined, large), ["view"], caveats=caveats)
