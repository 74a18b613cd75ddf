"""Planted datasets in memory for the claims: views of one latent with as much of it, and of each other, as is asked."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from noisezoo.analysis.studies.data import Data, Part
from noisezoo.analysis.studies.study import Analysis, Effort, Judge, Model, Options, all_studies
from noisezoo.schema import ID
from noisezoo.zoo import RESIDUAL, TRUE

Floats = NDArray[np.float64]
NOISE, TWIN, ENCODER, SECOND, PIXELS = "ldm", "ldm-untrained", "clip", "dino", "pixels"
D = 8
EFFORT = Effort(n_splits=8, n_permutations=6, max_rows=1000)


class Planted(Data):
    """Views (n, d) in memory, three quarters of the rows for training."""

    def __init__(self, views: dict[str, Floats], Y: Floats) -> None:
        self.held = {name: view.astype(np.float32) for name, view in views.items()}
        self.Y, self.views = Y.astype(np.int8), list(views)
        self.names = [f"attribute {j}" for j in range(Y.shape[1])]
        self.train, self.groups = np.arange(len(Y)) % 4 > 0, None
        self.labels: Any = SimpleNamespace(data=pa.table({ID: np.arange(len(Y)).astype(str)}))

    def __len__(self) -> int:
        return len(self.Y)

    def features(self, view: str) -> Any:
        return self.held[view]

    stored = matrix = features

    def shape(self, view: str) -> tuple[int, ...]:
        return (1, 2, D // 2)

    def narrow_basis(self, view: str) -> None:
        return None

    def dataset_facts(self) -> dict[str, Any]:
        return {"recipe": None}

    def part(self, max_rows: int, seed: int, most_axes: int | None = None) -> Part:
        return Part(self, max_rows, seed, most_axes)


RESIDUE, LATENT, INITIAL, COPY = NOISE + RESIDUAL, "vae", NOISE + TRUE, ENCODER + "-flip"
TRAININGS = [f"{NOISE}-seed{k}" for k in range(3)]


def facts(name: str, n: int, d: int) -> dict[str, Any]:
    noise = name in (NOISE, *TRAININGS)
    controls = {PIXELS: "pixels", LATENT: "vae", RESIDUE: "residual", INITIAL: "true"}
    family = {**controls, ENCODER: "open_clip", COPY: "open_clip", SECOND: "timm"}.get(name, "diffusers")
    objective = {ENCODER: "contrastive-text", SECOND: "self-distillation"}.get(name)
    return {"name": name, "kind": "noise" if noise else "embedding" if name in (ENCODER, SECOND) else "control",
            "family": family, "untrained": name.endswith("-untrained"), "objective": objective,
            "baseline": f"{name}-untrained" if noise else None, "autoencoder": LATENT if name == NOISE else None,
            "copy_of": ENCODER if name == COPY else None, "clip_conditioned": False, "n": n, "d": d}  # fmt: skip


def run(
    views: dict[str, Floats], Y: Floats, *studies: str, seed: int = 0, effort: Effort = EFFORT, **options: Any
) -> dict[str, Any]:
    """Results of the studies on planted views."""
    data = Planted(views, Y)
    known = [facts(name, *view.shape) for name, view in views.items()]
    analysis = Analysis({"dataset": {"recipe": None, "rows": len(Y), "identities": None}, "views": known})
    for name in studies:
        all_studies()[name].run(data, analysis, Options(seed=seed, effort=effort, **options))
    return analysis.results


def verdicts(claim: str, results: dict[str, Any]) -> list[str]:
    """The verdicts of one claim."""
    (found,) = [each for study in all_studies().values() for each in study.claims if each.name == claim]
    return [evidence.verdict for evidence in found.evidence(results)]


def read(latent: Floats, strengths: dict[str, float], rng: np.random.Generator, d: int = D) -> dict[str, Floats]:
    """Views (n, d) of a latent (n, s), each of its own strength: one random map, turned for each, in white noise.

    Views of one strength hold exactly as much of the latent as each other, which maps of their own would not.
    """
    maps = latent @ rng.standard_normal((latent.shape[1], d)) / np.sqrt(latent.shape[1])
    turns = {name: np.linalg.qr(rng.standard_normal((d, d)))[0] for name in strengths}
    return {name: strength * maps @ turns[name] + rng.standard_normal((len(latent), d))
            for name, strength in strengths.items()}  # fmt: skip


def labels(latent: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Attributes (n, k): signs of the first k coordinates of a latent with some noise."""
    return np.asarray((latent[:, :k] + 0.3 * rng.standard_normal((len(latent), k)) > 0).astype(float))


def gaussian(seed: int, law: str = "gaussian") -> dict[str, Any]:
    """Noise and an encoder of one law: Gaussian with two strong axes, heavy tails, or a bimodal coordinate."""
    rng = np.random.default_rng([seed, 1])
    made = {}
    for name in (NOISE, ENCODER):
        X = rng.standard_normal((300, D)) * np.array([6.0, 5.0, *[1.0] * (D - 2)])
        if law == "heavy":
            X *= np.sqrt(1 / rng.chisquare(3, (300, 1)))
        if law == "bimodal":
            X[:, 2] = 0.95 * rng.choice([-1.0, 1.0], 300) + 0.3 * rng.standard_normal(300)
        made[name] = X
    few = Effort(n_permutations=0)  # of planted departures, which decide nothing here
    return run(made, np.ones((300, 1)), "gaussianity", seed=seed, effort=few)


def probes(seed: int, noise: float, twin: float) -> dict[str, Any]:
    """Noise that holds so much of the attributes, and as much as its twin in what its pictures were made of."""
    rng = np.random.default_rng([seed, 2])
    latent = rng.standard_normal((160, 3))
    views = read(latent, {NOISE: noise, TWIN: twin, INITIAL: twin}, rng)
    return run(views, labels(latent, 3, rng), "probes", "truth", seed=seed)


def trained_again(seed: int, noise: float, twin: float) -> dict[str, Any]:
    """Three trainings that hold so much of the attributes, each with the network that it began from."""
    rng = np.random.default_rng([seed, 10])
    latent = rng.standard_normal((160, 3))
    views = read(latent, {name: noise for name in TRAININGS} | {f"{name}-untrained": twin for name in TRAININGS}, rng)
    return run(views, labels(latent, 3, rng), "probes", "trainings", seed=seed)


def beside_latent(seed: int, noise: float, image: float) -> dict[str, Any]:
    """Noise and its residual that hold as much of the attributes as each other, and the autoencoder's latent."""
    rng = np.random.default_rng([seed, 9])
    latent = rng.standard_normal((160, 3))
    views = read(latent, {NOISE: noise, RESIDUE: noise, LATENT: image}, rng)
    return run(views, labels(latent, 3, rng), "probes", seed=seed)


def added(seed: int, noise: float, twin: float) -> dict[str, Any]:
    """Pixels that hold some of the attributes, and noise with so much of its own beyond them."""
    rng = np.random.default_rng([seed, 3])
    latent = rng.standard_normal((160, 3))
    views = read(latent, {NOISE: noise, TWIN: twin, PIXELS: 0.7}, rng)
    return run(views, labels(latent, 3, rng), "conditional", seed=seed, effort=Effort(8, 0))  # nulls decide nothing


def profiles(seed: int, follows: bool) -> dict[str, Any]:
    """Attributes that are easy or hard in the encoder; the noise follows and pixels do not."""
    rng = np.random.default_rng([seed, 4])
    latent = rng.standard_normal((200, 10))
    hard = np.linspace(0.3, 3, 10)
    order = {ENCODER: hard, NOISE: rng.permutation(hard), PIXELS: rng.permutation(hard)}
    order |= {NOISE: hard, PIXELS: hard[::-1]} if follows else {}
    views = {name: latent + level * rng.standard_normal((200, 10)) for name, level in order.items()}
    return run(views, labels(latent, 10, rng), "probes", "profile", seed=seed)


def related(seed: int, study: str, noise: float, twin: float) -> dict[str, Any]:
    """Noise, its twin and two encoders, or an encoder twice, of one latent; the first two with so much of it."""
    rng = np.random.default_rng([seed, 5])
    latent = rng.standard_normal((160, 10))
    strengths = {NOISE: noise, TWIN: twin, ENCODER: 2, COPY if study == "ceiling" else SECOND: 2}
    views = read(latent, strengths, rng, d=24)
    return run(views, labels(latent, 2, rng), study, seed=seed, effort=Effort(n_splits=4, n_permutations=6))


def beyond(seed: int, noise: float, twin: float) -> dict[str, Any]:
    """Pixels that hold a little of what an encoder sees, the noise and its twin with so much of it."""
    rng = np.random.default_rng([seed, 9])
    latent = rng.standard_normal((160, 6))
    strengths = {NOISE: noise, TWIN: twin, ENCODER: 2, PIXELS: 0.7}
    views = read(latent, strengths, rng, d=12)
    return run(views, labels(latent, 2, rng), "given", seed=seed)


def tied(seed: int, phi: float) -> dict[str, Any]:
    """Two attributes of the noise, the second three times as strong, tied in the training rows by phi alone."""
    rng = np.random.default_rng([seed, 6])
    n = 960
    a, own = rng.random(n) < 0.5, rng.random(n) < 0.5
    same = (rng.random(n) < phi) & (np.arange(n) % 4 > 0)
    Y = np.stack([a, np.where(same, a, own)], axis=1).astype(float)
    effects = np.diag([2.0, 6.0]) @ np.eye(2, D)
    return run({NOISE: Y @ effects + rng.standard_normal((n, D))}, Y, "spurious", seed=seed)


def edits(seed: int, there: bool) -> dict[str, Any]:
    """Pictures that a squashed map makes of noise, an encoder that sees them, attributes of the noise or of coins."""
    rng = np.random.default_rng([seed, 7])
    n, P = 640, rng.standard_normal((D, D)) / np.sqrt(D)
    Z = rng.standard_normal((n, D))
    pictures = np.tanh(Z @ P)
    Y = (Z[:, :3] > 0).astype(float) if there else (rng.random((n, 3)) < 0.5).astype(float)

    def generate(noise: NDArray[Any]) -> NDArray[Any]:
        return np.tanh(noise @ P).reshape(-1, 1, 2, D // 2)

    views = {NOISE: Z, PIXELS: pictures, ENCODER: pictures}
    judge = Judge(ENCODER, lambda images: images.reshape(len(images), -1))
    return run(views, Y, "edits", seed=seed, effort=Effort(8, 16), edits=["attribute 0", "attribute 1"],
               models=[Model(NOISE, generate)], judge=judge)  # fmt: skip


def leaks(seed: int, mixed: bool) -> dict[str, Any]:
    """Edits of noise and of pixels that go astray alike; or pixels that mix what the noise keeps apart."""
    rng = np.random.default_rng([seed, 8])
    n, Z = 1600, rng.standard_normal((1600, D))
    Y = (Z[:, :3] + 0.3 * rng.standard_normal((n, 3)) > 0).astype(float)
    M = np.eye(D)
    if mixed:
        M = np.linalg.qr(rng.standard_normal((D, D)))[0] * np.geomspace(1, 4, D)
    noise = Z if mixed else Z + 0.5 * rng.standard_normal((n, D))
    pixels = Z @ M if mixed else Z + 0.5 * rng.standard_normal((n, D))
    back = np.linalg.inv(M) * 40  # pictures are clipped to [-1, 1]
    model = Model(NOISE, lambda rows: (rows @ M / 40).reshape(-1, 1, 2, D // 2))
    judge = Judge(ENCODER, lambda images: images.reshape(len(images), -1) @ back)
    views = {NOISE: noise, PIXELS: pixels / 40, ENCODER: Z}
    return run(views, Y, "edits", seed=seed, effort=Effort(16, 40), models=[model], judge=judge,
               edits=["attribute 0", "attribute 1", "attribute 2"])  # fmt: skip
