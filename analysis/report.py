"""The report: one HTML page that opens from disk, and every number of it as JSON."""

import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from noisezoo.analysis import figures
from noisezoo.analysis._results import plain
from noisezoo.analysis.edit_study import NOISE, ORTHOGONAL, OVERLAY, Strip
from noisezoo.analysis.figures import COLOURS, Dot, Line
from noisezoo.analysis.run import METRIC, Analysis
from noisezoo.analysis.verdicts import CONTROL_NAMES, direction
from noisezoo.errors import NoiseZooError

PAGE, NUMBERS = "report.html", "results.json"
TEMPLATES = Path(__file__).parent / "templates"
MISSING = "–"
WORDS = {1: "better", 0: "undecided", -1: "worse"}
KINDS = {"noise": "Noise, inverted by diffusion models", "embedding": "Encoders", "control": "Controls"}
VARIANTS = {NOISE: ("noise", "-"), ORTHOGONAL: ("noise-2", "--"), OVERLAY: ("control", ":")}  # -> colour, dash
METRICS = (METRIC, "accuracy", "auc")
MEAN, UNTRAINED = "mean", "untrained"
KINDS_OF_VERDICT = ("headline", "gaussianity", "conditioning")
ROLES = {UNTRAINED: "untrained"}  # role of a control -> colour; the others are grey
TESTS = {"anderson-darling": "Anderson–Darling", "dagostino-pearson": "D’Agostino–Pearson"}
RESPONSES = {"judged": ("Judge’s probability of {}, %", (1.0,)), "collateral": ("Other attributes that flip, %", (0.2, 0.5, 1.0))}
CHANCE = 0.5
RADAR_FLOOR = 0.4
FACES_SHOWN, FACES_ABREAST = 6, 3
Json = dict[str, Any]


def write_report(analyses: Mapping[str, Analysis], folder: Path, *, title: str) -> Path:
    """Write `report.html`, self-contained, and `results.json`, every number as a finite float or null.

    Both are written whole under hidden names and then renamed, and are the same bytes for the same input.

    Args:
        analyses: Dataset name -> its analysis. Datasets whose true factors are known come first in the report.
        folder: Where the two files go; made where it is missing.
        title: Of the page.

    Returns:
        The path of `report.html`.

    Raises:
        NoiseZooError: The folder cannot be written.
        ValueError: No analysis, or an edit without the pixel overlay that it must be held against.
    """
    if not analyses:
        raise ValueError("there is no analysis to report")
    order = sorted(analyses, key=lambda name: not analyses[name].results["dataset"]["factors"])
    numbers = {"title": title, "datasets": {name: plain(analyses[name].results) for name in order}}
    pages = [section(k, name, numbers["datasets"][name], analyses[name]) for k, name in enumerate(order, start=1)]
    html = _environment().get_template("report.html.j2").render(title=title, top=_top(pages), sections=pages)
    text = json.dumps(numbers, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    try:
        _commit(folder, {PAGE: html, NUMBERS: text})
    except OSError as error:
        reason = error.strerror or error
        raise NoiseZooError(f"cannot write the report into {folder}: {reason}; name a folder with room") from error
    return folder / PAGE


def section(number: int, name: str, results: Json, analysis: Analysis) -> Json:
    """What the page says of one dataset: its numbers as `results` has them, with figures and pictures made."""
    probes = {(view, row["attribute"], row["metric"]): row for view, p in results["probes"].items() for row in p["rows"]}
    attributes = [attribute for attribute in dict.fromkeys(key[1] for key in probes) if attribute != MEAN]
    page: Json = {
        "id": f"dataset-{number}",
        "name": name,
        "results": results,
        "probes": probes,
        "attributes": attributes,
        "refused": {a: why for p in results["probes"].values() for a, why in p["refused"].items()},
        "majority": _majority(results, probes, attributes),
        "groups": {title: [v for v in results["views"] if v["kind"] == kind] for kind, title in KINDS.items()},
        "said": {kind: [v for v in results["verdicts"] if v["kind"] == kind] for kind in KINDS_OF_VERDICT},
        "gaussianity": _gaussianity(results),
    }
    return {
        **page,
        "forests": _forests(name, results),
        "radars": _radars(page) if len(attributes) > 2 else [],
        "edits": [_edit(view, results["edits"][view], strips) for view, strips in analysis.strips.items() if strips],
        "reconstructions": [_reconstruction(view, results, made) for view, made in analysis.reconstructions.items()],
    }


def _majority(results: Json, probes: Mapping[tuple[str, str, str], Json], attributes: Sequence[str]) -> float | None:
    """Mean accuracy of always answering the commoner class."""
    view = next(iter(results["probes"]), "")
    rates = [probes[view, attribute, METRIC]["majority_rate"] for attribute in attributes]
    return sum(rates) / len(rates) if rates else None


def _gaussianity(results: Json) -> Json:
    tests: Json = {view: g["rows"] for view, g in results["gaussianity"].items()}
    first: Json = next(iter(results["gaussianity"].values()), {"rows": [], "n_null": None, "alpha": None})
    heads = [(row["family"], TESTS.get(row["test"], "ratio")) for row in first["rows"]]
    return {"heads": heads, "rows": tests, "n_null": first["n_null"], "alpha": first["alpha"]}


def _top(pages: Sequence[Json]) -> Json:
    """The headline over all datasets: trained minus untrained, noise first, and how noise fared with every control."""
    found = [_decided(page, d) for page in pages for d in page["results"]["differences"]]
    trained = [d for d in found if d["role"] == UNTRAINED]
    noise, others = ([d for d in trained if (d["facts"]["kind"] == "noise") is wanted] for wanted in (True, False))
    held = [d for d in found if d["facts"]["kind"] == "noise"]
    ways = {role: [d["direction"] for d in held if d["role"] == role] for role in dict.fromkeys(d["role"] for d in held)}
    return {
        "noise": noise,
        "others": others,
        "chart": _headline_chart([*noise, *others]),
        "counts": {way: sum(d["direction"] == way for d in noise) for way in WORDS},
        "tally": {CONTROL_NAMES.get(role, role): [w.count(way) for way in WORDS] for role, w in ways.items()},
        "confidence": next((p["confidence"] for page in pages for p in page["results"]["probes"].values()), None),
        "models": sum(v["kind"] != "control" and not v["untrained"] for page in pages for v in page["results"]["views"]),
    }


def _decided(page: Json, difference: Json) -> Json:
    """A difference with what the headline says of it: its dataset, its view's facts, its verdict."""
    view = difference["view"]
    text = [v["text"] for v in page["said"]["headline"] if v["view"] == view]
    way = direction(difference["low"], difference["high"])
    return {**difference, "dataset": page["name"], "facts": _facts(page["results"])[view], "direction": way, "text": " ".join(text)}


def _headline_chart(found: Sequence[Json]) -> str | None:
    if not found:
        return None
    views = [d["view"] for d in found]
    names = [d["view"] if views.count(d["view"]) == 1 else f"{d['dataset']}: {d['view']}" for d in found]
    labels = [f"{name}{'  (n < d)' if _is_wide(d['facts']) else ''}" for name, d in zip(names, found, strict=True)]
    dots = [_dot(label, d, d["facts"]["kind"]) for label, d in zip(labels, found, strict=True)]
    return figures.intervals(dots, alt=_alt("Trained minus untrained", dots), span=_span(dots),
                             ends=("worse than untrained", "better than untrained"))  # fmt: skip


def _forests(name: str, results: Json) -> list[Json]:
    """Each noise view minus each of its controls, all on one axis."""
    noise = [view["name"] for view in results["views"] if view["kind"] == "noise"]
    rows = {view: [d for d in results["differences"] if d["view"] == view] for view in noise}
    dots = {view: [_dot(f"minus {d['control']}", d, ROLES.get(d["role"], "control")) for d in found]
            for view, found in rows.items() if found}  # fmt: skip
    span = _span([dot for found in dots.values() for dot in found])
    charts = {view: figures.intervals(found, alt=_alt(f"{name}: {view}", found), span=span,
                                      ends=("control reads better", "noise reads better"))
              for view, found in dots.items()}  # fmt: skip
    said = {view: [v for v in results["verdicts"] if v["kind"] == "control" and v["view"] == view] for view in charts}
    return [{"view": view, "chart": chart, "said": said[view]} for view, chart in charts.items()]


def _alt(what: str, dots: Sequence[Dot]) -> str:
    return f"{what}, points of mean balanced accuracy: " + "; ".join(f"{dot.label} {dot.value}" for dot in dots)


def _dot(label: str, difference: Json, colour: str) -> Dot:
    ends = [100 * difference[key] for key in ("estimate", "low", "high")]
    value = "{} [{}, {}]".format(*(signed(difference[key]) for key in ("estimate", "low", "high")))
    return Dot(label, value, *ends, COLOURS[colour])


def _span(dots: Sequence[Dot]) -> tuple[float, float]:
    """An axis that holds every interval and zero, with room at its ends."""
    low, high = min([0.0, *(dot.low for dot in dots)]), max([0.0, *(dot.high for dot in dots)])
    length = (high - low) or 1.0
    return min(low - 0.05 * length, -0.2 * length), max(high + 0.05 * length, 0.2 * length)


def _radars(page: Json) -> list[Json]:
    """Encoders by themselves, then each noise view with an encoder for reference and its controls dashed."""
    views = _facts(page["results"])
    encoders = [v["name"] for v in views.values() if v["kind"] == "embedding" and not v["untrained"]]
    dashed = [v["name"] for v in views.values() if v["kind"] == "embedding" and v["untrained"]]
    pixels = [v["name"] for v in views.values() if v["family"] == "pixels"]
    plots = {"encoders": [(v, colour, "-") for v, colour in zip(encoders, ("embedding", "embedding-2"), strict=False)]
             + [(v, "untrained", "--") for v in dashed]}  # fmt: skip
    for view in (v for v in views.values() if v["kind"] == "noise"):
        twin = [view["baseline"]] if view["baseline"] in views else []
        plots[view["name"]] = [(view["name"], "noise", "-"), *((v, "embedding", "-") for v in encoders[:1]),
                               *((v, "untrained", "--") for v in twin), *((v, "control", ":") for v in pixels)]  # fmt: skip
    drawn = {what: [_radar_line(page, *line) for line in lines] for what, lines in plots.items() if lines}
    floor = min([RADAR_FLOOR, *(int(10 * y) / 10 for lines in drawn.values() for line in lines for y in line.y)])
    alt = "{}: balanced accuracy of each attribute, radar chart of {}; the numbers are in the table below"
    return [{"what": what, "chart": figures.radar(
        page["attributes"], lines, alt=alt.format(page["name"], ", ".join(line.label for line in lines)),
        chance=CHANCE, floor=floor)} for what, lines in drawn.items()]  # fmt: skip


def _radar_line(page: Json, view: str, colour: str, dash: str) -> Line:
    values = [page["probes"][view, attribute, METRIC]["estimate"] for attribute in page["attributes"]]
    return Line(view, values, COLOURS[colour], dash)


def _edit(view: str, record: Json, strips: Sequence[Strip]) -> Json:
    """Each attribute's strips, the pixel overlay last and so directly under the noise's, and what the judge saw."""
    by_attribute = {strip.attribute: [s for s in strips if s.attribute == strip.attribute] for strip in strips}
    order = list(VARIANTS)
    found = []
    for attribute, variants in by_attribute.items():
        if OVERLAY not in {strip.variant for strip in variants}:
            raise ValueError(f"the edit of {attribute!r} through {view} has no pixel overlay to be held against")
        rows = [_edit_row(strip) for strip in sorted(variants, key=lambda strip: order.index(strip.variant))]
        found.append({"attribute": attribute, "strengths": variants[0].strengths, "rows": rows,
                      "charts": [_response(view, attribute, rows, *what) for what in RESPONSES.items()]})  # fmt: skip
    return {"view": view, "judge": record["judge"], "attributes": found}


def _edit_row(strip: Strip) -> Json:
    pictures = [figures.tile(faces[:FACES_SHOWN], FACES_ABREAST) for faces in strip.images]
    shown, scale = min(FACES_SHOWN, strip.images.shape[1]), max(1, 64 // strip.images.shape[-1])
    return {"variant": strip.variant, "against": strip.against, "pictures": pictures, "records": plain(strip.records), "is_overlay": strip.variant == OVERLAY,
            "faces": strip.images.shape[1], "shown": shown, "scale": scale}  # fmt: skip


def _response(view: str, attribute: str, rows: Sequence[Json], key: str, what: tuple[str, tuple[float, ...]]) -> str:
    """What the judge saw by strength; `what` is the title, and the axes to choose the least from that holds it all."""
    lines = [_response_line(row, key) for row in rows]
    highest = max(high for line in lines for high in line.high)
    top = min(top for top in what[1] if top >= min(highest, 1.0))
    title = what[0].format(attribute.replace("_", " "))
    alt = f"{title}, by strength of the edit of {attribute} through {view}; the numbers are in the table below"
    return figures.by_strength([r["strength"] for r in rows[0]["records"]], lines, alt=alt, title=title, top=top)


def _response_line(row: Json, key: str) -> Line:
    colour, dash = VARIANTS[row["variant"]]
    y, low, high = ([record[key][end] for record in row["records"]] for end in ("estimate", "low", "high"))
    return Line(row["variant"].replace("orthogonalised", "orthog."), y, COLOURS[colour], dash, low, high)


def _reconstruction(view: str, results: Json, pictures: Any) -> Json:  # noqa: ANN401 - (2, m, c, h, w)
    psnr = results["edits"][view]["reconstruction_psnr"]
    scale = max(1, 96 // pictures.shape[-1])
    pairs = [figures.tile(pictures[:, k], 1) for k in range(pictures.shape[1])]
    middle = median(psnr) if psnr else None
    return {"view": view, "scale": scale, "psnr": psnr, "median": middle, "pairs": list(zip(pairs, psnr, strict=True))}


def _facts(results: Json) -> dict[str, Json]:
    return {view["name"]: view for view in results["views"]}


def _is_wide(view: Json) -> bool:
    """Fewer rows than dimensions: conditioning and information mix."""
    return bool(view["n"] < view["d"])


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return MISSING if value is None else f"{100 * value:.1f}"


def signed(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return MISSING if value is None else f"{100 * value:+.1f}".replace("-", "−")


def decimals(value: float | None, places: int = 2) -> str:
    """A number with so many decimals."""
    return MISSING if value is None else f"{value:.{places}f}".replace("-", "−")


def typeset(text: str) -> str:
    """A sentence with minus signs before its negative numbers."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def p_value(value: float | None) -> str:
    """A p-value with two digits."""
    return MISSING if value is None else f"{value:.2g}"


def place(value: float | None, low: float = RADAR_FLOOR, high: float = 1.0) -> float:
    """Where a share lies on a bar from `low` to `high`, in percent of its length."""
    share = low if value is None else value
    return round(100 * min(max((share - low) / (high - low), 0.0), 1.0), 2)


def _yaml(value: Any) -> str:  # noqa: ANN401 - plain JSON
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def _environment() -> Any:  # noqa: ANN401 - jinja2 loads where it is used
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    environment.filters |= {"percent": percent, "signed": signed, "decimals": decimals, "place": place, "yaml": _yaml,
                            "p_value": p_value, "typeset": typeset}
    environment.tests["wide"] = _is_wide
    environment.globals |= {"WORDS": WORDS, "METRICS": METRICS, "MISSING": MISSING, "MEAN": MEAN}
    return environment


def _commit(folder: Path, files: Mapping[str, str]) -> None:
    """Write every file under a hidden name, then rename: a reader finds an old file or a whole new one, never half."""
    folder.mkdir(parents=True, exist_ok=True)
    hidden = {folder / f".{name}.{uuid.uuid4().hex}.tmp": folder / name for name in files}
    try:
        for temporary, final in hidden.items():
            temporary.write_text(files[final.name], encoding="utf-8", newline="\n")
        for temporary, final in hidden.items():
            os.replace(temporary, final)
    finally:
        for temporary in hidden:
            temporary.unlink(missing_ok=True)
