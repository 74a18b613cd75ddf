"""Recipes: one line for every fault, and a digest of exactly what decides the parts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from noisezoo.builder.recipe import Recipe, bundled, make_recipe, read_recipe
from noisezoo.errors import UsageError

FIELDS: dict[str, Any] = {"name": "t", "source": {"name": "digits", "limit": 5}, "views": ["random-64", "pixels-8"]}


def message_of(fields: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        make_recipe(fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sauce": 1}, "recipe field sauce: Extra inputs are not permitted"),
        ({"settings": {"step": 1}}, "recipe field settings.step: Extra inputs"),
        ({"settings": {"num_inference_steps": 0}}, "recipe field settings.num_inference_steps"),
        ({"settings": {"num_inference_steps": "many"}}, "recipe field settings.num_inference_steps"),
        ({"settings": {"dtype": "int8"}}, "recipe field settings.dtype"),
        ({"source": {"name": "digits", "limit": 0}}, "needs at least one image"),
        ({"source": {"name": "digits", "limit": -3}}, "needs at least one image"),
        ({"source": {}}, "recipe field source.name: Field required"),
        ({"views": []}, "recipe field views"),
        ({"views": ["pixels-8", "pixels-8"]}, "each view once: pixels-8, pixels-8"),
        ({"slice_rows": 0}, "recipe field slice_rows"),
    ],
)
def test_a_fault_is_one_line_that_names_the_field(change: dict[str, Any], message: str) -> None:
    assert message in message_of({**FIELDS, **change})


def test_an_unknown_view_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="the zoo has no view 'pixel-8'; did you mean pixels-8"):
        make_recipe({**FIELDS, "views": ["pixel-8"]})


@pytest.mark.parametrize("name", bundled())
def test_a_bundled_recipe_is_valid_and_named_after_its_file(name: str) -> None:
    assert read_recipe(name).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("face", "unknown recipe 'face'; bundled: digits, faces"),
        ("no/such.yaml", "there is no recipe file no/such.yaml"),
    ],
)
def test_a_recipe_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_recipe(name)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "is not YAML"), ("- a", "is not a mapping"), ("", "not a mapping")]
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_recipe(str(tmp_path / "r.yaml"))
    assert "\n" not in str(caught.value)


def test_overrides_replace_single_fields_and_keep_their_neighbours(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**FIELDS, "settings": {"seed": 3, "batch_size": 2}}))
    recipe = read_recipe(
        str(tmp_path / "r.yaml"), {"source": {"limit": 9}, "settings": {"seed": 4}, "views": ["random"]}
    )
    assert (recipe.source.name, recipe.source.limit) == ("digits", 9)
    assert (recipe.settings.seed, recipe.settings.batch_size) == (4, 2)
    assert recipe.views == ("random",)


def test_what_the_paper_says_is_the_default() -> None:
    settings = make_recipe(FIELDS).settings
    assert (settings.num_inference_steps, settings.guidance_scale, settings.prompt) == (50, 3.5, "")
    assert (settings.scheme, settings.seed) == ("ddim", 42)


@pytest.mark.parametrize(
    "change",
    [{"settings": {"seed": 1}}, {"settings": {"prompt": "x"}}, {"settings": {"threads": 2}}, {"slice_rows": 5},
     {"source": {"name": "digits", "limit": 6}}, {"source": {"name": "faces", "limit": 5}},
     {"source": {"name": "digits", "limit": 5, "split_seed": 1}}],
)  # fmt: skip
def test_the_digest_changes_with_all_that_decides_a_part(change: dict[str, Any]) -> None:
    assert make_recipe({**FIELDS, **change}).digest() != make_recipe(FIELDS).digest()


@pytest.mark.parametrize("change", [{"views": ["random-64"]}, {"name": "other"}, {"shard_rows": 5}, {"pca_dims": 5}])
def test_the_digest_does_not_change_with_what_decides_no_part(change: dict[str, Any]) -> None:
    assert make_recipe({**FIELDS, **change}).digest() == make_recipe(FIELDS).digest()


def test_a_recipe_written_and_read_back_is_the_same(tmp_path: Path) -> None:
    recipe = make_recipe(FIELDS)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    again = read_recipe(str(tmp_path / "r.yaml"))
    assert isinstance(again, Recipe)
    assert (again, again.digest()) == (recipe, recipe.digest())
