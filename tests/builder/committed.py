"""Builds whose units are committed one after another by this process, without a worker."""

import time
from collections.abc import Iterable
from pathlib import Path

from noisezoo.builder.engine.build import Build, Unit, prepare
from noisezoo.builder.engine.commit import commit
from noisezoo.builder.engine.log import Log
from noisezoo.builder.recipe import Recipe
from noisezoo.builder.sources.source import open_source
from noisezoo.builder.views.computer import Work
from noisezoo.builder.views.families import make_computer
from noisezoo.builder.views.slices import Slice


def committed_build(recipe: Recipe, root: Path) -> Build:
    """A build all of whose parts lie there; views must be such as need neither model nor fit."""
    build = prepare(recipe, root)
    commit_units(build, build.all_units())
    return build


def commit_units(build: Build, units: Iterable[Unit]) -> None:
    """Compute and commit these units, under one log."""
    source, log = open_source(build.recipe.source.name, build.recipe.source.options), Log(build.state / "logs")
    for unit in units:
        started, keys = time.time(), build.manifest.keys[unit.rows.start : unit.rows.stop]
        images = source.images(keys)
        part = Slice(unit.ids, lambda piece, images=images: [images[i] for i in piece])  # type: ignore[misc]
        work = Work(make_computer(unit.view, build.recipe.settings), part)
        for batch in work.batches:
            work.add(batch, work.prepare_batch(batch))
        commit(unit, work, started, log)
