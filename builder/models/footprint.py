"""What a model is before it is loaded: parameters, download, how it takes guidance, and the memory that it will need.

A folder's are read from its configurations and the headers of its weights; a Hub repository's stand in its zoo row, so
that a plan downloads nothing.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from noisezoo import zoo
from noisezoo.errors import UsageError
from noisezoo.files import read_json
from .denoisers import denoiser_of
from .files import AUTOENCODERS, DENOISERS, model_files, naming, tensors

if TYPE_CHECKING:
    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View

BYTES = {"float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2}
NULL: dict[str, str | None] = {"text": "", "zeros": None}
"""Models that take guidance by a second pass: their kind of guidance -> their own "no prompt"."""
LATENT, PIXEL, ENCODER, ENCODER_PATCH = (24, 320), (11, 128), (24, 1024), 16
"""Networks of latents and of pixels, and encoders: live tensors of the widest level, and its channels."""
AUTOENCODER_LIVE, AUTOENCODER_WIDTH, TILE = 5, 128, 512


@dataclass(frozen=True)
class Footprint:
    """A model's size and kind."""

    network: float  # parameters of the denoiser or encoder
    text: float  # parameters of its text towers
    autoencoder: float  # parameters of its autoencoder
    download: float  # bytes to fetch; 0 for a folder
    guidance: str  # `text` or `zeros` (a second pass, with the empty prompt or zeros for no prompt), `input`, or `none`

    def weights(self, row: "View", dtype: str) -> float:
        """Bytes of what the view holds while it works: the network in `dtype`, the autoencoder in float32."""
        network = 0.0 if row.family == "vae" else self.network * BYTES[dtype]
        return network + self.autoencoder * 4

    def towers(self, row: "View", dtype: str) -> float:
        """Bytes of its text towers, which are loaded where a prompt is encoded."""
        return 0.0 if row.family == "vae" else self.text * BYTES[dtype]

    def fetched(self, row: "View", *, texts: bool) -> float:
        """Bytes that the view downloads: of an autoencoder alone its share, of the others all, or all but `texts`."""
        whole = self.network + self.text + self.autoencoder
        parts = self.autoencoder if row.family == "vae" else whole - (not texts) * self.text
        return self.download * parts / whole if whole else self.download


def footprint(row: "View") -> Footprint | None:
    """A row's model; all zeros where it needs none, None where nothing is known of it."""
    if not row.repo:
        return Footprint(0, 0, 0, 0, "none")
    if row.folder is not None:
        with naming(row):
            return _of_folder(row, row.folder) if row.folder.is_dir() else None
    known = next((other for other in (row, *zoo.rows()) if other.repo == row.repo and other.millions), None)
    if known is None:
        return None
    network, text, autoencoder = (1e6 * millions for millions in known.millions)
    guidance = known.guidance or ("none" if known.clip_conditioned is False else "text")
    return Footprint(network, text, autoencoder, 1e9 * known.gigabytes, guidance)


def _of_folder(row: "View", folder: Path) -> Footprint:
    counts = dict.fromkeys(("network", "text", "autoencoder"), 0)
    for path in (path for path in model_files(replace(row, untrained=False)) if path.suffix == ".safetensors"):
        component = PurePosixPath(path.relative_to(folder)).parts[0]
        part = "text" if component.startswith("text_encoder") else "network"
        counts["autoencoder" if component in AUTOENCODERS else part] += sum(map(prod, tensors(path).values()))
    return Footprint(**counts, download=0.0, guidance=_guidance(folder))


def _guidance(folder: Path) -> str:
    """How the folder's denoiser takes guidance; `none` where it has no denoiser."""
    index = read_json(folder / "model_index.json") or {}
    found = (read_json(folder / name / "config.json") for name in DENOISERS)
    config = next((each for each in found if each is not None), None)
    with suppress(UsageError):
        return "none" if config is None else denoiser_of(config).guidance(config, index)
    return "text"


def is_guided(kind: str, settings: "Settings") -> bool:
    """Whether guidance takes a second pass: where the prompts can differ and the scale is not 1."""
    if kind not in NULL or settings.guidance_scale in (None, 1.0):
        return False
    without = NULL[kind] if settings.negative_prompt is None else settings.negative_prompt
    return settings.prompt_column is not None or settings.prompt != without


def stage_bytes(row: "View", settings: "Settings", batch: int) -> dict[str, float]:
    """Bytes that a batch needs beside the weights, at its widest; a rule of thumb, good to a factor of two or so.

    Returns:
        `encode` (by the autoencoder, and as much to decode) and `network`, each 0 where the view has none.
    """
    pixels = row.resolution**2
    together = 1 if settings.vae_slicing else batch
    tile = min(pixels, TILE**2) if settings.vae_tiling else pixels
    coded = row.autoencoder is not None or row.family == "vae"
    autoencoder = together * tile * AUTOENCODER_WIDTH * AUTOENCODER_LIVE * 4.0 if coded else 0.0
    positions, (live, width) = {
        "diffusers": (prod(row.shape[1:]), LATENT if row.autoencoder else PIXEL), "vae": (0, LATENT),
    }.get(row.family, (pixels // ENCODER_PATCH**2 if row.gflops else 0, ENCODER))  # fmt: skip
    return {
        "encode": autoencoder,
        "network": float(batch * positions * width * live * BYTES[settings.dtype or "float32"]),
    }


def activations(row: "View", settings: "Settings", batch: int) -> float:
    """Bytes that a batch needs beside the weights in its widest stage."""
    return max(stage_bytes(row, settings, batch).values())
