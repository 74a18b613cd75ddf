"""Recipes: one line for every fault, and a digest of exactly what decides the parts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from noisezoo import zoo
from noisezoo.builder import recipe as recipe_module
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
        ({"sauce": 1}, "recipe field sauce: there is no such field; did you mean source?"),
        ({"settings": {"step": 1}}, "recipe field settings.step: there is no such field; there are crop, "),
        ({"settings": {"num_inference_steps": 0}}, "recipe field settings.num_inference_steps"),
        ({"settings": {"num_inference_steps": "many"}}, "recipe field settings.num_inference_steps"),
        ({"settings": {"dtype": "int8"}}, "recipe field settings.dtype"),
        ({"source": {"name": "digits", "limit": 0}}, "needs at least one image"),
        ({"source": {"name": "digits", "limit": -3}}, "needs at least one image"),
        ({"source": {}}, "recipe field source.name: Field required"),
        ({"views": []}, "recipe field views"),
        ({"views": ["pixels-8", "pixels-8"]}, "each view once: pixels-8, pixels-8"),
        ({"slice_rows": 0}, "recipe field slice_rows"),
        ({"settings": {"reconstruct": 1.5}}, "recipe field settings.reconstruct"),
        ({"settings": {"metrics": ["psnr", "mse"]}}, "each metric once, of psnr, ssim, lpips: mse"),
        ({"settings": {"metrics": ["psnr", "psnr"]}}, "each metric once"),
        ({"settings": {"metrics": []}}, "reconstruct needs a metric"),
        ({"settings": {"prompt": "a face", "prompt_column": "caption"}}, "one prompt for all or a prompt_column"),
        ({"settings": {"readers": 0}}, "recipe field settings.readers"),
        ({"settings": {"span": 0}}, "recipe field settings.span"),
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
        ("face", "unknown recipe 'face'; did you mean faces.* bundled: .*digits, faces"),
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
     {"source": {"name": "faces", "limit": 5}},
     {"source": {"name": "digits", "limit": 5, "split_seed": 1}}],
)  # fmt: skip
def test_the_digest_changes_with_all_that_decides_a_part(change: dict[str, Any]) -> None:
    assert make_recipe({**FIELDS, **change}).digest() != make_recipe(FIELDS).digest()


@pytest.mark.parametrize(
    "change",
    [{"views": ["random-64"]}, {"name": "other"}, {"shard_rows": 5}, {"pca_dims": 5},
     {"source": {"name": "digits", "limit": 6}}],
)  # fmt: skip
def test_the_digest_does_not_change_with_what_decides_no_part(change: dict[str, Any]) -> None:
    assert make_recipe({**FIELDS, **change}).digest() == make_recipe(FIELDS).digest()


def test_a_recipe_written_and_read_back_is_the_same(tmp_path: Path) -> None:
    recipe = make_recipe(FIELDS)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    again = read_recipe(str(tmp_path / "r.yaml"))
    assert isinstance(again, Recipe)
    assert (again, again.digest()) == (recipe, recipe.digest())


def fake_accuracy(monkeypatch: pytest.MonkeyPatch, picked: dict[str, Any]) -> list[str]:
    """The measured table's stand-in: every name picks the same; the names that were asked for."""
    asked: list[str] = []
    monkeypatch.setattr("noisezoo.builder.models.pick", lambda name: (asked.append(name), picked)[1])
    return asked


PICKED = {"scheme": "ab2", "num_inference_steps": 20, "span": 50}


def test_an_accuracy_stands_for_what_it_picks_and_is_hashed_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_accuracy(monkeypatch, PICKED)
    recipe = make_recipe({**FIELDS, "settings": {"accuracy": "ddim-50", "seed": 7}})
    assert asked == ["ddim-50"]
    settings = recipe.settings
    assert (settings.scheme, settings.num_inference_steps, settings.span, settings.seed) == ("ab2", 20, 50, 7)
    spelt_out = make_recipe({**FIELDS, "settings": {**PICKED, "seed": 7}})
    assert recipe == spelt_out and recipe.digest() == spelt_out.digest()
    assert make_recipe(recipe.model_dump(mode="json")) == recipe
    assert make_recipe({**FIELDS, "settings": {"accuracy": None}}) == make_recipe(FIELDS)


@pytest.mark.parametrize("given", [{"scheme": "ddim"}, {"num_inference_steps": 50}, {"span": 50}])
def test_an_accuracy_beside_what_it_picks_is_refused(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_accuracy(monkeypatch, PICKED)
    message = message_of({**FIELDS, "settings": {"accuracy": "ddim-50", **given}})
    assert message.startswith("recipe field settings: accuracy picks the scheme") and next(iter(given)) in message


def test_an_accuracy_on_the_command_line_takes_the_place_of_the_recipe_s_own_scheme_and_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_accuracy(monkeypatch, PICKED)
    settings = read_recipe("faces", {"settings": {"accuracy": "ddim-50"}}).settings
    assert (settings.scheme, settings.num_inference_steps) == ("ab2", 20)
    assert settings.batch_size == read_recipe("faces").settings.batch_size


def test_the_demo_s_recipes_take_ten_forwards_and_may_be_told_the_paper_s_fifty() -> None:
    own = read_recipe("digits").settings
    assert (own.scheme, own.num_inference_steps, own.span) == ("fireflow", 9, 50)
    paper = read_recipe("digits", {"settings": {"scheme": "ddim", "num_inference_steps": 50, "span": None}}).settings
    assert (paper.scheme, paper.num_inference_steps, paper.span) == ("ddim", 50, None)
    assert read_recipe("digits", {"settings": {"seed": 7}}).settings.scheme == "fireflow"


ROW: dict[str, Any] = {
    "name": "own-ddpm", "kind": "noise", "family": "diffusers", "repo": "./models/own", "resolution": 8,
    "shape": [1, 8, 8], "license": "mine", "gflops": 1, "about": "my model",
}  # fmt: skip


@pytest.fixture
def own_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zoo that this test alone adds to."""
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    monkeypatch.setattr(recipe_module, "_BROUGHT", set())


@pytest.mark.usefixtures("own_zoo")
def test_a_recipe_brings_rows_of_its_own_with_their_controls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    row = {**ROW, "autoencoder": "own-vae"}
    recipe = make_recipe({**FIELDS, "rows": [row], "views": ["own-ddpm", "own-ddpm-untrained", "own-vae"]})
    own, untrained, vae = recipe.zoo_rows()
    assert own.folder == tmp_path / "models" / "own", "a folder is told from where the recipe was read"
    assert (own.shape, own.baseline, untrained.start_seed, vae.family) == ((1, 8, 8), "own-ddpm-untrained", 0, "vae")
    assert make_recipe(recipe.model_dump(mode="json")) == recipe
    other = make_recipe({**FIELDS, "rows": [{**ROW, "repo": "me/own"}], "views": ["own-ddpm"]})
    assert other.zoo_rows()[0].repo == "me/own", "another recipe's row of that name is its own"


@pytest.mark.usefixtures("own_zoo")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "sd15"}, "recipe field rows: the zoo has a view 'sd15' of its own: choose another name"),
        ({"family": "magic"}, "view own-ddpm: unknown family 'magic'"),
        ({"kind": "nose"}, "recipe field rows.0.kind"),
        ({"shape": ["a"]}, "recipe field rows.0.shape"),
        ({"repos": "x"}, "a row has no field 'repos'; it has: name, kind"),
    ],
)
def test_a_fault_in_a_row_is_one_line(change: dict[str, Any], message: str) -> None:
    assert message in message_of({**FIELDS, "rows": [{**ROW, **change}]})


def test_a_folder_serves_every_view_of_the_repository_it_stands_for(tmp_path: Path) -> None:
    views = ["sd15", "sd15-untrained", "sd-vae", "sd21", "pixels"]
    recipe = make_recipe({**FIELDS, "views": views, "folders": {"sd15": str(tmp_path)}})
    rows = recipe.zoo_rows()
    assert [row.folder for row in rows] == [tmp_path, tmp_path, tmp_path, None, None]
    assert [row.revision for row in rows[:3]] == [None] * 3
    assert rows[1].start_seed == 0
    assert zoo.get("sd15").folder is None, "the zoo itself is as it was"
    two = {"sd15": str(tmp_path), "sd-vae": str(tmp_path / "b")}
    both = make_recipe({**FIELDS, "views": ["sd15", "sd-vae"], "folders": two})
    assert [row.folder for row in both.zoo_rows()] == [tmp_path, tmp_path / "b"]
    assert "view sd15-untrained could be read from" in message_of({**FIELDS, "views": views, "folders": two})


@pytest.mark.parametrize(
    ("folders", "message"),
    [({"pixels-8": "x"}, "view pixels-8 needs no model"), ({"sd15": "x"}, "no view of the recipe reads that model")],
)
def test_a_folder_that_serves_nothing_is_refused(folders: dict[str, str], message: str) -> None:
    assert message in message_of({**FIELDS, "folders": folders})


def test_a_folder_of_a_view_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean sd15"):
        make_recipe({**FIELDS, "folders": {"sd-15": "x"}})


@pytest.mark.parametrize(
    "change",
    [{"scheme": "heun"}, {"scheme": "forward-start", "scheme_options": {"share": 0.1}},
     {"span": 50}, {"negative_prompt": "x"}, {"prompt_column": "digit"},
     {"reconstruct": 0.5}, {"metrics": ["psnr"]}, {"channels_last": False},
     {"attention_backend": "math"}, {"vae_tiling": True}, {"vae_slicing": True}, {"compile": True}],
)  # fmt: skip
def test_the_digest_changes_with_every_setting_that_can_change_a_byte(change: dict[str, Any]) -> None:
    assert make_recipe({**FIELDS, "settings": change}).digest() != make_recipe(FIELDS).digest()


def test_the_digest_does_not_change_with_who_reads_or_where_a_model_lies(tmp_path: Path) -> None:
    fields = {**FIELDS, "views": ["digits-ddpm"]}
    moved = {**fields, "settings": {"readers": 3}, "folders": {"digits-ddpm": str(tmp_path)}}
    assert make_recipe(moved).digest() == make_recipe(fields).digest()


def test_reconstruct_is_a_share_or_all_or_none() -> None:
    shares = [make_recipe({**FIELDS, "settings": {"reconstruct": value}}).settings.reconstruct for value in
              (True, False, 0.25)]  # fmt: skip
    assert shares == [1.0, 0.0, 0.25]


OWN = {"views": ["sd15", "lcm", "lcm-untrained", "lcm-vae", "pixels"], "settings": {"num_inference_steps": 50}}


def test_a_view_s_own_settings_are_its_twin_s_too_and_its_resolution_is_its_autoencoder_s() -> None:
    recipe = make_recipe({**FIELDS, **OWN, "view_settings": {"lcm": {"num_inference_steps": 150, "resolution": 512}}})
    steps = {view: recipe.settings_of(view).num_inference_steps for view in recipe.views}
    assert steps == {"sd15": 50, "lcm": 150, "lcm-untrained": 150, "lcm-vae": 50, "pixels": 50}
    rows = {row.name: row for row in recipe.zoo_rows()}
    for view in ("lcm", "lcm-untrained", "lcm-vae"):
        assert (rows[view].resolution, rows[view].shape) == (512, (4, 64, 64))
    assert rows["lcm"].gflops == pytest.approx(zoo.get("lcm").gflops * (512 / 768) ** 2)
    assert zoo.get("lcm").resolution == 768, "the zoo's own row stays"


def test_a_view_s_own_settings_change_its_digest_alone_and_none_change_nothing() -> None:
    plain = make_recipe({**FIELDS, **OWN})
    own = make_recipe({**FIELDS, **OWN, "view_settings": {"lcm": {"num_inference_steps": 150}}})
    changed = [view for view in plain.views if plain.digest(view) != own.digest(view)]
    assert changed == ["lcm", "lcm-untrained"] and plain.digest() == own.digest()
    assert "view_settings" not in plain.model_dump() and "split" not in plain.model_dump()["source"]
    assert plain.difference(own) is not None and own.difference(own) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lcm": {"seed": 1}}, "lcm: seed is not of one view alone"),
        ({"lcm": {"num_inference_steps": 0}}, "num_inference_steps"),
        ({"lcm": {"resolution": 500}}, "its autoencoder takes sides that 8 divides, not 500: try 496"),
        ({"pixels": {"resolution": 0}}, "sides that 1 divides, not 0"),
        ({"lcn": {}}, "the zoo has no view 'lcn'; did you mean lcm"),
        ({"lcm": {"accuracy": "ddim-50", "scheme": "ddim"}}, "accuracy picks the scheme"),
        ({"lcm": {"accuracy": "ddim-7"}}, "accuracy 'ddim-7' was not measured"),
    ],
)
def test_what_is_wrong_with_a_view_s_own_settings_is_one_line(fields: dict[str, Any], message: str) -> None:
    assert message in message_of({**FIELDS, **OWN, "view_settings": fields})


def test_an_encoder_s_pictures_have_the_size_that_its_own_preprocessing_says() -> None:
    fields = {"views": ["clip-vit-b16"], "view_settings": {"clip-vit-b16": {"resolution": 336}}}
    assert "its encoder's own preprocessing sets the size" in message_of({**FIELDS, **fields})


def test_a_residual_is_refused_without_the_views_that_it_is_made_of() -> None:
    fields = {**FIELDS, "views": ["sd15", "sd15-residual"]}
    assert "view sd15-residual is made of sd15 and sd-vae: name them among the views" in message_of(fields)
    recipe = make_recipe({**FIELDS, "views": ["sd15-residual", "sd-vae", "sd15"]})
    assert [row.name for row in recipe.zoo_rows()] == ["sd-vae", "sd15"]
    assert [row.name for row in recipe.residuals()] == ["sd15-residual"]


def test_steps_that_are_asked_for_take_the_place_of_those_that_an_accuracy_picked(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**FIELDS, "settings": {"accuracy": "ddim-50"}}))
    settings = read_recipe(str(tmp_path / "r.yaml"), {"settings": {"num_inference_steps": 7}}).settings
    assert (settings.num_inference_steps, settings.scheme, settings.span) == (7, "fireflow", 50)
