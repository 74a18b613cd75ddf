"""What the paper and its released code did, as they did it: to stand beside their figures, not because it is enough."""

import csv
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np

from noisezoo.analysis.core import principal_frame
from noisezoo.analysis.gaussian import FreshProjections, bimodal, fresh_projections, marchenko_pastur_share
from noisezoo.analysis.probes import CLASSIFIERS, DIMENSIONS, PaperProbes, paper_probes
from noisezoo.analysis.relations import SUBSETS, FixedTransfer, fixed_transfer, paper_spaces
from .claims import MEAN, Json
from .data import Data, spread
from .splits import ROWS, Mask, splits_of
from .study import Analysis, Options, Page, Study, register_study, tidy

PUBLISHED = Path(__file__).with_name("published.csv")
BIMODAL = "bimodal control"
SAMPLES, PROJECTIONS, HUMPS_WIDTH = 250, 5000, 500
"""Rows of a projection, projections, columns of the control of two humps."""
DIMS = (16, 32, 64, 128, 256, 512)
Key = tuple[str, str]
"""Quantity and view."""


@register_study
class Paper(Study):
    """Tables 1 to 3 and Figure 6, each beside the published figure, a control and a null."""

    name = "paper"
    about = "the paper's own analyses"
    place = 60
    on_request = True

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`rows` of probes, `normality`, `components`, `transfer`, `spaces`; `comparison` with what is published."""
        kinds, splits = {view["name"]: view["kind"] for view in analysis.views}, splits_of(data)

        def probed(split: str, view: str, classifier: str) -> PaperProbes:
            return paper_probes(
                data.features(view).astype(np.float32, copy=False), data.Y, data.names, train=splits[split],
                kind=kinds[view], classifier=classifier, solver="randomized", groups=data.groups, seed=options.seed,
            )  # fmt: skip

        keys = ("split", "view", "classifier")
        analysis.record(self.name, spread(probed, product(splits, data.views, CLASSIFIERS)), keys)
        found = analysis.results[self.name]
        tables = {
            "normality": _normality(data, options.seed),
            "components": _components(data, kinds, splits[ROWS]),
            "transfer": list(_transfer(data, analysis, splits[ROWS], options.seed)),
            "spaces": _spaces(data, kinds, splits[ROWS], options.seed),
        }
        found |= tables
        found["comparison"] = comparison(_quantities(found), analysis.views)
        analysis.rows["paper_probes"] = analysis.rows.pop(self.name)
        analysis.rows |= {f"paper_{name}": rows for name, rows in tables.items() if rows}
        analysis.rows["paper_comparison"] = found["comparison"]

    def exhibit(self, page: Page) -> Json:
        """Accuracies and agreements by space and dimension."""
        spaces: dict[str, dict[str, dict[int, Json]]] = {"accuracy": {}, "spearman": {}}
        for row in page.results[self.name]["spaces"]:
            label = f"{row['space']} and {row['against']}" if row["against"] else row["space"]
            spaces[row["metric"]].setdefault(label, {})[row["dim"]] = row
        dims = sorted({dim for cells in spaces.values() for row in cells.values() for dim in row})
        return {"dims": dims, "spaces": spaces}


def _normality(data: Data, seed: int) -> list[Json]:
    """Table 1's tests on every view, and on two humps of its size that they must reject."""
    n = min(SAMPLES, len(data))
    if n < 20:
        return []

    def tested(view: str) -> FreshProjections:
        rows = bimodal(min(2000, len(data)), HUMPS_WIDTH, seed) if view == BIMODAL else data.stored(view)
        return fresh_projections(rows, n_projections=PROJECTIONS, n_samples=n, seed=seed)

    tests = spread(tested, [*data.views, BIMODAL])
    return [row for view, found in tests.items() for row in tidy(found.records(), view=view)]


def _components(data: Data, kinds: Mapping[str, str], train: Mask) -> list[Json]:
    """Share of the training rows' variance in the paper's number of components, beside that of independent rows."""
    found = []
    for view in data.views:
        held, null, k = variance_held(data, view, DIMENSIONS[kinds[view]], train)
        found.append({"view": view, "components": k, "estimate": held, "null": null, "n": int(train.sum()),
                      "d": data.width(view)})  # fmt: skip
    return found


def variance_held(data: Data, view: str, components: int, train: Mask) -> tuple[float, float | None, int]:
    """Share of the variance of training rows in leading components, that of independent Gaussian rows, and how many.

    Where a view is read by its published components they were fitted on other rows: no law is then given beside it.
    """
    X, stored = data.features(view)[train], data.stored(view)[train]
    values = principal_frame(X.astype(np.float32, copy=False), view, leading=components).eigenvalues
    total = sum(float(np.var(stored[:, i : i + 2048], axis=0, dtype=np.float64).sum())
                for i in range(0, stored.shape[1], 2048))  # fmt: skip
    null = None if data.is_reduced(view) else marchenko_pastur_share(len(X), stored.shape[1], len(values))
    return float(values.sum()) / (len(X) * total), null, len(values)


def _transfer(data: Data, analysis: Analysis, train: Mask, seed: int) -> Iterator[Json]:
    """Table 3: every noise view, and its network before training, carried to every encoder."""

    def carried(*pair: str) -> FixedTransfer:
        X, Y = map(data.features, pair)
        return fixed_transfer(X, Y, data.Y, data.names, train=train, groups=data.groups, seed=seed)

    for (noise, encoder), found in spread(carried, product(analysis.noise_and_twins, analysis.encoders)).items():
        yield from tidy(found.records(), noise=noise, encoder=encoder)


def _spaces(data: Data, kinds: Mapping[str, str], train: Mask, seed: int) -> list[Json]:
    """Figure 6: the paper's subsets where their views are here, else all noise and encoders, and all but each."""
    main = [view for view, kind in kinds.items() if kind != "control" and not view.endswith("-untrained")]
    subsets = {name: of for name, of in SUBSETS.items() if set(of) <= set(main)}
    if not subsets and len(main) > 2:
        subsets = {"all": tuple(main)} | {f"all but {out}": tuple(v for v in main if v != out) for out in main}
    dims = [k for k in DIMS if k < train.sum() // 2]
    views = {view: data.features(view) for view in main}
    if len(subsets) < 2 or not dims or min(X.shape[1] for X in views.values()) < min(dims):
        return []
    found = paper_spaces(views, data.Y, data.names, kinds=kinds, train=train, subsets=subsets, dims=dims,
                         groups=data.groups, seed=seed)  # fmt: skip
    return found.records()


def _quantities(found: Json) -> dict[Key, Json]:
    """Everything that a published figure may stand beside, by the names of `published.csv`."""
    rows: dict[Key, Json] = {}
    for row in found["normality"]:
        rows[row["test"], row["view"]] = row
        name = "mean statistic of" if row["test"].startswith("anderson") else "mean p of"
        rows[f"{name} {row['test']}", row["view"]] = {"estimate": row["mean"], "null": row["null_mean"]}
    rows |= {("variance in the components", row["view"]): row for row in found["components"]}
    wanted = (ROWS, "logistic", MEAN)
    scores = [row for row in found["rows"] if (row["split"], row["classifier"], row["attribute"]) == wanted]
    majority = {row["view"]: row["estimate"] for row in scores if row["metric"] == "majority"}
    nulls = {"accuracy": majority, "auc": dict.fromkeys(majority, 0.5)}
    rows |= {(row["metric"], row["view"]): {**row, "null": nulls[row["metric"]][row["view"]]}
             for row in scores if row["metric"] in nulls}  # fmt: skip
    for metric, name in (("cosine", "cosine of the stitched"), ("drop", "accuracy drop")):
        rows |= {(f"{name}", f"{row['noise']} to {row['encoder']}"): row
                 for row in found["transfer"] if row["metric"] == metric}  # fmt: skip
    rows |= {("accuracy in 16 dimensions", row["space"]): row
             for row in found["spaces"] if row["metric"] == "accuracy" and row["dim"] == 16}  # fmt: skip
    return rows


def comparison(here: Mapping[Key, Json], views: list[Json]) -> list[Json]:
    """The table: published figure and where it stands, the figure here, its interval, a control's, and the null.

    The control is the same network before training, or the picture. A published figure of transfer stands beside each
    noise view's; one of a view that the dataset lacks stands alone.
    """
    with PUBLISHED.open(newline="") as file:
        published = list(csv.DictReader(file))
    rows = []
    for (quantity, view), row in here.items():
        own = (view, view.partition(" to ")[2])
        given = [p for p in published if p["quantity"] == quantity and p["view"] in own]
        control = _control(here, quantity, view, views)
        rows += [_compared(quantity, view, p, row, control) for p in given or [{"value": None, "where": None}]]
    shown = {(row["quantity"], row["where"], row["published"]) for row in rows}
    alone = [p for p in published if (p["quantity"], p["where"], p["value"]) not in shown]
    return rows + [_compared(p["quantity"], p["view"], p, {}, None) for p in alone]


def _control(here: Mapping[Key, Json], quantity: str, view: str, views: list[Json]) -> tuple[str, Json] | None:
    """What a figure is held against: that of the network before training, else that of the picture."""
    first, _, rest = view.partition(" to ")
    twin = next((v["baseline"] for v in views if v["name"] == first), None)
    pixels = [v["name"] for v in views if v["family"] == "pixels" and v["name"] != first]
    names = [f"{name} to {rest}" if rest else name for name in (twin, *pixels) if name]
    return next(((name, here[quantity, name]) for name in names if (quantity, name) in here), None)


def _compared(quantity: str, view: str, published: Json, row: Json, control: tuple[str, Json] | None) -> Json:
    return {
        "quantity": quantity, "view": view, "published": published["value"], "where": published["where"],
        **{end: row.get(end) for end in ("estimate", "low", "high")},
        "control": control[1]["estimate"] if control else None, "control_view": control[0] if control else None,
        "null": row.get("null"),
    }  # fmt: skip
