"""Does it matter what an encoder was trained for? What noise tells of encoders, grouped by their objective."""

from collections import Counter
from collections.abc import Iterator

from noisezoo.analysis.controls import ByGroup, r2_by_group
from noisezoo.analysis.figures import dots, hue
from .claims import Claim, Evidence, Json
from .data import Data
from .study import NOISE, Analysis, Options, Page, Requirement, Study, independent_rows, register_study, spread

ROWS, AXES, LEAST = 2000, 100, 40
"""Images and leading axes at most, and images, or identities, at least."""
UNTOLD = "not told"
ENCODERS = Requirement("two encoders, 40 images", lambda analysis: len(analysis.encoders) > 1
                       and independent_rows(analysis) >= LEAST)  # fmt: skip


def adds_to_each_objective(results: Json) -> Iterator[Evidence]:
    """R2 into the encoders of each objective, less that of the same network before training."""
    twins = {view["name"]: view["baseline"] for view in results["views"]}
    for row in results.get("objectives", {}).get("rows", ()):
        if row["measure"] == "gain" and not row["against"]:
            yield Evidence.of(row["view"], f"R2 of ridge into encoders: {row['group']}", twins[row["view"]], row)


@register_study
class Objectives(Study):
    """R2 of ridge from each noise view into encoders of each objective, and what training adds to it."""

    name = "objectives"
    about = "whether it matters what an encoder was trained for"
    place = 72
    template = "templates/objectives.html.j2"
    requires = (NOISE, ENCODERS)
    claims = (Claim("Training adds whatever the objective", "R2 of ridge, more than before training",
                    "stitching, objection", adds_to_each_objective),)  # fmt: skip

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, objective (`group`, or two that are compared) and measure."""
        part = data.part(min(ROWS, options.effort.max_rows), options.seed, AXES)
        facts = {view["name"]: view for view in analysis.views}
        kinds = {name: facts[name]["objective"] or UNTOLD for name in analysis.encoders}
        targets = {name: part.leading(name) for name in kinds}

        def grouped(view: str) -> ByGroup:
            twin = facts[view]["baseline"]
            baseline = part.leading(twin) if twin in facts else None
            return r2_by_group(
                part.leading(view), targets, kinds, baseline=baseline, groups=part.groups, **options.few_draws
            )

        made = spread(grouped, [(view,) for view in analysis.names("noise")])
        analysis.record(self.name, made, ("view",), caveats=part.caveats(), encoders=kinds)

    def say(self, results: Json) -> list[Json]:
        """Which objectives have one encoder only, so that nothing tells them from that encoder."""
        kinds = results[self.name]["encoders"]
        alone = [kind for kind, count in Counter(kinds.values()).items() if count == 1]
        if not alone:
            return []
        named = ", ".join(f"{kind} ({next(e for e, k in kinds.items() if k == kind)})" for kind in alone)
        text = (f"One encoder only stands for {named}: how it differs from others may be due to its data, size or "
                "network as well as its objective. Intervals are over images, for these encoders.")  # fmt: skip
        return [{"kind": self.name, "view": "", "text": text}]

    def exhibit(self, page: Page) -> Json:
        """What training adds, by objective, and differences between objectives."""
        rows = page.rows(self.name)
        gains = [r for r in rows if r["measure"] == "gain" and not r["against"]]
        drawn = [(f"{r['view']}, {r['group']}", r, hue(page.facts[r["view"]])) for r in gains]
        chart = dots(self.name, f"{page.name}: R² that training adds, by objective", drawn, unit="points of R²",
                     ends=("less than before training", "more"))  # fmt: skip
        means: dict[tuple[str, str], dict[str, Json]] = {}
        for row in rows:
            if not row["against"]:
                means.setdefault((row["view"], row["group"]), {})[row["measure"]] = row
        return {"chart": chart, "means": means, "compared": [r for r in rows if r["against"]]}
