"""Regression probes: labels that are numbers, such as the factors that faces were drawn from, read from every view."""

from typing import Any

import numpy as np

from noisezoo.analysis.figures import dots
from noisezoo.analysis.probes import regression_table
from .claims import UNTRAINED, Json
from .data import Data, spread
from .probing import differences, flat
from .study import Analysis, Options, Page, Requirement, Study, register_study

NUMBERS = Requirement("a label that is a number", lambda analysis: analysis.results["dataset"]["numbers"])


@register_study
class Regression(Study):
    """Every number of every view by ridge regression; each noise view minus each of its controls."""

    name = "regression"
    about = "what can be read of numbers"
    place = 22
    requires = (NUMBERS,)
    methods = (
        "Labels that are numbers were read by ridge regression in the same folds and half-samples; we report the "
        "R2 of predictions out of fold."
    )

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`rows` by view and label, `differences` by view and control, and the labels that were `refused`."""
        known = np.flatnonzero(np.isfinite(data.V).all(axis=0))
        names = [data.numbers[column] for column in known]
        draws: Any = {"groups": data.groups, "seed": options.seed, "n_permutations": options.effort.n_permutations}

        V = data.V[:, known]
        tables = spread(lambda view: regression_table(data.features(view), V, names, **draws), data.views)
        found = differences(tables, analysis.views, "r2")
        missing = {name: "some images have no value" for name in data.numbers if name not in names}
        refused = missing | dict(next(iter(tables.values())).refused)
        analysis.record(self.name, tables, ("view",), differences=found, refused=refused)
        analysis.results[self.name]["rows"] = analysis.rows[self.name]
        analysis.rows["regression_differences"] = [row for d in found for row in flat(d)]

    def exhibit(self, page: Page) -> Json:
        """R2 by view and label, and each noise view minus its controls."""
        n = page.n(self.name)
        held = [(f"{d['view']} minus {d['control']}", {"n": n, **d}, UNTRAINED if d["role"] == UNTRAINED else "control")
                for d in page.results[self.name]["differences"]]  # fmt: skip
        chart = dots(self.name, f"{page.name}: R² of numbers", held, unit="points of mean R²",
                     ends=("control reads better", "noise reads better"))  # fmt: skip
        rows = {(row["view"], row["attribute"]): row for row in page.rows(self.name)}
        views, labels = (list(dict.fromkeys(key[side] for key in rows)) for side in (0, 1))
        return {"r2": rows, "views": views, "numbers": labels, "chart": chart,
                "refused": page.results[self.name]["refused"]}  # fmt: skip
