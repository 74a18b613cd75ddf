"""Denoising networks as `(state, time) -> output` under guidance: one subclass of `Denoiser` for each kind of network.

A subclass says what its network takes beside state and time; prompts are encoded by the network's own diffusers
pipeline. To add a kind, write `class Mine(Denoiser, network="CLASS")` in a file of this folder or in a plug-in.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from noisezoo.builder.models.arithmetic import attention
from noisezoo.builder.models.files import AUTOENCODERS, DENOISERS, cached_snapshot
from noisezoo.errors import UsageError
from noisezoo.files import committed, read_json
from noisezoo.plugins import load_package

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from noisezoo.builder.models.pipeline import Pipeline
    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View

Conditions = dict[str, "Tensor"]  # what a network is told beside state and time, a row an image: name -> (b, ...)
PROMPTS_KEPT = 256  # number of encoded prompts that are kept, for sources where every image has its own


class Denoiser(ABC):
    """A network as `(state, time) -> output`, both float32, under guidance.

    Attributes:
        TABLE: Class of the network and what it embeds beside text (its config's `addition_embed_type`) -> subclass.
        text_pipeline: The diffusers pipeline whose `encode_prompt` encodes its prompts.
        takes: How it takes guidance, as `guidance` returns it, where no config says otherwise.
        given_sigmas: Whether the model's pipeline gives its scheduler the sigmas 1, ..., 1 / steps.
        packing: Latents a side that make one position of the network's input, before its own patches.
        text_tokens: Tokens at which the pipeline cuts a prompt for a T5 tower.
        unmet: Keys of the network's config that ask for conditions which nothing here gives.
        forwards: Number of passes so far.
        finite: For each call, the time and which images' outputs were finite.
    """

    TABLE: ClassVar[dict[tuple[str, str | None], type["Denoiser"]]] = {}
    text_pipeline: ClassVar[str] = ""
    takes: ClassVar[str] = "text"
    given_sigmas: ClassVar[bool] = False
    packing: ClassVar[int] = 1
    text_tokens: ClassVar[int] = 0
    unmet: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, network: str = "", embeds: str | None = None) -> None:
        if network:
            Denoiser.TABLE[network, embeds] = cls

    def __init__(
        self, pipeline: "Pipeline", *, prompt: str, negative_prompt: str | None, guidance_scale: float | None
    ) -> None:
        import torch

        self.pipeline, self.network = pipeline, pipeline.denoiser
        self._check_channels()
        self.prompt, self.negative_prompt, self.guidance_scale = prompt, negative_prompt, guidance_scale
        self.forwards = 0
        self.finite: list[tuple[float, Tensor]] = []
        self._encoded = lru_cache(maxsize=PROMPTS_KEPT)(self._encode_alone)
        self._constants = lru_cache(maxsize=PROMPTS_KEPT)(torch.tensor)
        self.condition([prompt])
        self._check_width()

    def condition(self, prompts: Sequence[str]) -> None:
        """Set what the next calls are conditioned on: one prompt for all images, or one each.

        The second forward of guidance, u + w (c - u) (Ho & Salimans 2022), is made exactly where it can matter: not
        where the scale is 1, and not where c and u are given the same conditions, as then the sum is u to the bit.
        """
        import torch

        self.conditional = self._rows(prompts)
        self.unconditional = self._rows([self.negative_prompt])
        pairs = [(self.conditional[name], self.unconditional[name]) for name in self.conditional]
        same = all(torch.equal(c, u.expand_as(c)) for c, u in pairs)
        embedded = self.guidance(self.network.config, self.pipeline.index) == "input"
        self.guided = not embedded and self.guidance_scale not in (None, 1.0) and not same

    def __call__(self, y: "Tensor", time: float) -> "Tensor":
        """The guided output for the whole batch at one time: (b, c, h, w) float32 both."""
        inputs = self.pipeline.cast(y)
        output = self._forward(inputs, time, self.conditional)
        if self.guided:
            without = self._forward(inputs, time, self.unconditional)
            output = without + (self.guidance_scale or 0.0) * (output - without)
        self.finite.append((time, output.isfinite().flatten(1).all(dim=1)))
        return output

    @classmethod
    def guidance(cls, config: Mapping[str, Any], index: Mapping[str, Any]) -> str:
        """How a network of this kind takes guidance, by its config and its pipeline's index.

        Returns:
            `text` or `zeros` (a second pass, with the empty prompt or with zeros for no prompt), `input` (the scale is
            an input of the network, as in a latent consistency model), or `none`.
        """
        if config.get("time_cond_proj_dim") is not None:
            return "input"
        return "text" if cls.takes == "zeros" and not index.get("force_zeros_for_empty_prompt") else cls.takes

    @cached_property
    def tower(self) -> Any:
        """Diffusers' own pipeline around the text towers, which are read when a prompt is to be encoded."""
        return self.pipeline.text_pipeline(self.text_pipeline)

    def release_tower(self) -> None:
        """Let the text towers go; they are read again if another prompt comes."""
        self.__dict__.pop("tower", None)

    @property
    def multiple(self) -> int:
        """Sides of latents must be a multiple of this."""
        return int(self.network.config.get("patch_size") or 1) * self.packing

    @property
    def channels(self) -> int:
        """Channels of the latents that the network takes."""
        return int(self.network.config.in_channels // self.packing**2)

    def check_latents(self, shape: Sequence[int]) -> None:
        """Raise UsageError for latents (..., c, h, w) of other channels or sides than the network takes."""
        channels, *sides = shape[-3:]
        kind, most = type(self.network).__name__, self.network.config.get("pos_embed_max_size")
        if channels != self.channels:
            raise UsageError(f"latents of {channels} channels: a {kind} takes {self.channels}")
        if any(side % self.multiple for side in sides):
            raise UsageError(
                f"latents of {sides[0]} x {sides[1]} do not fit a {kind}: sides must be multiples of {self.multiple}, "
                f"those of pictures of {self.multiple * self.pipeline.downscale} pixels"
            )
        if most and max(sides) > most * self.multiple:
            raise UsageError(f"latents of {sides[0]} x {sides[1]}: a {kind} takes {most * self.multiple} at most")

    def is_cut(self, prompt: str) -> bool:
        """Whether a prompt has more tokens than one of the text towers is given, so that its end is without effect."""
        return bool(self.text_pipeline) and any(
            len(tokenizer(prompt, truncation=False, verbose=False).input_ids) > self._tokens(tokenizer)
            for tokenizer in self.pipeline.tokenizers.values()
            if tokenizer is not None
        )

    def _tokens(self, tokenizer: Any) -> int:
        return int(self.text_tokens if "T5" in type(tokenizer).__name__ else tokenizer.model_max_length)

    def _check_channels(self) -> None:
        """Refuse a network that takes more than a latent and what its kind of denoiser gives it."""
        config, folder, kind = self.network.config, self.pipeline.folder, type(self.network).__name__
        condition = next((key for key in self.unmet if config.get(key) is not None), None)
        if condition is not None:
            raise UsageError(f"{folder}: the {kind} takes conditions that are not given here ({condition})")
        takes, gives = config.in_channels, config.get("out_channels") or config.in_channels
        if takes > gives:
            raise UsageError(
                f"{folder}: the {kind} takes {takes} channels and gives {gives}: it sees a picture or a mask beside "
                "the latent (inpainting, editing, upscaling), which inversion does not have"
            )
        vae, index = self.pipeline.autoencoder, self.pipeline.index
        if vae is None and (takes not in (1, 3) or any(name in index for name in AUTOENCODERS)):
            raise UsageError(f"{folder}: a model of latents whose index names no autoencoder: put its vae back")
        latent = takes if vae is None else vae.config.latent_channels
        if takes != latent * self.packing**2:
            raise UsageError(f"{folder}: the {kind} takes {takes} channels, and the autoencoder gives {latent}")

    def _check_width(self) -> None:
        """Refuse text towers whose hidden states are of another width than the network takes."""
        config, hidden = self.network.config, self.conditional.get("encoder_hidden_states")
        widths = map(config.get, ("caption_channels", "joint_attention_dim", "cross_attention_dim"))
        wanted = next(filter(None, widths), None)
        if hidden is not None and isinstance(wanted, int) and hidden.shape[-1] != wanted:
            raise UsageError(
                f"{self.pipeline.folder}: its text towers give {hidden.shape[-1]} numbers a token, and the "
                f"{type(self.network).__name__} takes {wanted}: put its own text towers back"
            )

    @abstractmethod
    def encode(self, prompt: str | None) -> Conditions:
        """The conditions of one prompt, whatever the guidance: (1, ...) each; None is the model's own "no prompt"."""

    def predict(self, y: "Tensor", time: "Tensor", conditions: Conditions) -> "Tensor":
        """One pass: (b, c, h, w), times (b,) float32, conditions (b, ...) -> (b, c or more, h, w)."""
        return self.call(y, timestep=time, **conditions)

    def constant(self, *values: float, like: "Tensor") -> "Tensor":
        """Numbers as a row (1, k) of the dtype and on the device of `like`, copied there once.

        A copy in the loop over steps would make the host wait for the device.
        """
        return self._constants((values,), dtype=like.dtype, device=like.device)

    def call(self, *inputs: "Tensor", **named: Any) -> "Tensor":
        """The network's output for its own arguments."""
        output: Tensor = self.network(*inputs, **named, return_dict=False)[0]
        return output

    def _forward(self, y: "Tensor", time: float, conditions: Conditions) -> "Tensor":
        """One counted pass; of networks that learn a variance too, the first half of the channels (Nichol 2021)."""
        import torch

        self.forwards += 1
        rows = {name: value.expand(len(y), *value.shape[1:]) for name, value in conditions.items()}
        times = torch.full((len(y),), time, dtype=torch.float32, device=y.device)  # half precision does not hold 981
        if self.pipeline.runtime.compile:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with attention(self.pipeline.runtime.attention_backend):
            output = self.predict(y, times, rows)[:, : y.shape[1]]
        return output.to(torch.float32, copy=True)  # a replayed graph writes its next output over this one

    def scale(self) -> Conditions:
        """The guidance scale where the network takes it: (1, d), as a latent consistency model's (Luo et al. 2023)."""
        import torch
        from diffusers import LatentConsistencyModelPipeline

        width = self.network.config.get("time_cond_proj_dim")
        if width is None or self.guidance_scale is None:
            return {}
        embed = LatentConsistencyModelPipeline.get_guidance_scale_embedding
        scale = torch.tensor([self.guidance_scale - 1.0])
        return {"timestep_cond": embed(None, scale, embedding_dim=width).to(self.pipeline.device)}

    def _rows(self, prompts: Sequence[str | None]) -> Conditions:
        import torch

        rows = [self._encoded(prompt) for prompt in prompts]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _encode_alone(self, prompt: str | None) -> Conditions:
        """Every prompt is encoded by itself, so that its encoding does not depend on the other prompts."""
        import torch

        with torch.no_grad():
            own = bool(self.text_pipeline) and prompt in (self.prompt, self.negative_prompt)
            path = self.pipeline.prompt_file(type(self).__name__, prompt) if own else None
            found = {**keep(path, self.pipeline.device, lambda: self.encode(prompt)), **self.scale()}
        return {name: v.to(self.pipeline.dtype) if v.is_floating_point() else v for name, v in found.items()}


def keep(path: Path | None, device: "torch.device", encode: Callable[[], Conditions]) -> Conditions:
    """What a file holds, or what `encode` gives, which is then kept there; None: nothing is kept.

    So a large text tower (T5's 19 GB) is loaded by the first process that needs it for a prompt, and by no other.
    """
    from safetensors.torch import load_file, save_file

    if path is None:
        return encode()
    if not path.is_file():
        found = {name: value.contiguous().cpu() for name, value in encode().items()}
        with committed(path) as temporary:
            save_file(found, temporary)
    return load_file(path, device=str(device))


def denoiser_of(config: Mapping[str, Any]) -> type[Denoiser]:
    """The kind of denoiser that a diffusers config asks for; raises UsageError where none is known."""
    load_package(__name__)
    kind, embeds = str(config.get("_class_name")), config.get("addition_embed_type")
    if (kind, embeds) not in Denoiser.TABLE:
        treated = ", ".join(dict.fromkeys(name for name, _ in Denoiser.TABLE))
        also = f" with {embeds} conditions" if embeds else ""
        raise UsageError(f"cannot invert through a {kind}{also}; treated are: {treated}")
    return Denoiser.TABLE[kind, embeds]


def keeps_prompts(view: "View", settings: "Settings") -> bool:
    """Whether the encodings of a Hub model's own prompts are kept on this machine, so that no text tower is fetched.

    They may be another device's: a process that finds none of its own fetches the towers.
    """
    from noisezoo.builder.models.pipeline import prompt_stem

    folder = cached_snapshot(view, texts=False)
    if folder is None or view.family != "diffusers" or settings.prompt_column is not None:
        return False
    config = next((found for name in DENOISERS if (found := read_json(folder / name / "config.json"))), {})
    with suppress(UsageError):
        kind = denoiser_of(config).__name__
        stems = [prompt_stem(folder, kind, prompt) for prompt in (settings.prompt, settings.negative_prompt)]
        return all(stem is not None and any(stem.parent.glob(f"{stem.name}-*")) for stem in stems)
    return False
