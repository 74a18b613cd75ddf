"""Pictures regenerated through the models at hand, and their edits."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from statistics import median
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from noisezoo.analysis.controls import area_means
from noisezoo.analysis.core import plain
from noisezoo.analysis.edits import (
    AT_NORM,
    MAKERS,
    MEAN,
    NOISE,
    ORTHOGONAL,
    OVERLAY,
    PROBE,
    SHOWN,
    EditStudy,
    Experiment,
    Strip,
    fit_space,
    study_edits,
)
from noisezoo.analysis.figures import curves, line, tile
from noisezoo.errors import UsageError
from .claims import Claim, Evidence, Json, over
from .data import Data
from .study import Analysis, Judge, Model, Options, Page, Study, register_study, tidy

SHOWN_FACES = 12
FACES_ON_PAGE, FACES_ABREAST = 6, 3
FACE_SIDE, PAIR_SIDE = 64, 96  # pixels on the page
MEASURED = (NOISE, ORTHOGONAL, AT_NORM, OVERLAY)
"""Variants that are measured where directions are made in several ways."""
CLEANER = "pixel overlay minus noise"
STYLES = {NOISE: ("noise", "-"), ORTHOGONAL: ("noise-2", "--"), OVERLAY: ("control", ":")}
"""Variant -> colour and dash, in the order of the page: the overlay lies directly under the noise's edits."""
RESPONSES = {"judged": "Judge encoder’s probability of {}, %", "collateral": "Other attributes that flip, %"}


def edits_work(results: Json) -> Iterator[Evidence]:
    """Change of the edited attribute, as another view sees it, over that of directions of shuffled labels."""
    for view, record in results.get("edits", {}).items():
        strips = [strip for strip in record.get("strips", ()) if strip["variant"] == NOISE]
        last = {strip["attribute"]: strip for strip in strips}  # strengths rise
        for attribute, strip in last.items():
            what = f"{attribute} at strength {strip['strength']:g}, {record['unit']}"
            above = over(strip["target"], strip["target"]["null"])
            yield Evidence.of(view, what, "directions of shuffled labels", above)


def edits_are_clean(results: Json) -> Iterator[Evidence]:
    """Entanglement of a pixel overlay less that of the edited noise, over the attributes that both move."""
    for view, record in results.get("edits", {}).items():
        for row in record.get("entanglement", ()):
            if (row["variant"], row.get("attribute")) == (CLEANER, MEAN) and row["estimate"] is not None:
                what = f"change of other attributes, {row['kind']}"
                yield Evidence.of(view, what, "a pixel overlay's", row)


@register_study
class Editing(Study):
    """Reconstructions of each model's first held-out rows and, where there is a judge, its edits."""

    name = "edits"
    about = "pictures through the models at hand"
    place = 140
    reads = ("models", "judge", "edits", "directions")
    methods = (
        "Edits move a picture's noise along a direction of an attribute and regenerate it; an encoder that did "
        "not make the direction reads the result, which is held against the same direction added to the pixels."
    )
    weight = 6.0
    claims = (
        Claim("Edits work", "a probe's normal moves its attribute", "Figures 4, 5", edits_work),
        Claim("Edits are clean", "they change less else than a pixel overlay does", "objection", edits_are_clean),
    )

    def lacks(self, analysis: Analysis, options: Options) -> str:
        """A generative model, which raises UsageError where the dataset has no pictures to compare with."""
        if not options.models:
            return "--model VIEW"
        if not analysis.of_family("pixels"):
            raise UsageError(
                "regenerating needs a pixels view to compare with: add `pixels` to the recipe's views, or say where "
                "the pictures are, as in --source celeba:PATH"
            )
        return ""

    def check(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Models and judge are views of the dataset, edits its attributes, directions known."""
        judge = [options.judge.view] if options.judge else []
        _refuse_unknown("--model", [model.view for model in options.models], analysis.names("noise"), "noise views")
        _refuse_unknown("--judge", judge, analysis.names("embedding"), "embeddings")
        _refuse_unknown("--edit", options.edits, data.names, "attributes")
        _refuse_unknown("--directions", options.directions, list(MAKERS), "kinds of direction")
        if options.edits and not (options.models and judge):
            raise UsageError("--edit needs --model, the noise to edit, and --judge, the encoder that sees the result")

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`edits` by model."""
        analysis.results[self.name] = {}
        for model in options.models:
            options.step(f"pictures through {model.view}")
            record = _regenerate(analysis, data, model)
            if options.judge is not None and options.edits:
                record |= _edit(analysis, data, model, options.judge, options, record["size"])
            analysis.results[self.name][model.view] = record

    def exhibit(self, page: Page) -> Json:
        """Strips of edited pictures with what the judge saw, and pairs of pictures given and regenerated."""
        edited = {view: strips for view, strips in page.analysis.strips.items() if strips}
        made = {view: pictures for view, pictures in page.analysis.reconstructions.items() if pictures.shape[1]}
        records = page.results[self.name]
        return {"edits": [_edits(page.name, view, records[view]["judge"], strips) for view, strips in edited.items()],
                "reconstructions": [_pairs(view, records[view]["reconstruction_psnr"], pictures)
                                    for view, pictures in made.items()]}  # fmt: skip


def _refuse_unknown(option: str, names: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"{option} {name}: {hint}the dataset's {what} are: {', '.join(known) or 'none'}")


def _regenerate(analysis: Analysis, data: Data, model: Model) -> Json:
    """Pictures given and regenerated, both averaged down to the smaller size of the two."""
    pixels = analysis.of_family("pixels")[0]
    c, h, w = data.shape(pixels)
    shown = np.flatnonzero(~data.train)[:SHOWN_FACES]
    given = data.matrix(pixels)[shown].reshape(-1, c, h, w)
    made = np.clip(model.generate(data.matrix(model.view)[shown]), -1, 1)[:, :c]
    size = (min(h, made.shape[2]), min(w, made.shape[3]))
    given = _at(size, given)
    made = np.broadcast_to(_at(size, made), given.shape)  # one channel stands for three
    analysis.reconstructions[model.view] = np.stack([given, made])
    error = ((given - made) ** 2).reshape(len(shown), -1).mean(axis=1)
    psnr = 10 * np.log10(4 / np.maximum(error, 1e-12))
    return {"reconstruction_psnr": [round(float(value), 2) for value in psnr], "size": size}


def _at(size: tuple[int, int], pictures: NDArray[Any]) -> NDArray[Any]:
    """Pictures (m, c, H, W) averaged down to a size (h, w); as they are where they have it."""
    return pictures if pictures.shape[2:] == size else area_means(pictures, size).astype(pictures.dtype)


def _edit(
    analysis: Analysis, data: Data, model: Model, judge: Judge, options: Options, size: tuple[int, int]
) -> Json:  # fmt: skip
    """Edits of every attribute asked for, as the judge sees them: strips for the eye, tables for the rest."""
    experiment = _experiment(analysis, data, model, judge, options, size)
    faces = {name: _lacking(data, name, options.seed) for name in options.edits}
    lost = {name: experiment.refused[name] for name in faces if name in experiment.refused}
    lost |= {name: "fewer than two held-out identities lack it" for name, rows in faces.items()
             if len(np.unique(experiment.units[rows])) < 2}  # fmt: skip
    faces = {name: rows for name, rows in faces.items() if name not in lost}
    said = {"judge": judge.view, "caveats": [f"{name} is not edited: {why}" for name, why in lost.items()]}
    if not faces:
        return said
    only_probes = list(options.directions) == [PROBE]
    found = study_edits(experiment, faces, kinds=options.directions, variants=SHOWN if only_probes else MEASURED)
    analysis.strips[model.view] = [strip for strip in found.strips if strip.kind == PROBE and strip.variant in SHOWN]
    analysis.rows.setdefault("edits", []).extend(tidy(found.records(), view=model.view, judge=judge.view))
    shown = [plain({"variant": s.variant, **entry}) for s in analysis.strips[model.view] for entry in s.records]
    return {**found.settings(), **said, "strips": shown,
            "entanglement": _entanglement(analysis, model.view, found, options)}  # fmt: skip


def _entanglement(analysis: Analysis, view: str, found: EditStudy, options: Options) -> list[Json]:
    """Mean entanglement at the largest strength; what orthogonalising removes, and what an overlay has more."""
    strength, rows, means = max(found.strips[0].strengths), [], []
    for kind in options.directions:
        facts = {"kind": kind, "strength": strength}
        for variant in (NOISE, ORTHOGONAL, OVERLAY):
            matrix = found.entanglement(kind, variant, strength)
            rows += tidy(matrix.records(), view=view, kind=kind, variant=variant, strength=strength)
            means.append({**facts, "variant": variant, **matrix.mean.to_dict()})
        for named, variant in (("orthogonalised minus plain", ORTHOGONAL), (CLEANER, OVERLAY)):
            means += [{**facts, "variant": named, "attribute": name, **interval.to_dict()}
                      for name, interval in found.removed(kind, variant, strength).items()]  # fmt: skip
    analysis.rows.setdefault("entanglement", []).extend(rows)
    return means


def _experiment(
    analysis: Analysis, data: Data, model: Model, judge: Judge, options: Options, size: tuple[int, int]
) -> Experiment:  # fmt: skip
    """The judge sees every picture, edited in noise or in pixels, at one size."""
    pixels, train = analysis.of_family("pixels")[0], data.train
    noise = fit_space(data.matrix(model.view), data.Y, train, basis=data.narrow_basis(model.view))
    pictures, eyes = (fit_space(data.matrix(view), data.Y, train) for view in (pixels, judge.view))
    c, h, w = data.shape(pixels)
    return Experiment(
        data.names, noise, pictures, eyes, (c, h, w), model.generate,
        lambda images: judge.embed(_at(size, images)), groups=data.groups,
        n_permutations=options.effort.n_permutations, n_splits=options.effort.few_splits, seed=options.seed,
    )  # fmt: skip


def _lacking(data: Data, attribute: str, seed: int) -> NDArray[np.intp]:
    """Held-out rows that lack an attribute, of identities that no training row has, drawn by the seed, in order."""
    known = data.train if data.groups is None else np.isin(data.groups, data.groups[data.train])
    lacking = np.flatnonzero(~known & (data.Y[:, data.names.index(attribute)] == 0))
    drawn = np.random.default_rng([seed, 6]).choice(lacking, min(SHOWN_FACES, len(lacking)), replace=False)
    return np.sort(drawn)


def _edits(dataset: str, view: str, judge: str, strips: Sequence[Strip]) -> Json:
    names = dict.fromkeys(strip.attribute for strip in strips)
    return {"view": view, "judge": judge, "attributes": [
        _attribute(f"through {view}, {dataset}", name, [s for s in strips if s.attribute == name]) for name in names
    ]}  # fmt: skip


def _attribute(where: str, attribute: str, strips: Sequence[Strip]) -> Json:
    if OVERLAY not in {strip.variant for strip in strips}:
        raise ValueError(f"the edit of {attribute!r} {where.partition(',')[0]} has no pixel overlay to be held against")
    ordered = sorted(strips, key=lambda strip: list(STYLES).index(strip.variant))
    rows = [{"variant": s.variant, "is_overlay": s.variant == OVERLAY, "against": s.against,
             "records": plain(s.records), "faces": s.images.shape[1], "shown": min(FACES_ON_PAGE, s.images.shape[1]),
             "pictures": [tile(faces[:FACES_ON_PAGE], FACES_ABREAST, side=FACE_SIDE) for faces in s.images]}
            for s in ordered]  # fmt: skip
    charts = [_response(where, attribute, ordered, key, title) for key, title in RESPONSES.items()]
    return {"attribute": attribute, "strengths": ordered[0].strengths, "rows": rows, "charts": charts}


def _response(where: str, attribute: str, strips: Sequence[Strip], key: str, title: str) -> Markup:
    named = title.format(attribute.replace("_", " "))
    alt = f"{named}, by strength of the edit of {attribute} {where}; the numbers are in the table below"
    drawn = [line(s.variant.replace("orthogonalised", "orthog."),
                  [{"strength": record["strength"], "n": s.images.shape[1], **record[key]} for record in s.records],
                  *STYLES[s.variant], x="strength", scale=100) for s in strips]  # fmt: skip
    return curves(f"edit-{attribute}-{key}-{where.partition(',')[0]}", alt, drawn, title=named,
                  xlabel="strength, projected standard deviations", level=0.0)  # fmt: skip


def _pairs(view: str, psnr: Sequence[float], pictures: NDArray[Any]) -> Json:
    """Pairs of a picture given and regenerated, from (2, m, c, h, w), with the PSNR of each."""
    pairs = [tile(pictures[:, k], 1, side=PAIR_SIDE) for k in range(pictures.shape[1])]
    return {"view": view, "psnr": psnr, "median": median(psnr), "pairs": list(zip(pairs, psnr, strict=True))}
