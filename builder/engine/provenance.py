"""What a dataset's numbers come from: each model's commit or files, and the recipe as it is published."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo import zoo
from noisezoo.files import sha256_of

if TYPE_CHECKING:
    from noisezoo.builder.engine.build import Build

WEIGHTS = (".safetensors", ".bin")


def fingerprint(view: zoo.View) -> str:
    """A short text that changes when the numbers of a view may: model files' hashes, or repository and commit."""
    start = "" if view.start_seed is None else f" from seed {view.start_seed}"
    where = f"{view.repo}@{view.revision}" if view.folder is None else f"files {_digest_of(view.folder)}"
    return f"{view.family} {where} {view.resolution} {view.shape}{start}"


def _digest_of(folder: Path) -> str:
    files = [path for path in model_files(folder) if path.name != "training.json"]
    lines = [f"{path.relative_to(folder).as_posix()} {sha256_of(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """Files of a model's folder that decide what it computes: weights, configurations, vocabularies."""
    return sorted(path for path in folder.rglob("*") if path.suffix in (*WEIGHTS, ".json", ".txt", ".model"))


def public_recipe(build: "Build") -> dict[str, Any]:
    """The recipe as it is published: without this machine's paths; a local folder is told by its weights' hashes."""
    fields = build.recipe.model_dump(mode="json", exclude={"folders": True, "settings": {"readers"}})
    for row in fields["rows"]:
        row["repo"] = public_name(row["repo"])
    name, _, argument = build.recipe.source.name.partition(":")
    fields["source"]["name"] = f"{name}:{public_name(argument)}".rstrip(":")
    local = {v.name: v.folder for v in build.views if v.folder is not None and zoo.is_path(v.repo)}
    hashes = {name: _weight_hashes(folder) for name, folder in local.items()}
    return {**fields, "weights": hashes} if hashes else fields


def _weight_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of weights, which the Hub too shows of its files."""
    weights = [path for path in model_files(folder) if path.suffix in WEIGHTS]
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in weights}


def public_name(text: str) -> str:
    """A repository's id as it is; of a path, its last part alone."""
    return Path(text).name if zoo.is_path(text) else text
