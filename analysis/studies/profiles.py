"""Does what is easy to read in the noise follow what is easy to read in an encoder, more than in the controls?"""

from noisezoo.analysis.controls import profile_correlation
from noisezoo.analysis.studies.data import Data, Json
from noisezoo.analysis.studies.probing import controls_of
from noisezoo.analysis.studies.study import Analysis, Options, Study


class Profiles(Study):
    """Correlation over attributes of noise accuracies with each encoder's, against the controls' (Figure 3)."""

    name = "profile"
    about = "correlation of accuracies across attributes"
    needs = ("probes",)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view and reference; a pair that cannot be correlated is a caveat with its reason."""
        rows: list[Json] = []
        caveats: dict[str, None] = {}
        for view in analysis.noise:
            controls = {name: analysis.tables[name] for _, name in controls_of(view, analysis.views)}
            for reference in analysis.encoders:
                names = (view["name"], reference)
                a, b = (analysis.tables[name] for name in names)
                try:
                    found = profile_correlation(a, b, controls, views=names, seed=options.seed)
                except ValueError as error:
                    caveats[f"{names[0]} with {names[1]}: {error}"] = None
                    continue
                kinds = ["view", *["control"] * len(found.controls), *["difference"] * len(found.differences)]
                against = [None, *found.controls, *found.differences]
                rows += [{"view": names[0], "reference": reference, "kind": kind, "control": control, **row}
                         for kind, control, row in zip(kinds, against, found.records(), strict=True)]  # fmt: skip
                caveats |= dict.fromkeys(found.caveats)
        analysis.results[self.name] = {"rows": rows, "caveats": list(caveats)}
        analysis.rows[self.name] = rows
