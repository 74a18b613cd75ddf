"""How figures are drawn: matplotlib's SVG that takes colours and font from the page, and stands alone as a file."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from markupsafe import Markup

from noisezoo.files import committed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
PALETTE = ("noise", "embedding", "untrained", "control")
VARIABLES = ("ink", "muted", "rule", "paper", "halo", *PALETTE, *(f"{name}-2" for name in PALETTE))
COLOURS = {name: f"page:{name}" for name in VARIABLES}
"""The page's variables as matplotlib's names of colours."""
INK, MUTED, RULE, PAPER, HALO = (COLOURS[name] for name in ("ink", "muted", "rule", "paper", "halo"))
STYLE = Path(__file__).parent / "templates" / "report.css"
WIDTH = 5.2  # inches; 374 units, so that a phone shows the text at about its own size
DPI = 160
_DEFAULTS: Any = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 10, "text.color": INK, "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED, "axes.facecolor": "none",
    "figure.facecolor": "none", "grid.color": RULE, "grid.linewidth": 0.7, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "legend.handlelength": 2.2, "xtick.major.size": 0,
    "ytick.major.size": 0,
}  # fmt: skip
# matplotlib wants numbers for colours: each near-black stands for a variable of the page, put back in `_element`.
_NUMBERS = {name: f"#{number:06x}" for number, name in enumerate(VARIABLES, start=1)}
_SAVED: ContextVar[tuple[Path, list[Path]] | None] = ContextVar("saved", default=None)


def chart(draw: "Callable[Concatenate[Figure, P], None]") -> "Callable[Concatenate[str, P], Markup]":
    """A function that draws on a figure as one that gives the page's element, its first argument the words for it.

    The words (`alt`) differ between figures of a page. While `saved_to` names a folder, the figure is written there
    too, as SVG and PNG in the page's light colours.
    """

    @wraps(draw)
    def element(alt: str, /, *arguments: P.args, **options: P.kwargs) -> Markup:
        with _figure(_NUMBERS) as figure:
            draw(figure, *arguments, **options)
            svg = _element(figure, alt)
        saved = _SAVED.get()
        if saved is not None:
            path = saved[0] / _slug(alt)
            with committed(path.with_suffix(".svg")) as temporary:
                temporary.write_text(_alone(svg), encoding="utf-8")
            with _figure(_light()) as figure, committed(path.with_suffix(".png")) as temporary:
                draw(figure, *arguments, **options)
                figure.savefig(temporary, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
            saved[1].extend(path.with_suffix(suffix) for suffix in (".svg", ".png"))
        return svg

    return element


@contextmanager
def saved_to(folder: Path) -> Iterator[list[Path]]:
    """Write the figures of the block into `folder`, made where it is missing; the list is of the files written."""
    files: list[Path] = []
    token = _SAVED.set((folder, files))
    try:
        yield files
    finally:
        _SAVED.reset(token)


def bare(axes: "Axes", *, grid: Any) -> None:
    """Axes without a frame, with a grid behind the data."""
    axes.grid(axis=grid)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


@contextmanager
def _figure(colours: Mapping[str, str]) -> Iterator["Figure"]:
    """An empty figure in the style of the page, whose names of colours mean these while the block lasts."""
    import matplotlib
    from matplotlib.colors import get_named_colors_mapping
    from matplotlib.figure import Figure

    names = get_named_colors_mapping()
    for name, colour in colours.items():  # one by one, as `update` would leave matplotlib's cache of them as it was
        names[COLOURS[name]] = colour
    with matplotlib.rc_context(_DEFAULTS):
        yield Figure(figsize=(WIDTH, WIDTH))


def _element(figure: "Figure", alt: str) -> Markup:
    """A figure as an element of the page: its text is escaped already, its colours become the page's variables."""
    import matplotlib

    file = StringIO()
    # `alt` differs between figures, so that no two share an id for their parts.
    with matplotlib.rc_context({"svg.hashsalt": alt}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    view_box = re.search(r'viewBox="([^"]*)"', svg)
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("\n", " ")
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    for name, number in _NUMBERS.items():
        body = body.replace(f": {number}", f": var(--{name})")
    start = Markup('<svg class="chart" role="img" aria-label="{}" viewBox="{}">')
    return start.format(alt, view_box[1] if view_box else "") + Markup(body)


def _alone(svg: Markup) -> str:
    """An element of the page as a file of its own."""
    text = str(svg)
    for name, colour in _light().items():
        text = text.replace(f"var(--{name})", colour)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" font-family="sans-serif"'
    return text.replace("<svg ", f"<svg {names} ", 1)


@cache
def _light() -> dict[str, str]:
    """The page's colours where it is light, from its own style sheet."""
    root = STYLE.read_text().partition("}")[0]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", root))
    return {name: str(found.get(name, found["paper"])) for name in VARIABLES}


def _slug(text: str) -> str:
    """A file's name from a figure's words, up to its numbers."""
    return re.sub(r"[^a-z0-9]+", "-", text.partition(";")[0].lower()).strip("-")[:120]
