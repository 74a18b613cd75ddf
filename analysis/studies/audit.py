"""An audit of a dataset of noise, built or imported: how much of x_T is the image, and what is read beyond that."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Interval, mean_intervals, paired_differences
from noisezoo.analysis.probes import DIMENSIONS, paper_probes
from noisezoo.zoo import RESIDUAL
from .claims import POINTS, UNTRAINED, Claim, Evidence, Json, direction, noise_views
from .data import Data
from .paper import variance_held
from .splits import Mask, splits_of
from .study import NOISE, Analysis, Options, Page, Requirement, Study, register_study

BLOCK = 4096
"""Rows that are held in float32 at a time."""
SPLIT = Requirement("20 images, or identities, to split", lambda analysis: analysis.results["dataset"]["rows"] >= 20)
WITHOUT, IMAGE = "residual", "image"
ROLES = {UNTRAINED: "Trained minus untrained", WITHOUT: "Noise minus its residual", IMAGE: "Noise minus z0"}
WORDS = {1: "reads better than", 0: "cannot be told from", -1: "reads worse than"}


def is_not_the_image_s_share(results: Json) -> Iterator[Evidence]:
    """Noise minus its residual, which must not be more, and noise minus the image's latent, which must be.

    From the probes' study where it ran, else from the audit's own.
    """
    found = results.get("differences") or results.get("audit", {}).get("differences", ())
    own = {view["name"]: view.get("autoencoder") for view in results["views"]}
    for d in found:
        ends = {end: d[end] for end in ("estimate", "low", "high")}
        if d["view"] not in noise_views(results) or None in ends.values():
            continue
        if d["control"] == d["view"] + RESIDUAL:
            more = direction(d["low"], d["high"])
            yield Evidence.of(d["view"], "accuracy, noise minus residual", d["control"], ends, **POINTS, decided=-more)
        elif d["control"] == own[d["view"]]:
            yield Evidence.of(d["view"], "accuracy, noise minus latent", d["control"], ends, **POINTS)


@register_study
class Audit(Study):
    """Where x_T ends, how much of it is z0, what its components hold, and accuracy beside the majority rule."""

    name = "audit"
    about = "how much of the noise is the image"
    place = 5
    on_request = True
    requires = (NOISE, SPLIT)
    front = "templates/audit_front.html.j2"
    claims = (
        Claim("What is read is not the image's share of x_T", "as much without it, and more than from the latent",
              "objection", is_not_the_image_s_share),
    )  # fmt: skip

    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """`rows` by noise view, `accuracies` by view, `differences` by noise view and control."""
        (split, train), views = list(splits_of(data).items())[-1], {view["name"]: view for view in analysis.views}
        probed = {view: _probe(data, view, facts["kind"], train, options.seed) for view, facts in views.items()}
        rows = [_row(data, views, view["name"], train, options.seed) for view in analysis.noise]
        accuracies = [{"view": view, "kind": views[view]["kind"], **means["accuracy"].to_dict(),
                       "majority": means["majority"].estimate, "gain": means["gain"].to_dict()}
                      for view, (means, _) in probed.items()]  # fmt: skip
        groups = None if data.groups is None else data.groups[~train]
        differences = []
        for view in analysis.noise:
            for role, control in _controls(view, views):
                pair = (probed[name][1] for name in (view["name"], control))
                (interval,) = paired_differences(*pair, groups=groups, seed=options.seed)
                differences.append({"view": view["name"], "control": control, "role": role, **interval.to_dict()})
        analysis.results[self.name] = {"split": split, "n_train": int(train.sum()), "n_test": int((~train).sum()),
                                       "rows": rows, "accuracies": accuracies, "differences": differences}  # fmt: skip
        flat = [{**row, "gain": row["gain"]["estimate"]} for row in accuracies]
        analysis.rows |= {"audit": rows, "audit_accuracies": flat, "audit_differences": differences}

    def say(self, results: Json) -> list[Json]:
        """A sentence a noise view on x_T, and one on each difference."""
        found = results[self.name]
        said = [{"kind": "audit", "view": row["view"], "text": _sentence(row)} for row in found["rows"]]
        for d in found["differences"]:
            ends = [f"{100 * d[end]:+.1f}" if d[end] is not None else "?" for end in ("estimate", "low", "high")]
            text = (f"{d['view']} {WORDS[direction(d['low'], d['high'])]} {d['control']}: "
                    f"{ends[0]} points of accuracy [{ends[1]}, {ends[2]}].")  # fmt: skip
            said.append({"kind": "audit", "view": d["view"], "text": text})
        return said

    def summarise(self, pages: Sequence[Page]) -> Json:
        """The rows of every dataset, each with its accuracy, the majority rule's and its differences from controls."""
        rows = []
        for page in pages:
            found = page.results[self.name]
            accuracy = {row["view"]: row for row in found["accuracies"]}
            for row in found["rows"]:
                own = {d["role"]: d for d in found["differences"] if d["view"] == row["view"]}
                rows.append({**row, "dataset": page.name, "accuracy": accuracy[row["view"]], "differences": own})
        return {"rows": rows, "ROLES": ROLES}


def _controls(view: Json, views: Mapping[str, Json]) -> list[tuple[str, str]]:
    """(role, view) of what a noise view is held against: before training, without the image's share, the image."""
    found = [(UNTRAINED, view["baseline"]), (WITHOUT, view["name"] + RESIDUAL), (IMAGE, _image_of(view, views))]
    return [(role, name) for role, name in found if name in views]


def _image_of(view: Json, views: Mapping[str, Json]) -> str | None:
    """The view of the z0 that a noise view was inverted from: the autoencoder's latent, or the picture."""
    if view["autoencoder"]:
        return str(view["autoencoder"]) if view["autoencoder"] in views else None
    return next((name for name, v in views.items() if v["family"] == "pixels" and v["d"] == view["d"]), None)


def _probe(
    data: Data, view: str, kind: str, train: Mask, seed: int
) -> tuple[Mapping[str, Interval], NDArray[np.float64]]:
    """Means over attributes of one view's probes, and the share of attributes told right of each test row (m, 1)."""
    X = data.features(view).astype(np.float32, copy=False)
    found = paper_probes(X, data.Y, data.names, train=train, kind=kind, groups=data.groups, n_permutations=0, seed=seed)
    truth = data.Y[~train][:, [data.names.index(name) for name in found.names]] > 0
    right = ((found.probes.decision_function(X[~train]) > 0) == truth).mean(axis=1)
    return found.mean, right[:, None]


def _row(data: Data, views: Mapping[str, Json], view: str, train: Mask, seed: int) -> Json:
    """What is known of one view's x_T."""
    facts, image = views[view]["x_T"] or {}, _image_of(views[view], views)
    held, null, components = variance_held(data, view, DIMENSIONS["noise"], train)
    row: Json = {
        "view": view, "time": facts.get("x_T_time"), "a": facts.get("x_T_a"), "s": facts.get("x_T_s"), "image": image,
        "std": views[view]["latent_std"], "components": components, "held": held, "held_by_noise": null,
        "n_train": int(train.sum()), "d": views[view]["d"],
    }  # fmt: skip
    found = [None, None] if image is None else mean_intervals(
        _shares(data, view, image, facts.get("x_T_a")), groups=data.groups, seed=seed
    )  # fmt: skip
    for name, interval in zip(("share", "slope"), found, strict=True):
        known = interval.to_dict() if interval and (facts or name == "slope") else {}
        row |= {name: known.get("estimate"), f"{name}_low": known.get("low"), f"{name}_high": known.get("high")}
    return row


def _shares(data: Data, view: str, image: str, a: float | None) -> NDArray[np.float64]:
    """Of each image (n, 2): a^2 |z0|^2 / |x_T|^2, and the slope of its x_T on its z0, both about their means."""
    x_T, z_0 = data.stored(view), data.stored(image)
    found = []
    for start in range(0, len(x_T), BLOCK):
        x, z = (A[start : start + BLOCK].astype(np.float32) for A in (x_T, z_0))
        image_power, power = (np.einsum("ij,ij->i", A, A, dtype=np.float64) for A in (z, x))
        x, z = (A - A.mean(axis=1, keepdims=True) for A in (x, z))
        spread = np.einsum("ij,ij->i", z, z, dtype=np.float64)
        slope = np.einsum("ij,ij->i", x, z, dtype=np.float64) / np.where(spread > 0, spread, 1.0)
        found.append(np.stack([(a or 0.0) ** 2 * image_power / np.where(power > 0, power, 1.0), slope], axis=1))
    return np.concatenate(found)


def _sentence(row: Json) -> str:
    if row["time"] is None:
        end = f"{row['view']}: where x_T ends is not known"
    else:
        end = f"{row['view']} ends at t = {row['time']:g}, x_T = {row['a']:.4f} z0 + {row['s']:.4f} eps"
    share = "" if row["share"] is None else f"; the image has {100 * row['share']:.2f} % of its power"
    slope = "" if row["slope"] is None else f"; regressed on z0, x_T holds {row['slope']:.3f} of it"
    null = row["held_by_noise"]
    law = "" if null is None else f" where independent noise would have {100 * null:.1f} %"
    return f"{end}{share}{slope}. {row['components']} components hold {100 * row['held']:.1f} % of its variance{law}."
