"""A build that dies anywhere and is run again gives the bytes of one that never died, and leaves nothing about."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from noisezoo.builder import __main__ as main
from noisezoo.builder.__main__ import run
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.recipe import Recipe
from noisezoo.files import sha256_of
from tests.builder.building import digits_recipe, in_child, leftovers, parts, published, recipe_of

Ending = Callable[[], None]
VIEWS = ("pixels-8-whitened", "digits-ddpm")

STEPS = {
    "before the manifest": ("noisezoo.builder.engine.build:freeze", "before", 1),
    "in the middle of the manifest": ("pyarrow.parquet:write_table", "half", 1),
    "between the manifest and the source's facts": ("noisezoo.builder.engine.store:Store.write_json", "before", 1),
    "between the source's facts and the recipe": ("noisezoo.builder.engine.store:Store.write_json", "before", 2),
    "between the recipe and the models": ("noisezoo.builder.engine.store:Store.write_json", "before", 3),
    "in the middle of a fit": ("noisezoo.builder.engine.worker:write_tensors", "half", 1),
    "owning leases": ("noisezoo.builder.engine.worker:commit", "before", 3),
    "in the middle of a part": ("noisezoo.builder.engine.commit:write_parquet", "half", 3),
    "between a part and its marker": ("noisezoo.builder.engine.commit:_marker", "before", 3),
    "after a marker, its lease still owned": ("noisezoo.builder.engine.worker:commit", "after", 3),
    "before publishing": ("noisezoo.builder.__main__:finish", "before", 1),
    "in the middle of a shard": ("noisezoo.builder.dataset.layout:write_parquet", "half", 4),
    "in the middle of a basis": ("noisezoo.pca:Basis.save", "half", 2),
    "in the middle of the card": ("noisezoo.builder.dataset.card:_check", "half", 1),
    "before the card": ("noisezoo.builder.dataset.finish:write_json", "after", 1),
    "between the card and the record": ("noisezoo.builder.dataset.finish:write_record", "before", 1),
    "after the record": ("noisezoo.builder.dataset.finish:write_hashes", "before", 1),
}
"""Moment -> what is interrupted, when (before it, after it, with half its file written), and at which call."""


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    raise KeyboardInterrupt


@contextmanager
def ending(step: str, how: Ending, *, cut: bool = True) -> Iterator[None]:
    """Everything as it is, but for the named step, at which `how` is called; `cut` halves a file that is half written.

    Where `how` may be survived, nothing may be cut: a writer that goes on would find its file shorter than it wrote it.
    """
    target, when, turn = STEPS[step]
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for attribute in owners:
        owner = getattr(owner, attribute)
    original, calls = getattr(owner, name), 0

    def replaced(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != turn:
            return original(*arguments, **options)
        if when == "before":
            how()
        result = original(*arguments, **options)
        if when == "half" and cut:
            file = next(a for a in arguments if isinstance(a, Path))
            os.truncate(file, file.stat().st_size // 2)
        how()
        return result

    setattr(owner, name, replaced)
    try:
        yield
    finally:
        setattr(owner, name, original)


def recipe() -> Recipe:
    return digits_recipe(VIEWS, limit=16)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reference") / "noisezoo"
    assert run(recipe(), folder)
    return published(folder)


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_any_step_and_run_again_gives_the_same_bytes(
    tmp_path: Path, reference: dict[str, str], step: str
) -> None:
    out = tmp_path / "noisezoo"

    def work() -> None:
        with ending(step, kill):
            run(recipe(), out)

    assert in_child(work) == -signal.SIGKILL
    kept = {}
    if (out / "_build" / "recipe.json").exists():
        build = open_build(out)
        assert not is_finished(build)
        kept = {unit.part: parts(build)[unit.part] for unit in build.all_units() if unit.marker() is not None}
    assert run(recipe(), out)
    assert published(out) == reference
    assert leftovers(out) == []
    assert {path: parts(open_build(out))[path] for path in kept} == kept, "a unit with a valid marker is not done again"


@pytest.mark.parametrize("step", ["in the middle of a part", "in the middle of a shard", "in the middle of the card"])
def test_an_interrupt_leaves_no_half_file_under_any_name(tmp_path: Path, reference: dict[str, str], step: str) -> None:
    out = tmp_path / "noisezoo"
    with pytest.raises(KeyboardInterrupt), ending(step, interrupt):
        run(recipe(), out)
    assert leftovers(out) == []
    assert not (out / "README.md").exists()
    assert not list((out / "_build" / "claims").rglob("*.json")), "an interrupted process releases its leases"
    assert published(out).items() <= reference.items()
    assert run(recipe(), out)
    assert published(out) == reference


def test_a_build_killed_before_it_was_prepared_may_become_another_recipe_s(tmp_path: Path) -> None:
    def work() -> None:
        with ending("between the source's facts and the recipe", kill):
            run(recipe(), tmp_path / "noisezoo")

    assert in_child(work) == -signal.SIGKILL
    other = recipe_of("faces", ("random",), limit=4, pca_dims=4000)
    assert run(other, tmp_path / "noisezoo")
    assert open_build(tmp_path / "noisezoo").manifest.ids[0].startswith("faces-")


def test_a_full_disk_ends_in_one_line_and_nothing_half_written(tmp_path: Path) -> None:
    full = recipe_of("faces", ("random",), limit=16, pca_dims=4000)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(full.model_dump(mode="json")))
    out = tmp_path / "noisezoo"

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))  # less than a part's 8 x 3072 numbers
        with (tmp_path / "output").open("w") as stream, redirect_stdout(stream), redirect_stderr(stream):
            main.main([str(tmp_path / "recipe.yaml")], [out])

    assert in_child(work) == 1
    lines = (tmp_path / "output").read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "too large" in lines[0].lower()
    assert leftovers(out) == []
    assert published(out) == {}
    written = [unit for unit in open_build(out).all_units() if unit.part.exists() or unit.marker_path.exists()]
    assert [(unit.marker() or {}).get("sha256") for unit in written] == [sha256_of(unit.part) for unit in written]
    assert all(len(unit.rows) < 8 for unit in written), "only what fits is there"
    assert run(full, out)


def test_a_terminated_worker_gives_back_what_it_holds(tmp_path: Path) -> None:
    out = tmp_path / "noisezoo"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe().model_dump(mode="json")))

    def work() -> None:
        with ending("owning leases", lambda: os.kill(os.getpid(), signal.SIGTERM)):
            main.main([str(tmp_path / "recipe.yaml")], [out])

    assert in_child(work) == 143
    assert leftovers(out) == []
    assert not list((out / "_build" / "claims").rglob("*.json"))
