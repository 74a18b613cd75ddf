"""One walk over a folder: every file that is a picture is a row or a refusal; every other file is said to be none."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from noisezoo.builder.recipe import SourceSpec
from noisezoo.builder.sources.imagefolder import ImageFolder, walk
from noisezoo.builder.sources.manifest import Manifest, freeze
from noisezoo.builder.sources.source import Refusal, Source, open_source
from noisezoo.errors import UsageError
from tests.builder.image_sources import encode, jpegs


def fill(root: Path, names: Sequence[str]) -> Path:
    """Pictures of these names: JPEG files' bytes, whatever the names say."""
    for name, data in zip(names, jpegs(len(names)), strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def frozen(source: Source | str | Path) -> tuple[Manifest, list[Refusal]]:
    opened = source if isinstance(source, Source) else open_source(str(source))
    return freeze(opened, SourceSpec(name=opened.name))


def classes(source: Source) -> dict[str, str | None]:
    """Image -> its class by name."""
    table, names = source.scan(), source.label_features()["label"].names
    values = table.column("label").to_pylist()
    return dict(zip(table.column("image_id").to_pylist(), [names[k] for k in values], strict=True))


@pytest.mark.parametrize("kind", ["imagefolder", "hf"])
@pytest.mark.parametrize("names", [
    ["a.png", "b.png", "c.png", "train.png"],
    [f"photo of a {thing}.jpg" for thing in ("cat", "dog", "train")] + ["photo of test tubes.jpg"],
    ["test.jpg"],
    ["dev.png", "validation.png", "training-1.png", "eval_2.png"],
    ["val/a.png", "b.png"],
    ["a::b.png", "zip::c.png", "d[1].png", "e*.png", "f?.png", "100%.png", "~g.png", "h{0}.png"],
])  # fmt: skip
def test_words_in_names_decide_nothing(tmp_path: Path, kind: str, names: list[str]) -> None:
    manifest, refusals = frozen(f"{kind}:{fill(tmp_path, names)}")
    assert (sorted(manifest.ids), refusals) == (sorted(names), [])


def test_folders_called_like_splits_among_others_are_classes(tmp_path: Path) -> None:
    names = [f"{kind}/{k}.png" for kind in ("car", "train", "plane") for k in range(3)]
    source = ImageFolder(str(fill(tmp_path, names)))
    assert classes(source) == {name: name.partition("/")[0] for name in names}
    assert "split" not in source.scan().column_names


def test_split_folders_give_splits_and_no_label(tmp_path: Path) -> None:
    source = ImageFolder(str(fill(tmp_path, ["train/a.png", "train/b.png", "test/c.png", "test/d.png"])))
    table = source.scan()
    assert list(source.label_features()) == []
    assert table.column("split").to_pylist() == ["test", "test", "train", "train"]


@pytest.mark.parametrize(("folders", "splits"), [
    (("train", "val"), {"train", "validation"}), (("Training", "TEST"), {"train", "test"}),
    (("train", "valid", "test"), {"train", "validation", "test"}), (("dev", "eval"), {"validation", "test"}),
    (("train",), None), (("val", "dev"), None), (("train", "extra"), None),
])  # fmt: skip
def test_top_folders_are_splits_if_all_are_called_so_and_two_differ(
    tmp_path: Path, folders: Sequence[str], splits: set[str] | None
) -> None:
    table = ImageFolder(str(fill(tmp_path, [f"{f}/{k}/{n}.png" for f in folders for k in "ab" for n in "12"]))).scan()
    found = set(table.column("split").to_pylist()) if "split" in table.column_names else None
    assert found == splits


def test_a_picture_beside_split_folders_is_refused(tmp_path: Path) -> None:
    manifest, refusals = frozen(ImageFolder(str(fill(tmp_path, ["train/a.png", "test/b.png", "c.png"]))))
    assert sorted(manifest.ids) == ["test/b.png", "train/a.png"]
    assert [(r.image_id, r.message) for r in refusals] == [
        ("c.png", "it lies outside of the split folders test, train")
    ]


@pytest.mark.parametrize(("names", "expected"), [
    (["cat/a.png", "dog/b.png"], ["cat", "dog"]),
    (["animals/cat/a.png", "animals/dog/b.png"], ["cat", "dog"]),
    (["dog/b.png", "cat/young/a.png"], ["cat", "dog"]),  # in order of the path
    (["train/cat/a.png", "train/dog/b.png"], ["cat", "dog"]),
    (["train/cat/a.png", "test/dog/b.png"], ["dog", "cat"]),
    (["x/a.png", "x/b.png"], None),
    (["a.png", "cat/b.png"], None),
])  # fmt: skip
def test_the_class_is_the_first_folder_in_which_pictures_differ(
    tmp_path: Path, names: list[str], expected: list[str] | None
) -> None:
    source = ImageFolder(str(fill(tmp_path, names)))
    found = list(classes(source).values()) if "label" in source.label_features() else None
    assert found == expected


def test_every_kind_of_picture_is_a_row_or_a_refusal_with_the_mend(tmp_path: Path) -> None:
    from PIL import features

    picture = Image.new("RGB", (8, 8), "red")
    readable = ["a.png", "b.JPG", "c.webp", "d.tiff", "e.bmp", "f.gif", "g.jfif", "h.ppm", "i.jp2", "j.tga"]
    readable += ["k.avif"] if features.check("avif") else []
    for name in readable:
        picture.save(tmp_path / name)
    picture.save(tmp_path / "l.mpo", save_all=True, append_images=[picture])
    picture.save(tmp_path / "no ending", "PNG")
    picture.save(tmp_path / "picture.001", "JPEG")
    (tmp_path / "m.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    (tmp_path / "n.jxl").write_bytes(b"\xff\x0a" + bytes(64))
    (tmp_path / "unnamed heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    (tmp_path / "o.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "p.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    source = ImageFolder(str(tmp_path))
    keys = frozen(source)[0].keys
    found = dict(zip(keys, source.images(keys), strict=True))
    reasons = {key: str(error).rpartition("; ")[2] for key, error in found.items() if isinstance(error, Exception)}
    assert set(found) - set(reasons) == {*readable, "l.mpo", "no ending", "picture.001"}
    convert = "if it is a picture, convert it to PNG or JPEG"
    assert reasons == {
        **dict.fromkeys(["m.heic", "n.jxl", "unnamed heic", "o.svg"], convert),
        "p.png": "run `git lfs pull`",
    }


def test_what_is_no_picture_is_said_and_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png", "b.png"])
    for name in ("notes.txt", "labels.csv", ".hidden.png", "more.zip", "old.tar.gz", "data", "x.pdf"):
        (tmp_path / name).write_bytes(b"PK\3\4 or not")
    (tmp_path / ".cache").mkdir()
    source = ImageFolder(str(tmp_path))
    assert source.scan().column("image_id").to_pylist() == ["a.png", "b.png"]
    assert source.notes() == [
        "archives are left out, unpack them (2): more.zip, old.tar.gz",
        "files that are no pictures (6): .cache, .hidden.png, data, ...",
    ]


def test_a_folder_of_archives_alone_says_to_unpack_them(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(b"PK\3\4")
    with pytest.raises(
        UsageError, match=r"no images that can be read: archives are left out, unpack them \(1\): photos.zip"
    ):
        frozen(f"imagefolder:{tmp_path}")


def test_linked_folders_are_followed_and_a_link_to_above_ends_there(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", ["x.png", "deep/y.png"])
    fill(tmp_path / "photos", ["a.png", "sub/b.png"])
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "sub" / "up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    manifest, refusals = frozen(f"imagefolder:{tmp_path / 'photos'}")
    assert sorted(manifest.ids) == ["a.png", "linked/deep/y.png", "linked/x.png", "sub/b.png"]
    assert [(r.image_id, r.message) for r in refusals] == [("gone.png", "there is no file gone.png")]


def test_a_pipe_is_no_picture_and_stops_nobody(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png"])
    os.mkfifo(tmp_path / "b.png")
    assert frozen(f"imagefolder:{tmp_path}")[0].ids == ["a.png"]


def test_a_file_whose_name_is_not_utf_8_costs_that_file_alone(tmp_path: Path) -> None:
    fill(tmp_path, ["é.png", "b.png"])
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / name).write_bytes(jpegs(1)[0])
    (tmp_path / os.fsdecode(b"d\xff")).mkdir()
    (tmp_path / os.fsdecode(b"d\xff/c.png")).write_bytes(jpegs(1)[0])
    manifest, refusals = frozen(f"imagefolder:{tmp_path}")
    assert sorted(manifest.ids) == ["b.png", "é.png"]
    assert {r.image_id: r.message for r in refusals} == {
        "caf\\xe9.png": "its name is not UTF-8: rename it",
        "d\\xff/c.png": "its name is not UTF-8: rename it",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_refused_by_name(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png", "locked/b.png"])
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(UsageError, match="locked cannot be listed: Permission denied"):
            frozen(f"imagefolder:{tmp_path}")
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_the_order_of_the_folder_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, [f"{kind}/{k}.png" for kind in ("b", "a") for k in range(5)])
    first = frozen(f"imagefolder:{tmp_path}")[0].table
    real = os.scandir

    class Backwards:
        def __init__(self, path: Any) -> None:
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert frozen(f"imagefolder:{tmp_path}")[0].table.equals(first)


def test_walking_reads_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, [f"{k}.png" for k in range(20)])
    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: pytest.fail("a file was opened"))
    assert len(walk(tmp_path, "imagefolder").pictures) == 20


def test_afhq_takes_every_picture_of_its_folders(tmp_path: Path) -> None:
    names = [f"{split}/{kind}/{name}.jpg" for split in ("train", "val") for kind in ("cat", "dog", "wild")
             for name in ("test", "train", "a")]  # fmt: skip
    manifest, refusals = frozen(f"afhq:{fill(tmp_path, names)}")
    assert (sorted(manifest.ids), refusals) == (sorted(names), [])
    assert list(manifest.splits) == ["train", "validation"]


def test_a_picture_in_another_format_than_its_name_says_is_read(tmp_path: Path) -> None:
    import numpy as np

    (tmp_path / "a.jpg").write_bytes(encode(np.full((8, 8, 3), 7, np.uint8), "PNG"))
    assert ImageFolder(str(tmp_path)).picture("a.jpg").getpixel((0, 0)) == (7, 7, 7)
