"""Small sources in exactly the layouts and schemas of the real ones, their pictures drawn by `faces`."""

import io
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noisezoo.builder.sources.celeba import ATTRIBUTES
from noisezoo.builder.sources.faces.factors import face_factors
from noisezoo.builder.sources.faces.render import render

HUB_FOLDER = "img_align+identity+attr"
HUB_SPLITS = ("train", "valid", "test")


@cache
def jpegs(n: int, first: int = 0) -> tuple[bytes, ...]:
    """Drawn faces as JPEG files' bytes, 32 pixels a side."""
    return tuple(encode(picture) for picture in render(face_factors(range(first, first + n))))


def encode(picture: np.ndarray, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind)
    return buffer.getvalue()


@dataclass(frozen=True)
class People:
    """Rows of a CelebA: three pictures a person; the first 7 tenths train, then valid, then test, people apart."""

    jpegs: tuple[bytes, ...]
    identity: tuple[int, ...]
    attributes: dict[str, tuple[bool, ...]]
    partition: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.jpegs)

    @property
    def names(self) -> list[str]:
        return [f"{row + 1:06d}.jpg" for row in range(len(self))]

    def split(self, k: int) -> list[int]:
        return [row for row, part in enumerate(self.partition) if part == k]


@cache
def people(n: int = 30) -> People:
    """`n` drawn faces with all 40 attributes: the drawn ones true of the picture, the others at CelebA-like rates."""
    factors, rng = face_factors(range(n)), np.random.default_rng(7)
    rates = dict(zip(ATTRIBUTES, rng.uniform(0.02, 0.6, 40), strict=True))
    drawn = {name: factors[name] > 0.5 if name in factors else rng.random(n) < rates[name] for name in ATTRIBUTES}
    shares = [0 if row < 0.7 * n else 1 if row < 0.8 * n else 2 for row in range(n)]
    identity = [100 * shares[row] + (row * 5 // 3) % 11 for row in range(n)]
    attributes = {name: tuple(bool(value) for value in column) for name, column in drawn.items()}
    return People(jpegs(n), tuple(identity), attributes, tuple(shares))


def write_lists(folder: Path, rows: People, no: str = "-1", yes: str = "1") -> Path:
    """Torchvision's layout: a folder of pictures and three lists."""
    pictures = folder / "img_align_celeba"
    pictures.mkdir(parents=True)
    for name, data in zip(rows.names, rows.jpegs, strict=True):
        (pictures / name).write_bytes(data)
    values = [[yes if rows.attributes[a][row] else no for a in ATTRIBUTES] for row in range(len(rows))]
    lines = [f"{name} {' '.join(f'{v:>2}' for v in row)}" for name, row in zip(rows.names, values, strict=True)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), " ".join(ATTRIBUTES) + " ", *lines, ""]))
    for file, column in [("list_eval_partition.txt", rows.partition), ("identity_CelebA.txt", rows.identity)]:
        lines = [f"{name} {value}" for name, value in zip(rows.names, column, strict=True)]
        (folder / file).write_text("\n".join([*lines, ""]))
    points = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    for file, header in [("list_bbox_celeba.txt", "image_id x_1 y_1 width height"),
                         ("list_landmarks_align_celeba.txt", points)]:  # fmt: skip
        numbers = " ".join(["5"] * (4 if header.startswith("image_id") else 10))
        (folder / file).write_text(
            "\n".join([str(len(rows)), header, *(f"{name} {numbers}" for name in rows.names), ""])
        )
    return folder


def parquet_rows(rows: People, k: int, named: bool = True, **columns: Any) -> Any:
    """One split as the Hub's copy has it: image, celeb_id, 40 bools."""
    from datasets import Dataset, Features, Image as ImageFeature, Value

    own = rows.split(k)
    data: dict[str, Any] = {
        "image": [{"bytes": rows.jpegs[row], "path": rows.names[row] if named else None} for row in own],
        "celeb_id": [rows.identity[row] for row in own],
        **{name: [rows.attributes[name][row] for row in own] for name in ATTRIBUTES},
    }
    data |= {name: [values[row] for row in own] for name, values in columns.items()}
    plain = {name: Value("bool") for name in ATTRIBUTES if name not in columns}
    features = Features({"image": ImageFeature(), "celeb_id": Value("int64"), **plain})
    made = Dataset.from_dict({name: data[name] for name in features}, features=features)
    for name in columns:
        made = made.add_column(name, data[name])
    return made


def write_parquet(folder: Path, rows: People, named: bool = True, readme: bool = False, **columns: Any) -> Path:
    """Local Parquet files as in the Hub's repository, two of the first split; its README too, where asked for."""
    target = folder / HUB_FOLDER
    target.mkdir(parents=True)
    for k, split in enumerate(HUB_SPLITS):
        made, shards = parquet_rows(rows, k, named, **columns), 2 if k == 0 else 1
        for shard in range(shards):
            part = made.shard(shards, shard, contiguous=True)
            part.to_parquet(target / f"{split}-{shard:05d}-of-{shards:05d}.parquet")
    if readme:
        files = "\n".join(f"  - split: {s}\n    path: {HUB_FOLDER}/{s}-*" for s in HUB_SPLITS)
        (folder / "README.md").write_text(
            f"---\nlicense: other\nconfigs:\n- config_name: {HUB_FOLDER}\n  data_files:\n{files}\n---\n"
        )
    return folder


def without(rows: People, lost: set[int]) -> People:
    """The same rows less some."""
    kept = [row for row in range(len(rows)) if row not in lost]
    return replace(
        rows,
        jpegs=tuple(rows.jpegs[row] for row in kept),
        identity=tuple(rows.identity[row] for row in kept),
        attributes={name: tuple(column[row] for row in kept) for name, column in rows.attributes.items()},
        partition=tuple(rows.partition[row] for row in kept),
    )


def hub_has(monkeypatch: pytest.MonkeyPatch, repositories: dict[str, Path]) -> list[tuple[str, str | None]]:
    """Let the Hub have these folders as repositories; gives the list of what was asked for."""
    import huggingface_hub

    asked: list[tuple[str, str | None]] = []
    real = huggingface_hub.snapshot_download

    def snapshot_download(repo: str, *args: Any, revision: str | None = None, **options: Any) -> Any:
        if repo not in repositories:
            return real(repo, *args, revision=revision, **options)
        asked.append((repo, revision))
        return str(repositories[repo])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked
