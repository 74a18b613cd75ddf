"""The recipe: a source, a list of views and the settings, validated, resolved and hashed."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from noisezoo import zoo
from noisezoo.errors import UsageError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CorrelationSpec(_Frozen):
    """Two attributes of the drawn faces made to correlate (see `noisezoo.builder.faces.factors.Correlation`)."""

    first: str
    second: str
    phi: float = Field(ge=-1, le=1)


class SourceSpec(_Frozen):
    """Which images: a source by name (`faces`, `digits`, `imagefolder:PATH`), how many, and its own options."""

    name: str
    limit: int | None = Field(default=None, description="at most this many images, the source's first")
    split_seed: int = 0
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("limit")
    @classmethod
    def _some(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError("a dataset needs at least one image: give a limit of 1 or more")
        return value


class Settings(_Frozen):
    """How arrays are made. Everything that can change a byte of a part is here."""

    num_inference_steps: int = Field(default=50, ge=1)
    guidance_scale: float = 3.5
    prompt: str = ""
    scheme: str = "ddim"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    seed: int = 42
    batch_size: int = Field(default=64, ge=1)
    threads: int = Field(default=1, ge=1, description="CPU threads a process; part of the bytes, as sums depend on it")
    reconstruct: bool = Field(default=False, description="regenerate every image from its noise and store the PSNR")


class Recipe(_Frozen):
    """All that decides a dataset's bytes, beside the software and the kind of device."""

    name: str
    source: SourceSpec
    views: tuple[str, ...] = Field(min_length=1)
    settings: Settings = Settings()
    slice_rows: int = Field(default=64, ge=1, description="rows of one unit of work")
    shard_rows: int = Field(default=8192, ge=1, description="rows of one published file")
    pca_dims: int = Field(default=500, ge=1, description="views larger than this are reduced to it in `paired`")

    @field_validator("views")
    @classmethod
    def _known_views(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"each view once: {', '.join(names)}")
        for name in names:
            zoo.get(name)
        return names

    def identity(self) -> dict[str, Any]:
        """What a folder's parts must agree on: everything but the name and the list of views."""
        return self.model_dump(mode="json", exclude={"name", "views", "shard_rows", "pca_dims"})

    def digest(self) -> str:
        """SHA-256 of `identity`, hexadecimal."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()


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
    return make_recipe(_merge(fields, overrides or {}))


def make_recipe(fields: dict[str, Any]) -> Recipe:
    """Validate a recipe's fields; the message of the first fault is one line."""
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"recipe field {where}: {first['msg'].removeprefix('Value error, ')}") from error


def _recipe_text(name_or_path: str) -> str:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UsageError(f"there is no recipe file {path}")
        return path.read_text()
    if name_or_path not in bundled():
        raise UsageError(f"unknown recipe {name_or_path!r}; bundled: {', '.join(bundled())}, or give a .yaml file")
    return (RECIPES / f"{name_or_path}.yaml").read_text()


def _merge(fields: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(fields)
    for key, value in overrides.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged
