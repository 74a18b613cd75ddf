"""The published folder as others see it: Parquet readers, the card, the PCA bases."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow.parquet as pq
import pytest
from datasets import Array3D, Features, List, Value, Version
from huggingface_hub import DatasetCard

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.dataset.card import _config_yaml, _model, write_card
from noisezoo.builder.dataset.layout import blocks, read_config
from noisezoo.loading import load_config
from noisezoo.pca import Basis
from noisezoo.place import open_place
from noisezoo.record import RECORD, read_record
from noisezoo.schema import to_table, view_features, write_parquet
from tests.builder.building import DIGITS_VIEWS, recipe_of


@pytest.fixture(scope="module")
def card(built: Path) -> DatasetCard:
    return DatasetCard.load(built / "README.md")


def is_array(column: pq.ColumnChunkMetaData) -> bool:
    return column.path_in_schema.endswith(".element")


def test_every_file_is_compressed_and_indexed_and_float32_is_split_by_bytes(built: Path) -> None:
    files = [path for path in built.rglob("*.parquet") if "_build" not in path.parts]
    floats = 0
    for path in files:
        metadata = pq.read_metadata(path)
        columns = [
            metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(metadata.num_columns)
        ]
        for column in columns:
            assert column.compression == "ZSTD"
            assert column.has_offset_index
            if is_array(column):
                assert ("BYTE_STREAM_SPLIT" in column.encodings) == (column.physical_type == "FLOAT")
                assert not any("DICTIONARY" in encoding for encoding in column.encodings)
                floats += 1
    assert len(files) >= 4 * 6
    assert floats >= 4


def written(path: Path, shape: tuple[int, ...], dtype: str, n: int, cuts: list[int]) -> Path:
    """n known rows of that shape in one file of our layout, from tables cut at `cuts`."""
    features = view_features("v", shape, dtype)
    values = np.arange(n * int(np.prod(shape))).reshape(n, *shape).astype(dtype)
    table = to_table(features, {"image_id": [str(k) for k in range(n)], "v": values})
    bounds = [0, *cuts, n]
    write_parquet(path, features, [table.slice(a, b - a) for a, b in zip(bounds, bounds[1:], strict=False)])
    return path


def test_image_like_arrays_are_read_by_groups_of_128_rows(tmp_path: Path) -> None:
    metadata = pq.read_metadata(written(tmp_path / "a", (1, 2, 2), "float16", 300, []))
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [128, 128, 44]
    assert pq.read_metadata(written(tmp_path / "b", (4,), "float32", 300, [])).num_row_groups == 1


@pytest.mark.parametrize("shape", [(1, 2, 2), (4,)])
def test_a_file_s_bytes_do_not_depend_on_how_its_rows_were_handed_over(tmp_path: Path, shape: tuple[int, ...]) -> None:
    whole = written(tmp_path / "a", shape, "float32", 300, []).read_bytes()
    assert written(tmp_path / "b", shape, "float32", 300, [7, 128, 130, 299]).read_bytes() == whole


def test_views_of_any_layout_are_read_in_blocks_of_the_same_rows(tmp_path: Path) -> None:
    n = 2500  # more than two blocks, and many row groups of the one layout and one of the other
    image_like = written(tmp_path / "a", (1, 2, 2), "float32", n, [])
    flat = written(tmp_path / "b", (4,), "float32", n, [])
    pairs = list(zip(blocks([image_like, image_like], "v"), blocks([flat, flat], "v"), strict=True))
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert sum(len(a) for a, _ in pairs) == 2 * n


def test_all_configs_have_the_same_shards(built: Path) -> None:
    shards = {
        folder.name: [(path.name, pq.read_metadata(path).num_rows) for path in sorted(folder.glob("*.parquet"))]
        for folder in built.iterdir()
        if folder.is_dir() and folder.name != "_build"
    }
    assert set(shards) == {"paired", "labels", *DIGITS_VIEWS}
    assert len({tuple(rows) for rows in shards.values()}) == 1
    assert max(rows for _, rows in shards["labels"]) == 16


def test_no_code_is_published(built: Path) -> None:
    assert not list(built.rglob("*.py"))


def test_polars_reads_labels_and_arrays(built: Path) -> None:
    labels = polars.read_parquet(built / "labels" / "*.parquet")
    noise = polars.read_parquet(built / "digits-ddpm" / "*.parquet")
    joined = labels.join(noise, on="image_id")
    rows = noisezoo.load(built, views=["digits-ddpm"])
    assert len(joined) == 40
    by_id = dict(zip(rows["image_id"], noisezoo.matrix(rows, "digits-ddpm", None), strict=True))
    for image_id, array in zip(joined["image_id"], joined["digits-ddpm"], strict=True):
        assert np.array_equal(np.array(array, np.float16).ravel(), by_id[image_id])


PANDAS = """
import json, sys, pandas

def nested(value):
    return [nested(part) for part in value] if hasattr(value, "__len__") else float(value)

print(json.dumps([nested(row) for row in pandas.read_parquet(sys.argv[1])["v"]]))
"""


def by_duckdb(path: Path) -> list[np.ndarray]:
    return [np.array(row[0], np.float64) for row in duckdb.sql(f"SELECT v FROM '{path}'").fetchall()]


def by_polars(path: Path) -> list[np.ndarray]:
    return [np.array(row, np.float64) for row in polars.read_parquet(path)["v"]]


def by_pandas(path: Path) -> list[np.ndarray]:
    """In a process that has not imported `datasets`, as a reader of plain Parquet would."""
    printed = subprocess.run([sys.executable, "-c", PANDAS, str(path)], capture_output=True, text=True, check=True)
    return [np.array(row, np.float64) for row in json.loads(printed.stdout)]


@pytest.mark.parametrize("read", [by_duckdb, by_polars, by_pandas])
@pytest.mark.parametrize("shape", [(2, 3, 4), (24,)])
def test_other_readers_find_every_value_of_an_array(
    tmp_path: Path, read: Callable[[Path], list[np.ndarray]], shape: tuple[int, ...]
) -> None:
    dtype = "float16" if len(shape) == 3 else "float32"
    values = np.random.default_rng(0).standard_normal((300, *shape)).astype(dtype)
    values.reshape(-1)[:6] = [np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal, -0.0, 0.0, 1.0, -1.5]
    table = to_table(view_features("v", shape, dtype), {"image_id": [str(k) for k in range(300)], "v": values})
    write_parquet(tmp_path / "a.parquet", view_features("v", shape, dtype), [table])
    assert np.array_equal(np.stack(read(tmp_path / "a.parquet")), values.astype(np.float64))


def test_duckdb_reads_the_arrays_of_published_noise_views(built: Path) -> None:
    for view in ("digits-ddpm", "pixels-8"):
        rows = noisezoo.load(built, views=[view])
        by_id = dict(zip(rows["image_id"], noisezoo.matrix(rows, view, "float64"), strict=True))
        found = duckdb.sql(f"""SELECT image_id, "{view}" FROM '{built}/{view}/*.parquet'""").fetchall()
        assert len(found) == 40
        assert all(np.array_equal(np.array(array, np.float64).ravel(), by_id[image_id]) for image_id, array in found)


def test_duckdb_joins_labels_with_a_view_by_sql(built: Path) -> None:
    query = f"""
        SELECT labels.digit, avg(noise.latent_std)
        FROM '{built}/labels/*.parquet' AS labels JOIN '{built}/digits-ddpm/*.parquet' AS noise USING (image_id)
        WHERE labels.split = 'train' GROUP BY labels.digit ORDER BY labels.digit
    """
    found = duckdb.sql(query).fetchall()
    frame = noisezoo.load(built, views=["digits-ddpm"], split="train").remove_columns("digits-ddpm").to_pandas()
    expected = frame.groupby("digit")["digits-ddpm.latent_std"].mean()
    assert dict(found) == pytest.approx(expected.to_dict())


def test_the_card_names_every_config_and_file_and_one_default(built: Path, card: DatasetCard) -> None:
    configs = card.data.configs
    assert [c["config_name"] for c in configs] == ["paired", "labels", *DIGITS_VIEWS]
    assert [c["config_name"] for c in configs if c.get("default")] == ["paired"]
    named = [path for c in configs for part in c["data_files"] for path in part["path"]]
    assert sorted(named) == sorted(str(path.relative_to(built)) for path in built.glob("[!_]*/*.parquet"))
    assert card.data.license == "cc-by-4.0"
    assert card.data.size_categories == ["n<1K"]


def test_the_card_s_features_and_counts_are_the_files_own(built: Path, card: DatasetCard) -> None:
    for info in card.data.dataset_info:
        features = Features._from_yaml_list(info["features"])
        assert features == load_config(open_place(built), info["config_name"]).features
        assert sum(split["num_examples"] for split in info["splits"]) == 40
    noise = next(info for info in card.data.dataset_info if info["config_name"] == "digits-ddpm")
    assert Features._from_yaml_list(noise["features"]) == Features(
        {"image_id": Value("string"), "digits-ddpm": Array3D((1, 8, 8), "float16"), "latent_mean": Value("float32"),
         "latent_std": Value("float32"), "reconstruction_psnr": Value("float32"),
         "reconstruction_ssim": Value("float32")}
    )  # fmt: skip


def run_as_a_user(text: str, folder: Path) -> None:
    """Run a card's Python, in a process of its own, beside the folder.

    `-P`, as an editable install of the package comes after the folders of the working directory, and a dataset's folder
    may be called `noisezoo`.
    """
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    code = "\n".join(blocks) + "\nprint(X.shape, X.dtype, len(rows))\n"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(40, 64) float32 40"


def test_the_card_s_examples_run_as_they_stand(built: Path, card: DatasetCard) -> None:
    run_as_a_user(card.text, built)


def test_the_card_says_what_a_user_must_know(card: DatasetCard) -> None:
    wanted = ("## Load it", "## Configs", "### Rows", "### How it was made", "## Limits", "## Use",
              "## Privacy and removal", "## Citation", "noisezoo remove noisezoo --ids", "names of configs",
              "not meant for", "licence of the source: cc-by-4.0", "device: cpu", "latent statistics")  # fmt: skip
    text = card.text.lower().replace("\n", " ")
    assert [each for each in wanted if each.lower() not in text] == []
    assert "| `digits-ddpm` | digits-ddpm, ships with NoiseZoo | - | 8 px |" in card.text


def test_the_card_names_each_model_s_repository_and_commit(built: Path) -> None:
    view = {"repo": "org/model", "revision": "0123abc", "untrained": True}
    assert _model(view) == {"model": "`org/model`, before training", "commit": "`0123abc`"}
    assert _model({"repo": "", "revision": None, "untrained": False}) == {"model": "none", "commit": "-"}


def test_the_card_of_face_photographs_asks_for_a_gate(copied: Path) -> None:
    record = read_record(copied)
    assert record is not None
    assert "should stay gated" not in (copied / "README.md").read_text()
    write_card(copied, replace(record, sections=(replace(record.sections[0], sensitive=True),)))
    assert "should stay gated" in (copied / "README.md").read_text()


def test_the_record_keeps_the_order_of_splits_views_and_settings(built: Path) -> None:
    record = read_record(built)
    assert record is not None
    assert list(record.sections[0].splits) == ["train", "validation", "test"]
    before = (built / "README.md").read_text()
    write_card(built, record)
    assert (built / "README.md").read_text() == before


def test_a_config_s_version_follows_every_byte_of_its_files(copied: Path) -> None:
    # `datasets` caches by version and sizes: without this, other rows of the same size would stay hidden.
    record = read_record(copied)
    assert record is not None
    config = read_config(copied, record.sections[0], "random-64")
    before = _config_yaml(copied, record.sections[0], config)["version"]
    content = bytearray(config.files["test"][0].read_bytes())
    content[100] ^= 1
    config.files["test"][0].write_bytes(content)
    after = _config_yaml(copied, record.sections[0], config)["version"]
    assert Version(before) != Version(after)


def test_the_card_s_text_is_whole(card: DatasetCard) -> None:
    assert "40 images in = 40 rows out + 0 refused" in card.text
    assert "{{" not in card.text
    assert "{%" not in card.text
    assert all(f"| `{name}` |" in card.text for name in DIGITS_VIEWS)
    assert "| `num_inference_steps` | `2` |" in card.text


@pytest.mark.parametrize("view", DIGITS_VIEWS)
def test_a_paired_column_is_the_full_view_on_its_basis(built: Path, view: str) -> None:
    basis = Basis.read(built / "paired" / "basis" / f"{view}.safetensors")
    full, paired = (noisezoo.load(built, views=views) for views in ([view], None))
    scores = noisezoo.matrix(paired, view)
    assert scores.shape == (40, 16)
    assert paired.features[view] == List(Value("float32"), length=16)
    np.testing.assert_allclose(scores, basis.transform(noisezoo.matrix(full, view)), rtol=1e-4, atol=1e-4)
    X = noisezoo.matrix(noisezoo.load(built, views=[view], split="train"), view, "float64")
    variances = np.linalg.svd(X - X.mean(axis=0), compute_uv=False) ** 2 / (len(X) - 1)
    np.testing.assert_allclose(basis.explained_variance, variances[:16], rtol=1e-4)
    np.testing.assert_allclose(basis.mean, X.mean(axis=0), atol=1e-5)


def test_a_dataset_of_one_image_is_built_and_loads(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    assert run(recipe_of("faces", ("pixels", "random-64"), limit=1), folder)
    assert len(noisezoo.load(folder, views=["pixels"])) == 1
    assert len(noisezoo.load(folder)["pixels"][0]) == 1, "one axis, along which nothing varies"


def test_the_record_says_what_lies_there(built: Path) -> None:
    record = read_record(built)
    assert record is not None
    (section,) = record.sections
    assert (section.source, section.scanned, section.refused, section.rows, section.sensitive) == (
        "digits",
        40,
        0,
        40,
        False,
    )
    assert section.view_names == list(DIGITS_VIEWS)
    there = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    assert set(record.files) == {name for name in there if not name.startswith("_build/")} - {RECORD}
    for name, file in record.files.items():
        content = (built / name).read_bytes()
        assert (sha256(content).hexdigest(), len(content)) == (file["sha256"], file["bytes"])
