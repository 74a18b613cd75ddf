"""The zoo's table, and the package that must stay light."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from noisezoo import zoo
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
