"""What the report shows of a dataset in pictures: which views share a figure, and what each is held against."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from markupsafe import Markup
from numpy.typing import NDArray

from noisezoo.analysis.core import plain
from noisezoo.analysis.edits import NOISE, ORTHOGONAL, OVERLAY, Strip
from noisezoo.analysis.report import figures
from noisezoo.analysis.report.drawing import COLOURS
from noisezoo.analysis.report.figures import Dot, Line
from noisezoo.analysis.studies import METRIC

Json = dict[str, Any]
Probes = Mapping[tuple[str, str, str], Json]
"""(view, attribute, metric) -> one row of a probe table."""
MISSING = "–"
CHANCE, RADAR_FLOOR = 0.5, 0.4
FACES_SHOWN, FACES_ABREAST = 6, 3
FACE_SIDE, PAIR_SIDE = 64, 96  # pixels on the page
UNTRAINED = "untrained"
ROLE_COLOURS = {UNTRAINED: "untrained"}  # the other controls are grey
VARIANTS = {NOISE: ("noise", "-"), ORTHOGONAL: ("noise-2", "--"), OVERLAY: ("control", ":")}  # -> colour, dash
RESPONSES = {  # key of a record -> title, and axes of which the least that holds every interval is taken
    "judged": ("Judge’s probability of {}, %", (1.0,)),
    "collateral": ("Other attributes that flip, %", (0.2, 0.5, 1.0)),
}


def signed(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return MISSING if value is None else f"{100 * value:+.1f}".replace("-", "−")


def facts(results: Json) -> dict[str, Json]:
    """View -> what is known of it."""
    return {view["name"]: view for view in results["views"]}


def is_wide(view: Json) -> bool:
    """Fewer rows than dimensions: conditioning and information mix."""
    return bool(view["n"] < view["d"])


def headline(found: Sequence[Json]) -> Markup | None:
    """Trained minus untrained, a row each; `found` are differences with their `dataset` and their view's `facts`."""
    found = [d for d in found if _has_interval(d)]
    if not found:
        return None
    views = [d["view"] for d in found]
    names = [d["view"] if views.count(d["view"]) == 1 else f"{d['dataset']}: {d['view']}" for d in found]
    labels = [f"{name}{'  (n < d)' if is_wide(d['facts']) else ''}" for name, d in zip(names, found, strict=True)]
    dots = [dot(label, d, d["facts"]["kind"]) for label, d in zip(labels, found, strict=True)]
    ends = ("worse than untrained", "better than untrained")
    return figures.intervals(_alt("Trained minus untrained", dots), dots, span=span(dots), ends=ends)


def forests(dataset: str, results: Json) -> list[Json]:
    """Each noise view minus each of its controls, all on one axis, with the verdicts in words."""
    noise = [view["name"] for view in results["views"] if view["kind"] == "noise"]
    held = [d for d in results.get("differences", ()) if _has_interval(d)]
    rows = {view: [d for d in held if d["view"] == view] for view in noise}
    dots = {view: [dot(f"minus {d['control']}", d, ROLE_COLOURS.get(d["role"], "control")) for d in found]
            for view, found in rows.items() if found}  # fmt: skip
    reach = span([one for found in dots.values() for one in found])
    ends = ("control reads better", "noise reads better")
    charts = {view: figures.intervals(_alt(f"{dataset}: {view}", found), found, span=reach, ends=ends)
              for view, found in dots.items()}  # fmt: skip
    said = {view: [v for v in results["verdicts"] if v["kind"] == "control" and v["view"] == view] for view in charts}
    return [{"view": view, "chart": chart, "said": said[view]} for view, chart in charts.items()]


def _has_interval(difference: Json) -> bool:
    return None not in (difference["estimate"], difference["low"], difference["high"])


def _alt(what: str, dots: Sequence[Dot]) -> str:
    return f"{what}, points of mean balanced accuracy; " + "; ".join(f"{each.label} {each.value}" for each in dots)


def dot(label: str, difference: Json, colour: str) -> Dot:
    """A difference of shares, in points, with its interval."""
    estimate, low, high = (difference[key] for key in ("estimate", "low", "high"))
    value = f"{signed(estimate)} [{signed(low)}, {signed(high)}]"
    return Dot(label, value, 100 * estimate, 100 * low, 100 * high, COLOURS[colour])


def span(dots: Sequence[Dot]) -> tuple[float, float]:
    """An axis that holds every interval and zero, with room on both sides of each."""
    low, high = min([0.0, *(each.low for each in dots)]), max([0.0, *(each.high for each in dots)])
    length = (high - low) or 1.0
    return min(low - 0.05 * length, -0.2 * length), max(high + 0.05 * length, 0.2 * length)


def radars(dataset: str, results: Json, probes: Probes, attributes: Sequence[str]) -> list[Json]:
    """Encoders by themselves, then each noise view with an encoder for reference and its controls broken."""
    if len(attributes) < 3:  # no polygon
        return []
    drawn = {what: [_radar_line(probes, attributes, *line) for line in lines]
             for what, lines in _radar_views(facts(results)).items() if lines}  # fmt: skip
    lowest = min((y for lines in drawn.values() for line in lines for y in line.y), default=RADAR_FLOOR)
    floor = min(RADAR_FLOOR, int(10 * lowest) / 10)
    alt = "{}, {}: balanced accuracy of each attribute, radar chart of {}; the numbers are in the table below"
    return [{"what": what, "chart": figures.radar(
        alt.format(dataset, what, ", ".join(line.label for line in lines)), attributes, lines,
        chance=CHANCE, floor=floor)} for what, lines in drawn.items()]  # fmt: skip


def _radar_views(views: Mapping[str, Json]) -> dict[str, list[tuple[str, str, str]]]:
    """What each radar shows: (view, colour, dash)."""
    encoders = [v["name"] for v in views.values() if v["kind"] == "embedding" and not v["untrained"]]
    dashed = [(v["name"], "untrained", "--") for v in views.values() if v["kind"] == "embedding" and v["untrained"]]
    pixels = [(v["name"], "control", ":") for v in views.values() if v["family"] == "pixels"]
    plots = {"Encoders": [(v, figures.shade("embedding", k), "-") for k, v in enumerate(encoders)] + dashed}
    for view in (v for v in views.values() if v["kind"] == "noise"):
        twin = [(view["baseline"], "untrained", "--")] if view["baseline"] in views else []
        reference = [(v, "embedding", "-") for v in encoders[:1]]
        plots[view["name"]] = [(view["name"], "noise", "-"), *reference, *twin, *pixels]
    return plots


def _radar_line(probes: Probes, attributes: Sequence[str], view: str, colour: str, dash: str) -> Line:
    return Line(view, [probes[view, attribute, METRIC]["estimate"] for attribute in attributes], COLOURS[colour], dash)


def edits(dataset: str, view: str, record: Json, strips: Sequence[Strip]) -> Json:
    """Each attribute's strips, the pixel overlay last and so directly under the noise's, and what the judge saw.

    Raises:
        ValueError: An attribute without an overlay.
    """
    attributes = dict.fromkeys(strip.attribute for strip in strips)
    by_attribute = {name: [strip for strip in strips if strip.attribute == name] for name in attributes}
    found = [_attribute(dataset, view, name, variants) for name, variants in by_attribute.items()]
    return {"view": view, "judge": record["judge"], "attributes": found}


def _attribute(dataset: str, view: str, attribute: str, variants: Sequence[Strip]) -> Json:
    if OVERLAY not in {strip.variant for strip in variants}:
        raise ValueError(f"the edit of {attribute!r} through {view} has no pixel overlay to be held against")
    order = list(VARIANTS)
    rows = [_edit_row(strip) for strip in sorted(variants, key=lambda strip: order.index(strip.variant))]
    whose = f"by strength of the edit of {attribute} through {view}, {dataset}"
    charts = [_response(whose, attribute, rows, key, *what) for key, what in RESPONSES.items()]
    return {"attribute": attribute, "strengths": variants[0].strengths, "rows": rows, "charts": charts}


def _edit_row(strip: Strip) -> Json:
    return {
        "variant": strip.variant,
        "is_overlay": strip.variant == OVERLAY,
        "against": strip.against,
        "pictures": [figures.tile(faces[:FACES_SHOWN], FACES_ABREAST, side=FACE_SIDE) for faces in strip.images],
        "records": plain(strip.records),
        "faces": strip.images.shape[1],
        "shown": min(FACES_SHOWN, strip.images.shape[1]),
    }


def _response(
    whose: str, attribute: str, rows: Sequence[Json], key: str, title: str, tops: Sequence[float]
) -> Markup:  # fmt: skip
    lines = [_response_line(row, key) for row in rows]
    highest = min(max(high for line in lines for high in line.high), 1.0)
    named = title.format(attribute.replace("_", " "))
    alt = f"{named}, {whose}; the numbers are in the table below"
    strengths = [record["strength"] for record in rows[0]["records"]]
    return figures.by_strength(alt, strengths, lines, title=named, top=min(top for top in tops if top >= highest))


def _response_line(row: Json, key: str) -> Line:
    colour, dash = VARIANTS[row["variant"]]
    y, low, high = ([record[key][end] for record in row["records"]] for end in ("estimate", "low", "high"))
    return Line(row["variant"].replace("orthogonalised", "orthog."), y, COLOURS[colour], dash, low, high)


def reconstruction(view: str, record: Json, pictures: NDArray[Any]) -> Json:
    """Pairs of a picture given and regenerated, from (2, m, c, h, w), with the PSNR of each."""
    psnr = record["reconstruction_psnr"]
    pairs = [figures.tile(pictures[:, k], 1, side=PAIR_SIDE) for k in range(pictures.shape[1])]
    return {"view": view, "psnr": psnr, "median": median(psnr), "pairs": list(zip(pairs, psnr, strict=True))}
