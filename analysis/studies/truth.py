"""Generated pictures: what can be read from the noise that they were made of, and how near an inversion comes to it."""

from collections.abc import Iterator
from typing import Any

from noisezoo.analysis.controls import corrected, inversion_error, share_of_signal
from noisezoo.analysis.probes import ProbeTable, compare
from noisezoo.schema import ID
from noisezoo.zoo import TRUE
from .claims import MEAN, METRIC, POINTS, Claim, Evidence, Json, over, rows_of
from .data import Data
from .study import Analysis, Options, Page, Requirement, Study, register_study, tidy

CHANCE = 0.5


def makers(analysis: Analysis) -> list[str]:
    """Noise views whose true noise the dataset holds."""
    return [view for view in analysis.names("noise") if view + TRUE in analysis.of_family("true")]


def is_in_the_noise(results: Json) -> Iterator[Evidence]:
    """Mean balanced accuracy of the true noise's probes over chance."""
    for row in rows_of(results, "truth"):
        if row["of"] == row["view"] + TRUE and row["estimate"] is not None:
            yield Evidence.of(row["of"], "mean balanced accuracy", "chance", over(row, CHANCE), **POINTS)


def inversion_adds_nothing(results: Json) -> Iterator[Evidence]:
    """True noise minus inverted noise."""
    for row in results.get("truth", {}).get("differences", ()):
        if row["estimate"] is not None:
            yield Evidence.of(row["view"] + TRUE, "mean balanced accuracy", row["view"], row, **POINTS)


@register_study
class Truth(Study):
    """Probes of the true noise, of the inverted noise and of the pictures, and the inversion's error row by row."""

    name = "truth"
    about = "what is in the noise that pictures were made of"
    place = 25
    needs = ("probes",)
    reads = ("variants",)
    requires = (Requirement("generated pictures and the view VIEW-true of their noise", makers),)
    claims = (
        Claim(
            "The initial noise holds them", "probes read attributes from x_T itself", "authors' code", is_in_the_noise
        ),
        Claim("Inversion adds none", "x_T reads as well as what is inverted", "objection", inversion_adds_nothing),
    )

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`rows` of probes, `shares` of the picture's signal in the true noise, `errors` by measure and variant."""
        judged, tables = _recipe(data).get("source", {}).get("options", {}).get("judged") or {}, analysis.tables
        datasets = {"": data, **{name: Data(path) for name, path in options.variants.items()}}
        rows, differences, shares, errors, images = (list[Json]() for _ in range(5))
        for view in makers(analysis):
            twins = [name for name in analysis.noise_and_twins if name.startswith(view) and name != view]
            true, inverted = view + TRUE, [view, *twins]
            for medium in (true, *inverted, *analysis.of_family("pixels", "vae", "random")):
                rows += tidy(_read(tables[medium], judged, options.seed), view=view, of=medium)
            difference = compare(tables[true], tables[view], metrics=(METRIC,)).mean[METRIC]
            differences.append({"view": view, **difference.to_dict()})
            for picture in analysis.pictures:
                shares += tidy(_shares(tables[true], tables[picture]), view=view, of=picture)
            for variant, medium in ((v, m) for v, dataset in datasets.items() for m in inverted if m in dataset.views):
                error = inversion_error(datasets[variant].matrix(medium), data.matrix(true), seed=options.seed)
                keys = {"view": view, "of": medium, "variant": variant, **_made(datasets[variant])}
                errors += tidy(error.records(), **keys)
                images += [{**keys, ID: image_id, "relative_error": float(relative), "cosine": float(cosine)}
                           for image_id, (relative, cosine) in zip(data.ids, error.rows, strict=True)]  # fmt: skip
        means = [row for row in rows if row["attribute"] == MEAN]
        analysis.results[self.name] = {"judged": judged, "rows": means, "differences": differences, "shares": shares,
                                       "errors": errors}  # fmt: skip
        analysis.rows |= {"truth": rows, "truth_shares": shares, "truth_rows": images}

    def exhibit(self, page: Page) -> Json:
        """The study's own rows."""
        return {"truth": page.results[self.name], "MEAN": MEAN}


def _recipe(data: Data) -> Json:
    return data.dataset_facts()["recipe"] or {}


def _made(data: Data) -> Json:
    """By which scheme and how many steps a dataset's noise was made."""
    settings = _recipe(data).get("settings", {})
    return {"scheme": settings.get("scheme"), "steps": settings.get("num_inference_steps")}


def _read(table: ProbeTable, judged: dict[str, Any], seed: int) -> Iterator[Json]:
    """Balanced accuracy of all attributes on average and of each, on the labels given and on the true ones."""
    rates = table.out_of_fold.labels.mean(axis=0)
    every = [(MEAN, table.names, table.mean[METRIC])]
    for name, names, interval in every + [(n, (n,), table.interval(n)) for n in table.names]:
        places = [table.names.index(each) for each in names]
        row = {"attribute": name, **interval.to_dict()}
        if names and all(each in judged for each in names):
            counts = [judged[each] for each in names]
            estimates = [table.intervals[METRIC][place].estimate for place in places]
            true = corrected(estimates, interval, counts, [float(rates[place]) for place in places], seed=seed)
            row |= {f"true_{end}": value for end, value in true.to_dict().items()}
        yield row


def _shares(part: ProbeTable, whole: ProbeTable) -> Iterator[Json]:
    """The share of the picture's signal that is in the noise, for all attributes on average and for each."""
    between = compare(part, whole, metrics=(METRIC,))
    yield {"attribute": MEAN,
           **share_of_signal(part.mean[METRIC], whole.mean[METRIC], between.mean[METRIC]).to_dict()}  # fmt: skip
    for name, difference in zip(between.names, between.intervals[METRIC], strict=True):
        yield {"attribute": name, **share_of_signal(part.interval(name), whole.interval(name), difference).to_dict()}
