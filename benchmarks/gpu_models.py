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
from diffusers.configuration_utils import FrozenDict
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from noisezoo.builder.models import Inverter, Pipeline, Runtime, load_pipeline, set_arithmetic
from noisezoo.builder.models.encoders.open_clip import OpenClip

STEPS, GUIDANCE, SEED = 50, 3.5, 0
Config = Mapping[str, Any]


def timed_steps(dtype: str) -> int:
    """How many of the 50 steps are timed: the host's start of a run weighs less among more, and float32 is slow."""
    return 2 if dtype == "float32" else 5


def torch_defaults() -> None:
    """Torch's switches as a first user finds them."""
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True


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
    def plain(self, device: torch.device, dtype: str) -> Way:
        """As a first user writes it, with `torch_dtype`."""

    @abstractmethod
    def ours(self, device: torch.device, dtype: str, runtime: Runtime) -> Way:
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


def text_and_mask(config: Config, rows: int, device: torch.device | str) -> dict[str, Any]:
    """What PixArt is told: T5's 300 tokens, of which one holds text, and no size."""
    hidden = noise((1, 300, config["caption_channels"]), device)
    mask = (torch.arange(300, device=device) < 1)[None].long()
    return {"encoder_hidden_states": hidden.expand(rows, -1, -1), "encoder_attention_mask": mask.expand(rows, -1)}


def text_and_pooled(config: Config, rows: int, device: torch.device | str) -> dict[str, Any]:
    """What Stable Diffusion 3 and FLUX are told: 333 tokens of their towers, and CLIP's pooled embeddings."""
    hidden = noise((1, 333, config["joint_attention_dim"]), device)
    pooled = noise((1, config["pooled_projection_dim"]), device, seed=SEED + 1)
    return {"encoder_hidden_states": hidden.expand(rows, -1, -1), "pooled_projections": pooled.expand(rows, -1)}


def cast(conditions: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Conditions with every floating-point tensor in `dtype`."""
    return {
        name: cast(value, dtype)
        if isinstance(value, Mapping)
        else value.to(dtype)
        if value.is_floating_point()
        else value
        for name, value in conditions.items()
    }


class EmptyPrompt:
    """Stands in for diffusers' pipelines around the text towers: every prompt is the one embedding."""

    config = SimpleNamespace(force_zeros_for_empty_prompt=False)

    def __init__(self, kind: str, conditions: Mapping[str, Any]) -> None:
        self.kind, self.told = kind, conditions

    def encode_prompt(self, *arguments: Any, **options: Any) -> tuple[Tensor | None, ...]:
        """As the pipeline called `kind` returns it."""
        told, hidden = self.told, self.told["encoder_hidden_states"]
        shapes: dict[str, Callable[[], tuple[Tensor | None, ...]]] = {
            "StableDiffusionPipeline": lambda: (hidden, None),
            "StableDiffusionXLPipeline": lambda: (hidden, None, told["added_cond_kwargs"]["text_embeds"], None),
            "StableDiffusion3Pipeline": lambda: (hidden, None, told["pooled_projections"], None),
            "FluxPipeline": lambda: (hidden, told["pooled_projections"], None),
            "PixArtAlphaPipeline": lambda: (hidden, told["encoder_attention_mask"], None, None),
        }
        return shapes[self.kind]()


@dataclass
class Diffusion(Subject):
    """The inversion of one image: 50 steps of DDIM, empty prompts, guidance 3.5; the first are timed.

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
    sampler: str = "DDIMScheduler"
    latents: tuple[int, int, int] | None = None
    """Their shape, where the network's config does not tell it (FLUX packs them)."""
    _folder: TemporaryDirectory[str] = field(default_factory=TemporaryDirectory)

    def __post_init__(self) -> None:
        """Write the diffusers folder, without weights: they start from a seed."""
        self.folder = Path(self._folder.name)
        parts = {
            "model_index.json": {self.component: ["diffusers", self.network]},
            f"{self.component}/config.json": {"_class_name": self.network, **self.config},
            "scheduler/scheduler_config.json": {"_class_name": self.sampler, **self.schedule},
        }
        for place, content in parts.items():
            (self.folder / place).parent.mkdir(exist_ok=True)
            (self.folder / place).write_text(json.dumps(content))

    def inputs(self, count: int, device: torch.device) -> Tensor:
        """Latents."""
        side = self.config.get("sample_size")
        return noise((count, *(self.latents or (self.config["in_channels"], side, side))), device)

    def plain(self, device: torch.device, dtype: str) -> Way:
        """Two forwards a step, as a doubled batch; the state in the network's dtype, as in diffusers' pipelines."""
        torch_defaults()
        network = self._load(device, dtype, Runtime(channels_last=False)).denoiser
        loop, timed = partial(self._loop, network, getattr(torch, dtype)), timed_steps(dtype)
        return Way(partial(loop, steps=timed), partial(loop, steps=STEPS), timed / STEPS, 2 * STEPS)

    @torch.no_grad()
    def _loop(self, network: Any, dtype: torch.dtype, latents: Tensor, steps: int) -> Tensor:
        latents = latents.to(dtype)
        scheduler = diffusers.DDIMInverseScheduler(**self.schedule)
        scheduler.set_timesteps(STEPS, device=latents.device)
        conditions = cast(self.conditions(self.config, 2 * len(latents), latents.device), dtype)
        for t in scheduler.timesteps[:steps]:
            doubled = torch.cat([latents] * 2)
            output = network(doubled, timestep=t.expand(len(doubled)), **conditions).sample[:, : latents.shape[1]]
            unconditional, conditional = output.chunk(2)
            guided = unconditional + GUIDANCE * (conditional - unconditional)
            latents = scheduler.step(guided, t, latents).prev_sample
        return latents.float()

    def inverter(
        self, device: torch.device, dtype: str, runtime: Runtime, steps: int = STEPS, scheme: str = "ddim"
    ) -> Inverter:
        """`Inverter` on a pipeline without text towers."""
        pipeline = self._load(device, dtype, runtime)
        channels, side, _ = self.inputs(1, torch.device("cpu")).shape[1:]
        if channels > 3:  # latents are given, and no autoencoder is run: its config alone is asked for
            config = FrozenDict(block_out_channels=(1,), sample_size=side, latent_channels=channels)
            pipeline.autoencoder = SimpleNamespace(config=config)
        told = cast(self.conditions(self.config, 1, device), getattr(torch, dtype))
        setattr(pipeline, "text_pipeline", lambda kind: EmptyPrompt(kind, told))  # noqa: B010
        return Inverter(
            pipeline, num_inference_steps=steps, guidance_scale=GUIDANCE, prompt="", negative_prompt="",
            scheme=scheme, scheme_options=None, span=None,
        )  # fmt: skip

    def ours(self, device: torch.device, dtype: str, runtime: Runtime) -> Way:
        """As `inverter` has it, with the switches of a build."""
        set_arithmetic(dtype, compiled=bool(runtime.compile))
        inverter, timed = self.inverter(device, dtype, runtime), timed_steps(dtype)
        forwards = (1 + inverter.network.guided) * STEPS
        return Way(partial(_first_steps, inverter, timed), inverter.invert_latents, timed / STEPS, forwards)

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
def _first_steps(inverter: Inverter, steps: int, latents: Tensor) -> Tensor:
    """As `invert_latents` begins: conditions set outside inference mode would cost a second compilation."""
    network, scheme = inverter.network, inverter.scheme
    network.finite.clear()
    network.condition([network.prompt])
    return scheme.walk(latents, network, scheme.path.levels[: steps + 1])


@dataclass
class ImageTower(Subject):
    """The embedding of one image by an open_clip model, from prepared pixels to numbers in the host's memory."""

    name: str
    config: Config
    least: int

    def inputs(self, count: int, device: torch.device) -> Tensor:
        """Pixels, normalised."""
        return noise((count, 3, *[self.config["vision_cfg"]["image_size"]] * 2), device)

    def plain(self, device: torch.device, dtype: str) -> Way:
        """`encode_image` as open_clip's README has it."""
        torch_defaults()
        model, kind = self._start(device).to(getattr(torch, dtype)), getattr(torch, dtype)

        run = torch.no_grad()(lambda pixels: model.encode_image(pixels.to(kind)).float().cpu())
        return Way(run, run, 1.0, 1)

    def ours(self, device: torch.device, dtype: str, runtime: Runtime) -> Way:
        """`Encoder`; its tower is compiled here, as it has no setting for it."""
        set_arithmetic(dtype, compiled=bool(runtime.compile))
        encoder = OpenClip()
        encoder.model = self._start(device)
        encoder.to(device, getattr(torch, dtype))
        if runtime.compile:
            encoder.model.visual.compile()  # type: ignore[operator, union-attr]

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
LINEAR: Config = {"beta_schedule": "linear", "clip_sample": False}  # all else is the class's default
FLOW: Config = {"shift": 3.0}
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
PIXART: Config = {
    "sample_size": 128, "in_channels": 4, "out_channels": 8, "patch_size": 2, "num_layers": 28,
    "num_attention_heads": 16, "attention_head_dim": 72, "cross_attention_dim": 1152, "caption_channels": 4096,
    "num_embeds_ada_norm": 1000, "norm_type": "ada_norm_single", "norm_elementwise_affine": False,
    "activation_fn": "gelu-approximate", "attention_bias": True, "use_additional_conditions": False,
}  # fmt: skip
SD3: Config = {
    "sample_size": 128, "in_channels": 16, "out_channels": 16, "patch_size": 2, "num_layers": 24,
    "num_attention_heads": 24, "attention_head_dim": 64, "joint_attention_dim": 4096, "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048, "pos_embed_max_size": 192,
}  # fmt: skip
FLUX: Config = {
    "in_channels": 64, "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128, "num_attention_heads": 24,
    "joint_attention_dim": 4096, "pooled_projection_dim": 768, "guidance_embeds": True,
}  # fmt: skip
DDPM: Config = {
    "sample_size": 256, "in_channels": 3, "out_channels": 3, "block_out_channels": (128, 128, 256, 256, 512, 512),
    "layers_per_block": 2, "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
}  # fmt: skip
LDM: Config = {
    "sample_size": 64, "in_channels": 3, "out_channels": 3, "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2, "attention_head_dim": 32, "down_block_types": ("DownBlock2D",) + ("AttnDownBlock2D",) * 3,
    "up_block_types": ("AttnUpBlock2D",) * 3 + ("UpBlock2D",),
}  # fmt: skip
AUTOENCODER: Config = {
    "latent_channels": 4, "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
UNET_CUTS: Config = {
    "sample_size": 16, "block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 32,
    "attention_head_dim": (2, 4), "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
XL_CUTS: Config = {**UNET_CUTS, "transformer_layers_per_block": (1, 2), "addition_time_embed_dim": 8,
                   "projection_class_embeddings_input_dim": 80}  # fmt: skip
DIT_CUTS = {"sample_size": 8, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16}
SMALL_PIXART: Config = {
    "sample_size": 8, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16, "cross_attention_dim": 32,
    "caption_channels": 16,
}  # fmt: skip
SMALL_MMDIT: Config = {
    "sample_size": 8, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16, "joint_attention_dim": 32,
    "caption_projection_dim": 32, "pooled_projection_dim": 32, "pos_embed_max_size": 16,
}  # fmt: skip
SMALL_FLUX: Config = {
    "num_layers": 1, "num_single_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16,
    "axes_dims_rope": (4, 6, 6), "joint_attention_dim": 32, "pooled_projection_dim": 32,
}  # fmt: skip
PLAIN_CUTS: Config = {
    "sample_size": 16, "block_out_channels": (32, 64), "layers_per_block": 1, "attention_head_dim": 8,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
AUTOENCODER_CUTS: Config = {
    "block_out_channels": (32,) * 4, "layers_per_block": 1, "sample_size": 32,
}  # fmt: skip
VIT_CUTS: Config = {
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}, "embed_dim": 32,
    "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 2, "layers": 1},
}  # fmt: skip


def cut(config: Config, cuts: Config, small: bool) -> Config:
    """The full size, or what runs in seconds."""
    return {**config, **(cuts if small else {})}


def subjects(small: bool) -> dict[str, Subject]:
    """The table's rows in their order."""
    unet, dit = ("unet", "UNet2DConditionModel"), ("transformer", "DiTTransformer2DModel")
    return {
        "sd15": Diffusion("SD 1.5", *unet, cut(SD15, UNET_CUTS, small), STABLE_DIFFUSION, text, 8),
        "sdxl": Diffusion("SDXL", *unet, cut(SDXL, XL_CUTS, small), STABLE_DIFFUSION, text_and_size, 4),
        "dit": Diffusion("DiT-XL/2", *dit, cut(DIT_XL_2, DIT_CUTS, small), LINEAR, null_class, 32),
        "vit": ImageTower("ViT-L/14", cut(open_clip.get_model_config("ViT-L-14"), VIT_CUTS, small), 64),
    }


def further(small: bool) -> dict[str, Diffusion]:
    """Network classes that the smoke test alone runs."""
    free = lambda config, rows, device: {}  # noqa: E731
    plain, transformer = ("unet", "UNet2DModel"), "transformer"
    return {
        "ddpm": Diffusion("DDPM", *plain, cut(DDPM, PLAIN_CUTS, small), LINEAR, free, 4),
        "ldm": Diffusion("LDM", *plain, cut(LDM, PLAIN_CUTS, small), LINEAR, free, 4),
        "pixart": Diffusion("PixArt", transformer, "PixArtTransformer2DModel", cut(PIXART, SMALL_PIXART, small), LINEAR,
                            text_and_mask, 2),
        "sd3": Diffusion("SD 3", transformer, "SD3Transformer2DModel", cut(SD3, SMALL_MMDIT, small), FLOW,
                         text_and_pooled, 2, "FlowMatchEulerDiscreteScheduler"),
        "flux": Diffusion("FLUX", transformer, "FluxTransformer2DModel", cut(FLUX, SMALL_FLUX, small), FLOW,
                          text_and_pooled, 1, "FlowMatchEulerDiscreteScheduler", latents=(16, 128, 128)),
    }  # fmt: skip
