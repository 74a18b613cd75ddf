"""Does what is easy to read in the noise follow what is easy to read in an encoder, more than in the controls?"""

from collections.abc import Iterator
from itertools import product

from noisezoo.analysis.controls import ProfileCorrelation, profile_correlation
from .claims import Claim, Evidence, Json, rows_of
from .data import Data
from .probing import controls_of
from .study import ENCODER, NOISE, Analysis, Options, Page, Study, register_study


def follows_encoders(results: Json) -> Iterator[Evidence]:
    """Correlation of accuracies with an encoder's, minus the same of each control."""
    for row in rows_of(results, "profile", kind="difference"):
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
        found, refused = dict[tuple[str, str], ProfileCorrelation](), []
        for view, reference in product(analysis.noise, analysis.encoders):
            controls = {name: analysis.tables[name] for _, name in controls_of(view, analysis.views)}
            pair = (str(view["name"]), reference)
            a, b = (analysis.tables[name] for name in pair)
            try:
                found[pair] = profile_correlation(a, b, controls, views=pair, seed=options.seed)
            except ValueError as error:
                refused.append(f"{pair[0]} with {pair[1]}: {error}")
        analysis.record(self.name, found, ("view", "reference"), caveats=refused)

    def exhibit(self, page: Page) -> Json:
        """Each noise view with each encoder: its correlation, those of its controls, and the differences."""
        pairs: dict[tuple[str, str], Json] = {}
        for row in page.rows(self.name):
            pair = {key: row[key] for key in ("view", "reference")}
            pairs.setdefault((row["view"], row["reference"]), {**pair, "rows": []})["rows"].append(row)
        return {"profiles": list(pairs.values())}
