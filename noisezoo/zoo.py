"""The zoo: one frozen row for every way to turn an image into an array.

Nothing about a model is known anywhere but in its row and in the files it ships. Adding a model is adding a row, in
`zoo.toml` or at run time (`register`); its untrained twin, its autoencoder's view and its residual come with it.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from noisezoo.errors import UsageError
from noisezoo.loading import LABELS, PAIRED
from noisezoo.plugins import load_plugins
from noisezoo.schema import ID, SPLIT

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["noise", "embedding", "control"]
Guidance = Literal["text", "zeros", "input", "none"]
Objective = Literal["diffusion", "flow", "consistency", "contrastive", "contrastive-text", "self-distillation",
                    "masked", "supervised", "autoencoding"]  # fmt: skip
OBJECTIVES = get_args(Objective)
Augment = Literal["flip", "crop"]
AUGMENTS = get_args(Augment)
BLIND = ("random", "true", "residual")
"""Families that see no picture of their own, of which a copy could be augmented."""
TESTBED = Path(__file__).parent / "testbed"
UNTRAINED, RESIDUAL, TRUE, SEED = "-untrained", "-residual", "-true", "-seed"
UNRECORDED = ("millions", "gigabytes", "guidance", "half", "ungated")
"""Fields of a row that no dataset records: plans, messages and builds on GPUs read them."""


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
        half: Half precision in which its network neither overflows nor loses accuracy on a GPU; None: none is known.
        ungated: Of a gated model: where the same weights are without a gate, and what differs there.
        objective: What its network was trained for, one of OBJECTIVES (`contrastive` on pictures alone,
            `contrastive-text` on pictures and captions); None where nothing was trained or the row does not say.
        augment: Which copy of each picture it sees: `flip` (mirrored) or `crop` (its middle, 7/8 of each side, at the
            picture's size); None for the picture itself.
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
    half: Literal["float16", "bfloat16"] | None = None
    ungated: str = ""
    objective: Objective | None = None
    augment: Augment | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "View":
        """A row as a file holds it, with lists for tuples; what is no field is left out, as newer versions may add."""
        known = [field.name for field in fields(cls) if field.name in row]
        values: dict[str, Any] = {name: tuple(v) if isinstance(v := row[name], list) else v for name in known}
        return cls(**values)

    @property
    def size(self) -> int:
        """Numbers in one row."""
        return prod(self.shape)

    @property
    def dtype(self) -> str:
        """Stored dtype: float16 for image-like arrays, float32 for embeddings (stored raw)."""
        return "float16" if len(self.shape) == 3 else "float32"

    @property
    def is_residual(self) -> bool:
        """Whether the view is made of two others when the dataset is written, and not of images."""
        return self.family == "residual"

    @property
    def original(self) -> str:
        """Name of the view that does the same with the picture itself."""
        return self.name if self.augment is None else self.name.removesuffix(f"-{self.augment}")

    @property
    def start_seed(self) -> int | None:
        """Seed to start the network from; None where weights are read."""
        return self.init_seed if self.untrained else None

    @property
    def location(self) -> str | Path:
        """Where its weights are: a folder, or a Hub id."""
        return self.folder or self.repo

    @property
    def folder(self) -> Path | None:
        """Where a shipped model or a local folder lies; None for a model on the Hub or for no model."""
        if self.repo.startswith("testbed:"):
            return TESTBED / self.repo.removeprefix("testbed:")
        return Path(self.repo).expanduser() if is_path(self.repo) else None


def is_path(text: str) -> bool:
    """Whether `text` spells a local folder; a Hub id never looks like one."""
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..")


def untrained(row: View) -> View:
    """The control of a model view: the same network before training, all else (autoencoder, schedule) kept.

    A testbed model starts from its own recorded seed, so the control is the very network that was then trained.
    """
    return replace(
        row, name=row.name + UNTRAINED, kind="control" if row.kind == "noise" else "embedding", untrained=True,
        init_seed=0 if row.init_seed is None else row.init_seed, baseline=None, about=f"{row.name} before training",
        objective=None,
    )  # fmt: skip


def latent(row: View) -> View:
    """The control of a latent model's view: its autoencoder's latent, what its noise is made from."""
    about = f"VAE latent that {row.name} inverts: what its noise is made from"
    return _control(row, row.autoencoder or "", "vae", about, gflops=row.autoencoder_gflops, autoencoder=None,
                    untrained=False, init_seed=None, objective="autoencoding")  # fmt: skip


def residual(row: View) -> View:
    """The control of a noise view: x_T - a z0, what is left of its noise without the image's share, by algebra."""
    about = f"{row.name} less the image's share of it: x_T - a z0"
    return _control(row, row.name + RESIDUAL, "residual", about, millions=(), gigabytes=0.0, objective=None)


def true(row: View) -> View:
    """The control of a noise view on generated pictures: the noise that they were made of."""
    about = f"the noise that {row.name} made the pictures of"
    return View(row.name + TRUE, "control", "true", "", row.resolution, row.shape, row.license, 0.0, about,
                untrained=row.untrained)  # fmt: skip


def _control(row: View, name: str, family: str, about: str, *, gflops: float = 0.0, **fields: Any) -> View:
    """A control that a model brings: no network of its own, or its autoencoder alone, so no text and no twin."""
    return replace(
        row, name=name, kind="control", family=family, about=about, gflops=gflops, clip_conditioned=None, baseline=None,
        autoencoder_gflops=0.0, **fields,
    )  # fmt: skip


def augmented(row: View, how: Augment) -> View:
    """The control of a view that does the same with a copy of each picture: how alike two views of a picture can be."""
    about = f"{row.name} of each picture's {how}"
    return replace(row, name=f"{row.name}-{how}", kind="control", augment=how, about=about, baseline=None)


def training(row: View, seed: int) -> View:
    """Another training of a model: same data, network and schedule, from the random start of another seed.

    It has no repository: a recipe gives the folder of its weights.
    """
    name = f"{row.name}{SEED}{seed}"
    return replace(
        row, name=name, repo=f"{row.repo}{SEED}{seed}", revision=None, gated=False, ungated="", pickled=False,
        init_seed=seed, baseline=name + UNTRAINED, about=f"another training of {row.name}, from seed {seed}",
    )  # fmt: skip


def training_of(name: str) -> tuple[str, int] | None:
    """The model of which a view `MODEL-seedN` is another training, and N; None for any other view's name."""
    found = re.fullmatch(rf"(.+){SEED}(\d+)", name)
    return (found[1], int(found[2])) if found else None


def at_resolution(row: View, side: int) -> View:
    """The row with pictures of `side` pixels, and arrays and work in proportion.

    Raises:
        UsageError: The view is no image-like array, or its autoencoder does not divide the side.
    """
    if side == row.resolution:
        return row
    if len(row.shape) != 3:
        raise UsageError(f"view {row.name}: its encoder's own preprocessing sets the size of its pictures")
    factor = row.resolution // row.shape[1]
    if side < factor or side % factor:
        near = max(round(side / factor), 1) * factor
        raise UsageError(f"view {row.name}: its autoencoder takes sides that {factor} divides, not {side}: try {near}")
    scale = (side / row.resolution) ** 2
    return replace(
        row, resolution=side, shape=(row.shape[0], side // factor, side // factor), gflops=row.gflops * scale,
        autoencoder_gflops=row.autoencoder_gflops * scale,
    )  # fmt: skip


def at_folder(row: View, folder: str | Path | None) -> View:
    """The row with its model read from a local folder; itself for None."""
    return row if folder is None else replace(row, repo=str(Path(folder).expanduser().resolve()), revision=None)


ROWS: dict[str, View] = {}


def register(row: View, *, replace_existing: bool = False) -> View:
    """Add a row to the zoo, with its untrained control, its autoencoder's view and its residual, where it has them.

    A row that replaces another takes along the controls that read the same repository. Gives the row as it is kept.

    Raises:
        UsageError: The name is taken (and `replace_existing` is not set) or is not fit for a config name, the objective
            is none of OBJECTIVES, or `autoencoder` names a view of another family.
    """
    if not row.name or row.name[0] in "._" or any(character in row.name for character in '<>:/\\|?*[]{}" '):
        raise UsageError(f"view name {row.name!r} cannot name a dataset config: use letters, digits, - and .")
    if row.name in (PAIRED, LABELS, ID, SPLIT):
        raise UsageError(f"view name {row.name!r} stands for something else in every dataset; choose another name")
    if row.objective not in (None, *OBJECTIVES):
        known = ", ".join(OBJECTIVES)
        raise UsageError(f"view {row.name}: unknown objective {row.objective!r}; it is one of: {known}, or left out")
    if row.name in ROWS and not replace_existing:
        raise UsageError(f"the zoo already has a view {row.name!r}; choose another name or pass replace_existing=True")
    has_network = bool(row.repo) and row.kind != "control" and not row.untrained
    kept = replace(row, baseline=row.baseline or row.name + UNTRAINED) if has_network else row
    brings_latent = _brings_latent(kept)
    ROWS[kept.name] = kept
    if has_network:
        ROWS[kept.name + UNTRAINED] = untrained(kept)
    if has_network and kept.kind == "noise":
        ROWS[kept.name + RESIDUAL] = residual(kept)
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
    made = _on_demand(name)
    if made is not None:
        return made
    from difflib import get_close_matches

    near = get_close_matches(name, ROWS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "see `noisezoo models`"
    raise UsageError(f"the zoo has no view {name!r}; {hint}")


def _on_demand(name: str) -> View | None:
    """The row of true noise, of augmented pictures or of another training: too many for a listing."""
    for how in AUGMENTS:
        of = name.removesuffix(f"-{how}")
        seen = None if of == name else ROWS.get(of) or _on_demand(of)
        if seen is not None and seen.family not in BLIND and seen.augment is None:
            return augmented(seen, how)
    maker = ROWS.get(name.removesuffix(TRUE)) if name.endswith(TRUE) else None
    if maker is not None and maker.family == "diffusers":
        return true(maker)
    again = training_of(name.removesuffix(UNTRAINED))
    if again is None or again[0] not in ROWS or ROWS[again[0]].baseline is None:
        return None
    row = training(ROWS[again[0]], again[1])
    return untrained(row) if name.endswith(UNTRAINED) else row


def rows() -> Iterator[View]:
    """Every row, in the order of registration."""
    load_plugins()
    yield from ROWS.values()


def table() -> "pd.DataFrame":
    """The zoo as a data frame, one row a view, indexed by name."""
    import pandas as pd

    columns = ("name", "kind", "family", "repo", "revision", "resolution", "shape", "size", "dtype", "license",
               "gated", "clip_conditioned", "objective", "pickled", "autoencoder", "untrained", "gflops",
               "about")  # fmt: skip
    return pd.DataFrame([{c: getattr(row, c) for c in columns} for row in rows()]).set_index("name")


_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
for _name, _fields in _TABLE.items():
    _row: dict[str, Any] = {field: tuple(v) if isinstance(v, list) else v for field, v in _fields.items()}
    register(View(_name, **_row))
# This control ships its weights, so that no change in a library's random start can ever change it.
register(
    replace(ROWS["faces-ddpm-untrained"], repo="testbed:faces-ddpm-untrained", init_seed=None), replace_existing=True
)
