"""The bundled studies, in the order in which they run: one class each, over a whole dataset."""

from collections.abc import Mapping
from importlib import import_module

from noisezoo.analysis.studies.study import Study

STUDIES: Mapping[str, str] = {
    "gaussianity": "gaussian:Gaussianity",
    "probes": "probing:Probing",
    "profile": "profiles:Profiles",
    "conditional": "conditional_value:Conditional",
    "learning": "learning:Learning",
    "paper": "paper:Paper",
    "stitching": "stitch:Stitching",
    "alignment": "alignment:Alignment",
    "shared": "shared:SharedSpace",
    "structure": "confounds:Structure",
    "conditioning": "confounds:Conditioning",
    "spurious": "confounds:Spurious",
    "inversions": "inversions:Inversions",
    "edits": "edit:Editing",
}
"""Name -> `module:class`. Adding a study is adding a file and a line here."""


def make_study(name: str) -> Study:
    """The study of that name; KeyError where there is none."""
    module, _, attribute = STUDIES[name].partition(":")
    study: Study = getattr(import_module(f"{__package__}.{module}"), attribute)()
    return study
