"""The zoo's table, and the package that must stay light."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from noisezoo import zoo
from noisezoo.builder.recipe import make_recipe
from noisezoo.errors import IncompleteError, NoiseZooError, UsageError
from noisezoo.zoo import View

ROW = View("my-model", "noise", "diffusers", "me/my-model", 64, (4, 8, 8), "MIT", 1.0, "a test's", init_seed=9)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    yield


def test_the_table_has_a_row_a_view_with_what_a_reader_asks() -> None:
    table = zoo.table()
    assert list(table.index) == list(zoo.ROWS)
    columns = {"kind", "family", "repo", "revision", "resolution", "shape", "size", "dtype", "license", "gated"}
    assert columns | {"clip_conditioned", "untrained"} <= set(table.columns)
    assert table.loc["faces-ddpm", "size"] == 3 * 32 * 32
    assert set(table["kind"]) == {"noise", "embedding", "control"}


def test_image_like_rows_are_stored_in_half_and_embeddings_in_full_precision() -> None:
    for row in zoo.rows():
        assert row.dtype == ("float16" if len(row.shape) == 3 else "float32")


def test_every_network_has_an_untrained_control_alike_in_all_but_training() -> None:
    networks = [row for row in zoo.rows() if row.baseline is not None]
    assert {"faces-ddpm", "faces-ldm-uncond", "digits-ddpm", "faces-clip", "faces-ssl"} <= {
        row.name for row in networks
    }
    for row in networks:
        control = zoo.get(row.baseline or "")
        assert control.name == f"{row.name}-untrained"
        assert control.untrained
        assert not row.untrained
        assert (control.shape, control.dtype, control.resolution) == (row.shape, row.dtype, row.resolution)
        assert row.start_seed is None
        if control.start_seed is None:
            assert control.repo != row.repo, "a network that starts from no seed must bring its own weights"
        else:
            assert control.repo == row.repo
            assert control.start_seed == (0 if row.init_seed is None else row.init_seed)
        assert control.kind == ("control" if row.kind == "noise" else "embedding")
        assert control.baseline is None


def test_the_zoo_holds_the_views_of_the_paper_and_those_that_answer_its_critics() -> None:
    expected = {
        "noise": {"sd15", "sd21", "sd21-base", "lcm", "ddpm-celebahq-256", "ldm-celebahq-256", "dit-xl-2-256", "sdxl",
                  "sd3-medium", "flux-dev", "pixart", "faces-ddpm", "faces-ldm"},
        "embedding": {"clip-vit-b16", "clip-vit-l14", "openclip-vit-b16", "openclip-vit-l14", "dinov3-vit-l16",
                      "dinov2-vit-l14", "siglip2", "mae-vit-b16", "imagenet-vit-b16"},
        "control": {"pixels", "sd-vae", "faces-vae", "sd15-untrained", "random"},
    }  # fmt: skip
    for kind, names in expected.items():
        assert names <= {row.name for row in zoo.rows() if row.kind == kind}


def test_a_pin_is_a_whole_commit() -> None:
    for row in zoo.rows():
        assert row.revision is None or re.fullmatch("[0-9a-f]{40}", row.revision), row.name


def test_every_latent_model_has_its_autoencoders_view_of_the_same_shape_beside_it() -> None:
    latent = [row for row in zoo.rows() if row.autoencoder is not None and not row.is_residual]
    assert len(latent) >= 2 * 12
    for row in latent:
        vae = zoo.get(row.autoencoder or "")
        assert (vae.kind, vae.family, vae.autoencoder, vae.untrained) == ("control", "vae", None, False)
        assert (vae.shape, vae.resolution, vae.gflops) == (row.shape, row.resolution, row.autoencoder_gflops)
        assert vae.pickled == row.pickled and vae.clip_conditioned is None
    own = [row for row in latent if row.repo == zoo.get(row.autoencoder or "").repo]
    assert {row.name for row in latent} - {row.name for row in own} == {"faces-ldm", "faces-ldm-untrained"}


def test_a_latent_is_an_eighth_or_a_quarter_of_the_picture_and_a_pixel_model_has_all_of_it() -> None:
    for row in (row for row in zoo.rows() if row.kind == "noise"):
        factor = row.resolution / row.shape[-1]
        assert row.shape[-1] == row.shape[-2]
        assert factor in ((1,) if row.autoencoder is None else (4, 8)), row.name


def test_what_clip_conditioned_is_told_of_every_noise_view_and_of_no_encoder() -> None:
    said = {row.name: row.clip_conditioned for row in zoo.rows() if not row.untrained}
    without = {"ddpm-celebahq-256", "ldm-celebahq-256", "dit-xl-2-256", "pixart", "faces-ddpm", "faces-ldm-uncond",
               "digits-ddpm"}  # fmt: skip
    for row in (zoo.get(name) for name in said):
        assert said[row.name] is (row.name not in without if row.kind == "noise" else None)


def test_an_objective_is_told_of_every_trained_network_and_of_nothing_else() -> None:
    for row in zoo.rows():
        trained = (bool(row.repo) or row.family == "vae") and not row.untrained and row.family != "residual"
        assert (row.objective in zoo.OBJECTIVES) is trained and (row.objective is None) is not trained, row.name
        if trained:
            kind = "noise" if row.objective in ("diffusion", "flow", "consistency") else "embedding"
            assert row.kind == ("control" if row.objective == "autoencoding" else kind)
    found = {name: zoo.get(name).objective for name in ("sd3-medium", "lcm", "mae-vit-b16", "siglip2", "faces-ssl")}
    assert list(found.values()) == ["flow", "consistency", "masked", "contrastive-text", "contrastive"]
    assert zoo.register(ROW).objective is None


def test_an_unknown_objective_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="unknown objective 'magic'; it is one of: diffusion, flow, .*or left out"):
        zoo.register(replace(ROW, objective="magic"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"recipe field rows\.0\.objective: Input should be 'diffusion'"):
        fields = {**asdict(ROW), "repo": "./mine", "objective": "magic"}
        make_recipe({"name": "x", "source": {"name": "faces"}, "views": ["my-model"], "rows": [fields]})


def test_an_autoencoder_that_models_share_is_registered_once_and_a_wrong_one_is_refused() -> None:
    first = zoo.register(replace(ROW, autoencoder="my-vae", autoencoder_gflops=0.5))
    assert zoo.get("my-vae") == zoo.latent(first)
    zoo.register(replace(ROW, name="second", repo="me/second", autoencoder="my-vae"))
    assert zoo.get("my-vae").repo == first.repo
    with pytest.raises(UsageError, match="view third: its autoencoder 'pixels' is no VAE's view"):
        zoo.register(replace(ROW, name="third", autoencoder="pixels"))
    assert "third" not in zoo.ROWS


def test_a_row_that_moves_to_another_folder_takes_its_controls_along() -> None:
    zoo.register(replace(zoo.get("sd15"), repo="/models/sd15", revision=None), replace_existing=True)
    for name in ("sd15", "sd15-untrained", "sd-vae"):
        assert (zoo.get(name).folder, zoo.get(name).revision) == (Path("/models/sd15"), None)
    assert zoo.get("sd15-untrained").autoencoder == "sd-vae"


def test_a_row_that_borrows_an_autoencoder_leaves_it_where_it_is_when_it_moves() -> None:
    zoo.register(replace(zoo.get("faces-ldm"), repo="./mine"), replace_existing=True)
    assert zoo.get("faces-vae").repo == "testbed:faces-ldm-uncond"


def test_a_folder_is_a_shipped_model_or_a_path_and_never_a_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    folders = {
        "testbed:faces-ddpm": zoo.TESTBED / "faces-ddpm", "./here": Path("here"), "../up": Path("../up"),
        "~/there": Path("/home/me/there"), "/abs": Path("/abs"), "me/my-model": None, "gpt2": None, "": None,
    }  # fmt: skip
    for repo, folder in folders.items():
        assert replace(ROW, repo=repo).folder == folder


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no view 'face-ddpm'; did you mean faces-ddpm"):
        zoo.get("face-ddpm")
    with pytest.raises(UsageError, match="no view 'qqqq'; see `noisezoo models`"):
        zoo.get("qqqq")


def test_a_registered_row_is_found_with_its_control() -> None:
    kept = zoo.register(ROW)
    assert zoo.get("my-model") == kept
    assert zoo.get("my-model-untrained").init_seed == 9
    assert "my-model-untrained" in zoo.table().index


def test_a_registered_control_has_no_control_of_its_own() -> None:
    zoo.register(replace(ROW, name="grey", kind="control", family="pixels", repo=""))
    assert "grey-untrained" not in zoo.ROWS
    assert zoo.get("grey").baseline is None


def test_a_name_that_is_taken_is_refused_unless_replacing_is_meant() -> None:
    zoo.register(ROW)
    with pytest.raises(UsageError, match="already has a view 'my-model'"):
        zoo.register(replace(ROW, about="another"))
    assert zoo.get("my-model").about == "a test's"
    zoo.register(replace(ROW, about="another"), replace_existing=True)
    assert zoo.get("my-model").about == "another"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a:b", 'a"b', "a*b", "..", ".hidden"])
def test_a_name_that_cannot_be_a_config_or_a_folder_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a dataset config"):
        zoo.register(replace(ROW, name=name))


@pytest.mark.parametrize("name", ["paired", "labels", "image_id", "split", "_build"])
def test_a_name_that_the_dataset_itself_uses_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"view name '{name}'"):
        zoo.register(replace(ROW, name=name))


def test_every_row_of_the_zoo_says_what_it_is() -> None:
    for row in zoo.rows():
        assert row.about
        assert row.license
        assert row.resolution > 0
        assert (row.repo == "") == (row.family in ("pixels", "whitened", "random"))


def test_importing_noisezoo_loads_nothing_heavy() -> None:
    heavy = ("torch", "diffusers", "transformers", "datasets", "pandas", "sklearn", "scipy", "matplotlib", "pyarrow")
    script = f"import sys, noisezoo; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_errors_carry_the_exit_code_that_scripts_rely_on() -> None:
    codes = {error: error("x").exit_code for error in (NoiseZooError, UsageError, IncompleteError)}
    assert codes == {NoiseZooError: 1, UsageError: 2, IncompleteError: 3}


def test_the_outer_rooms_are_reached_through_the_package_and_a_wrong_name_is_not() -> None:
    script = (
        "import noisezoo, sys; assert 'noisezoo.builder' not in sys.modules\n"
        "assert noisezoo.builder.Inverter and noisezoo.analysis.probe_table\n"
        "try: noisezoo.bilder\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'noisezoo' has no attribute 'bilder'\n"
