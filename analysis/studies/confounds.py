"""What else could explain the findings: structure left in the noise, CLIP's text, a planted correlation."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.controls import (
    NoiseStructure,
    SpuriousShift,
    difference_of_differences,
    noise_structure,
    spurious_shift,
)
from noisezoo.analysis.studies.data import Data, Json
from noisezoo.analysis.studies.probing import METRIC
from noisezoo.analysis.studies.study import Analysis, Options, Study, side_by_side, tidy

FEWEST = 10
"""Rows of each of the four kinds that a test of a planted correlation needs."""


class Structure(Study):
    """What inversion leaves of the picture in each noise view and its untrained twin, against iid noise."""

    name = "structure"
    about = "what is left of the picture in the noise"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view and statistic; nothing where the dataset has no pixels to compare with."""
        pictures = next(iter(analysis.of_family("pixels")), None)
        views = [view for view in analysis.noise_and_twins if _is_large_enough(data.shape(view))]
        if pictures is None or not views:
            return
        images = data.matrix(pictures).reshape(-1, *data.shape(pictures))

        def examined(view: str) -> NoiseStructure:
            c, h, w = data.shape(view)
            return noise_structure(data.stored(view), images, (c, h, w), groups=data.groups, seed=options.seed)

        found = dict(zip(views, side_by_side(examined, views), strict=True))
        rows = [row for view, one in found.items() for row in tidy(one.records(), view=view)]
        analysis.results[self.name] = {**next(iter(found.values())).settings(), "rows": rows}
        analysis.rows[self.name] = rows


class Conditioning(Study):
    """Trained minus untrained of every CLIP-conditioned noise view, minus the same of every unconditional one."""

    name = "conditioning"
    about = "CLIP-conditioned against unconditional models"
    needs = ("probes",)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by pair, attribute and metric; nothing where the dataset lacks either kind or a twin."""
        rows: list[Json] = []
        for conditioned, unconditional in _conditioned_pairs(analysis):
            a, b = ((analysis.tables[v["name"]], analysis.tables[v["baseline"]]) for v in (conditioned, unconditional))
            if all(set(a[0].names) & set(table.names) for table in (*a, *b)):
                names = {"conditioned": conditioned["name"], "unconditional": unconditional["name"]}
                rows += tidy(difference_of_differences(a, b, metrics=(METRIC,)).records(), **names)
        if rows:
            analysis.results[self.name] = {"rows": [row for row in rows if row["attribute"] == "mean"]}
            analysis.rows[self.name] = rows


class Spurious(Study):
    """Two attributes that correlate in the training rows: what an edit of one does to the other where they do not.

    The pair is the one that the recipe planted, or the pair that correlates most in the labels.
    """

    name = "spurious"
    about = "a spurious correlation, and whether orthogonalisation removes it"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, kind of direction and what was taken out of it; a caveat where no rows can tell."""
        pair, planted = _pair(data, analysis)
        if pair is None:
            return
        a, b = (data.names.index(name) for name in pair)
        Y = data.Y[:, [a, b]]
        test = _balanced(Y, ~data.train, options.seed)
        said = {"attribute": pair[0], "planted": pair[1], "by_recipe": planted}
        train = np.intersect1d(np.flatnonzero(data.train), data.part(options.effort.max_rows, options.seed).rows)
        few = "held-out" if test is None else "training" if _rarest(Y[train]) < FEWEST else ""
        if test is None or few:
            reason = f"fewer than {FEWEST} {few} rows with {pair[0]} and {pair[1]} each present and absent"
            analysis.results[self.name] = {**said, "rows": [], "caveats": [reason]}
            return
        views = [*analysis.noise_and_twins, *analysis.of_family("pixels"), *analysis.encoders[:1]]

        def shifted(view: str) -> SpuriousShift:
            X, groups = data.features(view), data.groups
            both: Json = {} if groups is None else {"groups": groups[train], "groups_test": groups[test]}
            return spurious_shift(X[train], Y[train], X[test], Y[test], names=pair, seed=options.seed, **both)

        found = dict(zip(views, side_by_side(shifted, views), strict=True))
        rows = [row for view, one in found.items() for row in tidy(one.records(), view=view)]
        settings = next(iter(found.values())).settings()
        if len(train) < data.train.sum():
            settings["caveats"].append(f"trained on {len(train)} of {data.train.sum()} images of the training split")
        analysis.results[self.name] = {**said, **settings, "rows": rows}
        analysis.rows[self.name] = rows


def _is_large_enough(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[1:]) >= 4


def _conditioned_pairs(analysis: Analysis) -> Iterator[tuple[Json, Json]]:
    here = {view["name"] for view in analysis.views}
    noise = [view for view in analysis.noise if view["baseline"] in here]
    for conditioned in (view for view in noise if view["clip_conditioned"] is True):
        yield from ((conditioned, view) for view in noise if view["clip_conditioned"] is False)


def _pair(data: Data, analysis: Analysis) -> tuple[tuple[str, str] | None, bool]:
    """The two attributes, and whether the recipe planted their correlation."""
    recipe = analysis.results["dataset"]["recipe"] or {}
    for planted in recipe.get("source", {}).get("options", {}).get("correlations", ()):
        if planted["first"] in data.names and planted["second"] in data.names:
            return (planted["first"], planted["second"]), True
    varies = np.flatnonzero(data.Y[data.train].std(axis=0) > 0)
    exclusive = {(i, j) for i in varies for j in varies if _one_label(data.names[i], data.names[j])}
    if len(varies) < 2:
        return None, False
    R = np.abs(np.corrcoef(data.Y[data.train][:, varies].T.astype(np.float64)))
    allowed = np.array([[bool(i < j and (i, j) not in exclusive) for j in varies] for i in varies])
    R = np.where(allowed, R, 0.0)
    i, j = np.unravel_index(int(R.argmax()), R.shape)
    return ((data.names[varies[i]], data.names[varies[j]]), False) if R[i, j] > 0 else (None, False)


def _one_label(first: str, second: str) -> bool:
    """Whether two attributes are classes of one label, of which never both hold."""
    return "=" in first and first.partition("=")[0] == second.partition("=")[0]


def _rarest(Y: NDArray[np.int8]) -> int:
    """Rows of the rarest class of any attribute of Y (n, k): halves of fewer might hold none."""
    yes = Y.sum(axis=0, dtype=np.int64)
    return int(min(yes.min(), (len(Y) - yes).min()))


def _balanced(Y: NDArray[np.int8], held_out: NDArray[np.bool_], seed: int) -> NDArray[np.intp] | None:
    """Held-out rows in which the two attributes of Y (n, 2) are independent: as many of each of the four kinds."""
    kinds = [np.flatnonzero(held_out & (Y[:, 0] == a) & (Y[:, 1] == b)) for a in (0, 1) for b in (0, 1)]
    each = min(map(len, kinds))
    if each < FEWEST:
        return None
    rng = np.random.default_rng([seed, 11])
    return np.sort(np.concatenate([rng.permutation(rows)[:each] for rows in kinds]))
