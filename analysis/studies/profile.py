"""Does what is easy to read in the noise follow what is easy to read in an encoder, more than in the controls?"""

from collections.abc import Iterator

from noisezoo.analysis.controls import ProfileCorrelation, profile_correlation
from .claims import Claim, Evidence, Json
from .data import Data
from .probing import controls_of
from .study import ENCODER, NOISE, Analysis, Options, Page, Study, register_study


def follows_encoders(results: Json) -> Iterator[Evidence]:
    """Correlation of accuracies with an encoder's, minus the same of each control."""
    for row in results.get("profile", {}).get("rows", []):
        if row["kind"] == "difference":
            yield Evidence.of(row["view"], f"correlation with {row['reference']}", row["control"], row)


@register_study
class Profile(Study):
    """Correlation over attributes of noise accuracies with each encoder's, against the controls' (Figure 3)."""

    name = "profile"
    about = "correlation of accuracies across attributes"
    place = 30
    needs = ("probes",)
    methods = (
        "Accuracies of noise and encoders were correlated over attributes, and their correlations held against "
        "those of the controls."
    )
    weight = 0.2
    requires = (NOISE, ENCODER)
    claims = (Claim("Noise follows encoders", "accuracies correlate, beyond controls", "Figure 3", follows_encoders),)

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Rows by view and reference; a pair that cannot be correlated is a caveat with its reason."""
        found: dict[tuple[str, ...], ProfileCorrelation] = {}
        refused = []
        for view in analysis.noise:
            controls = {name: analysis.tables[name] for _, name in controls_of(view, analysis.views)}
            for reference in analysis.encoders:
                pair = (str(view["name"]), reference)
                a, b = (analysis.tables[name] for name in pair)
                try:
                    found[pair] = profile_correlation(a, b, controls, views=pair, seed=options.seed)
                except ValueError as error:
                    refused.append(f"{pair[0]} with {pair[1]}: {error}")
        analysis.record(self.name, found, ("view", "reference"), caveats=refused)

    def exhibit(self, page: Page) -> Json:
        """Each noise view with each encoder: its correlation, those of its controls, and the differences."""
        rows = page.rows(self.name)
        pairs = dict.fromkeys((row["view"], row["reference"]) for row in rows)
        return {"profiles": [{"view": view, "reference": reference,
                              "rows": [r for r in rows if (r["view"], r["reference"]) == (view, reference)]}
                             for view, reference in pairs]}  # fmt: skip
