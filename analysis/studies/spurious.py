"""Two attributes that correlate in the training rows: what an edit of one does to the other where they do not."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.controls import REDUCED, SpuriousShift, spurious_shift
from noisezoo.analysis.core import units_of, units_with
from .claims import Claim, Evidence, Json, noise_views, rows_of
from .data import Data, spread
from .study import Analysis, Options, Study, register_study

FEWEST = 10
"""Rows of each of the four kinds that a test of a planted correlation needs."""


def orthogonalising_disentangles(results: Json) -> Iterator[Evidence]:
    """By how much the absolute shift of a correlated attribute falls when that attribute is taken out."""
    for row in rows_of(results, "spurious", asked="edit", treatment=REDUCED):
        if row["view"] in noise_views(results):
            what = "fall of the shift of {planted} by an edit of {attribute}, {kind}"
            yield Evidence.of(row["view"], what.format(**{**results["spurious"], **row}), "the plain edit", row)


@register_study
class Spurious(Study):
    """A planted correlation, and whether orthogonalisation removes it.

    The pair is the one that the recipe planted, or the pair that correlates most in the labels.
    """

    name = "spurious"
    about = "a spurious correlation, and whether orthogonalisation removes it"
    place = 120
    weight = 0.5
    claims = (
        Claim("Orthogonalising disentangles", "an attribute is taken out", "Figure 5", orthogonalising_disentangles),
    )

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view, kind of direction and what was taken out of it; a caveat where no rows can tell."""
        pair, planted = _pair(data, analysis)
        if pair is None:
            analysis.record(self.name, {}, caveats=["no two attributes vary and correlate in the training rows"])
            return
        Y = data.Y[:, [data.names.index(name) for name in pair]]
        test = _balanced(Y, ~data.train, options.seed)
        said: Json = {"attribute": pair[0], "planted": pair[1], "by_recipe": planted}
        train = np.intersect1d(np.flatnonzero(data.train), data.part(options.effort.max_rows, options.seed).rows)
        people = units_of(len(data), data.groups)
        rarest = int(units_with(people[train], Y[train].astype(np.float64)).min())
        few = "held-out" if test is None else "training" if rarest < FEWEST else ""
        if test is None or few:
            reason = f"fewer than {FEWEST} {few} rows with {pair[0]} and {pair[1]} each present and absent"
            analysis.record(self.name, {}, caveats=[reason], **said)
            return

        def shifted(view: str) -> SpuriousShift:
            X, groups = data.features(view), data.groups
            both: Json = {} if groups is None else {"groups": groups[train], "groups_test": groups[test]}
            return spurious_shift(X[train], Y[train], X[test], Y[test], names=pair, seed=options.seed, **both)

        views = [*analysis.noise_and_likes, *analysis.encoders[:1]]
        every = int(data.train.sum())
        part = [f"trained on {len(train)} of {every} images of the training split"] * (len(train) < every)
        analysis.record(self.name, spread(shifted, views), ["view"], caveats=part, **said)


def _pair(data: Data, analysis: Analysis) -> tuple[tuple[str, str] | None, bool]:
    """The two attributes, and whether the recipe planted their correlation."""
    recipe = analysis.results["dataset"]["recipe"] or {}
    for planted in recipe.get("source", {}).get("options", {}).get("correlations", ()):
        if planted["first"] in data.names and planted["second"] in data.names:
            return (planted["first"], planted["second"]), True
    Y = data.Y[data.train].astype(np.float64)
    varies = np.flatnonzero(Y.std(axis=0) > 0)
    if len(varies) < 2:
        return None, False
    R = np.abs(np.corrcoef(Y[:, varies].T))
    names = [data.names[j] for j in varies]
    allowed = np.array([[i < j and not _one_label(a, b) for j, b in enumerate(names)] for i, a in enumerate(names)])
    i, j = np.unravel_index(int((R * allowed).argmax()), R.shape)
    return ((names[i], names[j]), False) if (R * allowed)[i, j] > 0 else (None, False)


def _one_label(first: str, second: str) -> bool:
    """Whether two attributes are classes of one label, of which never both hold."""
    return "=" in first and first.partition("=")[0] == second.partition("=")[0]


def _balanced(Y: NDArray[np.int8], held_out: NDArray[np.bool_], seed: int) -> NDArray[np.intp] | None:
    """Held-out rows in which the two attributes of Y (n, 2) are independent: as many of each of the four kinds."""
    kinds = [np.flatnonzero(held_out & (Y[:, 0] == a) & (Y[:, 1] == b)) for a in (0, 1) for b in (0, 1)]
    each = min(map(len, kinds))
    if each < FEWEST:
        return None
    rng = np.random.default_rng([seed, 11])
    return np.sort(np.concatenate([rng.permutation(rows)[:each] for rows in kinds]))
