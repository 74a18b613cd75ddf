"""A published dataset of planted views at any size, written in a minute: what the analyses are timed on."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features, Value

from noisezoo.builder.dataset.finish import seal
from noisezoo.builder.dataset.layout import CHUNK, write_config
from noisezoo.builder.recipe import Settings
from noisezoo.files import write_json
from noisezoo.record import LABELS, RECIPE, REFUSALS, Section
from noisezoo.schema import ID, SPLIT, to_table, view_features
from noisezoo.zoo import View

SHARED, ATTRIBUTES = 32, 40
SETTINGS = {**Settings(reconstruct=0).model_dump(mode="json"), "source": "planted", "limit": None}


@dataclass(frozen=True)
class Planted:
    """One view of the shared latent: its kind, the shape of a row, and how much of a row is its own noise."""

    name: str
    kind: Any
    family: str
    shape: tuple[int, ...]
    noise: float
    baseline: str | None = None

    def row(self) -> dict[str, Any]:
        """As the record publishes it."""
        view = View(self.name, self.kind, self.family, "", 512, self.shape, "none", 0.0, "planted",
                    baseline=self.baseline, untrained=self.name.endswith("-untrained"))  # fmt: skip
        return {**asdict(view), "shape": list(self.shape), "dtype": view.dtype}


NOISE = (4, 64, 64)
VIEWS = (
    Planted("sd-a", "noise", "diffusers", NOISE, 4.0, "sd-a-untrained"),
    Planted("sd-b", "noise", "diffusers", NOISE, 4.0),
    Planted("sd-a-untrained", "control", "diffusers", NOISE, 8.0),
    Planted("clip-b", "embedding", "open_clip", (512,), 1.0),
    Planted("clip-l", "embedding", "open_clip", (768,), 1.0),
    Planted("dino-b", "embedding", "open_clip", (768,), 1.0),
    Planted("dino-l", "embedding", "open_clip", (1024,), 1.0),
    Planted("pixels", "control", "pixels", (3, 32, 32), 2.0),
)
"""Eight views, three of d = 16,384, and the pixels, without which some studies have nothing to compare noise with."""


def write_planted(root: Path, n: int, views: tuple[Planted, ...] = VIEWS, seed: int = 0) -> Path:
    """Write the dataset: four fifths of n rows train, a tenth each for validation and test."""
    splits = {"train": n - 2 * (n // 10), "validation": n // 10, "test": n // 10}
    starts = dict(zip(splits, np.cumsum([0, *splits.values()])[:-1], strict=True))
    S = np.random.default_rng(seed).standard_normal((n, SHARED)).astype(np.float32)
    normals = np.random.default_rng(seed + 1).standard_normal((SHARED, ATTRIBUTES)) / np.sqrt(SHARED)
    logits = S @ normals + 0.3 * np.random.default_rng(seed + 2).standard_normal((n, ATTRIBUTES))
    Y = logits > np.linspace(-1, 1.5, ATTRIBUTES)
    section = Section(
        source="planted", title="planted", prefix="", license="cc0-1.0", license_name="", sensitive=False, scanned=n,
        refused=0, removed=0, splits=splits, views=tuple(view.row() for view in views), settings=SETTINGS,
        software={"noisezoo": "0"},
        devices=("cpu",), pca_dims=500, shard_rows=8192,
    )  # fmt: skip
    names = [f"attribute_{k}" for k in range(ATTRIBUTES)]
    labels = Features({ID: Value("string"), SPLIT: Value("string"), **dict.fromkeys(names, Value("bool"))})

    def label_tables(split: str) -> Iterator[pa.Table]:
        rows = range(starts[split], starts[split] + splits[split])
        columns = {name: Y[rows.start : rows.stop, k] for k, name in enumerate(names)}
        yield to_table(labels, {ID: [f"{i:08d}" for i in rows], SPLIT: [split] * len(rows), **columns})

    write_config(root, section, LABELS, labels, label_tables)
    for number, view in enumerate(views):
        _write_view(root, section, view, S, dict(zip(splits, starts.values(), strict=True)), seed + 10 + number)
    (root / REFUSALS).write_text("")
    write_json(root / RECIPE, {"settings": SETTINGS, "rows": []})
    seal(root, (section,))
    return root


def _write_view(root: Path, section: Section, view: Planted, S: Any, starts: dict[str, int], seed: int) -> None:
    d = int(np.prod(view.shape))
    A = np.random.default_rng(seed).standard_normal((SHARED, d)).astype(np.float32) / np.sqrt(SHARED)
    dtype = "float16" if len(view.shape) == 3 else "float32"
    features = view_features(view.name, view.shape, dtype, (), ())

    def tables(split: str) -> Iterator[pa.Table]:
        for start in range(0, section.splits[split], CHUNK):
            first = starts[split] + start
            rows = range(first, min(first + CHUNK, starts[split] + section.splits[split]))
            own = np.random.default_rng([seed, first]).standard_normal((len(rows), d), dtype=np.float32)
            X = (S[rows.start : rows.stop] @ A + view.noise * own) / np.sqrt(1 + view.noise**2)
            ids = [f"{i:08d}" for i in rows]
            yield to_table(features, {ID: ids, view.name: X.reshape(-1, *view.shape).astype(dtype)})

    write_config(root, section, view.name, features, tables)
