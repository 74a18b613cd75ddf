"""The report's figures: inline SVG that takes its colours and its font from the page, and pictures as data URIs."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .drawing import COLOURS, HALO, INK, MUTED, PAPER, TIP, WIDTH, bare, chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOM = 34  # letters of a label that leave room for its numbers
LARGEST_SIDE = 96  # pixels of an embedded picture
DARKEST = 0.45  # opacity of the strongest cell of a matrix, on which the page's ink can still be read


@dataclass(frozen=True)
class Dot:
    """One estimate with its interval, in the units of the axis; `value` is how it is written, `tip` says all of it."""

    label: str
    value: str
    estimate: float
    low: float
    high: float
    colour: str
    tip: str = ""


@dataclass(frozen=True)
class Line:
    """One series: heights y (m,), a colour of `COLOURS`, a dash pattern; where it has them, intervals, x and tips."""

    label: str
    y: Sequence[float]
    colour: str
    dash: str = "-"
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    x: Sequence[float] = ()
    tips: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URI, with its size on the page in pixels."""

    uri: str
    width: int
    height: int


@chart
def intervals(figure: "Figure", dots: Sequence[Dot], *, ends: tuple[str, str], span: tuple[float, float]) -> None:
    """Dots with intervals about zero, a row each, the label above its row; `ends` name the two sides of zero."""
    height = 0.48 + 0.62 * len(dots)
    figure.set_figheight(height)
    axes = figure.add_axes((0.01, 0.46 / height, 0.98, 1 - 0.48 / height), xlim=span, ylim=(len(dots) - 0.5, -0.72))
    axes.axvline(0, color=MUTED, linewidth=1.2)
    for y, dot in enumerate(dots):
        own: Any = {"color": dot.colour, "gid": TIP + dot.tip}
        axes.plot([dot.low, dot.high], [y, y], linewidth=6.5, alpha=0.45, solid_capstyle="butt", **own)
        axes.plot([dot.estimate], [y], "o", markersize=7.5, markeredgecolor=HALO, **own)
        sides: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "size": 11.5,
                                 "bbox": {"facecolor": HALO, "edgecolor": "none", "pad": 1}}  # fmt: skip
        axes.text(0, y - 0.42, dot.label, weight="bold", **{**sides, "size": min(11.5, 11.5 * ROOM / len(dot.label))})
        axes.text(1, y - 0.42, dot.value, ha="right", **sides)
    bare(axes, grid="x")
    axes.set_yticks([])
    for x, end, side in ((0.01, f"← {ends[0]}", "left"), (0.99, f"{ends[1]} →", "right")):
        figure.text(x, 0.05 / height, end, color=MUTED, ha=side)


@chart
def radar(figure: "Figure", names: Sequence[str], lines: Sequence[Line], *, chance: float, floor: float) -> None:
    """One closed line a view over the attributes `names`, from `floor` at the centre to 1 (Figure 3 of the paper)."""
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    below, side = 0.6 + 0.24 * ceil(len(lines) / 2), 0.62 * WIDTH  # inches
    height = below + side + 0.42
    figure.set_figheight(height)
    axes: Any = figure.add_axes((0.19, below / height, side / WIDTH, side / height), polar=True)
    axes.set(theta_offset=np.pi / 2, theta_direction=-1, ylim=(floor, 1), xticks=angles, xticklabels=[])
    rings = [ring / 10 for ring in range(round(10 * floor) + 1, 11)]
    axes.set_rgrids(rings, [f"{100 * r:.0f}" for r in rings], angle=180 / len(names), size=8, color=MUTED)
    axes.spines["polar"].set_visible(False)
    axes.plot(np.linspace(0, 2 * np.pi, 181), np.full(181, chance), color=MUTED, linewidth=1.2)
    for line in lines:
        axes.plot([*angles, 0], [*line.y, line.y[0]], line.dash, color=line.colour, linewidth=1.8, label=line.label)
        for angle, y, tip in zip(angles, line.y, line.tips, strict=True):
            axes.plot([angle], [y], "o", color=line.colour, markersize=4, gid=TIP + tip)
    for angle, name in zip(angles, names, strict=True):
        _label(axes, angle, name)
    figure.legend(loc="lower center", ncols=2, fontsize=10.5, columnspacing=1.4)


@chart
def heatmap(
    figure: "Figure", rows: Sequence[str], columns: Sequence[str], values: Mapping[tuple[str, str], float], *,
    top: float, shown: str, title: str, tips: Mapping[tuple[str, str], str], colour: str = COLOURS["noise"],
) -> None:  # fmt: skip
    """Values by (row, column) as tinted cells, each with its number in the format `shown` and its tip."""
    from matplotlib.patches import Rectangle

    left, above, cell = 0.085 * max(map(len, rows)) + 0.15, 0.062 * max(map(len, columns)) + 0.4, 0.36  # inches
    right = 0.062 * len(columns[-1])  # the last name leans over the edge
    width = left + max(cell * 1.35 * len(columns), 2.5) + right
    lines = wrap(title, int(width / 0.095))
    height = above + 0.19 * (len(lines) - 1) + cell * len(rows) + 0.1
    figure.set_size_inches(width, height)
    box = (left / width, 0.08 / height, 1 - (left + right) / width, cell * len(rows) / height)
    axes = figure.add_axes(box, xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    for (row, column), value in values.items():
        i, j, tip = rows.index(row), columns.index(column), TIP + tips[row, column]
        strength = 0.04 + DARKEST * min(max(value / top, 0.0), 1.0)
        tint: Any = {"color": colour, "linewidth": 0, "alpha": strength, "gid": tip}
        axes.add_patch(Rectangle((j - 0.48, i - 0.46), 0.96, 0.92, **tint))
        number = format(value, f"z{shown}").replace("-", "−")  # no negative zero
        axes.text(j, i, number, ha="center", va="center", size=8.5, color=INK, gid=tip)
    bare(axes, grid="x")
    axes.grid(False)
    axes.set_yticks(range(len(rows)), rows, color=INK)
    axes.set_xticks(range(len(columns)), columns, rotation=50, ha="left", va="bottom", color=INK)
    axes.tick_params(axis="x", bottom=False, labelbottom=False, labeltop=True, pad=2)
    figure.text(0.01, 1 - 0.12 / height, "\n".join(lines), weight="bold", size=11, va="top")


@chart
def curves(
    figure: "Figure", lines: Sequence[Line], *, title: str, xlabel: str, logarithmic: bool = False,
    level: float | None = None,
) -> None:  # fmt: skip
    """Lines with intervals over a common axis that holds them all, and a grey `level` that means nothing."""
    below = 0.24 * ceil(len(lines) / 2)
    height = 3.0 + below
    figure.set_figheight(height)
    axes = figure.add_axes((0.1, (0.5 + below) / height, 0.88, 2.1 / height), ylim=_span(lines, level))
    if level is not None:
        axes.axhline(level, color=MUTED, linewidth=1.2)
    for line in lines:
        axes.plot(line.x, line.y, line.dash, color=line.colour, linewidth=1.8, label=line.label)
        for x, y, tip in zip(line.x, line.y, line.tips, strict=True):
            axes.plot([x], [y], "o", color=line.colour, markersize=5, markeredgecolor=PAPER, gid=TIP + tip)
        if len(line.low):
            axes.fill_between(line.x, line.low, line.high, color=line.colour, alpha=0.16, linewidth=0)
    ticks = sorted({x for line in lines for x in line.x})
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    bare(axes, grid="y")
    axes.set_xlabel(xlabel)
    figure.text(0.01, 1 - 0.14 / height, title, weight="bold", size=11, va="top")
    figure.legend(loc="lower center", ncols=2, fontsize=9, columnspacing=1.2)


def _span(lines: Sequence[Line], level: float | None) -> tuple[float, float]:
    heights = [y for line in lines for y in (*line.y, *line.low, *line.high)] + ([] if level is None else [level])
    room = 0.05 * (max(heights) - min(heights)) or 0.05
    return min(heights) - room, max(heights) + room


def tile(images: NDArray[Any], columns: int, *, side: int) -> Picture:
    """Pictures (m, c, h, w) in [-1, 1], c of 1 or 3, row by row in one PNG with a transparent pixel between them.

    The PNG keeps their pixels, or averages those of pictures larger than `LARGEST_SIDE`; `width` and `height` are those
    at which a picture is about `side` wide on the page, a whole multiple of its pixels.
    """
    from PIL import Image

    values = np.clip(np.rint((np.asarray(images, dtype=np.float64) + 1) * 127.5), 0, 255).astype(np.uint8)
    cells = [Image.fromarray(v[0] if len(v) == 1 else v.transpose(1, 2, 0)).convert("RGBA") for v in values]
    cells = [cell.reduce(ceil(max(cell.size) / LARGEST_SIDE)) for cell in cells]
    width, height = cells[0].size
    sheet = Image.new("RGBA", (columns * (width + 1) - 1, ceil(len(cells) / columns) * (height + 1) - 1))
    for k, cell in enumerate(cells):
        sheet.paste(cell, (k % columns * (width + 1), k // columns * (height + 1)))
    file, scale = BytesIO(), max(1, side // width)
    sheet.save(file, "PNG", optimize=True)
    uri = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    return Picture(uri, scale * sheet.width, scale * sheet.height)


def shade(kind: str, number: int) -> str:
    """The colour of the `number`-th view of a kind, from 0: two shades, in turn."""
    return (kind, f"{kind}-2")[number % 2]


def _label(axes: "Axes", angle: float, name: str) -> None:
    """An attribute's name outside the circle, on two lines where it is long; each line anchored by itself."""
    side = np.sin(angle)
    anchor = "center" if abs(side) < 0.2 else "left" if side > 0 else "right"
    words = name.replace("_", " ")
    lines = wrap(words, max(13, len(words) // 2 + 4), break_long_words=False) or [words]
    middle = (len(lines) - 1) / 2 - np.cos(angle) * (len(lines) - 1) / 2
    for k, text in enumerate(lines):
        offset = (9 * side, 9 * np.cos(angle) + 11 * (middle - k))
        axes.annotate(text, (angle, 1), offset, textcoords="offset points", ha=anchor, va="center", size=10,
                      annotation_clip=False)  # fmt: skip
