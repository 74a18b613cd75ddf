"""What the manifest froze is what every view is made of: never another picture, file order or revision."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.sources.source import open_source
from noisezoo.errors import IncompleteError, UsageError
from tests.builder.building import recipe_of
from tests.builder.launching import launch_by_fork
from tests.hub_server import HubServer, client

ONE, TWO = ("pixels-8",), ("pixels-8", "pixels-8-whitened")


def photos(root: Path, greys: range) -> Path:
    """Pictures of one grey each, named by it."""
    root.mkdir(exist_ok=True)
    for grey in greys:
        Image.new("L", (8, 8), grey).save(root / f"{grey:02d}.png")
    return root


def swap(a: Path, b: Path) -> None:
    kept = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(kept)


def recipe(source: str, views: tuple[str, ...], **fields: Any) -> Any:
    return recipe_of(source, views, limit=None, pca_dims=64, **fields)


def greys(out: Path, view: str) -> dict[str, int]:
    """Image -> its grey, as the view's first pixel has it."""
    rows = noisezoo.load(out, views=[view])
    values = np.round((noisezoo.matrix(rows, view)[:, 0] + 1) * 127.5).astype(int)
    return dict(zip(rows["image_id"], values.tolist(), strict=True))


def test_a_view_added_after_two_pictures_were_swapped_is_not_built_until_they_are_back(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", range(12)), tmp_path / "out"
    assert run(recipe(f"imagefolder:{root}", ONE), out)
    swap(root / "03.png", root / "07.png")
    with pytest.raises(IncompleteError, match="no longer the picture that the manifest froze; put the old file back"):
        run(recipe(f"imagefolder:{root}", TWO), out)
    swap(root / "03.png", root / "07.png")
    assert run(recipe(f"imagefolder:{root}", TWO), out)
    assert verify(out).ok
    assert greys(out, "pixels-8") == {f"{grey:02d}.png": grey for grey in range(12)}


@pytest.mark.parametrize("change", ["one pixel", "same picture in another file format", "cut short"])
def test_any_change_of_a_file_is_noticed(tmp_path: Path, change: str) -> None:
    root, out = photos(tmp_path / "photos", range(6)), tmp_path / "out"
    assert run(recipe(f"imagefolder:{root}", ONE), out)
    changed, path = Image.open(root / "02.png").copy(), root / "02.png"
    if change == "one pixel":
        changed.putpixel((0, 0), 200)
    changed.save(path, "JPEG" if change.startswith("same") else "PNG")
    if change == "cut short":
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(IncompleteError, match="^02.png: no longer the picture that the manifest froze"):
        run(recipe(f"imagefolder:{root}", TWO), out)


def test_the_command_ends_with_3_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.noisezoo.test_cli import run as command

    root, out = photos(tmp_path / "photos", range(4)), tmp_path / "out"
    assert run(recipe(f"imagefolder:{root}", ONE), out)
    swap(root / "01.png", root / "02.png")
    (tmp_path / "recipe.yaml").write_text(recipe(f"imagefolder:{root}", TWO).model_dump_json())
    launch_by_fork(monkeypatch)
    code = command(monkeypatch, "build", str(tmp_path / "recipe.yaml"), "--out", str(out), "--processes", "1")
    assert code == 3
    assert re.search(r"0[12]\.png: no longer the picture that the manifest froze; put the old", capsys.readouterr().err)


def test_a_picture_that_is_gone_is_refused_in_words_and_the_others_pair(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", range(8)), tmp_path / "out"
    assert run(recipe(f"imagefolder:{root}", ONE), out)
    (root / "03.png").unlink()
    assert run(recipe(f"imagefolder:{root}", TWO), out)
    (refusal,) = [json.loads(line) for line in (out / "refusals.jsonl").read_text().splitlines()]
    assert (refusal["image_id"], refusal["message"]) == ("03.png", "there is no file 03.png")
    assert greys(out, "pixels-8") == {f"{grey:02d}.png": grey for grey in range(8) if grey != 3}
    assert verify(out).ok


def test_pictures_that_came_after_the_manifest_are_said_and_change_nothing(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", range(12)), tmp_path / "out"
    assert run(recipe(f"imagefolder:{root}", ONE), out)
    assert open_build(out).notes() == []
    photos(root, range(50, 52))
    (note,) = open_build(out).notes()
    assert note.startswith("2 of 14 images are newer than the manifest")
    assert run(recipe(f"imagefolder:{root}", TWO), out)
    assert len(noisezoo.load(out)) == 12


def test_pictures_that_are_gone_hide_none_of_those_that_came(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", range(12)), tmp_path / "out"
    assert run(recipe(f"imagefolder:{root}", ONE), out)
    photos(root, range(50, 52))
    for name in ("03.png", "04.png"):
        (root / name).unlink()
    (note,) = open_build(out).notes()
    assert note.startswith("2 of 12 images are newer than the manifest")


def test_pictures_that_are_gone_outside_the_sample_hide_none_of_those_that_came(tmp_path: Path) -> None:
    root, out = photos(tmp_path / "photos", range(12)), tmp_path / "out"
    limited = recipe_of(f"imagefolder:{root}", ONE, limit=5)
    assert run(limited, out)
    outside = sorted({path.name for path in root.iterdir()} - set(noisezoo.load(out)["image_id"]))
    photos(root, range(50, 52))
    for name in outside[:2]:
        (root / name).unlink()
    (note,) = open_build(out).notes()
    assert note.startswith("2 of 12 images are newer than the manifest")


def test_a_source_is_listed_once_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noisezoo.builder.sources import imagefolder

    root, out = photos(tmp_path / "photos", range(12)), tmp_path / "out"
    walks: list[Path] = []
    real = imagefolder.walk
    monkeypatch.setattr(imagefolder, "walk", lambda *args: walks.append(args[0]) or real(*args))
    small = recipe_of(f"imagefolder:{root}", TWO, limit=5, pca_dims=64)
    assert run(small, out)
    counted = len(walks)
    assert counted <= 2  # its pictures, and their number
    shutil.rmtree(out / "_build" / "parts")
    assert run(small, out)
    assert len(walks) == counted


def rows_of(folder: Path, order: list[int]) -> Path:
    """A Parquet dataset of pictures of one grey each."""
    from datasets import Dataset, Image as Feature

    from tests.builder.image_sources import encode

    pictures = [encode(np.full((8, 8, 3), grey, np.uint8), "PNG") for grey in order]
    rows = Dataset.from_dict({"image": [{"bytes": data, "path": None} for data in pictures], "grey": order})
    folder.mkdir(parents=True, exist_ok=True)
    rows.cast_column("image", Feature()).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def test_rows_of_a_local_file_that_was_written_in_another_order_are_noticed(tmp_path: Path) -> None:
    rows, out = rows_of(tmp_path / "rows", list(range(10))), tmp_path / "out"
    assert run(recipe(f"hf:{rows}", ONE), out)
    rows_of(rows, list(range(10))[::-1])
    with pytest.raises(IncompleteError, match="no longer the picture that the manifest froze"):
        run(recipe(f"hf:{rows}", TWO), out)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


BUILD = """
from pathlib import Path
from noisezoo.builder.__main__ import run
from noisezoo.errors import NoiseZooError
from tests.builder.building import recipe_of
from tests.builder.launching import launch_by_fork
try:
    run(recipe_of("hf:me/greys", {views!r}, limit=None, pca_dims=64, options={options!r}), Path({out!r}))
    print("built")
except NoiseZooError as error:
    print(type(error).__name__, error)
"""
OFFLINE = "import os; os.environ['HF_HUB_OFFLINE'] = '1'\n"


def upload(api: Any, folder: Path) -> str:
    api.create_repo("me/greys", repo_type="dataset", exist_ok=True)
    return str(api.upload_folder(repo_id="me/greys", folder_path=folder, repo_type="dataset").oid)


def test_a_repository_is_read_at_the_commit_that_the_first_run_found(tmp_path: Path, hub: HubServer) -> None:
    out = str(tmp_path / "out")
    with client(hub) as api:
        first = upload(api, rows_of(tmp_path / "rows", list(range(10))))
        assert hub.run(BUILD.format(views=ONE, options={}, out=out), tmp_path / "home") == "built"
        upload(api, rows_of(tmp_path / "rows", list(range(10))[::-1]))
    assert open_build(Path(out)).source_facts["pinned"] == {"revision": first}
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["source"]["options"] == {"revision": first}
    assert hub.run(BUILD.format(views=TWO, options={}, out=out), tmp_path / "other home") == "built"
    rows = noisezoo.load(out, views=["pixels-8"])
    assert rows["grey"] == [greys(Path(out), "pixels-8")[image_id] for image_id in rows["image_id"]]
    assert (
        hub.run(OFFLINE + BUILD.format(views=TWO, options={}, out=str(tmp_path / "again")), tmp_path / "home")
        == "built"
    )


@pytest.mark.parametrize("readme", ["", "---\nconfigs:\n- config_name: default\n  data_files: '*.tar'\n---\n"])
def test_a_repository_of_archives_is_refused_with_the_mend_before_they_are_downloaded(
    tmp_path: Path, hub: HubServer, readme: str
) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "README.md").write_text(readme)
    (tmp_path / "rows" / "00000.tar").write_bytes(b"archive" * 1000)
    with client(hub) as api:
        upload(api, tmp_path / "rows")
    said = hub.run(BUILD.format(views=ONE, options={}, out=str(tmp_path / "out")), tmp_path / "home")
    assert re.match(
        "UsageError hf: me/greys has no images that can be read: .*; hf reads Parquet files, .*load_dat", said
    )
    assert list((tmp_path / "home").rglob("README.md"))
    assert not list((tmp_path / "home").rglob("*.tar"))


@pytest.mark.parametrize("name", ["train.csv", "train.jsonl", "0000.tar"])
def test_a_folder_in_a_format_that_is_not_read_is_refused_with_the_mend(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("image,label\na.png,1\n")
    with pytest.raises(UsageError, match=f"{tmp_path} has no images .*{name}; hf reads .*save_to_disk"):
        open_source(f"hf:{tmp_path}").scan()


def test_offline_another_revision_than_the_one_asked_for_is_refused_before_any_work(
    tmp_path: Path, hub: HubServer
) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    with client(hub) as api:
        upload(api, rows_of(tmp_path / "rows", [1, 2, 3]))
        api.create_tag("me/greys", repo_type="dataset", tag="v1")
        upload(api, rows_of(tmp_path / "rows", [4, 5, 6]))
    assert hub.run(BUILD.format(views=ONE, options={}, out=str(tmp_path / "main")), home) == "built"
    said = hub.run(OFFLINE + BUILD.format(views=ONE, options={"revision": "v1"}, out=str(out)), home)
    assert said.startswith("UsageError hf: the dataset me/greys cannot be loaded: it is no folder here, and offline ")
    assert said.endswith("unset HF_HUB_OFFLINE")
    assert "\n" not in said
    assert not out.exists()
    assert hub.run(BUILD.format(views=ONE, options={"revision": "v1"}, out=str(out)), home) == "built"
    assert set(noisezoo.load(out)["grey"]) == {1, 2, 3}
    again = tmp_path / "again"
    assert hub.run(OFFLINE + BUILD.format(views=ONE, options={"revision": "v1"}, out=str(again)), home) == "built"
    assert set(noisezoo.load(again)["grey"]) == {1, 2, 3}


@pytest.mark.parametrize("name", ["celeba", "afhq", "afhqv2"])
def test_offline_a_pinned_source_is_not_read_from_another_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from huggingface_hub import constants

    from noisezoo.errors import UsageError

    repo = type(open_source(name)).repo
    newer = tmp_path / f"datasets--{repo.replace('/', '--')}"
    for folder in ("snapshots", "refs"):
        (newer / folder).mkdir(parents=True)
    rows_of(newer / "snapshots" / ("a" * 40), [1, 2, 3])
    (newer / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(UsageError, match=f"{name}: the dataset {repo} cannot be loaded"):
        open_source(name).scan()


LIST = """
from noisezoo.builder.sources.source import open_source
from noisezoo.errors import NoiseZooError
try:
    source = open_source({name!r}, {options!r})
    keys = source.scan().column("key").to_pylist()
    print(len(keys), sorted(source.label_features()), all(isinstance(each, bytes) for each in source.contents(keys)))
except NoiseZooError as error:
    print(type(error).__name__, error)
"""


def test_a_repository_is_downloaded_as_far_as_it_is_read_and_told_in_one_line(tmp_path: Path, hub: HubServer) -> None:
    rows_of(tmp_path / "rows" / "small", [1, 2, 3])
    rows_of(tmp_path / "rows" / "large", list(range(9)))
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("small", "large"))
    (tmp_path / "rows" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    pictures = photos(tmp_path / "pictures", range(4))
    (pictures / "metadata.csv").write_text("file_name,age\n" + "".join(f"{k:02d}.png,{20 + k}\n" for k in range(4)))
    with client(hub) as api:
        for repo, folder in (("me/configs", tmp_path / "rows"), ("me/pictures", pictures)):
            api.create_repo(repo, repo_type="dataset")
            api.upload_folder(repo_id=repo, folder_path=folder, repo_type="dataset")
    asked = [("hf:me/configs", {}), ("hf:me/configs", {"config": "small"}), ("hf:me/pictures", {}), ("hf:me/none", {}),
             ("hf:me/configs", {"config": "small", "revision": "v9"})]  # fmt: skip
    said = [hub.run(LIST.format(name=name, options=options), tmp_path / "home") for name, options in asked]
    assert "several configurations: set the option config to one of small, large" in said[0]
    assert said[1] == "3 ['grey'] True"
    assert said[2] == "4 ['age'] True"
    assert all(line.startswith("UsageError hf: the dataset me/") and "\n" not in line for line in said[3:])
    assert not any("large" in path for path in hub.downloaded())
