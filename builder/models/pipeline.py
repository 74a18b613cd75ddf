"""Read a diffusers folder: the denoiser, the schedule and, where there are any, autoencoder and text towers.

Components are read by the classes that the folder's index names; remote code never runs.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from huggingface_hub import constants
from torch import Tensor

from noisezoo.errors import UsageError
from . import files
from .arithmetic import ATTENTION, check_arithmetic, network_dtype

UNLIMITED = 10**6  # a number of tokens that stands for no limit
UNSCALED = {"VQModel": 1.0}
"""Scale of latents of autoencoders for which diffusers' default, Stable Diffusion's 0.18215, is wrong: no
vector-quantised model was trained by it (diffusers issue 6725)."""


@dataclass(frozen=True)
class Runtime:
    """How the network is run; none of it changes what is computed, but for rounding."""

    channels_last: bool | None = None
    """Memory format of the denoiser's convolutions; None: the faster one, as `on` says."""
    attention_backend: str | None = None  # torch's kernel, a key of `arithmetic.ATTENTION`; None: torch's choice
    vae_slicing: bool = False  # encode and decode one image at a time
    vae_tiling: bool = False  # encode and decode large images tile by tile; blends at the seams
    compile: bool | str = False
    """Compile the denoiser by `torch.compile`, once for each shape; a string is its mode, as `reduce-overhead` or
    `max-autotune`, which replay CUDA graphs."""

    def __post_init__(self) -> None:
        if self.attention_backend not in (None, *ATTENTION):
            known = ", ".join(ATTENTION)
            raise UsageError(f"unknown attention_backend {self.attention_backend!r}; choose one of: {known}")

    def on(self, device: "torch.device") -> "Runtime":
        """With a memory format chosen where none was asked for.

        Channels last is 6 to 21 % faster on a CPU, and torch.compile wants it. On a GPU, uncompiled, it is slower:
        305 forwards of SD 1.5 a second against 336 (H200, float16, batch 32), and 91 images encoded against 113.
        """
        fast = device.type == "cpu" or bool(self.compile)
        return replace(self, channels_last=fast) if self.channels_last is None else self


@dataclass
class Pipeline:
    """A diffusers folder: its networks, each read when it is first asked for, on one device and for evaluation."""

    folder: Path  # a diffusers folder
    dtype: "torch.dtype"  # dtype of the denoiser and the text towers; the autoencoder stays float32
    device: "torch.device"  # where networks are put
    runtime: Runtime  # how they are run
    denoise: bool = True  # whether the denoiser is wanted, and not the autoencoder alone
    pickled: bool = False  # where a component has no safetensors, read its `.bin`, through `weights_only`
    untrained_seed: int | None = None  # start the denoiser anew from its configuration and this seed

    @cached_property
    def index(self) -> dict[str, Any]:
        """The folder's `model_index.json`."""
        if not (self.folder / "model_index.json").is_file():
            raise UsageError(f"{self.folder} is not a diffusers pipeline: it has no model_index.json")
        return files.read_json(self.folder / "model_index.json")

    @cached_property
    def files(self) -> list[str]:
        """The files that are needed, each of which is there; the weights of text towers only after a prompt came."""
        return self._files(texts=False)

    @cached_property
    def denoiser(self) -> Any:
        """The denoising network; raises UsageError where there is none."""
        network = self.first(files.DENOISERS)
        if network is None:
            raise UsageError(
                f"{self.folder} has no denoiser: expected one of {', '.join(files.DENOISERS)} in model_index.json"
            )
        if self.runtime.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.runtime.compile:
            network.compile(mode=self.runtime.compile if isinstance(self.runtime.compile, str) else "default")
        return network

    @cached_property
    def autoencoder(self) -> Any:
        """The autoencoder; None in pixel space."""
        vae = self.first(files.AUTOENCODERS)
        for setting, switch in (("vae_slicing", "enable_slicing"), ("vae_tiling", "enable_tiling")):
            if getattr(self.runtime, setting) and vae is not None:
                with files.reading(f"{self.folder}: {setting} of a {type(vae).__name__}"):
                    getattr(vae, switch)()
        return vae

    @cached_property
    def scheduler_config(self) -> dict[str, Any]:
        """The folder's noise schedule, in `scheduler/` or, in repositories of one network, beside the index."""
        for path in (self.folder / "scheduler" / "scheduler_config.json", self.folder / "scheduler_config.json"):
            if path.is_file():
                return files.read_json(path)
        raise UsageError(f"{self.folder} has no scheduler/scheduler_config.json, so its noise schedule is unknown")

    @cached_property
    def scaling(self) -> "tuple[float | Tensor, float | Tensor]":
        """Scale and shift: latents are (z - shift) * scale for the autoencoder's z; 1 and 0 in pixel space.

        Both are numbers, or (1, c, 1, 1) where the autoencoder has a mean and a standard deviation for each channel.
        """
        for name in files.listed(self.index, files.AUTOENCODERS):
            said, kind = self._config(name), self._class(name)
            library_s = signature(kind.__init__).parameters["scaling_factor"].default
            scale = said.get("scaling_factor") or library_s
            if scale == library_s:  # diffusers writes its own default into every config that it saves
                scale = UNSCALED.get(kind.__name__, library_s)
            moments = [said.get(f"latents_{moment}") for moment in ("mean", "std")]
            if None in moments:
                return float(scale), float(said.get("shift_factor") or 0.0)
            mean, deviation = torch.tensor(moments, dtype=torch.float32, device=self.device)[:, None, :, None, None]
            return scale / deviation, mean
        return 1.0, 0.0

    @cached_property
    def tokenizers(self) -> dict[str, Any]:
        """Name -> tokenizer, or None where the index lists none."""
        return {name: self.first((name,)) for name in files.TOWERS if "tokenizer" in name}

    def prompt_file(self, kind: str, prompt: str | None) -> Path | None:
        """Where a prompt's encoding is kept for all processes of a user; None for a folder that is no Hub snapshot.

        Its name stands for all that decides the encoding's bits: repository, commit, software, device and dtype.
        """
        if (stem := prompt_stem(self.folder, kind, prompt)) is None:
            return None
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device)
        versions = [each.__version__ for each in (torch, diffusers, transformers)]
        return stem.with_name(f"{stem.name}-{_digest(str(self.dtype), device, versions)}.safetensors")

    def text_pipeline(self, kind: str) -> Any:
        """Diffusers' pipeline called `kind`, around text towers that are read now; UsageError where there are none."""
        if len(files.listed(self.index, ("tokenizer", "text_encoder"))) < 2:
            raise UsageError(
                f"{self.folder} takes a prompt, but has no tokenizer and text_encoder: its index names none, as SDXL's "
                "refiner does; give the folder of a whole text-to-image model"
            )
        try:
            self.files = self._files(texts=True)
        except UsageError:
            if (snapshot := files.snapshot_of(self.folder)) is None:
                raise
            files.resolve(*snapshot, pickled=self.pickled)  # text towers' weights stay on the Hub until now
            self.files = self._files(texts=True)
        factory = getattr(diffusers, kind)
        parameters = {name: p for name, p in signature(factory.__init__).parameters.items() if name != "self"}
        required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
        parts = dict.fromkeys(required) | {name: v for name, v in self.index.items() if isinstance(v, bool)}
        parts |= self.tokenizers | {name: self.first((name,)) for name in files.TOWERS if "encoder" in name}
        parts["transformer"] = self.denoiser  # SD3's gives the width of the zeros for a missing T5
        parts["requires_safety_checker"] = False  # nothing is generated by it
        return factory(**{name: part for name, part in parts.items() if name in parameters})

    def cast(self, y: "Tensor") -> "Tensor":
        """A float32 state as the network takes it."""
        layout = torch.channels_last if self.runtime.channels_last else torch.contiguous_format
        return y.to(self.dtype, memory_format=layout)

    @property
    def downscale(self) -> int:
        """Pixels a side of one latent."""
        return 1 if self.autoencoder is None else 2 ** (len(self.autoencoder.config.block_out_channels) - 1)

    def check_picture(self, height: int, width: int, multiple: int = 1) -> None:
        """Raise UsageError for pictures, in pixels, that are not whole latents, `multiple` of them at a time."""
        side = multiple * self.downscale
        if height % side or width % side:
            raise UsageError(f"pictures of {height} x {width} do not fit: sides must be multiples of {side} pixels")

    @property
    def default_image_tokens(self) -> int:
        """Tokens of an image of the folder's own size."""
        model = self.denoiser if self.autoencoder is None else self.autoencoder
        size = model.config.get("sample_size") or 0
        height, width = size if isinstance(size, list | tuple) else (size, size)
        channels = model.config.get("latent_channels") or self.denoiser.config.in_channels
        return self.image_tokens((channels, height // self.downscale, width // self.downscale))

    def image_tokens(self, shape: Sequence[int]) -> int:
        """Tokens that latents (c, h, w) make in a transformer, by its patch size and by packing outside it (FLUX)."""
        channels, height, width = shape
        patch = int(self.denoiser.config.get("patch_size") or 1)
        packed = max(self.denoiser.config.in_channels // channels, 1)
        return int(height * width // (patch**2 * packed))

    @cached_property
    def prompt_tokens(self) -> int:
        """The length that T5's prompts are padded to: PixArt's own, of its version (alpha 120, sigma 300)."""
        pipeline = getattr(diffusers, str(self.index.get("_class_name")), diffusers.PixArtAlphaPipeline)
        length: int = signature(pipeline.encode_prompt).parameters["max_sequence_length"].default
        return length

    def first(self, names: Sequence[str]) -> Any:
        """The first of the named components that the index lists, loaded; None where it lists none."""
        for name in files.listed(self.index, names):
            kind, place = self._class(name), self._place(name)
            with files.reading(f"{self.folder}: component {name}"):
                if "tokenizer" in name:
                    return self._limited(name, kind.from_pretrained(place))
                self._check_config(name, kind)
                started = name in files.DENOISERS and self.untrained_seed is not None
                network = self._started(kind, place) if started else self._trained(name, kind, place)
            if isinstance(network, torch.nn.Module):
                network.to(self.device).eval().requires_grad_(False)
            return network
        return None

    def _files(self, texts: bool) -> list[str]:
        family, untrained = "diffusers" if self.denoise else "vae", self.untrained_seed is not None
        return files.local_files(self.folder, family, self.pickled, untrained, texts)

    def _started(self, kind: Any, place: Path) -> Any:
        """The network before training: its configuration, and a random start that the seed fixes."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.untrained_seed)
            network = kind.from_config(kind.load_config(place))
        return network if network.dtype == self.dtype else network.to(self.dtype)

    def _trained(self, name: str, kind: Any, place: Path) -> Any:
        component = place.relative_to(self.folder).as_posix() + "/" if place != self.folder else ""
        stored = [each for each in self.files if each.startswith(component) and each.endswith((".safetensors", ".bin"))]
        network, report = kind.from_pretrained(
            place, torch_dtype=torch.float32 if name in files.AUTOENCODERS else self.dtype,
            use_safetensors=stored[0].endswith(".safetensors"), output_loading_info=True,
        )  # fmt: skip
        if report["missing_keys"]:  # the libraries fill these with random numbers, and warn at most
            raise UsageError(f"{self.folder}: component {name} lacks the tensor {min(report['missing_keys'])}")
        return network

    def _limited(self, name: str, tokenizer: Any) -> Any:
        """The tokenizer; where its files name no greatest length, with that of its text tower."""
        tower = name.replace("tokenizer", "text_encoder")
        if tokenizer.model_max_length > UNLIMITED and files.listed(self.index, [tower]):
            config = self._class(tower).config_class.from_pretrained(self._place(tower))
            tokenizer.model_max_length = getattr(config, "max_position_embeddings", tokenizer.model_max_length)
        return tokenizer

    def _check_config(self, name: str, kind: Any) -> None:
        """Refuse a config key that changes the numbers and that nothing here reads.

        A class reads its own keys. What it does not know must stand at the default of the class that the config names
        (a former one), or say nothing.
        """
        config, where = self._config(name), f"{self.folder}: component {name}"
        if config.get("quantization_config"):
            raise UsageError(f"{where} is quantised (quantization_config): give the folder of the unquantised model")
        if name in files.AUTOENCODERS and config.get("latents_mean") and "XL" not in str(self.index.get("_class_name")):
            raise UsageError(f"{where} has latents_mean, which a {self.index.get('_class_name')} does not read")
        if not issubclass(kind, diffusers.ModelMixin):
            return
        former = getattr(diffusers, str(config.get("_class_name")), kind)
        defaults = {key: parameter.default for key, parameter in signature(former.__init__).parameters.items()}
        own = signature(kind.__init__).parameters
        for key, value in config.items():
            if value and not (key.startswith("_") or key in own or value == defaults.get(key)):
                raise UsageError(
                    f"{where}: its config's {key} is {value!r}, which the installed diffusers does not read: update "
                    "it, or leave the key out if it has no effect"
                )

    def _config(self, name: str) -> dict[str, Any]:
        return files.read_json(self._place(name) / "config.json")

    def _place(self, name: str) -> Path:
        return self.folder / files.Listing.of(self.folder).component(name)

    def _class(self, name: str) -> Any:
        library, kind = self.index[name]
        if library not in ("diffusers", "transformers") or not hasattr(module := import_module(library), kind):
            raise UsageError(f"{self.folder}: component {name} is a {library}.{kind}, which is not a class we load")
        return getattr(module, kind)


def prompt_stem(folder: Path, kind: str, prompt: str | None) -> Path | None:
    """How the files begin that keep a prompt's encoding; None for a folder that is no Hub snapshot."""
    if (snapshot := files.snapshot_of(folder)) is None:
        return None
    return Path(constants.HF_HOME) / "noisezoo" / "prompts" / _digest(*snapshot, kind, prompt)


def _digest(*told: Any) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def load_pipeline(
    folder: Path, *, dtype: str, device: "torch.device", untrained_seed: int | None = None, denoise: bool = True,
    pickled: bool = False, runtime: Runtime | None = None,
) -> Pipeline:  # fmt: skip
    """A diffusers folder with its denoiser and autoencoder loaded; text towers are read when a prompt is encoded.

    `dtype` is a key of `arithmetic.DTYPES`; the others are as `Pipeline` has them. Raises UsageError where a component
    is missing or of a class that is not known, or it cannot be run so.
    """
    runtime = (runtime or Runtime()).on(device)
    check_arithmetic(dtype, device, compiled=bool(runtime.compile) and denoise)
    pipeline = Pipeline(folder, network_dtype(dtype), device, runtime, denoise, pickled, untrained_seed)
    for part in ("index", "files", *(["denoiser"] if denoise else []), "autoencoder", "scheduler_config"):
        getattr(pipeline, part)
    return pipeline
