"""A row of the zoo for a model that has none: what its own files say, and what one forward on a blank picture shows."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaml import YAMLError

from noisezoo.errors import UsageError
from noisezoo.loading import LABELS, PAIRED
from noisezoo.schema import ID, SPLIT
from noisezoo.zoo import View, is_path, rows
from .encoders import BLANK_SIDE, Encoder, families
from .files import resolve

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

    from .pipeline import Pipeline


def describe(family: str, folder_or_hub_id: str | Path, revision: str | None = None, *, pickled: bool = False) -> View:
    """A row for any diffusers folder, or any model of one of the encoders' families; it is not registered.

    Runs the model once, on one image: seconds for an encoder, and for a diffusion model what one step costs. The row's
    `gflops` are of one forward on one image, two a multiply-add; its licence is `unknown` unless the folder's README
    says it. Raises UsageError for a folder that is not of this family or cannot be loaded, or whose files do not say
    what the row needs.
    """
    known = ("diffusers", *families())
    if family not in known:
        raise UsageError(f"unknown family {family!r}; choose one of: {', '.join(known)}")
    if pickled and family in families():
        raise UsageError("an encoder is read from safetensors alone: convert its weights")
    folder, name = resolve(folder_or_hub_id, revision, family=family, pickled=pickled), _name(folder_or_hub_id)
    told = _noise(folder, name, pickled) if family == "diffusers" else _embedding(folder, family)
    repo = str(folder_or_hub_id)
    repo = repo if is_path(repo) or not Path(repo).is_dir() else f"./{repo}"  # as a row spells a local folder
    about = f"{told.pop('model')}, as its files describe it"
    return View(name=name, family=family, repo=repo, revision=revision, license=_license(folder), about=about, **told)


def row_yaml(view: View) -> str:
    """The row as a recipe's `rows`, ready to be pasted; fields that stand at their default are left out."""
    import yaml

    row = {field.name: list(value) if isinstance(value := getattr(view, field.name), tuple) else value
           for field in fields(View) if getattr(view, field.name) != field.default}  # fmt: skip
    text: str = yaml.safe_dump({"rows": [row]}, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return text


def _embedding(folder: Path, family: str) -> dict[str, Any]:
    from PIL import Image

    encoder = Encoder.from_pretrained(folder, family=family)
    pixels = encoder.prepare(Image.new("RGB", (BLANK_SIDE, BLANK_SIDE)))[None]
    with _counting() as counter:
        width = encoder.embed_prepared(pixels).shape[1]
    return {
        "kind": "embedding", "resolution": _side(pixels.shape[2:], folder), "shape": (width,),
        "gflops": _giga(counter.get_total_flops()), "model": type(encoder.model).__name__,
    }  # fmt: skip


def _noise(folder: Path, name: str, pickled: bool) -> dict[str, Any]:
    import torch

    from .inverter import Inverter

    inverter = Inverter.from_pretrained(folder, num_inference_steps=1, guidance_scale=1.0, pickled=pickled)
    resolution = _resolution(inverter.pipeline, folder)
    with _counting() as encoding:
        latents = inverter.encode(torch.zeros(1, 3, resolution, resolution))
    with _counting() as denoising:
        inverter.invert_latents(latents)
    model = type(inverter.pipeline.denoiser).__name__
    work = sum(denoising.get_flop_counts()[model].values())  # the text tower's is not in it
    towers = [str(entry) for part, entry in inverter.pipeline.index.items() if part.startswith("text_encoder")]
    return {
        "kind": "noise", "resolution": resolution, "shape": tuple(latents.shape[1:]),
        "gflops": _giga(work / inverter.network.forwards), "clip_conditioned": any("CLIP" in tower for tower in towers),
        "autoencoder": None if inverter.pipeline.autoencoder is None else f"{name}-vae",
        "autoencoder_gflops": _giga(encoding.get_total_flops()), "pickled": pickled, "model": model,
    }  # fmt: skip


def _resolution(pipeline: "Pipeline", folder: Path) -> int:
    """Pixels a side: the denoiser's own size in latents, else its autoencoder's in pixels (FLUX)."""
    for model, scale in ((pipeline.denoiser, pipeline.downscale), (pipeline.autoencoder, 1)):
        if model is not None and model.config.get("sample_size"):
            return _side(model.config.sample_size, folder) * scale
    raise UsageError(f"{folder}: no sample_size in its configs says the resolution: write its row by hand")


def _side(size: Any, folder: Path) -> int:
    sides: set[int] = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UsageError(f"{folder} is for pictures of {tuple(size)} pixels: a view's are square")
    return sides.pop()


@contextmanager
def _counting() -> "Iterator[FlopCounterMode]":
    """Count the work of all networks; fused attention may go uncounted (by torch 2.7), so it is off meanwhile."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _giga(flops: float) -> float:
    return float(f"{flops / 1e9:.3g}")


def _name(folder_or_hub_id: str | Path) -> str:
    """The last part, fit for a dataset config, and free in the zoo."""
    text = str(folder_or_hub_id)
    last = Path(text).expanduser().resolve().name if is_path(text) else text.rsplit("/", 1)[-1]
    name = re.sub(r"[^a-z0-9.]+", "-", last.lower()).strip("-.") or "model"
    taken = {*(row.name for row in rows()), PAIRED, LABELS, ID, SPLIT}
    return next(free for free in (name if n == 1 else f"{name}-{n}" for n in count(1)) if free not in taken)


def _license(folder: Path) -> str:
    """What the README's front matter says; its `license_name` where the licence is one of the Hub's `other`."""
    from huggingface_hub.repocard import metadata_load

    try:
        told = metadata_load(folder / "README.md") or {}
    except (OSError, ValueError, YAMLError):
        told = {}
    license = told.get("license_name") or told.get("license")
    return str(license) if license and license != "other" else "unknown"
