"""The report: one HTML page that opens from disk, and every number of it as JSON."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from noisezoo.analysis.core import plain
from noisezoo.analysis.report import exhibits, relations
from noisezoo.analysis.report.drawing import saved_to
from noisezoo.analysis.report.exhibits import MISSING, RADAR_FLOOR, UNTRAINED, Json, Probes, is_wide, signed
from noisezoo.analysis.report.tables import write_tables
from noisezoo.analysis.studies import CONTROL_NAMES, METRIC, Analysis, direction, evidence
from noisezoo.errors import NoiseZooError
from noisezoo.files import committed, make_folder, read_json

PAGE, NUMBERS, SCORECARD, TABLES, FIGURES = "report.html", "results.json", "scorecard.html", "tables", "figures"
TEMPLATES = Path(__file__).parent / "templates"
WORDS = {1: "better", 0: "undecided", -1: "worse"}
KINDS = {"noise": "Noise, inverted by diffusion models", "embedding": "Encoders", "control": "Controls"}
METRICS = (METRIC, "accuracy", "auc")
MEAN = "mean"
VERDICTS = ("headline", "gaussianity", "conditioning")
TESTS = {"anderson-darling": "Anderson–Darling", "dagostino-pearson": "D’Agostino–Pearson", "both": "both"}


def write_report(analyses: Mapping[str, Analysis], folder: Path, *, title: str) -> Path:
    """Write `report.html` and `scorecard.html`, self-contained, `results.json`, `tables/` and `figures/`.

    Numbers are finite floats or null; tables are tidy Parquet, in a folder a dataset where there are several; figures
    are SVG and PNG. Each is written whole under a hidden name and then renamed, the same bytes for the same input.
    Tables and figures that an earlier report left in the folder and this one has not are removed: they would pass for
    this one's.

    Args:
        analyses: Dataset name -> its analysis. Datasets whose true factors are known come first in the report.
        folder: Where they go; made where it is missing.
        title: Of the page.

    Returns:
        The path of `report.html`.

    Raises:
        NoiseZooError: The folder cannot be written.
        ValueError: No analysis, or an edit without the pixel overlay that it must be held against.
    """
    if not analyses:
        raise ValueError("there is no analysis to report")
    order = sorted(analyses, key=lambda name: not analyses[name].results["dataset"]["factors"])
    numbers: Json = {"title": title, "datasets": {name: plain(analyses[name].results) for name in order}}
    with _writing(folder):
        with saved_to(folder / FIGURES) as files:
            pages = [section(k, name, numbers["datasets"][name], analyses[name]) for k, name in enumerate(order, 1)]
            shown = {"title": title, "top": _top(pages), "sections": pages}
        for name in order:
            files += write_tables(analyses[name].rows, folder / TABLES / (name if len(order) > 1 else ""))
        numbers["files"] = sorted(path.relative_to(folder).as_posix() for path in files)
        _forget(folder, numbers["files"])
        text = json.dumps(numbers, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        made = {page: _environment().get_template(f"{page}.j2").render(shown) for page in (SCORECARD, PAGE)}
        for name, content in ((NUMBERS, text), *made.items()):
            with committed(folder / name) as temporary:
                temporary.write_text(content, encoding="utf-8", newline="\n")
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


def _forget(folder: Path, files: Sequence[str]) -> None:
    """Remove the tables and figures that the numbers of an earlier report list, but for these."""
    for name in set((read_json(folder / NUMBERS) or {}).get("files", ())) - set(files):
        if name.startswith((f"{TABLES}/", f"{FIGURES}/")) and ".." not in name.split("/"):
            (folder / name).unlink(missing_ok=True)


def section(number: int, name: str, results: Json, analysis: Analysis) -> Json:
    """What the page says of one dataset: its numbers as `results` has them, with figures and pictures made."""
    tables = results.get("probes", {}).items()
    probes: Probes = {(view, row["attribute"], row["metric"]): row for view, table in tables for row in table["rows"]}
    attributes = [attribute for attribute in dict.fromkeys(key[1] for key in probes) if attribute != MEAN]
    edited = {view: strips for view, strips in analysis.strips.items() if strips}
    regenerated = {view: pictures for view, pictures in analysis.reconstructions.items() if pictures.shape[1]}
    return {
        "id": f"dataset-{number}",
        "name": name,
        "results": results,
        "probes": probes,
        "attributes": attributes,
        "refused": {attribute: why for _, table in tables for attribute, why in table["refused"].items()},
        "majority": _majority(results, probes, attributes),
        "groups": {title: [v for v in results["views"] if v["kind"] == kind] for kind, title in KINDS.items()},
        "said": {kind: [v for v in results["verdicts"] if v["kind"] == kind] for kind in VERDICTS},
        "gaussianity": _gaussianity(results),
        "forests": exhibits.forests(name, results),
        "radars": exhibits.radars(name, results, probes, attributes),
        "scorecard": _by_claim(results.get("scorecard", ())),
        "verdicts": _verdicts(results.get("scorecard", ())),
        "learning": relations.learning(name, results),
        "conditional": relations.conditional(name, results),
        "conditioning": relations.conditioning(name, results),
        "profiles": relations.profiles(results),
        "matrices": relations.matrices(name, results),
        "alignments": relations.alignments(name, results),
        "shared": relations.shared(name, results),
        "edits": [exhibits.edits(name, v, results["edits"][v], strips) for v, strips in edited.items()],
        "reconstructions": [exhibits.reconstruction(v, results["edits"][v], made) for v, made in regenerated.items()],
    }


def _by_claim(rows: Sequence[Json]) -> dict[str, list[Json]]:
    return {claim: [row for row in rows if row["claim"] == claim] for claim in dict.fromkeys(r["claim"] for r in rows)}


def _verdicts(rows: Sequence[Json]) -> dict[str, dict[str, Counter[str]]]:
    """Claim -> verdict -> how many pieces of evidence each view has for it."""
    return {claim: {verdict: Counter(row["view"] for row in found if row["verdict"] == verdict)
                    for verdict in evidence.VERDICTS.values()} for claim, found in _by_claim(rows).items()}  # fmt: skip


def _majority(results: Json, probes: Probes, attributes: Sequence[str]) -> float | None:
    """Mean accuracy of always answering the commoner class."""
    view = next(iter(results.get("probes", {})), "")
    rates = [probes[view, attribute, METRIC]["majority_rate"] for attribute in attributes]
    return sum(rates) / len(rates) if rates else None


def _gaussianity(results: Json) -> Json:
    tests: Json = {view: g["rows"] for view, g in results.get("gaussianity", {}).items()}
    first: Json = next(iter(results.get("gaussianity", {}).values()), {"rows": [], "n_null": None, "alpha": None})
    heads = [(row["family"], TESTS.get(row["test"], "ratio")) for row in first["rows"]]
    power = {view: g["power"]["sentence"] for view, g in results.get("gaussianity", {}).items() if "power" in g}
    return {"heads": heads, "rows": tests, "power": power, "n_null": first["n_null"], "alpha": first["alpha"]}


def _top(pages: Sequence[Json]) -> Json:
    """The headline over all datasets: trained minus untrained, noise first, and how noise fared with every control."""
    found = [_decided(page, difference) for page in pages for difference in page["results"]["differences"]]
    held = [d for d in found if d["facts"]["kind"] == "noise"]
    noise = [d for d in held if d["role"] == UNTRAINED]
    others = [d for d in found if d["role"] == UNTRAINED and d["facts"]["kind"] != "noise"]
    roles = dict.fromkeys(d["role"] for d in held)
    views = [view for page in pages for view in page["results"]["views"]]
    return {
        "noise": noise,
        "others": others,
        "chart": exhibits.headline([*noise, *others]),
        "counts": _count(noise),
        "tally": {CONTROL_NAMES.get(role, role): _count([d for d in held if d["role"] == role]) for role in roles},
        "confidence": next((p["confidence"] for page in pages for p in page["results"]["probes"].values()), None),
        "models": sum(view["kind"] != "control" and not view["untrained"] for view in views),
    }


def _decided(page: Json, difference: Json) -> Json:
    """A difference with what the headline says of it: its dataset, its view's facts, its verdict."""
    view = difference["view"]
    return {
        **difference,
        "dataset": page["name"],
        "facts": exhibits.facts(page["results"])[view],
        "direction": direction(difference["low"], difference["high"]),
        "text": " ".join(v["text"] for v in page["said"]["headline"] if v["view"] == view),
    }


def _count(found: Sequence[Json]) -> dict[int, int]:
    return {way: sum(d["direction"] == way for d in found) for way in WORDS}


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return MISSING if value is None else f"{100 * value:.1f}"


def decimals(value: float | None, places: int = 2) -> str:
    """A number with so many decimals."""
    return MISSING if value is None else f"{value:.{places}f}".replace("-", "−")


def typeset(text: str) -> str:
    """A sentence with minus signs before its negative numbers."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def p_value(value: float | None) -> str:
    """A p-value with two digits."""
    return MISSING if value is None else f"{value:.2g}"


def place(value: float | None, low: float = RADAR_FLOOR, high: float = 1.0) -> float:
    """Where a share lies on a bar from `low` to `high`, in percent of its length."""
    share = low if value is None else value
    return round(100 * min(max((share - low) / (high - low), 0.0), 1.0), 2)


def as_yaml(value: Any) -> str:
    """Plain values as YAML, in their own order."""
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {run.__name__: run for run in (percent, signed, decimals, typeset, p_value, place, as_yaml)}
    environment.tests["wide"] = is_wide
    environment.globals |= {"WORDS": WORDS, "METRICS": METRICS, "MISSING": MISSING, "MEAN": MEAN,
                            "VERDICTS": list(evidence.VERDICTS.values())}  # fmt: skip
    return environment
