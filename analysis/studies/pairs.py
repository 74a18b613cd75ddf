"""How many pairs of images stitching needs, and what can be matched without any."""

import warnings
from collections.abc import Iterator
from typing import Any

from noisezoo.analysis.controls import PairingCurve, Unpaired, match_unpaired, pairing_curve
from noisezoo.analysis.figures import curves, lines
from .claims import Claim, Evidence, Json, beyond_twins
from .data import Data
from .study import ENCODER, IMAGES, NOISE, Analysis, Options, Page, Study, register_study, spread

ROWS, AXES, FEW = 2000, 100, 64
"""Images and leading axes at most, as a map is fitted in each of many subsets; and what the claim calls few pairs."""
MATCHED = 120
"""Images that are matched without pairs: transport costs the cube."""
MEASURES = {"r2": "Held-out R² of ridge into {}", "retrieval@10": "Own target among the 10 nearest in {}",
            "transfer": "Balanced accuracy of probes of {} on carried rows"}  # fmt: skip


def few_pairs_suffice(results: Json) -> Iterator[Evidence]:
    """Held-out R2 of a map from few pairs, less that of the same network before training from as many."""
    rows = {(row["view"], row["encoder"]): row for row in results.get("pairs", {}).get("rows", ())
            if (row["measure"], row["pairs"]) == ("r2", FEW)}  # fmt: skip
    return beyond_twins(results, rows, f"R2 of ridge from {FEW} pairs into {{}}")


@register_study
class Pairs(Study):
    """Stitching from 16 pairs to all, of each noise view, its untrained twin and the picture; and without any pair."""

    name = "pairs"
    about = "how many pairs stitching needs"
    place = 75
    template = "templates/pairs.html.j2"
    requires = (NOISE, ENCODER, IMAGES)
    claims = (Claim("Few pairs suffice", f"ridge from {FEW} pairs, more than before training", "stitching",
                    few_pairs_suffice),)  # fmt: skip

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`pairs`: rows by view, encoder, number of pairs and measure; `unpaired`: by view, encoder and method."""
        part = data.part(min(ROWS, options.effort.max_rows), options.seed, AXES)
        effort, shared = options.effort, {"groups": part.groups, "seed": options.seed}

        def curve(view: str, encoder: str) -> PairingCurve:
            draws: Any = {"n_splits": effort.few_splits, "n_permutations": effort.n_permutations, **shared}
            return pairing_curve(part.leading(view), part.leading(encoder), part.Y, sizes=_sizes(len(part)), **draws)

        def matched(view: str, encoder: str) -> Unpaired:
            draws: Any = {"n_permutations": effort.n_permutations, "max_rows": MATCHED, **shared}
            return match_unpaired(part.leading(view), part.leading(encoder), **draws)

        pairs = [(view, encoder) for encoder in analysis.encoders[:1] for view in analysis.noise_and_likes]
        analysis.record(self.name, spread(curve, pairs), ("view", "encoder"), caveats=part.caveats())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "FastICA did not converge")  # as it does not on Gaussian rows
            analysis.record("unpaired", spread(matched, pairs), ("view", "encoder"))

    def exhibit(self, page: Page) -> Json:
        """A curve a measure; and ranks without pairs."""
        rows = page.rows(self.name)
        charts = [_chart(page, measure, title, [row for row in rows if row["measure"] == measure])
                  for measure, title in MEASURES.items()]  # fmt: skip
        found = page.results.get("unpaired", {})
        ranks = [row for row in found.get("rows", ()) if row["measure"] == "rank"]
        return {"charts": [chart for chart in charts if chart], "ranks": ranks, "matched": found.get("n")}


def _sizes(n: int) -> list[int]:
    """16, 64, 256, ... and two thirds of the images, which two of three folds hold."""
    most = 2 * n // 3 - 1
    return [*(size for size in (16, 64, 256, 1024) if size < most), most]


def _chart(page: Page, measure: str, title: str, rows: list[Json]) -> Any:
    if not rows:
        return None
    words = title.format(rows[0]["encoder"])
    drawn = lines(page.facts, [(row["view"], row) for row in rows], x="pairs")
    return curves(f"pairs-{measure}", f"{page.name}: {words}, by number of pairs", drawn, title=words,
                  xlabel="images seen in both views", logarithmic=True,
                  level=min(row["chance"] for row in rows))  # fmt: skip
