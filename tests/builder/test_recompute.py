"""Rows are computed again from their images, and what cannot be is told."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.recompute import coarsest_unit, stored_rows
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.sources.source import open_source
from noisezoo.record import read_record
from noisezoo.schema import to_arrow
from tests.builder.building import digits_recipe, recipe_of
from tests.builder.models import save_unconditional
from tests.builder.planting import change, reseal, shard


def test_a_clean_dataset_s_rows_come_out_as_they_are_stored(built: Path) -> None:
    report = verify(built, recompute=6)
    assert report.ok and not report.skipped
    told = {each.config: each for each in report.recomputed}
    assert set(told) == {"random-64", "pixels-8", "pixels-8-whitened", "digits-ddpm"}
    assert all(each.rows == 6 and each.reason is None and each.worst <= each.tolerance for each in told.values())
    assert told["random-64"].tolerance == 0 == told["random-64"].worst
    assert told["digits-ddpm"].tolerance == 1e-2


@pytest.mark.parametrize(("config", "share"), [("random-64", 1e-3), ("digits-ddpm", 0.05)])
def test_rows_that_agree_with_each_other_but_not_with_their_images_are_found(
    copied: Path, config: str, share: float
) -> None:
    def scaled(table: pa.Table) -> pa.Table:
        values = np.stack([np.asarray(row, np.float32) for row in table.column(config).to_pylist()])
        array = to_arrow((values * (1 + share)).astype(np.float16), table.schema.field(config).type)
        return table.set_column(table.schema.get_field_index(config), table.schema.field(config), array)

    for path in sorted((copied / config).glob("*.parquet")):
        change(path, scaled)
    reseal(copied)
    assert verify(copied).ok
    report = verify(copied, recompute=5)
    assert {(finding.check, finding.where) for finding in report.findings} == {("recompute", config)}
    assert len(report.findings) == 5 and all(finding.image_id for finding in report.findings)
    worst = {each.config: each.worst for each in report.recomputed}
    assert worst[config] == pytest.approx(share, rel=0.6)


@contextmanager
def sums_in_another_order() -> Iterator[None]:
    """As a GPU may: every product's sum in two halves, each rounded to the dtype."""
    from torch.nn import functional

    linear, conv = functional.linear, functional.conv2d

    def halves(x: Any, w: Any, b: Any = None) -> Any:
        k = w.shape[1] // 2
        y = linear(x[..., :k], w[:, :k]) + linear(x[..., k:], w[:, k:])
        return y if b is None else y + b

    def conv_halves(x: Any, w: Any, b: Any = None, *a: Any) -> Any:
        if w.shape[1] < 2:
            return conv(x, w, b, *a)
        k = w.shape[1] // 2
        y = conv(x[:, :k], w[:, :k], None, *a) + conv(x[:, k:], w[:, k:], None, *a)
        return y if b is None else y + b.view(-1, 1, 1)

    with patch.object(functional, "linear", halves), patch.object(functional, "conv2d", conv_halves):
        yield


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_sound_rows_pass_where_a_device_sums_in_another_order_and_damaged_ones_do_not(
    tmp_path: Path, dtype: str
) -> None:
    """One row of each view is replaced by another image's, under its own id."""
    folder, views = tmp_path / "noisezoo", ("faces-ddpm", "faces-ldm", "faces-clip")
    settings = {"dtype": dtype, "num_inference_steps": 5, "batch_size": 8, "reconstruct": 0}
    assert run(recipe_of("faces", views, 6, settings=settings), folder)
    with sums_in_another_order():
        report = verify(folder, recompute=6)
    assert report.ok, [str(finding) for finding in report.findings]
    worst = {each.config: each.worst for each in report.recomputed}
    if dtype == "bfloat16":
        assert worst["faces-ddpm"] > 1e-2, "else this test shows nothing"

    def replaced(table: pa.Table, view: str) -> pa.Table:
        array = table.column(view).take([0, 1, 1, *range(3, len(table))])
        return table.set_column(table.schema.get_field_index(view), table.schema.field(view), array)

    for view in views:
        change(shard(folder, view), partial(replaced, view=view))
    reseal(folder)
    with sums_in_another_order():
        report = verify(folder, recompute=6)
    assert {(finding.where, finding.row) for finding in report.findings} == {(view, 2) for view in views}


def test_rounding_noise_is_as_large_as_the_rounding_of_a_dtype_and_ends_with_its_block() -> None:
    import torch

    from noisezoo.builder.audit.rounding import rounding_noise

    layer, x = torch.nn.Linear(64, 64).requires_grad_(False), torch.randn(32, 64)
    plain = layer(x).double()
    for coarsest, unit in ((0.0, 2.0**-23), (2.0**-8, 2.0**-8)):
        with rounding_noise(coarsest):
            moved = layer(x).double()
        relative = ((moved - plain) / plain).abs()
        assert float(relative.max()) <= 1.6 * unit  # the moved value is rounded once more
        assert float(relative.mean()) == pytest.approx(unit / 2, rel=0.2)
    assert torch.equal(layer(x).double(), plain)


def test_a_fit_that_is_not_there_is_the_reason_and_no_finding(copied: Path) -> None:
    shutil.rmtree(copied / "_build")
    report = verify(copied, recompute=3)
    assert report.ok
    told = {each.config: each for each in report.recomputed}
    assert "fitted" in (told["pixels-8-whitened"].reason or "") and told["pixels-8-whitened"].rows == 0
    assert told["pixels-8"].rows == 3


def test_a_model_of_a_local_folder_is_asked_for_and_used(tmp_path: Path) -> None:
    save_unconditional(tmp_path / "model", channels=1)
    out = tmp_path / "noisezoo"
    recipe = digits_recipe(("digits-ddpm", "pixels-8"), 12, folders={"digits-ddpm": str(tmp_path / "model")})
    assert run(recipe, out)
    without, given = (
        {each.config: each for each in verify(out, recompute=4, folders=folders).recomputed}["digits-ddpm"]
        for folders in ({}, {"digits-ddpm": str(tmp_path / "model")})
    )
    assert without.rows == 0 and "folders=" in (without.reason or "")
    assert given.rows == 4 and given.reason is None and not given.faults


def test_the_model_of_another_seed_is_found(tmp_path: Path) -> None:
    for name, seed in (("model", 0), ("other", 1)):
        save_unconditional(tmp_path / name, channels=1, seed=seed)
    out = tmp_path / "noisezoo"
    assert run(digits_recipe(("digits-ddpm",), 12, folders={"digits-ddpm": str(tmp_path / "model")}), out)
    report = verify(out, recompute=4, folders={"digits-ddpm": str(tmp_path / "other")})
    assert [finding.check for finding in report.findings] == ["recompute"] * 4


def test_images_of_a_folder_are_asked_for_and_used(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    faces = open_source("faces")
    for number, key in enumerate(faces.scan().column("key").to_pylist()[:12]):
        (photos / "a").mkdir(parents=True, exist_ok=True)
        faces.picture(key).save(photos / "a" / f"{number}.png")
    out = tmp_path / "noisezoo"
    assert run(recipe_of(f"imagefolder:{photos}", ("pixels-8", "random-64"), None), out)
    told = verify(out, recompute=4).recomputed
    assert all(each.rows == 0 and "give their source" in (each.reason or "") for each in told)
    report = verify(out, recompute=4, source=open_source(f"imagefolder:{photos}"))
    assert report.ok and [each.rows for each in report.recomputed] == [4, 4]
    assert "lacks 4 of 4 images" in (verify(out, recompute=4, source=faces).recomputed[0].reason or "")


def test_stored_rows_are_those_of_the_whole_column(built: Path) -> None:
    import noisezoo

    record = read_record(built)
    assert record is not None
    positions = np.array([0, 3, 17, 39])
    table = stored_rows(built, record.sections[0], "pixels-8", positions, ["image_id"])
    assert table.column(0).to_pylist() == np.array(noisezoo.load(built)["image_id"])[positions].tolist()


def test_rows_of_a_gpu_are_compared_by_the_unit_of_the_half_precision_that_it_chose() -> None:
    assert coarsest_unit(("cpu x86_64", "cpu x86_64"), None) == 0
    assert coarsest_unit(("NVIDIA H100", "cpu x86_64"), None) == coarsest_unit(("NVIDIA H100",), "float16") == 2**-10
    assert coarsest_unit(("NVIDIA H100", "cpu x86_64"), "bfloat16") == 2**-7
