"""A path is a name and never a pattern, in whatever is done with a dataset."""

import shutil
from pathlib import Path

import pytest

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.join import join
from noisezoo.builder.dataset.publish import publish
from noisezoo.builder.dataset.remove import remove
from noisezoo.errors import UsageError
from noisezoo.files import clean_up
from tests.builder.building import digits_recipe, recipe_of
from tests.builder.publishing import REPO, of, passes
from tests.hub_server import TOKEN, HubServer, client

VIEWS = ("random-64", "pixels-8")
PAIRS = [("run[1]", "run1"), ("run*", "run7"), ("ru?", "run"), ("{run,a}", "run"), ("a b%20c", "a b c"), ("[!x]", "y"),
         ("a:b", "b")]  # fmt: skip


@pytest.fixture(scope="module")
def datasets_of(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two datasets of other rows, for copying."""
    folder = tmp_path_factory.mktemp("two")
    assert run(digits_recipe(VIEWS, 12), folder / "mine")
    assert run(digits_recipe(VIEWS, 20), folder / "other")
    return folder / "mine", folder / "other"


def test_a_path_that_datasets_takes_for_a_chain_of_addresses_is_refused(
    datasets_of: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(datasets_of[0], tmp_path / "zip::run")
    for streaming in (False, True):
        with pytest.raises(UsageError, match="a chain of addresses: rename the folder"):
            noisezoo.load(tmp_path / "zip::run", streaming=streaming)


@pytest.mark.parametrize(("name", "match"), PAIRS)
def test_a_folder_is_that_folder_beside_what_its_name_would_match(
    datasets_of: tuple[Path, Path], tmp_path: Path, name: str, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = datasets_of
    shutil.copytree(other, tmp_path / match)
    shutil.copytree(mine, tmp_path / name)
    ids = noisezoo.load(mine, views=[])["image_id"][:]
    assert noisezoo.load(tmp_path / name, views=VIEWS)["image_id"][:] == ids
    assert [row["image_id"] for row in noisezoo.load(tmp_path / name, views=VIEWS, streaming=True)] == ids
    monkeypatch.chdir(tmp_path)
    assert noisezoo.load(name)["image_id"][:] == ids
    assert len(noisezoo.load(match)) == 20
    assert verify(name).rows == 12 and verify(name, recompute=2).ok
    before = of(tmp_path / match)
    remove(name, ids[:2])
    assert noisezoo.load(name, views=VIEWS)["image_id"][:] == ids[2:] and verify(name).ok
    assert of(tmp_path / match) == before


def test_joined_and_published_under_such_names_a_dataset_is_itself(
    datasets_of: tuple[Path, Path], tmp_path: Path
) -> None:
    out, faces = tmp_path / "out[1]" / "all*", tmp_path / "faces[ab]"
    assert run(recipe_of("faces", ("random",), 6), faces)
    shutil.copytree(datasets_of[0], tmp_path / "digits[0-9]")
    join([tmp_path / "digits[0-9]", faces], out)
    assert verify(out).ok and verify(out).rows == 18
    assert len(noisezoo.load(out, views=["random"], source="faces")) == 6
    with HubServer() as server, client(server):
        publish(out, REPO, check=passes, token=TOKEN, endpoint=server.url, sensitive=False)
        tree = server.repo(REPO).head.tree
    assert {path for path in tree if path != ".gitattributes"} == set(of(out))


def test_a_view_whose_name_could_be_a_pattern_is_refused(tmp_path: Path) -> None:
    row = {"name": "x[1]", "kind": "control", "family": "random", "repo": "", "resolution": 8, "shape": [1, 8, 8],
           "license": "Apache-2.0", "gflops": 0.0, "about": "bracketed"}  # fmt: skip
    with pytest.raises(UsageError, match=r"view name 'x\[1\]' cannot name a dataset config"):
        digits_recipe(("x[1]", "random-64"), 10, rows=[row])


def test_cleaning_up_after_a_file_takes_no_file_that_its_name_would_match(tmp_path: Path) -> None:
    for name in (".a[1].json.0.tmp", ".a1.json.0.tmp"):
        (tmp_path / name).write_text("")
    clean_up(tmp_path, "a[1].json")
    assert [path.name for path in tmp_path.iterdir()] == [".a1.json.0.tmp"]
