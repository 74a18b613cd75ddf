"""Measure the trained models on images none of them has seen, and write each folder's card and training curve.

python testbed/cards.py [NAME ...]
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import jinja2
import matplotlib.pyplot as plt
import numpy as np
import torch
from common import TESTBED
from PIL import Image
from train_faces_ldm import PROMPTS

from noisezoo import zoo
from noisezoo.analysis import probe_difference, probe_table
from noisezoo.builder.models.encoders import Encoder
from noisezoo.builder.models.inverter import Inverter
from noisezoo.builder.sources.faces.factors import ATTRIBUTES
from noisezoo.builder.sources.pixels import signed
from noisezoo.builder.sources.source import open_source
from noisezoo.builder.views.quality import latent_statistics, measure

IMAGES, PROBED = 64, 1000
SHIPPED = ("faces-ddpm", "faces-ldm-uncond", "faces-ldm", "digits-ddpm", "faces-clip", "faces-ssl")
CARD = """---
license: apache-2.0
library_name: {{ library }}
tags: [noisezoo, testbed]
---

# {{ row.name }}

{{ row.about[0] | upper }}{{ row.about[1:] }}. It exists so that claims about noise and
embeddings can be tried in minutes, where the truth is known.

{{ parameters }} parameters, float16 safetensors, {{ library }}'s own folder layout.

Trained from its own random start (seed {{ training.seed }}) by `testbed/{{ script }}` for {{ training.steps }} steps of
{{ training.batch_size }} images. No image it was trained on is in any dataset: faces from number
1,000,000,000 on are for training, and the digits are divided by a hash of their id.
{% if row.kind == "noise" %}
Before training, the network has the SHA-256 `{{ untrained }}` (float32 weights in order of their names); that
network is the view `{{ row.name }}-untrained`.

![Samples of 50 DDIM steps](samples.png)
{% if row.clip_conditioned %}
Each row of samples has one prompt, at guidance 3.5: {{ prompts }}.
{% endif %}{% endif %}
| measured on {{ n }} unseen images | trained | before training |
|---|---|---|
{% for name, (trained, before) in figures.items() -%}
| {{ name }} | {{ trained }} | {{ before }} |
{% endfor %}
![Training curve](curve.png)
"""


def main() -> None:
    """One card for every shipped model, or for those that are named."""
    for name in sys.argv[1:] or SHIPPED:
        row = zoo.get(name)
        figures = noise_figures(row) if row.kind == "noise" else encoder_figures(row)
        write_card(row, figures)
        print(name, figures)


def pictures(name: str, n: int) -> tuple[list[Image.Image], np.ndarray]:
    """Unseen pictures of the source a model belongs to, and their attributes (n, k)."""
    source = open_source(name.partition("-")[0])
    table = source.scan().slice(0, n)
    images = [image for image in source.images(table.column("key").to_pylist()) if not isinstance(image, Exception)]
    names = [attribute for attribute in ATTRIBUTES if attribute in table.column_names]
    labels = [np.asarray(table.column(attribute)) for attribute in names]
    return images, np.stack(labels, axis=1).astype(int) if labels else np.empty((n, 0))


def noise_figures(row: zoo.View) -> dict[str, tuple[str, str]]:
    """Round trip and latent statistics of 50-step DDIM, trained and before training."""
    images, _ = pictures(row.name, IMAGES)
    given = np.stack([signed(image, row.resolution) for image in images])
    columns = [round_trip(view, given) for view in (row, zoo.get(row.name + zoo.UNTRAINED))]
    return {name: (columns[0][name], columns[1][name]) for name in columns[0]}


def round_trip(row: zoo.View, given: np.ndarray) -> dict[str, str]:
    """Invert and regenerate pictures (n, 3, h, w)."""
    assert row.folder is not None
    inverter = Inverter.from_pretrained(row.folder, untrained_seed=row.start_seed)
    images = torch.from_numpy(given)
    noise = inverter.invert(images)
    statistics = latent_statistics(noise.numpy())

    def psnr(again: torch.Tensor) -> float:
        return float(measure(["psnr"], again.numpy(), given)["reconstruction_psnr"].mean())

    alone = psnr(inverter.decode(inverter.encode(images)))
    autoencoder = {} if inverter.pipeline.autoencoder is None else {"autoencoder alone, PSNR in dB": f"{alone:.1f}"}
    return {
        **autoencoder,
        "round trip, 50 steps, PSNR in dB": f"{psnr(inverter.generate(noise)):.1f}",
        "noise, mean (Gaussian: 0)": f"{statistics['latent_mean'].mean():.3f}",
        "noise, standard deviation (Gaussian: 1)": f"{statistics['latent_std'].mean():.3f}",
    }


def encoder_figures(row: zoo.View) -> dict[str, tuple[str, str]]:
    """Mean balanced accuracy of linear probes over the sixteen attributes, trained and before training."""
    images, Y = pictures(row.name, PROBED)
    tables = []
    for view in (row, zoo.get(row.name + zoo.UNTRAINED)):
        assert view.folder is not None
        X = Encoder.from_pretrained(view.folder, family=view.family, untrained_seed=view.start_seed).embed(images)
        tables.append(probe_table(X, Y, list(ATTRIBUTES)))
    trained, before = (str(table.mean["balanced_accuracy"]) for table in tables)
    difference = str(probe_difference(*tables))
    return {
        "linear probes, mean balanced accuracy (chance 0.5)": (trained, before),
        "trained minus untrained": (difference, ""),
    }


def write_card(row: zoo.View, figures: dict[str, tuple[str, str]]) -> None:
    """README.md and curve.png of one folder."""
    folder = TESTBED / row.name
    training = json.loads((folder / "training.json").read_text())
    draw_curve(training["curve"], folder / "curve.png")
    library = {"diffusers": "diffusers", "open_clip": "open_clip", "transformers": "transformers"}[row.family]
    facts: dict[str, Any] = {
        "row": row,
        "library": library,
        "parameters": f"{parameters(folder):,}",
        "training": training,
        "script": script_of(row.name),
        "figures": figures,
        "n": IMAGES if row.kind == "noise" else PROBED,
        "untrained": untrained_digest(row) if row.kind == "noise" else "",
        "prompts": "; ".join(f'"{prompt}"' for prompt in PROMPTS),
    }
    (folder / "README.md").write_text(jinja2.Template(CARD, undefined=jinja2.StrictUndefined).render(**facts) + "\n")


def script_of(name: str) -> str:
    """The script that trained a model."""
    return f"train_{name.replace('-', '_')}.py"


def parameters(folder: Path) -> int:
    """Numbers in all the folder's weight files."""
    from safetensors.numpy import load_file

    return sum(array.size for path in folder.rglob("*.safetensors") for array in load_file(path).values())


def untrained_digest(row: zoo.View) -> str:
    """SHA-256 of the network before training."""
    assert row.folder is not None
    network = Inverter.from_pretrained(row.folder, untrained_seed=row.init_seed).pipeline.denoiser
    digest = hashlib.sha256()
    for _, value in sorted(network.state_dict().items()):
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def draw_curve(curve: list[list[float]], path: Path) -> None:
    """Running training loss over steps."""
    figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
    steps, losses = zip(*curve, strict=True)
    axes.plot(steps, losses, linewidth=1.5)
    axes.set(xlabel="step", ylabel="training loss", yscale="log")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
