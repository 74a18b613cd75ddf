import copy
import dataclasses
import json
import os
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisezoo.analysis.edits.experiment import NOISE, ORTHOGONAL, OVERLAY
from noisezoo.analysis.figures import charts
from noisezoo.analysis.figures.drawing import STYLE
from noisezoo.analysis.figures.exhibits import signed
from noisezoo.analysis.report.report import begin_report, percent, write_report
from noisezoo.analysis.studies.run import verdicts
from noisezoo.analysis.studies.study import Analysis
from noisezoo.citation import CODE_URL, DATASET_URL, PAPER_URL
from noisezoo.errors import NoiseZooError
from tests.analysis.planted_report import ATTRIBUTES, Element, make_analysis, plant, renamed, written


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return make_analysis()


@pytest.fixture(scope="module")
def page(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Element:
    return written(tmp_path_factory.mktemp("report"), {"planted": analysis, "again": analysis})


def test_every_section_stands_in_the_contents(page: Element) -> None:
    for k in (1, 2):
        (dataset,) = page.all("section", id=f"dataset-{k}")
        (contents,) = dataset.all("nav")
        sections = {section.attributes["id"]: section for section in dataset.all("section")[1:]}
        assert {link.attributes["href"][1:]: link.text for link in contents.all("a")}.keys() == sections.keys()
        assert {f"dataset-{k}-gaussianity", f"dataset-{k}-probes", f"dataset-{k}-edits"} <= set(sections)


def test_a_caveat_is_said_once_and_names_its_views(analysis: Analysis, tmp_path: Path) -> None:
    results = copy.deepcopy(analysis.results)
    for view in ("clip", "pixels"):
        results["probes"][view]["caveats"] = ["X has 8 constant columns, which carry nothing", "the moon is full"]
    results["learning"] = {"rows": [], "caveats": ["the moon is full"]}
    page = written(tmp_path, {"planted": Analysis(results, {})})
    (caveats,) = page.all("section", id="dataset-1-caveats")
    said = [item.text.strip() for item in caveats.all("li")]
    assert "pixels has 8 constant columns, which carry nothing. (probes)" in said
    assert "clip has 8 constant columns, which carry nothing. (probes)" in said
    assert said.count("The moon is full. (probes, learning)") == 1 and page.text.count("moon is full") == 1


def test_the_number_of_every_cell_of_a_matrix_differs_from_what_lies_under_it() -> None:
    values = {("r", name): value for name, value in zip("abcde", (0.0, 0.2, 0.5, 0.9, 1.0), strict=True)}
    others: dict[str, Any] = {"top": 1.0, "shown": ".2f", "title": "T", "tips": dict.fromkeys(values, "")}
    svg = str(charts.heatmap("m", "m", ["r"], list("abcde"), values, **others))
    fills = re.findall(r"fill: var\(--([\w-]+)\)[^>]*>(?:0\.\d\d|1\.00)<", svg)
    opacities = [float(each) for each in re.findall(r"opacity: ([\d.]+)", svg)]
    assert len(opacities) == 5 and "paper" not in fills and "halo" not in fills
    for theme in (STYLE.read_text().partition("}")[0], STYLE.read_text().partition("prefers-color-scheme: dark")[2]):
        codes = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6})", theme.partition("--serif")[0]))
        colours = {name: np.array([int(codes[name][k : k + 2], 16) for k in (0, 2, 4)]) / 255 for name in codes}
        for opacity in opacities:
            under = opacity * colours["noise"] + (1 - opacity) * colours["paper"]
            assert contrast(colours["ink"], under) >= 4.5


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2.2)."""
    bright = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
              for c in (first, second)]  # fmt: skip
    return float((max(bright) + 0.05) / (min(bright) + 0.05))


def test_the_page_needs_nothing_but_itself(page: Element) -> None:
    (script,), policy = (
        page.all("script"),
        page.all("meta", http_equiv="Content-Security-Policy")[0].attributes["content"],
    )
    assert f"script-src 'sha256-{b64encode(sha256(whole(script)).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy and not re.search(r"fetch\(|XMLHttp|import\(|https?:", whole(script).decode())
    assert not script.attributes and not page.all("link") and not page.all("iframe")
    for element in page.walk():
        for name, value in element.attributes.items():
            if name == "src":
                assert value.startswith("data:image/png;base64,")
            if name in ("href", "xlink:href"):
                known = (PAPER_URL, CODE_URL, DATASET_URL, "results.json", "scorecard.html", "tables/", "figures/")
                assert value.startswith("#") or (element.tag == "a" and value in known)
            assert not re.search(r"url\((?!#)", value)
    assert "url(" not in page.all("style")[0].text and "@import" not in page.all("style")[0].text


def whole(element: Element) -> bytes:
    return "".join(child for child in element.children if isinstance(child, str)).encode()


def test_every_reference_inside_the_page_finds_one_target(page: Element) -> None:
    ids = [element.attributes["id"] for element in page.walk() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    values = [value for element in page.walk() for value in element.attributes.values()]
    references = [r for value in values for r in re.findall(r"^#(.+)|url\(#([^)]+)\)", value)]
    assert references and {a or b for a, b in references} <= set(ids)


def test_every_picture_and_figure_says_what_it_shows(page: Element) -> None:
    images, charts = page.all("img"), page.all("svg")
    assert images and charts
    assert all(image.attributes["alt"].strip() for image in images)
    assert all(chart.attributes["role"] == "img" and chart.attributes["aria-label"].strip() for chart in charts)


def test_every_table_has_heads_for_its_columns_and_rows(page: Element) -> None:
    for table in page.all("table"):
        assert all(head.attributes.get("scope") == "col" for head in table.all("thead")[0].all("th"))
        assert all(row.all("th") for body in table.all("tbody") for row in body.all("tr"))


def test_wide_tables_scroll_inside_their_own_box(page: Element) -> None:
    for table in page.all("table"):
        assert table.parent is not None and table.parent.attributes.get("class") == "scroll"
        assert table.parent.attributes["tabindex"] == "0"


@pytest.mark.parametrize(
    ("low", "estimate", "high", "word", "sentence"),
    [
        (0.0131, 0.0353, 0.0577, "better", "training made the attributes more linearly readable"),
        (-0.0131, 0.0353, 0.0577, "undecided", "no difference between the trained and the untrained"),
        (-0.0777, -0.0353, -0.0131, "worse", "training made the attributes less linearly readable"),
    ],
)
def test_the_headline_says_what_the_interval_allows(
    analysis: Analysis, tmp_path: Path, low: float, estimate: float, high: float, word: str, sentence: str
) -> None:
    page = written(tmp_path, {"planted": plant(analysis, "ldm", estimate, low, high)})
    (headline,) = page.all("section", id="headline")
    (said,) = [item for item in headline.all("li") if item.all("span", data_view="ldm")]
    assert said.all("span", data_view="ldm")[0].text == word
    assert sentence in said.text
    numbers = f"{signed(estimate)} [{signed(low)}, {signed(high)}]"
    assert numbers in headline.all("svg")[0].text
    assert f"{signed(estimate)} points [{signed(low)}, {signed(high)}]" in said.text


def test_the_headline_counts_noise_views_by_verdict(analysis: Analysis, tmp_path: Path) -> None:
    planted = plant(plant(analysis, "ldm", 0.03, 0.01, 0.05), "ddpm", -0.03, -0.05, -0.01)
    (headline,) = written(tmp_path, {"planted": planted}).all("section", id="headline")
    assert "easier to read in 1, harder in 1; 0 cannot be decided" in headline.text


def test_the_tally_counts_every_noise_view_once_for_each_control(page: Element, analysis: Analysis) -> None:
    (table,) = page.all("section", id="headline")[0].all("table")
    for row in table.all("tbody")[0].all("tr"):
        assert sum(int(cell.text.strip().replace("·", "0")) for cell in row.all("td")) == 4  # 2 datasets of 2 views


def test_the_headline_shows_every_number_of_trained_minus_untrained(page: Element, analysis: Analysis) -> None:
    (headline,) = page.all("section", id="headline")
    for difference in analysis.results["differences"]:
        if difference["role"] == "untrained":
            shown = "{} [{}, {}]".format(*(signed(difference[key]) for key in ("estimate", "low", "high")))
            assert headline.all("svg")[0].text.count(shown) >= 2


def test_a_missing_untrained_twin_is_said_in_words(analysis: Analysis, tmp_path: Path) -> None:
    results = copy.deepcopy(analysis.results)
    results["differences"] = [d for d in results["differences"] if d["role"] != "untrained"]
    results["verdicts"] = verdicts(results)
    (headline,) = written(tmp_path, {"planted": Analysis(results, {})}).all("section", id="headline")
    assert "cannot be answered here" in headline.text and not headline.all("svg")


def test_a_difference_without_an_interval_is_said_and_not_drawn(analysis: Analysis, tmp_path: Path) -> None:
    unknown: Any = None
    page = written(tmp_path, {"planted": plant(analysis, "ldm", 0.01, unknown, unknown)})
    (headline,) = page.all("section", id="headline")
    assert headline.all("span", data_view="ldm")[0].text == "undecided"
    assert "ldm" not in headline.all("svg")[0].text and "ldm, trained minus untrained: no interval" in headline.text


def test_every_view_has_a_row_with_its_means_and_null(page: Element, analysis: Analysis) -> None:
    (section,) = page.all("section", id="dataset-1")
    for name, table in analysis.results["probes"].items():
        (row,) = section.all("tr", data_view=name)
        for mean in (r for r in table["rows"] if r["attribute"] == "mean"):
            share = f"{percent(mean['estimate'])} [{percent(mean['low'])}, {percent(mean['high'])}]"
            assert share in row.text
            if mean["metric"] == "balanced_accuracy":
                assert f"{percent(mean['null'])} ({percent(mean['null_low'])} to" in row.text


def test_views_are_marked_exactly_where_rows_are_fewer_than_dimensions(page: Element, analysis: Analysis) -> None:
    (section,) = page.all("section", id="dataset-1")
    rows = [row for row in section.all("tr") if "data-view" in row.attributes]
    marked = {row.attributes["data-view"] for row in rows if row.all("abbr", class_="mark")}
    assert marked == {v["name"] for v in analysis.results["views"] if v["n"] < v["d"]} == {
        "ddpm", "ddpm-untrained", "pixels"}  # fmt: skip


def test_cells_are_marked_exactly_where_a_view_departs_from_the_gaussian(page: Element, analysis: Analysis) -> None:
    (table,) = page.all("section", id="dataset-1")[0].all("table", class_="gaussianity")
    for row in table.all("tbody")[0].all("tr"):
        rows = analysis.results["gaussianity"][row.all("th")[0].text.strip()]["rows"]
        assert [cell.attributes.get("class") == "departs" for cell in row.all("td")] == [r["departs"] for r in rows]


def test_the_attribute_table_holds_every_attribute_of_every_view(page: Element, analysis: Analysis) -> None:
    (table,) = page.all("section", id="dataset-1")[0].all("table", class_="attributes")
    shown = {row.all("th")[0].text: [cell.text for cell in row.all("td")[1:]] for row in table.all("tr")[1:]}
    assert list(shown) == ATTRIBUTES
    for k, probes in enumerate(analysis.results["probes"].values()):
        for row in probes["rows"]:
            if row["metric"] == "balanced_accuracy" and row["attribute"] != "mean":
                assert shown[row["attribute"]][k].startswith(percent(row["estimate"]))


def test_the_pixel_overlay_lies_directly_under_the_noise_edits(page: Element) -> None:
    strips = page.all("table", class_="strip")
    assert len(strips) == 4  # two attributes in each of two datasets
    for strip in strips:
        rows = [row.attributes["data-variant"] for row in strip.all("tbody")[0].all("tr")]
        assert rows == [NOISE, ORTHOGONAL, OVERLAY]
        assert "against Bald" in strip.all("tr", data_variant=ORTHOGONAL)[0].text


def test_an_edit_without_its_pixel_overlay_is_refused(analysis: Analysis, tmp_path: Path) -> None:
    strips = [s for s in analysis.strips["ddpm"] if (s.attribute, s.variant) != ("Bald", OVERLAY)]
    bare = Analysis(analysis.results, {}, {"ddpm": strips})
    with pytest.raises(ValueError, match="'Bald' through ddpm has no pixel overlay"):
        write_report({"planted": bare}, tmp_path, title="A title")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["results.json"], "numbers come first"


def test_what_was_not_done_leaves_no_section(analysis: Analysis, page: Element, tmp_path: Path) -> None:
    heads = {head.text for head in page.all("h3")}
    bare = {head.text for head in written(tmp_path, {"planted": Analysis(analysis.results, {})}).all("h3")}
    assert heads - bare == {"Edits", "Given and regenerated"}


def test_reconstructions_carry_their_psnr(page: Element) -> None:
    captions = [caption.text for pairs in page.all("div", class_="pairs")[:1] for caption in pairs.all("figcaption")]
    assert captions == ["31.2 dB", "28.5 dB", "40.8 dB"]


def test_names_that_look_like_markup_stay_text(analysis: Analysis, tmp_path: Path) -> None:
    views = {"ddpm": "<script>alert(1)</script>", "clip": '" onload="x', "pixels": "--><b>$x_{", "ldm": "a & b;<!--"}
    attributes = dict(zip(ATTRIBUTES, ["<img src=x>", "]]></svg>_a_long_name", "$\\frac{"], strict=True))
    names = views | attributes
    strips = [dataclasses.replace(s, attribute=names[s.attribute]) for s in analysis.strips["ddpm"]]
    results = renamed(analysis.results, names)
    results["verdicts"] = verdicts(results)
    hostile = Analysis(results, {}, {names["ddpm"]: strips})
    page = written(tmp_path, {"<i>set</i>": hostile})
    assert len(page.all("script")) == 1 and not page.all("i", class_="") and not page.all("img", src="x")
    assert not any(name.startswith("on") for element in page.walk() for name in element.attributes)
    assert "<i>set</i>" in [head.text for head in page.all("h2")]
    assert set(views.values()) <= {
        row.attributes["data-view"] for row in page.all("tr") if "data-view" in row.attributes
    }
    drawn = " ".join(chart.text for chart in page.all("svg"))
    assert all(name in drawn for name in [*views.values(), "<img src=x>", "$\\frac{"])
    assert all(image.attributes["src"].startswith("data:") for image in page.all("img"))


def test_the_numbers_are_strict_json_and_all_there(analysis: Analysis, tmp_path: Path) -> None:
    results = copy.deepcopy(analysis.results) | {"broken": [float("nan"), float("inf"), np.float32(0.5)]}
    write_report({"planted": Analysis(results, {})}, tmp_path, title="A title")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    read = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert read["datasets"]["planted"].pop("broken") == [None, None, 0.5]
    assert read["datasets"]["planted"] == json.loads(json.dumps(analysis.results))


def test_the_same_input_gives_the_same_bytes(analysis: Analysis, tmp_path: Path) -> None:
    files = [write_report({"planted": analysis}, tmp_path / name, title="A title") for name in ("a", "b")]
    for name in ("report.html", "results.json"):
        assert files[0].with_name(name).read_bytes() == files[1].with_name(name).read_bytes()


def test_datasets_with_known_factors_come_first(analysis: Analysis, tmp_path: Path) -> None:
    known = copy.deepcopy(analysis.results)
    known["dataset"]["factors"] = ["factor.pose"]
    page = written(tmp_path, {"digits": Analysis(analysis.results, {}), "faces": Analysis(known, {})})
    assert [section.all("h2")[0].text for section in page.all("section", class_="dataset")] == ["faces", "digits"]
    assert list(json.loads((tmp_path / "results.json").read_text())["datasets"]) == ["faces", "digits"]


def test_a_failed_write_keeps_the_old_report_and_leaves_nothing_behind(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "report.html"
    page.write_text("the old one")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(NoiseZooError, match="No space left on device"):
        write_report({"planted": Analysis(analysis.results, {})}, tmp_path, title="A title")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["report.html"]
    assert page.read_text() == "the old one"


def test_a_later_report_removes_what_it_has_not_of_an_earlier_one_and_nothing_else(
    analysis: Analysis, tmp_path: Path
) -> None:
    rows = {"probes": [{"a": 1}], "gcca": [{"a": 2}]}
    write_report({"planted": Analysis(analysis.results, {}, rows=rows)}, tmp_path, title="A title")
    mine = [tmp_path / "tables" / "mine.parquet", tmp_path / "mine.txt"]
    for path in mine:
        path.write_text("mine")
    numbers = json.loads((tmp_path / "results.json").read_text())
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")}
    assert set(numbers["files"]) == there - {"tables/mine.parquet"}
    assert "tables/gcca.csv" in there
    assert "tables/gcca.parquet" in there
    numbers["files"] += ["mine.txt", "tables/../mine.txt"]
    (tmp_path / "results.json").write_text(json.dumps(numbers))
    write_report(
        {"planted": Analysis(analysis.results, {}, rows={"probes": rows["probes"]})}, tmp_path, title="A title"
    )
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        "probes.parquet", "probes.csv", "probes.tex", "mine.parquet"}  # fmt: skip
    assert all(path.read_text() == "mine" for path in mine)


def test_a_folder_that_cannot_be_written_is_refused_before_the_analysis(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(NoiseZooError, match="cannot write the report into .*; name a folder with room"):
        begin_report(tmp_path / "a file")
    begin_report(tmp_path / "new" / "report")
    assert list((tmp_path / "new" / "report").iterdir()) == []


def test_no_analysis_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no analysis"):
        write_report({}, tmp_path, title="A title")
