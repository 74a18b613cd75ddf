"""What `gpu.py` measures: networks at full size with random weights, each run the plain way and ours."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import diffusers
import open_clip
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from noisezoo.builder.models.encoder import Encoder
from noisezoo.builder.models.encoders.open_clip import OpenClip
from noisezoo.builder.models.inverter import Inverter
from noisezoo.builder.models.pipeline import Pipeline, Runtime, load_pipeline

STEPS, TIMED_STEPS, GUIDANCE, SEED = 50, 3, 3.5, 0
Config = Mapping[str, Any]
Mode = bool | str  # as `Runtime.compile`


@dataclass(frozen=True)
class Way:
    """One way to do a subject's work.

    Attributes:
        run: What is timed, `share` of the whole work: (b, ...) -> (b, ...).
        whole: All of it, for the comparison of results.
        share: `run` over `whole`.
        forwards: Passes of one image through the network in the whole work.
    """

    run: Callable[[Tensor], Tensor]
    whole: Callable[[Tensor], Tensor]
    share: float
    forwards: int


class Subject(ABC):
    """A network and the work it does for one image."""

    name: str
    least: int
    """The smallest batch worth a try."""

    @abstractmethod
    def inputs(self, count: int, device: torch.device) -> Tensor:
        """Random inputs, (count, ...) float32, the same images whatever the count."""

    @abstractmethod
    def plain(self, device: torch.device) -> Way:
        """As a first user writes it, in float32."""

    @abstractmethod
    def ours(self, device: torch.device, dtype: str, mode: Mode) -> Way:
        """Through noisezoo."""

    @abstractmethod
    def forward_once(self) -> None:
        """One image through the network, where tensors hold no data."""

    def flops(self) -> int:
        """Floating-point operations of one image's forward, a multiplication and an addition counted as two."""
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # the counter sees into neither fused attention
        try:
            with torch.device("meta"), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
                self.forward_once()
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        return counter.get_total_flops()


def noise(shape: tuple[int, ...], device: torch.device | str, seed: int = SEED) -> Tensor:
    """Standard Gaussian numbers, float32: the rows of a smaller batch are the first of a larger one."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), device="cpu").to(device)


def text(config: Config, rows: int, device: torch.device | str) -> dict[str, Any]:
    """What Stable Diffusion 1 is told beside state and time: one embedding of 77 tokens for all rows."""
    hidden = noise((1, 77, config["cross_attention_dim"]), device)
    return {"encoder_hidden_states": hidden.expand(rows, -1, -1)}


def text_and_size(config: Config, rows: int, device: torch.device | str) -> dict[str, Any]:
    """And what SDXL is told. Without an autoencoder a picture counts as large as its latents."""
    width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    side = config["sample_size"]
    size = torch.tensor([[side, side, 0, 0, side, side]], dtype=torch.float32, device=device)
    pooled = noise((1, width), device, seed=SEED + 1)
    added = {"text_embeds": pooled.expand(rows, -1), "time_ids": size.expand(rows, -1)}
    return {**text(config, rows, device), "added_cond_kwargs": added}


def null_class(config: Config, rows: int, device: torch.device | str) -> dict[str, Any]:
    """DiT's class that stands for none."""
    return {"class_labels": torch.full((rows,), config["num_embeds_ada_norm"], device=device)}


class EmptyPrompt:
    """Stands in for diffusers' pipeline around the text towers: every prompt is the one embedding."""

    config = SimpleNamespace(force_zeros_for_empty_prompt=False)

    def __init__(self, conditions: Mapping[str, Any]) -> None:
        self.hidden, self.added = conditions.get("encoder_hidden_states"), conditions.get("added_cond_kwargs")

    def encode_prompt(self, *arguments: Any, **options: Any) -> tuple[Tensor | None, ...]:
        """As diffusers' own of the same name returns it, with pooled embeddings where the network takes them."""
        return (self.hidden, None, self.added["text_embeds"], None) if self.added else (self.hidden, None)


@dataclass
class Diffusion(Subject):
    """The inversion of one image: 50 steps of DDIM, empty prompts, guidance 3.5; the first three are timed.

    SDXL's empty prompt is taken as its negative prompt as well, so that ours needs one forward a step; where a folder
    has zeros in its place, ours spends the second forward like the plain loop.
    """

    name: str
    component: str
    network: str
    config: Config
    schedule: Config
    conditions: Callable[[Config, int, torch.device | str], dict[str, Any]]
    least: int
    _folder: TemporaryDirectory[str] = field(default_factory=TemporaryDirectory)

    def __post_init__(self) -> None:
        """Write the diffusers folder, without weights: they start from a seed."""
        self.folder = Path(self._folder.name)
        parts = {
            "model_index.json": {self.component: ["diffusers", self.network]},
            f"{self.component}/config.json": {"_class_name": self.network, **self.config},
            "scheduler/scheduler_config.json": {"_class_name": "DDIMScheduler", **self.schedule},
        }
        for place, content in parts.items():
            (self.folder / place).parent.mkdir(exist_ok=True)
            (self.folder / place).write_text(json.dumps(content))

    def inputs(self, count: int, device: torch.device) -> Tensor:
        """Latents."""
        return noise((count, self.config["in_channels"], *[self.config["sample_size"]] * 2), device)

    def plain(self, device: torch.device) -> Way:
        """Two forwards a step, as a doubled batch."""
        network = self._load(device, "float32", Runtime(channels_last=False)).denoiser
        loop = partial(self._loop, network)
        return Way(partial(loop, steps=TIMED_STEPS), partial(loop, steps=STEPS), TIMED_STEPS / STEPS, 2 * STEPS)

    @torch.no_grad()
    def _loop(self, network: Any, latents: Tensor, steps: int) -> Tensor:
        scheduler = diffusers.DDIMInverseScheduler(**self.schedule)
        scheduler.set_timesteps(STEPS, device=latents.device)
        conditions = self.conditions(self.config, 2 * len(latents), latents.device)
        for t in scheduler.timesteps[:steps]:
            doubled = torch.cat([latents] * 2)
            output = network(doubled, timestep=t.expand(len(doubled)), **conditions).sample[:, : latents.shape[1]]
            unconditional, conditional = output.chunk(2)
            guided = unconditional + GUIDANCE * (conditional - unconditional)
            latents = scheduler.step(guided, t, latents).prev_sample
        return latents

    def ours(self, device: torch.device, dtype: str, mode: Mode) -> Way:
        """`Inverter` on a pipeline without text towers."""
        pipeline = self._load(device, dtype, Runtime(compile=mode))
        prompt = EmptyPrompt(self.conditions(self.config, 1, device))
        setattr(pipeline, "text_pipeline", lambda kind: prompt)  # noqa: B010
        inverter = Inverter(
            pipeline, num_inference_steps=STEPS, guidance_scale=GUIDANCE, prompt="", negative_prompt="",
            scheme="ddim", scheme_options=None, span=None,
        )  # fmt: skip
        forwards = (1 + inverter.network.guided) * STEPS
        return Way(partial(_first_steps, inverter), inverter.invert_latents, TIMED_STEPS / STEPS, forwards)

    def _load(self, device: torch.device, dtype: str, runtime: Runtime) -> Pipeline:
        """The same weights for every dtype: the seed fixes them in float32, where they are to lie."""
        with torch.device(device):
            return load_pipeline(self.folder, dtype=dtype, device=device, untrained_seed=SEED, runtime=runtime)

    def forward_once(self) -> None:
        """In the middle of the schedule."""
        network = getattr(diffusers, self.network).from_config(dict(self.config)).eval().to("meta")
        state = self.inputs(1, torch.device("meta"))
        network(state, timestep=torch.full((1,), 500.0), **self.conditions(self.config, 1, "meta"))


@torch.inference_mode()
def _first_steps(inverter: Inverter, latents: Tensor) -> Tensor:
    """As `invert_latents` begins: conditions set outside inference mode would cost a second compilation."""
    network, scheme = inverter.network, inverter.scheme
    network.finite.clear()
    network.condition([network.prompt])
    return scheme.climb(latents, network, scheme.path.levels[: TIMED_STEPS + 1])


@dataclass
class ImageTower(Subject):
    """The embedding of one image by an open_clip model, from prepared pixels to numbers in the host's memory."""

    name: str
    config: Config
    least: int

    def inputs(self, count: int, device: torch.device) -> Tensor:
        """Pixels, normalised."""
        return noise((count, 3, *[self.config["vision_cfg"]["image_size"]] * 2), device)

    def plain(self, device: torch.device) -> Way:
        """`encode_image` as open_clip's README has it."""
        model = self._start(device)

        run = torch.no_grad()(lambda pixels: model.encode_image(pixels).cpu())
        return Way(run, run, 1.0, 1)

    def ours(self, device: torch.device, dtype: str, mode: Mode) -> Way:
        """`Encoder`; its tower is compiled here, as it has no setting for it."""
        family = OpenClip()
        family.model = self._start(device)
        encoder = Encoder(family, dtype=getattr(torch, dtype), device=device)
        if mode:
            family.model.visual.compile(mode=mode)  # type: ignore[operator, union-attr]

        run = lambda pixels: torch.from_numpy(encoder.embed_prepared(pixels))  # noqa: E731
        return Way(run, run, 1.0, 1)

    def _start(self, device: torch.device) -> Any:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(SEED)
            model = open_clip.CLIP(**self.config).eval()
        for name in [name for name, _ in model.named_children() if name != "visual"]:
            delattr(model, name)
        return model

    def forward_once(self) -> None:
        """As `plain`'s."""
        self._start(torch.device("meta")).encode_image(self.inputs(1, torch.device("meta")))


STABLE_DIFFUSION: Config = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
    "set_alpha_to_one": False, "clip_sample": False,
}  # fmt: skip
DIT_SCHEDULE: Config = {"beta_schedule": "linear", "clip_sample": False}  # all else is the class's default
SD15: Config = {
    "sample_size": 64, "in_channels": 4, "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2, "cross_attention_dim": 768, "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}  # fmt: skip
SDXL: Config = {
    "sample_size": 128, "in_channels": 4, "out_channels": 4, "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2, "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
DIT_XL_2: Config = {
    "sample_size": 32, "in_channels": 4, "out_channels": 8, "patch_size": 2, "num_layers": 28,
    "num_attention_heads": 16, "attention_head_dim": 72, "num_embeds_ada_norm": 1000, "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False, "activation_fn": "gelu-approximate", "attention_bias": True,
}  # fmt: skip
UNET_CUTS: Config = {
    "sample_size": 16, "block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 32,
    "attention_head_dim": (2, 4), "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
XL_CUTS: Config = {**UNET_CUTS, "transformer_layers_per_block": (1, 2), "addition_time_embed_dim": 8,
                   "projection_class_embeddings_input_dim": 80}  # fmt: skip
DIT_CUTS = {"sample_size": 8, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16}
VIT_CUTS: Config = {
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}, "embed_dim": 32,
    "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 2, "layers": 1},
}  # fmt: skip


def subjects(small: bool) -> dict[str, Subject]:
    """The table's rows in their order, at full size or cut down to run in seconds."""

    def cut(config: Config, cuts: Config) -> Config:
        return {**config, **(cuts if small else {})}

    unet, dit = ("unet", "UNet2DConditionModel"), ("transformer", "DiTTransformer2DModel")
    return {
        "sd15": Diffusion("SD 1.5", *unet, cut(SD15, UNET_CUTS), STABLE_DIFFUSION, text, 4),
        "sdxl": Diffusion("SDXL", *unet, cut(SDXL, XL_CUTS), STABLE_DIFFUSION, text_and_size, 2),
        "dit": Diffusion("DiT-XL/2", *dit, cut(DIT_XL_2, DIT_CUTS), DIT_SCHEDULE, null_class, 16),
        "vit": ImageTower("ViT-L/14", cut(open_clip.get_model_config("ViT-L-14"), VIT_CUTS), 32),
    }
