"""How commands write tables, numbers, sizes and durations."""

from math import log10

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from noisezoo.record import Record

WIDE = 220
"""Columns of a table that goes to a file or a pipe, so that nothing is cut."""


def plain_console() -> Console:
    """A console that prints text as it is: no markup, no colours of its own, no line folded."""
    return Console(soft_wrap=True, highlight=False, markup=False)


def wide_console() -> Console:
    """A console for tables, which cuts nothing where the output goes to a file or a pipe."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    return console


def numbers_table(first: str, *names: str) -> Table:
    """A table of numbers, narrow enough for a terminal of eighty columns, whose first column is never cut."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    return table


def rounded(value: float | None, digits: int = 3) -> str:
    """A number to so many digits, as people write it; `-` for what is not known."""
    if value is None:
        return "-"
    kept = float(f"{value:.{digits}g}")
    return f"{kept:,.0f}" if kept >= 100 else f"{kept:g}"


def size_text(count: float) -> str:
    """Bytes in the unit that fits."""
    power = min(int(log10(max(count, 1))) // 3, 4)
    return f"{rounded(count / 1000**power)} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that fits; `-` for what is not known."""
    if seconds is None:
        return "-"
    units = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
    name, length = next((unit for unit in units if seconds >= 2 * unit[1]), units[-1])
    return f"{rounded(seconds / length, 2 if length > 1 else 3)} {name}"


def show_record(record: Record) -> None:
    """One row a source: its images and its configs."""
    table = Table("source", "images", "refused", "removed", "configs")
    for section in record.sections:
        counts = (str(count) for count in (section.rows, section.refused, section.removed))
        table.add_row(section.source, *counts, ", ".join(section.configs))
    wide_console().print(table)
