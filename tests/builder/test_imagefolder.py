"""Anyone's pictures: what can be read is read upright and whole; what cannot is a refusal with its reason."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisezoo.builder.__main__ import run
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.recipe import SourceSpec
from noisezoo.builder.sources.imagefolder import ImageFolder
from noisezoo.builder.sources.manifest import freeze
from noisezoo.builder.sources.source import open_source
from noisezoo.errors import UsageError
from tests.builder.building import recipe_of


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (12, 12), **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path, **options)


def folder_of(root: Path, names: list[str]) -> ImageFolder:
    for seed, name in enumerate(names):
        draw(root / name, seed)
    source = open_source(f"imagefolder:{root}")
    assert isinstance(source, ImageFolder)
    return source


def test_folders_become_classes(tmp_path: Path) -> None:
    table = folder_of(tmp_path, ["cat/a.png", "dog/b.png", "cat/c.png"]).scan()
    assert table.column("image_id").to_pylist() == ["cat/a.png", "cat/c.png", "dog/b.png"]
    assert "split" not in table.column_names
    source = ImageFolder(str(tmp_path))
    names = source.label_features()["label"].names
    assert [names[k] for k in table.column("label").to_pylist()] == ["cat", "cat", "dog"]


def test_train_and_test_folders_become_splits(tmp_path: Path) -> None:
    source = folder_of(tmp_path, ["train/cat/a.png", "test/cat/b.png", "train/dog/c.png", "test/dog/d.png"])
    manifest, _ = freeze(source, SourceSpec(name="imagefolder"))
    assert {name: manifest.ids[rows.start : rows.stop] for name, rows in manifest.splits.items()} == {
        "train": ["train/cat/a.png", "train/dog/c.png"],
        "test": ["test/cat/b.png", "test/dog/d.png"],
    }


def test_a_metadata_file_gives_label_columns(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png", "b.png"])
    (tmp_path / "metadata.csv").write_text("file_name,age\na.png,31\nb.png,64\n")
    source = ImageFolder(str(tmp_path))
    assert source.scan().column("age").to_pylist() == [31, 64]
    assert list(source.label_features()) == ["age"]


def test_a_metadata_file_of_json_lines_gives_every_kind_of_label(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png", "b.png"])
    rows = [{"file_name": "a.png", "age": 31, "who": "é", "tall": True}, {"file_name": "b.png", "age": 1, "who": "x"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = ImageFolder(str(tmp_path))
    assert source.scan().select(["age", "who", "tall"]).to_pydict() == {
        "age": [31, 1],
        "who": ["é", "x"],
        "tall": [True, None],
    }
    assert [feature.dtype for feature in source.label_features().values()] == ["int64", "string", "bool"]


def test_a_metadata_column_that_cannot_be_a_label_is_refused_by_name(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png"])
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "box": [1, 2]}\n')
    with pytest.raises(UsageError, match="column 'box' .* cannot be a label"):
        freeze(ImageFolder(str(tmp_path)), SourceSpec(name="imagefolder"))


def test_a_metadata_file_that_reaches_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", ["a.png"])
    draw(tmp_path / "b.png")
    (tmp_path / "photos" / "metadata.csv").write_text("file_name,age\n../b.png,31\n")
    with pytest.raises(
        UsageError, match=r"metadata.csv cannot be read: row 1 names \.\./b.png, which is outside of its folder"
    ):
        freeze(ImageFolder(str(tmp_path / "photos")), SourceSpec(name="imagefolder"))


def test_an_empty_split_folder_is_no_split(tmp_path: Path) -> None:
    source = folder_of(tmp_path, [f"train/{k}.png" for k in range(20)])
    (tmp_path / "test").mkdir()
    manifest, _ = freeze(source, SourceSpec(name="imagefolder"))
    assert len(manifest) == 20
    assert "test" in manifest.splits  # by hash, as the folder has one split only
    assert source.sensitive


@pytest.mark.parametrize("column", ["image_id", "split", "key", "sha256", "group"])
def test_a_metadata_column_that_would_overwrite_ours_is_refused_by_name(tmp_path: Path, column: str) -> None:
    folder_of(tmp_path, ["a.png", "b.png"])
    (tmp_path / "metadata.csv").write_text(f"file_name,{column}\na.png,x\nb.png,y\n")
    with pytest.raises(UsageError, match=f"column {column!r}"):
        freeze(ImageFolder(str(tmp_path)), SourceSpec(name="imagefolder"))


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    half = np.zeros((8, 16, 3), np.uint8)
    half[:, 8:] = 255  # white on the right
    upright = Image.fromarray(half)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: a viewer turns it clockwise
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    assert run(recipe_of(f"imagefolder:{tmp_path}", ("pixels-8",), pca_dims=64), tmp_path / "out")
    import noisezoo

    rows = noisezoo.load(tmp_path / "out", views=["pixels-8"])
    by_id = dict(zip(rows["image_id"], noisezoo.matrix(rows, "pixels-8"), strict=True))
    assert np.array_equal(by_id["turned.png"], by_id["upright.png"])
    assert by_id["upright.png"].reshape(8, 8)[:, -1].min() > by_id["upright.png"].reshape(8, 8)[:, 0].max()


def test_every_row_in_is_a_row_out_or_a_refusal_with_its_reason(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    draw(photos / "good.jpg", 1)
    draw(photos / "clear.png", 2)
    Image.open(photos / "clear.png").convert("RGBA").save(photos / "alpha.png")
    Image.open(photos / "clear.png").convert("L").save(photos / "grey.png")
    Image.open(photos / "clear.png").convert("P").save(photos / "palette.png")
    Image.fromarray((np.arange(144).reshape(12, 12) * 400).astype(np.uint16)).save(photos / "deep.png")
    draw(photos / "broken.jpg", 3, (64, 64))
    broken = (photos / "broken.jpg").read_bytes()
    (photos / "broken.jpg").write_bytes(broken[: len(broken) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "page.jpg").write_text("<html><body>404 Not Found</body></html>")
    assert run(recipe_of(f"imagefolder:{photos}", ("pixels-8", "random-64")), out)

    import noisezoo

    kept = noisezoo.load(out, views=["pixels-8", "random-64"])["image_id"]
    refusals = [json.loads(line) for line in (out / "refusals.jsonl").read_text().splitlines()]
    assert sorted(kept) == ["alpha.png", "clear.png", "deep.png", "good.jpg", "grey.png", "palette.png"]
    assert {r["image_id"] for r in refusals} == {"broken.jpg", "empty.jpg", "page.jpg"}
    assert all(r["error"] and r["message"] for r in refusals)
    assert any("truncated" in r["message"] for r in refusals if r["image_id"] == "broken.jpg")
    assert "9 images in = 6 rows out + 3 refused" in (out / "README.md").read_text()


def test_a_file_that_cannot_be_read_at_all_is_refused_before_the_manifest(tmp_path: Path) -> None:
    source = folder_of(tmp_path, ["a.png", "b.png", "c.png"])
    source.scan()
    (tmp_path / "b.png").unlink()
    manifest, refusals = freeze(source, SourceSpec(name="imagefolder"))
    assert sorted(manifest.ids) == ["a.png", "c.png"]
    assert [(r.image_id, r.stage, r.error) for r in refusals] == [("b.png", "source", "FileNotFoundError")]


def test_a_link_to_a_picture_elsewhere_is_read_under_its_own_name(tmp_path: Path) -> None:
    draw(tmp_path / "elsewhere" / "original.png", 5)
    draw(tmp_path / "photos" / "a.png", 1)
    (tmp_path / "photos" / "b.png").symlink_to(tmp_path / "elsewhere" / "original.png")
    source = ImageFolder(str(tmp_path / "photos"))
    assert source.scan().column("image_id").to_pylist() == ["a.png", "b.png"]
    assert source.picture("b.png").tobytes() == Image.open(tmp_path / "elsewhere" / "original.png").tobytes()


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no images"):
        run(recipe_of(f"imagefolder:{tmp_path}", ("pixels-8",)), tmp_path / "out")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        open_source(f"imagefolder:{tmp_path / 'nowhere'}")
    with pytest.raises(UsageError, match="path"):
        open_source("imagefolder")


@pytest.mark.parametrize("name", ["faces", "digits", "imagefolder"])
def test_every_source_goes_through_the_same_builder(tmp_path: Path, name: str) -> None:
    if name == "imagefolder":
        folder_of(tmp_path / "photos", [f"{kind}/{i}.png" for kind in "ab" for i in range(4)])
        name = f"imagefolder:{tmp_path / 'photos'}"
    assert run(recipe_of(name, ("pixels-8", "random-64"), limit=6), tmp_path / "out")
    import noisezoo

    rows = noisezoo.load(tmp_path / "out", views=["pixels-8", "random-64"])
    assert len(rows) == 6
    assert set(open_source(name).label_features()) < set(rows.column_names)
    assert rows["image_id"] == open_build(tmp_path / "out").manifest.ids
    assert noisezoo.matrix(rows, "pixels-8").shape == (6, 64)
