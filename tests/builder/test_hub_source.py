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
    assert manifest.table.column_names[4:] == ["kind", "age"]
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
    assert frozen(f"hf:{folder}", labels=["age"])[0].table.column_names[4:] == ["age"]


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


def pictures(n: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": data, "path": None} for data in jpegs(n, first)]


def plain(n: int, first: int = 0, **columns: Any) -> Any:
    """Pictures with these columns, each a list or a (list, feature)."""
    from datasets import Dataset, Image

    data = {name: column[0] if isinstance(column, tuple) else column for name, column in columns.items()}
    rows = Dataset.from_dict({"image": pictures(n, first), **data}).cast_column("image", Image())
    for name, column in columns.items():
        rows = rows.cast_column(name, column[1]) if isinstance(column, tuple) else rows
    return rows


WAYS = ["parquet", "saved", "shards"]


def written(root: Path, way: str, **splits: Any) -> Path:
    """Splits as files, as `save_to_disk` writes them, or as shards of one split."""
    from datasets import DatasetDict

    if way == "saved":
        DatasetDict(splits).save_to_disk(root)
        return root
    root.mkdir()
    for k, (split, rows) in enumerate(splits.items()):
        rows.to_parquet(
            root / (f"train-{k:05d}-of-{len(splits):05d}.parquet" if way == "shards" else f"{split}.parquet")
        )
    return root


@pytest.mark.parametrize("way", WAYS)
def test_classes_in_another_order_are_read_by_their_names(tmp_path: Path, way: str) -> None:
    from datasets import ClassLabel

    a = plain(3, kind=([0, 1, 1], ClassLabel(names=["cat", "dog"])))
    b = plain(3, 3, kind=([0, 1, 2], ClassLabel(names=["dog", "cat", "fox"])))
    source = open_source(f"hf:{written(tmp_path / 'd', way, train=a, test=b)}")
    names = source.label_features()["kind"].names
    table = source.scan().to_pydict()
    assert names == ["cat", "dog", "fox"]
    found = dict(zip(table["image_id"], (names[k] for k in table["kind"]), strict=True))
    assert list(found.values())[-3:] + list(found.values())[:3] in (
        ["cat", "dog", "dog", "dog", "cat", "fox"], ["dog", "cat", "fox", "cat", "dog", "dog"]
    )  # fmt: skip
    first = "test-000000000" if way != "shards" else "train-000000003"
    assert found[first] == "dog"
    assert found["train-000000000"] == "cat"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("first", "second", "dtype", "values"), [
    ([1, 2, 3], [0.5, 1.5, 2.5], "float64", [1.0, 2.0, 3.0, 0.5, 1.5, 2.5]),
    (["a", "b", "c"], ["d", "e", "f"], "string", ["a", "b", "c", "d", "e", "f"]),
    ([0, 1, 1], [1, 0, 1], "bool", [False, True, True, True, False, True]),
    ([-1, 1, 1], [1, 1, 1], "bool", [False, True, True, True, True, True]),
    ([1, 1, 1], [0, 0, 0], "bool", [True, True, True, False, False, False]),
    (["yes", "no", "no"], ["No", "Yes", None], "bool", [True, False, False, False, True, None]),
    ([1, None, 3], [None, None, None], "int64", [1, None, 3, None, None, None]),
])  # fmt: skip
def test_columns_of_two_kinds_are_made_one(
    tmp_path: Path, way: str, first: list[Any], second: list[Any], dtype: str, values: list[Any]
) -> None:
    root = written(tmp_path / "d", way, train=plain(3, x=first), validation=plain(3, 3, x=second))
    source = open_source(f"hf:{root}")
    assert source.label_features()["x"].dtype == dtype
    assert source.scan().column("x").to_pylist() == values


@pytest.mark.parametrize("way", WAYS)
def test_a_column_that_one_split_lacks_has_no_value_there_and_that_is_said(tmp_path: Path, way: str) -> None:
    root = written(tmp_path / "d", way, train=plain(2, x=[5, 6]), validation=plain(2, 2, y=["a", "b"]))
    source = open_source(f"hf:{root}")
    assert source.scan().select(["x", "y"]).to_pydict() == {"x": [5, 6, None, None], "y": [None, None, "a", "b"]}
    assert len(source.notes()) == 2
    assert "column 'x' has no values in " in source.notes()[0]
    assert len(frozen(f"hf:{root}")[0]) == 4


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("first", "second"), [
    ([1, 2], ["a", "b"]), ([True, False], [3, 4]), ([2**53 + 1, 5], [0.5, 1.5]), (["cat", "dog"], "classes"),
])  # fmt: skip
def test_columns_that_cannot_be_one_are_refused_by_name(tmp_path: Path, way: str, first: Any, second: Any) -> None:
    from datasets import ClassLabel

    other: Any = ([0, 1], ClassLabel(names=["cat", "dog"])) if second == "classes" else second
    root = written(tmp_path / "d", way, train=plain(2, x=first, y=[1, 2]), test=plain(2, 2, x=other, y=[3, 4]))
    with pytest.raises(UsageError, match="column 'x' holds .* in train and .*: make them alike, leave it out"):
        frozen(f"hf:{root}")
    assert frozen(f"hf:{root}", labels=["y"])[0].table.column_names[4:] == ["y"]


def test_a_split_all_of_whose_rows_are_refused_is_none(tmp_path: Path) -> None:
    a, b = plain(3), plain(2, 3)
    root = written(tmp_path / "d", "saved", train=a, test=b.map(lambda row: {"image": None}, features=b.features))
    manifest, refusals = frozen(f"hf:{root}")
    assert list(manifest.splits) == ["train"]
    assert {r.message for r in refusals} == {"the row has no image"}
    assert len(manifest) + len(refusals) == 5


def test_a_class_that_is_missing_stays_so(tmp_path: Path) -> None:
    from datasets import ClassLabel

    one = plain(3, kind=([0, None, 1], ClassLabel(names=["a", "b"])))
    other = plain(2, 3, kind=([0, 1], ClassLabel(names=["b", "a"])))
    root = written(tmp_path / "d", "saved", train=one, test=other)
    table = open_source(f"hf:{root}").scan()
    assert table.column("kind").to_pylist() == [1, 0, 0, None, 1]


@pytest.mark.parametrize(("given", "labels"), [
    ("age", ["age"]), ("age,note", ["age", "note"]), (["note"], ["note"]), ("age, kind", ["age", "kind"]),
])  # fmt: skip
def test_one_label_is_a_name_and_not_its_letters(tmp_path: Path, given: Any, labels: list[str]) -> None:
    folder = saved(tmp_path, train=dataset())
    assert frozen(f"hf:{folder}", labels=given)[0].table.column_names[4:] == labels


@pytest.mark.parametrize(("source", "options", "told"), [
    ("faces", {"size": "big"}, "option size is 'big': Input should be a valid integer"),
    ("faces", {"captions": "perhaps"}, "option captions is 'perhaps'"),
    ("faces", {"correlations": "Smiling"}, "option correlations is 'Smiling'"),
    ("hf:x/y", {"labels": 3}, "option labels is 3"),
    ("hf:x/y", {"image": ["a"]}, "option image is"),
])  # fmt: skip
def test_an_option_of_another_type_is_refused_by_name(source: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        open_source(source, options)
    assert "\n" not in str(caught.value)


def test_a_number_may_name_a_configuration(tmp_path: Path) -> None:
    saved(tmp_path / "2024", train=dataset(4))
    saved(tmp_path / "2025", train=dataset(6))
    assert len(frozen(f"hf:{tmp_path}", config=2024)[0]) == 4


CONFIGS = """---
configs:
- config_name: small
  data_files: small/*.parquet
- config_name: large
  data_files:
  - split: train
    path: [large/a-*, "large/b*.parquet"]
  - {split: test, path: "large/test/*"}
---
# Pictures
"""


def configured(root: Path) -> Path:
    saved(root / "small", train=dataset(3))
    saved(root / "large", a=dataset(4), b=dataset(5))
    (root / "large" / "test").mkdir()
    dataset(2).to_parquet(root / "large" / "test" / "x.parquet")
    (root / "README.md").write_text(CONFIGS)
    return root


def test_several_configurations_are_listed_and_each_can_be_chosen(tmp_path: Path) -> None:
    root = configured(tmp_path)
    with pytest.raises(UsageError, match="several configurations: set the option config to one of small, large"):
        frozen(f"hf:{root}")
    with pytest.raises(UsageError, match="no configuration 'huge'; it has: small, large"):
        frozen(f"hf:{root}", config="huge")
    assert len(frozen(f"hf:{root}", config="small")[0]) == 3
    large = frozen(f"hf:{root}", config="large")[0]
    assert {split: len(rows) for split, rows in large.splits.items()} == {"train": 9, "test": 2}
    (root / "large" / "test" / "x.parquet").unlink()
    with pytest.raises(UsageError, match="lacks the Parquet files of split 'test': copy all files"):
        frozen(f"hf:{root}", config="large")


@pytest.mark.parametrize(("names", "expected"), [
    (["a", "b", "train"], {"train": 3}),
    (["train", "test"], {"train": 1, "test": 1}),
    (["train-00000-of-00001", "extra-00000-of-00001"], {"train": 1, "extra": 1}),
    (["data/train-00000-of-00001-0123abc", "data/valid-00000-of-00001-0123abc"], {"train": 1, "validation": 1}),
    (["beans-train-00000-of-00001", "beans-test-00000-of-00001"], {"train": 1, "test": 1}),
    (["default/train/0000", "default/test/0000", "default/test/0001"], {"train": 1, "test": 2}),
    (["my train pictures", "cars"], {"train": 2}),
])  # fmt: skip
def test_every_parquet_file_is_read_whatever_its_name(
    tmp_path: Path, names: list[str], expected: dict[str, int]
) -> None:
    for k, name in enumerate(names):
        (tmp_path / f"{name}.parquet").parent.mkdir(parents=True, exist_ok=True)
        plain(1, k).to_parquet(tmp_path / f"{name}.parquet")
    table = open_source(f"hf:{tmp_path}").scan()
    splits = table.column("split").to_pylist() if "split" in table.column_names else ["train"] * len(table)
    assert {split: splits.count(split) for split in splits} == expected


def test_local_files_are_read_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    before = {path: path.stat().st_mtime_ns for path in saved(tmp_path / "rows", train=dataset(8)).rglob("*")}
    source = open_source(f"hf:{tmp_path / 'rows'}")
    assert not any(isinstance(image, Exception) for image in source.images(source.scan().column("key").to_pylist()))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").rglob("*")} == before
    assert not cache.exists() and not (tmp_path / "home").exists()


def test_pictures_of_many_row_groups_are_their_rows_in_any_order(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    rows = plain(25, code=list(range(25)))
    rows.to_parquet(tmp_path / "a.parquet")
    pq.write_table(pq.read_table(tmp_path / "a.parquet"), tmp_path / "a.parquet", row_group_size=4)
    source = open_source(f"hf:{tmp_path}")
    keys = source.scan().column("key").to_pylist()
    order = [keys[(7 * k) % 25] for k in range(25)]
    assert source.contents(order) == [jpegs(25)[(7 * k) % 25] for k in range(25)]


def test_a_file_without_datasets_own_facts_is_read_by_its_types_or_its_readme(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    rows = dataset(6)
    for name in ("bare", "told"):
        saved(tmp_path / name, train=rows)
        file = tmp_path / name / "train-00000-of-00001.parquet"
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    (tmp_path / "told" / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - {name: image, dtype: image}\n  - {name: age, dtype: int64}\n"
        "  - {name: smiling, dtype: bool}\n  - {name: note, dtype: string}\n"
        "  - name: kind\n    dtype:\n      class_label:\n        names: {'0': a, '1': b, '2': c}\n---\n"
    )
    assert open_source(f"hf:{tmp_path / 'bare'}").label_features()["kind"].dtype == "int64"
    assert open_source(f"hf:{tmp_path / 'told'}").label_features()["kind"].names == ["a", "b", "c"]
    a, b = (frozen(f"hf:{tmp_path / name}")[0] for name in ("bare", "told"))
    assert a.digest == b.digest


def test_a_folder_of_pictures_is_read_as_one(tmp_path: Path) -> None:
    for name, data in zip(["cat/a.jpg", "dog/train.jpg"], jpegs(2), strict=True):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(data)
    assert frozen(f"hf:{tmp_path}")[0].table.equals(frozen(f"imagefolder:{tmp_path}")[0].table)


def test_a_full_disk_is_told_as_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import huggingface_hub

    def full(*args: Any, **options: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "/home/me/.cache/huggingface")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(UsageError, match=r"No space left on device.*free some space there.*set HF_HOME") as caught:
        open_source("hf:someone/pictures").scan()
    assert "no images" not in str(caught.value)


@pytest.mark.parametrize("option", ["id", "identity"])
def test_a_column_of_lists_is_neither_an_id_nor_an_identity(tmp_path: Path, option: str) -> None:
    folder = saved(tmp_path, train=dataset(6, boxes=[[1, 2]] * 6))
    with pytest.raises(UsageError, match="column 'boxes' holds no numbers, text or classes: name another"):
        frozen(f"hf:{folder}", **{option: "boxes"})


def test_identities_that_are_classes_are_one_person_by_their_names(tmp_path: Path) -> None:
    from datasets import ClassLabel

    one = plain(2, who=([0, 1], ClassLabel(names=["ann", "bob"])))
    other = plain(2, 2, who=([1, 2], ClassLabel(names=["bob", "cid", "dee"])))
    written(tmp_path / "d", "parquet", train=one, test=other)
    assert len(frozen(f"hf:{tmp_path / 'd'}", identity="who")[0]) == 4
    other = plain(2, 2, who=([0, 2], ClassLabel(names=["bob", "cid", "dee"])))
    written(tmp_path / "e", "parquet", train=one, test=other)
    with pytest.raises(UsageError, match="identity bob is in two of its splits"):
        frozen(f"hf:{tmp_path / 'e'}", identity="who")


def test_labels_of_other_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    rows = dataset(6, other=pictures(6))
    folder = saved(tmp_path, train=rows.cast_column("other", rows.features["image"]))
    read: list[str] = []
    real = pq.ParquetFile.read

    def noted(self: Any, columns: list[str], **options: Any) -> Any:
        read.extend(columns)
        return real(self, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", noted)
    open_source(f"hf:{folder}", {"image": "image", "labels": ["age"]}).scan()
    assert set(read) == {"age", "smiling", "note", "kind", "image.path"}


def test_a_configuration_may_name_a_folder_whose_files_name_their_splits(tmp_path: Path) -> None:
    saved(tmp_path / "v[2]" / "data", train=dataset(4), test=dataset(2))
    saved(tmp_path / "v2", train=dataset(3))
    assert len(frozen(f"hf:{tmp_path}", config="v[2]")[0]) == 6
    for named, rows in [("v2", 3), ("v[2]/data/", 6)]:
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: two\n  data_dir: '{named}'\n---\n")
        assert len(frozen(f"hf:{tmp_path}")[0]) == rows


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be loaded: there is no such folder"):
        open_source(f"hf:{tmp_path / 'nowhere'}").scan()


@pytest.mark.parametrize(("content", "told"), [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git-lfs pointer: run `git lfs pull`"),
    (b"PAR1 and no more", "Parquet magic bytes not found"), (b"", "Parquet file size is 0 bytes"),
])  # fmt: skip
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, content: bytes, told: str) -> None:
    saved(tmp_path, train=dataset(3))
    (tmp_path / "test.parquet").write_bytes(content)
    with pytest.raises(UsageError, match=f"cannot be loaded: {tmp_path}/test.parquet: .*{told}") as caught:
        frozen(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_labels_in_a_parquet_file_leave_a_folder_of_pictures_one(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, data in zip("ab", jpegs(2), strict=True):
        (tmp_path / f"{name}.jpg").write_bytes(data)
    pq.write_table(pa.table({"file_name": ["a.jpg", "b.jpg"], "age": [3, 4]}), tmp_path / "metadata.parquet")
    assert frozen(f"hf:{tmp_path}")[0].table.column("age").to_pylist() in ([3, 4], [4, 3])


def test_pictures_and_files_of_no_split_beside_the_rows_are_said_to_be_left_out(tmp_path: Path) -> None:
    folder = saved(tmp_path, train=dataset())
    assert not open_source(f"hf:{folder}").notes()
    for name in ("a.png", "sub/b.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(jpegs(1)[0])
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train-*.parquet\n---\n"
    )
    dataset(start=6).to_parquet(folder / "more.parquet")
    dataset().select([]).to_parquet(folder / "empty.parquet")
    source = open_source(f"hf:{folder}")
    assert len(source.scan()) == 6
    assert [note for note in source.notes() if "left out" in note] == [
        "2 files of pictures beside the rows that are read are left out: a.png, sub/b.jpg",
        "1 Parquet files beside the rows that are read are left out: more.parquet",
    ]
