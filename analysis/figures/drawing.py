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
LARGEST = 1.45
"""Pixels of the page that a unit of a figure takes at most: small figures do not grow beyond their neighbours."""
DPI = 160
TIP = "tip "
"""How an artist's id begins whose rest is said where a pointer rests on it."""
_FILES: Any = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
"""Kind of file beside SVG -> metadata that leave out dates, so that the same figure gives the same bytes."""
_DEFAULTS: Any = {
    "svg.fonttype": "none", "pdf.fonttype": 42, "text.parse_math": False, "font.size": 10, "text.color": INK,
    "axes.edgecolor": RULE, "axes.labelcolor": MUTED, "axes.facecolor": "none", "xtick.color": MUTED,
    "ytick.color": MUTED, "figure.facecolor": "none", "grid.color": RULE, "grid.linewidth": 0.7,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.handlelength": 2.2,
    "xtick.major.size": 0, "ytick.major.size": 0,
}  # fmt: skip
# matplotlib wants numbers for colours: each near-black stands for a variable of the page, put back in `_element`.
_NUMBERS = {name: f"#{number:06x}" for number, name in enumerate(VARIABLES, start=1)}
_SAVED: ContextVar[tuple[Path, list[Path]] | None] = ContextVar("saved", default=None)


def chart(draw: "Callable[Concatenate[Figure, P], None]") -> "Callable[Concatenate[str, str, P], Markup]":
    """A function that draws on a figure as one that gives the page's element: its first arguments are a name and words.

    The words (`alt`) say what is shown, and differ between figures of a page. While `saved_to` names a folder, the
    figure is written there too under its name, as SVG, PDF and PNG in the page's light colours.
    """

    @wraps(draw)
    def element(name: str, alt: str, /, *arguments: P.args, **options: P.kwargs) -> Markup:
        with _figure(_NUMBERS) as figure:
            draw(figure, *arguments, **options)
            svg = _element(figure, alt)
        saved = _SAVED.get()
        if saved is not None:
            folder, files = saved
            stem = _unused(folder / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"), files)
            with committed(Path(f"{stem}.svg")) as temporary:
                temporary.write_text(_alone(svg), encoding="utf-8")
            with _figure(_light()) as figure:
                draw(figure, *arguments, **options)
                for kind, metadata in _FILES.items():
                    with committed(Path(f"{stem}.{kind}")) as temporary:
                        figure.savefig(temporary, format=kind, dpi=DPI, facecolor="white", metadata=metadata)
            files.extend(Path(f"{stem}.{kind}") for kind in ("svg", *_FILES))
        return svg

    return element


@contextmanager
def saved_to(folder: Path, files: list[Path]) -> Iterator[None]:
    """Write the figures of the block into `folder`, made where it is missing, and add their paths to `files`."""
    token = _SAVED.set((folder, files))
    try:
        yield
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
    body = re.sub(rf'<g id="{TIP}([^"]*)"[^>]*>', r'<g class="tip"><title>\1</title>', body)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("\n", " ")
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    for name, number in _NUMBERS.items():
        body = body.replace(f": {number}", f": var(--{name})")
    box = view_box[1] if view_box else "0 0 0 0"
    start = Markup('<svg class="chart" role="img" aria-label="{}" viewBox="{}" style="max-width: {:.0f}px">')
    return start.format(alt, box, LARGEST * float(box.split()[2])) + Markup(body)


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


def _unused(stem: Path, files: list[Path]) -> Path:
    """A name that no other figure has: two names may differ by what a file's name cannot show."""
    others = {path.with_suffix("") for path in files}
    names = (stem if k == 1 else Path(f"{stem}-{k}") for k in range(1, len(others) + 2))
    return next(name for name in names if name not in others)
