"""CelebA in its three layouts: the same images, ids, splits, people and attributes, whichever was downloaded."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisezoo.builder.recipe import SourceSpec
from noisezoo.builder.sources.celeba import ATTRIBUTES
from noisezoo.builder.sources.manifest import Manifest, freeze
from noisezoo.builder.sources.source import Refusal, open_source
from noisezoo.errors import UsageError
from tests.builder.building import published, recipe_of
from tests.builder.image_sources import HUB_FOLDER, hub_has, people, without, write_lists, write_parquet

ROWS = people(30)


def frozen(folder: Path | str = "", limit: int | None = None, **options: Any) -> tuple[Manifest, list[Refusal]]:
    name = f"celeba:{folder}".rstrip(":")
    return freeze(open_source(name, options), SourceSpec(name=name, limit=limit, options=options))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def labels(manifest: Manifest, name: str) -> dict[str, Any]:
    return dict(zip(manifest.ids, manifest.table.column(name).to_pylist(), strict=True))


def test_torchvision_s_own_reader_reads_the_lists_as_we_do(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    write_lists(tmp_path / "celeba", ROWS)

    class Unchecked(torchvision.datasets.CelebA):  # type: ignore[misc]
        def _check_integrity(self) -> bool:
            return True

    theirs = Unchecked(str(tmp_path), split="all", target_type=["attr", "identity"])
    manifest, refusals = frozen(tmp_path)
    assert refusals == []
    assert [f"{image_id}.jpg" for image_id in sorted(manifest.ids)] == theirs.filename
    for row, image_id in enumerate(sorted(manifest.ids)):
        assert labels(manifest, "celeb_id")[image_id] == int(theirs.identity[row])
    ours = np.array([[labels(manifest, a)[i] for a in ATTRIBUTES] for i in sorted(manifest.ids)])
    assert np.array_equal(ours, theirs.attr.numpy().astype(bool))
    assert list(ATTRIBUTES) == [name for name in theirs.attr_names if name]


def test_the_three_layouts_give_the_same_manifest_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub_has(monkeypatch, {"flwrlabs/celeba": write_parquet(tmp_path / "hub", ROWS, readme=True)})
    folders = ["", write_lists(tmp_path / "lists", ROWS), write_parquet(tmp_path / "parquet", ROWS)]
    saved = []
    for k, folder in enumerate([*folders, write_parquet(tmp_path / "unnamed", ROWS, named=False)]):
        manifest, refusals = frozen(folder)
        assert refusals == []
        Manifest(manifest.table.drop_columns("key")).save(tmp_path / f"{k}.parquet")  # which says where each lies
        saved.append((tmp_path / f"{k}.parquet").read_bytes())
        features = open_source(f"celeba:{folder}".rstrip(":")).label_features()
        assert list(features) == ["celeb_id", *ATTRIBUTES]
        assert [feature.dtype for feature in features.values()] == ["int64"] + ["bool"] * 40
    assert len(set(saved)) == 1
    assert {repo for repo, _ in asked} == {"flwrlabs/celeba"}
    assert all(revision and len(revision) == 40 for _, revision in asked)


def test_the_three_layouts_build_the_same_dataset_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noisezoo.builder.__main__ import run

    hub_has(monkeypatch, {"flwrlabs/celeba": write_parquet(tmp_path / "hub", ROWS, readme=True)})
    names = ["celeba", f"celeba:{write_lists(tmp_path / 'a', ROWS)}", f"celeba:{write_parquet(tmp_path / 'b', ROWS)}"]
    built = []
    for k, name in enumerate(names):
        assert run(recipe_of(name, ("pixels-8", "random-64"), limit=None), tmp_path / f"out{k}")
        built.append({path: digest for path, digest in published(tmp_path / f"out{k}").items() if "parquet" in path})
    assert built[0]
    assert built[0] == built[1] == built[2]


def test_ids_are_celeba_s_numbers_and_splits_its_partition(tmp_path: Path) -> None:
    manifest, _ = frozen(write_lists(tmp_path, ROWS))
    assert manifest.ids == [f"{k:06d}" for k in range(1, 31)]
    assert {name: (rows.start, rows.stop) for name, rows in manifest.splits.items()} == {
        "train": (0, 21),
        "validation": (21, 24),
        "test": (24, 30),
    }
    assert labels(manifest, "celeb_id") == dict(zip(manifest.ids, ROWS.identity, strict=True))
    for name in ATTRIBUTES:
        assert manifest.table.column(name).to_pylist() == list(ROWS.attributes[name])


def test_the_release_s_split_of_rows_stands_beside_the_official_one_where_it_is_asked_for(tmp_path: Path) -> None:
    manifest, _ = frozen(write_lists(tmp_path, ROWS), paper_split=True)
    parts = manifest.table.column("paper_split").to_pylist()
    for rows in manifest.splits.values():
        order = np.arange(len(rows))
        np.random.RandomState(42).shuffle(order)
        train = set(order[: int(0.8 * len(rows))])
        assert [parts[row] for row in rows] == ["train" if k in train else "test" for k in range(len(rows))]
    plain, _ = frozen(tmp_path)
    assert "paper_split" not in plain.table.column_names
    assert open_source(f"celeba:{tmp_path}").options() == {"splits": "official"}, "digests stay as they were"


def test_a_split_made_anew_keeps_people_together(tmp_path: Path) -> None:
    manifest, _ = frozen(write_lists(tmp_path, ROWS), splits="hash")
    official, _ = frozen(tmp_path)
    assert sorted(manifest.ids) == sorted(official.ids)
    assert labels(manifest, "split") != labels(official, "split")
    sides = set(zip(labels(manifest, "celeb_id").values(), labels(manifest, "split").values(), strict=True))
    assert len(sides) == len(set(ROWS.identity))


def test_a_person_on_both_sides_of_the_official_splits_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_lists(tmp_path, ROWS)
    edit(folder / "list_eval_partition.txt", "000001.jpg 0", "000001.jpg 2")
    assert ROWS.identity.count(ROWS.identity[0]) > 1
    with pytest.raises(UsageError, match=f"identity {ROWS.identity[0]} is in two of its splits.*splits: hash"):
        frozen(folder)
    assert len(frozen(folder, splits="hash")[0]) == 30


@pytest.mark.parametrize(("no", "yes"), [("-1", "1"), ("0", "1"), ("false", "true"), ("False", "True")])
def test_yes_and_no_are_read_as_people_write_them(tmp_path: Path, no: str, yes: str) -> None:
    manifest, refusals = frozen(write_lists(tmp_path, ROWS, no, yes))
    assert refusals == []
    assert manifest.table.column("Bald").to_pylist() == list(ROWS.attributes["Bald"])


@pytest.mark.parametrize("spelled", [(0, 1), (-1, 1), (-1.0, 1.0), ("-1", "1"), ("false", "true")])
def test_attribute_columns_of_any_type_are_read(tmp_path: Path, spelled: tuple[Any, Any]) -> None:
    column = [spelled[value] for value in ROWS.attributes["Smiling"]]
    manifest, refusals = frozen(write_parquet(tmp_path, ROWS, Smiling=column))
    assert refusals == []
    assert manifest.table.column("Smiling").to_pylist() == list(ROWS.attributes["Smiling"])


@pytest.mark.parametrize("value", [7, None, 2.5])
def test_any_other_value_refuses_its_row_by_the_attribute_s_name(tmp_path: Path, value: Any) -> None:
    column: list[Any] = [1.0 if yes else 0.0 for yes in ROWS.attributes["Young"]]
    column[3] = value
    manifest, refusals = frozen(write_parquet(tmp_path, ROWS, Young=column))
    said = repr(None if value is None else f"{value:g}")
    assert [(r.image_id, r.stage) for r in refusals] == [("000004", "source")]
    assert refusals[0].message == f"label Young is {said}; write -1 or 1, 0 or 1, or false or true"
    assert len(manifest) + len(refusals) == 30


def test_an_attribute_with_three_values_is_refused_as_its_no_is_not_known(tmp_path: Path) -> None:
    column = [(-1, 0, 1)[row % 3] for row in range(30)]
    with pytest.raises(UsageError, match="label 'Goatee' holds both -1 and 0"):
        frozen(write_parquet(tmp_path, ROWS, Goatee=column))


def test_a_missing_attribute_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_lists(tmp_path, ROWS)
    edit(folder / "list_attr_celeba.txt", " Chubby ", " Chubbby ")
    with pytest.raises(UsageError, match="no label column 'Chubby'"):
        frozen(folder)


def test_every_row_of_the_lists_and_every_picture_is_a_row_or_a_refusal(tmp_path: Path) -> None:
    folder = write_lists(tmp_path, ROWS)
    shutil.copy(folder / "img_align_celeba" / "000001.jpg", folder / "img_align_celeba" / "000031.jpg")
    (folder / "img_align_celeba" / "000002.jpg").unlink()
    for number, name in [(3, "list_attr_celeba.txt"), (4, "list_eval_partition.txt"), (5, "identity_CelebA.txt")]:
        lines = (folder / name).read_text().splitlines()
        kept = [line for line in lines if not line.startswith(f"{number:06d}.jpg")]
        (folder / name).write_text("\n".join(kept))
    edit(folder / "list_eval_partition.txt", "000006.jpg 0", "000006.jpg 9")
    edit(folder / "identity_CelebA.txt", f"000007.jpg {ROWS.identity[6]}", "000007.jpg nobody")
    with (folder / "identity_CelebA.txt").open("a") as people_list:
        people_list.write("\n000008.jpg 5\n000032.jpg 5\n")
    attributes = (folder / "list_attr_celeba.txt").read_text().splitlines()
    attributes = [line[:-3] if line.startswith("000009.jpg") else line for line in attributes]
    (folder / "list_attr_celeba.txt").write_text("\n".join(attributes))
    manifest, refusals = frozen(folder)
    assert {r.image_id: r.message for r in refusals} == {
        "000031": "list_attr_celeba.txt has no row for it",
        "000002": "img_align_celeba has no such file",
        "000003": "list_attr_celeba.txt has no row for it",
        "000004": "list_eval_partition.txt has no row for it",
        "000005": "identity_CelebA.txt has no row for it",
        "000006": "its partition is '9'; write 0, 1 or 2",
        "000007": "label celeb_id is 'nobody'; write a whole number",
        "000008": "identity_CelebA.txt lists it again; its first row is kept",
        "000009": "its row in list_attr_celeba.txt has 39 values, not 40",
        "000032": "img_align_celeba has no such file",
    }
    images = {f"{k:06d}" for k in range(1, 33)}
    assert set(manifest.ids) | {r.image_id for r in refusals} == images
    assert set(manifest.ids) & {r.image_id for r in refusals} == {"000008"}
    assert len(manifest) + len(refusals) == len(images) + 1  # the second row of 000008


def test_a_copy_that_lacks_a_file_is_refused_by_the_file_s_name(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path, ROWS, named=False)
    (folder / HUB_FOLDER / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(UsageError, match="lacks train-00000-of-00002.parquet"):
        frozen(folder)


def test_rows_without_file_names_are_not_numbered_where_a_split_is_missing(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path, ROWS, named=False)
    (folder / HUB_FOLDER / "train-00000-of-00002.parquet").unlink()
    (folder / HUB_FOLDER / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UsageError, match="the rows name no files"):
        frozen(folder)


def test_a_part_of_the_parquet_files_keeps_its_numbers(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path, ROWS)
    for path in (folder / HUB_FOLDER).glob("[tv][re]*"):
        if path.name.startswith("train"):
            path.unlink()
    assert sorted(frozen(folder)[0].ids) == [f"{k:06d}" for k in range(22, 31)]


def test_a_rewritten_folder_is_read_anew(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path, ROWS, readme=True)
    assert len(frozen(folder)[0]) == 30
    shutil.rmtree(folder)
    write_parquet(folder, without(ROWS, {29}), readme=True)
    assert len(frozen(folder)[0]) == 29


@pytest.mark.parametrize(("missing", "message"), [
    ("identity_CelebA.txt", "has no identity_CelebA.txt"),
    ("list_attr_celeba.txt", "has no list_attr_celeba.txt"),
    ("img_align_celeba", "img_align_celeba has no such file"),
])  # fmt: skip
def test_a_missing_list_or_folder_is_refused_by_name(tmp_path: Path, missing: str, message: str) -> None:
    folder = write_lists(tmp_path, ROWS)
    if missing.endswith("txt"):
        (folder / missing).unlink()
    else:
        shutil.rmtree(folder / missing)
    with pytest.raises(UsageError, match=message):
        frozen(folder)


def test_a_folder_of_neither_layout_is_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither img_align_celeba with list_attr_celeba.txt nor Parquet"):
        frozen(tmp_path)
    with pytest.raises(UsageError, match="splits are official .* or hash"):
        open_source(f"celeba:{tmp_path}", {"splits": "random"})


def test_celeba_is_marked_for_care(tmp_path: Path) -> None:
    source = open_source(f"celeba:{tmp_path}")
    assert source.sensitive
    assert (source.license, source.license_name) == ("other", "celeba-dataset-release-agreement")


@pytest.mark.parametrize("limit", [60, 200, 500])
def test_a_limit_keeps_every_attribute_s_rate_better_than_chance_does(tmp_path: Path, limit: int) -> None:
    rows = people(1200)
    table = np.array([rows.attributes[name] for name in ATTRIBUTES], dtype=float)  # (40, n)
    manifest, _ = frozen(write_lists(tmp_path, rows), limit=limit)
    assert len(manifest) == limit
    chosen = [int(image_id) - 1 for image_id in manifest.ids]
    rng = np.random.default_rng(0)
    kept = abs(table[:, chosen].mean(axis=1) - table.mean(axis=1))  # (40,)
    by_chance = [abs(table[:, rng.permutation(1200)[:limit]].mean(axis=1) - table.mean(axis=1)) for _ in range(50)]
    assert kept.max() < 0.5 / limit**0.5
    assert kept.mean() < 0.5 * np.mean(by_chance)
    shares = np.array([len(manifest.splits[name]) / limit for name in ("train", "validation", "test")])
    assert abs(shares - [0.7, 0.1, 0.2]).max() < 0.5 / limit**0.5


def test_a_larger_limit_keeps_a_smaller_one_s_rows_and_a_seed_decides(tmp_path: Path) -> None:
    source = open_source(f"celeba:{write_lists(tmp_path, people(300))}")
    chosen = [set(freeze(source, SourceSpec(name="celeba", limit=limit))[0].ids) for limit in (20, 50, 299)]
    assert [len(ids) for ids in chosen] == [20, 50, 299]
    assert chosen[0] < chosen[1] < chosen[2]
    assert set(freeze(source, SourceSpec(name="celeba", limit=20, split_seed=1))[0].ids) != chosen[0]


def test_one_split_is_taken_alone_in_its_order_and_another_name_is_refused(tmp_path: Path) -> None:
    source = open_source(f"celeba:{write_lists(tmp_path, ROWS)}")
    manifest, refusals = freeze(source, SourceSpec(name="celeba", split="validation"))
    assert manifest.ids == [Path(ROWS.names[row]).stem for row in ROWS.split(1)] and not refusals
    assert set(manifest.splits) == {"validation"}
    with pytest.raises(UsageError, match="no split 'valid'; it has: train, validation, test, or all"):
        freeze(source, SourceSpec(name="celeba", split="valid"))
