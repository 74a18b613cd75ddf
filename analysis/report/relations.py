"""What the report shows of views taken together: matrices, curves and differences, as figures with their captions."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from markupsafe import Markup

from noisezoo.analysis.report import figures
from noisezoo.analysis.report.drawing import COLOURS
from noisezoo.analysis.report.exhibits import CHANCE, dot, facts, span
from noisezoo.analysis.report.figures import Curve
from noisezoo.analysis.studies import METRIC

Json = dict[str, Any]
MEAN = "mean"
MEASURES = {"cka": "Unbiased CKA", "mutual_knn": "Mutual nearest neighbours", "svcca": "SVCCA, held out",
            "procrustes": "Procrustes, held out"}  # fmt: skip
STITCHED = {"r2": "Held-out R² of ridge, row to column", "retrieval@1": "Own target found first of its gallery",
            "retrieval@10": "Own target among the 10 nearest"}  # fmt: skip


def matrices(dataset: str, results: Json) -> list[Markup]:
    """Stitching and attribute transfer, from row to column."""
    order = [view["name"] for view in results["views"]]
    rows = [row for row in results.get("stitching", {}).get("rows", ()) if row["alpha"] == "validated"]
    found = [_matrix(f"{dataset}: {title}", title, [r for r in rows if r["measure"] == measure], order)
             for measure, title in STITCHED.items()]  # fmt: skip
    carried = [row for row in results.get("transfer", {}).get("rows", ()) if row["measure"] == METRIC]
    title = "Balanced accuracy of an encoder's probes on rows stitched into its space, %"
    shown = [{**row, "estimate": _times(100, row["estimate"])} for row in carried]
    return [chart for chart in (*found, _matrix(f"{dataset}: {title}", title, shown, order, ".1f")) if chart]


def alignments(dataset: str, results: Json) -> list[Markup]:
    """The four measures, both ways round."""
    order = [view["name"] for view in results["views"]]
    rows = results.get("alignment", {}).get("rows", ())
    both = [{**row, "source": a, "target": b} for row in rows
            for a, b in ((row["a"], row["b"]), (row["b"], row["a"]))]  # fmt: skip
    found = [_matrix(f"{dataset}: {title}", title, [r for r in both if r["measure"] == measure], order)
             for measure, title in MEASURES.items()]  # fmt: skip
    return [chart for chart in found if chart]


def _matrix(
    alt: str, title: str, cells: Sequence[Json], order: Sequence[str], shown: str = ".2f"
) -> Markup | None:  # fmt: skip
    values = {(cell["source"], cell["target"]): cell["estimate"] for cell in cells}
    known = [value for value in values.values() if value is not None]
    if not known:
        return None
    rows = [view for view in order if any(view == source for source, _ in values)]
    columns = [view for view in order if any(view == target for _, target in values)]
    table = [[values.get((row, column)) for column in columns] for row in rows]
    top = max(max(known), 1e-9)
    return figures.heatmap(f"{alt}; every number is in the tables", rows, columns, table, top=top, shown=shown,
                           title=title)  # fmt: skip


def learning(dataset: str, results: Json) -> Markup | None:
    """Mean balanced accuracy by training rows."""
    every = results.get("learning", {}).get("rows", ())
    rows = [row for row in every if row["metric"] == METRIC and row["estimate"] is not None]
    views = dict.fromkeys(row["view"] for row in rows)
    if not rows or len({row["size"] for row in rows}) < 2:
        return None
    lines = [_curve(view, [row for row in rows if row["view"] == view], "size", colour, 100)
             for view, colour in zip(views, _colours(results, views), strict=True)]  # fmt: skip
    return figures.curves(
        f"{dataset}: learning curves; mean balanced accuracy by training images", lines,
        title="Mean balanced accuracy, %", xlabel="training images of a probe", span=_span(lines, 100 * CHANCE),
        logarithmic=True, level=100 * CHANCE,
    )  # fmt: skip


def shared(dataset: str, results: Json) -> list[Markup]:
    """Held-out canonical values by dimension, a figure an encoder: noise, its untrained twin and the picture."""
    values = results.get("shared", {}).get("values", ())
    encoders = dict.fromkeys(row["subset"].split(" + ")[1] for row in values if row["subset"].count(" + ") == 1)
    return [chart for encoder in encoders for chart in _canonical(dataset, results, encoder, values)]


def _canonical(dataset: str, results: Json, encoder: str, values: Sequence[Json]) -> Iterator[Markup]:
    rows = [{**row, "view": row["subset"].split(" + ")[0], "at": row["dimension"] + 1} for row in values
            if row["subset"].split(" + ")[1:] == [encoder]]  # fmt: skip
    views = dict.fromkeys(row["view"] for row in rows)
    lines = [_curve(view, [row for row in rows if row["view"] == view], "at", colour)
             for view, colour in zip(views, _colours(results, views), strict=True)]  # fmt: skip
    if lines:
        top = max(row["null_high"] or 0.0 for row in rows)
        title = f"Held-out correlation of shared dimensions with {encoder}"
        yield figures.curves(f"{dataset}: {title}; null at most {top:.2f}", lines, title=title,
                             xlabel="shared dimension; grey line: upper end of the largest null",
                             span=_span(lines, top), level=top)  # fmt: skip


def _curve(label: str, rows: Sequence[Json], x: str, colour: tuple[str, str], scale: float = 1.0) -> Curve:
    rows = sorted((row for row in rows if row["estimate"] is not None), key=lambda row: row[x])
    low, high = ([_times(scale, row[end]) for row in rows] for end in ("low", "high"))
    ends = () if None in low + high else (tuple(low), tuple(high))
    return Curve(label, [row[x] for row in rows], [scale * row["estimate"] for row in rows], *colour, *ends)


def _colours(results: Json, views: Iterable[str]) -> list[tuple[str, str]]:
    """Colour and dash of each view, by its kind; two of a kind get two shades, more get dashes."""
    known, seen, found = facts(results), dict[str, int](), []
    for view in views:
        kind = "untrained" if known[view]["untrained"] else known[view]["kind"]
        number = seen[kind] = seen.get(kind, -1) + 1
        found.append((COLOURS[figures.shade(kind, number)], ("-", "-", "--", "--", ":", ":")[number % 6]))
    return found


def _span(lines: Sequence[Curve], level: float) -> tuple[float, float]:
    heights = [y for line in lines for y in (*line.y, *line.low, *line.high)] + [level]
    room = 0.05 * (max(heights) - min(heights)) or 0.05
    return min(heights) - room, max(heights) + room


def conditional(dataset: str, results: Json) -> Markup | None:
    """What each noise view adds to each of its controls."""
    found = [row for row in results.get("conditional", {}).get("rows", ())
             if (row["metric"], row["what"]) == (METRIC, f"{row['view']} given {row['control']}")]  # fmt: skip
    ends = ("the picture alone reads better", "noise adds")
    return _dots(f"{dataset}: what noise adds", "to", found, results, ends)


def conditioning(dataset: str, results: Json) -> Markup | None:
    """Trained minus untrained, conditioned minus unconditional."""
    rows = [{**row, "view": row["conditioned"], "control": row["unconditional"]}
            for row in results.get("conditioning", {}).get("rows", ())]  # fmt: skip
    ends = ("training adds less with CLIP's text", "training adds more with CLIP's text")
    return _dots(f"{dataset}: conditioned minus unconditional", "minus", rows, results, ends)


def _dots(alt: str, joint: str, rows: Sequence[Json], results: Json, ends: tuple[str, str]) -> Markup | None:
    known = facts(results)
    kinds = {view: "untrained" if known[view]["untrained"] else known[view]["kind"] for view in known}
    held = [row for row in rows if None not in (row["estimate"], row["low"], row["high"])]
    dots = [dot(f"{row['view']} {joint} {row['control']}", row, kinds[row["view"]]) for row in held]
    if not dots:
        return None
    words = f"{alt}, points of mean balanced accuracy; every number is in the tables"
    return figures.intervals(words, dots, ends=ends, span=span(dots))


def profiles(results: Json) -> list[Json]:
    """Each noise view with each encoder: its correlation, those of its controls, and the differences."""
    rows = results.get("profile", {}).get("rows", ())
    pairs = dict.fromkeys((row["view"], row["reference"]) for row in rows)
    return [{"view": view, "reference": reference, "rows": [r for r in rows if (r["view"], r["reference"]) == pair]}
            for pair in pairs for view, reference in (pair,)]  # fmt: skip


def _times(scale: float, value: float | None) -> float | None:
    return None if value is None else scale * value


__all__ = ["MEAN", "alignments", "conditional", "conditioning", "learning", "matrices", "profiles", "shared"]
