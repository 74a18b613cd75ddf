"""How alike the geometry of every two views is."""

from itertools import product
from typing import Any

import numpy as np

from noisezoo.analysis.controls import neighbour_curve
from noisezoo.analysis.core import interval_of_rate, units_of
from noisezoo.analysis.figures import matrix
from noisezoo.analysis.relations import Alignment as Aligned, alignment_matrix
from noisezoo.schema import ID
from .claims import Json
from .data import Data, Part
from .study import TWO_VIEWS, Analysis, Options, Page, Requirement, Study, register_study, tidy

ROWS, SPLITS = 3000, 8
"""At most so many, as neighbours cost their square, in every half of every split."""
LEAST_ROWS = 50
"""Of a curve: ten neighbours and as many again in every half."""
ENCODERS, BEST = 2, 3
MEASURES = {"cka": "Unbiased CKA", "mutual_knn": "Mutual nearest neighbours", "svcca": "SVCCA, held out",
            "procrustes": "Procrustes, held out"}  # fmt: skip


@register_study
class Alignment(Study):
    """Unbiased CKA, mutual neighbours, held-out SVCCA and Procrustes of every pair of views, each with its null.

    Of each noise view, its untrained twin and the picture with each encoder, also mutual neighbours by the number of
    images, and which images have the same neighbours in both.
    """

    name = "alignment"
    about = "how alike the geometry of every two views is"
    place = 80
    methods = (
        "Geometries were compared by unbiased CKA, mutual nearest neighbours, and SVCCA and Procrustes on held- "
        "out images, each with a permutation null."
    )
    weight = 4.0
    requires = (TWO_VIEWS, Requirement("44 images", lambda analysis: analysis.results["dataset"]["rows"] >= 44))

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`alignment`: rows by pair and measure; `neighbours`: by pair and size; `agreement`: by pair."""
        part, effort = data.part(options.effort.max_rows, options.seed), options.effort
        views = {view: part.leading(view) for view in part.views}
        draws: Any = {"n_splits": min(SPLITS, effort.n_splits), "n_permutations": effort.n_permutations}
        draws |= {"groups": part.groups, "seed": options.seed}
        found = alignment_matrix(views, max_rows=ROWS, **draws)
        analysis.record(self.name, {(): found}, caveats=part.caveats())
        pairs = [(view, encoder) for encoder, view in product(analysis.encoders[:ENCODERS], analysis.noise_and_likes)]
        seen = {view: views[view] for pair in pairs for view in pair}
        if len(part) >= LEAST_ROWS and seen:
            curve = neighbour_curve(seen, sizes=_sizes(min(ROWS, len(part))), **draws)
            rows = [row for row in curve.records() if {row["a"], row["b"]} in map(set, pairs)]
            analysis.results["neighbours"] = {**curve.settings(), "rows": rows}
            analysis.rows["neighbours"] = rows
        aligned = {frozenset(pair): one for pair, one in found.pairs.items()}
        made = {pair: _images(part, aligned[frozenset(pair)]) for pair in pairs}
        analysis.rows["agreement"] = [row for (view, other), images in made.items()
                                      for row in tidy(images, view=view, encoder=other)]  # fmt: skip
        analysis.results["agreement"] = [_summary(pair, images, part) for pair, images in made.items()]

    def exhibit(self, page: Page) -> Json:
        """A matrix a measure, both ways round; a curve an encoder; and how many images agree, by pair."""
        both = [(*pair, row) for row in page.rows(self.name) for pair in ((row["a"], row["b"]), (row["b"], row["a"]))]
        found = [matrix(f"alignment-{measure}", f"{page.name}: {title}",
                        [cell for cell in both if cell[2]["measure"] == measure], page.facts, title=title)
                 for measure, title in MEASURES.items()]  # fmt: skip
        by_encoder: dict[str, list[Json]] = {}
        for row in page.rows("neighbours"):
            view, encoder = (row["a"], row["b"]) if row["b"] in page.analysis.encoders else (row["b"], row["a"])
            by_encoder.setdefault(encoder, []).append({**row, "view": view})
        return {"alignments": [chart for chart in found if chart],
                "neighbours": [_curve(page, encoder, rows) for encoder, rows in by_encoder.items()],
                "agreement": page.results.get("agreement", ())}  # fmt: skip


def _sizes(n: int) -> list[int]:
    return [n // 2**i for i in range(4) if n // 2**i >= LEAST_ROWS]


def _images(part: Part, aligned: Aligned) -> list[Json]:
    return [{ID: part.data.ids[part.rows[row.pop("row")]], **row} for row in aligned.images()]


def _summary(pair: tuple[str, str], images: list[Json], part: Part) -> Json:
    """The share of images whose neighbours agree beyond chance, with its interval, and those that agree most."""
    agrees = np.array([row["agrees"] for row in images], dtype=np.float64)
    groups = None if part.groups is None or len(images) < len(part) else part.groups
    share = interval_of_rate(agrees, units_of(len(agrees), groups), 0.95)
    best = sorted(images, key=lambda row: (-row["in_common"], row[ID]))[:BEST]
    return {"view": pair[0], "encoder": pair[1], "n": len(images), **share.to_dict(),
            "most": [row[ID] for row in best]}  # fmt: skip


def _curve(page: Page, encoder: str, rows: list[Json]) -> Any:
    title = f"Neighbours in common with {encoder}, by number of images"
    alt = f"{title}; chance at most {max(row['chance'] for row in rows):.2f}"
    return page.curves(f"neighbours-{encoder}", title, rows, "size", alt=alt, xlabel="images", logarithmic=True)
