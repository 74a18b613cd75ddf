"""Faults of single rows and columns are found, with their row and id; their bytes are those of the record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.columns import _floats
from noisezoo.builder.audit.verify import verify
from noisezoo.pca import Basis
from tests.builder.building import digits_recipe
from tests.builder.planting import VIEW, change, checks, only, put, recard, record_of, rehash, shard, swapped


def test_a_dataset_with_previous_latents_has_no_finding_but_what_is_planted_in_them(tmp_path: Path) -> None:
    folder = tmp_path / "noisezoo"
    settings = {"scheme": "bdia", "num_inference_steps": 4, "reconstruct": 0.5}
    assert run(digits_recipe((VIEW,), 20, settings=settings), folder)
    assert not verify(folder).findings
    change(shard(folder, VIEW), lambda table: put(table, "previous_latents", 2, [[[float("nan")] * 8] * 8]))
    recard(folder)
    found = only(verify(folder))
    assert (found.check, found.row) == ("finite", 2) and "previous_latents" in found.message


@pytest.mark.parametrize("config", ["paired", VIEW, "random-64"])
def test_a_swapped_pair_of_rows_in_one_config_is_found(copied: Path, config: str) -> None:
    change(shard(copied, config, 1), swapped)
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row) == ("pairing", 0) and found.where.startswith(f"{config}/train-00001")
    assert found.image_id in found.message and "labels" in found.message


@pytest.mark.parametrize("view", [VIEW, "pixels-8"])
def test_a_swapped_pair_of_rows_under_ids_that_stayed_is_found(copied: Path, view: str) -> None:
    def only_arrays(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(view)
        return table.set_column(place, table.schema.field(view), swapped(table).column(view))

    change(shard(copied, view), only_arrays)
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row) == ("paired", 0) and view in found.message and "in 2 of" in found.message


def test_a_duplicated_id_is_found(copied: Path) -> None:
    for config in record_of(copied).sections[0].configs:
        first = pq.read_table(shard(copied, config)).column("image_id")[3].as_py()
        change(shard(copied, config, 1), lambda table, first=first: put(table, "image_id", 2, first))  # type: ignore[misc]
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row, found.image_id) == ("ids", 2, first)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("config", [VIEW, "paired"])
def test_a_value_that_is_not_finite_is_found(copied: Path, config: str, value: float) -> None:
    row = [[[value] + [0.0] * 7] * 8] if config == VIEW else None

    def plant(table: pa.Table) -> pa.Table:
        scores = table.column(VIEW)[5].as_py()
        return put(table, VIEW, 5, row or [value, *scores[1:]])

    change(shard(copied, config), plant)
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row) == ("finite", 5) and str(value) in found.message and VIEW in found.message


def test_reconstruction_may_be_nan_but_not_infinite(copied: Path) -> None:
    path = shard(copied, VIEW)
    assert np.isnan(pq.read_table(path).column("reconstruction_psnr").to_numpy()).any()
    change(path, lambda table: put(table, "reconstruction_psnr", 4, float("inf")))
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row) == ("finite", 4) and "reconstruction_psnr" in found.message


def test_a_latent_statistic_may_not_be_nan(copied: Path) -> None:
    change(shard(copied, VIEW), lambda table: put(table, "latent_std", 4, float("nan")))
    recard(copied)
    assert (only(verify(copied)).check, only(verify(copied)).row) == ("finite", 4)


def test_a_wrong_dtype_is_found(copied: Path) -> None:
    from datasets import Array3D

    def widened(table: pa.Table) -> pa.Table:
        kind = Array3D(shape=(1, 8, 8), dtype="float32")()
        storage = pa.array(table.column(VIEW).to_pylist(), type=kind.storage_type)
        array = pa.ExtensionArray.from_storage(kind, storage)
        return table.set_column(1, VIEW, array).replace_schema_metadata(None)

    for path in sorted((copied / VIEW).glob("*.parquet")):
        change(path, widened)
    recard(copied)
    found = {finding.check for finding in verify(copied).findings}
    assert found == {"dtypes"}
    assert "float32" in verify(copied).findings[0].message and "float16" in verify(copied).findings[0].message


def test_a_dtype_that_one_shard_alone_has_is_found(copied: Path) -> None:
    def narrowed(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index("latent_std")
        array = table.column("latent_std").cast(pa.float64())
        return table.set_column(place, "latent_std", array).replace_schema_metadata(None)

    change(shard(copied, VIEW, 1), narrowed)
    recard(copied)
    assert checks(verify(copied)) == {("dtypes", f"{VIEW}/{shard(copied, VIEW, 1).name}")}


def test_a_wrong_shape_in_one_row_is_found(copied: Path) -> None:
    change(shard(copied, VIEW), lambda table: put(table, VIEW, 6, [[[0.0] * 8] * 7]))
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row) == ("shapes", 6) and "56" in found.message and "64" in found.message


@pytest.mark.parametrize("value", [None, [None], [[[0.0] * 8] * 7 + [[None] + [0.0] * 7]]])
def test_a_null_is_found_at_every_depth(copied: Path, value: Any) -> None:
    change(shard(copied, VIEW), lambda table: put(table, VIEW, 6, value))
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row) == ("nulls", 6)


def test_an_image_column_is_found(copied: Path) -> None:
    path = shard(copied, "labels")
    change(path, lambda table: table.append_column("image", pa.array([b"pixels"] * len(table))))
    recard(copied)
    assert any("image column" in finding.message for finding in verify(copied).findings)


def test_a_basis_of_other_data_is_found(copied: Path) -> None:
    path = copied / "paired" / "basis" / f"{VIEW}.safetensors"
    basis = Basis.read(path)
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.standard_normal(basis.components.T.shape))[0].T.astype(np.float32)
    replace(basis, components=turned).save(path)
    recard(copied)
    found = verify(copied).findings
    assert {finding.check for finding in found} == {"paired"} and all(VIEW in finding.message for finding in found)
    assert sum(int(finding.message.split("(in ")[1].split(" of")[0]) for finding in found) == 40


def test_a_basis_of_another_shape_is_found(copied: Path) -> None:
    path = copied / "paired" / "basis" / f"{VIEW}.safetensors"
    basis = Basis.read(path)
    replace(basis, components=basis.components[:, :-1]).save(path)
    rehash(copied)
    assert ("basis", f"paired/basis/{VIEW}.safetensors") in checks(verify(copied))


def test_one_score_that_is_off_by_a_thousandth_of_its_row_is_found(copied: Path) -> None:
    def nudged(table: pa.Table) -> pa.Table:
        scores = np.asarray(table.column(VIEW)[7].as_py())
        scores[-1] += 1e-3 * np.linalg.norm(scores)
        return put(table, VIEW, 7, scores.tolist())

    change(shard(copied, "paired"), nudged)
    recard(copied)
    assert (only(verify(copied)).check, only(verify(copied)).row) == ("paired", 7)


def test_labels_that_paired_repeats_wrongly_are_found(copied: Path) -> None:
    def relabelled(table: pa.Table) -> pa.Table:
        return put(table, "digit", 3, (table.column("digit")[3].as_py() + 1) % 10)

    change(shard(copied, "paired"), relabelled)
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row) == ("paired", 3) and "digit" in found.message


def test_a_row_in_the_file_of_another_split_is_found(copied: Path) -> None:
    for config in ("labels", "paired"):
        change(shard(copied, config), lambda table: put(table, "split", 1, "test"))
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row) == ("splits", 1) and "'test'" in found.message


def test_halves_become_floats_exactly() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    assert np.array_equal(_floats(halves).view(np.uint32), halves.astype(np.float32).view(np.uint32))
