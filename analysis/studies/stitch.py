"""From every view to every other by ridge: what is predicted, what is found again, what probes carry over."""

from typing import Any

from noisezoo.analysis.figures import matrix
from noisezoo.analysis.relations import Stitch, stitch_many, transfer
from .claims import METRIC, Claim, Json, beyond_twins, encoder_views, rows_of
from .data import Data, spread
from .study import TWO_VIEWS, Analysis, Options, Page, Study, register_study

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


def _into_encoders(results: Json) -> list[Json]:
    rows = rows_of(results, "stitching", measure="r2", alpha=VALIDATED)
    return [row for row in rows if row["target"] in encoder_views(results)]


maps_to_embeddings = beyond_twins(_into_encoders, "R2 of ridge into {target}", view="source")


@register_study
class Stitching(Study):
    """Held-out R2 and retrieval of every ordered pair of views; attribute transfer into every encoder."""

    name = "stitching"
    about = "ridge from every view to every other"
    place = 70
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

        ways = spread(stitched, [(source, how) for source in part.views for how in ALPHAS])
        found = {(source, target, how): one for (source, how), ones in ways.items() for target, one in ones.items()}
        analysis.record(self.name, found, ("source", "target", "alpha"), caveats=part.caveats())
        pairs = [(view, target) for target in analysis.encoders[:TARGETS] for view in part.views if view != target]
        draws: Any = {**options.few_draws, "n_permutations": TRANSFER_DRAWS, "labels": part.Y, "names": part.names}
        if pairs:
            analysis.record("transfer", part.spread(transfer, pairs, **draws), ("source", "target"))

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
