"""A larger limit goes on with a smaller one's build: full units are kept, and the bytes are those of one go."""

import os
from pathlib import Path
from typing import Any

import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.remove import remove
from noisezoo.builder.engine.build import open_build, prepare
from noisezoo.builder.engine.store import Store
from noisezoo.builder.recipe import Recipe
from noisezoo.errors import UsageError
from noisezoo.loading import load
from tests.builder.building import digits_recipe, in_child, leftovers, parts, published, recipe_of
from tests.builder.committed import commit_units
from tests.builder.launching import launch_by_fork
from tests.builder.test_frozen import photos

LIGHT = ("pixels-8", "pixels-8-whitened", "random-64")


def at_once(recipe: Recipe, folder: Path) -> dict[str, str]:
    assert run(recipe, folder / "once" / "noisezoo")
    return published(folder / "once" / "noisezoo")


def test_a_build_with_a_larger_limit_equals_one_built_at_once_and_keeps_the_units_that_were_full(
    built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "grown" / "noisezoo"
    assert run(digits_recipe(limit=22), out)
    before, small = parts(open_build(out)), set(load(out)["image_id"])
    full = [unit.part for unit in open_build(out).all_units() if len(unit.rows) == 8 and "white" not in unit.view.name]
    assert len(full) == 3  # one a view of those that learn nothing of the pictures
    assert run(digits_recipe(limit=40), out)
    after = parts(open_build(out))
    assert [after[path] for path in full] == [before[path] for path in full]
    assert small < set(load(out)["image_id"])
    assert published(out) == published(built)
    assert verify(out).ok and leftovers(out) == []


def test_a_limit_may_grow_again_and_beyond_all_images_and_refused_ones_stay_refused(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", range(30)), tmp_path / "a" / "noisezoo"
    for name in ("04.png", "17.png", "23.png"):
        (root / name).write_bytes(b"no picture")
    for limit in (9, 15, 200):
        assert run(recipe_of(f"imagefolder:{root}", LIGHT, limit=limit), out)
    assert published(out) == at_once(recipe_of(f"imagefolder:{root}", LIGHT, limit=200), tmp_path)
    assert len(load(out)) == 27 and len((out / "refusals.jsonl").read_text().splitlines()) == 3 * 3
    assert verify(out).ok


@pytest.mark.parametrize("moment", ["before recipe.json", "after recipe.json", "in the first unit"])
def test_a_kill_while_a_build_grows_leaves_a_build_of_one_of_the_two_limits(tmp_path: Path, moment: str) -> None:
    out = tmp_path / "a" / "noisezoo"
    assert run(digits_recipe(LIGHT, limit=20), out)
    reference = published(out)

    def killed() -> None:
        real = Store.write_json

        def write_json(store: Store, path: Path, value: dict[str, Any]) -> None:
            if path.name == "recipe.json":
                if moment.startswith("after"):
                    real(store, path, value)
                if not moment.startswith("in"):
                    os._exit(9)
            real(store, path, value)

        Store.write_json = write_json  # type: ignore[method-assign]
        if moment.startswith("in"):
            from noisezoo.builder.engine import worker

            worker.commit = lambda *_: os._exit(9)  # type: ignore[attr-defined]
        run(digits_recipe(LIGHT, limit=40), out)

    assert in_child(killed) == 9
    if moment.startswith("before"):
        assert run(digits_recipe(LIGHT, limit=20), out)
        assert published(out) == reference
    assert run(digits_recipe(LIGHT, limit=40), out)
    assert published(out) == at_once(digits_recipe(LIGHT, limit=40), tmp_path)


def test_two_processes_grow_a_build_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noisezoo.builder.launch.local import build_dataset

    launch_by_fork(monkeypatch)
    out = tmp_path / "a" / "noisezoo"
    assert run(digits_recipe(LIGHT, limit=20), out)
    build_dataset(digits_recipe(LIGHT, limit=40), out, processes=2)
    assert published(out) == at_once(digits_recipe(LIGHT, limit=40), tmp_path)


@pytest.mark.parametrize(
    ("there", "here", "mend"),
    [(16, 12, "give --limit 16 or more"), (16, None, "give --limit 16 or more"), (None, 16, "leave out the limit")],
)
def test_a_limit_that_is_not_larger_is_refused_with_the_mend(
    tmp_path: Path, there: int | None, here: int | None, mend: str
) -> None:
    root = photos(tmp_path / "photos", range(20))
    recipes = [recipe_of(f"imagefolder:{root}", ("pixels-8",), limit=limit) for limit in (there, here)]
    assert run(recipes[0], tmp_path / "out")
    before = published(tmp_path / "out")
    with pytest.raises(UsageError, match=f"source.limit is {there} there and {here} here; .*{mend}$"):
        run(recipes[1], tmp_path / "out")
    assert published(tmp_path / "out") == before


def test_a_source_that_gives_other_images_is_not_grown_and_the_build_stays_whole(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", range(30)), tmp_path / "out"
    small, large = (recipe_of(f"imagefolder:{root}", LIGHT, limit=limit) for limit in (10, 20))
    assert run(small, out)
    before = published(out)
    (root / load(out)["image_id"][0]).unlink()
    with pytest.raises(UsageError, match="gives other images, labels or files than when .* build into a new folder"):
        run(large, out)
    assert published(out) == before and open_build(out).recipe.source.limit == 10
    assert run(small, out)


def test_a_build_in_which_a_process_works_is_not_grown_and_an_outgrown_process_ends(tmp_path: Path) -> None:
    out = tmp_path / "noisezoo"
    build = prepare(digits_recipe(LIGHT, limit=20), out)
    first, second = build.units(build.views[0])[:2]
    commit_units(build, [first])
    with second.lease.acquire() as acquired:
        assert acquired
        said = f"process {os.getpid()} on .* works in .* with limit 20: to raise it, wait for it or stop it"
        with pytest.raises(UsageError, match=said):
            run(digits_recipe(LIGHT, limit=40), out)
    prepare(digits_recipe(LIGHT, limit=40), out)
    with pytest.raises(UsageError, match="was raised to 40: run it with that limit"):
        build.refuse_outgrown()


def test_removed_images_stay_out_of_a_build_that_grows(tmp_path: Path) -> None:
    out = tmp_path / "noisezoo"
    assert run(digits_recipe(LIGHT, limit=20), out)
    gone = load(out)["image_id"][3]
    remove(out, [gone])
    assert run(digits_recipe(LIGHT, limit=40), out)
    assert len(load(out)) == 39 and gone not in load(out)["image_id"]
    assert verify(out).ok
