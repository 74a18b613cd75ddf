"""AFHQ and AFHQv2: three kinds of animal in a fixed order, from the Hub's copy or from folders."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from noisezoo.builder.recipe import SourceSpec
from noisezoo.builder.sources.manifest import Manifest, freeze
from noisezoo.builder.sources.source import Refusal, open_source
from noisezoo.errors import UsageError
from tests.builder.image_sources import hub_has, jpegs

KINDS = ("cat", "dog", "wild")


def frozen(name: str, limit: int | None = None, **options: Any) -> tuple[Manifest, list[Refusal]]:
    return freeze(open_source(name, options), SourceSpec(name=name, limit=limit, options=options))


def write_folders(root: Path, splits: tuple[str, ...] = ("train", "val"), each: int = 3) -> Path:
    """`SPLIT/KIND/flickr_KIND_000000.jpg`."""
    data = iter(jpegs(len(splits) * 3 * each))
    for split in splits:
        for kind in KINDS:
            (root / split / kind).mkdir(parents=True)
            for k in range(each):
                (root / split / kind / f"flickr_{kind}_{k:06d}.jpg").write_bytes(next(data))
    return root


def write_hub(root: Path, n: int = 18, names: tuple[str, ...] = KINDS, shards: int = 2) -> Path:
    """The Hub's copy: `data/train-*.parquet` of image and label, and the old `dataset_infos.json`."""
    from datasets import ClassLabel, Dataset, Features, Image

    (root / "data").mkdir(parents=True)
    features = Features({"image": Image(), "label": ClassLabel(names=list(names))})
    labels = [names.index(KINDS[row * 3 // n]) for row in range(n)]
    images = [{"bytes": data, "path": None} for data in jpegs(n)]
    rows = Dataset.from_dict({"image": images, "label": labels}, features=features)
    for shard in range(shards):
        part = rows.shard(shards, shard, contiguous=True)
        part.to_parquet(root / "data" / f"train-{shard:05d}-of-{shards:05d}.parquet")
    written = {"_type": "Image", "decode": True, "id": None}, {"_type": "ClassLabel", "names": list(names), "id": None}
    counted = {"train": {"name": "train", "num_bytes": 1, "num_examples": n}}
    facts = {"features": dict(zip(("image", "label"), written, strict=True)), "builder_name": "image_folder",
             "config_name": "default", "splits": counted}  # fmt: skip
    (root / "dataset_infos.json").write_text(json.dumps({"huggan--AFHQ": facts}))
    return root


def kinds(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.ids, [KINDS[k] for k in manifest.table.column("label").to_pylist()], strict=True))


@pytest.mark.parametrize(("name", "repo"), [("afhq", "huggan/AFHQ"), ("afhqv2", "huggan/AFHQv2")])
def test_the_hub_s_copy_is_numbered_and_split_by_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, repo: str
) -> None:
    asked = hub_has(monkeypatch, {repo: write_hub(tmp_path)})
    manifest, refusals = frozen(name)
    assert refusals == []
    assert {asked_for for asked_for, _ in asked} == {repo}
    assert all(revision and len(revision) == 40 for _, revision in asked)
    assert sorted(manifest.ids) == [f"train-{row:09d}" for row in range(18)]
    assert len(manifest.splits) > 1
    assert [kinds(manifest)[f"train-{row:09d}"] for row in (0, 6, 12)] == list(KINDS)


def test_a_local_copy_of_the_parquet_files_gives_the_hub_s_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_has(monkeypatch, {"huggan/AFHQ": write_hub(tmp_path)})
    assert frozen("afhq")[0].table.equals(frozen(f"afhq:{tmp_path}")[0].table)


def test_classes_stand_in_a_fixed_order_whatever_order_the_copy_has(tmp_path: Path) -> None:
    first, second = (write_hub(tmp_path / str(k), names=names) for k, names in enumerate([KINDS, KINDS[::-1]]))
    a, b = frozen(f"afhq:{first}"), frozen(f"afhq:{second}")
    assert a[0].table.equals(b[0].table)
    assert open_source(f"afhq:{second}").label_features()["label"].names == list(KINDS)


@pytest.mark.parametrize(("name", "splits", "ours"), [
    ("afhq", ("train", "val"), ["train", "validation"]),
    ("afhqv2", ("train", "test"), ["train", "test"]),
])  # fmt: skip
def test_folders_give_labels_and_splits(tmp_path: Path, name: str, splits: tuple[str, ...], ours: list[str]) -> None:
    manifest, refusals = frozen(f"{name}:{write_folders(tmp_path, splits)}")
    assert refusals == []
    assert list(manifest.splits) == ours
    assert all(f"/{kind}/" in image_id for image_id, kind in kinds(manifest).items())
    assert {len(rows) for rows in manifest.splits.values()} == {9}
    assert len(frozen(f"{name}:{tmp_path}", splits="hash")[0]) == 18


def test_another_animal_is_refused_row_by_row(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "train" / "fox").mkdir()
    (tmp_path / "train" / "fox" / "a.jpg").write_bytes(jpegs(1)[0])
    manifest, refusals = frozen(f"afhq:{tmp_path}")
    assert [(r.image_id, r.message) for r in refusals] == [
        ("train/fox/a.jpg", "label label is 'fox'; write one of cat, dog, wild")
    ]
    assert len(manifest) == 18
    assert all(f"/{kind}/" in image_id for image_id, kind in kinds(manifest).items())


def test_a_limit_keeps_the_classes_shares(tmp_path: Path) -> None:
    chosen, _ = frozen(f"afhq:{write_hub(tmp_path, n=90)}", limit=30)
    assert Counter(kinds(chosen).values()) == dict.fromkeys(KINDS, 10)


def test_afhq_s_licence_is_told_and_animals_are_not_sensitive(tmp_path: Path) -> None:
    source = open_source(f"afhq:{tmp_path}")
    assert (source.license, source.sensitive) == ("cc-by-nc-4.0", False)
    with pytest.raises(UsageError, match="afhqv2: there is no folder"):
        open_source(f"afhqv2:{tmp_path / 'nowhere'}")
