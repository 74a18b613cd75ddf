"""Does it matter what an encoder was trained for? What noise tells of encoders, grouped by their objective."""

from collections.abc import Iterator
from typing import Any

from noisezoo.analysis.controls import ByGroup, r2_by_group
from .claims import Claim, Evidence, Json, rows_of
from .data import Data, spread
from .study import NOISE, Analysis, Options, Page, Requirement, Study, independent_rows, register_study, small_part

UNTOLD = "not told"
ENCODERS = Requirement("two encoders, 40 images",
                       lambda analysis: len(analysis.encoders) > 1 and independent_rows(analysis) >= 40)  # fmt: skip


def adds_to_each_objective(results: Json) -> Iterator[Evidence]:
    """R2 into the encoders of each objective, less that of the same network before training."""
    twins = {view["name"]: view["baseline"] for view in results["views"]}
    for row in rows_of(results, "objectives", measure="gain", against=""):
        yield Evidence.of(row["view"], f"R2 of ridge into encoders: {row['group']}", twins[row["view"]], row)


@register_study
class Objectives(Study):
    """R2 of ridge from each noise view into encoders of each objective, and what training adds to it."""

    name = "objectives"
    about = "whether it matters what an encoder was trained for"
    place = 72
    requires = (NOISE, ENCODERS)
    claims = (Claim("Training adds whatever the objective", "R2 of ridge, more than before training",
                    "stitching, objection", adds_to_each_objective),)  # fmt: skip

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, objective (`group`, or two that are compared) and measure."""
        part = small_part(data, options)
        facts = {view["name"]: view for view in analysis.views}
        kinds = {name: facts[name]["objective"] or UNTOLD for name in analysis.encoders}
        targets = {name: part.leading(name) for name in kinds}

        def grouped(view: str) -> ByGroup:
            twin = facts[view]["baseline"]
            before: Any = {"baseline": part.leading(twin) if twin in facts else None, "groups": part.groups}
            return r2_by_group(part.leading(view), targets, kinds, **before, **options.few_draws)

        found = spread(grouped, analysis.names("noise"))
        analysis.record(self.name, found, ("view",), caveats=part.caveats(), encoders=kinds)

    def say(self, results: Json) -> list[Json]:
        """Which objectives have one encoder only, so that nothing tells them from that encoder."""
        encoders: dict[str, list[str]] = {}
        for encoder, kind in results[self.name]["encoders"].items():
            encoders.setdefault(kind, []).append(encoder)
        named = ", ".join(f"{kind} ({those[0]})" for kind, those in encoders.items() if len(those) == 1)
        text = (f"One encoder only stands for {named}: how it differs from others may be due to its data, size or "
                "network as well as its objective. Intervals are over images, for these encoders.")  # fmt: skip
        return [{"kind": self.name, "view": "", "text": text}] if named else []

    def exhibit(self, page: Page) -> Json:
        """What training adds, by objective, and differences between objectives."""
        rows = page.rows(self.name)
        gains = [row for row in rows if row["measure"] == "gain" and not row["against"]]
        chart = page.dots(self.name, "R² that training adds, by objective", gains, "{view}, {group}",
                          unit="points of R²", ends=("less than before training", "more"))  # fmt: skip
        means: dict[tuple[str, str], dict[str, Json]] = {}
        for row in rows:
            if not row["against"]:
                means.setdefault((row["view"], row["group"]), {})[row["measure"]] = row
        return {"chart": chart, "means": means, "compared": [row for row in rows if row["against"]]}
