"""Read a diffusers folder: the denoiser, the schedule and, where there are any, autoencoder and text towers.

Components are read by the classes that the folder's index names; remote code never runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.builder.models.arithmetic import check_arithmetic, network_dtype
from noisezoo.builder.models.files import (
    AUTOENCODERS,
    DENOISERS,
    TOWERS,
    Listing,
    listed,
    local_files,
    read_json,
    reading,
)
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNLIMITED = 10**6
"""A number of tokens that stands for no limit."""
UNSCALED = {"VQModel": 1.0}
"""Scale of latents of autoencoders for which diffusers' default, Stable Diffusion's 0.18215, is wrong: no
vector-quantised model was trained by it (diffusers issue 6725)."""


@dataclass(frozen=True)
class Runtime:
    """How the network is run; none of it changes what is computed, but for rounding.

    Attributes:
        channels_last: Memory format of the denoiser's convolutions; None: the faster one, as `on` says.
        attention_backend: A back-end of diffusers' attention dispatcher (`native`, `flash`, ...); None: its choice.
        vae_slicing: Encode and decode one image at a time.
        vae_tiling: Encode and decode large images tile by tile; blends at the seams.
        compile: Compile the denoiser by `torch.compile`, once for each shape; a string is its mode, as
            `reduce-overhead` or `max-autotune`, which replay CUDA graphs.
    """

    channels_last: bool | None = None
    attention_backend: str | None = None
    vae_slicing: bool = False
    vae_tiling: bool = False
    compile: bool | str = False

    def on(self, device: "torch.device") -> "Runtime":
        """With a memory format chosen where none was asked for.

        Channels last is 6 to 21 % faster on a CPU, and torch.compile wants it. On a GPU, uncompiled, it is slower:
        305 forwards of SD 1.5 a second against 336 (H200, float16, batch 32), and 91 images encoded against 113.
        """
        fast = device.type == "cpu" or bool(self.compile)
        return replace(self, channels_last=fast) if self.channels_last is None else self


@dataclass
class Pipeline:
    """A loaded diffusers folder, on one device, in evaluation mode.

    Latents are (z - `shift`) * `scale` for the autoencoder's z; both are numbers, or (1, c, 1, 1) where the autoencoder
    has a mean and a standard deviation for each channel.
    """

    folder: Path
    index: Mapping[str, Any]
    denoiser: Any
    autoencoder: Any
    texts: Mapping[str, Any]
    scheduler_config: Mapping[str, Any]
    dtype: "torch.dtype"
    device: "torch.device"
    runtime: Runtime = field(default_factory=Runtime)
    scale: "float | Tensor" = 1.0
    shift: "float | Tensor" = 0.0

    def cast(self, y: "Tensor") -> "Tensor":
        """A float32 state as the network takes it."""
        import torch

        layout = torch.channels_last if self.runtime.channels_last else torch.contiguous_format
        return y.to(self.dtype, memory_format=layout)

    @property
    def downscale(self) -> int:
        """Pixels a side of one latent."""
        return 1 if self.autoencoder is None else 2 ** (len(self.autoencoder.config.block_out_channels) - 1)

    def check_picture(self, height: int, width: int, multiple: int = 1) -> None:
        """Refuse pictures that are not whole latents, `multiple` of them at a time.

        Raises:
            UsageError: A side, in pixels, is no such multiple.
        """
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
        import diffusers

        pipeline = getattr(diffusers, str(self.index.get("_class_name")), diffusers.PixArtAlphaPipeline)
        length: int = signature(pipeline.encode_prompt).parameters["max_sequence_length"].default
        return length

    def text_pipeline(self, kind: str) -> Any:
        """The pipeline of diffusers that is called `kind`, around the text towers alone, for its `encode_prompt`.

        Raises:
            UsageError: The folder has no text tower.
        """
        import diffusers

        if self.texts.get("tokenizer") is None or self.texts.get("text_encoder") is None:
            raise UsageError(
                f"{self.folder} takes a prompt, but has no tokenizer and text_encoder: its index names none, as SDXL's "
                "refiner does; give the folder of a whole text-to-image model"
            )
        factory = getattr(diffusers, kind)
        parameters = {name: p for name, p in signature(factory.__init__).parameters.items() if name != "self"}
        needed = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
        flags = {name: self.index[name] for name in parameters if isinstance(self.index.get(name), bool)}
        flags |= {name: False for name in parameters if name == "requires_safety_checker"}  # nothing is generated by it
        parts = {**self.texts, "transformer": self.denoiser}  # SD3's gives the width of the zeros for a missing T5
        towers = {name: part for name, part in parts.items() if name in parameters}
        return factory(**{**dict.fromkeys(needed), **flags, **towers})


def read_scheduler_config(folder: Path) -> dict[str, Any]:
    """The folder's noise schedule, in `scheduler/` or, in repositories of one network, beside the index.

    Raises:
        UsageError: It has none.
    """
    for path in (folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"):
        if path.is_file():
            return read_json(path)
    raise UsageError(f"{folder} has no scheduler/scheduler_config.json, so its noise schedule is unknown")


@dataclass(frozen=True)
class Reader:
    """Reads components of one folder by the classes that its index names."""

    folder: Path
    index: Mapping[str, Any]
    dtype: "torch.dtype"
    files: Sequence[str]

    def first(self, names: Sequence[str], untrained_seed: int | None = None) -> Any:
        """The first of the named components that the index lists, loaded; None where it lists none."""
        for name in listed(self.index, names):
            kind = self._class(name)
            with reading(f"{self.folder}: component {name}"):
                if "tokenizer" in name:
                    return kind.from_pretrained(self._place(name))
                self._check_config(name, kind)
                return self._trained(name, kind) if untrained_seed is None else self._start(name, kind, untrained_seed)
        return None

    def scaling(self) -> "tuple[float | Tensor, float | Tensor]":
        """Scale and shift of the latents, from the autoencoder's config; 1 and 0 in pixel space."""
        import torch

        for name in listed(self.index, AUTOENCODERS):
            said, kind = self._config(name), self._class(name)
            library_s = signature(kind.__init__).parameters["scaling_factor"].default
            unsaid = UNSCALED.get(kind.__name__, library_s)
            scale = said.get("scaling_factor") or unsaid
            # diffusers writes its own default into every config that it saves
            scale, shift = float(unsaid if scale == library_s else scale), float(said.get("shift_factor") or 0.0)
            mean, deviation = (said.get(f"latents_{moment}") for moment in ("mean", "std"))
            if mean is None or deviation is None:
                return scale, shift
            mean, deviation = (
                torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (mean, deviation)
            )
            return scale / deviation, mean
        return 1.0, 0.0

    def _trained(self, name: str, kind: Any) -> Any:
        import torch

        component, weights = self._component(name), (".safetensors", ".bin")
        stored = [path for path in self.files if path.startswith(component) and path.endswith(weights)]
        network, report = kind.from_pretrained(
            self._place(name), torch_dtype=torch.float32 if name in AUTOENCODERS else self.dtype,
            use_safetensors=stored[0].endswith(".safetensors"), output_loading_info=True,
        )  # fmt: skip
        if report["missing_keys"]:  # the libraries fill these with random numbers, and warn at most
            raise UsageError(f"{self.folder}: component {name} lacks the tensor {min(report['missing_keys'])}")
        return network

    def _start(self, name: str, kind: Any, seed: int) -> Any:
        """The network before training: its configuration, and a random start that the seed fixes."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = kind.from_config(kind.load_config(self._place(name)))
        return network if network.dtype == self.dtype else network.to(self.dtype)

    def _check_config(self, name: str, kind: Any) -> None:
        """Refuse a config key that changes the numbers and that nothing here reads.

        A class reads its own keys. What it does not know must stand at the default of the class that the config names
        (a former one), or say nothing.
        """
        import diffusers

        config, where = self._config(name), f"{self.folder}: component {name}"
        if config.get("quantization_config"):
            raise UsageError(f"{where} is quantised (quantization_config): give the folder of the unquantised model")
        if name in AUTOENCODERS and config.get("latents_mean") and "XL" not in str(self.index.get("_class_name")):
            raise UsageError(f"{where} has latents_mean, which a {self.index.get('_class_name')} does not read")
        if not issubclass(kind, diffusers.ModelMixin):
            return
        former = getattr(diffusers, str(config.get("_class_name")), kind)
        defaults = {key: parameter.default for key, parameter in signature(former.__init__).parameters.items()}
        for key, value in config.items():
            known = key.startswith("_") or key in signature(kind.__init__).parameters or value == defaults.get(key)
            if value and not known:
                raise UsageError(
                    f"{where}: its config's {key} is {value!r}, which the installed diffusers does not read: update "
                    "it, or leave the key out if it has no effect"
                )

    def _config(self, name: str) -> dict[str, Any]:
        return read_json(self._place(name) / "config.json")

    def _component(self, name: str) -> str:
        return Listing.of(self.folder).component(name)

    def _place(self, name: str) -> Path:
        return self.folder / self._component(name)

    def _class(self, name: str) -> Any:
        library, kind = self.index[name]
        if library not in ("diffusers", "transformers") or not hasattr(module := import_module(library), kind):
            raise UsageError(f"{self.folder}: component {name} is a {library}.{kind}, which is not a class we load")
        return getattr(module, kind)


def load_pipeline(
    folder: Path, *, dtype: str, device: "torch.device", untrained_seed: int | None = None, denoise: bool = True,
    pickled: bool = False, runtime: Runtime | None = None,
) -> Pipeline:  # fmt: skip
    """Load a diffusers folder's components by the classes its index names; remote code never runs.

    Args:
        folder: A diffusers pipeline folder.
        dtype: Dtype of the denoiser and the text towers; the autoencoder stays float32.
        device: Where to put them.
        untrained_seed: Start the denoiser anew from its configuration and this seed instead of reading its weights.
        denoise: Load the denoiser; a control that needs the autoencoder alone does not.
        pickled: Where a component has no safetensors, read its `.bin`, through `weights_only`.
        runtime: How the network is run.

    Raises:
        UsageError: A component is missing or of a class that is not known.
    """
    import torch

    if not (folder / "model_index.json").is_file():
        raise UsageError(f"{folder} is not a diffusers pipeline: it has no model_index.json")
    index, runtime = read_json(folder / "model_index.json"), (runtime or Runtime()).on(device)
    check_arithmetic(dtype, device, compiled=bool(runtime.compile) and denoise)
    files = local_files(folder, "diffusers" if denoise else "vae", pickled, untrained=untrained_seed is not None)
    reader = Reader(folder, index, network_dtype(dtype), files)
    network = reader.first(DENOISERS, untrained_seed) if denoise else None
    if denoise and network is None:
        raise UsageError(f"{folder} has no denoiser: expected one of {', '.join(DENOISERS)} in model_index.json")
    pipeline = Pipeline(
        folder=folder, index=index, denoiser=network, autoencoder=reader.first(AUTOENCODERS),
        texts={name: reader.first((name,)) for name in TOWERS if denoise},
        scheduler_config=read_scheduler_config(folder), dtype=reader.dtype, device=device, runtime=runtime,
    )  # fmt: skip
    pipeline.scale, pipeline.shift = (
        part.to(device) if isinstance(part, torch.Tensor) else part for part in reader.scaling()
    )
    _limit_prompts(pipeline)
    for module in (pipeline.denoiser, pipeline.autoencoder, *pipeline.texts.values()):
        if isinstance(module, torch.nn.Module):
            module.to(device).eval().requires_grad_(False)
    _apply(runtime, pipeline)
    return pipeline


def _limit_prompts(pipeline: Pipeline) -> None:
    """Give tokenizers whose files name no greatest length that of their text tower."""
    for name, tokenizer in pipeline.texts.items():
        tower = pipeline.texts.get(name.replace("tokenizer", "text_encoder"))
        longest = getattr(getattr(tower, "config", None), "max_position_embeddings", None)
        if "tokenizer" in name and tokenizer is not None and longest and tokenizer.model_max_length > UNLIMITED:
            tokenizer.model_max_length = longest


def _apply(runtime: Runtime, pipeline: Pipeline) -> None:
    """Set how the modules are run.

    Raises:
        UsageError: A module cannot be run so.
    """
    import torch

    network, vae = pipeline.denoiser, pipeline.autoencoder
    for setting, switch in (("vae_slicing", "enable_slicing"), ("vae_tiling", "enable_tiling")):
        if getattr(runtime, setting) and vae is not None:
            with reading(f"{pipeline.folder}: {setting} of a {type(vae).__name__}"):
                getattr(vae, switch)()
    if network is None:
        return
    if runtime.attention_backend is not None:
        processors = getattr(network, "attn_processors", {}).values()
        if not any(hasattr(processor, "_attention_backend") for processor in processors):
            raise UsageError(
                f"attention back-end {runtime.attention_backend!r} has no effect on a {type(network).__name__}, whose "
                "attention has no choice of them: leave attention_backend out"
            )
        with reading(f"attention back-end {runtime.attention_backend!r}"):
            network.set_attention_backend(runtime.attention_backend)
    if runtime.channels_last:
        network.to(memory_format=torch.channels_last)
    if runtime.compile:
        network.compile(mode=runtime.compile if isinstance(runtime.compile, str) else "default")
