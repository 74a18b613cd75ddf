"""Croissant metadata, as its own reference implementation reads it."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import noisezoo
from noisezoo.builder.dataset.croissant import croissant
from noisezoo.builder.dataset.layout import staging
from noisezoo.record import read_record
from tests.builder.building import DIGITS_VIEWS

# `datasets` registers a pandas type that pandas cannot compare with mlcroissant's own, so a process without it reads.
READ = """
import json, sys
import mlcroissant
dataset = mlcroissant.Dataset("croissant.json")
issues = dataset.metadata.issues
rows = {name: [{key.split("/")[1]: value.decode() if isinstance(value, bytes) else value for key, value in row.items()}
               for row in dataset.records(name)] for name in sys.argv[1:]}
print(json.dumps({"errors": sorted(issues.errors), "warnings": sorted(issues.warnings), "rows": rows}, default=float))
"""


@pytest.fixture(scope="module")
def metadata(built: Path) -> dict[str, Any]:
    return dict(json.loads((built / "croissant.json").read_text()))


def test_the_reference_implementation_finds_no_error_and_reads_the_rows(built: Path) -> None:
    pytest.importorskip("mlcroissant")
    command = [sys.executable, "-c", READ, "labels", "digits-ddpm"]
    done = subprocess.run(command, cwd=built, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == []
    assert [warning for warning in found["warnings"] if "datePublished" not in warning] == []
    rows = noisezoo.load(built, views=["digits-ddpm"])
    expected = dict(zip(rows["image_id"], noisezoo.matrix(rows, "digits-ddpm"), strict=True))
    digits = dict(zip(rows["image_id"], rows["digit"], strict=True))
    assert {row["image_id"]: row["digit"] for row in found["rows"]["labels"]} == digits
    for row in found["rows"]["digits-ddpm"]:
        flat = [value for plane in row["digits-ddpm"] for line in plane for value in line]
        assert flat == expected[row["image_id"]].tolist()


def test_it_has_what_the_specification_requires(metadata: dict[str, Any]) -> None:
    assert metadata["@type"] == "sc:Dataset"
    assert metadata["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert {"@context", "name", "description", "license", "citeAs", "version", "distribution", "recordSet"} <= set(
        metadata
    )
    assert metadata["license"] == ["cc-by-4.0"]
    assert "The Universal Normal Embedding" in metadata["citeAs"]


def test_every_other_file_is_there_with_its_hash(built: Path, metadata: dict[str, Any]) -> None:
    files = {each["@id"]: each for each in metadata["distribution"] if each["@type"] == "cr:FileObject"}
    record = read_record(built)
    assert record is not None
    assert set(files) == set(record.files) - {"croissant.json"}
    for path, each in files.items():
        content = (built / path).read_bytes()
        assert each["sha256"] == hashlib.sha256(content).hexdigest()
        assert each["contentSize"] == f"{len(content)} B"


def test_every_config_is_a_set_of_records_with_typed_fields(built: Path, metadata: dict[str, Any]) -> None:
    sets = {each["@id"]: each for each in metadata["recordSet"]}
    assert list(sets) == ["paired", "labels", *DIGITS_VIEWS]
    fields = {each["name"]: each for each in sets["digits-ddpm"]["field"]}
    assert (fields["digits-ddpm"]["dataType"], fields["digits-ddpm"]["arrayShape"]) == ("cr:Float16", "1,8,8")
    assert fields["latent_std"]["dataType"] == "cr:Float32" and "arrayShape" not in fields["latent_std"]
    labels = {each["name"]: each for each in sets["labels"]["field"]}
    assert (labels["Even"]["dataType"], labels["image_id"]["dataType"]) == ("sc:Boolean", "sc:Text")
    assert labels["digit"]["description"].startswith("classes: 0 0, 1 1")
    assert sets["labels"]["description"].endswith("Rows: train 26, validation 8, test 6.")


def test_the_name_is_the_folder_s_own_and_the_same_files_give_the_same_metadata(
    built: Path, metadata: dict[str, Any]
) -> None:
    record = read_record(built)
    assert record is not None
    listed = record.with_files({path: file for path, file in record.files.items() if path != "croissant.json"})
    assert json.loads(json.dumps(croissant(built, listed, built.name))) == metadata
    assert metadata["name"] == "noisezoo" == staging(built).name
