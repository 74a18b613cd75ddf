"""What the intervals allow one to say, in words, whichever way it came out."""

from collections.abc import Mapping, Sequence
from typing import Any

CONTROL_NAMES = {
    "untrained": "the same network before training",
    "pixels": "raw pixels",
    "whitened": "linearly whitened pixels",
    "random": "random noise",
    "vae": "the autoencoder's latent",
}


def verdicts(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """Sentences about a run's results: `kind` (headline, control, gaussianity, conditioning), `text`, and the `view`.

    A sentence about conditioning is about many views and names none.
    """
    trained = [d for d in results.get("differences", ()) if d["role"] == "untrained"]
    others = [d for d in results.get("differences", ()) if d["role"] != "untrained"]
    views = {view["name"]: view for view in results["views"]}
    noise_first = sorted(trained, key=lambda d: views[d["view"]]["kind"] != "noise")
    sentences = [
        {"kind": "headline", "view": d["view"], "text": _headline(d, views[d["view"]]["kind"])} for d in noise_first
    ]
    sentences += [{"kind": "control", "view": d["view"], "text": _against_control(d)} for d in others]
    noise = _noise(results, views)
    sentences += [{"kind": "gaussianity", "view": name, "text": _gaussianity(name, rows)} for name, rows in noise]
    return sentences + _conditioning(results["views"])


def direction(low: float | None, high: float | None) -> int:
    """1 where the interval lies above 0, -1 below, 0 where nothing is decided: it holds 0, or an end is not known."""
    return 0 if low is None or high is None else (low > 0) - (high < 0)


def points(difference: Mapping[str, Any]) -> str:
    """A difference of accuracies with its interval, in percentage points."""
    if None in (difference["low"], difference["high"]):
        return "no interval can be given for the difference"
    return "{estimate:+.1f} points [{low:+.1f}, {high:+.1f}]".format(
        **{key: 100 * difference[key] for key in ("estimate", "low", "high")}
    )


def _headline(d: Mapping[str, Any], kind: str) -> str:
    what = "noise" if kind == "noise" else "embedding"
    meaning = {
        1: f"training made the attributes more linearly readable in the {what} than the untrained network leaves them",
        0: f"no difference between the trained and the untrained network's {what} can be told at this number of images",
        -1: f"training made the attributes less linearly readable in the {what} than the untrained network leaves them",
    }[direction(d["low"], d["high"])]
    return f"{d['view']}, trained minus untrained: {points(d)} of mean balanced accuracy. So {meaning}."


def _against_control(d: Mapping[str, Any]) -> str:
    verb = {1: "does better than", 0: "cannot be told from", -1: "does worse than"}[direction(d["low"], d["high"])]
    return f"{d['view']} {verb} {CONTROL_NAMES.get(d['role'], d['role'])} ({d['control']}): {points(d)}."


def _noise(results: Mapping[str, Any], views: Mapping[str, Any]) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    return [(name, g["rows"]) for name, g in results.get("gaussianity", {}).items() if views[name]["kind"] == "noise"]


def _gaussianity(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    departs = [f"{row['family']} ({row['test']})" for row in rows if row["departs"]]
    passes = [f"{row['family']} ({row['test']})" for row in rows if not row["departs"]]
    if not departs:
        return (f"{name}: none of the {len(rows)} tests tells it from a Gaussian of its size and covariance, "
                "which does not show that it is one.")  # fmt: skip
    kept = f"; not told from it by {', '.join(passes)}" if passes else ""
    count = f"{len(departs)} of {len(rows)} tests"  # of which a true Gaussian fails some: the reader must see how many
    return f"{name} departs from a Gaussian of its size and covariance in {count}: {', '.join(departs)}{kept}."


def _conditioning(views: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    wide = [f"{view['name']} ({view['n']} rows, {view['d']} dimensions)" for view in views if view["n"] < view["d"]]
    if not wide:
        return []
    text = ("Fewer rows than dimensions in " + ", ".join(wide) + ": there, what a linear probe finds mixes the "
            "information in a view with its conditioning; "
            "compare such views with controls of the same size.")  # fmt: skip
    return [{"kind": "conditioning", "text": text}]
