"""What can be read linearly from every view: probes, differences from controls, and what else the probes tell."""

from collections.abc import Mapping, Sequence

from noisezoo.analysis.probes import ProbeTable, compare, probe_table
from noisezoo.analysis.studies.data import Data, Json
from noisezoo.analysis.studies.study import Analysis, Options, Study, side_by_side, tidy

METRIC = "balanced_accuracy"
UNTRAINED = "untrained"
"""The role of a network's own start among the controls of what training made of it."""


class Probing(Study):
    """Every attribute of every view; each noise view, and each encoder with a twin, minus each of its controls."""

    name = "probes"
    about = "what can be read from every view"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`probes` by view, `differences` by view and control."""

        def probe(view: str) -> ProbeTable:
            return probe_table(data.features(view), data.Y, data.names, groups=data.groups, seed=options.seed)

        analysis.tables |= zip(data.views, side_by_side(probe, data.views), strict=True)
        analysis.results[self.name] = {view: table.to_dict() for view, table in analysis.tables.items()}
        analysis.results["differences"] = differences(analysis.tables, analysis.views)
        analysis.rows |= {
            "probes": [row for view, table in analysis.tables.items() for row in tidy(table.records(), view=view)],
            "differences": _flat(analysis.results["differences"]),
        }


def differences(tables: Mapping[str, ProbeTable], views: Sequence[Json]) -> list[Json]:
    """Each noise view (and each encoder with an untrained twin) minus each of its controls, paired over images."""
    found = []
    for view in views:
        for role, control in controls_of(view, views):
            a, b = tables[view["name"]], tables[control]
            if not set(a.names) & set(b.names):  # every attribute was refused; each table says why
                continue
            comparison = compare(a, b, metrics=(METRIC,))
            rows = {row["attribute"]: row for row in comparison.to_dict()["rows"] if row["attribute"] != "mean"}
            found.append({"view": view["name"], "control": control, "role": role, "metric": METRIC,
                          **comparison.mean[METRIC].to_dict(), "attributes": rows})  # fmt: skip
    return found


def controls_of(view: Json, views: Sequence[Json]) -> list[tuple[str, str]]:
    """(role, view) of what a view must be held against: its network before training first."""
    here = {other["name"]: other for other in views}
    own = [(UNTRAINED, view["baseline"])] if view["baseline"] in here else []
    if view["kind"] != "noise":
        return own
    return own + [(other["family"], name) for name, other in here.items()
                  if other["kind"] == "control" and not other["untrained"]]  # fmt: skip


def _flat(found: Sequence[Json]) -> list[Json]:
    keys = ("view", "control", "role")
    named = [{key: d[key] for key in keys} for d in found]
    means = [{**name, "attribute": "mean", **{k: d[k] for k in ("metric", "estimate", "low", "high")}}
             for name, d in zip(named, found, strict=True)]  # fmt: skip
    return means + [row for name, d in zip(named, found, strict=True) for row in tidy(d["attributes"].values(), **name)]
