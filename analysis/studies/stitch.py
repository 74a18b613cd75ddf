"""From every view to every other by ridge: what is predicted, what is found again, what probes carry over."""

from collections.abc import Iterator
from typing import Any

from noisezoo.analysis.figures import matrix
from noisezoo.analysis.relations import Stitch, Transfer, stitch_many, transfer
from .claims import METRIC, Claim, Evidence, Json, beyond_twins, encoder_views
from .data import Data
from .study import TWO_VIEWS, Analysis, Options, Page, Study, register_study, spread

PAPER_ALPHA = 1.0
"""The paper scales alpha by |X|_F^2 / d and gives no number of its own; at 1 the mean direction is halved."""
VALIDATED = "validated"
ALPHAS = {VALIDATED: None, "paper": PAPER_ALPHA}
TRANSFER_DRAWS, FEW = 3, 2
"""Draws of the null of a transfer, each a fit of all probes, and of the null at the paper's alpha."""
TARGETS = 1
"""Encoders whose probes are carried over: a pair costs as much as probes of a view do, several times."""
MEASURES = {"r2": "Held-out R² of ridge, row to column", "retrieval@1": "Own target found first of its gallery",
            "retrieval@10": "Own target among the 10 nearest"}  # fmt: skip
TRANSFERRED = "Balanced accuracy of an encoder's probes on rows stitched into its space, %"


def maps_to_embeddings(results: Json) -> Iterator[Evidence]:
    """Held-out R2 into encoders, less that of the same network before training."""
    rows = {(r["source"], r["target"]): r for r in results.get("stitching", {}).get("rows", ())
            if (r["measure"], r["alpha"]) == ("r2", VALIDATED) and r["target"] in encoder_views(results)}  # fmt: skip
    return beyond_twins(results, rows, "R2 of ridge into {}")


@register_study
class Stitching(Study):
    """Held-out R2 and retrieval of every ordered pair of views; attribute transfer into every encoder."""

    name = "stitching"
    about = "ridge from every view to every other"
    place = 70
    template = "templates/stitching.html.j2"
    methods = "Views were mapped to one another by ridge regression, scored out of fold by R2 and by retrieval."
    weight = 4.0
    requires = (TWO_VIEWS,)
    claims = (Claim("Noise maps to embeddings", "ridge, more than before training", "stitching", maps_to_embeddings),)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`stitching`: rows by source, target and alpha; `transfer`: rows by source and target."""
        part, effort = data.part(options.effort.max_rows, options.seed), options.effort
        shared: Any = {"groups": part.groups, "seed": options.seed}

        def stitched(source: str, how: str) -> dict[str, Stitch]:
            targets = {view: part.leading(view) for view in part.views if view != source}
            draws = effort.n_permutations if how == VALIDATED else FEW
            return stitch_many(part.leading(source), targets, ridge=ALPHAS[how], n_permutations=draws, **shared)

        def carried(source: str, target: str) -> Transfer:
            draws: Any = {"n_splits": effort.few_splits, "n_permutations": TRANSFER_DRAWS}
            return transfer(part.leading(source), part.leading(target), part.Y, part.names, **shared, **draws)

        ways = spread(stitched, [(source, how) for source in part.views for how in ALPHAS])
        found = {(source, target, how): one for (source, how), ones in ways.items() for target, one in ones.items()}
        analysis.record(self.name, found, ("source", "target", "alpha"), caveats=part.caveats())
        pairs = [(source, target) for target in analysis.encoders[:TARGETS] for source in part.views]
        moved = spread(carried, [pair for pair in pairs if pair[0] != pair[1]])
        if moved:
            analysis.record("transfer", moved, ("source", "target"))

    def exhibit(self, page: Page) -> Json:
        """A matrix a measure, from row to column."""
        rows = [row for row in page.rows(self.name) if row["alpha"] == VALIDATED]

        def drawn(name: str, title: str, rows: list[Json], **options: Any) -> Any:
            cells = [(row["source"], row["target"], row) for row in rows]
            return matrix(name, f"{page.name}: {title}", cells, page.facts, title=title, **options)

        found = [drawn(f"stitching-{measure}", title, [row for row in rows if row["measure"] == measure])
                 for measure, title in MEASURES.items()]  # fmt: skip
        carried = [row for row in page.rows("transfer") if row["measure"] == METRIC]
        found.append(drawn("transfer", TRANSFERRED, carried, shown=".1f", scale=100))
        return {"matrices": [chart for chart in found if chart]}
