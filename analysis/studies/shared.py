"""What views share: latent intersections of noise and encoders, beside those of controls and encoders (Figure 6)."""

from typing import Any

from numpy.typing import NDArray

from noisezoo.analysis.relations import Intersections, intersections, shared_probes
from noisezoo.analysis.studies.data import Data, Json
from noisezoo.analysis.studies.study import Analysis, Options, Study, side_by_side, tidy

ROWS, AXES, DIM, RIDGE = 2000, 100, 10, 0.1
"""At most so many rows and leading axes of a view, as neighbours cost their square; dimensions sought; ridge."""
ENCODERS = 2
LEAST_DRAWS = 19
"""Of a null that can reject at 5 %."""
Matrices = dict[str, NDArray[Any]]


class SharedSpace(Study):
    """GCCA of every noise view (and its controls) with encoders: held-out values, shared dimensions, neighbours."""

    name = "shared"
    about = "the spaces that views share"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`values` by subset and dimension, `agreement` by two subsets, `probes` by subset; nothing for one subset."""
        names, subsets = _subsets(analysis)
        if len(subsets) < 2:
            return
        part = data.part(min(ROWS, options.effort.max_rows), options.seed, AXES)
        views = dict(zip(names, side_by_side(part.leading, names), strict=True))
        dim = min(DIM, *(X.shape[1] for X in views.values()))
        found = intersections(
            list(views.values()), dim, names=names, subsets=[[names.index(v) for v in s] for s in subsets],
            ridge=RIDGE, groups=part.groups, n_permutations=max(LEAST_DRAWS, options.effort.n_permutations),
            n_splits=options.effort.n_splits, seed=options.seed,
        )  # fmt: skip
        values = _values(found, names)
        probes = _probes(found, names, part.Y, part.names)
        agreement = found.records()
        caveats = [*part.caveats(led=False), f"at most {AXES} leading axes of a view"]
        analysis.results[self.name] = {**found.settings(), "ridge": RIDGE, "values": values, "agreement": agreement,
                                       "probes": [row for row in probes if row["attribute"] == "mean"],
                                       "caveats": caveats}  # fmt: skip
        analysis.rows |= {"shared_values": values, "shared_agreement": agreement, "shared_probes": probes}


def _subsets(analysis: Analysis) -> tuple[list[str], list[tuple[str, ...]]]:
    """The views taken, and which of them make a space: each noise view and each of its likes with each encoder."""
    encoders, noise = analysis.encoders[:ENCODERS], analysis.names("noise")
    others = list(dict.fromkeys((*analysis.noise_and_twins, *analysis.of_family("pixels", "random"))))
    subsets: list[tuple[str, ...]] = [(other, encoder) for other in others for encoder in encoders]
    joint = [tuple(encoders), tuple(noise), (*noise, *encoders)]
    subsets += [s for s in dict.fromkeys(joint) if len(s) > 1 and s not in subsets]
    return [*others, *encoders], subsets


def _values(found: Intersections, names: list[str]) -> list[Json]:
    """Every space's canonical values, with the number of dimensions that its null grants."""
    return [row for subset, space in found.spaces.items()
            for row in tidy(space.records(), subset=_label(subset, names), n_shared=space.n_shared)]  # fmt: skip


def _probes(found: Intersections, names: list[str], Y: NDArray[Any], attributes: list[str]) -> list[Json]:
    items = list(found.spaces.items())
    tables = side_by_side(lambda item: shared_probes(item[1], Y, attributes), items)
    return [row for (subset, _), table in zip(items, tables, strict=True)
            for row in tidy(table.records(), subset=_label(subset, names))]  # fmt: skip


def _label(subset: tuple[int, ...], names: list[str]) -> str:
    return " + ".join(names[i] for i in subset)
