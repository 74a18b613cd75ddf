"""Pictures regenerated through the models at hand, and their edits."""

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.data import Data, Json
from noisezoo.analysis.edit_study import Study as EditStudy
from noisezoo.analysis.edit_study import fit_space
from noisezoo.analysis.studies.base import Analysis, Judge, Model, Options, Study
from noisezoo.errors import UsageError

SHOWN_FACES = 12


class Editing(Study):
    """Reconstructions of each model's first held-out rows and, where there is a judge, its edits."""

    name = "edits"
    about = "pictures through the models at hand"

    def wanted(self, options: Options) -> bool:
        """Only where a generative model is at hand."""
        return bool(options.models)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`edits` by model."""
        analysis.results[self.name] = {}
        for model in options.models:
            options.step(f"pictures through {model.view}")
            record = _regenerate(analysis, data, model, _pixels(analysis))
            if options.judge is not None and options.edits:
                record |= _edit(analysis, data, model, options.judge, options.edits)
            analysis.results[self.name][model.view] = record


def _pixels(analysis: Analysis) -> str:
    pixels = next((view["name"] for view in analysis.views if view["family"] == "pixels"), None)
    if pixels is None:
        raise UsageError("regenerating needs a pixels view to compare with: add `pixels` to the recipe's views")
    return str(pixels)


def _regenerate(analysis: Analysis, data: Data, model: Model, pixels: str) -> Json:
    shape = data.shape(pixels)
    shown = np.flatnonzero(~data.train)[:SHOWN_FACES]
    given = data.matrix(pixels)[shown].reshape(-1, *shape)
    made = np.clip(model.generate(data.matrix(model.view)[shown]), -1, 1)[:, : shape[0]]
    analysis.reconstructions[model.view] = np.stack([given, made])
    error = ((given - made) ** 2).reshape(len(shown), -1).mean(axis=1)
    psnr = 10 * np.log10(4 / np.maximum(error, 1e-12))
    return {"reconstruction_psnr": [round(float(value), 2) for value in psnr]}


def _edit(analysis: Analysis, data: Data, model: Model, judge: Judge, edits: "tuple[str, ...] | list[str]") -> Json:
    pixels, held_out = _pixels(analysis), np.flatnonzero(~data.train)
    noise, pictures, eyes = (fit_space(data.matrix(v), data.Y, data.train) for v in (model.view, pixels, judge.view))
    c, h, w = data.shape(pixels)
    study = EditStudy(data.names, noise, pictures, eyes.probes, (c, h, w), model.generate, judge.embed)
    strips = [strip for name in edits for strip in study.strips(name, _lacking(data, name, held_out))]
    analysis.strips[model.view] = strips
    return {"judge": judge.view, "strips": [{"variant": s.variant, **entry} for s in strips for entry in s.records]}


def _lacking(data: Data, attribute: str, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The first of `rows` that lack an attribute."""
    if attribute not in data.names:
        raise UsageError(f"cannot edit {attribute!r}; the attributes are: {', '.join(data.names)}")
    return np.asarray(rows[data.Y[rows, data.names.index(attribute)] == 0][:SHOWN_FACES])
