"""The same images inverted otherwise: what the scheme and the number of steps do to every figure."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from noisezoo.analysis.controls import compare_variants
from noisezoo.analysis.gaussian import gaussianity
from noisezoo.analysis.probes import probe_table
from noisezoo.analysis.relations import alignment, stitch
from noisezoo.errors import UsageError
from .claims import MEAN, Json
from .data import Data
from .probing import SHOWN
from .study import IMAGES, NOISE, Analysis, Options, Page, Study, register_study, tidy

REFERENCE = "this dataset"


@register_study
class Inversions(Study):
    """Other datasets of the same images, whose noise was made by other schemes or numbers of steps."""

    name = "inversions"
    about = "the same images inverted otherwise"
    place = 130
    needs = ("probes",)
    reads = ("variants",)
    weight = 2.0
    requires = (NOISE, IMAGES)

    def lacks(self, analysis: Analysis, options: Options) -> str:
        """Noise, and other datasets to compare with."""
        return super().lacks(analysis, options) if options.variants else "--variant NAME=DATASET"

    def check(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Every variant is of the same images and has a noise view of this dataset."""
        for name, path in options.variants.items():
            _opened(name, path, data, analysis.names("noise"))

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Differences by view, variant and figure, and levels of what has no paired difference."""
        noise = analysis.names("noise")
        others = {name: _opened(name, path, data, noise) for name, path in options.variants.items()}
        rows = [row for view in noise for row in _differences(view, data, others, analysis, options)]
        levels = [row for view in noise for row in _levels(view, {REFERENCE: data, **others}, analysis, options)]
        made = {name: other.dataset_facts()["recipe"] for name, other in others.items()}
        analysis.results[self.name] = {
            "settings": {name: (recipe or {}).get("settings") for name, recipe in made.items()},
            "rows": [row for row in rows if row["figure"] != "accuracy" or row["of"] == MEAN], "levels": levels,
        }  # fmt: skip
        analysis.rows |= {self.name: rows, f"{self.name}_levels": levels}

    def exhibit(self, page: Page) -> Json:
        """Differences of means and of acceptances."""
        rows = [r for r in page.rows(self.name) if r["of"] == MEAN or r["figure"] == "acceptance"]
        return {"rows": rows, "TITLES": SHOWN}


def _opened(name: str, path: Any, data: Data, noise: list[str]) -> Data:
    other = Data(path)
    if data.ids != other.ids:
        raise UsageError(f"variant {name} ({path}) is of other images: build it from the same source")
    if not set(noise) & set(other.views):
        raise UsageError(f"variant {name} has none of the noise views {', '.join(noise)}")
    return other


def _differences(
    view: str, data: Data, others: Mapping[str, Data], analysis: Analysis, options: Options
) -> list[Json]:  # fmt: skip
    here, draws = {name: other for name, other in others.items() if view in other.views}, _draws(data, options)
    if not here:
        return []
    tables = {name: probe_table(o.features(view), data.Y, data.names, **draws) for name, o in here.items()}
    tests = {name: gaussianity(o.stored(view), **draws) for name, o in {REFERENCE: data, **here}.items()}
    found = compare_variants({REFERENCE: analysis.tables[view], **tables}, REFERENCE, gaussianity=tests)
    return tidy(found.records(), view=view)


def _levels(view: str, datasets: Mapping[str, Data], analysis: Analysis, options: Options) -> Iterator[Json]:
    """Stitching to the first encoder, and alignment with it, in every dataset that has the view."""
    for encoder, (name, dataset) in product(analysis.encoders[:1], datasets.items()):
        if view in dataset.views:
            pair = dataset.features(view), datasets[REFERENCE].features(encoder)
            for relate in (stitch, alignment):
                rows = relate(*pair, **_draws(dataset, options)).records()
                yield from tidy(rows, view=view, variant=name, encoder=encoder)


def _draws(data: Data, options: Options) -> Json:
    return {"groups": data.groups, "seed": options.seed}
