"""Faults planted in a dataset, and its record, Croissant or card regenerated as far as a test wants it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from noisezoo.builder.audit.verify import Report
from noisezoo.builder.dataset.card import write_card
from noisezoo.builder.dataset.croissant import write_croissant
from noisezoo.builder.dataset.finish import seal
from noisezoo.files import sha256_of
from noisezoo.record import CROISSANT, RECORD, Record, record_of

VIEW = "digits-ddpm"
Change = Callable[[pa.Table], pa.Table]


def rehash(folder: Path, record: Record | None = None) -> None:
    """Make the record's hashes those of the files that lie there."""
    record = record or record_of(folder)
    files = {path: folder / path for path in record.files if (folder / path).is_file()}
    told = {path: {"sha256": sha256_of(file), "bytes": file.stat().st_size} for path, file in files.items()}
    (folder / RECORD).write_text(json.dumps(record.with_files(told).to_json(), indent=1))


def resign(folder: Path) -> None:
    """Make Croissant and hashes those of the files that lie there."""
    rehash(folder)
    record = record_of(folder)
    write_croissant(folder, record.with_files({p: file for p, file in record.files.items() if p != CROISSANT}))
    rehash(folder)


def recard(folder: Path) -> None:
    """Regenerate card, Croissant and hashes: what is left to find is what the files hold."""
    write_card(folder, record_of(folder))
    resign(folder)


def reseal(folder: Path) -> None:
    """Regenerate all that follows from the views and labels."""
    seal(folder, record_of(folder).sections)


def change(path: Path, edit: Change) -> None:
    pq.write_table(edit(pq.read_table(path)), path)


def shard(folder: Path, config: str, number: int = 0) -> Path:
    return sorted((folder / config).glob("train-*.parquet"))[number]


def put(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    """The table with one value replaced."""
    field = table.schema.field(column)
    kind = field.type.storage_type if isinstance(field.type, pa.ExtensionType) else field.type
    values = table.column(column).to_pylist()
    values[row] = value
    array = pa.array(values, type=kind)
    if isinstance(field.type, pa.ExtensionType):
        array = pa.ExtensionArray.from_storage(field.type, array)
    return table.set_column(table.schema.get_field_index(column), field, array)


def swapped(table: pa.Table) -> pa.Table:
    return table.take([1, 0, *range(2, len(table))])


def checks(report: Report) -> set[tuple[str, str]]:
    return {(finding.check, finding.where) for finding in report.findings}


def only(report: Report) -> Any:
    assert len(report.findings) == 1, [str(finding) for finding in report.findings]
    return report.findings[0]
