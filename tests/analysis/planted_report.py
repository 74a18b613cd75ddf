"""An analysis of planted views with every piece a report can show, and the page read back as a tree."""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo.analysis import gaussianity, probe_table
from noisezoo.analysis.edits.experiment import NOISE, ORTHOGONAL, OVERLAY, Strip
from noisezoo.analysis.report.report import write_report
from noisezoo.analysis.studies.probing import differences
from noisezoo.analysis.studies.run import verdicts
from noisezoo.analysis.studies.study import Analysis

ATTRIBUTES = ["Smiling", "Bald", "Mouth_Slightly_Open"]
VOID = {"meta", "img", "br", "hr", "link", "input"}
N = 60


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    children: "list[Element | str]" = field(default_factory=list)

    def walk(self) -> "Iterator[Element]":
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag: str, **having: str) -> "list[Element]":
        wanted = {name.replace("_", "-").strip("-"): value for name, value in having.items()}
        return [e for e in self.walk() if e.tag == tag and wanted.items() <= e.attributes.items()]

    @property
    def text(self) -> str:
        words = "".join(child if isinstance(child, str) else child.text for child in self.children)
        return re.sub(r"\s+", " ", words)


class Page(HTMLParser):
    """A tree of the page; fails on a tag that is closed out of turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.here = Element("root", {})
        self.feed(html)
        self.close()
        assert self.here is self.root, f"<{self.here.tag}> is never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = self._add(tag, attrs)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.children.append(data)

    def _add(self, tag: str, attrs: list[tuple[str, str | None]]) -> Element:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of <{tag}> is given twice"
        element = Element(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.children.append(element)
        return element


def view(name: str, kind: str, d: int, **others: Any) -> dict[str, Any]:
    facts = {"family": "diffusers", "untrained": False, "baseline": None, "clip_conditioned": None, "latent_std": None}
    return {**facts, "name": name, "kind": kind, "about": f"all about {name}", "n": N, "d": d, **others}


def make_analysis() -> Analysis:
    """Planted views of one latent, with every piece that a report can show."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((N, 6))
    Y = (latent[:, : len(ATTRIBUTES)] > 0).astype(int)
    facts = [
        view("ddpm", "noise", 100, baseline="ddpm-untrained", latent_std=0.81),
        view("ldm", "noise", 12, baseline="ldm-untrained", latent_std=0.93),
        view("clip", "embedding", 12, family="open_clip"),
        view("ddpm-untrained", "control", 100, untrained=True),
        view("ldm-untrained", "control", 12, untrained=True),
        view("pixels", "control", 100, family="pixels"),
        view("random", "control", 12, family="random"),
    ]
    X = {
        v["name"]: np.hstack([latent * (k != 6), rng.standard_normal((N, v["d"] - 6))]) * (1 + k)
        for k, v in enumerate(facts)
    }
    tables = {name: probe_table(x, Y, ATTRIBUTES) for name, x in X.items()}
    results: dict[str, Any] = {
        "dataset": {"name": "planted", "rows": N, "splits": {"train": 45, "test": 15}, "attributes": ATTRIBUTES,
                    "factors": [], "recipe": {"name": "planted", "views": list(X), "settings": {"seed": 42}}},
        "views": facts,
        "gaussianity": {name: gaussianity(x, n_projections=50).to_dict() for name, x in X.items()},
        "probes": {name: table.to_dict() for name, table in tables.items()},
        "differences": differences(tables, facts),
        "edits": {"ddpm": {"reconstruction_psnr": [31.25, 28.5, 40.75], "judge": "clip"}},
        "seed": 42,
    }  # fmt: skip
    results["verdicts"] = verdicts(results)
    strips = [make_strip(name, variant, rng) for name in ATTRIBUTES[:2] for variant in (OVERLAY, NOISE, ORTHOGONAL)]
    pictures = rng.uniform(-1, 1, (2, 3, 3, 8, 8))
    return Analysis(results, tables, {"ddpm": strips}, {"ddpm": pictures})


def make_strip(attribute: str, variant: str, rng: np.random.Generator) -> Strip:
    strengths = (0.0, 1.5, 4.0)
    records = []
    for strength in strengths:
        low, middle, high = np.sort(rng.random(3))
        interval = {"estimate": middle, "low": low, "high": high}
        records.append({"strength": strength, "judged": interval, "collateral": interval, "norm_ratio": 1.02})
    against = ("Bald",) if variant == ORTHOGONAL else ()
    return Strip(attribute, "probe", variant, against, strengths, rng.uniform(-1, 1, (3, 7, 3, 8, 8)), records)


def plant(analysis: Analysis, view: str, estimate: float, low: float, high: float) -> Analysis:
    """The same analysis, with trained minus untrained of a view as given."""
    results = copy.deepcopy(analysis.results)
    for difference in results["differences"]:
        if (difference["view"], difference["role"]) == (view, "untrained"):
            difference |= {"estimate": estimate, "low": low, "high": high}
    results["verdicts"] = verdicts(results)
    return Analysis(results, {})


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Nested values with strings replaced, keys as well."""
    if isinstance(value, dict):
        return {names.get(key, key): renamed(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(renamed(item, names) for item in value)
    return names.get(value, value) if isinstance(value, str) else value


def written(folder: Path, analyses: Mapping[str, Analysis]) -> Element:
    return Page(write_report(analyses, folder, title="A title").read_text(encoding="utf-8")).root
