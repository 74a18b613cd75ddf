"""Read a diffusers folder: the denoiser, the schedule and, where they are there, the autoencoder and the text tower."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DENOISER_NAMES, AUTOENCODER_NAMES = ("unet", "transformer"), ("vae", "vqvae")
ACCESS = "accept its licence on the Hub and run `hf auth login`, or pass a local folder"


@dataclass
class Pipeline:
    """A loaded diffusers folder, on one device, in evaluation mode."""

    denoiser: Any
    autoencoder: Any
    text_encoder: Any
    tokenizer: Any
    scheduler_config: Mapping[str, Any]
    dtype: "torch.dtype"
    device: "torch.device"

    def encode_prompt(self, prompt: str) -> "Tensor":
        """Last hidden state of the text tower for one prompt: (1, tokens, width)."""
        import torch

        if self.tokenizer is None or self.text_encoder is None:
            raise UsageError("this model takes a prompt, but its folder has no tokenizer and text_encoder")
        tokens = self.tokenizer(
            prompt,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with torch.inference_mode():
            hidden: Tensor = self.text_encoder(tokens.to(self.device))[0]
        return hidden.to(self.dtype)


def resolve(folder_or_hub_id: str | Path, revision: str | None = None) -> Path:
    """The local folder of a model: itself, or a snapshot of a Hub repository (safetensors and configs only).

    Raises:
        UsageError: There is neither such a folder nor such a repository, or it is gated and access is not granted.
    """
    if Path(folder_or_hub_id).is_dir():
        return Path(folder_or_hub_id)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.txt", "*.model", "*.safetensors"]
    try:
        return Path(snapshot_download(str(folder_or_hub_id), revision=revision, allow_patterns=wanted))
    except GatedRepoError as error:
        raise UsageError(f"{folder_or_hub_id} is gated: {ACCESS}") from error
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, ConnectionError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{folder_or_hub_id} is neither a folder nor a model that can be reached: {reason}") from error


def read_index(folder: Path) -> dict[str, Any]:
    """The folder's `model_index.json`: component name -> [library, class].

    Raises:
        UsageError: The folder is not a diffusers pipeline.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise UsageError(f"{folder} is not a diffusers pipeline: it has no model_index.json")
    try:
        return dict(json.loads(path.read_text()))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error


def load_pipeline(
    folder: Path, *, dtype: str, device: "torch.device", untrained_seed: int | None = None, denoise: bool = True
) -> Pipeline:
    """Load a diffusers folder's components by the classes its index names; remote code never runs.

    Args:
        folder: A diffusers pipeline folder.
        dtype: Dtype of the denoiser and the text tower; the autoencoder stays float32.
        device: Where to put them.
        untrained_seed: Start the denoiser anew from its configuration and this seed instead of reading its weights.
        denoise: Load the denoiser; a control that needs the autoencoder alone does not.

    Raises:
        UsageError: A component is missing or of a class that is not known.
    """
    import torch

    index = read_index(folder)
    numbers: torch.dtype = getattr(torch, dtype)
    network = _component(folder, index, DENOISER_NAMES, numbers, untrained_seed) if denoise else None
    if denoise and network is None:
        raise UsageError(f"{folder} has no denoiser: expected one of {', '.join(DENOISER_NAMES)} in model_index.json")
    text_encoder = _component(folder, index, ("text_encoder",), numbers) if denoise else None
    pipeline = Pipeline(
        denoiser=network,
        autoencoder=_component(folder, index, AUTOENCODER_NAMES, torch.float32),
        text_encoder=text_encoder,
        tokenizer=_component(folder, index, ("tokenizer",), None) if text_encoder is not None else None,
        scheduler_config=_scheduler_config(folder),
        dtype=numbers,
        device=device,
    )
    for module in (pipeline.denoiser, pipeline.autoencoder, pipeline.text_encoder):
        if module is not None:
            module.to(device).eval().requires_grad_(False)
    if network is not None:
        network.to(memory_format=torch.channels_last)  # measured: a tenth to a fifth faster, on CPU as on GPU
    return pipeline


def _scheduler_config(folder: Path) -> dict[str, Any]:
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        raise UsageError(f"{folder} has no scheduler/scheduler_config.json, so its noise schedule is unknown")
    return dict(json.loads(path.read_text()))


def _component(
    folder: Path,
    index: Mapping[str, Any],
    names: Sequence[str],
    dtype: "torch.dtype | None",
    untrained_seed: int | None = None,
) -> Any:
    """The first of the named components that the index lists, loaded; None where it lists none."""
    name = next((name for name in names if (index.get(name) or [None])[0] is not None), None)
    if name is None:
        return None
    library, kind = index[name]
    if library not in ("diffusers", "transformers") or not hasattr(module := import_module(library), kind):
        raise UsageError(f"{folder}: component {name} is a {library}.{kind}, which is not a class we load")
    if not (folder / name).is_dir():
        raise UsageError(f"{folder} lacks its component {name}/: download the whole folder again")
    factory = getattr(module, kind)
    if untrained_seed is not None:
        network = _untrained(factory, folder / name, untrained_seed)
        return network if dtype in (None, network.dtype) else network.to(dtype)
    options = {} if dtype is None else {"torch_dtype": dtype, "use_safetensors": True}
    try:
        return factory.from_pretrained(folder / name, **options)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: component {name} cannot be loaded: {str(error).splitlines()[0]}") from error


def _untrained(factory: Any, folder: Path, seed: int) -> Any:
    """The network before training: its configuration, and a random start that the seed fixes."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory.from_config(factory.load_config(folder))
