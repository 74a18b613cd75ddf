"""Rows of results as figures: intervals about zero, matrices from view to view, and curves in the views' colours."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from noisezoo.analysis.figures import charts
from .charts import Dot, Line
from .drawing import COLOURS

Json = dict[str, Any]
MISSING = "–"
DASHES = ("-", "-", "--", "--", ":", ":")


def signed(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return MISSING if value is None else f"{100 * value:+.1f}".replace("-", "−")


def is_wide(view: Json) -> bool:
    """Fewer rows than dimensions: conditioning and information mix."""
    return bool(view["n"] < view["d"])


def hue(view: Json) -> str:
    """The name of a view's colour."""
    return "untrained" if view["untrained"] else str(view["kind"])


def has_interval(row: Json) -> bool:
    """Whether estimate and both ends are known."""
    return None not in (row["estimate"], row["low"], row["high"])


def dots(
    name: str, alt: str, rows: Iterable[tuple[str, Json, str]], *, ends: tuple[str, str],
    beside: Iterable[Json] = (), unit: str = "points of mean balanced accuracy",
) -> Markup | None:  # fmt: skip
    """Differences about zero, in points of a `unit`: (label, row, colour) each; None where no interval is known.

    The axis also holds the rows `beside` them, so that several figures share it.
    """
    held = [_dot(*each) for each in rows if has_interval(each[1])]
    if not held:
        return None
    others = [_dot("", row, "control") for row in beside]
    words = f"{alt}, {unit}; " + "; ".join(f"{dot.label} {dot.value}" for dot in held)
    return charts.intervals(name, words, held, ends=ends, span=span([*held, *others]))


def _dot(label: str, row: Json, colour: str) -> Dot:
    estimate, low, high = (row[key] for key in ("estimate", "low", "high"))
    value, tip = f"{signed(estimate)} [{signed(low)}, {signed(high)}]", says(label, row, "+.1f", 100)
    return Dot(label, value, 100 * estimate, 100 * low, 100 * high, COLOURS[colour], tip)


def says(label: str, row: Json, shown: str, scale: float = 1.0) -> str:
    """All of one number in words: its label, estimate, interval and number of images, where they are known."""
    estimate, *ends = (None if row.get(end) is None else format(scale * row[end], shown).replace("-", "−")
                       for end in ("estimate", "low", "high"))  # fmt: skip
    interval = "" if None in ends else " [{}, {}]".format(*ends)
    images = "" if row.get("n") is None else f", n = {row['n']}"
    return f"{label}: {estimate}{interval}{images}"


def span(dots: Sequence[Dot]) -> tuple[float, float]:
    """An axis that holds every interval and zero, with room on both sides of each."""
    low, high = min([0.0, *(each.low for each in dots)]), max([0.0, *(each.high for each in dots)])
    length = (high - low) or 1.0
    return min(low - 0.05 * length, -0.2 * length), max(high + 0.05 * length, 0.2 * length)


def matrix(
    name: str, alt: str, cells: Iterable[tuple[str, str, Json]], views: Iterable[str], *, title: str,
    shown: str = ".2f", scale: float = 1.0,
) -> Markup | None:  # fmt: skip
    """Estimates of (row, column, result), times `scale`, with views in order; None where no estimate is known."""
    known = {(row, column): result for row, column, result in cells if result["estimate"] is not None}
    if not known:
        return None
    order, values = list(views), {cell: scale * result["estimate"] for cell, result in known.items()}
    rows, columns = ([view for view in order if any(view == cell[side] for cell in known)] for side in (0, 1))
    tips = {(a, b): says(f"{a} to {b}", result, shown, scale) for (a, b), result in known.items()}
    return charts.heatmap(name, f"{alt}; every number is in the tables", rows, columns, values,
                          top=max(*values.values(), 1e-9), shown=shown, title=title, tips=tips)  # fmt: skip


def line(
    label: str, rows: Iterable[Json], colour: str, dash: str = "-", *, x: str = "", scale: float = 1.0
) -> Line:  # fmt: skip
    """Estimates by the column `x`, with their intervals where all are known; without `x`, by attribute."""
    known = sorted((row for row in rows if row["estimate"] is not None), key=lambda row: row[x] if x else 0)
    whole = all(row.get(end) is not None for row in known for end in ("low", "high"))
    ends: Any = {end: [scale * row[end] for row in known] for end in ("low", "high") if whole}
    at = [row[x] for row in known] if x else ()
    tips = [says(f"{label}, {row.get(x or 'attribute')}", row, ".3g", scale) for row in known]
    return Line(label, [scale * row["estimate"] for row in known], COLOURS[colour], dash, x=at, tips=tips, **ends)


def lines(facts: Mapping[str, Json], rows: Iterable[Json], *, x: str, scale: float = 1.0) -> list[Line]:
    """One line a view of the rows, in its kind's colour; two of a kind get two shades, more get dashes."""
    by_view: dict[str, list[Json]] = {}
    for row in rows:
        by_view.setdefault(row["view"], []).append(row)
    seen, found = dict[str, int](), []
    for view, its in by_view.items():
        kind = hue(facts[view])
        number = seen[kind] = seen.get(kind, -1) + 1
        found.append(line(view, its, charts.shade(kind, number), DASHES[number % 6], x=x, scale=scale))
    return found
