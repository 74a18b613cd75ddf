"""The bundled analyses over a loaded dataset: every view beside its controls, collected for the report."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from noisezoo import zoo
from noisezoo.analysis.comparison import compare
from noisezoo.analysis.crossvalidation import ProbeTable, probe_table
from noisezoo.analysis.edit_study import Embed, Generate, Strip, edit_study, fit_space
from noisezoo.analysis.multinormality import gaussianity
from noisezoo.analysis.verdicts import verdicts
from noisezoo.errors import UsageError
from noisezoo.loading import LABELS, PAIRED, config_names, load, matrix, read_file
from noisezoo.schema import FACTOR_PREFIX, ID, SPLIT

if TYPE_CHECKING:
    from datasets import Dataset

Step = Callable[[str], None]
METRIC = "balanced_accuracy"
EDITED_FACES = 16
STRENGTHS = (0.0, 1.0, 2.0, 4.0)


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
    chosen = list(views) if views is not None else names_here
    labels = load(path_or_repo, views=[], revision=revision)
    names, Y = attributes(labels)
    results: dict[str, Any] = {"dataset": _facts(path_or_repo, revision, labels, names), "views": [], "gaussianity": {},
                               "probes": {}, "seed": seed}  # fmt: skip
    analysis = Analysis(results, {})
    for view in chosen:
        step(view)
        rows = load(path_or_repo, views=[view], revision=revision)
        X = matrix(rows, view)
        results["views"].append(_view_facts(view, rows, X))
        results["gaussianity"][view] = gaussianity(X, seed=seed).to_dict()
        analysis.tables[view] = probe_table(X, Y, names, seed=seed)
        results["probes"][view] = analysis.tables[view].to_dict()
    results["differences"] = differences(analysis.tables, results["views"])
    results["edits"] = {}
    for model in models:
        step(f"edits through {model.view}")
        _regenerate(analysis, path_or_repo, revision, labels, names, Y, model, judge, edits)
    results["verdicts"] = verdicts(results)
    return analysis


def differences(tables: Mapping[str, ProbeTable], views: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each noise view (and each encoder with an untrained twin) minus each of its controls, paired over images."""
    found = []
    for view in views:
        for role, control in _controls(view, views):
            comparison = compare(tables[view["name"]], tables[control], metrics=(METRIC,))
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


def _facts(path_or_repo: str | Path, revision: str | None, labels: "Dataset", names: list[str]) -> dict[str, Any]:
    splits, counts = np.unique(np.asarray(labels.data.column(SPLIT).to_pylist()), return_counts=True)
    recipe = read_file(path_or_repo, "recipe.json", revision)
    return {
        "name": Path(path_or_repo).name,
        "rows": len(labels),
        "splits": {str(split): int(count) for split, count in zip(splits, counts, strict=True)},
        "attributes": names,
        "factors": [name for name in labels.column_names if name.startswith(FACTOR_PREFIX)],
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


def _regenerate(
    analysis: Analysis, path_or_repo: str | Path, revision: str | None, labels: "Dataset", names: list[str],
    Y: NDArray[np.int8], model: Model, judge: Judge | None, edits: Sequence[str],
) -> None:  # fmt: skip
    """Reconstructions of a model's first held-out rows, and its edits where there is a judge and there are pictures."""
    pixels = next((v["name"] for v in analysis.results["views"] if v["family"] == "pixels"), None)
    if pixels is None:
        raise UsageError("regenerating needs a pixels view to compare with: add `pixels` to the recipe's views")
    rows = load(path_or_repo, views=[model.view, pixels], revision=revision)
    Z, P = matrix(rows, model.view), matrix(rows, pixels)
    shape = rows.features[pixels].shape
    train = np.asarray(labels.data.column(SPLIT).to_pylist()) == "train"
    held_out = np.flatnonzero(~train)
    shown = held_out[:EDITED_FACES]
    given = P[shown].reshape(-1, *shape)
    made = np.clip(model.generate(Z[shown]), -1, 1)[:, : shape[0]]
    analysis.reconstructions[model.view] = np.stack([given, made])
    error = ((given - made) ** 2).reshape(len(shown), -1).mean(axis=1)
    psnr = 10 * np.log10(4 / np.maximum(error, 1e-12))
    record: dict[str, Any] = {"reconstruction_psnr": [round(float(value), 2) for value in psnr]}
    if judge is not None and edits:
        unknown = [name for name in edits if name not in names]
        if unknown:
            raise UsageError(f"cannot edit {unknown[0]!r}; the attributes are: {', '.join(names)}")
        J = matrix(load(path_or_repo, views=[judge.view], revision=revision), judge.view)
        spaces = {name: fit_space(name, X, Y, train) for name, X in ((model.view, Z), (pixels, P), (judge.view, J))}
        faces = {name: held_out[Y[held_out, names.index(name)] == 0][:EDITED_FACES] for name in edits}
        strips = edit_study(
            edits, names, noise=spaces[model.view], pixels=spaces[pixels], judge=spaces[judge.view], faces=faces,
            train=train, picture_shape=shape, generate=model.generate, embed=judge.embed, strengths=STRENGTHS,
        )  # fmt: skip
        analysis.strips[model.view] = strips
        record["judge"] = judge.view
        record["strips"] = [{"variant": s.variant, **entry} for s in strips for entry in s.records]
    analysis.results["edits"][model.view] = record
