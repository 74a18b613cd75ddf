"""Metadata files: labels are kept as they are written, whoever reads them and in whatever order."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisezoo.builder.recipe import SourceSpec
from noisezoo.builder.sources.imagefolder import ImageFolder
from noisezoo.builder.sources.manifest import freeze
from noisezoo.errors import UsageError
from tests.builder.image_sources import jpegs


def photos(root: Path, n: int = 3) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for k, data in enumerate(jpegs(n)):
        (root / f"{k}.jpg").write_bytes(data)
    return root


def labels(root: Path) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Label -> values in order of the pictures, and label -> dtype."""
    source = ImageFolder(str(root))
    features = source.label_features()
    table = source.scan().select(list(features)).to_pydict()
    return table, {name: feature.dtype for name, feature in features.items()}


def csv_of(root: Path, name: str, cells: list[str]) -> Path:
    photos(root, len(cells))
    lines = [f"file_name,{name}", *(f"{k}.jpg,{cell}" for k, cell in enumerate(cells))]
    (root / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(("cells", "values", "dtype"), [
    (["00501", "10001", "00000"], ["00501", "10001", "00000"], "string"),
    (["NA", "DE", "FR"], ["NA", "DE", "FR"], "string"),
    (["nan", "null", "None"], ["nan", "null", "None"], "string"),
    (["31", "NA", "5"], ["31", "NA", "5"], "string"),
    (["9007199254740993", "", "1"], [9007199254740993, None, 1], "int64"),
    (["9223372036854775807", "-9223372036854775807", "0"], [2**63 - 1, 1 - 2**63, 0], "int64"),
    (["18446744073709551616", "1", "2"], ["18446744073709551616", "1", "2"], "string"),
    (["1e999", "-1e999", "2.5"], ["1e999", "-1e999", "2.5"], "string"),
    (["9007199254740993", "0.5", ""], ["9007199254740993", "0.5", None], "string"),
    (["1.5", "2", "-3e2"], [1.5, 2.0, -300.0], "float64"),
    (["+1", "2", "3"], ["+1", "2", "3"], "string"),
    (["1e", "2", "3"], ["1e", "2", "3"], "string"),
    (["0x10", "2", "3"], ["0x10", "2", "3"], "string"),
    (["1_000", "2", "3"], ["1_000", "2", "3"], "string"),
    (["2026-11-27", "2026-01-01", ""], ["2026-11-27", "2026-01-01", None], "string"),
    (["", "", ""], [None, None, None], "string"),
    (["7", "7", "7"], [7, 7, 7], "int64"),
    (['"a, b"', '"say ""x"""', "é"], ["a, b", 'say "x"', "é"], "string"),
    (["１", "2", "3"], ["１", "2", "3"], "string"),
])  # fmt: skip
def test_a_csv_cell_is_what_is_written(tmp_path: Path, cells: list[str], values: list[Any], dtype: str) -> None:
    assert labels(csv_of(tmp_path, "x", cells)) == ({"x": values}, {"x": dtype})


@pytest.mark.parametrize(("cells", "values"), [
    (["0", "1", "1"], [False, True, True]), (["-1", "1", "-1"], [False, True, False]),
    (["true", "false", "TRUE"], [True, False, True]), (["yes", "No", ""], [True, False, None]),
    (["0.0", "1.0", "1"], [False, True, True]),
])  # fmt: skip
def test_a_column_of_yes_and_no_is_an_attribute_and_that_is_said(
    tmp_path: Path, cells: list[str], values: list[Any]
) -> None:
    root = csv_of(tmp_path, "smiling", cells)
    assert labels(root) == ({"smiling": values}, {"smiling": "bool"})
    (note,) = ImageFolder(str(root)).notes()
    assert note.startswith("read as no (") and note.endswith("): smiling")


@pytest.mark.parametrize("cells", [["0", "0", "0"], ["-1", "0", "1"], ["0", "1", "2"], ["1", "2", "1"]])
def test_other_whole_numbers_stay_numbers(tmp_path: Path, cells: list[str]) -> None:
    assert labels(csv_of(tmp_path, "x", cells)) == ({"x": [int(cell) for cell in cells]}, {"x": "int64"})


@pytest.mark.parametrize(("values", "expected", "dtype"), [
    ([1, 2**64, 3], ["1", str(2**64), "3"], "string"),
    ([1, 2.5, None], [1.0, 2.5, None], "float64"),
    ([2**53 + 1, 2.5, 3], [str(2**53 + 1), "2.5", "3"], "string"),
    ([1, "a", True], ["1", "a", "true"], "string"),
    (["00501", "1", "0"], ["00501", "1", "0"], "string"),
    ([0, 1, 1], [False, True, True], "bool"),
    ([None, None, None], [None, None, None], "string"),
])  # fmt: skip
def test_a_json_value_is_what_is_written(tmp_path: Path, values: list[Any], expected: list[Any], dtype: str) -> None:
    rows = [json.dumps({"file_name": f"{k}.jpg", "x": value}) for k, value in enumerate(values)]
    (photos(tmp_path) / "metadata.jsonl").write_text("\n".join(rows))
    assert labels(tmp_path) == ({"x": expected}, {"x": dtype})


def test_a_parquet_metadata_file_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table(
        {"file_name": ["0.jpg", "1.jpg", "2.jpg"], "age": pa.array([1, 5, None], pa.int32()), "w": ["a"] * 3}
    )
    pq.write_table(table, photos(tmp_path) / "metadata.parquet")
    assert labels(tmp_path) == ({"age": [1, 5, None], "w": ["a"] * 3}, {"age": "int64", "w": "string"})


def test_files_of_several_folders_give_the_union_of_their_columns_in_every_process(tmp_path: Path) -> None:
    for folder, column in [("x", "age"), ("y", "size")]:
        csv_of(tmp_path / folder, column, ["3", "4", "5"])
    code = f"""
from noisezoo.builder.sources.imagefolder import ImageFolder
source = ImageFolder({str(tmp_path)!r})
print(dict(source.label_features()), source.scan().to_pydict())
"""
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout for seed in (0, 1, 2)
    }  # fmt: skip
    assert len(seen) == 1
    table, types = labels(tmp_path)
    assert table["age"] == [3, 4, 5, None, None, None]
    assert table["size"] == [None, None, None, 3, 4, 5]
    assert types == {"age": "int64", "size": "int64", "label": "int64"}


def test_one_column_of_several_files_has_one_type(tmp_path: Path) -> None:
    csv_of(tmp_path / "x", "code", ["1.50", "2", "3"])
    csv_of(tmp_path / "y", "code", ["a", "b", "c"])
    assert labels(tmp_path)[0]["code"] == ["1.50", "2", "3", "a", "b", "c"]


def test_a_file_in_a_folder_speaks_of_that_folder_alone(tmp_path: Path) -> None:
    csv_of(tmp_path / "x", "age", ["3", "4"])
    photos(tmp_path / "y", 2)
    (tmp_path / "x" / "9.jpg").write_bytes(jpegs(1)[0])
    manifest, refusals = freeze(ImageFolder(str(tmp_path)), SourceSpec(name="imagefolder"))
    assert sorted(manifest.ids) == ["x/0.jpg", "x/1.jpg", "y/0.jpg", "y/1.jpg"]
    assert [(r.image_id, r.message) for r in refusals] == [
        ("x/9.jpg", "the metadata file has no row with this file_name")
    ]


def test_a_column_called_label_comes_before_the_folders_and_one_called_image_is_a_label(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        photos(tmp_path / kind, 1)
    (tmp_path / "metadata.csv").write_text("file_name,label,image\ncat/0.jpg,tom,x\ndog/0.jpg,rex,y\n")
    assert labels(tmp_path) == ({"label": ["tom", "rex"], "image": ["x", "y"]}, {"label": "string", "image": "string"})


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_another_encoding_is_refused_by_the_file_s_name(tmp_path: Path, encoding: str, kind: str) -> None:
    text = {"csv": "file_name,who\n0.jpg,é\n", "jsonl": '{"file_name": "0.jpg", "who": "é"}\n'}[kind]
    (photos(tmp_path, 1) / f"metadata.{kind}").write_bytes(text.encode(encoding))
    with pytest.raises(UsageError, match=rf"metadata.{kind} cannot be read: .*(UTF-8|line 1)") as caught:
        freeze(ImageFolder(str(tmp_path)), SourceSpec(name="imagefolder"))
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (photos(tmp_path, 1) / "metadata.csv").write_bytes("\ufefffile_name,who\r\n0.jpg,é\r\n".encode())
    assert labels(tmp_path)[0] == {"who": ["é"]}


@pytest.mark.parametrize(("name", "text", "told"), [
    ("metadata.csv", "name,age\n0.jpg,3\n", "it has no column file_name; it has: name, age"),
    ("metadata.csv", "file_name;age\n0.jpg;3\n", "it has no column file_name; it has: file_name;age"),
    ("metadata.csv", "", "it has no column file_name"),
    ("metadata.csv", "file_name,age,age\n0.jpg,3,4\n", "column 'age' comes twice"),
    ("metadata.csv", "file_name,age\n0.jpg,3,4\n", "line 2 has 3 values, and there are 2 columns"),
    ("metadata.csv", 'file_name,age\n0.jpg,"3\n', "unexpected end of data"),
    ("metadata.jsonl", '{"file_name": "0.jpg"\n', "line 1: "),
    ("metadata.jsonl", '["0.jpg"]\n', "line 1 is no JSON object"),
    ("metadata.jsonl", '{"file_name": "0.jpg", "who": "\\ud800"}\n', "line 1: .*surrogates not allowed"),
    ("metadata.jsonl", '{"name": "0.jpg"}\n', "it has no column file_name; it has: name"),
    ("metadata.parquet", "not Parquet", "cannot be read: "),
    ("metadata.csv", "file_name,age\n/etc/0.jpg,3\n", "row 1 names /etc/0.jpg, which is outside of its folder"),
    ("metadata.csv", "file_name,age\na/../../0.jpg,3\n", "outside of its folder"),
])  # fmt: skip
def test_a_metadata_file_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    (photos(tmp_path, 1) / name).write_text(text)
    with pytest.raises(UsageError, match=told) as caught:
        freeze(ImageFolder(str(tmp_path)), SourceSpec(name="imagefolder"))
    assert f"{tmp_path / name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_csv_with_an_unnamed_column_of_numbers_is_read(tmp_path: Path) -> None:
    (photos(tmp_path, 2) / "metadata.csv").write_text(",file_name,age\n0,./0.jpg,3\n1,1.jpg,4\n")
    assert labels(tmp_path)[0]["age"] == [3, 4]
