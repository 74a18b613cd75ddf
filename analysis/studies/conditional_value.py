"""What the noise adds to the picture itself, and the picture to it."""

from typing import Any

from noisezoo.analysis.controls import ConditionalValue, conditional_value
from noisezoo.analysis.studies.data import Data
from noisezoo.analysis.studies.study import Analysis, Options, Study, side_by_side, tidy

CONTROLS = ("pixels", "vae")
"""Families of views that are the picture, or nearly so."""
MAX_ROWS = 3000
"""Images at most: every pair is fitted at every share of the variance."""


class Conditional(Study):
    """Each noise view (and its untrained twin) beside the pixels and beside the autoencoder's latent."""

    name = "conditional"
    about = "what noise adds to pixels and to the VAE latent"

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by control and view: `what` is either alone, both, or one given the other."""
        controls = analysis.of_family(*CONTROLS)
        pairs = [(control, view) for view in analysis.noise_and_twins for control in controls]
        part = data.part(min(MAX_ROWS, options.effort.max_rows), options.seed)
        draws: Any = {"n_splits": options.effort.few_splits, "seed": options.seed}

        def added(pair: tuple[str, str]) -> ConditionalValue:
            A, B = map(part.leading, pair)
            return conditional_value(A, B, part.Y, part.names, views=pair, groups=part.groups, **draws)

        found = list(zip(pairs, side_by_side(added, pairs), strict=True))
        rows = [row for (control, view), one in found for row in tidy(one.records(), control=control, view=view)]
        caveats = dict.fromkeys(sentence for _, one in found for sentence in one.caveats)
        means = [row for row in rows if row["attribute"] == "mean"]
        analysis.results[self.name] = {"rows": means, "caveats": part.caveats() + list(caveats)}
        analysis.rows[self.name] = rows
