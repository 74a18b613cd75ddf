"""From every view to every other by ridge: what is predicted, what is found again, what probes carry over."""

from typing import Any

from noisezoo.analysis.relations import Stitch, Transfer, stitch_many, transfer
from noisezoo.analysis.studies.data import Data, Json, Part
from noisezoo.analysis.studies.study import Analysis, Options, Study, side_by_side, tidy

PAPER_ALPHA = 1.0
"""The paper scales alpha by |X|_F^2 / d and gives no number of its own; at 1 the mean direction is halved."""
ALPHAS = {"validated": None, "paper": PAPER_ALPHA}
TRANSFER_DRAWS, FEW = 3, 2
"""Draws of the null of a transfer, each a fit of all probes, and of the null at the paper's alpha."""
TARGETS = 1
"""Encoders whose probes are carried over: a pair costs as much as probes of a view do, several times."""


class Stitching(Study):
    """Held-out R2 and retrieval of every ordered pair of views; attribute transfer into every encoder."""

    name = "stitching"
    about = "ridge from every view to every other"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`stitching`: rows by source, target and alpha; `transfer`: rows by source and target."""
        part = data.part(options.effort.max_rows, options.seed)
        draws = {how: options.effort.n_permutations if alpha is None else FEW for how, alpha in ALPHAS.items()}

        def stitched(source: str) -> dict[str, dict[str, Stitch]]:
            targets = {view: part.leading(view) for view in part.views if view != source}
            X = part.leading(source)
            shared: Any = {"groups": part.groups, "seed": options.seed}
            return {how: stitch_many(X, targets, alpha=alpha, n_permutations=draws[how], **shared)
                    for how, alpha in ALPHAS.items()}  # fmt: skip

        found = dict(zip(data.views, side_by_side(stitched, data.views), strict=True))
        pairs = [(source, target, how, stitch) for source, ways in found.items() for how, stitches in ways.items()
                 for target, stitch in stitches.items()]  # fmt: skip
        rows = [row for source, target, how, stitch in pairs
                for row in tidy(stitch.records(), source=source, target=target, alpha=how)]  # fmt: skip
        analysis.rows["stitching"] = rows
        said = _said([stitch for *_, stitch in pairs])
        analysis.results[self.name] = {"rows": rows, **said, "caveats": part.caveats() + said["caveats"]}
        self._transfer(part, analysis, options)

    def _transfer(self, part: Part, analysis: Analysis, options: Options) -> None:
        encoders = analysis.encoders[:TARGETS]
        pairs = [(source, target) for target in encoders for source in part.views if source != target]

        def carried(pair: tuple[str, str]) -> Transfer:
            source, target = map(part.leading, pair)
            effort: Any = {"n_splits": options.effort.few_splits, "n_permutations": TRANSFER_DRAWS}
            return transfer(source, target, part.Y, part.names, groups=part.groups, seed=options.seed, **effort)

        found = list(zip(pairs, side_by_side(carried, pairs), strict=True))
        rows = [row for (source, target), one in found for row in tidy(one.records(), source=source, target=target)]
        analysis.rows["transfer"] = rows
        means = [row for row in rows if row["attribute"] == "mean"]
        analysis.results["transfer"] = {"rows": means, **_said([one for _, one in found])}


def _said(found: "list[Stitch] | list[Transfer]") -> Json:
    """What all results have in common, and every caveat once."""
    if not found:
        return {"caveats": []}
    shared = {key: getattr(found[0], key) for key in ("n_folds", "n_permutations", "confidence", "seed")}
    return {**shared, "caveats": list(dict.fromkeys(sentence for one in found for sentence in one.caveats))}
