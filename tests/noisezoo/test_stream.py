"""Streams of several views: every row once, however it is shared out, and faults found on the way."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Features, IterableDataset
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.errors import NoiseZooError, UsageError
from tests.builder.building import digits_recipe

FULL = ["pixels-8", "digits-ddpm"]


def streamed(folder: Path, **options: Any) -> IterableDataset:
    return noisezoo.load(folder, views=FULL, streaming=True, **options)  # type: ignore[return-value]


def ids_of(rows: Any) -> Counter[str]:
    return Counter(row["image_id"] for row in rows)


@pytest.fixture(scope="module")
def every(built: Path) -> Counter[str]:
    return Counter(noisezoo.load(built, views=[])["image_id"])


@pytest.mark.parametrize("workers", [0, 1, 2, 3, 4, 7])
@pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")
def test_a_data_loader_gives_every_row_once_with_any_number_of_workers(
    built: Path, every: Counter[str], workers: int
) -> None:
    loader: DataLoader[Any] = DataLoader(
        streamed(built).select_columns(["image_id", "pixels-8"]).with_format("torch"),  # type: ignore[arg-type]
        num_workers=workers, batch_size=None,
    )  # fmt: skip
    assert ids_of(loader) == every


@pytest.mark.parametrize("share", [
    lambda rows: [rows.shuffle(seed=3, buffer_size=8)],
    lambda rows: [rows.shard(num_shards=2, index=i) for i in range(2)],
    lambda rows: [rows.shuffle(seed=1).shard(num_shards=4, index=i) for i in range(4)],
    lambda rows: [split_dataset_by_node(rows, rank=i, world_size=2) for i in range(2)],
    lambda rows: [split_dataset_by_node(rows, rank=i, world_size=3) for i in range(3)],
    lambda rows: [split_dataset_by_node(rows.shuffle(seed=1), rank=i, world_size=5) for i in range(5)],
    lambda rows: [rows.take(7), rows.skip(7)],
])  # fmt: skip
def test_every_row_comes_once_however_the_stream_is_shared_out(
    built: Path, every: Counter[str], share: Callable[[IterableDataset], list[IterableDataset]]
) -> None:
    assert sum((ids_of(part) for part in share(streamed(built))), Counter()) == every


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """450 rows in one file of each config, whose row groups hold 128 rows of noise and all of the labels."""
    folder = tmp_path_factory.mktemp("one") / "noisezoo"
    assert run(digits_recipe(("pixels-8", "random-64"), 450, shard_rows=8192, slice_rows=64), folder)
    return folder


@pytest.mark.parametrize("workers", [0, 2, 4])
@pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")
def test_few_files_are_cut_into_shards_so_that_workers_share_them(one_file: Path, workers: int) -> None:
    rows = noisezoo.load(one_file, views=["pixels-8", "random-64"], split="train", streaming=True)
    plain = noisezoo.load(one_file, views=["pixels-8", "random-64"], split="train")
    assert rows.num_shards == -(-len(plain) // 128) > 2  # type: ignore[union-attr]
    loader: DataLoader[Any] = DataLoader(rows, num_workers=workers, batch_size=None)  # type: ignore[arg-type]
    found = {row["image_id"]: np.ravel(row["pixels-8"]) for row in loader}
    assert len(found) == len(plain) == sum(1 for _ in rows)
    wanted = noisezoo.matrix(plain, "pixels-8", "float64")
    assert all(np.array_equal(found[i], x) for i, x in zip(plain["image_id"], wanted, strict=True))
    parts = [rows.shard(num_shards=3, index=i) for i in range(3)]  # type: ignore[union-attr]
    assert sum((ids_of(part) for part in parts), Counter()) == Counter(found.keys())


def test_surplus_and_missing_rows_of_a_file_that_is_cut_are_found(one_file: Path, tmp_path: Path) -> None:
    for edit, message in ((lambda t: t.slice(0, len(t) - 1), "view 'pixels-8' ends at row"),
                          (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "view 'labels' ends at row")):  # fmt: skip
        folder = tmp_path / message[6:9]
        shutil.copytree(one_file, folder, ignore=shutil.ignore_patterns("_build"))
        change(folder, "pixels-8", edit, "train")
        with pytest.raises(NoiseZooError, match=message):
            list(noisezoo.load(folder, views=["pixels-8"], streaming=True))


def test_a_shuffled_stream_still_pairs_its_views(built: Path) -> None:
    plain = noisezoo.load(built, views=FULL)
    place = {image_id: row for row, image_id in enumerate(plain["image_id"])}
    rows = list(streamed(built).shuffle(seed=5, buffer_size=16))
    assert [row["image_id"] for row in rows] != plain["image_id"][:]
    for view in FULL:
        wanted = noisezoo.matrix(plain, view, "float16")[[place[row["image_id"]] for row in rows]]
        assert np.array_equal(np.stack([np.ravel(row[view]) for row in rows]).astype(np.float16), wanted)


def test_a_stream_knows_its_columns_and_features_before_it_is_read(built: Path) -> None:
    plain, rows = noisezoo.load(built, views=FULL), streamed(built)
    assert rows.column_names == plain.column_names
    assert rows.features == plain.features
    assert noisezoo.load(built, streaming=True).features == noisezoo.load(built).features
    assert streamed(built, split="test").num_shards == 1 and rows.num_shards == 4


def test_a_stream_goes_on_where_its_state_was_kept(built: Path) -> None:
    rows, first = streamed(built), []
    for row in rows:
        first.append(row["image_id"])
        if len(first) == 21:
            state = rows.state_dict()
            break
    again = streamed(built)
    again.load_state_dict(state)
    assert first + [row["image_id"] for row in again] == [row["image_id"] for row in rows]


def change(folder: Path, view: str, edit: Callable[[pa.Table], pa.Table], split: str = "test") -> None:
    path = sorted((folder / view).glob(f"{split}-*.parquet"))[0]
    pq.write_table(edit(pq.read_table(path)), path)


@pytest.mark.parametrize(("edit", "message"), [
    (lambda table: table.slice(0, 4), "view 'pixels-8' ends at row 4 of a shard"),
    (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "view 'labels' ends at row 6 of a shard"),
    (lambda table: table.take([0, 2, 1, 3, 4, 5]), "view 'pixels-8' does not pair: row 1 is"),
])  # fmt: skip
def test_rows_that_do_not_pair_end_the_stream(copied: Path, edit: Callable[[pa.Table], pa.Table], message: str) -> None:
    change(copied, "pixels-8", edit)
    with pytest.raises(NoiseZooError, match=message):
        list(streamed(copied))


def test_a_shard_whose_classes_stand_in_another_order_is_refused(copied: Path) -> None:
    """Read by the first shard's names, its labels would be others."""

    def relabelled(table: pa.Table) -> pa.Table:
        features = Features.from_arrow_schema(table.schema)
        features["digit"] = ClassLabel(names=[str(9 - k) for k in range(10)])
        return table.replace_schema_metadata(features.arrow_schema.metadata)

    change(copied, "labels", relabelled)
    with pytest.raises(NoiseZooError, match="view 'labels' has other columns or classes in .*test-00000"):
        list(streamed(copied))
    with pytest.raises(NoiseZooError, match="view 'labels' of .*cannot be aligned|view 'labels' of .*features"):
        noisezoo.load(copied, views=FULL)


def test_a_damaged_or_missing_file_is_one_line_in_a_stream(copied: Path) -> None:
    paths = sorted((copied / "pixels-8").glob("*.parquet"))
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    paths[0].unlink()
    for split in ("test", "train"):
        with pytest.raises(NoiseZooError, match="view 'pixels-8' has missing or damaged files") as caught:
            list(streamed(copied, split=split))
        assert "\n" not in str(caught.value)


def test_a_stream_has_no_matrix(built: Path) -> None:
    with pytest.raises(UsageError, match="not of IterableDataset: load it without streaming"):
        noisezoo.matrix(streamed(built), "pixels-8")  # type: ignore[arg-type]
