"""The bundled analyses over a loaded dataset: every view beside its controls, collected for the report."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from noisezoo import zoo
from noisezoo.analysis.comparison import compare
from noisezoo.analysis.crossvalidation import ProbeTable, probe_table
from noisezoo.analysis.edit_study import Embed, Generate, Strip, Study, fit_space
from noisezoo.analysis.multinormality import gaussianity
from noisezoo.analysis.verdicts import verdicts
from noisezoo.errors import UsageError
from noisezoo.loading import LABELS, PAIRED, config_names, load, matrix, read_file
from noisezoo.schema import FACTOR_PREFIX, ID, SPLIT

if TYPE_CHECKING:
    from datasets import Dataset

Step = Callable[[str], None]
METRIC = "balanced_accuracy"
SHOWN_FACES = 12
WORKERS = 2
"""Views analysed at once: memory grows with them, and each keeps a core busy."""


@dataclass(frozen=True)
class Model:
    """A generative model to edit through: its view's name, and how it makes pictures of noise rows."""

    view: str
    generate: Generate


@dataclass(frozen=True)
class Judge:
    """An encoder that looks at edited pictures: its view's name, and how it embeds pictures."""

    view: str
    embed: Embed


@dataclass
class Analysis:
    """Everything the report shows: `results` is plain JSON, `strips` and `reconstructions` are pictures in [-1, 1]."""

    results: dict[str, Any]
    tables: dict[str, ProbeTable]
    strips: dict[str, list[Strip]] = field(default_factory=dict)  # view -> strips
    reconstructions: dict[str, NDArray[Any]] = field(
        default_factory=dict
    )  # view -> (2, m, 3, h, w): given, regenerated


def attributes(labels: "Dataset") -> tuple[list[str], NDArray[np.int8]]:
    """Binary attributes of a loaded dataset: yes/no columns, and each class of a class label against the rest.

    Returns:
        Names (k,), and zeros and ones (n, k).
    """
    from datasets import ClassLabel

    names: list[str] = []
    columns: list[NDArray[Any]] = []
    for name, feature in labels.features.items():
        if isinstance(feature, ClassLabel):
            values = np.asarray(labels.data.column(name))
            names += [f"{name}={kind}" for kind in feature.names]
            columns += [values == k for k in range(feature.num_classes)]
        elif getattr(feature, "dtype", None) == "bool" and name not in (ID, SPLIT):
            names.append(name)
            columns.append(np.asarray(labels.data.column(name)))
    if not names:
        raise UsageError("the dataset has no yes/no column and no class label, so there is nothing to probe for")
    return names, np.stack(columns, axis=1).astype(np.int8)


def analyze(
    path_or_repo: str | Path,
    *,
    views: Sequence[str] | None = None,
    revision: str | None = None,
    models: Sequence[Model] = (),
    judge: Judge | None = None,
    edits: Sequence[str] = (),
    seed: int = 42,
    step: Step = lambda text: None,
) -> Analysis:
    """Gaussianity and probes of every view, trained minus untrained, and edits through the models at hand.

    Args:
        path_or_repo: A built folder or a Hub id.
        views: Views to analyse; None for all the dataset has.
        revision: On the Hub.
        models: Generative models to regenerate and edit through; views of the dataset.
        judge: The encoder that judges edits; needed for edits.
        edits: Attributes to edit.
        seed: Of folds, projections, permutations and resamples.
        step: Called with a line of text before each piece of work, for a progress bar.

    Raises:
        UsageError: An unknown dataset, view or attribute, or a dataset without attributes.
    """
    names_here = [name for name in config_names(path_or_repo, revision) if name not in (PAIRED, LABELS)]
    data = _Data(path_or_repo, revision)
    results: dict[str, Any] = {"dataset": _facts(data), "views": [], "gaussianity": {}, "probes": {}, "seed": seed}
    analysis = Analysis(results, {})
    chosen = names_here if views is None else list(views)
    with (
        ThreadPoolExecutor(WORKERS) as pool,
        threadpool_limits(1),
    ):  # one thread of arithmetic each, several views at once
        for view, description in zip(chosen, pool.map(lambda name: _describe(data, name, seed), chosen), strict=True):
            step(view)
            facts, gaussian, analysis.tables[view] = description
            results["views"].append(facts)
            results["gaussianity"][view] = gaussian
            results["probes"][view] = analysis.tables[view].to_dict()
    results["differences"] = differences(analysis.tables, results["views"])
    results["edits"] = {}
    for model in models:
        step(f"pictures through {model.view}")
        _regenerate(analysis, data, model, judge, edits)
    results["verdicts"] = verdicts(results)
    return analysis


class _Data:
    """A dataset read view by view: its labels, attributes and training rows, and one view at a time in full."""

    def __init__(self, path_or_repo: str | Path, revision: str | None) -> None:
        self.path_or_repo, self.revision = path_or_repo, revision
        self.labels = load(path_or_repo, views=[], revision=revision)
        self.names, self.Y = attributes(self.labels)
        self.splits = np.asarray(self.labels.data.column(SPLIT).to_pylist())
        self.train = self.splits == "train"  # (n,)

    def rows(self, view: str) -> "Dataset":
        """Labels and one view."""
        return load(self.path_or_repo, views=[view], revision=self.revision)

    def matrix(self, view: str) -> NDArray[Any]:
        """(n, d) float32."""
        return matrix(self.rows(view), view)

    def shape(self, view: str) -> tuple[int, int, int]:
        """(c, h, w) of an image-like view."""
        c, h, w = self.rows(view).features[view].shape
        return c, h, w


def _describe(data: _Data, view: str, seed: int) -> tuple[dict[str, Any], dict[str, Any], ProbeTable]:
    """One view's facts, Gaussianity and probes."""
    rows = data.rows(view)
    X = matrix(rows, view)
    return (
        _view_facts(view, rows, X),
        gaussianity(X, seed=seed).to_dict(),
        probe_table(X, data.Y, data.names, seed=seed),
    )


def differences(tables: Mapping[str, ProbeTable], views: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each noise view (and each encoder with an untrained twin) minus each of its controls, paired over images."""
    found = []
    for view in views:
        for role, control in _controls(view, views):
            a, b = tables[view["name"]], tables[control]
            if not set(a.names) & set(b.names):  # every attribute was refused; each table says why
                continue
            comparison = compare(a, b, metrics=(METRIC,))
            per_attribute = {
                row["attribute"]: row for row in comparison.to_dict()["rows"] if row["attribute"] != "mean"
            }
            found.append({"view": view["name"], "control": control, "role": role, "metric": METRIC,
                          **comparison.mean[METRIC].to_dict(), "attributes": per_attribute})  # fmt: skip
    return found


def _controls(view: Mapping[str, Any], views: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(role, view) of what a view must be held against: its network before training first."""
    here = {other["name"]: other for other in views}
    own = [("untrained", view["baseline"])] if view["baseline"] in here else []
    if view["kind"] != "noise":
        return own
    return own + [(other["family"], name) for name, other in here.items()
                  if other["kind"] == "control" and not other["untrained"]]  # fmt: skip


def _facts(data: _Data) -> dict[str, Any]:
    splits, counts = np.unique(data.splits, return_counts=True)
    recipe = read_file(data.path_or_repo, "recipe.json", data.revision)
    return {
        "name": Path(data.path_or_repo).name,
        "rows": len(data.labels),
        "splits": {str(split): int(count) for split, count in zip(splits, counts, strict=True)},
        "attributes": data.names,
        "factors": [name for name in data.labels.column_names if name.startswith(FACTOR_PREFIX)],
        "recipe": json.loads(recipe) if recipe else None,
    }


def _view_facts(view: str, rows: "Dataset", X: NDArray[Any]) -> dict[str, Any]:
    row = zoo.ROWS.get(view)
    std = f"{view}.latent_std"
    return {
        "name": view,
        "kind": row.kind if row else "embedding",
        "family": row.family if row else "unknown",
        "untrained": row.untrained if row else False,
        "baseline": row.baseline if row else None,
        "clip_conditioned": row.clip_conditioned if row else None,
        "about": row.about if row else "not in this zoo",
        "n": len(X),
        "d": X.shape[1],
        "latent_std": float(np.mean(rows[std])) if std in rows.column_names else None,
    }


def _regenerate(analysis: Analysis, data: _Data, model: Model, judge: Judge | None, edits: Sequence[str]) -> None:
    """Reconstructions of a model's first held-out rows and, where there is a judge, its edits."""
    pixels = next((v["name"] for v in analysis.results["views"] if v["family"] == "pixels"), None)
    if pixels is None:
        raise UsageError("regenerating needs a pixels view to compare with: add `pixels` to the recipe's views")
    Z, P = data.matrix(model.view), data.matrix(pixels)
    shape = data.shape(pixels)
    held_out = np.flatnonzero(~data.train)
    shown = held_out[:SHOWN_FACES]
    given = P[shown].reshape(-1, *shape)
    made = np.clip(model.generate(Z[shown]), -1, 1)[:, : shape[0]]
    analysis.reconstructions[model.view] = np.stack([given, made])
    error = ((given - made) ** 2).reshape(len(shown), -1).mean(axis=1)
    psnr = 10 * np.log10(4 / np.maximum(error, 1e-12))
    record: dict[str, Any] = {"reconstruction_psnr": [round(float(value), 2) for value in psnr]}
    if judge is not None and edits:
        study = _study(data, model, judge, pixels)
        strips = [strip for name in edits for strip in study.strips(name, _lacking(data, name, held_out))]
        analysis.strips[model.view] = strips
        record["judge"] = judge.view
        record["strips"] = [{"variant": s.variant, **entry} for s in strips for entry in s.records]
    analysis.results["edits"][model.view] = record


def _study(data: _Data, model: Model, judge: Judge, pixels: str) -> Study:
    noise, pictures, eyes = (fit_space(data.matrix(v), data.Y, data.train) for v in (model.view, pixels, judge.view))
    return Study(data.names, noise, pictures, eyes.probes, data.shape(pixels), model.generate, judge.embed)


def _lacking(data: _Data, attribute: str, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The first of `rows` that lack an attribute."""
    if attribute not in data.names:
        raise UsageError(f"cannot edit {attribute!r}; the attributes are: {', '.join(data.names)}")
    return np.asarray(rows[data.Y[rows, data.names.index(attribute)] == 0][:SHOWN_FACES])
