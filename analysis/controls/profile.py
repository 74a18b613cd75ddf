"""Do the attributes that one view reads well also stand out in another view, and more so than in the controls?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Draws, Estimate, Floats, Interval, Result, null_columns, refuse_settings
from noisezoo.analysis.probes import METRICS, ProbeTable, shared_names

_FEWEST = 4
_REPEATS = 0.5  # |phi| from which two attributes are not two pieces of evidence
_EDGE = 1 - 1e-12  # Fisher's z ends here


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One correlation, or a difference of two, with the interval over images and that over attributes too."""

    what: str
    estimate: float
    over_images: Interval  # for these attributes
    over_both: Interval  # for attributes like these
    null_low: float = float("nan")  # 95 % of correlations with attributes permuted
    null_high: float = float("nan")
    p_value: float = float("nan")  # two-sided, against that null


@dataclass(frozen=True, slots=True, eq=False)
class ProfileCorrelation(Result):
    """What `profile_correlation` found."""

    names: tuple[str, ...]  # (k,) attributes
    correlation: ProfileRow  # of a with b
    controls: Mapping[str, ProfileRow]  # control -> its correlation with b
    differences: Mapping[str, ProfileRow]  # control -> the first minus that
    metric: str
    n: int
    draws: Draws
    caveats: tuple[str, ...]
    intervals: str = "low and high: other images and other attributes; images_low and images_high: other images"

    def records(self) -> list[dict[str, Any]]:
        """The correlation, then that of each control, then the difference from each."""
        rows: list[tuple[str, str | None, ProfileRow]] = [("view", None, self.correlation)]
        rows += [("control", name, row) for name, row in self.controls.items()]
        rows += [("difference", name, row) for name, row in self.differences.items()]
        return [
            {"kind": kind, "control": control, "what": row.what, **row.over_both.to_dict(),
             "images_low": row.over_images.low, "images_high": row.over_images.high,
             "null_low": row.null_low, "null_high": row.null_high, "p_value": row.p_value}
            for kind, control, row in rows
        ]  # fmt: skip


def profile_correlation(
    a: ProbeTable,
    b: ProbeTable,
    controls: Mapping[str, ProbeTable],
    *,
    views: tuple[str, str] = ("a", "b"),
    metric: str = "balanced_accuracy",
    n_permutations: int = 10_000,
    seed: int = 42,
) -> ProfileCorrelation:
    """Pearson's correlation over attributes of a's scores with b's, against what the controls reach with b.

    The paper's Figure 3 shows accuracies on noise that follow CLIP's from attribute to attribute. Plain accuracies
    follow each other whatever the views, because both follow the majority rate: hence the balanced accuracy, whose
    chance is 1/2 for every attribute. Some attributes are easier in any view: hence the controls.

    Every correlation has two intervals. Over images: another sample of images, training included, by half-samples
    (`core.halves`), through the correlation's derivatives, paired between all tables. Over both: attributes are a
    sample too, by the jackknife over attributes, which is added; as observed scores hold image noise already, this errs
    towards wide. Correlations are treated on Fisher's z scale (1921), differences as they are; Student's t with
    Satterthwaite's degrees of freedom.

    Attributes whose labels nearly repeat each other are scored alike in every view, by chance too, and are no
    independent evidence: each cluster of them counts once, with its mean score.

    a is the view in question, such as a noise view, b the reference, such as CLIP, and records call them by the names
    in `views`; `controls` are control -> its table: pixels, VAE latent, untrained network. Attributes are permuted
    `n_permutations` times for the null of no correlation.

    Raises:
        ValueError: fewer than 4 attributes in common, a view with equal scores, an unknown metric, or tables of
            different rows, folds, groups, labels or half-samples.
    """
    refuse_settings(n_permutations=n_permutations, seed=seed)
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
    tables = {views[0]: a, views[1]: b, **controls}
    names = shared_names([*tables.values()])
    if len(names) < _FEWEST:
        raise ValueError(f"the tables have {len(names)} attributes in common: a correlation needs {_FEWEST}")
    clusters = _clusters(a.out_of_fold.labels[:, [a.names.index(name) for name in names]])
    scores = _averaged_scores(tables, names, metric, clusters)
    view, reference = (scores.pop(name) for name in views)
    k = int(clusters.max()) + 1
    if k < _FEWEST:
        raise ValueError(f"{len(names)} attributes repeat each other, and count as {k}: a correlation needs {_FEWEST}")
    orders = np.random.default_rng([seed, 5]).permuted(np.tile(np.arange(k), (n_permutations, 1)), axis=1)

    def row(what: str, estimates: list[Estimate], permutations: NDArray[np.intp]) -> ProfileRow:
        return _row(f"{what} with {views[1]}", estimates, reference, permutations, a.draws.confidence)

    controlled = {name: row(name, [e], orders) for name, e in scores.items()}
    differences = {name: row(f"{views[0]} minus {name},", [view, e], orders[:0]) for name, e in scores.items()}
    said = dict.fromkeys(sentence for table in tables.values() for sentence in table.caveats)
    said |= dict.fromkeys(_repeats(names, clusters))
    draws = replace(a.draws, n_folds=0, n_permutations=n_permutations, seed=seed)
    return ProfileCorrelation(
        names, row(views[0], [view], orders), controlled, differences, metric, a.n, draws, tuple(said)
    )


def _clusters(labels: Floats) -> NDArray[np.intp]:
    """Number of the cluster of each attribute of labels (n, k): chains of pairs whose |phi| is at least `_REPEATS`."""
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(np.abs(np.corrcoef(labels.T)) >= _REPEATS)[1], dtype=np.intp)


def _averaged_scores(
    tables: Mapping[str, ProbeTable], names: tuple[str, ...], metric: str, clusters: NDArray[np.intp]
) -> dict[str, Estimate]:
    """Scores of each table, the mean over each cluster's attributes; ValueError where one's are all equal."""
    within = clusters[:, None] == np.arange(clusters.max() + 1)
    weights = within / within.sum(axis=0)  # (k, clusters)
    found = {name: table.estimate(metric, names) for name, table in tables.items()}
    for name, e in found.items():
        if np.ptp(e.value[0]) == 0:
            raise ValueError(f"{name} has the same {metric} for every attribute: there is nothing to correlate")
    return {n: Estimate(e.value @ weights, e.influence @ weights.astype(np.float32)) for n, e in found.items()}


def _repeats(names: Sequence[str], clusters: NDArray[np.intp]) -> list[str]:
    members = [[name for name, its in zip(names, clusters, strict=True) if its == c] for c in np.unique(clusters)]
    listed = "; ".join(", ".join(several) for several in members if len(several) > 1)
    text = f"attributes whose labels nearly repeat each other (|phi| of {_REPEATS:g} or more) count as one: {listed}"
    return [text] * bool(listed)


def _row(
    what: str, estimates: list[Estimate], reference: Estimate, permutations: NDArray[np.intp], confidence: float
) -> ProfileRow:
    """The correlation of an estimate with the reference, on Fisher's z scale; of two, the first's less the second's."""
    p, q, signs = [e.value[0] for e in estimates], reference.value[0], (1, -1)
    scale, back = (_fisher, np.tanh) if len(p) == 1 else (float, lambda r: np.clip(r, -2, 2))

    def contrast(kept: NDArray[np.bool_] | slice = slice(None)) -> float:
        return float(sum(sign * _gradient(each[kept], q[kept])[0] for sign, each in zip(signs, p, strict=False)))

    influence = reference.combine(np.zeros(len(q)))
    for sign, e in zip(signs, estimates, strict=False):
        _, by_p, by_q = _gradient(e.value[0], q)
        influence += e.combine(sign * by_p) + reference.combine(sign * by_q)
    r = contrast()
    stretch = 1 / (1 - min(r * r, _EDGE)) if len(p) == 1 else 1.0  # dz / dr
    attributes = _jackknife(lambda kept: scale(contrast(kept)), len(q))
    reaches = _reaches(influence.variance()[0] * stretch**2, attributes, len(reference.value) - 1, len(q), confidence)
    over = [Interval(r, float(back(scale(r) - t)), float(back(scale(r) + t))) for t in reaches]
    null = _unit(p[0])[permutations] @ _unit(q)
    p_value = (1 + (np.abs(null) >= abs(r) - 1e-12).sum()) / (1 + len(null)) if len(null) else np.nan
    _, low, high = null_columns(null, 0.025).values()
    return ProfileRow(what, r, over[0], over[1], low, high, float(p_value))


def _unit(p: Floats) -> Floats:
    centred = p - p.mean()
    return np.asarray(centred / np.linalg.norm(centred))


def _gradient(p: Floats, q: Floats) -> tuple[float, Floats, Floats]:
    """Pearson's correlation of p (k,) with q (k,), and its derivatives by each."""
    u, v = _unit(p), _unit(q)
    r = float(u @ v)
    return r, (v - r * u) / np.linalg.norm(p - p.mean()), (u - r * v) / np.linalg.norm(q - q.mean())


def _fisher(r: float) -> float:
    return float(np.arctanh(np.clip(r, -_EDGE, _EDGE)))


def _jackknife(statistic: Callable[[NDArray[np.bool_]], float], k: int) -> float:
    """Variance of a statistic of k attributes, each left out once."""
    without = np.array([statistic(kept) for kept in ~np.eye(k, dtype=np.bool_)])
    return float((k - 1) * without.var())


def _reaches(images: float, attributes: float, n_splits: int, k: int, confidence: float) -> tuple[float, float]:
    """Half the width of Student's interval over images, and over images and attributes (Satterthwaite 1946)."""
    from scipy.special import stdtrit

    total = images + attributes
    freedom = max(total**2 / max(images**2 / n_splits + attributes**2 / (k - 1), 1e-300), 1.0)
    level = (1 + confidence) / 2
    return float(stdtrit(n_splits, level) * np.sqrt(images)), float(stdtrit(freedom, level) * np.sqrt(total))
