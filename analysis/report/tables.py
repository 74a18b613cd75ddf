"""The tidy rows of an analysis as files, a table a study: Parquet and CSV for programs, LaTeX for papers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from noisezoo.analysis.core import plain
from noisezoo.analysis.studies import MEAN, Json
from noisezoo.files import committed

if TYPE_CHECKING:
    import pyarrow as pa


def write_tables(tables: Mapping[str, Sequence[Json]], folder: Path) -> list[Path]:
    """Write `folder/NAME.parquet`, `.csv` and `.tex` for every table that has rows; what is not finite is null.

    LaTeX (booktabs' longtable, three decimals) has the rows of means over attributes alone where there are any.

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
            means = as_table([row for row in rows if row.get("attribute") == MEAN] or rows)
            writers: dict[str, Callable[[Path], object]] = {
                "parquet": partial(write_table, table, compression="zstd"), "csv": partial(write_csv, table),
                "tex": partial(_write_tex, means, name),
            }  # fmt: skip
            for kind, write in writers.items():
                path = folder / f"{name}.{kind}"
                with committed(path) as temporary:
                    write(temporary)
                paths.append(path)
    return paths


def _write_tex(table: "pa.Table", name: str, path: Path) -> None:
    options = {"index": False, "escape": True, "longtable": True, "float_format": "%.3f", "na_rep": "--"}
    path.write_text(table.to_pandas().to_latex(label=f"tab:{name}", **options), encoding="utf-8", newline="\n")


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
