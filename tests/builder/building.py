"""Small builds, and what tests look at in them."""

import multiprocessing
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from noisezoo.builder.engine.build import STATE, Build
from noisezoo.builder.recipe import Recipe, make_recipe

DIGITS_VIEWS = ("random-64", "pixels-8", "pixels-8-whitened", "digits-ddpm")


def recipe_of(source: str, views: tuple[str, ...], limit: int | None = 24, **fields: Any) -> Recipe:
    """A recipe small enough for a test: slices of 8 rows, shards of 16, two inversion steps."""
    settings = {"num_inference_steps": 2, "batch_size": 4, **fields.pop("settings", {})}
    spec = {"name": source, "limit": limit, "options": fields.pop("options", {})}
    small = {"slice_rows": 8, "shard_rows": 16, "pca_dims": 16, **fields}
    return make_recipe({"name": "test", "source": spec, "views": views, "settings": settings, **small})


def digits_recipe(views: tuple[str, ...] = DIGITS_VIEWS, limit: int = 40, **fields: Any) -> Recipe:
    """Digits through a trained model and the controls."""
    return recipe_of("digits", views, limit, **fields)


def published(folder: Path) -> dict[str, str]:
    """Path -> sha256 of everything a user would upload: all but the build's own state."""
    files = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and path.relative_to(folder).parts[0] != STATE
    ]
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def parts(build: Build) -> dict[Path, tuple[str, int]]:
    """Part -> its bytes' sha256 and when it was written."""
    paths = [unit.part for unit in build.all_units()]
    return {path: (sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in paths if path.exists()}


def leftovers(folder: Path) -> list[Path]:
    """Hidden and temporary files, anywhere."""
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]


def in_child(work: Callable[[], None], seconds: float = 60) -> int:
    """Run `work` in a forked process; its exit code, which is minus the signal that ended it."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{work} did not end in {seconds} s")
    assert process.exitcode is not None
    return process.exitcode
