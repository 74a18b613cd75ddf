import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from noisezoo.analysis.figures import charts as figures
from noisezoo.analysis.figures.drawing import COLOURS, saved_to

DOT = figures.Dot("a & b", "+2.0", 2.0, -1.0, 4.0, COLOURS["noise"])


def draw(alt: str = "One dot; +2.0") -> str:
    return str(figures.intervals("one dot", alt, [DOT], ends=("low", "high"), span=(-3, 6)))


def test_a_figure_is_a_file_only_where_a_folder_is_named(tmp_path: Path) -> None:
    draw()
    files: list[Path] = []
    with saved_to(tmp_path / "figures", files):
        draw()
        figures.intervals("One.dot", "Another", [DOT], ends=("low", "high"), span=(-3, 6))
    draw("After")
    names = [f"{stem}.{kind}" for stem in ("one-dot", "one-dot-2") for kind in ("svg", "pdf", "png")]
    assert [path.name for path in files] == names
    assert {path.name for path in (tmp_path / "figures").iterdir()} == set(names)
    assert (tmp_path / "figures" / "one-dot.pdf").read_bytes().startswith(b"%PDF")


def test_a_figure_s_files_stand_alone_in_the_page_s_light_colours(tmp_path: Path) -> None:
    with saved_to(tmp_path, []):
        draw()
    svg = (tmp_path / "one-dot.svg").read_text()
    assert ET.fromstring(svg).tag.endswith("svg") and "var(" not in svg and "#0068b3" in svg
    pixels = np.asarray(Image.open(tmp_path / "one-dot.png").convert("RGB")).reshape(-1, 3)
    assert (pixels == (0x00, 0x68, 0xB3)).all(axis=1).any(), "the dot has the page's blue"
    assert (pixels[0] == 255).all()


def test_the_page_s_figure_has_no_colour_of_its_own_even_after_files_were_written(tmp_path: Path) -> None:
    with saved_to(tmp_path, []):
        draw()
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", draw())) == set()


def test_a_matrix_shows_every_number_and_leaves_out_what_is_not_there() -> None:
    cell, tip = ("r", "c1"), "r to c1: 0.25 [0.20, 0.30], n = 9 & <more>"
    nothing = ("r", "c2")
    values: dict[str, Any] = {"top": 1.0, "shown": ".2f", "title": "T", "tips": {cell: tip, nothing: ""}}
    svg = str(figures.heatmap("m", "m", ["r"], ["c1", "c2", "c3"], {cell: 0.25, nothing: -0.001}, **values))
    assert ">0.25</text>" in svg and ">0.00</text>" in svg and "None" not in svg and svg.count("opacity") >= 1
    assert svg.count(f"<title>{escape(tip)}</title>") == 2, "of the cell and of its number"
