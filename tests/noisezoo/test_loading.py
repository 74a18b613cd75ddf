"""Loading and pairing: what is in a column is what was computed for that image, or it is an error."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.sources.source import open_source
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.record import RECORD, read_record
from tests.builder.building import DIGITS_VIEWS, digits_recipe

FULL = ["pixels-8", "digits-ddpm"]


def pixels_of(ids: list[str]) -> np.ndarray:
    """The digits themselves, read from their source: (n, 64) in [-1, 1]."""
    source = open_source("digits")
    images = [np.asarray(source.picture(str(int(i.removeprefix("digits-"))))) for i in ids]
    return np.stack(images).reshape(len(ids), 64) / 127.5 - 1


def rewrite(folder: Path, view: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a published view behind the dataset's back, its first training shard that is."""
    path = sorted((folder / view).glob("train-*.parquet"))[0]
    pq.write_table(change(pq.read_table(path)), path)


def test_plain_load_dataset_gives_the_paired_config(built: Path) -> None:
    splits = load_dataset(str(built))
    assert {name: len(rows) for name, rows in splits.items()}.keys() == {"train", "validation", "test"}
    assert sum(map(len, splits.values())) == 40
    assert splits["train"].config_name == "paired"
    assert set(DIGITS_VIEWS) | {"image_id", "split", "digit"} <= set(splits["train"].column_names)
    assert all(set(rows["split"]) == {name} for name, rows in splits.items())


def test_plain_load_dataset_gives_one_view_with_its_quality_columns(built: Path) -> None:
    rows = load_dataset(str(built), "digits-ddpm")["train"]
    quality = ["latent_mean", "latent_std", "reconstruction_psnr", "reconstruction_ssim"]
    assert rows.column_names == ["image_id", "digits-ddpm", *quality]
    array = np.asarray(rows.with_format("numpy")[:]["digits-ddpm"])
    assert array.shape == (len(rows), 1, 8, 8)
    np.testing.assert_allclose(array.reshape(len(rows), -1).std(axis=1), rows["latent_std"], rtol=1e-2)


def test_a_folder_called_noisezoo_loads_by_that_name_alone(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.parent)
    assert load_dataset("noisezoo")["train"].config_name == "paired"
    assert load_dataset("noisezoo", "pixels-8", split="test").config_name == "pixels-8"
    assert len(noisezoo.load("noisezoo")) == 40


def test_a_loaded_view_is_what_the_pictures_are(built: Path) -> None:
    rows = noisezoo.load(built, views=["pixels-8"])
    expected = pixels_of(rows["image_id"])
    assert np.array_equal(noisezoo.matrix(rows, "pixels-8", None), expected.astype(np.float32).astype(np.float16))


def test_labels_are_the_source_s(built: Path) -> None:
    rows = noisezoo.load(built, views=[])
    table = open_source("digits").scan().to_pandas().set_index("image_id").loc[rows["image_id"]]
    assert rows.column_names == [
        "image_id",
        "split",
        "digit",
        "Even",
        "Above_Four",
        "Has_Loop",
        "Heavy_Ink",
        "Top_Heavy",
    ]
    for name in rows.column_names[2:]:
        assert rows[name] == table[name].tolist()
    assert rows.features["digit"].names == [str(k) for k in range(10)]


def test_named_views_become_columns_in_the_labels_order(built: Path) -> None:
    rows = noisezoo.load(built, views=FULL)
    assert len(rows) == 40
    quality = ["latent_mean", "latent_std", "reconstruction_psnr", "reconstruction_ssim"]
    assert rows.column_names[-6:] == ["pixels-8", "digits-ddpm", *(f"digits-ddpm.{name}" for name in quality)]
    alone = {i: a for part in load_dataset(str(built), "digits-ddpm").values() for i, a in
             zip(part["image_id"], part["digits-ddpm"], strict=True)}  # fmt: skip
    assert all(row["digits-ddpm"] == alone[row["image_id"]] for row in rows)


def test_a_split_is_those_rows_and_all_rows_are_the_splits_in_order(built: Path) -> None:
    whole = noisezoo.load(built, views=FULL)["image_id"]
    parts = [noisezoo.load(built, views=FULL, split=name)["image_id"] for name in ("train", "validation", "test")]
    assert whole == [i for part in parts for i in part]


def test_streaming_gives_the_rows_of_a_plain_load(built: Path) -> None:
    plain = noisezoo.load(built, views=FULL)
    streamed = list(noisezoo.load(built, views=FULL, streaming=True))
    assert len(streamed) == 40
    for row, expected in zip(streamed, plain, strict=True):
        assert row.keys() == expected.keys()
        for name in row:
            np.testing.assert_array_equal(row[name], expected[name], err_msg=name)  # a NaN is like a NaN
    test = noisezoo.load(built, split="test", streaming=True)
    assert [row["image_id"] for row in test] == noisezoo.load(built, split="test")["image_id"]


def test_after_a_rebuild_in_the_same_place_the_new_rows_are_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "noisezoo"
    found = []
    for seed in (0, 1):
        source = {"name": "digits", "limit": 10, "split_seed": seed}
        recipe = digits_recipe(("random-64",))
        assert run(recipe.model_copy(update={"source": recipe.source.model_copy(update=source)}), folder)
        for config in (None, "labels", "random-64"):
            splits = load_dataset(str(folder), config)
            found.append({i for rows in splits.values() for i in rows["image_id"]})
        shutil.rmtree(folder)
    assert found[0] == found[1] == found[2]
    assert found[3] == found[4] == found[5]
    assert found[0] != found[3]


def reordered(rows: Dataset) -> dict[str, Dataset]:
    return {
        "shuffled": rows.shuffle(seed=1),
        "selected": rows.select([5, 3, 30]),
        "sliced": rows.select(range(4, 20)),
        "filtered": rows.filter(lambda even: even, input_columns="Even"),
        "split": rows.train_test_split(0.25, seed=0)["test"],
        "empty": rows.select([]),
    }


@pytest.mark.parametrize("view", ["pixels-8", "digits-ddpm"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", None])
def test_a_matrix_is_its_rows_stacked(built: Path, view: str, dtype: str | None) -> None:
    rows = noisezoo.load(built, views=FULL)
    expected = np.stack([np.ravel(value) for value in rows[view]])
    found = noisezoo.matrix(rows, view, dtype)
    assert found.dtype == (dtype or "float16")
    assert np.array_equal(found, expected.astype(found.dtype))


@pytest.mark.parametrize("how", ["shuffled", "selected", "sliced", "filtered", "split", "empty"])
def test_a_matrix_follows_the_dataset_s_own_order(built: Path, how: str) -> None:
    rows = reordered(noisezoo.load(built, views=["pixels-8"]))[how]
    found = noisezoo.matrix(rows, "pixels-8", "float16")
    assert len(found) == len(rows)
    if len(rows):
        assert np.array_equal(found, pixels_of(rows["image_id"]).astype(np.float32).astype(np.float16))


def test_a_matrix_of_the_paired_config_has_the_embeddings_themselves(built: Path) -> None:
    rows = load_dataset(str(built), split="train")
    assert np.array_equal(noisezoo.matrix(rows, "random-64"), np.stack(rows["random-64"]).astype(np.float32))


def test_a_matrix_in_the_stored_dtype_copies_nothing(built: Path) -> None:
    rows = load_dataset(str(built), "pixels-8", split="test")
    assert rows.data.column("pixels-8").num_chunks == 1
    first, second = noisezoo.matrix(rows, "pixels-8", None), noisezoo.matrix(rows, "pixels-8", "float16")
    assert np.shares_memory(first, second)
    assert not np.shares_memory(first, noisezoo.matrix(rows, "pixels-8", "float32"))


@pytest.fixture
def uncached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which `datasets` has not seen the sound files before."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("uncached")
def test_a_shuffled_side_is_refused_by_its_first_wrong_row(copied: Path) -> None:
    rewrite(copied, "pixels-8", lambda table: table.take([0, 2, 1, *range(3, len(table))]))
    ids = noisezoo.load(copied, views=[])["image_id"]
    message = f"view 'pixels-8' does not pair: row 1 is '{ids[2]}' where labels has '{ids[1]}'"
    with pytest.raises(NoiseZooError, match=message):
        noisezoo.load(copied, views=["digits-ddpm", "pixels-8"])
    with pytest.raises(NoiseZooError, match="view 'pixels-8' does not pair: row 1 is"):
        list(noisezoo.load(copied, views=["pixels-8"], streaming=True))


@pytest.mark.usefixtures("uncached")
@pytest.mark.parametrize("harm", [Path.unlink, lambda shard: shard.write_bytes(shard.read_bytes()[:-9])])
def test_a_missing_or_damaged_shard_is_refused_by_its_view(copied: Path, harm: Callable[[Path], object]) -> None:
    harm(sorted((copied / "pixels-8").glob("train-*.parquet"))[0])
    with pytest.raises(NoiseZooError, match="view 'pixels-8' of .* has missing or damaged files"):
        noisezoo.load(copied, views=["pixels-8"])


@pytest.mark.usefixtures("uncached")
def test_a_shortened_side_is_refused(copied: Path) -> None:
    shard = sorted((copied / "pixels-8").glob("test-*.parquet"))[-1]
    pq.write_table(pq.read_table(shard).slice(0, 1), shard)
    with pytest.raises(NoiseZooError, match="view 'pixels-8'"):
        noisezoo.load(copied, views=["pixels-8"])
    with pytest.raises(NoiseZooError, match="view 'pixels-8'"):
        list(noisezoo.load(copied, views=["pixels-8"], streaming=True))


def test_an_unknown_view_split_source_or_column_is_refused_with_what_there_is(built: Path) -> None:
    with pytest.raises(UsageError, match="has no view 'sd-1.5'; it has: paired, labels, "):
        noisezoo.load(built, views=["sd-1.5"])
    with pytest.raises(UsageError, match="has no split 'tests'; it has: train, validation, test"):
        noisezoo.load(built, split="tests")
    with pytest.raises(UsageError, match="has no source 'faces'; it has: digits"):
        noisezoo.load(built, source="faces")
    with pytest.raises(UsageError, match="has no column 'pixels'; it has: image_id, "):
        noisezoo.matrix(noisezoo.load(built), "pixels")
    assert len(noisezoo.load(built, source="digits")) == 40


@pytest.mark.parametrize(("arguments", "message"), [
    ({"views": "pixels-8"}, "views='pixels-8' is one name: give a list, views=['pixels-8']"),
    ({"views": ["pixels-8", 3]}, "views=['pixels-8', 3]: give a list of names, or None for the paired config"),
    ({"views": 3}, "views=3: give a list of names, or None for the paired config"),
    ({"views": [["pixels-8"]]}, "views=[['pixels-8']]: give a list of names"),
    ({"split": ["train", "test"]}, "split=['train', 'test']: give one name, or None"),
    ({"split": "train[:10]"}, "has no split 'train[:10]'; it has: train, validation, test"),
    ({"split": ""}, "has no split ''; it has: train"),
    ({"source": ["digits"]}, "source=['digits']: give one name, or None"),
    ({"source": ""}, "has no source ''; it has: digits"),
    ({"revision": 2}, "revision=2: give one name, or None"),
    ({"path_or_repo": None}, "None is no dataset: give a folder, or ORG/NAME on the Hub"),
    ({"path_or_repo": ""}, "'' is no dataset: give a folder"),
    ({"path_or_repo": ["a"]}, "['a'] is no dataset: give a folder"),
    ({"path_or_repo": "a/b/c"}, "no dataset at a/b/c: there is no such folder"),
    ({"path_or_repo": "two words"}, "two words: it is no folder here, and no name of a repository: check the path"),
])  # fmt: skip
@pytest.mark.parametrize("streaming", [False, True])
def test_a_wrong_argument_is_one_line_with_its_mend(
    built: Path, arguments: dict[str, Any], message: str, streaming: bool
) -> None:
    with pytest.raises(UsageError) as caught:
        noisezoo.load(**{"path_or_repo": built, "streaming": streaming, **arguments})
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("make", "arguments", "message"), [
    (lambda rows: datasets.DatasetDict(train=rows), {}, "not of DatasetDict: choose a split of it"),
    (lambda rows: rows.to_iterable_dataset(), {}, "not of IterableDataset: load it without streaming"),
    (lambda rows: rows.to_pandas(), {}, "not of DataFrame"),
    (lambda rows: rows, {"view": "image_id"}, "column 'image_id' holds object values, which are no numbers"),
    (lambda rows: rows, {"view": None}, "the dataset has no column None; it has: image_id"),
    (lambda rows: rows, {"dtype": "float33"}, "column 'pixels-8' cannot be a matrix of float33"),
    (lambda rows: rows.map(lambda row: {"gaps": [None, 1.0]}), {"view": "gaps"},
     "column 'gaps' cannot be a matrix of float32: it has gaps"),
    (lambda rows: rows.map(lambda row: {"gaps": None if row["Even"] else [2.0, 1.0]}), {"view": "gaps"},
     "column 'gaps' cannot be a matrix of float32: it has gaps"),
    (lambda rows: rows.map(lambda row, k: {"ragged": [1.0] * (1 + k % 2)}, with_indices=True), {"view": "ragged"},
     "column 'ragged' cannot be a matrix of float32: it has rows of other lengths"),
])  # fmt: skip
def test_what_cannot_be_a_matrix_is_one_line(
    built: Path, make: Callable[[Any], Any], arguments: dict[str, Any], message: str
) -> None:
    rows = make(noisezoo.load(built, views=["pixels-8"]))
    with pytest.raises(UsageError) as caught:
        noisezoo.matrix(rows, **{"view": "pixels-8", **arguments})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_place_without_a_dataset_is_refused(tmp_path: Path, built: Path) -> None:
    with pytest.raises(UsageError, match="no dataset at .*nowhere"):
        noisezoo.load(tmp_path / "nowhere")
    (tmp_path / "half").mkdir()
    shutil.copytree(built / "_build", tmp_path / "half" / "_build")
    with pytest.raises(UsageError, match="is not a finished NoiseZoo folder"):
        noisezoo.load(tmp_path / "half")


def test_some_columns_of_a_config_load_alone(built: Path) -> None:
    rows = load_dataset(str(built), "labels", columns=["image_id", "digit"], split="train")
    whole = load_dataset(str(built), "labels", split="train")
    assert rows.column_names == ["image_id", "digit"]
    assert rows["digit"][:] == whole["digit"][:]
    noise = load_dataset(str(built), "digits-ddpm", columns=["image_id", "latent_std"], split="test")
    assert noise.column_names == ["image_id", "latent_std"]
    stream = load_dataset(str(built), "labels", columns=["image_id"], split="train", streaming=True)
    assert [row["image_id"] for row in stream] == whole["image_id"][:]


def test_the_record_is_read_only_where_a_source_is_named(copied: Path) -> None:
    (copied / RECORD).unlink()
    assert len(noisezoo.load(copied, views=["random-64"])) == 40
    with pytest.raises(UsageError, match="has no source 'digits'; it has: no record of any"):
        noisezoo.load(copied, source="digits")


@pytest.mark.usefixtures("uncached")
def test_only_the_views_that_are_asked_for_are_read(copied: Path) -> None:
    for name in ("paired", "digits-ddpm", "pixels-8"):
        for path in (copied / name).glob("*.parquet"):
            path.write_bytes(b"")
    assert len(noisezoo.load(copied, views=["random-64"], split="test")) == 6


@pytest.mark.usefixtures("uncached")
def test_an_old_style_loading_script_would_have_broken_the_dataset(copied: Path) -> None:
    record = read_record(copied)
    assert record is not None
    assert [path for path in record.files if path.endswith(".py")] == []
    script = copied / f"{copied.name}.py"
    script.write_text("import datasets\n\n\nclass NoiseZoo(datasets.GeneratorBasedBuilder):\n    pass\n")
    with pytest.raises(RuntimeError, match="Dataset scripts are no longer supported"):
        load_dataset(str(copied))
    script.unlink()
    assert load_dataset(str(copied))["train"].config_name == "paired"


def test_refusals_account_for_every_image_that_is_not_there(built: Path) -> None:
    refusals = [json.loads(line) for line in (built / "refusals.jsonl").read_text().splitlines()]
    assert len(noisezoo.load(built)) + len({r["image_id"] for r in refusals}) == 40
