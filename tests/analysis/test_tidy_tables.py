from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisezoo.analysis.report.tables import as_table, write_tables


def test_rows_with_different_keys_become_one_table_with_nulls() -> None:
    table = as_table([{"view": "a", "n": 3}, {"view": "b", "estimate": 0.5}])
    assert table.to_pylist() == [{"view": "a", "n": 3, "estimate": None}, {"view": "b", "n": None, "estimate": 0.5}]
    assert table.schema.field("n").type == pa.int64()


def test_what_is_not_finite_is_null_and_a_column_of_nulls_is_one_of_numbers() -> None:
    table = as_table([{"low": float("nan")}, {"low": np.float64("inf")}])
    assert table.column("low").to_pylist() == [None, None] and table.schema.field("low").type == pa.float64()


def test_a_list_of_names_is_one_text() -> None:
    assert as_table([{"views": ["a", "b"]}]).to_pylist() == [{"views": "a, b"}]


def test_every_table_with_rows_is_a_file_and_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    rows = {"probes": [{"view": "a", "estimate": 0.25}], "edits": []}
    path, text, tex = write_tables(rows, tmp_path / "one")
    assert text.read_text().splitlines() == ['"view","estimate"', '"a",0.25']
    assert "a & 0.250 \\\\" in tex.read_text() and "\\begin{longtable}" in tex.read_text()
    assert path.name == "probes.parquet" and pq.read_table(path).to_pylist() == rows["probes"]
    write_tables(rows, tmp_path / "two")
    assert path.read_bytes() == (tmp_path / "two" / "probes.parquet").read_bytes()
