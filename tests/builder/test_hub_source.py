"""`hf:` takes any dataset with an image column; what it cannot take it names."""

from pathlib import Path
from typing import Any

import pytest

from noisezoo.builder.recipe import SourceSpec
from noisezoo.builder.sources.manifest import Manifest, freeze
from noisezoo.builder.sources.source import Refusal, open_source
from noisezoo.errors import UsageError
from tests.builder.building import recipe_of
from tests.builder.image_sources import hub_has, jpegs


def frozen(name: str, **options: Any) -> tuple[Manifest, list[Refusal]]:
    return freeze(open_source(name, options), SourceSpec(name=name, options=options))


def dataset(n: int = 6, start: int = 0, **columns: Any) -> Any:
    """Pictures with a number, a bool, a text and a class, and whatever columns are given."""
    from datasets import ClassLabel, Dataset, Image

    data = {
        "image": [{"bytes": picture, "path": None} for picture in jpegs(n)],
        "age": [20 + row for row in range(n)],
        "smiling": [row % 2 == 0 for row in range(n)],
        "note": [f"é{row}" for row in range(start, start + n)],
        "kind": [row % 3 for row in range(n)],
        **columns,
    }
    return Dataset.from_dict(data).cast_column("image", Image()).cast_column("kind", ClassLabel(names=["a", "b", "c"]))


def saved(folder: Path, **splits: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def test_labels_of_every_plain_kind_are_taken_with_their_features(tmp_path: Path) -> None:
    source = open_source(f"hf:{saved(tmp_path, train=dataset())}")
    features = source.label_features()
    assert {name: getattr(feature, "names", feature.dtype) for name, feature in features.items()} == {
        "age": "int64",
        "smiling": "bool",
        "note": "string",
        "kind": ["a", "b", "c"],
    }
    table = source.scan().to_pydict()
    assert table["image_id"] == [f"train-{row:09d}" for row in range(6)]
    assert (table["age"], table["kind"]) == ([20, 21, 22, 23, 24, 25], [0, 1, 2, 0, 1, 2])
    assert table["note"] == [f"é{row}" for row in range(6)]


def test_a_repository_is_asked_for_at_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub_has(monkeypatch, {"someone/pictures": saved(tmp_path, train=dataset())})
    assert len(frozen("hf:someone/pictures", revision="v1")[0]) == 6
    assert set(asked) == {("someone/pictures", "v1")}


def test_what_save_to_disk_wrote_is_read_too(tmp_path: Path) -> None:
    from datasets import DatasetDict

    rows = dataset()
    rows.save_to_disk(tmp_path / "one")
    DatasetDict(train=rows, dev=dataset(3)).save_to_disk(tmp_path / "two")
    saved(tmp_path / "files", train=rows)
    assert frozen(f"hf:{tmp_path / 'one'}")[0].table.equals(frozen(f"hf:{tmp_path / 'files'}")[0].table)
    assert {name: len(part) for name, part in frozen(f"hf:{tmp_path / 'two'}")[0].splits.items()} == {
        "train": 6,
        "validation": 3,
    }


def test_columns_and_splits_are_chosen_by_name(tmp_path: Path) -> None:
    rows = dataset(6, code=[f"x/{row}" for row in range(6)], photo=[{"bytes": b"", "path": None}] * 6)
    folder = saved(tmp_path, train=rows.cast_column("photo", rows.features["image"]), test=rows)
    chosen = {"image": "image", "labels": ["kind", "age"], "id": "code", "use": ["train"]}
    manifest, _ = frozen(f"hf:{folder}", **chosen)
    assert manifest.label_names == ["kind", "age"]
    assert sorted(manifest.ids) == [f"x/{row}" for row in range(6)]


def test_identities_stay_on_one_side(tmp_path: Path) -> None:
    who = [f"p{row // 4}" for row in range(120)]
    folder = saved(tmp_path, train=dataset(120, who=who))
    table = frozen(f"hf:{folder}", identity="who")[0].table
    assert len(set(zip(table["who"].to_pylist(), table["split"].to_pylist(), strict=True))) == 30
    divided = saved(tmp_path / "divided", train=dataset(4, who=["p", "q"] * 2), test=dataset(4, who=["q", "r"] * 2))
    with pytest.raises(UsageError, match="identity q is in two"):
        frozen(f"hf:{divided}", identity="who")


def test_appended_rows_move_none_to_another_split(tmp_path: Path) -> None:
    few, many = (frozen(f"hf:{saved(tmp_path / str(n), train=dataset(n))}")[0] for n in (10, 40))
    sides = [dict(zip(m.ids, m.table["split"].to_pylist(), strict=True)) for m in (few, many)]
    assert sides[0] == {image_id: sides[1][image_id] for image_id in sides[0]}


def test_an_empty_split_is_none(tmp_path: Path) -> None:
    manifest, _ = frozen(f"hf:{saved(tmp_path, train=dataset(5), validation=dataset(0), test=dataset(2))}")
    assert list(manifest.splits) == ["train", "test"]
    assert len(manifest) == 7
    with pytest.raises(UsageError, match="no images"):
        frozen(f"hf:{saved(tmp_path / 'empty', train=dataset(0))}")


def test_rows_without_an_image_or_with_a_repeated_id_are_refused(tmp_path: Path) -> None:
    from datasets import Image

    pictures = [{"bytes": data, "path": None} for data in jpegs(5)]
    images = [None, *pictures[1:]]
    rows = dataset(5, image=images, code=["a", "b", "b", "d", "e"]).cast_column("image", Image())
    rows.save_to_disk(tmp_path / "rows")
    manifest, refusals = frozen(f"hf:{tmp_path / 'rows'}", id="code")
    assert sorted(manifest.ids) == ["b", "d", "e"]
    assert [(r.image_id, r.message) for r in refusals] == [
        ("a", "the row has no image"),
        ("b", "duplicate id 'b'; its first row is kept"),
    ]


@pytest.mark.parametrize(
    ("column", "values"), [("boxes", [[1, 2]] * 6), ("raw", [b"x"] * 6), ("facts", [{"a": 1}] * 6)]
)
def test_a_column_that_cannot_be_a_label_is_refused_with_the_mend(
    tmp_path: Path, column: str, values: list[Any]
) -> None:
    folder = saved(tmp_path, train=dataset(**{column: values}))
    with pytest.raises(UsageError, match=f"column '{column}' .* cannot be a label.*option labels"):
        frozen(f"hf:{folder}")
    assert frozen(f"hf:{folder}", labels=["age"])[0].label_names == ["age"]


@pytest.mark.parametrize(("options", "message"), [
    ({"labels": ["weight"]}, "no label column 'weight'; there are: age, smiling, note, kind"),
    ({"image": "age"}, "column 'age' holds no images; its image columns are: image"),
    ({"id": "name"}, "no column 'name'"),
    ({"identity": "name"}, "no column 'name'"),
    ({"use": ["train", "extra"]}, "no split 'extra'; it has: train"),
    ({"config": "large"}, "cannot be loaded"),
    ({"splits": "mine"}, "splits are official .* or hash"),
    ({"size": 3}, "unexpected keyword argument 'size'"),
])  # fmt: skip
def test_what_the_dataset_does_not_have_is_refused_with_what_it_has(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    folder = saved(tmp_path, train=dataset())
    with pytest.raises(UsageError, match=message):
        frozen(f"hf:{folder}", **options)


def test_two_image_columns_must_be_told_apart(tmp_path: Path) -> None:
    rows = dataset()
    folder = saved(tmp_path, train=rows.add_column("mask", [None] * 6).cast_column("mask", rows.features["image"]))
    with pytest.raises(UsageError, match="option image must name one column; its image columns are: image, mask"):
        frozen(f"hf:{folder}")


def test_a_dataset_without_images_or_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, train=dataset().remove_columns("image"))
    with pytest.raises(UsageError, match="none of age, smiling, note, kind holds images"):
        frozen(f"hf:{folder}")
    with pytest.raises(UsageError, match="hf: the dataset nobody/nothing cannot be loaded"):
        frozen("hf:nobody/nothing")
    with pytest.raises(UsageError, match="path"):
        open_source("hf")


def test_a_dataset_goes_through_the_builder(tmp_path: Path) -> None:
    import noisezoo
    from noisezoo.builder.__main__ import run

    folder = saved(tmp_path / "rows", train=dataset(12), test=dataset(4))
    recipe = recipe_of(f"hf:{folder}", ("pixels-8", "random-64"), limit=None, options={"labels": ["kind", "note"]})
    assert run(recipe, tmp_path / "out")
    rows = noisezoo.load(tmp_path / "out", views=["pixels-8"])
    assert len(rows) == 16
    assert rows.features["kind"].names == ["a", "b", "c"]


def test_unknown_photographs_are_treated_as_people_s() -> None:
    assert [open_source(name).sensitive for name in ("hf:someone/pictures", "faces", "digits")] == [True, False, False]
    assert open_source("hf:someone/pictures", {"license": "cc0-1.0"}).license == "cc0-1.0"
