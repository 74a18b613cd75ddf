"""Whatever is in a folder, rows in = rows out + rows refused, each refusal with its reason."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.engine.build import STATE
from noisezoo.builder.sources.source import open_source
from tests.builder.building import recipe_of
from tests.builder.image_sources import HUB_FOLDER, encode, jpegs, people, write_lists, write_parquet

VIEWS = ("pixels-8", "random-64")


def png() -> bytes:
    return encode(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8), "PNG")


def bomb() -> bytes:
    """A PNG of 40 kB that says it is 20,000 pixels a side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes(2501 * 20_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated.jpg": (lambda: jpegs(1)[0][: len(jpegs(1)[0]) // 2], "runcated"),
    "corrupt.jpg": (lambda: jpegs(1)[0][:20] + bytes(len(jpegs(1)[0]) - 20), ""),
    "headless.jpg": (lambda: jpegs(1)[0][100:], "cannot identify"),
    "truncated.png": (lambda: png()[: len(png()) // 2], "runcated"),
    "corrupt.png": (lambda: png()[:200] + b"\xff" * 400 + png()[600:], ""),
    "empty.jpg": (lambda: b"", "cannot identify"),
    "page.jpg": (lambda: b"<!DOCTYPE html><html><body>404</body></html>", "cannot identify"),
    "bomb.png": (bomb, "decompression bomb"),
}


def built(source: str, out: Path) -> tuple[list[str], dict[str, str], str]:
    """(ids out, id -> reason of each refusal, the card) of a build of two views."""
    import noisezoo

    assert run(recipe_of(source, VIEWS, limit=None), out)
    refusals = [json.loads(line) for line in (out / "refusals.jsonl").read_text().splitlines()]
    rows = noisezoo.load(out, views=list(VIEWS))
    reasons = {refusal["image_id"]: refusal["message"] for refusal in refusals}
    assert all(reasons.values())
    assert not set(rows["image_id"]) & set(reasons)
    return sorted(rows["image_id"]), reasons, (out / "README.md").read_text()


def spoilt(root: Path, good: int = 6) -> Path:
    root.mkdir()
    for k, data in enumerate(jpegs(good)):
        (root / f"good{k}.jpg").write_bytes(data)
    for name, (make, _) in BAD.items():
        (root / name).write_bytes(make())
    return root


def test_a_folder_of_spoilt_files_is_rows_and_refusals(tmp_path: Path) -> None:
    ids, reasons, card = built(f"imagefolder:{spoilt(tmp_path / 'photos')}", tmp_path / "out")
    assert ids == [f"good{k}.jpg" for k in range(6)]
    assert set(reasons) == set(BAD)
    for name, (_, told) in BAD.items():
        assert told in reasons[name]
    assert f"{6 + len(BAD)} images in = 6 rows out + {len(BAD)} refused" in card


def test_a_celeba_of_spoilt_files_is_rows_and_refusals_in_every_layout(tmp_path: Path) -> None:
    from dataclasses import replace

    rows = people(30)
    spoils = [make() for make, _ in BAD.values()]
    rows = replace(rows, jpegs=(*spoils, *rows.jpegs[len(spoils) :]))
    lists, parquet = write_lists(tmp_path / "lists", rows), write_parquet(tmp_path / "parquet", rows)
    a, b = (built(f"celeba:{folder}", tmp_path / f"out-{folder.name}") for folder in (lists, parquet))
    assert a[:2] == b[:2]
    assert len(a[0]) + len(a[1]) == 30
    assert list(a[1]) == [f"{k + 1:06d}" for k in range(len(BAD))]
    assert f"30 images in = {30 - len(BAD)} rows out + {len(BAD)} refused" in a[2]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_metadata_file_with_missing_extra_and_repeated_rows_loses_none(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for k, data in enumerate(jpegs(6)):
        (root / f"{k}.jpg").write_bytes(data)
    rows = [(f"{k}.jpg", 20 + k) for k in (0, 1, 2, 3, 7, 1)]  # 4 and 5 have none, 7 is no picture, 1 comes twice
    lines = {
        "csv": ["file_name,age", *(f"{name},{age}" for name, age in rows)],
        "jsonl": [json.dumps({"file_name": name, "age": age}) for name, age in rows],
    }
    (root / f"metadata.{kind}").write_text("\n".join(lines[kind]) + "\n")
    out = tmp_path / "out"
    assert run(recipe_of(f"imagefolder:{root}", VIEWS, limit=None), out)
    refusals = [json.loads(line) for line in (out / "refusals.jsonl").read_text().splitlines()]
    assert [(r["image_id"], r["message"]) for r in refusals[:2]] == [
        ("4.jpg", "the metadata file has no row with this file_name"),
        ("5.jpg", "the metadata file has no row with this file_name"),
    ]
    assert {r["image_id"]: r["error"] for r in refusals[2:]} == {"1.jpg": "ValueError", "7.jpg": "FileNotFoundError"}
    assert "8 images in = 4 rows out + 4 refused" in (out / "README.md").read_text()


def test_a_metadata_row_that_names_no_file_is_refused(tmp_path: Path) -> None:
    for k, data in enumerate(jpegs(2)):
        (tmp_path / f"{k}.jpg").write_bytes(data)
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "0.jpg", "age": 1}\n{"file_name": null, "age": 2}\n{"file_name": "1.jpg", "age": 3}\n'
    )
    source = open_source(f"imagefolder:{tmp_path}")
    assert source.scan().column("image_id").to_pylist() == ["0.jpg", "1.jpg"]
    assert [(r.image_id, r.message) for r in source.refusals()] == [("metadata.jsonl row 2", "it has no file_name")]


def test_ids_with_slashes_other_alphabets_and_300_characters_are_kept(tmp_path: Path) -> None:
    import noisezoo

    names = ["a/b/c.jpg", "ünï/写真 1.jpg", "'\",;%#&.jpg", "/".join(["long" * 24] * 3) + "/end.jpg"]
    assert max(map(len, names)) > 290
    for name, data in zip(names, jpegs(4), strict=True):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    ids, reasons, _ = built(f"imagefolder:{tmp_path / 'photos'}", tmp_path / "out")
    assert (ids, reasons) == (sorted(names), {})
    rows = noisezoo.load(tmp_path / "out", views=["pixels-8"])
    from noisezoo.builder.sources.pixels import square

    source = open_source(f"imagefolder:{tmp_path / 'photos'}")
    for image_id, pixels in zip(rows["image_id"], noisezoo.matrix(rows, "pixels-8"), strict=True):
        drawn = np.asarray(square(source.picture(image_id), 8), dtype=np.float32).mean(axis=2)  # the view is grey
        assert np.corrcoef(drawn.reshape(-1), pixels)[0, 1] > 0.999


@pytest.mark.parametrize("layout", ["imagefolder", "lists", "parquet"])
def test_a_source_that_cannot_be_written_to_is_read_and_left_as_it_was(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "photos"
    write = {"imagefolder": lambda: spoilt(root), "lists": lambda: write_lists(root, people(30)),
             "parquet": lambda: write_parquet(root, people(30))}  # fmt: skip
    write[layout]()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    for path in [root, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        ids, _, _ = built(f"{'imagefolder' if layout == 'imagefolder' else 'celeba'}:{root}", tmp_path / "out")
        assert ids
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
        assert (tmp_path / "out" / STATE).is_dir()
    finally:
        for path in [root, *before]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_parquet_file_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    from noisezoo.errors import UsageError

    folder = write_parquet(tmp_path, people(30))
    path = folder / HUB_FOLDER / "test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match="celeba: the dataset .* cannot be loaded"):
        open_source(f"celeba:{folder}").scan()
