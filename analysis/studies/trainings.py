"""Several trainings of one model: does what training adds hold for other trainings, not for other images alone?"""

from collections.abc import Iterator

from noisezoo.analysis.probes import over_trainings
from noisezoo.zoo import training_of
from .claims import MEAN, POINTS, Claim, Evidence, Json, rows_of
from .data import Data
from .probing import points
from .study import Analysis, Options, Page, Requirement, Study, register_study, tidy

LEAST = 3


def trainings_of(analysis: Analysis) -> dict[str, list[tuple[str, str]]]:
    """Model -> its trainings, each with the network that it began from; models of three or more."""
    here = {view["name"] for view in analysis.views}
    found: dict[str, list[tuple[str, str]]] = {}
    for view in analysis.views:
        if view["kind"] != "control" and not view["untrained"] and view["baseline"] in here:
            again = training_of(view["name"])
            model = again[0] if again else view["name"]
            found.setdefault(model, []).append((view["name"], view["baseline"]))
    return {model: pairs for model, pairs in found.items() if len(pairs) >= LEAST}


def is_learnt_again(results: Json) -> Iterator[Evidence]:
    """Trained minus untrained, over images and trainings."""
    for row in rows_of(results, "trainings"):
        if row["estimate"] is not None:
            what = f"mean balanced accuracy, {row['n_trainings']} trainings"
            covered: Json = {"covers": "images and trainings", **POINTS}
            yield Evidence.of(row["view"], what, "the same before training", row, **covered)


@register_study
class OtherTrainings(Study):
    """Trained minus untrained of three or more trainings of a model, over images and over trainings as well."""

    name = "trainings"
    about = "whether what was learnt is learnt again in other trainings"
    place = 22
    needs = ("probes",)
    requires = (Requirement("three trainings of a model (MODEL-seedN) with their untrained twins", trainings_of),)
    claims = (Claim("Other trainings learn it", "more than before training", "objection", is_learnt_again),)
    methods = (
        "Where a model was trained several times from other random starts, the difference from before training is the "
        "mean over trainings, with a 95 % interval over images and trainings (random effects, Student's t)."
    )
    weight = 0.1

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`rows` of the mean over attributes by model, and `each` training by itself; every attribute in the table."""
        rows, each = list[Json](), list[Json]()
        for model, pairs in trainings_of(analysis).items():
            found = over_trainings(*([analysis.tables[name] for name in side] for side in zip(*pairs, strict=True)))
            rows += tidy(found.records(), view=model, n_trainings=found.n_trainings)
            each += [{"view": model, "training": name, "control": twin, **interval.to_dict()}
                     for (name, twin), interval in zip(pairs, found.by_attribute[MEAN].each, strict=True)]  # fmt: skip
        analysis.results[self.name] = {"rows": [row for row in rows if row["attribute"] == MEAN], "each": each}
        analysis.rows |= {"trainings": rows, "each_training": each}

    def say(self, results: Json) -> list[Json]:
        """A sentence a model, which names what its interval covers."""
        text = "{}: in {} trainings, mean balanced accuracy changed by {}, over images and trainings"
        return [{"kind": "training", "view": r["view"], "text": text.format(r["view"], r["n_trainings"], points(r))}
                for r in results[self.name]["rows"]]  # fmt: skip

    def exhibit(self, page: Page) -> Json:
        """The rows, and those of each training."""
        return {"trainings": page.rows(self.name), "each": page.results[self.name]["each"]}
