"""The report: one HTML page that opens from disk, and every number of it as JSON."""

import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from markupsafe import Markup

from noisezoo.analysis.core import plain
from noisezoo.analysis.figures import MISSING, STYLE, hue, is_wide, saved_to, signed
from noisezoo.analysis.studies import VERDICTS, Analysis, Json, Page, Study, all_studies
from noisezoo.citation import source_links
from noisezoo.errors import NoiseZooError
from noisezoo.files import committed, make_folder, read_json
from .tables import write_tables

PAGE, NUMBERS, SCORECARD, TABLES, FIGURES = "report.html", "results.json", "scorecard.html", "tables", "figures"
TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    analyses: Mapping[str, Analysis], folder: Path, *, title: str, run: Mapping[str, Any] | None = None
) -> Path:
    """Write `report.html` and `scorecard.html`, self-contained, `results.json`, `tables/` and `figures/`.

    Numbers are finite floats or null; tables are tidy Parquet, CSV and LaTeX, figures SVG, PDF and PNG, in a
    folder a dataset where there are several. Numbers and tables are written before anything is drawn. Files are written
    whole under a hidden name and then renamed, the same bytes for the same input. Tables and figures that an earlier
    report left in the folder and this one has not are removed: they would pass for this one's.

    Args:
        analyses: Dataset name -> its analysis. Datasets whose true factors are known come first in the report.
        folder: Where they go; made where it is missing.
        title: Of the page.
        run: What the numbers and the page say of how they were made, such as the command and the date.

    Returns:
        The path of `report.html`.

    Raises:
        NoiseZooError: The folder cannot be written.
        ValueError: No analysis, or an edit without the pixel overlay that it must be held against.
    """
    if not analyses:
        raise ValueError("there is no analysis to report")
    order = sorted(analyses, key=lambda name: not analyses[name].results["dataset"]["factors"])
    said = {"run": dict(run)} if run else {}
    numbers: Json = {"title": title, **said, "datasets": {name: plain(analyses[name].results) for name in order}}
    pages = [Page(f"dataset-{k}", name, numbers["datasets"][name], analyses[name]) for k, name in enumerate(order, 1)]
    with _writing(folder):
        earlier = set((read_json(folder / NUMBERS) or {}).get("files", ()))
        tables = [
            path
            for name in order
            for path in write_tables(analyses[name].rows, folder / TABLES / (name if len(order) > 1 else ""))
        ]
        _write_numbers(folder, numbers, {*earlier, *_named(folder, tables)})
        made, figures = _pages(pages, title, dict(run or {}), folder / FIGURES)
        kept = _named(folder, [*tables, *figures])
        _forget(folder, earlier - kept)
        _write_numbers(folder, numbers, kept)
        for name, content in made.items():
            _write(folder / name, content)
    return folder / PAGE


def begin_report(folder: Path) -> None:
    """Make a report's folder, before the minutes that the analysis takes.

    Raises:
        NoiseZooError: It cannot be written.
    """
    with _writing(folder):
        make_folder(folder)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise NoiseZooError(f"cannot write the report into {folder}: {reason}; name a folder with room") from error


def _write(path: Path, text: str) -> None:
    with committed(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _write_numbers(folder: Path, numbers: Json, files: set[str]) -> None:
    listed = {**numbers, "files": sorted(files)}
    _write(folder / NUMBERS, json.dumps(listed, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _named(folder: Path, paths: Sequence[Path]) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in paths}


def _forget(folder: Path, names: set[str]) -> None:
    """Remove tables and figures of an earlier report."""
    for name in names:
        if name.startswith((f"{TABLES}/", f"{FIGURES}/")) and ".." not in name.split("/"):
            (folder / name).unlink(missing_ok=True)


def _pages(pages: Sequence[Page], title: str, run: Json, folder: Path) -> tuple[dict[str, str], list[Path]]:
    """Name of a file -> its HTML, and the figures written. Every study that ran gives its section, and may open it."""
    environment, figures = _environment(), list[Path]()

    def rendered(study: Study, template: str, **values: Any) -> Markup:
        return Markup(environment.get_template(str(study.path(template))).render(values))

    fronts = []
    for study in all_studies().values():
        ran = [page for page in pages if study.name in page.results]
        if study.front and ran:
            with saved_to(folder, figures):
                body = rendered(study, study.front, pages=ran, **study.summarise(ran))
            fronts.append({"id": re.findall('id="(.*?)"', body)[0], "body": body})

    def section(page: Page, study: Study) -> Json:
        with saved_to(folder / (page.name if len(pages) > 1 else ""), figures):
            body = rendered(study, study.template, page=page, results=page.results, **study.exhibit(page))
        head = re.search("<h3>(.*?)</h3>", body)
        return {"id": f"{page.id}-{study.name}", "body": body, "title": Markup(head[1] if head else study.name)}

    shown = [{"page": page, "results": page.results, "claims": _claims(page.results.get("scorecard", ())),
              "sections": [section(page, study) for study in all_studies().values() if study.name in page.results],
              "caveats": _caveats(page.results),
              "methods": [s.methods for s in all_studies().values() if s.methods and s.name in page.results]}
             for page in pages]  # fmt: skip
    models = sum(v["kind"] != "control" and not v["untrained"] for page in pages for v in page.results["views"])
    values = {"title": title, "pages": shown, "fronts": fronts, "models": models, "run": run}
    return {name: environment.get_template(f"{name}.j2").render(values) for name in (SCORECARD, PAGE)}, figures


def _caveats(results: Json) -> dict[str, list[str]]:
    """Each caveat once, with the views' own names -> the studies that it is of."""
    found: dict[str, list[str]] = {}
    views = {view["name"] for view in results["views"]}

    def walk(value: Any, study: str, view: str) -> None:
        for key, item in value.items() if isinstance(value, dict) else ():
            if key == "caveats":
                for sentence in item:
                    said = re.sub(r"\bX\b", view or "a view", sentence[:1].upper() + sentence[1:].rstrip("."))
                    found.setdefault(f"{said}.", [])
                    found[f"{said}."] += [study] * (study not in found[f"{said}."])
            else:
                walk(item, study, key if key in views else view)

    for name in all_studies():
        walk(results.get(name, {}), name, "")
    return found


def _claims(rows: Sequence[Json]) -> dict[str, Json]:
    """Claim -> its rows, and verdict -> how many pieces of evidence each view has for it."""
    by_claim = {name: [row for row in rows if row["claim"] == name] for name in dict.fromkeys(r["claim"] for r in rows)}
    return {name: {"rows": found, "verdicts": {verdict: Counter(r["view"] for r in found if r["verdict"] == verdict)
                                               for verdict in VERDICTS.values()}}
            for name, found in by_claim.items()}  # fmt: skip


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return decimals(None if value is None else 100 * value, 1)


def decimals(value: float | None, places: int = 2) -> str:
    """A number with so many decimals."""
    return MISSING if value is None else f"{value:z.{places}f}".replace("-", "−")


def typeset(text: str) -> str:
    """A sentence with minus signs before its negative numbers."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def p_value(value: float | None) -> str:
    """A p-value with two digits."""
    return MISSING if value is None else f"{value:.2g}"


def place(value: float | None, low: float, high: float = 1.0) -> float:
    """Where a share lies on a bar from `low` to `high`, in percent of its length."""
    share = low if value is None else value
    return round(100 * min(max((share - low) / (high - low), 0.0), 1.0), 2)


def as_yaml(value: Any) -> str:
    """Plain values as YAML, in their own order."""
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def _environment() -> Any:
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, FunctionLoader, StrictUndefined

    def read(path: str) -> str:
        return Path(path).read_text(encoding="utf-8")

    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(TEMPLATES), FunctionLoader(read)]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters = (percent, signed, decimals, typeset, p_value, place, as_yaml, hue)
    environment.filters |= {run.__name__: run for run in filters}
    script = read(str(TEMPLATES / "report.js"))
    environment.tests["wide"] = is_wide
    environment.globals |= {
        "MISSING": MISSING,
        "VERDICTS": list(VERDICTS.values()),
        "STYLE": Markup(read(str(STYLE))),
        "SCRIPT": Markup(script),
        "SCRIPT_HASH": b64encode(sha256(script.encode()).digest()).decode(),
        "PAPER": source_links(),
    }
    return environment
