"""Read a diffusers folder: the denoiser, the schedule and, where there are any, autoencoder and text towers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.builder.models.components import AUTOENCODER_NAMES, Reader, read_index, read_scheduler_config
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DENOISER_NAMES = ("unet", "transformer")
TEXT_NAMES = tuple(f"{part}{number}" for part in ("tokenizer", "text_encoder") for number in ("", "_2", "_3"))


@dataclass(frozen=True)
class Runtime:
    """How the network is run; none of it changes what is computed, but for rounding.

    Attributes:
        channels_last: Memory format of convolutions; measured 6 to 21 % faster, on CPU as on GPU.
        attention_backend: A back-end of diffusers' attention dispatcher (`native`, `flash`, ...); None: its choice.
        vae_slicing: Encode and decode one image at a time.
        vae_tiling: Encode and decode large images tile by tile; blends at the seams.
        compile: Compile the denoiser by `torch.compile`, once for each shape; a string is its mode, as
            `reduce-overhead` or `max-autotune`, which replay CUDA graphs.
    """

    channels_last: bool = True
    attention_backend: str | None = None
    vae_slicing: bool = False
    vae_tiling: bool = False
    compile: bool | str = False


@dataclass
class Pipeline:
    """A loaded diffusers folder, on one device, in evaluation mode.

    Latents are (z - `shift`) * `scale` for the autoencoder's z.
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
    scale: float = 1.0
    shift: float = 0.0

    def cast(self, y: "Tensor") -> "Tensor":
        """A float32 state as the network takes it."""
        import torch

        layout = torch.channels_last if self.runtime.channels_last else torch.contiguous_format
        return y.to(self.dtype, memory_format=layout)

    @property
    def downscale(self) -> int:
        """Pixels a side of one latent."""
        return 1 if self.autoencoder is None else 2 ** (len(self.autoencoder.config.block_out_channels) - 1)

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
        """Diffusers' own pipeline around the text towers alone, for its `encode_prompt`.

        Raises:
            UsageError: The folder has no text tower.
        """
        if self.texts.get("tokenizer") is None or self.texts.get("text_encoder") is None:
            raise UsageError(
                f"{self.folder} takes a prompt, but has no tokenizer and text_encoder: download the whole folder again"
            )
        if kind not in self._text_pipelines:
            self._text_pipelines[kind] = _text_pipeline(kind, self.index, self.texts)
        return self._text_pipelines[kind]

    @cached_property
    def _text_pipelines(self) -> dict[str, Any]:
        return {}


def _text_pipeline(kind: str, index: Mapping[str, Any], texts: Mapping[str, Any]) -> Any:
    """The pipeline of diffusers that is called `kind`, with its text towers and flags, and nothing else in it."""
    import diffusers

    factory = getattr(diffusers, kind)
    parameters = {name: p for name, p in signature(factory.__init__).parameters.items() if name != "self"}
    needed = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    flags = {name: index[name] for name in parameters if isinstance(index.get(name), bool)}
    flags |= {name: False for name in parameters if name == "requires_safety_checker"}  # nothing is generated by it
    towers = {name: part for name, part in texts.items() if name in parameters}
    return factory(**{**dict.fromkeys(needed), **flags, **towers})


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

    index, runtime = read_index(folder), runtime or Runtime()
    reader = Reader(folder, index, getattr(torch, dtype), pickled)
    network = reader.first(DENOISER_NAMES, untrained_seed=untrained_seed) if denoise else None
    if denoise and network is None:
        raise UsageError(f"{folder} has no denoiser: expected one of {', '.join(DENOISER_NAMES)} in model_index.json")
    pipeline = Pipeline(
        folder=folder, index=index, denoiser=network,
        autoencoder=reader.first(AUTOENCODER_NAMES, dtype=torch.float32),
        texts={name: reader.first((name,)) for name in TEXT_NAMES if denoise},
        scheduler_config=read_scheduler_config(folder), dtype=reader.dtype, device=device, runtime=runtime,
    )  # fmt: skip
    pipeline.scale, pipeline.shift = reader.scaling()
    for module in (pipeline.denoiser, pipeline.autoencoder, *pipeline.texts.values()):
        if isinstance(module, torch.nn.Module):
            module.to(device).eval().requires_grad_(False)
    _apply(runtime, pipeline)
    return pipeline


def _apply(runtime: Runtime, pipeline: Pipeline) -> None:
    import torch

    for wanted, switch in ((runtime.vae_slicing, "enable_slicing"), (runtime.vae_tiling, "enable_tiling")):
        if wanted and pipeline.autoencoder is not None:
            _switch_on(pipeline, switch)
    if pipeline.denoiser is None:
        return
    if runtime.attention_backend is not None:
        _choose_attention(pipeline.denoiser, runtime.attention_backend)
    if runtime.channels_last:
        pipeline.denoiser.to(memory_format=torch.channels_last)
    if runtime.compile:
        pipeline.denoiser.compile(mode=runtime.compile if isinstance(runtime.compile, str) else "default")


def _switch_on(pipeline: Pipeline, switch: str) -> None:
    try:
        getattr(pipeline.autoencoder, switch)()
    except (AttributeError, NotImplementedError) as error:
        kind = type(pipeline.autoencoder).__name__
        raise UsageError(f"{pipeline.folder}: a {kind} cannot {switch}; leave that setting off") from error


def _choose_attention(network: Any, backend: str) -> None:
    try:
        network.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError, AttributeError) as error:
        raise UsageError(f"attention back-end {backend!r}: {str(error).splitlines()[0]}") from error
