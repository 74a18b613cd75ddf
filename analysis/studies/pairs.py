"""How many pairs of images stitching needs, and what can be matched without any."""

import warnings
from itertools import product
from typing import Any

from noisezoo.analysis.controls import match_unpaired, pairing_curve
from .claims import Claim, Json, beyond_twins, rows_of
from .data import Data
from .study import ENCODER, IMAGES, NOISE, Analysis, Options, Page, Study, register_study, small_part

FEW = 64
"""What the claim calls few pairs."""
MATCHED = 120
"""Images that are matched without pairs: transport costs the cube."""
KEYS = ("view", "encoder")
MEASURES = {"r2": "Held-out R² of ridge into {}", "retrieval@10": "Own target among the 10 nearest in {}",
            "transfer": "Balanced accuracy of probes of {} on carried rows"}  # fmt: skip

few_pairs_suffice = beyond_twins(
    lambda results: rows_of(results, "pairs", measure="r2", pairs=FEW), "R2 of ridge from {pairs} pairs into {encoder}"
)


@register_study
class Pairs(Study):
    """Stitching from 16 pairs to all, of each noise view, its untrained twin and the picture; and without any pair."""

    name = "pairs"
    about = "how many pairs stitching needs"
    place = 75
    requires = (NOISE, ENCODER, IMAGES)
    claims = (Claim("Few pairs suffice", f"ridge from {FEW} pairs, more than before training", "stitching",
                    few_pairs_suffice),)  # fmt: skip

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`pairs`: rows by view, encoder, number of pairs and measure; `unpaired`: by view, encoder and method."""
        part, pairs = small_part(data, options), list(product(analysis.noise_and_likes, analysis.encoders[:1]))
        curves = part.spread(pairing_curve, pairs, labels=part.Y, sizes=_sizes(len(part)), **options.few_draws)
        analysis.record(self.name, curves, KEYS, caveats=part.caveats())
        draws: Any = {"n_permutations": options.effort.n_permutations, "seed": options.seed}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "FastICA did not converge")  # as it does not on Gaussian rows
            analysis.record("unpaired", part.spread(match_unpaired, pairs, max_rows=MATCHED, **draws), KEYS)

    def exhibit(self, page: Page) -> Json:
        """A curve a measure; and ranks without pairs."""
        rows = page.rows(self.name)
        charts = [_chart(page, measure, title, [row for row in rows if row["measure"] == measure])
                  for measure, title in MEASURES.items()]  # fmt: skip
        ranks = rows_of(page.results, "unpaired", measure="rank")
        matched = page.results.get("unpaired", {}).get("n")
        return {"charts": [chart for chart in charts if chart], "ranks": ranks, "matched": matched}


def _sizes(n: int) -> list[int]:
    """16, 64, 256, ... and two thirds of the images, which two of three folds hold."""
    most = 2 * n // 3 - 1
    return [*(size for size in (16, 64, 256, 1024) if size < most), most]


def _chart(page: Page, measure: str, title: str, rows: list[Json]) -> Any:
    if not rows:
        return None
    words, level = title.format(rows[0]["encoder"]), min(row["chance"] for row in rows)
    return page.curves(f"pairs-{measure}", words, rows, "pairs", alt=f"{words}, by number of pairs", logarithmic=True,
                       xlabel="images seen in both views", level=level)  # fmt: skip
