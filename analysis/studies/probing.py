"""What can be read linearly from every view: probes, differences from controls, and the headline of the report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from noisezoo.analysis.figures import Line, dots, has_interval, is_wide, line, radar, shade
from noisezoo.analysis.probes import ProbeTable, compare, probe_table
from noisezoo.zoo import RESIDUAL
from .claims import MEAN, METRIC, POINTS, UNTRAINED, Claim, Evidence, Json, are_identical, direction, noise_views, over
from .data import Data, spread
from .study import Analysis, Options, Page, Study, register_study, tidy

CONTROL_NAMES = {
    UNTRAINED: "the same network before training",
    "pixels": "raw pixels",
    "whitened": "linearly whitened pixels",
    "random": "random noise",
    "vae": "an autoencoder's latent",
    "residual": "the noise without the image's share of it",
    "true": "the noise that the pictures were made of",
}
KINDS = {"noise": "Noise, inverted by diffusion models", "embedding": "Encoders", "control": "Controls"}
SHOWN = {METRIC: "Balanced accuracy", "accuracy": "Accuracy", "auc": "AUC", "auprc": "AUPRC"}
CHANCE, RADAR_FLOOR = 0.5, 0.4
IDENTICAL = 2
WORDS = {1: "better", 0: "undecided", -1: "worse", IDENTICAL: "identical"}
VERBS = {1: "does better than", 0: "cannot be told from", -1: "does worse than", IDENTICAL: "holds the same rows as"}
MEANINGS = {
    1: "training made the attributes more linearly readable in the {} than the untrained network leaves them",
    0: "no difference between the trained and the untrained network's {} can be told at this number of images",
    -1: "training made the attributes less linearly readable in the {} than the untrained network leaves them",
    IDENTICAL: "the {} of the trained and of the untrained network are identical rows",
}


def is_readable(results: Json) -> Iterator[Evidence]:
    """Mean balanced accuracy of the noise's probes over chance."""
    for view in noise_views(results):
        for row in results.get("probes", {}).get(view, {}).get("rows", []):
            if (row["attribute"], row["metric"]) == (MEAN, METRIC) and row["estimate"] is not None:
                yield Evidence.of(view, "mean balanced accuracy", "chance", over(row, CHANCE), **POINTS)


def is_learnt(results: Json) -> Iterator[Evidence]:
    """Trained minus untrained."""
    for d in results.get("differences", []):
        if d["role"] == UNTRAINED and d["view"] in noise_views(results):
            yield Evidence.of(d["view"], "mean balanced accuracy", d["control"], d, **POINTS)


def is_learnt_without_clip(results: Json) -> Iterator[Evidence]:
    """Trained minus untrained of models that never saw CLIP's text."""
    free = {v["name"] for v in results["views"] if v["kind"] == "noise" and v["clip_conditioned"] is False}
    yield from (e for e in is_learnt(results) if e.view in free)


@register_study
class Probing(Study):
    """Every attribute of every view; each noise view, and each encoder with a twin, minus each of its controls."""

    name = "probes"
    about = "what can be read from every view"
    place = 20
    methods = (
        "Attributes were read by L2-regularised logistic regression, cross-validated (rows of one identity share "
        "a fold), with the strength chosen on the other folds; we report balanced accuracy at the training prior, "
        "averaged over attributes, with 95 % intervals for the whole procedure by half-samples, and shuffled "
        "labels as the null. Each noise view was held against the inversion of the same network before training, "
        "the pixels and random noise, in pairs on the same images."
    )
    weight = 2.0
    front = "templates/headline.html.j2"
    claims = (
        Claim("Attributes are linear in noise", "probes read them better than chance", "Table 2", is_readable),
        Claim("What is read was learnt", "more than before training", "Table 2, objection", is_learnt),
        Claim("It needs no CLIP", "learnt without CLIP's text", "objection", is_learnt_without_clip),
    )

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`probes` by view, `differences` by view and control."""
        draws: Any = {"groups": data.groups, "seed": options.seed}
        found = spread(lambda view: probe_table(data.features(view), data.Y, data.names, **draws), data.views)
        analysis.tables |= found
        analysis.results[self.name] = {view: table.to_dict() for view, table in found.items()}
        analysis.results["differences"] = held = differences(found, analysis.views)
        probes = [row for view, table in found.items() for row in tidy(table.records(), view=view)]
        analysis.rows |= {"probes": probes, "differences": [row for d in held for row in flat(d)]}

    def say(self, results: Json) -> list[Json]:
        """What training added, how each view compares with its controls, and which views have fewer rows than axes."""
        views, kinds = results["views"], {view["name"]: view["kind"] for view in results["views"]}
        own = {(view["name"], view.get("autoencoder")) for view in views}
        found = [{**d, "way": _way(views, d), "own": (d["view"], d["control"]) in own} for d in results["differences"]]
        found = sorted(found, key=lambda d: kinds[d["view"]] != "noise")
        said = [{"kind": "headline", "view": d["view"], "text": _headline(d, kinds[d["view"]])}
                for d in found if d["role"] == UNTRAINED]  # fmt: skip
        said += [{"kind": "control", "view": d["view"], "text": _against(d)} for d in found if d["role"] != UNTRAINED]
        wide = [f"{view['name']} ({view['n']} rows, {view['d']} dimensions)" for view in views if is_wide(view)]
        text = (f"Fewer rows than dimensions in {', '.join(wide)}: there, what a linear probe finds mixes the "
                "information in a view with its conditioning; compare such views with controls of the same size."
                )  # fmt: skip
        return said + [{"kind": "conditioning", "view": "", "text": text}] * bool(wide)

    def exhibit(self, page: Page) -> Json:
        """The tables of views and attributes, each noise view minus its controls, and the radars."""
        tables = page.results[self.name].items()
        probes = {(view, row["attribute"], row["metric"]): row for view, table in tables for row in table["rows"]}
        attributes = [name for name in dict.fromkeys(key[1] for key in probes) if name != MEAN]
        rates = [probes[page.results["views"][0]["name"], name, METRIC]["majority_rate"] for name in attributes]
        return {
            "probes": probes, "attributes": attributes, "MEAN": MEAN, "METRICS": list(SHOWN), "TITLES": SHOWN,
            "floor": RADAR_FLOOR,
            "refused": {name: why for _, table in tables for name, why in table["refused"].items()},
            "majority": sum(rates) / len(rates) if rates else None,
            "groups": {title: [v for v in page.results["views"] if v["kind"] == kind] for kind, title in KINDS.items()},
            "forests": _forests(page), "radars": _radars(page, probes, attributes),
        }  # fmt: skip

    def summarise(self, pages: Sequence[Page]) -> Json:
        """Trained minus untrained over all datasets, noise first, and how noise fared with every control."""
        found = [{**d, "n": page.n(self.name), "dataset": page.name, "facts": page.facts[d["view"]],
                  "direction": _way(page.results["views"], d),
                  "text": " ".join(v["text"] for v in page.said("headline") if v["view"] == d["view"])}
                 for page in pages for d in page.results["differences"]]  # fmt: skip
        held = [d for d in found if d["facts"]["kind"] == "noise"]
        noise = [d for d in held if d["role"] == UNTRAINED]
        others = [d for d in found if d["role"] == UNTRAINED and d["facts"]["kind"] != "noise"]
        ends = ("worse than untrained", "better than untrained")
        roles = dict.fromkeys(d["role"] for d in held)
        tally = {CONTROL_NAMES.get(role, role): _count([d for d in held if d["role"] == role]) for role in roles}
        shown = [way for way in WORDS if way != IDENTICAL or any(counts[way] for counts in tally.values())]
        return {
            "noise": noise, "others": others, "words": WORDS, "shown": shown, "tally": tally, "counts": _count(noise),
            "chart": dots("headline", "Trained minus untrained", _labelled([*noise, *others]), ends=ends),
            "trainings": [row["view"] for page in pages for row in page.rows("trainings")],
            "confidence": next((p["confidence"] for page in pages for p in page.results["probes"].values()), None),
        }  # fmt: skip


def differences(tables: Mapping[str, ProbeTable], views: Sequence[Json], metric: str = METRIC) -> list[Json]:
    """Each noise view (and each encoder with an untrained twin) minus each of its controls, paired over images."""
    found = []
    for view in views:
        for role, control in controls_of(view, views):
            a, b = tables[view["name"]], tables[control]
            if not set(a.names) & set(b.names):  # every attribute was refused; each table says why
                continue
            comparison = compare(a, b, metrics=(metric,))
            rows = {row["attribute"]: row for row in comparison.to_dict()["rows"] if row["attribute"] != MEAN}
            found.append({"view": view["name"], "control": control, "role": role, "metric": metric,
                          **comparison.mean[metric].to_dict(), "attributes": rows})  # fmt: skip
    return found


def controls_of(view: Json, views: Sequence[Json]) -> list[tuple[str, str]]:
    """(role, view) of what a view must be held against: its network before training first."""
    here = {other["name"]: other for other in views}
    own = [(UNTRAINED, view["baseline"])] if view["baseline"] in here else []
    if view["kind"] != "noise":
        return own
    return own + [(other["family"], name) for name, other in here.items()
                  if other["kind"] == "control" and not other["untrained"]
                  and (other["family"] != "residual" or name == view["name"] + RESIDUAL)]  # fmt: skip


def flat(difference: Json) -> list[Json]:
    """Tidy rows of a difference: the mean over attributes, then each."""
    rows = [{"attribute": MEAN, **difference}, *difference["attributes"].values()]
    keys = ("view", "control", "role", "attribute", "metric", "estimate", "low", "high")
    return [{key: {**difference, **row}[key] for key in keys} for row in rows]


def points(difference: Mapping[str, Any]) -> str:
    """A difference of accuracies with its interval, in percentage points."""
    if None in (difference["low"], difference["high"]):
        return "no interval can be given for the difference"
    return "{estimate:+.1f} points [{low:+.1f}, {high:+.1f}]".format(
        **{key: 100 * difference[key] for key in ("estimate", "low", "high")}
    )


def _headline(d: Mapping[str, Any], kind: str) -> str:
    meaning = MEANINGS[d["way"]].format("noise" if kind == "noise" else "embedding")
    return f"{d['view']}, trained minus untrained: {points(d)} of mean balanced accuracy. So {meaning}."


def _against(d: Mapping[str, Any]) -> str:
    control = "its own autoencoder's latent" if d["own"] else CONTROL_NAMES.get(d["role"], d["role"])
    return f"{d['view']} {VERBS[d['way']]} {control} ({d['control']}): {points(d)}."


def _way(views: Sequence[Json], d: Mapping[str, Any]) -> int:
    """Where the interval of a difference lies, or that there is none to speak of."""
    return IDENTICAL if are_identical(views, d["view"], d["control"]) else direction(d["low"], d["high"])


def _count(found: Sequence[Json]) -> dict[int, int]:
    return {way: sum(d["direction"] == way for d in found) for way in WORDS}


def _labelled(found: Sequence[Json]) -> list[tuple[str, Json, str]]:
    views = [d["view"] for d in found]
    names = [d["view"] if views.count(d["view"]) == 1 else f"{d['dataset']}: {d['view']}" for d in found]
    return [(f"{name}{'  (n < d)' if is_wide(d['facts']) else ''}", d, d["facts"]["kind"])
            for name, d in zip(names, found, strict=True)]  # fmt: skip


def _forests(page: Page) -> list[Json]:
    """Each noise view minus each of its controls, all on one axis, with the verdicts in words."""
    known = [{**d, "n": page.n("probes")} for d in page.results["differences"] if has_interval(d)]
    found = {view: [(f"minus {d['control']}", d, UNTRAINED if d["role"] == UNTRAINED else "control")
                    for d in known if d["view"] == view]
             for view in noise_views(page.results)}  # fmt: skip
    every = [row for _, row, _ in sum(found.values(), [])]
    ends = ("control reads better", "noise reads better")
    return [{"view": view, "chart": dots(f"controls-{view}", f"{page.name}: {view}", rows, ends=ends, beside=every),
             "said": [v for v in page.said("control") if v["view"] == view]}
            for view, rows in found.items() if rows]  # fmt: skip


def _radars(page: Page, probes: Mapping[tuple[str, str, str], Json], attributes: Sequence[str]) -> list[Json]:
    """Encoders by themselves, then each noise view with an encoder for reference and its controls broken."""
    if len(attributes) < 3:  # no polygon
        return []

    def drawn(view: str, colour: str, dash: str) -> Line:
        rows = [{**probes[view, name, METRIC], "n": page.facts[view]["n"]} for name in attributes]
        return line(view, rows, colour, dash)

    views = page.facts.values()
    encoders = [v["name"] for v in views if v["kind"] == "embedding" and not v["untrained"]]
    broken = [drawn(v["name"], UNTRAINED, "--") for v in views if v["kind"] == "embedding" and v["untrained"]]
    pixels = [drawn(v["name"], "control", ":") for v in views if v["family"] == "pixels"]
    reference = [drawn(view, "embedding", "-") for view in encoders[:1]]
    found = {"Encoders": [drawn(v, shade("embedding", k), "-") for k, v in enumerate(encoders)] + broken}
    for view in (v for v in views if v["kind"] == "noise"):
        twin = [drawn(view["baseline"], UNTRAINED, "--")] if view["baseline"] in page.facts else []
        found[view["name"]] = [drawn(view["name"], "noise", "-"), *reference, *twin, *pixels]
    lowest = min((y for lines in found.values() for each in lines for y in each.y), default=RADAR_FLOOR)
    floor = min(RADAR_FLOOR, int(10 * lowest) / 10)
    alt = "{}, {}: balanced accuracy of each attribute, radar chart of {}; the numbers are in the table below"
    words = {what: alt.format(page.name, what, ", ".join(each.label for each in lines))
             for what, lines in found.items() if lines}  # fmt: skip
    return [{"what": what, "chart": radar(f"radar-{what}", words[what], attributes, found[what], chance=CHANCE,
                                          floor=floor)} for what in words]  # fmt: skip
