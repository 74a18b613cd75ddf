"""The recipe: a source, a list of views and the settings, validated, resolved and hashed."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from noisezoo import zoo
from noisezoo.builder.sources import Source, open_source
from noisezoo.builder.views import METRICS, check_family
from noisezoo.errors import UsageError

PICKED = ("scheme", "scheme_options", "num_inference_steps", "span")
"""What `accuracy` stands for."""
PER_VIEW = (*PICKED, "accuracy", "guidance_scale", "prompt", "negative_prompt", "resolution")
"""What a recipe may set for one view alone."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    left_out: ClassVar[tuple[str, ...]] = ()
    """Fields that are written only where they are given, so that a recipe without them keeps its bytes."""

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = write(self)
        return {name: value for name, value in fields.items() if value or name not in self.left_out}


class CorrelationSpec(_Frozen):
    """Two attributes of the drawn faces made to correlate (see `noisezoo.builder.sources.faces.factors`)."""

    first: str = Field(description="an attribute")
    second: str = Field(description="another")
    phi: float = Field(ge=-1, le=1, description="the correlation of the two")


class SourceSpec(_Frozen):
    """Which images: a source by name (`faces`, `digits`, `imagefolder:PATH`), how many, and its own options."""

    left_out = ("split",)

    name: str = Field(description="celeba, afhq, afhqv2, faces, digits, imagefolder:PATH, hf:REPO or a plug-in's")
    split: str | None = Field(default=None, description="only the rows of this split of the source's own")
    limit: int | None = Field(default=None, description="at most this many images, chosen by hash; may be raised later")
    split_seed: int = Field(default=0, description="seed of the hash that splits images, where the source does not")
    options: dict[str, Any] = Field(default_factory=dict, description="the source's own, as `--option` gives them")

    @field_validator("limit")
    @classmethod
    def _some(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError("a dataset needs at least one image: give a limit of 1 or more")
        return value


class Settings(_Frozen):
    """How arrays are made. Everything that can change a byte of a part is here.

    A recipe may say `accuracy: NAME` in the place of scheme, steps and span; what that picks is what is kept.
    """

    crop: Literal["center", "none"] = Field(default="center", description="the largest square, or all of it squeezed")
    resample: Literal["bicubic", "lanczos", "bilinear", "box"] = Field(default="bicubic", description="antialiased")
    num_inference_steps: int = Field(default=50, ge=1, description="steps of an inversion")
    guidance_scale: float | None = Field(
        default=3.5, description="w of classifier-free guidance; null: one pass, and no such input of the network"
    )
    prompt: str = Field(default="", description="one prompt for all images, or a class for models of classes")
    negative_prompt: str | None = Field(
        default=None, description="what guidance leads away from; null: the model's own"
    )
    prompt_column: str | None = Field(default=None, description="label column that holds each image's prompt")
    scheme: str = Field(default="ddim", description="how the ODE is integrated: see the page on inversion")
    scheme_options: dict[str, Any] = Field(default_factory=dict, description="the scheme's own settings")
    span: int | None = Field(default=None, ge=1, description="end where a sampler of this many steps ends")
    dtype: Literal["float32", "tf32", "bfloat16", "float16"] | None = Field(
        default=None, description="null: float32 on a CPU; on a GPU the half precision that a view's row names, or tf32"
    )
    seed: int = Field(default=42, description="of everything drawn at random")
    batch_size: int = Field(default=64, ge=1, description="images at a time; halved where the device's memory is short")
    threads: int = Field(default=1, ge=1, description="CPU threads a process; part of the bytes, as sums depend on it")
    reconstruct: float = Field(default=0.02, ge=0, le=1, description="share of rows regenerated and measured")
    metrics: tuple[str, ...] = Field(default=("psnr", "ssim"), description="how the regenerated are compared")
    channels_last: bool | None = Field(default=None, description="memory format; null: the faster one on the device")
    attention_backend: Literal["flash", "cudnn", "efficient", "math"] | None = Field(
        default=None, description="null: the network's own choice"
    )
    vae_slicing: bool = Field(default=False, description="encode image by image, for less memory")
    vae_tiling: bool = Field(default=False, description="encode in tiles, for less memory; changes latents")
    compile: bool | Literal["reduce-overhead", "max-autotune"] | None = Field(
        default=None, description="null: on a GPU, where a view's passes would take an H100 half an hour or more"
    )
    readers: int | None = Field(default=None, ge=1, description="threads that read and decode; changes no byte")

    @model_validator(mode="before")
    @classmethod
    def _pick(cls, fields: Any) -> Any:
        """Put what `accuracy` picks in its place, so that what is hashed is what was picked."""
        return _with_picks(fields) if isinstance(fields, dict) else fields

    @field_validator("metrics", mode="before")
    @classmethod
    def _listed(cls, names: Any) -> Any:
        return [name.strip() for name in names.split(",")] if isinstance(names, str) else names

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in METRICS]
        if unknown or len(set(names)) != len(names):
            raise ValueError(f"each metric once, of {', '.join(METRICS)}: {', '.join(unknown or names)}")
        return names

    @model_validator(mode="after")
    def _one_prompt(self) -> "Settings":
        if self.prompt and self.prompt_column is not None:
            raise ValueError("give one prompt for all or a prompt_column, not both")
        if self.reconstruct and not self.metrics:
            raise ValueError("reconstruct needs a metric: name one in metrics, or set reconstruct to 0")
        return self

    @model_validator(mode="after")
    def _known_scheme(self) -> "Settings":
        from noisezoo.builder.models import check_scheme

        check_scheme(self.scheme, self.scheme_options)
        return self


class Recipe(_Frozen):
    """All that decides a dataset's bytes, beside the software, the models' weights and the kind of device."""

    left_out = ("view_settings",)

    name: str = Field(description="the title of the dataset")
    source: SourceSpec = Field(description="which images: below")
    rows: tuple[zoo.View, ...] = Field(default=(), description="rows of the zoo that the recipe brings with it")
    views: tuple[str, ...] = Field(min_length=1, description="names of the zoo, in order: see `noisezoo models`")
    folders: dict[str, str] = Field(default_factory=dict, description="view -> local folder, for its repository")
    settings: Settings = Field(default_factory=Settings, description="how arrays are made: below")
    view_settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="view -> settings of it alone, and its resolution"
    )
    slice_rows: int = Field(default=64, ge=1, description="rows of one unit of work")
    shard_rows: int = Field(default=8192, ge=1, description="rows of one published file")
    pca_dims: int = Field(default=500, ge=1, description="views larger than this are reduced to it in `paired`")

    @field_validator("rows", mode="before")
    @classmethod
    def _sound_rows(cls, rows: Any) -> Any:
        """A row's fault is told at once: without the row, its view would be called unknown."""
        known = [field.name for field in dataclasses.fields(zoo.View)]
        for number, row in enumerate(rows if isinstance(rows, list | tuple) else ()):
            unknown = [name for name in row if name not in known] if isinstance(row, dict) else ()
            if unknown:
                raise UsageError(f"recipe field rows: a row has no field {unknown[0]!r}; it has: {', '.join(known)}")
            try:
                TypeAdapter(zoo.View).validate_python(row)
            except ValidationError as error:
                fault = error.errors(include_url=False)[0]
                where = ".".join(map(str, ("rows", number, *fault["loc"])))
                raise UsageError(f"recipe field {where}: {fault['msg']}") from error
        return rows

    @field_validator("rows")
    @classmethod
    def _registered(cls, rows: tuple[zoo.View, ...]) -> tuple[zoo.View, ...]:
        return tuple(_register(row) for row in rows)

    @field_validator("views")
    @classmethod
    def _known_views(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"each view once: {', '.join(names)}")
        for name in names:
            zoo.get(name)
        return names

    @field_validator("folders")
    @classmethod
    def _absolute(cls, folders: dict[str, str]) -> dict[str, str]:
        for name in folders:
            if not zoo.get(name).repo:
                raise ValueError(f"view {name} needs no model, so no folder can be put in its place")
        return {name: _absolute_path(folder) for name, folder in folders.items()}

    @field_validator("view_settings")
    @classmethod
    def _known_settings(cls, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        found = {}
        for name, fields in given.items():
            zoo.get(name)
            unknown = [field for field in fields if field not in PER_VIEW]
            if unknown:
                raise ValueError(f"{name}: {unknown[0]} is not of one view alone, as these are: {', '.join(PER_VIEW)}")
            found[name] = {**({"scheme_options": {}} if "accuracy" in fields else {}), **_with_picks(fields)}
        return found

    @model_validator(mode="after")
    def _complete(self) -> "Recipe":
        """Each view's own settings must be sound, and a residual needs what it is made of."""
        for row in self.zoo_rows():
            self.settings_of(row.name)
        for row in self.residuals():
            parts_of(row, self.zoo_rows())
        return self

    @model_validator(mode="after")
    def _used_folders(self) -> "Recipe":
        sources = {_source(zoo.get(name)) for name in self.views}
        unused = [name for name in self.folders if _source(zoo.get(name)) not in sources]
        if unused:
            raise ValueError(f"a folder is given for {unused[0]}, but no view of the recipe reads that model")
        for name in self.views:
            model = name.removesuffix(zoo.UNTRAINED)
            given = _source(zoo.get(name)) in {_source(zoo.get(other)) for other in self.folders}
            if model not in zoo.ROWS and zoo.training_of(model) and not given:
                raise ValueError(f"view {name} is of another training: give the folder of its weights for {model}")
            among = {self.folders[other] for other in self.folders if _source(zoo.get(other)) == _source(zoo.get(name))}
            if name not in self.folders and len(among) > 1:
                raise ValueError(f"view {name} could be read from {' or '.join(sorted(among))}: give its folder too")
        return self

    def open_source(self, pinned: Mapping[str, Any] = MappingProxyType({})) -> Source:
        """The source with its options, and what was pinned of it; its models from the recipe's folders."""
        source = open_source(self.source.name, {**self.source.options, **pinned})
        source.use_folders(self.folders)
        return source

    def zoo_rows(self) -> list[zoo.View]:
        """The views' rows of the zoo, each local folder in the place of the repository that it stands for.

        A folder given for one view serves all that read the same repository: its untrained twin, its autoencoder's.
        """
        return [row for row in self._rows() if not row.is_residual]

    def residuals(self) -> list[zoo.View]:
        """The rows of the views that are made of two others when the dataset is written."""
        return [row for row in self._rows() if row.is_residual]

    def _rows(self) -> list[zoo.View]:
        shared = {_source(zoo.get(name)): folder for name, folder in self.folders.items()}
        rows = [self._sized(zoo.get(name)) for name in self.views]
        return [zoo.at_folder(row, self.folders.get(row.name) or shared.get(_source(row))) for row in rows]

    def _sized(self, row: zoo.View) -> zoo.View:
        side = self.own_settings(row.name).get("resolution")
        return row if side is None else zoo.at_resolution(row, side)

    def own_settings(self, name: str) -> dict[str, Any]:
        """What is set for one view alone.

        A network before training, a residual and a view of augmented pictures follow the view that they are held
        against in all of it, an autoencoder in its resolution, unless they have settings of their own.
        """
        if name in self.view_settings:
            return self.view_settings[name]
        view = zoo.get(name)
        if view.augment is not None and view.original != name:
            return self.own_settings(view.original)
        for other, fields in self.view_settings.items():
            row = zoo.get(other)
            if name in (row.baseline, other + zoo.RESIDUAL):
                return fields
            if name == row.autoencoder and _source(view) == _source(row):
                return {key: value for key, value in fields.items() if key == "resolution"}
        return {}

    def settings_of(self, name: str) -> Settings:
        """The settings of one view."""
        return merged(self.settings, self.own_settings(name))

    def identity(self, view: str | None = None) -> dict[str, Any]:
        """What a folder's parts, or those of one view, must agree on: all but what decides no part, views and models.

        A part's marker names its view, its images and its model's weights itself.
        """
        apart = dict.fromkeys(("name", "views", "rows", "folders", "view_settings", "shard_rows", "pca_dims"), True)
        exclude: dict[str, Any] = {**apart, "settings": {"readers"}}
        own = self if view is None else self.model_copy(update={"settings": self.settings_of(view)})
        fields = own.model_dump(mode="json", exclude=exclude)
        fields["source"]["limit"] = None  # a larger limit adds images, and leaves the others as they are
        return fields

    def difference(self, other: "Recipe") -> tuple[str, Any, Any] | None:
        """The first field that keeps `other` from going on with this recipe's build, and both its values.

        That is a field of `identity`, one that decides the published files, or a limit that is not larger.
        """
        published = {"shard_rows", "pca_dims"}
        both = [view for view in self.views if view in other.views]
        a, b = (
            _flat({
                **each.identity(), **each.model_dump(include=published),
                "view_settings": {view: each.own_settings(view) for view in both},
            })
            for each in (self, other)
        )  # fmt: skip
        here, there = self.source.limit, other.source.limit
        if here is None or there is None or there < here:
            a["source.limit"], b["source.limit"] = here, there
        return next(((key, a.get(key), b.get(key)) for key in sorted(a | b) if a.get(key) != b.get(key)), None)

    def digest(self, view: str | None = None) -> str:
        """SHA-256 of `identity`, hexadecimal."""
        return hashlib.sha256(json.dumps(self.identity(view), sort_keys=True).encode()).hexdigest()


def parts_of(residual: zoo.View, rows: Iterable[zoo.View]) -> tuple[zoo.View, zoo.View]:
    """The views whose x_T and z0 a residual x_T - a z0 is made of, among `rows`.

    z0 is the autoencoder's latent, or for a model of pixels the picture at its size.

    Raises:
        UsageError: One of them is not there.
    """
    there = {row.name: row for row in rows}
    noise = there.get(residual.name.removesuffix(zoo.RESIDUAL))
    pictures = [r for r in there.values() if r.family == "pixels" and not r.augment and r.shape == residual.shape]
    images = [there[name] for name in (residual.autoencoder,) if name in there] if residual.autoencoder else pictures
    if noise is None or not images:
        wanted = residual.autoencoder or f"a pixels view of shape {residual.shape}"
        name = residual.name.removesuffix(zoo.RESIDUAL)
        raise UsageError(f"view {residual.name} is made of {name} and {wanted}: name them among the views as well")
    return noise, images[0]


def merged(settings: Settings, own: Mapping[str, Any]) -> Settings:
    """Settings with those of one view in their places."""
    own = {name: value for name, value in own.items() if name != "resolution"}
    return Settings.model_validate({**settings.model_dump(), **own}) if own else settings


def _with_picks(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of settings, what `accuracy` picks in its place.

    Raises:
        ValueError: One of them is given besides.
    """
    if fields.get("accuracy") is None:
        return {name: value for name, value in fields.items() if name != "accuracy"}
    given = [name for name in PICKED if name in fields]
    if given:
        raise ValueError(f"accuracy picks the {', '.join(PICKED)}: leave out {given[0]}, or leave out accuracy")
    from noisezoo.builder.models import pick

    return {**{name: value for name, value in fields.items() if name != "accuracy"}, **pick(fields["accuracy"])}


_BROUGHT: set[str] = set()
"""Names of rows that recipes have brought into this process's zoo: another recipe may bring its own by that name."""


def _register(row: zoo.View) -> zoo.View:
    """Add a recipe's row to the zoo; a row that the zoo itself has is never replaced."""
    check_family(row)
    if row.name in zoo.ROWS and row.name not in _BROUGHT:
        raise ValueError(f"the zoo has a view {row.name!r} of its own: choose another name")
    repo = _absolute_path(row.repo) if zoo.is_path(row.repo) else row.repo
    kept = zoo.register(dataclasses.replace(row, repo=repo), replace_existing=row.name in _BROUGHT)
    _BROUGHT.add(row.name)
    return kept


def _source(row: zoo.View) -> tuple[str, str | None]:
    return row.repo, row.revision


def _absolute_path(text: str) -> str:
    return str(Path(text).expanduser().resolve())


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


RECIPES = files("noisezoo.builder") / "recipes"


def bundled() -> list[str]:
    """Names of the recipes that ship with NoiseZoo."""
    return sorted(entry.name.removesuffix(".yaml") for entry in RECIPES.iterdir() if entry.name.endswith(".yaml"))


def read_recipe(name_or_path: str, overrides: dict[str, Any] | None = None) -> Recipe:
    """A bundled recipe by name, or a YAML file by path, with `overrides` merged in (nested keys keep their siblings).

    Raises:
        UsageError: No such recipe, not YAML, an unknown field, view or source, or a value out of range.
    """
    text = _recipe_text(name_or_path)
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"recipe {name_or_path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"recipe {name_or_path} is not a mapping of fields: see `noisezoo recipes faces`")
    return make_recipe(_merge(_without_picked(fields, overrides or {}), overrides or {}))


def make_recipe(fields: dict[str, Any]) -> Recipe:
    """Validate a recipe's fields; the message of the first fault is one line."""
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")  # a misspelt field is missing, too
        where = ".".join(str(part) for part in first["loc"])
        fault = f"recipe field {where}" if where else "recipe"
        unknown = first["type"] == "extra_forbidden"
        message = _nearest_field(first["loc"]) if unknown else first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{fault}: {message}") from error


def _nearest_field(place: tuple[int | str, ...]) -> str:
    """What to write in the place of a field that there is not."""
    own, source, top = list(Settings.model_fields), list(SourceSpec.model_fields), list(Recipe.model_fields)
    known = {"settings": [*own, "accuracy"], "source": source}.get(str(place[0]), top) if len(place) > 1 else top
    misplaced = [f"settings.{name}" for name in own if known is top and name == place[-1]]
    near = get_close_matches(str(place[-1]), known, 1) or misplaced
    mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"there is no such field; {mend}"


def _recipe_text(name_or_path: str) -> str:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UsageError(f"there is no recipe file {path}")
        return path.read_text()
    if name_or_path not in bundled():
        raise UsageError(f"unknown recipe {name_or_path!r}; {_mend(path)}")
    return (RECIPES / f"{name_or_path}.yaml").read_text()


def _mend(path: Path) -> str:
    """What to write in the place of a recipe that there is not."""
    if path.is_dir():
        return f"it is a folder: to build its images write `noisezoo build faces --source imagefolder:{path} --out DIR`"
    near = [each for each in (f"{path}.yaml", f"{path}.yml") if Path(each).is_file()]
    near += get_close_matches(path.name, bundled(), 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{guess}bundled: {', '.join(bundled())}, or give a .yaml file"


def _without_picked(fields: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A recipe's fields, such that overrides may give an accuracy instead of its scheme and steps, or the other way."""
    own, given = fields.get("settings"), overrides.get("settings", {})
    if not isinstance(own, dict):
        return fields
    if "accuracy" in given:
        return {**fields, "settings": {name: value for name, value in own.items() if name not in PICKED}}
    return {**fields, "settings": _with_picks(own)} if any(name in given for name in PICKED) else fields


def _merge(fields: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(fields)
    for key, value in overrides.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged
