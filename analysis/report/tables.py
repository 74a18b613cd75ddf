"""The tidy rows of an analysis as Parquet files, one a study, for pandas, Polars, DuckDB or R."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.analysis.core import plain
from noisezoo.analysis.studies import Json
from noisezoo.files import committed

if TYPE_CHECKING:
    import pyarrow as pa


def write_tables(tables: Mapping[str, Sequence[Json]], folder: Path) -> list[Path]:
    """Write `folder/NAME.parquet` and `folder/NAME.csv` for every table that has rows; what is not finite is null.

    Args:
        tables: Name -> flat rows; keys that a row lacks are null in it.
        folder: Made where it is missing.

    Returns:
        The paths written.
    """
    from pyarrow.csv import write_csv
    from pyarrow.parquet import write_table

    paths = []
    for name, rows in tables.items():
        if rows:
            table = as_table(rows)
            for path, write in ((folder / f"{name}.parquet", write_table), (folder / f"{name}.csv", write_csv)):
                with committed(path) as temporary:
                    write(table, str(temporary), **({"compression": "zstd"} if write is write_table else {}))
                paths.append(path)
    return paths


def as_table(rows: Sequence[Json]) -> "pa.Table":
    """Flat rows as a table: every key of any row is a column, and a column of nothing but nulls is one of numbers."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: pa.array([_cell(row.get(name)) for row in rows]) for name in names}
    empty = [name for name, column in columns.items() if column.type == pa.null()]
    return pa.table(columns | {name: columns[name].cast(pa.float64()) for name in empty})


def _cell(value: object) -> object:
    """A plain value; whole numbers stay whole, and a list of names becomes one text."""
    value = plain(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else value
