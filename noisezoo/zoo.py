"""The zoo: one frozen row for every way to turn an image into an array.

Nothing about a model is known anywhere but in its row and in the files it ships. Adding a model is adding a row, here
(`ROWS`) or at run time (`register`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from noisezoo.errors import UsageError
from noisezoo.loading import LABELS, PAIRED
from noisezoo.schema import ID, SPLIT

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["noise", "embedding", "control"]
TESTBED = Path(__file__).parent / "testbed"
UNTRAINED = "-untrained"


@dataclass(frozen=True)
class View:
    """One row of the zoo.

    Attributes:
        name: What users type, and the name of the dataset's config and column.
        kind: `noise` (inverted by a diffusion model), `embedding` (an encoder) or `control`.
        family: How it is computed: a key of the builder's table of computers.
        repo: Hub id, or `testbed:NAME` for a model that ships with NoiseZoo; empty where no model is needed.
        revision: Pinned revision on the Hub.
        resolution: Side of the square picture the model sees, in pixels.
        shape: Shape of one row: `(c, h, w)` for noise and image-like controls, `(d,)` for embeddings.
        license: Licence of the weights.
        gated: Whether the Hub asks for an agreement before download.
        clip_conditioned: Whether CLIP text features conditioned the model in training; None where no training is.
        gflops: Work of one forward pass on one image, in GFLOP.
        untrained: Use the network as it stands before training (its configuration and `init_seed`, no weights).
        init_seed: Seed of the random start, where it is known; None where an untrained network ships its weights.
        baseline: The untrained row that answers for this one, where there is one.
        about: One line for people.
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
    untrained: bool = False
    init_seed: int | None = None
    baseline: str | None = None

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
        """Where a shipped model lies; None for a model on the Hub or for no model."""
        return TESTBED / self.repo.removeprefix("testbed:") if self.repo.startswith("testbed:") else None


_OURS = "Apache-2.0"
_TESTBED_ROWS = (
    View("faces-ddpm", "noise", "diffusers", "testbed:faces-ddpm", 32, (3, 32, 32), _OURS, 0.21,
         "unconditional pixel diffusion trained on drawn faces", clip_conditioned=False, init_seed=1),
    View("faces-ldm-uncond", "noise", "diffusers", "testbed:faces-ldm-uncond", 32, (4, 8, 8), _OURS, 0.09,
         "unconditional latent diffusion trained on drawn faces", clip_conditioned=False, init_seed=3),
    View("digits-ddpm", "noise", "diffusers", "testbed:digits-ddpm", 8, (1, 8, 8), _OURS, 0.03,
         "unconditional pixel diffusion trained on half of the digits", clip_conditioned=False, init_seed=6),
    View("faces-clip", "embedding", "open_clip", "testbed:faces-clip", 32, (64,), _OURS, 0.02,
         "contrastive image-text encoder trained on drawn faces and their captions"),
    View("faces-ssl", "embedding", "transformers", "testbed:faces-ssl", 32, (128,), _OURS, 0.11,
         "SimCLR encoder trained on drawn faces, without labels or captions"),
    View("faces-vae", "control", "vae", "testbed:faces-ldm-uncond", 32, (4, 8, 8), _OURS, 0.05,
         "VAE latent that faces-ldm-uncond inverts: what its noise is made from"),
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


ROWS: dict[str, View] = {}


def register(row: View, *, replace_existing: bool = False) -> View:
    """Add a row to the zoo, with its untrained control where it has a network; returns the row as it is kept.

    Raises:
        UsageError: The name is taken (and `replace_existing` is not set) or is not fit for a config name.
    """
    if not row.name or row.name[0] in "._" or any(character in row.name for character in '<>:/\\|?*" '):
        raise UsageError(f"view name {row.name!r} cannot name a dataset config: use letters, digits, - and .")
    if row.name in (PAIRED, LABELS, ID, SPLIT):
        raise UsageError(f"view name {row.name!r} stands for something else in every dataset; choose another name")
    if row.name in ROWS and not replace_existing:
        raise UsageError(f"the zoo already has a view {row.name!r}; choose another name or pass replace_existing=True")
    has_network = row.family in ("diffusers", "open_clip", "transformers") and not row.untrained
    kept = replace(row, baseline=row.baseline or row.name + UNTRAINED) if has_network else row
    ROWS[kept.name] = kept
    if has_network:
        ROWS[kept.name + UNTRAINED] = untrained(kept)
    return kept


def get(name: str) -> View:
    """The row called `name`.

    Raises:
        UsageError: No such row; names the nearest ones.
    """
    if name in ROWS:
        return ROWS[name]
    from difflib import get_close_matches

    near = get_close_matches(name, ROWS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "see `noisezoo models`"
    raise UsageError(f"the zoo has no view {name!r}; {hint}")


def rows() -> Iterator[View]:
    """Every row, in the order of registration."""
    yield from ROWS.values()


def table() -> "pd.DataFrame":
    """The zoo as a data frame, one row a view, indexed by name."""
    import pandas as pd

    columns = ("name", "kind", "family", "repo", "revision", "resolution", "shape", "size", "dtype", "license",
               "gated", "clip_conditioned", "untrained", "gflops", "about")  # fmt: skip
    return pd.DataFrame([{c: getattr(row, c) for c in columns} for row in rows()]).set_index("name")


for _row in (*_TESTBED_ROWS, *_CONTROL_ROWS):
    register(_row)
# This control ships its weights, so that no change in a library's random start can ever change it.
register(
    replace(ROWS["faces-ddpm-untrained"], repo="testbed:faces-ddpm-untrained", init_seed=None), replace_existing=True
)
