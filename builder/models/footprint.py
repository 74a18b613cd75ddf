"""What a model is before it is loaded: parameters, download, how it takes guidance, and the memory that it will need.

Of folders it is read from their configurations and the heads of their weights; of the zoo's repositories it stands in
`weights.csv`, so that nothing need be downloaded to plan.
"""

import csv
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.files import read_json

if TYPE_CHECKING:
    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View

TABLE = files("noisezoo.builder.models") / "weights.csv"
PARTS = ("network", "text", "autoencoder")
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
NETWORKS, AUTOENCODERS = ("unet", "transformer"), ("vae", "vqvae")
NULL: dict[str, str | None] = {"text": "", "zeros": None}
"""How a model takes guidance, where it does by a second pass -> its own "no prompt"."""
LIVE, LATENT_WIDTH, PIXEL_WIDTH, ENCODER_WIDTH, ENCODER_PATCH = 24, 320, 128, 1024, 16
"""Tensors of the widest level that live at a time, its channels in latent and pixel networks and encoders, a patch."""
AUTOENCODER_LIVE, AUTOENCODER_WIDTH, TILE = 5, 128, 512


@dataclass(frozen=True)
class Footprint:
    """A model's size and kind.

    Attributes:
        network: Parameters of the denoiser or encoder.
        text: Parameters of its text towers.
        autoencoder: Parameters of its autoencoder.
        download: Bytes to fetch; 0 for a folder.
        guidance: `text` or `zeros` (a second pass, with the empty prompt or zeros for no prompt), `input`, or `none`.
    """

    network: float
    text: float
    autoencoder: float
    download: float
    guidance: str

    def weights(self, row: "View", dtype: str) -> float:
        """Bytes of what the view loads: the networks in `dtype`, the autoencoder in float32."""
        networks = 0.0 if row.family == "vae" else (self.network + self.text) * BYTES[dtype]
        return networks + self.autoencoder * 4


def footprint(row: "View") -> Footprint | None:
    """A row's model; all zeros where it needs none, None where nothing is known of it."""
    if not row.repo:
        return Footprint(0, 0, 0, 0, "none")
    if row.folder is not None:
        return _of_folder(row.folder) if row.folder.is_dir() else None
    return _table().get(row.repo)


@cache
def _table() -> dict[str, Footprint]:
    found = {}
    for row in csv.DictReader(TABLE.read_text().splitlines()):
        network, text, autoencoder = (float(row[f"{part}_millions"]) * 1e6 for part in PARTS)
        found[row["repo"]] = Footprint(network, text, autoencoder, float(row["download_gb"]) * 1e9, row["guidance"])
    return found


def _of_folder(folder: Path) -> Footprint:
    parts = {path: _parameters(path) for path in sorted(folder.rglob("*.safetensors"))}
    texts = sum(n for path, n in parts.items() if path.parent.name.startswith("text_encoder"))
    vae = sum(n for path, n in parts.items() if path.parent.name in AUTOENCODERS)
    return Footprint(sum(parts.values()) - texts - vae, texts, vae, 0.0, _guidance(folder))


def _parameters(path: Path) -> int:
    """Numbers in a safetensors file, by its head: 8 bytes of length, then JSON; none in a file that is no such."""
    with path.open("rb") as stream:
        try:
            head = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
        except (struct.error, ValueError):
            return 0
    return sum(prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")


def _guidance(folder: Path) -> str:
    """As the denoisers decide it, from the same fields."""
    index = read_json(folder / "model_index.json") or {}
    config = next((c for name in NETWORKS if (c := read_json(folder / name / "config.json")) is not None), {})
    kind = config.get("_class_name")
    if kind in (None, "UNet2DModel"):
        return "none"
    if kind == "FluxTransformer2DModel" or config.get("time_cond_proj_dim") is not None:
        return "input"
    sized = config.get("addition_embed_type") == "text_time"
    return "zeros" if sized and index.get("force_zeros_for_empty_prompt") else "text"


def is_guided(kind: str, settings: "Settings") -> bool:
    """Whether guidance takes a second pass: where the prompts can differ and the scale is not 1."""
    if kind not in NULL or settings.guidance_scale == 1.0:
        return False
    without = NULL[kind] if settings.negative_prompt is None else settings.negative_prompt
    return settings.prompt_column is not None or settings.prompt != without


def activations(row: "View", settings: "Settings", batch: int) -> float:
    """Bytes that a batch needs beside the weights, at its widest; a rule of thumb, good to a factor of two or so.

    A view's widest level, in images of the batch: the network's first, or the autoencoder's in full resolution.
    """
    pixels = row.resolution**2
    together = 1 if settings.vae_slicing else batch
    tile = min(pixels, TILE**2) if settings.vae_tiling else pixels
    coded = row.autoencoder is not None or row.family == "vae"
    autoencoder = together * tile * AUTOENCODER_WIDTH * AUTOENCODER_LIVE * 4.0 if coded else 0.0
    positions, width = {
        "diffusers": (prod(row.shape[1:]), LATENT_WIDTH if row.autoencoder else PIXEL_WIDTH), "vae": (0, 0),
    }.get(row.family, (pixels // ENCODER_PATCH**2 if row.gflops else 0, ENCODER_WIDTH))  # fmt: skip
    network = float(batch * positions * width * LIVE * BYTES[settings.dtype])
    return max(autoencoder, network)


def unique(rows: "Iterable[View]") -> "list[View]":
    """The first row of each model: a repository or folder is fetched once."""
    return list({row.repo: row for row in reversed(list(rows)) if row.repo}.values())[::-1]
