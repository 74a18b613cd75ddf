"""Names from outside: paths are names and never patterns, and no name of a source hides one of ours."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.recipe import SourceSpec
from noisezoo.builder.sources.manifest import freeze
from noisezoo.builder.sources.source import open_source
from noisezoo.errors import UsageError
from tests.builder.building import recipe_of
from tests.builder.image_sources import jpegs, people, write_lists, write_parquet
from tests.noisezoo.test_cli import run as command

ODD = ["d[1]", "d*", "d?", "d{1,2}", "d 1", "d::1", "d%20", "d#1", "dé", "~d"]


def photos(root: Path, first: int, n: int = 4, column: str = "age") -> Path:
    root.mkdir(parents=True)
    lines = [f"file_name,{column}"]
    for k, data in enumerate(jpegs(n, first)):
        (root / f"{k}.jpg").write_bytes(data)
        lines.append(f"{k}.jpg,{first + k}")
    (root / "metadata.csv").write_text("\n".join(lines))
    return root


def rows(folder: Path, first: int, n: int = 4, **columns: Any) -> Path:
    from datasets import Dataset, Image

    folder.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": data, "path": None} for data in jpegs(n, first)]
    made = Dataset.from_dict({"image": images, "age": [first + k for k in range(n)], **columns})
    with (folder / "train-00000-of-00001.parquet").open("wb") as file:
        made.cast_column("image", Image()).to_parquet(file)
    return folder


def ages(source: str) -> list[int]:
    return sorted(freeze(open_source(source), SourceSpec(name=source))[0].table.column("age").to_pylist())


@pytest.mark.parametrize("name", ODD)
def test_a_source_s_path_is_a_name(tmp_path: Path, name: str) -> None:
    for k, near in enumerate(["d1", "d2", "d", "dd", "d[1", "1"]):
        photos(tmp_path / "folders" / near, 100 * k + 50)
        rows(tmp_path / "rows" / near, 100 * k + 50)
    assert ages(f"imagefolder:{photos(tmp_path / 'folders' / name, 10)}") == [10, 11, 12, 13]
    assert ages(f"hf:{rows(tmp_path / 'rows' / name, 20)}") == [20, 21, 22, 23]
    from datasets import load_dataset

    there = load_dataset("parquet", data_files=str(tmp_path / "rows" / "d" / "*"), split="train")
    there.save_to_disk(tmp_path / "plain")
    saved = (tmp_path / "plain").rename(tmp_path / name)
    assert ages(f"hf:{saved}") == [250, 251, 252, 253]


@pytest.mark.parametrize("write", [write_lists, write_parquet])
def test_celeba_s_path_is_a_name(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "c1", people(30))
    folder = write(tmp_path / "c[1]", people(27))
    assert len(open_source(f"celeba:{folder}").scan()) == 27


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two datasets, `run[1]` and `run1`, of different faces."""
    root = tmp_path_factory.mktemp("twins")
    for name, first in [("run[1]", 0), ("run1", 1000)]:
        options = {"first": first, "count": 12}
        assert run(recipe_of("faces", ("pixels-8", "random-64"), limit=None, options=options), root / name)
    return root


def numbers(ids: list[str]) -> set[int]:
    return {int(image_id.removeprefix("faces-")) // 1000 for image_id in ids}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("views", [None, ["pixels-8"], ["random-64", "pixels-8"]])
def test_a_dataset_in_brackets_is_loaded_and_not_its_neighbour(
    twins: Path, views: list[str] | None, streaming: bool
) -> None:
    loaded = noisezoo.load(twins / "run[1]", views=views, streaming=streaming)
    assert numbers([row["image_id"] for row in loaded]) == {0}
    assert numbers([row["image_id"] for row in noisezoo.load(twins / "run1", views=views, streaming=streaming)]) == {1}


@pytest.mark.parametrize("name", ["verify", "status"])
def test_commands_take_a_path_in_brackets_as_a_name(
    twins: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, name, str(twins / "run[1]")) == 0
    assert capsys.readouterr().out


def test_publishing_a_path_in_brackets_uploads_that_dataset(twins: Path, tmp_path: Path) -> None:
    from tests.hub_server import HubServer

    code = """
from pathlib import Path
from noisezoo.builder.dataset.publish import publish
import json, noisezoo
publish(Path({folder!r}), "me/faces", check=lambda root: None)
print(json.dumps(list(noisezoo.load("me/faces")["image_id"])))
"""
    with HubServer() as hub:
        said = hub.run(code.format(folder=str(twins / "run[1]")), tmp_path / "home")
    assert numbers(json.loads(said.splitlines()[-1])) == {0}


def test_removing_from_a_path_in_brackets_leaves_its_neighbour(tmp_path: Path) -> None:
    from noisezoo.builder.dataset.remove import remove

    for name in ("r[1]", "r1"):
        assert run(recipe_of("faces", ("pixels-8",), limit=None, options={"count": 8}), tmp_path / name)
    gone = noisezoo.load(tmp_path / "r1")["image_id"][0]
    remove(tmp_path / "r[1]", [gone])
    assert gone not in noisezoo.load(tmp_path / "r[1]")["image_id"]
    assert gone in noisezoo.load(tmp_path / "r1")["image_id"]
    assert verify(tmp_path / "r[1]").ok and verify(tmp_path / "r1").ok


def test_joining_into_and_from_paths_in_brackets_takes_those(twins: Path, tmp_path: Path) -> None:
    from noisezoo.builder.dataset.join import join

    assert run(recipe_of("digits", ("pixels-8", "random-64"), limit=8), tmp_path / "b[2]")
    join([twins / "run[1]", tmp_path / "b[2]"], tmp_path / "both[3]")
    assert numbers(noisezoo.load(tmp_path / "both[3]")["image_id"]) == {0}
    assert len(noisezoo.load(tmp_path / "both[3]", source="digits")) == 8
    assert verify(tmp_path / "both[3]").ok


def test_the_build_says_how_to_load_a_path_in_brackets(tmp_path: Path) -> None:
    from noisezoo.commands.output import load_call

    assert load_call(tmp_path / "a") == f'datasets.load_dataset("{tmp_path}/a")'
    assert load_call(tmp_path / "a[1]") == f'noisezoo.load("{tmp_path}/a[1]")'


TAKEN = ["random-64", "pixels-8", "Pixels-8", "pixels-8.latent_std", "random-64.x"]


@pytest.mark.parametrize("column", TAKEN)
@pytest.mark.parametrize("kind", ["imagefolder", "hf"])
def test_a_label_called_like_a_view_is_refused_before_any_work(tmp_path: Path, kind: str, column: str) -> None:
    folder = (
        photos(tmp_path / "p", 0, column=column)
        if kind == "imagefolder"
        else rows(tmp_path / "p", 0, **{column: [1, 2, 3, 4]})
    )
    with pytest.raises(UsageError, match=f"label column '{column}' is called like view .*rename the column"):
        run(recipe_of(f"{kind}:{folder}", ("pixels-8", "random-64"), limit=None), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_label_called_like_a_view_is_refused_when_the_view_is_added_later(tmp_path: Path) -> None:
    source = f"imagefolder:{photos(tmp_path / 'p', 0, column='random-64')}"
    assert run(recipe_of(source, ("pixels-8",), limit=None), tmp_path / "out")
    with pytest.raises(UsageError, match="label column 'random-64' is called like view 'random-64'"):
        run(recipe_of(source, ("pixels-8", "random-64"), limit=None), tmp_path / "out")
    assert verify(tmp_path / "out").ok
    assert sorted(noisezoo.load(tmp_path / "out")["random-64"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("column", ["pixels-80", "pixels", "my.pixels-8", "labels", "paired", "image", "all"])
def test_a_label_called_otherwise_is_kept(tmp_path: Path, column: str) -> None:
    source = f"imagefolder:{photos(tmp_path / 'p', 5, column=column)}"
    assert run(recipe_of(source, ("pixels-8",), limit=None), tmp_path / "out")
    assert sorted(noisezoo.load(tmp_path / "out", views=["pixels-8"])[column]) == [5, 6, 7, 8]
    assert verify(tmp_path / "out").ok


def test_verify_sees_a_label_called_like_a_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisezoo.builder.engine.build.name_faults", lambda *names: iter(()))
    source = f"imagefolder:{photos(tmp_path / 'p', 0, column='random-64')}"
    assert run(recipe_of(source, ("pixels-8", "random-64"), limit=None), tmp_path / "out")
    found = [finding for finding in verify(tmp_path / "out").findings if finding.check == "names"]
    assert [finding.where for finding in found] == ["labels"]
    assert "label column 'random-64' is called like view 'random-64'" in found[0].message


def saved_splits(root: Path, *names: str) -> Path:
    from datasets import Dataset, DatasetDict, Image

    splits = {}
    for k, name in enumerate(names):
        images = [{"bytes": data, "path": None} for data in jpegs(3, 10 * k)]
        splits[name] = Dataset.from_dict({"image": images, "age": [1, 2, 3]}).cast_column("image", Image())
    DatasetDict(splits).save_to_disk(root)
    return root


@pytest.mark.parametrize("name", ["all", "my split", "a-b", "ALL.", "x/y"])
def test_a_split_that_datasets_could_not_load_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    source = f"hf:{saved_splits(tmp_path / 'd', 'train', name)}" if "/" not in name else ""
    if not source:
        pytest.skip("no folder can hold such a split")
    with pytest.raises(UsageError, match=f"split '{name}' has a name by which `datasets` cannot load it.*splits: hash"):
        run(recipe_of(source, ("pixels-8",), limit=None), tmp_path / "out")
    assert run(recipe_of(source, ("pixels-8",), limit=None, options={"splits": "hash"}), tmp_path / "hashed")


def test_verify_sees_a_split_called_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisezoo.builder.sources.manifest.name_faults", lambda *names: iter(()))
    source = f"hf:{saved_splits(tmp_path / 'd', 'train', 'all')}"
    assert run(recipe_of(source, ("pixels-8",), limit=None), tmp_path / "out")
    assert "all" in json.loads((tmp_path / "out" / "noisezoo.json").read_text())["sections"][0]["splits"]
    assert any("split 'all'" in str(finding) for finding in verify(tmp_path / "out").findings)


@pytest.mark.parametrize("name", ["a[1]", "a{b}", "a*", "a b", "../a"])
def test_a_view_s_name_is_fit_for_a_folder_and_a_pattern(name: str) -> None:
    from dataclasses import replace

    from noisezoo import zoo

    with pytest.raises(UsageError, match="cannot name a dataset config"):
        zoo.register(replace(zoo.get("random-64"), name=name))


def test_the_bytes_of_a_label_that_has_a_view_s_name_do_not_reach_paired(tmp_path: Path) -> None:
    source = f"imagefolder:{photos(tmp_path / 'p', 0, column='pixels')}"
    assert run(recipe_of(source, ("pixels-8",), limit=None), tmp_path / "out")
    assert "pixels" in pq.read_schema(next((tmp_path / "out" / "paired").glob("*.parquet"))).names
