"""Every planted fault is found and named. The record is regenerated after planting, so that the check finds it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.finish import seal
from noisezoo.errors import NoiseZooError, UsageError
from noisezoo.record import CROISSANT, RECORD
from tests.builder.building import recipe_of
from tests.builder.planting import VIEW, change, checks, only, recard, record_of, rehash, resign, shard, swapped


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Faces of which both views refuse one; and a second source joined to them."""
    from noisezoo.builder.views.controls import PixelComputer, RandomComputer

    keys = recipe_of("faces", ("pixels", "random"), 20)
    folder = tmp_path_factory.mktemp("faces") / "noisezoo"
    seen: list[bytes] = []

    def refuse(own: Any) -> Any:
        def prepare(self: Any, image: Any) -> Any:
            data = image.tobytes()
            if not seen:
                seen.append(data)
            if data == seen[0]:
                raise ValueError("not this one")
            return own(self, image)

        return prepare

    with pytest.MonkeyPatch.context() as patch:
        for kind in (PixelComputer, RandomComputer):
            patch.setattr(kind, "prepare", refuse(kind.prepare))
        assert run(keys, folder)
    yield folder


def test_a_clean_dataset_has_no_finding(built: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = verify(built, progress=lambda done, total: seen.append((done, total)))
    assert report.ok and not report.skipped
    report.raise_if_bad()
    record = record_of(built)
    assert report.rows == 40 and report.files == len(record.files)
    assert report.bytes == sum(file["bytes"] for file in record.files.values()) == seen[-1][0] == seen[-1][1]


def test_a_dataset_with_refusals_has_no_finding(refusing: Path) -> None:
    record = record_of(refusing).sections[0]
    assert (record.scanned, record.refused, record.rows) == (20, 1, 19)
    assert len((refusing / "refusals.jsonl").read_text().splitlines()) == 2
    assert not verify(refusing).findings


def test_a_dataset_of_two_sources_has_no_finding(refusing: Path, built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "noisezoo"
    shutil.copytree(refusing, folder, ignore=shutil.ignore_patterns("_build"))
    first, second = record_of(refusing).sections[0], record_of(built).sections[0]
    for name in ("labels", *second.view_names):
        shutil.copytree(built / name, folder / f"digits.{name}")
    for name in ("refusals.jsonl", "recipe.json"):
        shutil.copy(built / name, folder / f"digits.{name}")
    seal(folder, (first, replace(second, prefix="digits.")))
    report = verify(folder)
    assert not report.findings and report.rows == 59
    change(shard(folder, f"digits.{VIEW}"), swapped)
    recard(folder)
    assert ("pairing", f"digits.{VIEW}/{shard(folder, f'digits.{VIEW}').name}") in checks(verify(folder))


def test_a_copy_under_another_name_has_no_finding(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "3f2a")
    assert not verify(tmp_path / "3f2a").findings


@pytest.mark.parametrize("path", ["README.md", "croissant.json", "recipe.json", "refusals.jsonl", "labels/*",
                                  "paired/*.parquet", f"{VIEW}/*", "paired/basis/*"])  # fmt: skip
def test_a_flipped_bit_is_found_in_every_kind_of_file(refusing: Path, copied: Path, path: str) -> None:
    if path == "refusals.jsonl":
        shutil.rmtree(copied)
        shutil.copytree(refusing, copied)
    victim = sorted(copied.glob(path))[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    found = only(verify(copied))
    assert (found.check, found.where) == ("sha256", victim.relative_to(copied).as_posix())


def test_a_flipped_bit_in_the_record_is_found(copied: Path) -> None:
    data = bytearray((copied / RECORD).read_bytes())
    for place in range(0, len(data), 997):
        flipped = data.copy()
        flipped[place] ^= 4
        (copied / RECORD).write_bytes(flipped)
        assert not verify(copied).ok, bytes(data[place - 40 : place + 40])


def test_a_missing_shard_is_found(copied: Path) -> None:
    shard(copied, VIEW, 1).unlink()
    found = only(verify(copied))
    assert (found.check, found.where) == ("files", f"{VIEW}/{shard(copied, VIEW).name.replace('00000-', '00001-')}")
    rehash(copied)
    assert ("record", found.where) in checks(verify(copied))


def test_a_cut_off_file_is_found(copied: Path) -> None:
    data = shard(copied, VIEW).read_bytes()
    shard(copied, VIEW).write_bytes(data[:-7])
    assert only(verify(copied)).check == "files"
    rehash(copied)
    assert "parquet" in {finding.check for finding in verify(copied).findings}


def test_a_dataset_without_a_record_is_refused_by_name(copied: Path) -> None:
    (copied / RECORD).unlink()
    report = verify(copied)
    assert (only(report).check, only(report).where) == ("record", RECORD)
    with pytest.raises(NoiseZooError, match="noisezoo.json"):
        report.raise_if_bad()


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"sections": [{}], "files": {}}', '{"sections": [], "files": {}}'])
def test_a_record_that_is_none_is_found(copied: Path, text: str) -> None:
    (copied / RECORD).write_text(text)
    assert only(verify(copied)).check == "record"


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no folder"):
        verify(Path("nowhere"))


def test_an_edited_card_is_found(copied: Path) -> None:
    card = copied / "README.md"
    card.write_text(card.read_text().replace("Meant for research", "Meant for everything"))
    resign(copied)
    found = only(verify(copied))
    assert (found.check, found.where) == ("card", "README.md") and "Meant for everything" in found.message


def test_edited_croissant_is_found_by_its_field(copied: Path) -> None:
    fields = json.loads((copied / CROISSANT).read_text())
    (copied / CROISSANT).write_text(json.dumps({**fields, "license": ["cc0-1.0"]}))
    rehash(copied)
    found = only(verify(copied))
    assert (found.check, found.where) == ("card", CROISSANT) and "license[0] is 'cc0-1.0'" in found.message


@pytest.mark.parametrize(("old", "new", "field"), [
    ("num_examples: ", "num_examples: 1", "num_examples"),
    ("dtype: float16", "dtype: float32", "features"),
    ("download_size: ", "download_size: 1", "download_size"),
    ("version: 1.0.", "version: 1.0.1", "version"),
    ("train-00001-of", "train-00007-of", "data_files"),
])  # fmt: skip
def test_edited_yaml_is_found_by_its_field(copied: Path, old: str, new: str, field: str) -> None:
    card = copied / "README.md"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new, 1))
    resign(copied)
    found = only(verify(copied))
    assert found.check == "card" and field in found.message and "where the files give" in found.message


def test_a_wrong_count_in_the_record_is_found(copied: Path) -> None:
    record = record_of(copied)
    section = record.sections[0]
    rehash(copied, replace(record, sections=(replace(section, scanned=section.scanned + 1),)))
    assert ("accounting", RECORD) in checks(verify(copied))
    first = {**section.splits, "train": section.splits["train"] - 1}
    rehash(copied, replace(record, sections=(replace(section, splits=first, scanned=section.scanned - 1),)))
    assert {"rows", "card"} <= {finding.check for finding in verify(copied).findings}


@pytest.mark.parametrize("name", ["labels/train-00009-of-00010.parquet", "more.parquet", "noisezoo.py",
                                  "images/face.JPG"])  # fmt: skip
def test_what_lies_beside_the_listed_files_is_found(copied: Path, name: str) -> None:
    (copied / name).parent.mkdir(exist_ok=True)
    shutil.copy(shard(copied, "labels"), copied / name)
    found = only(verify(copied))
    assert (found.check, found.where) == ("unlisted", name)
    assert ("refuses" in found.message) == name.endswith(".py")


def test_a_refused_id_in_a_config_is_found(copied: Path) -> None:
    record = record_of(copied)
    section = record.sections[0]
    victim = pq.read_table(shard(copied, "labels")).column("image_id")[2].as_py()
    line = {"image_id": victim, "stage": VIEW, "error": "ValueError", "message": "not finite"}
    (copied / "refusals.jsonl").write_text(json.dumps(line) + "\n")
    rehash(copied, replace(record, sections=(replace(section, scanned=41, refused=1),)))
    recard(copied)
    found = only(verify(copied))
    assert (found.check, found.row, found.image_id) == ("accounting", 2, victim)


def test_a_second_row_of_an_id_that_the_source_refused_may_stand_beside_the_first(copied: Path) -> None:
    record = record_of(copied)
    kept = pq.read_table(shard(copied, "labels")).column("image_id")[2].as_py()
    line = {"image_id": kept, "stage": "source", "error": "ValueError", "message": "duplicate id"}
    (copied / "refusals.jsonl").write_text(json.dumps(line) + "\n")
    rehash(copied, replace(record, sections=(replace(record.sections[0], scanned=41, refused=1),)))
    recard(copied)
    assert not verify(copied).findings


def test_refusals_that_are_not_those_counted_are_found(refusing: Path, tmp_path: Path) -> None:
    folder = tmp_path / "noisezoo"
    shutil.copytree(refusing, folder)
    (folder / "refusals.jsonl").write_text("")
    resign(folder)
    found = only(verify(folder))
    assert (found.check, found.where) == ("accounting", "refusals.jsonl") and "names 0" in found.message


def test_a_label_that_is_called_like_a_view_is_found(copied: Path) -> None:
    for path in sorted((copied / "labels").glob("*.parquet")):
        change(path, lambda table: table.append_column("random-64", table.column("Even")).replace_schema_metadata(None))
    seal(copied, record_of(copied).sections)
    found = only(verify(copied))
    assert found.check == "names" and "label column 'random-64' is called like view 'random-64'" in found.message


def test_a_split_that_is_called_all_is_found(copied: Path) -> None:
    record = record_of(copied)
    splits = {"all" if name == "test" else name: rows for name, rows in record.sections[0].splits.items()}
    for path in sorted(copied.rglob("test-*.parquet")):
        if "_build" not in path.parts:
            shutil.copy(path, path.with_name(path.name.replace("test-", "all-")))
    seal(copied, (replace(record.sections[0], splits=splits),))
    assert any("split 'all' has a name by which" in finding.message for finding in verify(copied).findings)


def test_the_error_names_the_first_fault_and_counts_the_others(copied: Path) -> None:
    for config in ("labels", "random-64", VIEW):
        shard(copied, config, 1).unlink()
    with pytest.raises(NoiseZooError, match=r"labels/train-00001.*not there.*and 2 more faults"):
        verify(copied).raise_if_bad()


def test_a_card_of_another_version_s_template_is_no_fault_but_its_yaml_is_checked(copied: Path) -> None:
    record = record_of(copied)
    section = record.sections[0]
    rehash(copied, replace(record, sections=(replace(section, software={**section.software, "noisezoo": "0.0.1"}),)))
    report = verify(copied)
    assert report.ok and "0.0.1" in report.skipped[0]
    card = copied / "README.md"
    card.write_text(card.read_text().replace("num_examples: ", "num_examples: 1", 1))
    resign(copied)
    assert only(verify(copied)).check == "card"


def test_a_dataset_on_the_hub_is_verified_at_its_revision(copied: Path, tmp_path: Path) -> None:
    from tests.builder.publishing import REPO, send
    from tests.hub_server import HubServer, client

    with HubServer() as server, client(server):
        tag = send(copied, server).tag
        told = server.run(
            "from noisezoo.builder.audit.verify import verify\n"
            "from noisezoo.errors import UsageError\n"
            f"report = verify({REPO!r}, revision={tag!r})\n"
            "print(report.ok, report.rows)\n"
            "try:\n    verify('me/nothing')\nexcept UsageError as error:\n    print(error)",
            tmp_path / "home",
        )
    assert "True 40" in told and "me/nothing: it is no folder here, and the Hub does not have it" in told
