"""Several sources in one dataset: each under names of its own, none changed by those that come beside it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import get_dataset_config_names, load_dataset

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.join import join
from noisezoo.builder.dataset.remove import remove
from noisezoo.builder.engine.build import STATE
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.record import read_record
from tests.builder.building import digits_recipe, leftovers, published, recipe_of
from tests.builder.image_sources import jpegs

VIEWS = ("random-64", "pixels-8")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Digits, faces and a folder of images, each a dataset."""
    root = tmp_path_factory.mktemp("sources")
    (root / "images").mkdir()
    for k, data in enumerate(jpegs(12)):
        (root / "images" / f"{k}.jpg").write_bytes(data)
    assert run(digits_recipe(VIEWS, 24), root / "digits")
    assert run(recipe_of("faces", ("random-64", "pixels"), 20), root / "faces")
    assert run(recipe_of(f"imagefolder:{root / 'images'}", ("random-64",), None), root / "mine")
    return root / "digits", root / "faces", root / "mine"


def data(folder: Path) -> dict[str, str]:
    """The published files of the sources, without what speaks of all of them."""
    own = ("README.md", "croissant.json", "noisezoo.json")
    return {path: digest for path, digest in published(folder).items() if path not in own}


def test_the_first_source_keeps_its_names_and_further_ones_are_prefixed(
    sources: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    digits, faces, _ = sources
    record = join([digits, faces], tmp_path / "noisezoo")
    assert record == read_record(tmp_path / "noisezoo")
    assert [(s.source, s.prefix) for s in record.sections] == [("digits", ""), ("faces", "faces.")]
    names = {f"faces.{path}": digest for path, digest in data(faces).items()}
    assert data(tmp_path / "noisezoo") == data(digits) | names
    assert set(get_dataset_config_names(str(tmp_path / "noisezoo"))) == {
        "paired", "labels", "random-64", "pixels-8", "faces.paired", "faces.labels", "faces.random-64", "faces.pixels",
    }  # fmt: skip
    assert verify(tmp_path / "noisezoo").findings == ()
    assert leftovers(tmp_path) == []


def test_a_joined_source_loads_as_it_did_alone(sources: tuple[Path, Path, Path], tmp_path: Path) -> None:
    digits, faces, _ = sources
    out = tmp_path / "noisezoo"
    join([digits, faces], out)
    for folder, source in ((digits, None), (digits, "digits"), (faces, "faces")):
        views = ["random-64", "pixels" if folder == faces else "pixels-8"]
        for chosen in (views, [], None):
            alone, beside = noisezoo.load(folder, views=chosen), noisezoo.load(out, views=chosen, source=source)
            assert alone.column_names == beside.column_names
            assert alone["image_id"][:] == beside["image_id"][:]
            for view in chosen or ():
                assert np.array_equal(noisezoo.matrix(alone, view), noisezoo.matrix(beside, view))
        streamed = [row["image_id"] for row in noisezoo.load(out, views=views, source=source, streaming=True)]
        assert streamed == alone["image_id"][:]
    assert load_dataset(str(out))["train"].config_name == "paired"
    assert load_dataset(str(out), "faces.paired")["train"].column_names[-2:] == ["random-64", "pixels"]


def test_an_unknown_source_or_view_of_a_source_is_refused_with_what_there_is(
    sources: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    join(sources[:2], tmp_path / "noisezoo")
    with pytest.raises(UsageError, match="has no source 'celeba'; it has: digits, faces"):
        noisezoo.load(tmp_path / "noisezoo", source="celeba")
    with pytest.raises(UsageError, match="no view 'pixels-8' of source 'faces'; it has: .*pixels"):
        noisezoo.load(tmp_path / "noisezoo", views=["pixels-8"], source="faces")


def test_one_more_source_leaves_the_others_files_as_they_were(sources: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "noisezoo"
    join(sources[:2], out)
    two = data(out)
    join(sources, out)
    three = data(out)
    assert {path: three[path] for path in two} == two
    assert all(path.startswith("imagefolder.") for path in set(three) - set(two))
    whole = published(out)
    join(sources, out)
    assert published(out) == whole
    again = tmp_path / "again" / "noisezoo"
    join([out], again)
    assert published(again) == whole, "a joined dataset can be joined itself"


def test_removal_goes_through_every_source_or_the_named_one(sources: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "noisezoo"
    join(sources, out)
    others = {path: digest for path, digest in data(out).items() if not path.startswith("faces.")}
    face = noisezoo.load(out, views=[], source="faces")["image_id"][0]
    with pytest.raises(UsageError, match="has no image"):
        remove(out, [face], source="digits")
    record = remove(out, [face])
    assert [section.removed for section in record.sections] == [0, 1, 0]
    assert {path: digest for path, digest in data(out).items() if not path.startswith("faces.")} == others
    assert face not in noisezoo.load(out, views=["pixels"], source="faces")["image_id"][:]
    assert verify(out).findings == ()
    assert noisezoo.load(sources[1], views=[])["image_id"][0] == face, "its own folder is as it was"


def test_a_source_cannot_come_twice(sources: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="source 'digits' comes twice"):
        join([sources[0], sources[1], sources[0]], tmp_path / "noisezoo")
    assert not (tmp_path / "noisezoo").exists()


def test_nothing_else_is_overwritten(sources: tuple[Path, Path, Path], tmp_path: Path) -> None:
    digits, faces, mine = sources
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for out, message in ((tmp_path / "full", "is not empty"), (tmp_path / "full" / "file", "is a file"),
                         (digits, "is among the folders"), (mine, "is a build's folder")):  # fmt: skip
        before = sorted(out.rglob("*"))
        with pytest.raises(UsageError, match=message):
            join([digits, faces], out)
        assert sorted(out.rglob("*")) == before
    join([digits, mine], tmp_path / "noisezoo")
    with pytest.raises(UsageError, match="has a config 'imagefolder.paired' that would be gone"):
        join([digits, faces], tmp_path / "noisezoo")
    with pytest.raises(UsageError, match="holds no published dataset"):
        join([digits, tmp_path / "full"], tmp_path / "other")


def test_a_damaged_source_is_refused_and_the_dataset_stays(sources: tuple[Path, Path, Path], tmp_path: Path) -> None:
    digits, faces, _ = sources
    out, harmed = tmp_path / "noisezoo", tmp_path / "faces"
    join([digits], out)
    before = published(out)
    shutil.copytree(faces, harmed)
    shutil.rmtree(harmed / STATE)
    shard = next((harmed / "pixels").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(NoiseZooError, match=f"{shard.name} is not what the folder's record says"):
        join([digits, harmed], out)
    assert published(out) == before
