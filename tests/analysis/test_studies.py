"""Every study by itself, any subset, and a user's own, through the command: each gives its page."""

import json
import os
import random
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from noisezoo import cli
from noisezoo.analysis.report import report
from noisezoo.analysis.studies.store import Store, keys
from noisezoo.analysis.studies.study import Analysis, Options, Study, all_studies, register_study
from noisezoo.builder.__main__ import run
from noisezoo.errors import UsageError
from tests.analysis import browser
from tests.analysis.planted_report import Page, make_analysis
from tests.builder.building import recipe_of
from tests.fresh import Fresh, module

VIEWS = (
    "digits-ddpm",
    "digits-ddpm-true",
    "digits-ddpm-untrained",
    "faces-ldm",
    "faces-ldm-untrained",
    "faces-clip",
    "pixels-8",
    "faces-clip-flip",
    "faces-ssl",
)
ELSEWHERE = {"trainings": "test_trainings", "regression": "test_regression"}
"""Studies that have a dataset of their own, in these tests."""
NAMES = tuple(name for name in all_studies() if name not in ELSEWHERE)
HEADS = {
    "audit": "Audit: what is read beyond the image and the majority rule",
    "gaussianity": "Is it Gaussian?", "probes": "Views and controls, side by side",
    "truth": "The noise that the pictures were made of",
    "profile": "Do accuracies on noise follow an encoder's?", "conditional": "What the noise adds to the picture",
    "learning": "With more images", "paper": "As the paper did it", "stitching": "From view to view",
    "pairs": "How many pairs it takes",
    "ceiling": "How alike two views can be", "objectives": "By what encoders were trained for",
    "given": "What is shared given the picture", "likelihood": "How likely each image is",
    "alignment": "How alike the geometries are", "shared": "Shared space",
    "structure": "What is left of the picture in the noise", "conditioning": "Is it CLIP's text?",
    "spurious": "A correlation that is not there", "inversions": "The same images, inverted otherwise",
    "edits": "Given and regenerated",
}  # fmt: skip
Command = Callable[..., Path]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """120 generated digits through noise of two kinds, an encoder and the pixels; and the same in more steps."""
    folder = tmp_path_factory.mktemp("studies")
    settings = {"batch_size": 64, "num_inference_steps": 2}
    for name, views, steps in (("digits", VIEWS, 2), ("slow", VIEWS[:1], 4)):
        settings["num_inference_steps"] = steps
        options = {"count": 120, "num_inference_steps": 10, "real": "digits"}
        fields = {"limit": None, "options": options, "settings": settings, "slice_rows": 64, "shard_rows": 1000}
        assert run(recipe_of("generated:digits-ddpm", views, **fields), folder / name)
    return folder / "digits", folder / "slow"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all reports, so that no study is computed twice."""
    return tmp_path_factory.mktemp("report")


@pytest.fixture
def command(datasets: tuple[Path, Path], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`noisezoo analyze` with what every study could ask for."""

    def analyze(*studies: str, out: Path = folder, given: Sequence[str] = (), code: int = 0) -> Path:
        every = ["--out", str(out), "--quick", "--model", "digits-ddpm", "--variant", f"slow={datasets[1]}",
                 "--studies", ",".join(studies), *given]  # fmt: skip
        monkeypatch.setattr("sys.argv", ["noisezoo", "analyze", str(datasets[0]), *every])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert (stop.value.code or 0) == code
        return out

    return analyze


def numbers(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return read


def heads(folder: Path) -> set[str]:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    return {head.text for head in page.root.all("h3")} & set(HEADS.values())


def test_every_bundled_study_has_a_head_of_its_own() -> None:
    assert set(HEADS) == set(NAMES) and len(set(HEADS.values())) == len(NAMES)


def test_the_command_s_help_names_every_bundled_study() -> None:
    said = get_type_hints(import_module("noisezoo.commands.analyze").analyze, include_extras=True)["studies"]
    listed = said.__metadata__[0].help.partition(": ")[2].rstrip(".").split(", ")
    assert sorted(listed) == sorted(all_studies())


@pytest.mark.parametrize("name", NAMES)
def test_a_study_alone_gives_its_page_and_its_numbers(command: Command, name: str) -> None:
    folder = command(name)
    wanted = {name, *all_studies()[name].needs}
    assert heads(folder) == {HEADS[each] for each in wanted}
    results = json.loads((folder / "results.json").read_text())["datasets"]["digits"]
    assert set(results) & set(NAMES) == wanted
    assert {row["claim"] for row in results["scorecard"] if row["shown"] != "no evidence"} <= {
        claim.name for each in wanted for claim in all_studies()[each].claims
    }
    assert [path.stem for path in (folder / "tables").iterdir()] and (folder / "scorecard.html").is_file()


def test_canonical_correlations_given_the_picture_stand_beside_the_partial_r2(command: Command) -> None:
    folder = command("given")
    found = numbers(folder)["datasets"]["digits"]
    key = ("view", "encoder", "given")
    pairs = [{tuple(row[k] for k in key) for row in found[name]["rows"]} for name in ("given", "partial_cca")]
    assert pairs[0] == pairs[1] and len(pairs[0]) == 4
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    table = next(t for t in page.root.all("table") if "Mean correlation" in t.text)
    assert len(table.all("tr")) == 1 + len(pairs[0]) and (folder / "tables" / "partial_cca.csv").is_file()


def test_shares_of_the_ceiling_are_of_the_encoder_that_has_a_copy_and_objectives_of_one_encoder_are_named(
    command: Command,
) -> None:
    folder = command("ceiling", "objectives")
    found = numbers(folder)["datasets"]["digits"]
    assert found["ceiling"]["copies"] == {"faces-clip": "faces-clip-flip"}
    views = {"digits-ddpm", "digits-ddpm-untrained", "faces-ldm", "faces-ldm-untrained", "pixels-8"}
    assert {(row["view"], row["encoder"]) for row in found["ceiling"]["rows"]} == {(v, "faces-clip") for v in views}
    kinds = {"faces-clip": "contrastive-text", "faces-ssl": "contrastive"}
    assert found["objectives"]["encoders"] == kinds
    assert {row["group"] for row in found["objectives"]["rows"] if not row["against"]} == set(kinds.values())
    page = Page((folder / "report.html").read_text(encoding="utf-8")).root.text
    assert "One encoder only stands for contrastive-text (faces-clip), contrastive (faces-ssl)" in page
    assert "What each view reaches, % of the ceiling" in page


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 10))])
def test_any_subset_gives_its_page(command: Command, seed: int) -> None:
    drawn = random.Random(seed).sample(NAMES, 2 + seed % 3)
    wanted = {each for name in drawn for each in (name, *all_studies()[name].needs)}
    assert heads(command(*drawn)) == {HEADS[name] for name in wanted}


def test_a_study_that_has_nothing_to_work_with_is_named_before_any_work(
    datasets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["noisezoo", "analyze", str(datasets[0]), "--out", str(tmp_path / "report"),
                                     "--studies", "edits"])  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == UsageError.exit_code
    assert "edits needs --model VIEW" in capsys.readouterr().err


def test_numbers_are_written_before_anything_is_drawn(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(report, "_pages", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        command("alignment", out=tmp_path)
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    tables = ("alignment", "neighbours", "agreement", "scorecard")
    files = {f"{name}.{kind}" for name in tables for kind in ("csv", "parquet", "tex")}
    assert written == {"results.json", "alignment.json", *files}


def test_a_second_run_goes_on_where_the_first_stopped_and_ends_with_the_same_numbers(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("probes", "structure", "conditioning", "edits")
    whole = command(*names)
    ran: list[str] = []
    for name in names:
        kind = type(all_studies()[name])

        def run(self: Study, *given: Any, before: Any = kind.run) -> None:
            if self.name == "conditioning" and not ran.count("conditioning"):
                ran.append(self.name)
                raise UsageError("the lights went out")
            ran.append(self.name)
            before(self, *given)

        monkeypatch.setattr(kind, "run", run)
    parts = tmp_path / "parts"
    command(*names, out=parts, code=2)
    assert ran == ["probes", "structure", "conditioning"] and not (parts / "report.html").exists()
    command(*names, out=parts)
    assert ran[3:] == ["probes", "conditioning", "edits"], "conditioning needs the tables of probes, structure is kept"
    command(*names, out=parts)
    assert len(ran) == 6
    assert {**numbers(whole), "run": {}} == {**numbers(parts), "run": {}}
    assert all((parts / name).read_bytes() == (whole / name).read_bytes() for name in numbers(whole)["files"])
    command("structure", out=parts, given=["--fresh"])
    assert ran[6:] == ["structure"]


def test_ctrl_c_says_how_many_studies_are_kept_and_the_same_command_goes_on(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as until:
        until.setattr(type(all_studies()["spurious"]), "run", interrupt)
        command("spurious", "structure", "probes", out=tmp_path, code=130)
    said = capsys.readouterr().err
    assert said == "error: stopped; 2 of 3 studies are kept, run the same command to go on\n"
    assert sorted(path.stem for path in (tmp_path / "studies").iterdir()) == ["probes", "structure"]
    command("spurious", "structure", "probes", out=tmp_path)


def test_an_attribute_that_cannot_be_edited_is_named_with_the_reason(command: Command, tmp_path: Path) -> None:
    command("edits", out=tmp_path, given=["--edit", "digit=1", "--judge", "faces-clip", "--directions", "probe"])
    page = Page((tmp_path / "report.html").read_text()).root
    assert "Digit=1 is not edited: " in page.text and not page.all("table", class_="strip")


def test_the_summary_as_json_is_all_of_standard_output(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("structure", out=tmp_path, given=["--json"])
    said = capsys.readouterr()
    found, written = json.loads(said.out), numbers(tmp_path)["datasets"]["digits"]
    assert {key: found[key] for key in ("verdicts", "scorecard", "missing")} == {
        key: written[key] for key in ("verdicts", "scorecard", "missing")
    }
    assert Path(found["report"]) == tmp_path / "report.html" and "analyse digits" in said.err


def test_edited_pictures_are_kept_as_they_were(tmp_path: Path) -> None:
    class Pictures(Study):
        name = "pictures"

        def run(self, *_: object) -> None: ...

    made = make_analysis()
    facts = {"dataset": {"digest": "abc"}, "views": made.views}
    before, empty = Analysis({}), Analysis(dict(facts))
    made.results = {**facts, "pictures": {"n": 1}}
    Store(tmp_path, Options()).write(Pictures(), made, keys(before))
    store = Store(tmp_path, Options())
    assert store.holds(Pictures(), empty)
    store.read(Pictures(), empty)
    assert empty.results["pictures"] == {"n": 1}
    np.testing.assert_array_equal(empty.reconstructions["ddpm"], made.reconstructions["ddpm"])
    for kept, strip in zip(empty.strips["ddpm"], made.strips["ddpm"], strict=True):
        np.testing.assert_array_equal(kept.images, strip.images)
        assert (kept.attribute, kept.variant, kept.against) == (strip.attribute, strip.variant, strip.against)
        assert kept.records == strip.records
    other = Analysis({**facts, "dataset": {"digest": "abd"}})
    assert not store.holds(Pictures(), other) and not Store(tmp_path, Options(seed=1)).holds(Pictures(), empty)


def test_findings_from_other_options_are_not_taken_for_these(command: Command, tmp_path: Path) -> None:
    command("structure", out=tmp_path)
    first = numbers(tmp_path)["datasets"]["digits"]["structure"]
    command("structure", out=tmp_path, given=["--seed", "7"])
    assert numbers(tmp_path)["datasets"]["digits"]["structure"] != first


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--edit", "digit=77"], "--edit digit=77: did you mean 'digit=7'?"),
        (["--judge", "faces-clop"], "'faces-clop'"),
        (["--judge", "siglip2"], "--judge siglip2: "),
        (["--model", "digits-dppm"], "'digits-dppm'"),
        (["--model", "faces-ddpm"], "--model faces-ddpm: did you mean"),
        (["--model", "pixels-8"], "pictures can only be made through a noise view"),
        (["--directions", "lad"], "--directions lad: did you mean 'lda'?"),
        (["--edit", "digit=7"], "--edit needs --model"),
        (["--variant", "nowhere=no-such-folder"], "no-such-folder"),
        (["--views", "digits-ddpm,pixles"], "'pixles'"),
        (["--studies", "telepathy"], "no study 'telepathy'; choose of: audit, gaussianity"),
    ],
)
def test_what_is_not_there_is_one_line_before_any_work(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    given: list[str], message: str,
) -> None:  # fmt: skip
    def work(*_: object) -> None:
        raise AssertionError("work was begun")

    for study in all_studies().values():
        monkeypatch.setattr(type(study), "run", work)
    command("structure", "edits", out=tmp_path, given=given, code=2)
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


def test_the_terminal_shows_a_row_a_claim_and_names_once_what_nothing_tells(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (results,) = numbers(command("audit", "gaussianity"))["datasets"].values()
    out = capsys.readouterr().out
    table = "\n".join(line for line in out.splitlines() if line.startswith("│"))
    untold = " ".join(out.split()).split("No evidence here", 1)[1]
    claims = {claim.name for study in all_studies().values() for claim in study.claims}
    told = {row["claim"] for row in results["scorecard"] if row["view"]}
    assert told and claims - told
    assert {claim for claim in claims if f"│ {claim} " in table} == told
    assert {claim for claim in claims if f" {claim};" in untold or f" {claim}." in untold} == claims - told


def test_progress_says_the_share_from_the_start_and_then_the_time_left(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("structure", "spurious", out=tmp_path)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("analyse digits:")]
    assert "reading the dataset (0% done)" in said[0]
    shares = [int(line.partition("% done")[0].rpartition("(")[2]) for line in said]
    assert shares == sorted(shares) and 0 < shares[-1] < 100 and said[-1].endswith("left)")


def test_results_say_what_made_them(command: Command, datasets: tuple[Path, Path]) -> None:
    made = numbers(command("structure"))
    assert made["run"]["command"].startswith("noisezoo analyze") and made["run"]["quick"] is True
    assert set(made["run"]["versions"]) >= {"noisezoo", "numpy", "python"} and made["run"]["date"].endswith("+00:00")
    record = (datasets[0] / "noisezoo.json").read_bytes()
    assert made["datasets"]["digits"]["dataset"]["digest"] == sha256(record).hexdigest()


def test_two_studies_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="there is a study 'probes' already"):
        register_study(type("Probing", (Study,), {"name": "probes", "run": lambda *_: None}))


@pytest.mark.parametrize("names", [("probes",), pytest.param(NAMES, marks=pytest.mark.slow)], ids=["planted", "all"])
def test_the_page_can_be_read_at_every_width_in_both_themes_and_printed(
    command: Command, monkeypatch: pytest.MonkeyPatch, names: Sequence[str]
) -> None:
    """Of planted results with edits, and of one study or of every one, on one page of two datasets."""

    def write(analyses: dict[str, Analysis], out: Path, **options: Any) -> Path:
        return report.write_report({**analyses, "planted": make_analysis()}, out, **options)

    with browser.chromium() as chromium:
        monkeypatch.setattr("noisezoo.commands.analyze.write_report", write)
        folder = command(*names)
        assert heads(folder) >= {HEADS[name] for name in names}
        page = chromium.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda said: failures.append(said.text) if said.type == "error" else None)
        page.goto((folder / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        for width, theme in product(browser.WIDTHS, browser.THEMES):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=theme)
            assert page.evaluate(browser.CUT_OFF) == [], width
            if width in (browser.WIDTHS[0], browser.WIDTHS[-1]):  # charts keep their colours between these
                texts = page.evaluate(browser.CHART_TEXTS)
                assert len(texts) > 20 and [t for t in texts if t["same"] or t["contrast"] < 4.5] == [], (width, theme)
            assert width != 1024 or browser.violations(page) == [], (width, theme)
        for cell in page.query_selector_all(".scorecard td:has(.word)"):  # on a phone
            box = cell.bounding_box()
            assert box["width"] > 0 and box["x"] >= 0 and box["x"] + box["width"] <= 390
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = false))")
        page.emulate_media(media="print", color_scheme="light")
        page.set_viewport_size({"width": browser.A4, "height": 900})
        assert page.evaluate(browser.LOST_IN_PRINT) == [] and failures == []


def test_a_mark_of_a_chart_says_its_interval_and_its_images_where_a_pointer_rests(tmp_path: Path) -> None:
    analysis = make_analysis()
    report.write_report({"planted": analysis}, tmp_path, title="A title")
    row = next(d for d in analysis.results["differences"] if (d["view"], d["role"]) == ("ldm", "untrained"))
    estimate, low, high = (f"{100 * row[end]:+.1f}".replace("-", "−") for end in ("estimate", "low", "high"))
    with browser.chromium() as chromium:
        page = chromium.new_page()
        page.goto((tmp_path / "report.html").as_uri())
        marks = page.locator("#headline .chart .tip")
        marks.nth(marks.count() - 1).hover()
        saying = page.locator(".saying")
        assert saying.is_visible() and saying.inner_text() == f"ldm: {estimate} [{low}, {high}], n = 60"
        page.locator("h1").hover()
        assert not saying.is_visible()


def test_a_table_can_be_sorted_filtered_and_copied_and_a_picture_enlarged(tmp_path: Path) -> None:
    report.write_report({"planted": make_analysis()}, tmp_path, title="A title")
    with browser.chromium() as chromium:
        page = chromium.new_page()
        page.goto((tmp_path / "report.html").as_uri())
        page.evaluate(
            "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (t) => (window.said = t)}})"
        )
        head = page.locator("table.gaussianity thead th").first
        names = "[...document.querySelectorAll('table.gaussianity tbody tr:not([hidden]) th')].map((e) => e.innerText)"
        given = page.evaluate(names)
        for way, rows in (("ascending", sorted(given)), ("descending", sorted(given, reverse=True))):
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == way and page.evaluate(names) == rows
        tools = page.locator(".tools:has(+ .scroll > table.gaussianity)")
        tools.locator("input").fill("untrained")
        kept = page.evaluate(names)
        assert kept == sorted((name for name in given if "untrained" in name), reverse=True) and len(kept) == 2
        for kind, start, lines in (("CSV", "View,", 3), ("Markdown", "| View |", 4), ("LaTeX", "\\begin{tabular}", 8)):
            tools.get_by_text(f"Copy {kind}").click()
            said = page.evaluate("window.said")
            assert said.startswith(start) and all(name in said for name in kept) and len(said.splitlines()) >= lines
            assert not any(name in said for name in set(given) - set(kept) - {"ddpm", "ldm"})
        tools.locator("input").fill("")
        tools.get_by_label("View shown").select_option("ldm")
        assert page.evaluate(names) == ["ldm"]
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        tools = page.locator(".tools:has(+ .scroll > table.attributes)")
        tools.get_by_label("View shown").select_option("clip")
        tools.get_by_label("Attribute shown").select_option("Bald")
        tools.get_by_text("Copy CSV").click()
        head, row = page.evaluate("window.said").splitlines()
        assert head == 'Attribute,"Positive, %",clip' and row.startswith("Bald,")
        page.locator("button.picture").first.click()
        assert page.locator("dialog[open] img").count() == 1


PLUGIN = '''
"""How long rows are."""
import numpy as np
from noisezoo.analysis.studies import Claim, Evidence, Study, register_study


def is_long(results):
    for row in results.get("length", {}).get("rows", ()):
        yield Evidence(row["view"], "mean length", "zero", row["length"], row["length"] - 1, row["length"] + 1)


@register_study
class Length(Study):
    """Mean length of the rows of every view."""

    name = "length"
    about = "how long rows are"
    template = "length.html.j2"
    claims = (Claim("Rows are long", "longer than nothing", "nowhere", is_long),)

    def run(self, data, analysis, options):
        lengths = {view: float(np.linalg.norm(data.matrix(view), axis=1).mean()) for view in data.views}
        rows = [{"view": view, "length": length} for view, length in lengths.items()]
        analysis.results[self.name] = {"rows": rows}
        analysis.rows[self.name] = rows
'''


def test_a_users_own_study_comes_with_its_section_its_claim_and_its_table(
    datasets: tuple[Path, Path], tmp_path: Path
) -> None:
    package = tmp_path / "package"
    (package / "mine-1.0.dist-info").mkdir(parents=True)
    (package / "mine-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (package / "mine-1.0.dist-info" / "entry_points.txt").write_text("[noisezoo.plugins]\nmine = length_of_rows\n")
    (package / "length_of_rows.py").write_text(PLUGIN)
    (package / "length.html.j2").write_text(
        '{% from "macros.html.j2" import region with context %}<h3>How long</h3>{% call region("lengths") %}<table>'
        "{% for row in results.length.rows %}<tr><th>{{ row.view }}</th><td>{{ row.length | decimals(3) }}</td></tr>"
        "{% endfor %}</table>{% endcall %}"
    )
    command = ("analyze", str(datasets[0]), "--studies", "length", "--out", str(tmp_path / "report"))
    analysis = Fresh(module("noisezoo"), *command, environment={**os.environ, "PYTHONPATH": str(package)})
    _, said = analysis.communicate()
    assert analysis.poll() == 0, said
    page = Page((tmp_path / "report" / "report.html").read_text()).root
    results = json.loads((tmp_path / "report" / "results.json").read_text())["datasets"]["digits"]
    assert [head.text for head in page.all("h3")][1:2] == ["How long"]
    lengths = {row["view"]: f"{row['length']:.3f}" for row in results["length"]["rows"]}
    assert set(lengths) == set(VIEWS) and all(f"{view}{length}" in page.text for view, length in lengths.items())
    (row,) = [row for row in results["scorecard"] if (row["claim"], row["view"]) == ("Rows are long", "pixels-8")]
    assert row["verdict"] == "supported"
    assert (tmp_path / "report" / "tables" / "length.parquet").is_file()
