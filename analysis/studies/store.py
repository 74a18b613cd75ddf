"""What studies found, kept as each ends, so that a second run goes on where the first stopped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from noisezoo.analysis.core import plain
from noisezoo.analysis.edits import Strip
from noisezoo.files import committed, read_json
from .claims import Json
from .study import Analysis, Options, Study

PARTS = ("results", "rows", "strips", "reconstructions")
"""Parts of an `Analysis` that are kept; probe tables and the like are computed anew where a study needs them."""
TOLD = ("attribute", "kind", "variant", "against", "strengths", "records")
"""What the report shows of a strip beside its pictures, without what its tables were made from."""
SOFTWARE = ("noisezoo", "numpy", "scipy")


class Store:
    """A folder with one JSON file a study, and one of arrays where it made pictures.

    Each says what it was computed from (dataset, views, options that the study reads, software); a file that says
    something else is not read.
    """

    def __init__(self, folder: Path | None, options: Options) -> None:
        """`folder` None keeps nothing."""
        self.folder, self.options = folder, options

    def holds(self, study: Study, analysis: Analysis) -> bool:
        """Whether this study's findings are there, from the same dataset, options and software."""
        if self.folder is None or analysis.results["dataset"]["digest"] is None:  # whether it changed cannot be told
            return False
        kept = read_json(self.folder / f"{study.name}.json")
        return kept is not None and kept["from"] == self._origin(study, analysis)

    def read(self, study: Study, analysis: Analysis) -> None:
        """Add what is kept to an analysis."""
        assert self.folder is not None
        kept = read_json(self.folder / f"{study.name}.json") or {}
        path = self.folder / f"{study.name}.npz"
        arrays = dict(np.load(path)) if path.is_file() else {}
        analysis.results |= kept["results"]
        analysis.rows |= kept["rows"]
        analysis.reconstructions |= {view: arrays[f"{view}/given"] for view in kept["reconstructions"]}
        for view, strips in kept["strips"].items():
            analysis.strips[view] = [
                Strip(**{**told, "against": tuple(told["against"]), "images": arrays[f"{view}/{i}/images"]})
                for i, told in enumerate(strips)
            ]

    def write(self, study: Study, analysis: Analysis, before: Mapping[str, set[str]]) -> None:
        """Keep what a study added to an analysis, whose keys were `before` it."""
        if self.folder is None:
            return
        new = {part: {key: value for key, value in getattr(analysis, part).items() if key not in before[part]}
               for part in PARTS}  # fmt: skip
        arrays = {f"{view}/{i}/images": strip.images for view, made in new["strips"].items()
                  for i, strip in enumerate(made)}  # fmt: skip
        arrays |= {f"{view}/given": array for view, array in new["reconstructions"].items()}
        if arrays:
            with committed(self.folder / f"{study.name}.npz") as temporary, temporary.open("wb") as stream:
                np.savez(stream, **arrays)
        kept = {"from": self._origin(study, analysis), "results": new["results"], "rows": new["rows"],
                "strips": {view: [{name: getattr(strip, name) for name in TOLD} for strip in made]
                           for view, made in new["strips"].items()},
                "reconstructions": list(new["reconstructions"])}  # fmt: skip
        with committed(self.folder / f"{study.name}.json") as temporary:
            temporary.write_text(json.dumps(plain(kept), ensure_ascii=False, allow_nan=False), encoding="utf-8")

    def _origin(self, study: Study, analysis: Analysis) -> Json:
        said = {name: _words(getattr(self.options, name)) for name in ("seed", "effort", *study.reads)}
        return dict(plain({**said, "dataset": analysis.results["dataset"]["digest"],
                           "views": [[view["name"], view.get("digest")] for view in analysis.views],
                           "software": {name: version(name) for name in SOFTWARE}}))  # fmt: skip


def keys(analysis: Analysis) -> dict[str, set[str]]:
    """What an analysis holds by now."""
    return {part: set(getattr(analysis, part)) for part in PARTS}


def _words(value: Any) -> Any:
    """An option as plain values; of a model or a judge, its view and version."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _words(getattr(value, f.name)) for f in fields(value) if not callable(getattr(value, f.name))}
    if isinstance(value, Mapping):
        return {str(key): _words(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_words(item) for item in value]
    return str(value) if isinstance(value, Path) else value
