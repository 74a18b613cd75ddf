"""Do the attributes that one view reads well also stand out in another view, and more so than in the controls?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Draws, Estimate, Floats, Interval, Result, refuse_settings
from noisezoo.analysis.probes import METRICS, ProbeTable, refuse_different_rows

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

    Args:
        a: the view in question, such as a noise view.
        b: the reference, such as CLIP.
        controls: control -> its table; pixels, VAE latent, untrained network.
        views: names of a and b in the records.
        metric: one of METRICS.
        n_permutations: of attributes, for the null of no correlation.
        seed: of the permutations.

    Raises:
        ValueError: fewer than 4 attributes in common, a view with equal scores, an unknown metric, or tables of
            different rows, folds, groups, labels or half-samples.
    """
    refuse_settings(n_permutations=n_permutations, seed=seed)
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
    names = tuple(name for name in a.names if all(name in table.names for table in (b, *controls.values())))
    if len(names) < _FEWEST:
        raise ValueError(f"the tables have {len(names)} attributes in common: a correlation needs {_FEWEST}")
    for table in (b, *controls.values()):
        refuse_different_rows(a, table, names)
    scores = {name: table.estimate(metric, names) for name, table in
              ((views[0], a), *controls.items(), (views[1], b))}  # fmt: skip
    for name, e in scores.items():
        if np.ptp(e.value[0]) == 0:
            raise ValueError(f"{name} has the same {metric} for every attribute: there is nothing to correlate")
    labels = a.out_of_fold.labels[:, [a.names.index(name) for name in names]]
    clusters = _clusters(labels)
    scores = {name: _averaged(e, clusters) for name, e in scores.items()}
    n_clusters = int(clusters.max()) + 1
    if n_clusters < _FEWEST:
        raise ValueError(f"the {len(names)} attributes repeat each other, and count as {n_clusters}: a correlation "
                         f"needs {_FEWEST}")  # fmt: skip
    reference, null = scores[views[1]], _permutations(n_clusters, n_permutations, seed)
    rows = {name: _correlation(f"{name} with {views[1]}", scores[name], reference, null, a.draws.confidence)
            for name in (views[0], *controls)}  # fmt: skip
    differences = {name: _difference(f"{views[0]} minus {name}, with {views[1]}", scores[views[0]], scores[name],
                                     reference, a.draws.confidence) for name in controls}  # fmt: skip
    said = dict.fromkeys(sentence for table in (a, b, *controls.values()) for sentence in table.caveats)
    said |= dict.fromkeys(_repeats(names, clusters))
    draws = replace(a.draws, n_folds=0, n_permutations=n_permutations, seed=seed)
    return ProfileCorrelation(names, rows.pop(views[0]), rows, differences, metric, a.n, draws, tuple(said))


def _clusters(labels: Floats) -> NDArray[np.intp]:
    """Number of the cluster of each attribute of labels (n, k): chains of pairs whose |phi| is at least `_REPEATS`."""
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(np.abs(np.corrcoef(labels.T)) >= _REPEATS)[1], dtype=np.intp)


def _averaged(e: Estimate, clusters: NDArray[np.intp]) -> Estimate:
    """The mean over each cluster's attributes."""
    within = clusters[:, None] == np.arange(clusters.max() + 1)
    weights = within / within.sum(axis=0)  # (k, clusters)
    return Estimate(e.value @ weights, e.influence @ weights.astype(np.float32))


def _repeats(names: Sequence[str], clusters: NDArray[np.intp]) -> list[str]:
    members = [[name for name, its in zip(names, clusters, strict=True) if its == c] for c in np.unique(clusters)]
    listed = "; ".join(", ".join(several) for several in members if len(several) > 1)
    text = f"attributes whose labels nearly repeat each other (|phi| of {_REPEATS:g} or more) count as one: {listed}"
    return [text] * bool(listed)


def _permutations(k: int, times: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, 5]).permuted(np.tile(np.arange(k), (times, 1)), axis=1)


def _correlation(
    what: str, e: Estimate, reference: Estimate, permutations: NDArray[np.intp], confidence: float
) -> ProfileRow:
    p, q = e.value[0], reference.value[0]
    r, by_p, by_q = _gradient(p, q)
    stretch = 1 / (1 - min(r * r, _EDGE))  # dz / dr
    images = (e.combine(by_p) + reference.combine(by_q)).variance()[0] * stretch**2
    attributes = _jackknife(lambda kept: _fisher(_gradient(p[kept], q[kept])[0]), len(p))
    reaches = _reaches(images, attributes, len(e.value) - 1, len(p), confidence)
    over = [Interval(r, float(np.tanh(_fisher(r) - t)), float(np.tanh(_fisher(r) + t))) for t in reaches]
    null = (_unit(p)[permutations] @ _unit(q)) if len(permutations) else np.full(1, np.nan)
    low, high = np.quantile(null, [0.025, 0.975])
    p_value = (1 + (np.abs(null) >= abs(r) - 1e-12).sum()) / (1 + len(null)) if len(permutations) else np.nan
    return ProfileRow(what, r, over[0], over[1], float(low), float(high), float(p_value))


def _difference(what: str, e: Estimate, other: Estimate, reference: Estimate, confidence: float) -> ProfileRow:
    p, o, q = (estimate.value[0] for estimate in (e, other, reference))
    (r, by_p, by_q), (s, by_o, also_by_q) = _gradient(p, q), _gradient(o, q)
    images = (e.combine(by_p) + other.combine(-by_o) + reference.combine(by_q - also_by_q)).variance()[0]
    attributes = _jackknife(lambda kept: _gradient(p[kept], q[kept])[0] - _gradient(o[kept], q[kept])[0], len(p))
    reaches = _reaches(images, attributes, len(e.value) - 1, len(p), confidence)
    over = [Interval(r - s, max(r - s - t, -2.0), min(r - s + t, 2.0)) for t in reaches]
    return ProfileRow(what, r - s, over[0], over[1])


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
