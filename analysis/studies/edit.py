"""Pictures regenerated through the models at hand, and their edits."""

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.edits import (
    NOISE,
    ON_SHELL,
    ORTHOGONAL,
    OVERLAY,
    PROBE,
    SHOWN,
    SHUFFLED,
    EditStudy,
    Study,
    fit_space,
    study_edits,
)
from noisezoo.analysis.studies import study as base
from noisezoo.analysis.studies.data import Data, Json
from noisezoo.analysis.studies.study import Analysis, Judge, Model, Options, tidy
from noisezoo.errors import UsageError

SHOWN_FACES = 12
MEASURED = (NOISE, ORTHOGONAL, ON_SHELL, OVERLAY, SHUFFLED)
"""Variants that are measured where directions are made in several ways; the last is their null."""


class Editing(base.Study):
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
                record |= _edit(analysis, data, model, options.judge, options)
            analysis.results[self.name][model.view] = record


def _pixels(analysis: Analysis) -> str:
    pixels = next(iter(analysis.of_family("pixels")), None)
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


def _edit(analysis: Analysis, data: Data, model: Model, judge: Judge, options: Options) -> Json:
    """Edits of every attribute asked for, as the judge sees them: strips for the eye, tables for the rest."""
    study = _edit_study(analysis, data, model, judge, options)
    held_out = np.flatnonzero(~data.train)
    faces = {name: _lacking(data, name, held_out) for name in options.edits}
    only_probes = list(options.directions) == [PROBE]
    found = study_edits(study, faces, kinds=options.directions, variants=SHOWN if only_probes else MEASURED)
    analysis.strips[model.view] = [strip for strip in found.strips if strip.kind == PROBE and strip.variant in SHOWN]
    analysis.rows.setdefault("edits", []).extend(tidy(found.records(), view=model.view, judge=judge.view))
    shown = [{"variant": s.variant, **entry} for s in analysis.strips[model.view] for entry in s.records]
    return {"judge": judge.view, **found.settings(), "strips": shown,
            "entanglement": _entanglement(analysis, model.view, found, options)}  # fmt: skip


def _entanglement(analysis: Analysis, view: str, found: EditStudy, options: Options) -> list[Json]:
    """Mean leaks at the largest strength, plain and orthogonalised, with what orthogonalising removed."""
    strength, rows, leaks = max(found.strips[0].strengths), [], []
    for kind in options.directions:
        for variant in (NOISE, ORTHOGONAL, OVERLAY):
            matrix = found.entanglement(kind, variant, strength)
            rows += tidy(matrix.records(), view=view, kind=kind, variant=variant, strength=strength)
            leaks.append({"kind": kind, "variant": variant, "strength": strength, **matrix.mean_leak.to_dict()})
        removed = found.removed(kind, ORTHOGONAL, strength)
        leaks += [{"kind": kind, "variant": "orthogonalised minus plain", "strength": strength, "attribute": name,
                   **interval.to_dict()} for name, interval in removed.items()]  # fmt: skip
    analysis.rows.setdefault("entanglement", []).extend(rows)
    return leaks


def _edit_study(analysis: Analysis, data: Data, model: Model, judge: Judge, options: Options) -> Study:
    pixels, train = _pixels(analysis), data.train
    noise = fit_space(data.matrix(model.view), data.Y, train, basis=data.narrow_basis(model.view))
    pictures, eyes = (fit_space(data.matrix(view), data.Y, train) for view in (pixels, judge.view))
    c, h, w = data.shape(pixels)
    return Study(
        data.names, noise, pictures, eyes.probes, (c, h, w), model.generate, judge.embed, seed=options.seed,
        judge_scale=eyes.logit_scale,
    )  # fmt: skip


def _lacking(data: Data, attribute: str, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The first of `rows` that lack an attribute."""
    if attribute not in data.names:
        raise UsageError(f"cannot edit {attribute!r}; the attributes are: {', '.join(data.names)}")
    return np.asarray(rows[data.Y[rows, data.names.index(attribute)] == 0][:SHOWN_FACES])
